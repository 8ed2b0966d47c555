//! Whole clusters in deterministic simulation. `cargo xtask sim` runs more of it, and replays one seed.

#[cfg(test)]
mod disks;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod rebuilds;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod snapshots;
