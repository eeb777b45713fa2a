//! See `flux_properties::urls`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::urls::check(bytes));
