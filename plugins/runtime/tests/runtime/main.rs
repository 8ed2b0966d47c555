//! What a plugin can do to its host, limit by limit, on both back ends.

#![expect(clippy::unwrap_used, clippy::panic, reason = "clippy.toml lets tests, but not what they share")]

mod agreement;
mod answers;
mod components;
mod golden;
mod guest;
mod laws;
mod limits;
mod plugins;
mod policies;
mod stock;
