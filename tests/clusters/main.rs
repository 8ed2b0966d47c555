//! Clusters of real processes: the story, failover, restarts, an edge that is killed, folders that were lost or damaged,
//! disks that are full, a quorum that was lost, a snapshot that is under way for long.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod authors;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod cut;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod disks;
#[cfg(test)]
mod durability;
#[cfg(test)]
#[path = "../../plugins/runtime/tests/runtime/guest.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "components made by hand, shared with the runtime's own tests"
)]
mod guest;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod network;
#[cfg(test)]
mod plugins;
#[cfg(test)]
mod recover;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod snapshot;
#[cfg(test)]
mod story;
#[cfg(test)]
mod stranded;
#[cfg(test)]
mod stuck;
#[cfg(test)]
mod sync;
#[cfg(test)]
mod text;
#[cfg(test)]
mod timeline;
