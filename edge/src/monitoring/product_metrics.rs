//! What `/metrics` and the dashboard tell of each product: as the first core last saw it, with what all cores have counted.
//!
//! No more products than each core hands over (`PRODUCT_GAUGES_MAX`), and how many it leaves out. Never asks Redis.

use std::collections::HashMap;
use std::fmt::Error;
use std::sync::PoisonError;

use flux_protocol::order::Identifier;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::counters::{CoreCounters, ProductGauge, QueueGauge};
use crate::monitoring::labels::{Labels, gauge};

/// What the first core saw when it last looked at each product; `accepted` of all cores.
pub(crate) fn products(cores: &[CoreCounters]) -> Vec<ProductGauge> {
    let Some((first, others)) = cores.split_first() else { return Vec::new() };
    let mut products = seen(first);
    let mut accepted = HashMap::<Identifier, u64>::new();
    for product in others.iter().flat_map(seen) {
        *accepted.entry(product.name).or_default() += product.accepted;
    }
    for product in &mut products {
        product.accepted += accepted.get(&product.name).copied().unwrap_or(0);
    }
    products
}

/// How many products the first core knows and hands no figures over of.
pub(crate) fn left_out(cores: &[CoreCounters], shown: &[ProductGauge]) -> u64 {
    cores.first().map_or(0, |first| first.decisions.products_known.get().saturating_sub(shown.len() as u64))
}

/// Undelivered orders of all products; `None` where not every one of them was looked at just now.
pub(crate) fn undelivered(cores: &[CoreCounters], shown: &[ProductGauge]) -> Option<u64> {
    let is_whole = !shown.is_empty() && left_out(cores, shown) == 0 && shown.iter().all(ProductGauge::is_fresh);
    is_whole.then(|| shown.iter().map(|product| product.outbox_orders).sum())
}

fn seen(core: &CoreCounters) -> Vec<ProductGauge> {
    core.decisions.products.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Writes the families by product.
pub(crate) fn encode(cores: &[CoreCounters], encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    let products = products(cores);
    encode_counts(cores, &products, encoder)?;
    encode_gauges(&products, encoder)?;
    encode_accepted(&products, encoder)?;
    encode_queues(&products, encoder)
}

fn encode_counts(
    cores: &[CoreCounters],
    shown: &[ProductGauge],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), Error> {
    let left_out = left_out(cores, shown);
    let gauges = [
        ("products", "Products that the first core knows", shown.len() as u64 + left_out),
        ("products_left_out", "Of them, those for want of room without figures of their own here", left_out),
    ];
    for (name, help, value) in gauges {
        gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    Ok(())
}

fn encode_gauges(products: &[ProductGauge], encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    type Of = fn(&ProductGauge) -> Option<u64>;
    let gauges: [(&str, &str, Of); 3] = [
        ("stock_units", "Units left; of a suspended sale nobody knows", |product| product.stock),
        ("outbox_entries", "Entries of the outbox", |product| Some(product.outbox_entries)),
        ("outbox_orders", "Undelivered orders", |product| Some(product.outbox_orders)),
    ];
    for (name, help, of) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for product in products {
            if let Some(value) = of(product) {
                gauge(value).encode(metric.encode_family(&labels(product))?)?;
            }
        }
    }
    let help = "For how long the oldest entry has been seen standing";
    let mut metric = encoder.encode_descriptor("outbox_oldest_seconds", help, None, MetricType::Gauge)?;
    for product in products {
        let age = ConstGauge::new(product.outbox_oldest_ms as f64 / 1e3);
        age.encode(metric.encode_family(&labels(product))?)?;
    }
    let mut metric = encoder.encode_descriptor("sale_state", "1 for the state it is in", None, MetricType::Gauge)?;
    for product in products {
        let labels = [("product", product.name.as_str().to_owned()), ("state", product.state.name().to_owned())];
        gauge(1).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_accepted(products: &[ProductGauge], encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    let help = "Orders answered with a first 200";
    let mut metric = encoder.encode_descriptor("accepted_orders", help, None, MetricType::Counter)?;
    for product in products {
        ConstCounter::new(product.accepted).encode(metric.encode_family(&labels(product))?)?;
    }
    Ok(())
}

/// Of products whose sale has a fair queue.
fn encode_queues(products: &[ProductGauge], encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    type Of = fn(&QueueGauge) -> u64;
    let queues = || products.iter().filter_map(|product| product.queue.map(|queue| (labels(product), queue)));
    let gauges: [(&str, &str, Of); 2] = [
        ("line_slot", "The slot that is being called: 0 before the opening, then a second each", |line| {
            line.slot.into()
        }),
        ("line_waiting_visitors", "Visitors who have a place and were not called yet", |line| line.waiting),
    ];
    for (name, help, of) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, queue) in queues() {
            gauge(of(&queue)).encode(metric.encode_family(&labels)?)?;
        }
    }
    let help = "Visitors called since the sale was opened";
    let mut metric = encoder.encode_descriptor("line_called_visitors", help, None, MetricType::Counter)?;
    for (labels, queue) in queues() {
        ConstCounter::new(queue.called).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn labels(product: &ProductGauge) -> Labels<'static> {
    [("product", product.name.as_str().to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::metrics::render;

    fn gauge(name: &str, accepted: u64, queue: Option<QueueGauge>) -> ProductGauge {
        ProductGauge { accepted, queue, ..ProductGauge::example(name) }
    }

    #[test]
    fn products_are_as_the_first_core_saw_them_with_the_orders_of_all() {
        let cores = [CoreCounters::default(), CoreCounters::default()];
        let line = |called| Some(QueueGauge { slot: 3, waiting: 29, called });
        let hand_over = |core: &CoreCounters, gauges: &[ProductGauge]| {
            core.decisions.products.lock().expect("not poisoned").extend_from_slice(gauges);
        };
        hand_over(&cores[0], &[gauge("iphone-15", 30, line(41)), gauge("case", 0, None)]);
        // A core may have learnt of them in another order, and earlier.
        hand_over(&cores[1], &[gauge("case", 1, None), gauge("iphone-15", 12, line(40)), gauge("new", 5, None)]);
        cores[0].decisions.products_known.set(1_234);
        let text = render(&cores, &flux_net::tls::Certificates::default());
        for line in [
            "flux_edge_products 1234",
            "flux_edge_products_left_out 1232",
            "flux_edge_stock_units{product=\"iphone-15\"} 41",
            "flux_edge_outbox_oldest_seconds{product=\"iphone-15\"} 3.5",
            "flux_edge_sale_state{product=\"iphone-15\",state=\"open\"} 1",
            "# TYPE flux_edge_accepted_orders counter",
            "flux_edge_accepted_orders_total{product=\"iphone-15\"} 42",
            "flux_edge_accepted_orders_total{product=\"case\"} 1",
            "flux_edge_line_slot{product=\"iphone-15\"} 3",
            "flux_edge_line_waiting_visitors{product=\"iphone-15\"} 29",
            "# TYPE flux_edge_line_called_visitors counter",
            "flux_edge_line_called_visitors_total{product=\"iphone-15\"} 41",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        let of_case = |line: &&str| line.contains("_line_") && line.contains("case");
        assert_eq!(text.lines().find(of_case), None, "a sale without a line has none of its figures");
        assert!(!text.contains("\"new\""), "the first core does not know it yet");
        assert!(products(&[]).is_empty());
        assert_eq!(undelivered(&cores, &products(&cores)), None, "nobody knows about those that are left out");
        cores[0].decisions.products_known.set(2);
        assert_eq!(undelivered(&cores, &products(&cores)), Some(4));
    }
}
