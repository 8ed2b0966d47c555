//! What resolvers hand back.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skerry_fuzz::answers::check(data));
