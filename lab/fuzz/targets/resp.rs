//! See `flux_properties::resp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::resp::check(bytes));
