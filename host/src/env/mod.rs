//! The network, the executor and the runtime as small traits, so that a whole cluster runs in one deterministic
//! simulation. Clock and randomness are in `skerry_model::env`.

pub mod executor;
pub mod network;
pub mod runtime;
pub mod tls;
