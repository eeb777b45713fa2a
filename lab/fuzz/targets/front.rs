//! See `flux_properties::front`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::front::check(bytes));
