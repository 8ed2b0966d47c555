//! Clusters of real processes: the story, failover, restarts, an edge that is killed, a folder that was lost.

#[cfg(test)]
mod disks;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod story;
#[cfg(test)]
mod stuck;
