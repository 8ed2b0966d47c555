//! The HTTP contract that core and edge share (DESIGN.md, What a user holds): the document routes, problem documents,
//! the bodies of the other routes, the client, and how a command line prints. Knows the model and no storage.

pub mod bodies;
pub mod cbor;
pub mod cli;
pub mod client;
mod conditions;
pub mod documents;
pub mod extract;
pub mod guard;
pub mod limits;
pub mod payload;
pub mod problem;
pub mod respond;
pub mod routes;
mod wire;
