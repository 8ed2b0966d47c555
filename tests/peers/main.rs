//! Skerry's edges beside what others replicate with, in one run on this machine. Nothing here asserts a time.

#[cfg(test)]
mod automerge_repo;
#[cfg(test)]
mod counted;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod friends;
#[cfg(test)]
mod pouchdb;
#[cfg(test)]
mod skerry;
