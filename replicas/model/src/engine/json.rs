//! The json engine.
