//! The live dashboard on the admin listener: its files, and the figures that its page asks for once a second.
//!
//! The figures are the counters that `/metrics` shows, as they stand. The page takes differences, so the cores count nothing
//! for it; what it shows of the time before it was opened is `history.rs`'. Opening and closing sales is `sale_admin.rs`' work.

use std::sync::PoisonError;
use std::time::Instant;

use bytes::Bytes;
use flux_protocol::http::{Method, Request};
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Document};
use crate::counters::finding::names;
use crate::counters::{CoreCounters, LATENCY_BOUNDS_US, ORDER_OUTCOMES, ProductGauge};
use crate::monitoring::metrics;
use crate::monitoring::product_metrics;
use crate::monitoring::workers::Workers;

/// Where the page finds [`figures`].
pub(crate) const FIGURES_PATH: &str = "/dashboard.json";
/// And where the samples of [`crate::monitoring::history`].
pub(crate) const HISTORY_PATH: &str = "/history.json";

macro_rules! file {
    ($path:literal, $content_type:literal) => {
        (
            $path,
            concat!($content_type, "; charset=utf-8"),
            include_bytes!(concat!("../../dashboard/", $path)).as_slice(),
        )
    };
}

/// Name, media type, content.
static FILES: [(&str, &str, &[u8]); 10] = [
    file!("index.html", "text/html"),
    file!("answer.js", "text/javascript"),
    file!("dashboard.css", "text/css"),
    file!("dashboard.js", "text/javascript"),
    file!("history.js", "text/javascript"),
    file!("operate.js", "text/javascript"),
    file!("plots.js", "text/javascript"),
    file!("uplot.js", "text/javascript"),
    file!("uplot.css", "text/css"),
    file!("uplot.LICENSE", "text/plain"),
];

/// Nothing from elsewhere, nothing inline, and in nobody's frame: a click in it may end a sale.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the dashboard.
pub(crate) fn file(request: &Request<'_>) -> Answer {
    let name = match request.path.strip_prefix('/') {
        Some("") => "index.html",
        Some(name) => name,
        None => request.path,
    };
    let Some((_, content_type, body)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return Answer::error(404, "Not found");
    };
    if !matches!(request.method, Method::Get | Method::Head) {
        return Answer::error(405, "Method not allowed").with_field("allow", "GET, HEAD");
    }
    let body = Bytes::from_static(body);
    Answer::Document(Box::new(Document { status: 200, fields: Vec::new(), content_type, body }))
        .with_field("cache-control", "no-cache")
        .with_field("content-security-policy", CONTENT_SECURITY_POLICY)
        .with_field("x-content-type-options", "nosniff")
        .with_field("referrer-policy", "no-referrer")
}

/// All that the page shows, as JSON. `running_ms`: since when this edge counts, so that a restart is told from a lull.
pub(crate) fn figures(cores: &[CoreCounters], workers: &Workers, running_ms: u64) -> String {
    let (latency_counts, _) = metrics::latency(cores);
    let now = Instant::now();
    let products = product_metrics::products(cores);
    let figures = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "runningMs": running_ms,
        "orders": orders(cores),
        "latency": { "boundsUs": LATENCY_BOUNDS_US, "counts": latency_counts },
        "cores": cores.iter().map(core).collect::<Value>(),
        "warnings": warnings(cores),
        "products": products.iter().map(|gauge| product(gauge, workers, now)).collect::<Value>(),
        "productsLeftOut": product_metrics::left_out(cores, &products),
        "undelivered": product_metrics::undelivered(cores, &products),
        "lag": workers.lag_records(now),
        "workers": workers.states(now),
    });
    figures.to_string()
}

/// Orders answered, by outcome.
pub(crate) fn orders(cores: &[CoreCounters]) -> Map<String, Value> {
    let sum = |index: usize| cores.iter().map(|core| core.decisions.orders[index].get()).sum::<u64>();
    ORDER_OUTCOMES.iter().enumerate().map(|(index, outcome)| ((*outcome).to_owned(), sum(index).into())).collect()
}

fn core(core: &CoreCounters) -> Value {
    let shell = &core.shell;
    json!({
        "started": shell.started.get() == 1,
        "draining": shell.draining.get() == 1,
        "redisDownMs": shell.redis_down_ms.get(),
        "kafkaDownMs": shell.kafka_down_ms.get(),
        "connections": shell.connections.get(),
        "ordersPending": core.decisions.orders_pending.get(),
    })
}

fn warnings(cores: &[CoreCounters]) -> Vec<&'static str> {
    let of_first =
        cores.iter().take(1).flat_map(|core| [&core.decisions.redis_findings, &core.decisions.topic_findings]);
    of_first.flat_map(|found| names(found.lock().unwrap_or_else(PoisonError::into_inner).as_deref())).collect()
}

