//! What every storage implementation must pass before its own tests.
