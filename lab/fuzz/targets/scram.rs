//! See `flux_properties::scram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::scram::check(bytes));
