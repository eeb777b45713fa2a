//! See `flux_properties::kafka_answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::kafka_answers::check(bytes));
