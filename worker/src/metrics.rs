//! What the worker counts, and how a scraper reads it (OpenMetrics text).
//!
//! Counters are written by one thread and read by it; nothing here waits for anything.

use std::cell::Cell;
use std::fmt::Write;
use std::sync::atomic::AtomicU64;

use flux_net::logging;
use flux_net::tls::Certificates;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::batch::Stored;
use crate::ledger::Units;

/// What the log has lost; it counts by itself.
#[derive(Debug)]
struct LogLines;

impl Collector for LogLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Lines of the log that were lost since its reader was too slow";
        let metric = encoder.encode_descriptor("log_lines_lost", help, None, MetricType::Counter)?;
        ConstCounter::new(logging::lines_lost()).encode(metric)
    }
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "these are the labels' values as they are written")]
pub enum Server {
    /// A broker.
    kafka,
    /// The ledger.
    postgres,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabel {
    server: Server,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    partition: i32,
}

/// A product's units in one state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnitsLabel {
    product: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProductLabel {
    product: String,
}

/// All of them.
pub struct Metrics {
    registry: Registry,
    orders: Counter,
    duplicates: Counter,
    returns: Counter,
    unfounded_returns: Counter,
    rejected: Counter,
    late: Counter,
    dead_letters: Counter,
    batches: Counter,
    batch_orders: Histogram,
    store_seconds: Histogram,
    failures: Family<ServerLabel, Counter>,
    fenced: Counter,
    assignments: Counter,
    suspended: Counter,
    damaged: Counter,
    turned_away: Counter,
    partitions: Gauge,
    partitions_not_read: Gauge,
    out_of_range: Gauge,
    lag: Family<PartitionLabel, Gauge>,
    buffered_bytes: Gauge<u64, AtomicU64>,
    units: Family<UnitsLabel, Gauge>,
    breach: Family<ProductLabel, Gauge>,
    comparisons: Family<ProductLabel, Counter>,
    behind: Family<ProductLabel, Gauge>,
    rounds: Cell<u64>,
}

impl Metrics {
    /// All at nothing, of a worker without TLS.
    pub fn new() -> Metrics {
        Metrics::with(Certificates::default())
    }

