//! What the tests have in common: a core without sockets, whole clusters in one deterministic simulation, and real
//! processes with free ports and temporary folders.

pub mod checkers;
pub mod core;
pub mod edge;
pub mod liar;
pub mod processes;
pub mod simulation;
