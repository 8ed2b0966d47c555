//! Replicas converge, whatever happens between them.

#[cfg(test)]
mod replicas;
