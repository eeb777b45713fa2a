//! `/livez`, `/readyz`, `/metrics` and the dashboard's figures: what monitoring asks, across all cores, without a token.
//!
//! Never changes anything; `/init` and `/close` are the machine's.

use std::sync::PoisonError;

use flux_protocol::exposition::Exposition;
use flux_protocol::http::{Date, Method, Persistence, Request, response};

use crate::counters::CoreCounters;
use crate::limits::shell::READY_OUTAGE_MAX;
use crate::monitoring::dashboard;
use crate::monitoring::history::History;
use crate::monitoring::metrics;
use crate::monitoring::workers::Workers;

const JSON: &str = "application/json";

/// What they look at.
pub(crate) struct EdgeView<'a> {
    pub(crate) cores: &'a [CoreCounters],
    pub(crate) workers: &'a Workers,
    pub(crate) history: &'a History,
    /// Since when it counts.
    pub(crate) running_ms: u64,
}

/// Appends the whole answer where the request is for one of them, and gives its status.
pub(crate) fn answer(
    edge: &EdgeView<'_>,
    request: &Request<'_>,
    connection: Persistence,
    date: &Date,
    out: &mut Vec<u8>,
) -> Option<u16> {
    let EdgeView { cores, workers, history, running_ms } = *edge;
    if !matches!(request.path, "/livez" | "/readyz" | "/metrics" | dashboard::FIGURES_PATH | dashboard::HISTORY_PATH) {
        return None;
    }
    if !matches!(request.method, Method::Get | Method::Head) {
        let fields = [response::JSON, ("allow", "GET, HEAD")];
        response::write(out, 405, date, &fields, b"{\"error\":\"Method not allowed\"}", connection, false);
        return Some(405);
    }
    let form = Exposition::asked_for(request.fields.accept);
    let (status, content_type, body) = match request.path {
        "/livez" => (200, JSON, "{\"status\":\"alive\"}".to_owned()),
        "/readyz" => {
            let reasons = unready(cores);
            if reasons.is_empty() {
                (200, JSON, "{\"status\":\"ready\"}".to_owned())
            } else {
                let body = serde_json::json!({ "status": "unready", "reasons": reasons });
                (503, JSON, body.to_string())
            }
        }
        dashboard::HISTORY_PATH => (200, JSON, history.render(running_ms)),
        dashboard::FIGURES_PATH => (200, JSON, dashboard::figures(cores, workers, running_ms)),
        _ => (200, form.content_type(), form.of_open_metrics(metrics::render(cores))),
    };
    let fields = [("content-type", content_type), response::NO_STORE, ("vary", "accept")];
    // Of them only `/metrics` has two forms.
    let fields = if request.path == "/metrics" { &fields[..] } else { &fields[..2] };
    response::write(out, status, date, fields, body.as_bytes(), connection, request.head_only());
    Some(status)
}

/// Why no load balancer should send anything here; nothing where it should.
fn unready(cores: &[CoreCounters]) -> Vec<String> {
    let outage_ms = u64::try_from(READY_OUTAGE_MAX.as_millis()).unwrap_or(u64::MAX);
    let mut reasons = Vec::new();
    for (index, core) in cores.iter().enumerate() {
        let refusal = core.decisions.redis_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &*refusal {
            reasons.push(format!("Redis lets no order through: {why} (core {index})"));
        }
        let core = &core.shell;
        if core.draining.get() == 1 {
            return vec!["draining".to_owned()];
        }
        // What has never been reached has been out of reach for long enough.
        let least = if core.started.get() == 0 { 0 } else { outage_ms };
        for (name, down_ms) in [("Redis", core.redis_down_ms.get()), ("Kafka", core.kafka_down_ms.get())] {
            if down_ms > 0 && down_ms >= least {
                reasons.push(format!("{name} out of reach for {down_ms} ms (core {index})"));
            }
        }
        if core.started.get() == 0 && reasons.is_empty() {
            reasons.push(format!("starting (core {index})"));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_reached_once_and_not_lost_for_a_second() {
        let cores = [CoreCounters::default(), CoreCounters::default()];
        assert_eq!(unready(&cores), ["starting (core 0)"]);
        cores[0].shell.redis_down_ms.set(3);
        assert_eq!(unready(&cores)[0], "Redis out of reach for 3 ms (core 0)");
        for core in &cores {
            core.shell.started.set(1);
            core.shell.redis_down_ms.set(0);
        }
        assert!(unready(&cores).is_empty());
        cores[1].shell.kafka_down_ms.set(999);
        assert!(unready(&cores).is_empty(), "a blip is no outage");
        cores[1].shell.kafka_down_ms.set(1000);
        assert_eq!(unready(&cores), ["Kafka out of reach for 1000 ms (core 1)"]);
        cores[1].shell.kafka_down_ms.set(0);
        *cores[0].decisions.redis_refusal.lock().expect("not poisoned") = Some("OOM command not allowed".into());
        assert_eq!(unready(&cores), ["Redis lets no order through: OOM command not allowed (core 0)"]);
        cores[0].shell.draining.set(1);
        assert_eq!(unready(&cores), ["draining"]);
    }
}
