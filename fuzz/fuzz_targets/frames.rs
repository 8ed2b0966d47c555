//! Frames from the other end of a connection.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skerry_fuzz::frames::check(data));