    /// All at nothing.
    pub fn with(certificates: Certificates) -> Metrics {
        let mut registry = Registry::default();
        let units = Family::default();
        let breach = Family::default();
        registry.register("flux_units", "Units of the product's latest sale by state", units.clone());
        let help = "1 when stored plus available units exceed the sale's total";
        registry.register("flux_conservation_breach", help, breach.clone());
        let comparisons = Family::default();
        let help = "How often that was looked at: where it stands still, the breach and the units are old";
        registry.register("flux_conservation_comparisons", help, comparisons.clone());
        let behind = Family::default();
        let help = "1 while Redis shows an older sale or generation than the ledger holds";
        registry.register("flux_redis_behind_ledger", help, behind.clone());
        let worker = registry.sub_registry_with_prefix("flux_worker");
        worker.register_collector(Box::new(LogLines));
        worker.register_collector(Box::new(certificates));
        macro_rules! register {
            ($name:literal, $help:expr, $metric:expr) => {{
                let metric = $metric;
                worker.register($name, $help, metric.clone());
                metric
            }};
        }
        let orders = register!("orders_stored", "Orders stored", Counter::default());
        let duplicates = register!("duplicates", "Redeliveries dropped", Counter::default());
        let returns = register!("returns", "Second reservations noted for return", Counter::default());
        let help = "Returns that only a stray record told of: nothing was given back";
        let unfounded_returns = register!("unfounded_returns", help, Counter::default());
        let rejected = register!("rejected", "Orders rejected by the ledger", Counter::default());
        let help = "Orders that came too late for a rebuild to count them: nobody was told that they are accepted";
        let late = register!("late", help, Counter::default());
        let dead_letters = register!("dead_letters", "Records kept as dead letters", Counter::default());
        let batches = register!("batches", "Batches stored", Counter::default());
        let batch_orders =
            register!("batch_orders", "Orders in a batch", Histogram::new(exponential_buckets(1.0, 4.0, 9)));
        let store_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        worker.register_with_unit(
            "store",
            "Time from handing a batch to the ledger to its commit",
            Unit::Seconds,
            store_seconds.clone(),
        );
        let failures = register!("failures", "Connections lost and questions failed, by server", Family::default());
        let fenced = register!("fenced", "Batches dropped because another worker had gone on", Counter::default());
        let assignments = register!("assignments", "Assignments by the group", Counter::default());
        let suspended =
            register!("suspensions", "Sales suspended because their units did not add up", Counter::default());
        let damaged = register!("damaged_fetches", "Fetches whose records could not be used", Counter::default());
        let turned_away = register!(
            "admin_turned_away",
            "Askers at the admin listener for whom there was no place",
            Counter::default()
        );
        let partitions = register!("partitions", "Partitions held", Gauge::default());
        let partitions_not_read = register!(
            "partitions_not_read",
            "Partitions held of which nothing has been read for 15 s, though there may be something",
            Gauge::default()
        );
        let out_of_range = register!(
            "partitions_out_of_range",
            "Partitions that stand still, their offset not in the log, or the log another one",
            Gauge::default()
        );
        let lag = register!(
            "lag_records",
            "Records from the ledger's offset to the log's end; absent where one is not known",
            Family::default()
        );
        let buffered_bytes =
            register!("buffered_bytes", "Bytes of records fetched and not taken", Gauge::<u64, AtomicU64>::default());
        Metrics {
            registry,
            orders,
            duplicates,
            returns,
            unfounded_returns,
            rejected,
            late,
            dead_letters,
            batches,
            batch_orders,
            store_seconds,
            failures,
            fenced,
            assignments,
            suspended,
            damaged,
            turned_away,
            partitions,
            partitions_not_read,
            out_of_range,
            lag,
            buffered_bytes,
            units,
            breach,
            comparisons,
            behind,
            rounds: Cell::new(0),
        }
    }

    /// A batch is stored.
    pub fn stored(&self, stored: &Stored, seconds: f64) {
        self.batches.inc();
        self.orders.inc_by(stored.orders);
        self.duplicates.inc_by(stored.duplicates);
        self.returns.inc_by(stored.returns);
        self.rejected.inc_by(stored.rejected);
        self.late.inc_by(stored.late);
        self.dead_letters.inc_by(stored.dead_letters);
        self.batch_orders.observe(stored.orders as f64);
        self.store_seconds.observe(seconds);
    }

    /// Returns have ended as unfounded.
    pub fn unfounded(&self, returns: u64) {
        self.unfounded_returns.inc_by(returns);
    }

    /// A connection was lost, or something was asked in vain.
    pub fn failed(&self, server: Server) {
        self.failures.get_or_create(&ServerLabel { server }).inc();
    }

    /// A batch was fenced.
    pub fn fenced(&self) {
        self.fenced.inc();
    }

    /// Partitions were assigned.
    pub fn assigned(&self) {
        self.assignments.inc();
    }

    /// A fetch brought damage.
    pub fn damaged(&self) {
        self.damaged.inc();
    }

    /// A client found no place at the admin listener.
    pub fn turned_away(&self) {
        self.turned_away.inc();
    }

    /// What stands now.
    pub fn set_reading(&self, partitions: usize, not_read: usize, out_of_range: usize, buffered_bytes: usize) {
        self.partitions.set(partitions as i64);
        self.partitions_not_read.set(not_read as i64);
        self.out_of_range.set(out_of_range as i64);
        self.buffered_bytes.set(buffered_bytes as u64);
    }

    /// The lag of the partitions held, as far as it is known; those of others are not ours to report.
    pub fn set_lag(&self, lag: impl Iterator<Item = (i32, i64)>) {
        self.lag.clear();
        for (partition, records) in lag {
            self.lag.get_or_create(&PartitionLabel { partition }).set(records);
        }
    }

