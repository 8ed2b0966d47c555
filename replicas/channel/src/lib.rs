//! The sync protocol between two replicas as a pure machine, and its frames.
