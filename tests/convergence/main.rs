//! Replicas converge, whatever happens between them.

#[cfg(test)]
mod clocks;
#[cfg(test)]
mod rejoin;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod states;
#[cfg(test)]
mod world;
