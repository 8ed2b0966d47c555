//! The storage seam: LogDb and StateDb, on fjall and simulated.
