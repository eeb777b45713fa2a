//! See `flux_properties::http`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::http::check(bytes));
