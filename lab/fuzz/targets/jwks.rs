//! See `flux_properties::jwt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::jwt::key_set(bytes));
