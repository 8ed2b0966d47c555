//! The sandboxed runtime for Skerry's conflict-resolution plugins.