    /// The ledger's part of a product's account. Where Redis' part is set, too, it is this very reading that it was held against:
    /// a scrape never sums what is of two moments.
    pub fn set_ledger_units(&self, units: &Units) {
        for (state, value) in [
            ("total", units.total),
            ("stored", units.stored),
            ("rejected", units.rejected),
            ("dead_lettered", units.dead_lettered),
            ("awaiting_return", units.awaiting_return),
            ("withdrawn", units.withdrawn),
        ] {
            self.set_units(&units.product_id, state, value);
        }
    }

    /// Redis' part of a product's account, read after the ledger's, and whether it is a breach: more units are left than the
    /// ledger leaves.
    pub fn set_redis_units(&self, product: &str, available: u64, reserved: u64, breach: bool) {
        self.set_units(product, "available", available);
        self.set_units(product, "reserved", reserved);
        let label = ProductLabel { product: product.to_owned() };
        self.breach.get_or_create(&label).set(i64::from(breach));
        self.comparisons.get_or_create(&label).inc();
    }

    /// Accounts were compared with Redis, as many as were due.
    pub fn end_round(&self) {
        self.rounds.set(self.rounds.get() + 1);
    }

    /// How often that was done. Where it stands still, Redis' part of the accounts does, too.
    pub fn rounds(&self) -> u64 {
        self.rounds.get()
    }

    /// Whether Redis shows an older sale or generation of the product than the ledger holds.
    pub fn set_redis_behind(&self, product: &str, is_behind: bool) {
        self.behind.get_or_create(&ProductLabel { product: product.to_owned() }).set(i64::from(is_behind));
    }

    /// A sale was suspended because of a breach.
    pub fn suspended(&self) {
        self.suspended.inc();
    }

    fn set_units(&self, product: &str, state: &'static str, value: u64) {
        let label = UnitsLabel { product: product.to_owned(), state };
        self.units.get_or_create(&label).set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// All of them as text of OpenMetrics 1.0.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            // Only a writer that fails makes it fail, and a `String` does not.
            text.clear();
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_dashboards_ask_for() {
        let metrics = Metrics::new();
        metrics.stored(&Stored { orders: 3, duplicates: 2, ..Stored::default() }, 0.01);
        metrics.failed(Server::postgres);
        metrics.set_lag([(1, 7)].into_iter());
        metrics.set_redis_units("iphone-15", 60, 5, true);
        let text = metrics.render();
        for line in [
            "flux_worker_orders_stored_total 3",
            "flux_worker_duplicates_total 2",
            "flux_worker_batches_total 1",
            "flux_worker_failures_total{server=\"postgres\"} 1",
            "flux_worker_lag_records{partition=\"1\"} 7",
            "flux_worker_store_seconds_count 1",
            "flux_worker_log_lines_lost_total 0",
            "flux_units{product=\"iphone-15\",state=\"available\"} 60",
            "flux_conservation_breach{product=\"iphone-15\"} 1",
            "flux_conservation_comparisons_total{product=\"iphone-15\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        metrics.set_lag([(2, 0)].into_iter());
        assert!(!metrics.render().contains("partition=\"1\""), "a partition given up is not reported any more");
    }

    #[test]
    fn alarms_ask_for_metrics_that_there_are() {
        let metrics = Metrics::new();
        metrics.set_lag([(1, 7)].into_iter());
        let text = metrics.render();
        let alarms = include_str!("../../perf/observability/alerts.yml");
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let words = alarms.split(|letter| !is_part(letter));
        // Those of certificates are there where there are certificates.
        let named = words.filter(|word| word.starts_with("flux_worker_") && !word.starts_with("flux_worker_tls_"));
        for name in named.clone() {
            let described = format!("# TYPE {} ", name.trim_end_matches("_total"));
            assert!(text.contains(&described), "{described}is not in\n{text}");
        }
        assert!(named.clone().any(|name| name == "flux_worker_late_total"), "who may have to look is told");
    }
}
