//! The HTTP contract that core and edge share (DESIGN.md, What a user holds): the document routes, problem documents,
//! the bodies of the other routes, the client, and how a command line prints. Knows the model and no storage.

pub mod bodies;
pub mod documents;
pub mod problem;
