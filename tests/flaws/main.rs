//! The flaws of REQUIREMENTS.md, each shown twice: the check passes on Skerry, and fails on a small deliberate re-creation
//! of the flaw in the same run.

#[cfg(test)]
mod exchange;
#[cfg(test)]
mod flawed;
#[cfg(test)]
mod v01_durable_vote;
#[cfg(test)]
mod v02_quorum;
#[cfg(test)]
mod v03_fencing;
#[cfg(test)]
mod v03_lease_after_restart;
#[cfg(test)]
mod v08_increments;
#[cfg(test)]
mod v10_watermarks;
#[cfg(test)]
mod v11_shard_hash;
#[cfg(test)]
mod v12_half_merge;
