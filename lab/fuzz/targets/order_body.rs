//! See `flux_properties::order_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::order_body::check(bytes));
