//! See `flux_properties::topic_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flux_properties::topic_record::check(bytes));
