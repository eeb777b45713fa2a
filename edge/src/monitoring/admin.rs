//! `/livez`, `/readyz`, `/metrics` and the dashboard's figures: what monitoring asks, across all cores, without a token.
//!
//! Never changes anything; `/init` and `/close` are the machine's.

use std::sync::PoisonError;

use flux_net::tls::Certificates;
use flux_protocol::exposition::Exposition;
use flux_protocol::http::{Date, Method, Persistence, Request, problem, response};

use crate::counters::CoreCounters;
use crate::limits::shell::READY_OUTAGE_MAX;
use crate::monitoring::dashboard;
use crate::monitoring::history::History;
use crate::monitoring::metrics;
use crate::monitoring::workers::Workers;

const JSON: &str = "application/json";

/// What is answered here. None of it asks Redis for anything.
pub(crate) const PATHS: [&str; 5] = ["/livez", "/readyz", "/metrics", dashboard::FIGURES_PATH, dashboard::HISTORY_PATH];

/// What they look at.
pub(crate) struct EdgeView<'a> {
    pub(crate) cores: &'a [CoreCounters],
    pub(crate) certificates: &'a Certificates,
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
    let EdgeView { cores, certificates, workers, history, running_ms } = *edge;
    if !PATHS.contains(&request.path) {
        return None;
    }
    if !matches!(request.method, Method::Get | Method::Head) {
        let fields = [response::JSON, ("allow", "GET, HEAD")];
        let body = problem::error(405, "Method not allowed");
        response::write(out, 405, date, &fields, body.as_bytes(), connection, false);
        return Some(405);
    }
    let form = Exposition::asked_for(request.fields.accept);
    let (status, content_type, body) = match request.path {
        "/livez" => (200, JSON, "{\"status\":\"alive\"}".to_owned()),
        "/readyz" => {
            let question = if request.has_parameter("deep") { Question::IsAllWell } else { Question::CanAnswer };
            let reasons = unready(cores, question);
            if reasons.is_empty() {
                (200, JSON, "{\"status\":\"ready\"}".to_owned())
            } else {
                (503, JSON, problem::unready("unready", &reasons))
            }
        }
        dashboard::HISTORY_PATH => (200, JSON, history.render(running_ms)),
        dashboard::FIGURES_PATH => (200, JSON, dashboard::figures(cores, workers, running_ms)),
        _ => (200, form.content_type(), form.of_open_metrics(metrics::render(cores, certificates))),
    };
    let fields = [("content-type", content_type), response::NO_STORE, ("vary", "accept")];
    // Of them only `/metrics` has two forms.
    let fields = if request.path == "/metrics" { &fields[..] } else { &fields[..2] };
    response::write(out, status, date, fields, body.as_bytes(), connection, request.head_only());
    Some(status)
}

/// What `/readyz` is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Whether this edge can answer, as a load balancer asks. While Kafka stands it can: a sold-out, a place in line and a
    /// replay need no Kafka, and a 202 is an answer, too. A balancer that took such edges out would tell the same of none.
    CanAnswer,
    /// Whether all is well, as an operator asks, and whoever waits for all servers: `?deep`.
    IsAllWell,
}

