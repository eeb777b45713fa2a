//! What pages of other origins may do: the one that is configured may order and read answers, others may not.

use flux_protocol::http::{Fields, Method, Request};
use flux_protocol::order::Identifier;

use super::{Bench, FIELDS, ORIGIN, at};
use crate::answer::{Answer, ReplyTo};
use crate::core::machine::Machine;
use crate::core::request::{Outcome, Role};
use crate::sale::SaleState;

/// A preflight's answer as it is written, for a page of this origin.
fn preflight(bench: &mut Bench, origin: &'static [u8], path: &str) -> String {
    let fields = Fields { origin: Some(origin), access_control_request_method: Some(b"POST"), ..FIELDS };
    let method = Method::Options;
    let request = Request { method, version_minor: 1, path, query: None, fields, body: b"", keep_alive: true };
    let ticket = ReplyTo { conn: 0, generation: 0, position: u32::MAX };
    let Outcome::Now(answer) = bench.core.handle_request(at(bench.now), Role::Public, &request, ticket) else {
        panic!("it is answered from memory")
    };
    bench.answers.insert(u32::MAX, answer);
    bench.origin = Some(origin);
    bench.written(u32::MAX)
}

#[test]
fn a_preflight_lets_the_configured_origin_in_and_nobody_else() {
    let mut bench = Bench::new();
    let told = preflight(&mut bench, ORIGIN, "/order");
    assert!(told.starts_with("HTTP/1.1 204 No Content\r\n"), "{told}");
    for field in [
        "access-control-allow-origin: http://localhost:4000",
        "access-control-allow-methods: POST",
        "access-control-allow-headers: content-type, traceparent",
        "access-control-max-age: 86400",
        "vary: origin",
    ] {
        assert!(told.contains(&format!("\r\n{field}\r\n")), "{field} in {told}");
    }
    for stranger in [&b"http://localhost:4001"[..], b"https://localhost:4000", b"null"] {
        let told = preflight(&mut bench, stranger, "/order");
        assert!(!told.contains("access-control-"), "{told}");
    }
    // Whatever a page asks may carry its tracing, which makes a preflight of a plain GET.
    for path in ["/stock/p", "/queue/p", "/order/p/6933e8c6-dc7e-8652-9469-7549a1078b6f"] {
        let told = preflight(&mut bench, ORIGIN, path);
        for field in ["methods: GET, HEAD", "headers: content-type, traceparent"] {
            assert!(told.contains(&format!("\r\naccess-control-allow-{field}\r\n")), "{path}: {told}");
        }
    }
    let operators = preflight(&mut bench, ORIGIN, "/init");
    assert!(operators.starts_with("HTTP/1.1 404 "), "{operators}");
}

#[test]
fn a_page_reads_where_to_wait_and_for_how_long() {
    let mut bench = Bench::with(super::config(), |redis| {
        redis.opens = flux_protocol::time::Instant::from_micros(60_000_000);
    });
    bench.origin = Some(ORIGIN);
    bench.accept = Some(b"application/json");
    let order = bench.orders(&["a"])[0];
    let told = bench.written(order);
    for part in [
        "HTTP/1.1 429 Too Many Requests\r\n",
        "access-control-allow-origin: http://localhost:4000\r\n",
        "access-control-expose-headers: idempotency-replayed, retry-after\r\n",
        "retry-after: 1\r\n",
        "\"location\":\"http://localhost:4000/?product=p\"",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

/// A browser keeps the line's document for a second: what the shop got without an origin is what the waiting room reads.
#[test]
fn what_caches_keep_may_be_read_whoever_asked_for_it() {
    let mut bench = Bench::new();
    let written_for_nobody = |bench: &mut Bench, answer| {
        bench.answers.insert(u32::MAX, answer);
        bench.origin = None;
        bench.written(u32::MAX)
    };
    let told = written_for_nobody(&mut bench, Answer::Queue("{}".into()));
    assert!(told.contains("\r\naccess-control-allow-origin: http://localhost:4000\r\n"), "{told}");
    let stock =
        Answer::Stock { product: Identifier::new(b"p").expect("a name"), available: Some(1), state: SaleState::Open };
    let told = written_for_nobody(&mut bench, stock);
    assert!(!told.contains("access-control-"), "kept by nobody: {told}");
}
