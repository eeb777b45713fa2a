//! `/metrics`: the counters of all cores, as text of OpenMetrics 1.0.
//!
//! Nothing is kept between two scrapes; a scrape reads the counters and costs the cores nothing but cache lines.

use std::fmt::Error;
use std::sync::{Arc, PoisonError};

use flux_net::logging;
use flux_net::tls::Certificates;
use flux_protocol::resp::ErrorKind;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::counters::finding::names;
use crate::counters::shell::{ENDED, STATUSES};
use crate::counters::{CoreCounters, Counter, Counters, LATENCY_BOUNDS_US, ORDER_OUTCOMES};
use crate::identity::REFUSALS;
use crate::monitoring::labels::{Labels, gauge};
use crate::monitoring::product_metrics;

/// The text of a scrape: counters of all cores added up, gauges with a label `core`.
pub fn render(cores: &[CoreCounters], certificates: &Certificates) -> String {
    let scrape = Scrape { cores: cores.to_vec(), certificates: certificates.clone() };
    let mut registry = Registry::default();
    registry.sub_registry_with_prefix("flux_edge").register_collector(Box::new(scrape));
    let first = cores.first().map(|core| Arc::clone(&core.decisions));
    registry.sub_registry_with_prefix("flux").register_collector(Box::new(Warnings { first }));
    let mut text = String::with_capacity(16 * 1024);
    encode(&mut text, &registry).expect("a String takes all that is written to it");
    text
}

/// The latency histogram of all cores: counts by bucket, not cumulated, and the sum in microseconds.
pub(crate) fn latency(cores: &[CoreCounters]) -> ([u64; LATENCY_BOUNDS_US.len() + 1], u64) {
    let mut counts = [0_u64; LATENCY_BOUNDS_US.len() + 1];
    let mut sum_us = 0;
    for core in cores {
        let (buckets, sum) = core.decisions.latency.read();
        counts.iter_mut().zip(buckets).for_each(|(count, more)| *count += more);
        sum_us += sum;
    }
    (counts, sum_us)
}

#[derive(Debug)]
struct Scrape {
    cores: Vec<CoreCounters>,
    certificates: Certificates,
}

/// What the first core found wrong with the settings of Redis and Kafka: the same names whichever program warns.
#[derive(Debug)]
struct Warnings {
    first: Option<Arc<Counters>>,
}

impl Collector for Warnings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "1 for a setting of Redis or Kafka that puts orders at risk";
        let mut metric = encoder.encode_descriptor("setting_warning", help, None, MetricType::Gauge)?;
        for found in self.first.iter().flat_map(|first| [&first.redis_findings, &first.topic_findings]) {
            for setting in names(found.lock().unwrap_or_else(PoisonError::into_inner).as_deref()) {
                let labels: Labels<'_> = [("setting", setting.to_owned())];
                gauge(1).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.encode_families(&mut encoder)?;
        self.encode_sums(&mut encoder)?;
        self.encode_gauges(&mut encoder)?;
        self.encode_fences(&mut encoder)?;
        self.encode_skew(&mut encoder)?;
        flux_net::tls::metrics::encode(&self.certificates, &mut encoder)?;
        product_metrics::encode(&self.cores, &mut encoder)?;
        self.encode_latency(&mut encoder)
    }
}

