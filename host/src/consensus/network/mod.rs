//! Traffic between nodes on its own port: CBOR frames behind a length, a Hello on each connection, several connections
//! per peer so that votes never wait behind appends (DESIGN.md, Consensus).

pub mod adapter;
pub mod hello;
pub mod message;
pub mod peers;
pub mod refusals;
pub mod server;

mod wire;
