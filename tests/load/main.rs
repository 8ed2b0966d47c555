//! Skerry beside etcd on this machine, in one run: `cargo xtask load` prints the table. Nothing here asserts a time; what
//! fails is printed with the rest.

#[cfg(test)]
mod beside;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod etcd;
#[cfg(test)]
mod failover;
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
mod idle;
#[cfg(test)]
mod merges;
#[cfg(test)]
mod processor;
#[cfg(test)]
mod table;
