//! What an author of a Skerry plugin uses.
