//! What the tests have in common: a core without sockets, and real processes with free ports and temporary folders.

pub mod core;
pub mod edge;
pub mod processes;