fn product(gauge: &ProductGauge, workers: &Workers, now: Instant) -> Value {
    let name = gauge.name.as_str();
    // What was never looked at has no figures.
    let seen = |value: u64| gauge.seen_ms.map(|_| value);
    json!({
        "product": name,
        "state": gauge.state.name(),
        "seenMs": gauge.seen_ms,
        "stock": gauge.stock.and_then(seen),
        "outboxOrders": seen(gauge.outbox_orders),
        "outboxOldestMs": seen(gauge.outbox_oldest_ms),
        "accepted": gauge.accepted,
        // null where the sale has none.
        "line": gauge.queue.map(|queue| json!({ "slot": queue.slot, "waiting": queue.waiting, "called": queue.called })),
        "account": workers.account(name, now),
    })
}

#[cfg(test)]
mod tests {
    use flux_protocol::http::{Limits, Read, Reader};

    use super::*;
    use crate::counters::finding::Finding;
    use crate::counters::{OrderOutcome, QueueGauge};

    fn ask(line: &str) -> Answer {
        let mut bytes = format!("{line} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").into_bytes();
        let Read::Request(request, _) = Reader::new(Limits::DEFAULT).read(&mut bytes) else { panic!("a request") };
        file(&request)
    }

    #[test]
    fn files_are_there_and_locked_down() {
        let Answer::Document(page) = ask("GET /") else { panic!("a page") };
        let text = std::str::from_utf8(&page.body).unwrap();
        for (name, ..) in FILES.iter().filter(|(name, ..)| name.ends_with("css") || name.ends_with("d.js")) {
            assert!(text.contains(&format!("\"{name}\"")), "{name} is not loaded");
        }
        let policy = page.fields.iter().find(|(name, _)| *name == "content-security-policy").unwrap();
        assert!(policy.1.contains("frame-ancestors 'none'") && !policy.1.contains("unsafe"));
        assert!(page.fields.contains(&("x-content-type-options", "nosniff".to_owned())));
        for (name, ..) in FILES {
            assert_eq!(ask(&format!("GET /{name}")).status(), 200);
        }
        assert_eq!(ask("POST /").status(), 405);
        assert_eq!(ask("GET /nothing").status(), 404);
    }

    #[test]
    fn figures_add_the_cores_up_and_leave_unknown_what_was_not_seen() {
        let cores = [CoreCounters::default(), CoreCounters::default()];
        for core in &cores {
            core.decisions.order_answered(OrderOutcome::Accepted, std::time::Duration::from_micros(700));
            core.decisions.orders_pending.set(4);
        }
        cores[1].shell.kafka_down_ms.set(1500);
        let gauge = |name: &str, seen_ms: Option<u64>| ProductGauge {
            seen_ms,
            queue: seen_ms.map(|_| QueueGauge { slot: 3, waiting: 29, called: 41 }),
            ..ProductGauge::example(name)
        };
        cores[0].decisions.products.lock().unwrap().extend([gauge("phone", Some(120)), gauge("new", None)]);
        *cores[0].decisions.redis_findings.lock().unwrap() = Some(vec![Finding::example("appendonly")]);
        let figures: Value = serde_json::from_str(&figures(&cores, &Workers::default(), 5000)).unwrap();
        assert_eq!((&figures["orders"]["accepted"], &figures["orders"]["sold_out"]), (&json!(2), &json!(0)));
        assert_eq!((&figures["latency"]["boundsUs"][3], &figures["latency"]["counts"][3]), (&json!(1000), &json!(2)));
        assert_eq!(figures["latency"]["counts"].as_array().unwrap().len(), LATENCY_BOUNDS_US.len() + 1);
        assert_eq!((&figures["runningMs"], &figures["warnings"]), (&json!(5000), &json!(["appendonly"])));
        let core = json!({
            "started": false, "draining": false, "redisDownMs": 0, "kafkaDownMs": 1500, "connections": 0, "ordersPending": 4
        });
        assert_eq!(figures["cores"][1], core);
        let account = json!({ "conservation": "unknown", "units": null });
        let phone = json!({
            "product": "phone", "state": "open", "seenMs": 120, "stock": 41, "outboxOrders": 2, "outboxOldestMs": 3500,
            "accepted": 20, "line": { "slot": 3, "waiting": 29, "called": 41 }, "account": account
        });
        assert_eq!(figures["products"][0], phone);
        assert_eq!(
            (&figures["productsLeftOut"], &figures["undelivered"]),
            (&json!(0), &Value::Null),
            "one was not seen"
        );
        for unknown in ["seenMs", "stock", "outboxOrders", "outboxOldestMs", "line"] {
            assert_eq!(figures["products"][1][unknown], Value::Null, "{unknown}");
        }
        assert_eq!(figures["workers"], json!([]));
    }
}
