//! Plugins that somebody deploys.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skerry_fuzz::component::check(data));
