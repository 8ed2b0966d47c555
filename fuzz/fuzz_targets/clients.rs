//! What clients of Automerge send.

#![no_main]

libfuzzer_sys::fuzz_target!(init: skerry_fuzz::ingress::let_caught_panics_pass(), |data: &[u8]| {
    skerry_fuzz::clients::check(data);
});
