//! See `flux_properties::proxy_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::proxy_header::check(bytes));
