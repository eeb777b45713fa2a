//! See `flux_properties::ticket`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::ticket::check(bytes));