/// Why the answer to the question is no; nothing where it is yes.
fn unready(cores: &[CoreCounters], question: Question) -> Vec<String> {
    let outage_ms = u64::try_from(READY_OUTAGE_MAX.as_millis()).unwrap_or(u64::MAX);
    let mut reasons = Vec::new();
    for (index, core) in cores.iter().enumerate() {
        let refusal = core.decisions.redis_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &*refusal {
            reasons.push(format!("Redis lets no order through: {why} (core {index})"));
        }
        let lacks = core.decisions.redis_lacks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lacks) = lacks.as_ref().filter(|lacks| !lacks.is_empty()) {
            let lacks = lacks.join("; ");
            reasons.push(format!("the user of Redis lacks rights that an edge needs: {lacks} (core {index})"));
        }
        let refusal = core.decisions.kafka_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let kafka_fault = core.decisions.kafka_fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let redis_fault = core.decisions.redis_fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let core = &core.shell;
        if core.draining.get() == 1 {
            return vec!["draining".to_owned()];
        }
        let is_starting = core.started.get() == 0;
        // What has never been reached has been out of reach for long enough.
        let least = if is_starting { 0 } else { outage_ms };
        if let Some(why) = refusal.as_ref().filter(|_| core.kafka_down_ms.get() == 0 && question == Question::IsAllWell)
        {
            reasons.push(format!("Kafka takes nothing of this edge: {why} (core {index})"));
        }
        let why = |known: Option<String>| known.map_or_else(String::new, |why| format!(": {why}"));
        let links = [
            ("Redis", core.redis_down_ms.get(), why(redis_fault), true),
            ("Kafka", core.kafka_down_ms.get(), why(refusal.or(kafka_fault)), is_starting),
        ];
        for (name, down_ms, why, is_needed) in links {
            if down_ms > 0 && down_ms >= least && (is_needed || question == Question::IsAllWell) {
                reasons.push(format!("{name} out of reach for {down_ms} ms{why} (core {index})"));
            }
        }
        if is_starting && reasons.is_empty() {
            reasons.push(format!("starting (core {index})"));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Question; 2] = [Question::CanAnswer, Question::IsAllWell];

    #[test]
    fn ready_means_reached_once_and_redis_not_lost_for_a_second() {
        let cores = [CoreCounters::default(), CoreCounters::default()];
        for question in BOTH {
            for core in &cores {
                core.shell.started.set(0);
            }
            assert_eq!(unready(&cores, question)[0], "starting (core 0)");
            cores[0].shell.redis_down_ms.set(3);
            assert_eq!(unready(&cores, question)[0], "Redis out of reach for 3 ms (core 0)");
            cores[0].shell.redis_down_ms.set(0);
            cores[0].shell.kafka_down_ms.set(3);
            assert_eq!(
                unready(&cores, question)[0],
                "Kafka out of reach for 3 ms (core 0)",
                "no order was possible yet"
            );
            cores[0].shell.kafka_down_ms.set(0);
            for core in &cores {
                core.shell.started.set(1);
            }
            assert!(unready(&cores, question).is_empty());
            cores[1].shell.redis_down_ms.set(999);
            assert!(unready(&cores, question).is_empty(), "a blip is no outage");
            cores[1].shell.redis_down_ms.set(1000);
            assert_eq!(unready(&cores, question), ["Redis out of reach for 1000 ms (core 1)"]);
            *cores[1].decisions.redis_fault.lock().expect("not poisoned") = Some("connection refused".into());
            assert_eq!(unready(&cores, question), ["Redis out of reach for 1000 ms: connection refused (core 1)"]);
            *cores[1].decisions.redis_fault.lock().expect("not poisoned") = None;
            cores[1].shell.redis_down_ms.set(0);
        }
    }

    #[test]
    fn an_edge_answers_while_kafka_stands_and_all_is_not_well() {
        let cores = [CoreCounters::default(), CoreCounters::default()];
        cores.iter().for_each(|core| core.shell.started.set(1));
        cores[1].shell.kafka_down_ms.set(60_000);
        assert!(unready(&cores, Question::CanAnswer).is_empty());
        assert_eq!(unready(&cores, Question::IsAllWell), ["Kafka out of reach for 60000 ms (core 1)"]);
        let why = "broker:9092: the broker refuses user shop by PLAIN: no";
        *cores[1].decisions.kafka_refusal.lock().expect("not poisoned") = Some(why.into());
        assert_eq!(unready(&cores, Question::IsAllWell), [format!("Kafka out of reach for 60000 ms: {why} (core 1)")]);
        // A broker that can be reached, and takes no record of this user.
        cores[1].shell.kafka_down_ms.set(0);
        assert_eq!(unready(&cores, Question::IsAllWell), [format!("Kafka takes nothing of this edge: {why} (core 1)")]);
        assert!(unready(&cores, Question::CanAnswer).is_empty());
    }

    #[test]
    fn an_edge_that_sells_nothing_or_drains_is_not_ready() {
        let cores = [CoreCounters::default(), CoreCounters::default()];
        cores.iter().for_each(|core| core.shell.started.set(1));
        for question in BOTH {
            *cores[0].decisions.redis_refusal.lock().expect("not poisoned") = Some("OOM command not allowed".into());
            assert_eq!(unready(&cores, question), ["Redis lets no order through: OOM command not allowed (core 0)"]);
            cores[0].shell.draining.set(1);
            assert_eq!(unready(&cores, question), ["draining"]);
            cores[0].shell.draining.set(0);
            *cores[0].decisions.redis_refusal.lock().expect("not poisoned") = None;
            let without = "without SET product:{x}:stock: no sale is opened; no sale is closed";
            *cores[0].decisions.redis_lacks.lock().expect("not poisoned") = Some(vec![without.to_owned()]);
            assert_eq!(
                unready(&cores, question),
                [format!("the user of Redis lacks rights that an edge needs: {without} (core 0)")]
            );
            *cores[0].decisions.redis_lacks.lock().expect("not poisoned") = Some(Vec::new());
        }
    }
}
