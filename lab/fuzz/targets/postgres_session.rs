//! See `flux_properties::postgres_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::postgres_session::check(bytes));
