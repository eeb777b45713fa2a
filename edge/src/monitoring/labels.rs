//! Small pieces of the text that `/metrics` answers.

use prometheus_client::metrics::gauge::ConstGauge;

/// One label of a family.
pub(crate) type Labels<'a> = [(&'a str, String); 1];

pub(crate) fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
