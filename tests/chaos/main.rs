//! Real processes under faults: clients write down what they hear while nodes are killed, paused, cut off, slowed down,
//! filled up and replaced, and while leaders hand over; afterwards one order explains all of it, and nothing that was
//! acknowledged is missing. The storm has a proxy before each node; the other cluster has a network namespace for each, so
//! that packets vanish below TCP, and mutual TLS.
//!
//! `SKERRY_CHAOS_SECONDS` says for how long, every fault being done once at least; `SKERRY_CHAOS_SEED` makes the choices
//! of an earlier run again, though processes do not repeat themselves; `SKERRY_CHAOS_KEEP` names a folder for the nodes'
//! data when a run fails. Full disks need the right to mount a tmpfs, and are left out without it, as is the second
//! cluster without the right to make namespaces.

#[cfg(test)]
mod choices;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod command;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod links;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod membership;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod network;
#[cfg(test)]
mod node;
#[cfg(test)]
mod places;
#[cfg(test)]
mod registers;
#[cfg(test)]
mod run;
#[cfg(test)]
mod storm;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod wire;
