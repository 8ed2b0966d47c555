//! Conflicts that resolvers are handed.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skerry_fuzz::conflicts::check(data));