impl Scrape {
    fn encode_families(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut metric = encoder.encode_descriptor("orders", "Orders answered", None, MetricType::Counter)?;
        for (index, outcome) in ORDER_OUTCOMES.iter().enumerate() {
            let labels: Labels<'_> = [("outcome", (*outcome).to_owned())];
            let sum = self.sum(|core| core.decisions.orders[index].get());
            ConstCounter::new(sum).encode(metric.encode_family(&labels)?)?;
        }
        let help = "Orders refused for their bearer token";
        let mut metric = encoder.encode_descriptor("tokens_refused", help, None, MetricType::Counter)?;
        for (index, reason) in REFUSALS.iter().enumerate() {
            let labels: Labels<'_> = [("reason", (*reason).to_owned())];
            let sum = self.sum(|core| core.decisions.tokens_refused[index].get());
            ConstCounter::new(sum).encode(metric.encode_family(&labels)?)?;
        }
        let mut metric = encoder.encode_descriptor("http_responses", "Responses written", None, MetricType::Counter)?;
        for status in STATUSES {
            let code = if status == 0 { "other".to_owned() } else { status.to_string() };
            let labels: Labels<'_> = [("code", code)];
            let of =
                |core: &CoreCounters| core.shell.responses().find(|(known, _)| *known == status).map(|found| found.1);
            ConstCounter::new(self.sum(|core| of(core).unwrap_or(0))).encode(metric.encode_family(&labels)?)?;
        }
        let mut metric =
            encoder.encode_descriptor("redis_errors", "Error replies of Redis", None, MetricType::Counter)?;
        for kind in ErrorKind::ALL {
            let labels: Labels<'_> = [("kind", kind.name().to_owned())];
            let sum = self.sum(|core| core.decisions.redis_errors[kind as usize].get());
            ConstCounter::new(sum).encode(metric.encode_family(&labels)?)?;
        }
        let help = "Lines of the log that were lost since its reader was too slow";
        let metric = encoder.encode_descriptor("log_lines_lost", help, None, MetricType::Counter)?;
        ConstCounter::new(logging::lines_lost()).encode(metric)?;
        let help = "Connections that the edge ended";
        let mut metric = encoder.encode_descriptor("connections_ended", help, None, MetricType::Counter)?;
        for (index, reason) in ENDED.iter().enumerate() {
            let labels: Labels<'_> = [("reason", (*reason).to_owned())];
            let sum = self.sum(|core| core.shell.ended[index].get());
            ConstCounter::new(sum).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_sums(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        type Of = fn(&CoreCounters) -> &Counter;
        let sums: &[(&str, &str, Of)] = &[
            ("connections_accepted", "Connections accepted", |core| &core.shell.connections_accepted),
            ("connections_refused", "Connections told 503 for want of a place", |core| &core.shell.connections_refused),
            ("accept_errors", "Accepts that failed", |core| &core.shell.accept_errors),
            ("http_requests", "Requests read", |core| &core.shell.requests),
            ("requests_limited", "Requests told 429 since their address came too often", |core| {
                &core.shell.requests_limited
            }),
            ("received_bytes", "Bytes read from clients", |core| &core.shell.bytes_read),
            ("sent_bytes", "Bytes written to clients", |core| &core.shell.bytes_written),
            ("redis_connects", "Connections opened to Redis", |core| &core.shell.redis_connects),
            ("kafka_connects", "Connections opened to brokers", |core| &core.shell.kafka_connects),
            ("tokens_verified", "Bearer tokens found valid by their signature", |core| &core.decisions.tokens_verified),
            ("reserve_calls", "Reserve calls", |core| &core.decisions.reserve_calls),
            ("reserve_orders", "Orders in reserve calls", |core| &core.decisions.reserve_orders),
            ("leases", "Leases of tokens", |core| &core.decisions.leases),
            ("lease_tokens", "Tokens in leases", |core| &core.decisions.tokens),
            ("suspensions", "Sales seen to become suspended", |core| &core.decisions.suspensions),
            ("older_sales_shown", "Looks at which Redis showed an earlier sale or generation than was seen", |core| {
                &core.decisions.older_sales
            }),
            ("names_forgotten", "Names taken out of the registry", |core| &core.decisions.names_forgotten),
            ("records_refused", "Records that Kafka refused for certain", |core| &core.decisions.records_refused),
            ("records_left", "Records left to the relay", |core| &core.decisions.records_left),
            ("relayed_orders", "Orders that the relay delivered", |core| &core.decisions.relayed),
            ("entries_parted", "Outbox entries whose undelivered orders were moved to one of their own", |core| {
                &core.decisions.entries_parted
            }),
            ("records_retired", "Sales' idempotency records dropped when their time was over", |core| {
                &core.decisions.records_retired
            }),
            ("relay_unreadable", "Outbox entries that the relay could not read", |core| {
                &core.decisions.relay_unreadable
            }),
            ("line_places", "Places given in lines of fair sales", |core| &core.decisions.queues.places),
            ("line_arrivals", "Called visitors who have come", |core| &core.decisions.queues.arrivals),
            ("line_served", "Called visitors who were given a token", |core| &core.decisions.queues.served),
            ("line_turned_away", "Called orders that found no token and are to try again", |core| {
                &core.decisions.queues.turned_away
            }),
            ("line_calls", "Calls that report to lines and learn where they stand", |core| {
                &core.decisions.queues.calls
            }),
            ("line_calls_failed", "Of them, those without a good answer", |core| &core.decisions.queues.calls_failed),
        ];
        for &(name, help, of) in sums {
            let counter = ConstCounter::new(self.sum(|core| of(core).get()));
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }

    fn encode_gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        type Of = fn(&CoreCounters) -> u64;
        let gauges: [(&str, &str, Of); 10] = [
            ("connections", "Connections open", |core| core.shell.connections.get()),
            ("redis_up", "1 while Redis can be asked", |core| u64::from(core.shell.redis_down_ms.get() == 0)),
            ("kafka_up", "1 while Kafka takes records", |core| {
                let refusal = core.decisions.kafka_refusal.lock().unwrap_or_else(PoisonError::into_inner);
                u64::from(core.shell.kafka_down_ms.get() == 0 && refusal.is_none())
            }),
            ("redis_refuses", "1 while Redis lets no order through", |core| core.decisions.redis_refuses.get()),
            ("records_untimed", "1 once a broker has refused records for their times", |core| {
                core.decisions.records_untimed.get()
            }),
            ("draining", "1 while the core drains", |core| core.shell.draining.get()),
            ("orders_pending", "Orders under way", |core| core.decisions.orders_pending.get()),
            ("producer_room", "Records that the producer may still take", |core| core.decisions.producer_room.get()),
            ("line_orders_at_door", "Called orders that wait for a token", |core| {
                core.decisions.queues.awaiting_token.get()
            }),
            ("line_orders_awaiting_news", "Orders that wait for news of their line", |core| {
                core.decisions.queues.awaiting_status.get()
            }),
        ];
        for (name, help, of) in gauges {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (index, core) in self.cores.iter().enumerate() {
                let labels: Labels<'_> = [("core", index.to_string())];
                gauge(of(core)).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// What the first core has read for all.
    fn encode_fences(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(first) = self.cores.first() else { return Ok(()) };
        let fences = &first.decisions.fences;
        for (name, help, figure) in [
            ("fences_current", "1 while the edge knows of every fence that was waited out", &fences.is_current),
            ("fences_read_offset", "Where the next record of the fences' topic is read", &fences.read_to),
            ("fences_strangers", "Records of the fences' topic that are none of ours", &fences.strangers),
            ("fences_left_out", "Fences of more products than are held", &fences.left_out),
        ] {
            gauge(figure.get()).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }

    /// Redis' by the first core: all of them measure the same two clocks. Kafka's by whichever core met the furthest one.
    fn encode_skew(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let redis_ms = self.cores.first().map(|first| first.decisions.redis_clock_skew_ms.get().cast_signed());
        let by_core = self.cores.iter().map(|core| core.decisions.kafka_clock_skew_ms.get().cast_signed());
        let kafka_ms = by_core.max_by_key(|skew_ms| skew_ms.unsigned_abs());
        for (name, help, skew_ms) in [
            ("redis_clock_skew_seconds", "Redis' clock less this machine's", redis_ms),
            ("kafka_clock_skew_seconds", "The clock of the broker that is furthest off less this machine's", kafka_ms),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(skew_ms.unwrap_or(0) as f64 / 1e3).encode(metric)?;
        }
        Ok(())
    }

    fn encode_latency(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let (counts, sum_us) = latency(&self.cores);
        // The encoder adds the buckets up itself; the last bound it writes as +Inf.
        let bounds = LATENCY_BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain(std::iter::once(f64::INFINITY));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let help = "From reading an order that went to Redis to its answer";
        let mut metric = encoder.encode_descriptor("order_duration_seconds", help, None, MetricType::Histogram)?;
        metric.encode_histogram::<Labels<'_>>(sum_us as f64 / 1e6, counts.iter().sum(), &buckets, None)
    }

    fn sum(&self, of: impl Fn(&CoreCounters) -> u64) -> u64 {
        self.cores.iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use flux_protocol::queue::Report;

    use super::*;
    use crate::counters::OrderOutcome;
    use crate::counters::finding::Finding;

    #[test]
    fn cores_are_added_up_and_names_follow_the_standard() {
        let cores = [CoreCounters::default(), CoreCounters::default()];
        for core in &cores {
            core.decisions.orders[OrderOutcome::Accepted as usize].add(1);
            core.decisions.reserve_orders.add(35);
            core.shell.response(200);
            core.shell.connections.set(3);
        }
        cores[0].decisions.redis_error(ErrorKind::OutOfMemory);
        cores[1].decisions.redis_error(ErrorKind::OutOfMemory);
        cores[0].decisions.redis_clock_skew_ms.set((-1500_i64).cast_unsigned());
        cores[0].decisions.kafka_clock_skew_ms.set(200);
        cores[1].decisions.kafka_clock_skew_ms.set((-2500_i64).cast_unsigned());
        cores[1].shell.redis_down_ms.set(1200);
        cores[0].decisions.queues.told(&Report {
            issued: [(0, 30), (1, 5)].into_iter().collect(),
            arrived: [(7, 4), (8, 2)].into_iter().collect(),
            served: 3,
        });
        cores[1].decisions.queues.told(&Report { served: 1, ..Report::default() });
        cores[1].decisions.queues.calls_failed.add(1);
        cores[1].decisions.queues.awaiting_token.set(6);
        *cores[0].decisions.topic_findings.lock().expect("not poisoned") = Some(vec![Finding::example("retention.ms")]);
        let text = render(&cores, &Certificates::default());
        for line in [
            "# TYPE flux_edge_orders counter",
            "flux_edge_orders_total{outcome=\"accepted\"} 2",
            "flux_edge_log_lines_lost_total 0",
            "flux_edge_orders_total{outcome=\"sold_out\"} 0",
            "flux_edge_http_responses_total{code=\"200\"} 2",
            "flux_edge_http_responses_total{code=\"other\"} 0",
            "flux_edge_connections{core=\"1\"} 3",
            "flux_edge_redis_up{core=\"0\"} 1",
            "flux_edge_redis_up{core=\"1\"} 0",
            "flux_edge_reserve_orders_total 70",
            "flux_edge_redis_errors_total{kind=\"out_of_memory\"} 2",
            "flux_edge_redis_errors_total{kind=\"denied\"} 0",
            "flux_edge_redis_refuses{core=\"0\"} 0",
            "flux_edge_redis_clock_skew_seconds -1.5",
            "flux_edge_kafka_clock_skew_seconds -2.5",
            "flux_edge_line_places_total 35",
            "flux_edge_line_arrivals_total 6",
            "flux_edge_line_served_total 4",
            "flux_edge_line_calls_failed_total 1",
            "flux_edge_line_orders_at_door{core=\"1\"} 6",
            "flux_edge_line_orders_awaiting_news{core=\"1\"} 0",
            "# TYPE flux_setting_warning gauge",
            "flux_setting_warning{setting=\"retention.ms\"} 1",
            "flux_edge_order_duration_seconds_bucket{le=\"+Inf\"} 0",
            "flux_edge_order_duration_seconds_count 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }
}
