//! The HTTP contract, shown over documents in memory.

#[cfg(test)]
mod client;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod routes;
