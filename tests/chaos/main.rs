//! Real processes under faults: clients write down what they hear while nodes are killed, paused, cut off, slowed down
//! and filled up; afterwards one order explains all of it, and nothing that was acknowledged is missing.

#[cfg(test)]
mod clients;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod links;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod registers;
#[cfg(test)]
mod storm;
