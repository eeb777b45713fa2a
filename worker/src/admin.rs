//! The admin listener: `/livez`, `/readyz`, `/metrics`, and `GET /order/{product}/{order}` from the ledger.
//!
//! A request has one deadline, from the end of the one before it to its own last byte: a client that sends a byte now
//! and then has no more of it than one that sends none. Probes have places of their own ([`crate::seats`]); a client
//! that finds none is told 503.
//!
//! Never writes anything and needs no token: it tells nothing that a caller could not be told.

use std::rc::Rc;
use std::time::Duration;

use flux_net::stream::try_read;
use flux_net::{Bound, Clock, Listener, Stream, Window, within};
use flux_protocol::exposition::Exposition;
use flux_protocol::http::{Date, Limits, Method, Persistence, Read, Reader, Refusal, Request, problem, response};
use flux_protocol::order::{Uuid, is_identifier};
use tracing::warn;

use crate::health::Health;
use crate::ledger::OrderStatus;
use crate::limits::{ADMIN_PROBE_TIMEOUT, ADMIN_REQUEST_TIMEOUT};
use crate::metrics::Metrics;
use crate::order_status::Questions;
use crate::seats::{Seat, Seats};

/// Room for a request at first; a probe's is some 100 bytes.
const BUFFER_BYTES: usize = 1024;

/// Whether an order is stored may be read by any page: it needs the order's id, which nobody guesses, and no credentials
/// are looked at, so a browser's owner is told nothing that another client would not be.
const OPEN_TO_PAGES: (&str, &str) = ("access-control-allow-origin", "*");

/// What the listener tells of.
pub struct Admin {
    pub health: Rc<Health>,
    pub metrics: Rc<Metrics>,
    /// For `GET /order`.
    pub questions: Rc<Questions>,
    pub clock: Clock,
}

/// An answer, before it is written.
struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
    /// `allow` of a 405, `retry-after` of a 503.
    field: Option<(&'static str, &'static str)>,
}

impl Answer {
    fn json(status: u16, body: String) -> Answer {
        Answer { status, content_type: "application/json", body, field: None }
    }

    /// `{"error": …}`, with the members of RFC 9457.
    fn error(status: u16, error: &str) -> Answer {
        Answer::json(status, problem::error(status, error))
    }

    /// There is no place.
    fn full() -> Answer {
        let body = problem::refusal(503, "unavailable", "Too many connections");
        Answer { field: Some(("retry-after", "1")), ..Answer::json(503, body) }
    }

    fn text(status: u16, body: &str) -> Answer {
        Answer { status, content_type: "text/plain; charset=utf-8", body: body.to_owned(), field: None }
    }
}

/// Serves until the process ends.
///
/// # Errors
/// The runtime does not take the socket.
pub async fn serve(admin: Rc<Admin>, listener: Bound) -> std::io::Result<()> {
    let listener = Listener::new(listener)?;
    let seats = Seats::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a connection that went while it waited: the next one may be had.
                warn!(%error, "the admin listener could not accept");
                flux_net::sleep(Duration::from_millis(100)).await?;
                continue;
            }
        };
        let Some(seat) = seats.take(peer) else {
            admin.turn_away(&stream);
            continue;
        };
        let admin = Rc::clone(&admin);
        flux_net::spawn(async move { admin.converse(stream, seat).await });
    }
}

impl Admin {
    /// Tells that there is no place, without giving one: nothing here waits.
    fn turn_away(&self, stream: &Stream) {
        self.metrics.turned_away();
        // The request has come with the connection; unread, it would turn the close into a reset that overtakes the answer.
        let mut request = [0; 4096];
        let head_only = try_read(stream, &mut request).is_ok_and(|bytes| request[..bytes].starts_with(b"HEAD "));
        let mut out = Vec::new();
        self.write(&mut out, Answer::full(), Persistence::Close, head_only, false);
        // The connection is closed either way.
        let _ = stream.try_write(&out);
    }

    fn write(&self, out: &mut Vec<u8>, answer: Answer, connection: Persistence, head_only: bool, to_pages: bool) {
        let date = Date::new(self.clock.now().wall_ms / 1000);
        let mut fields = vec![("content-type", answer.content_type), response::NO_STORE];
        fields.extend(answer.field);
        fields.extend(to_pages.then_some(OPEN_TO_PAGES));
        response::write(out, answer.status, &date, &fields, answer.body.as_bytes(), connection, head_only);
    }

    /// One connection, request after request; one, where it sits in the reserve.
    async fn converse(&self, mut stream: Stream, seat: Seat) {
        let limits = Limits::DEFAULT;
        let time = if seat.is_reserved() { ADMIN_PROBE_TIMEOUT } else { ADMIN_REQUEST_TIMEOUT };
        let mut deadline = self.clock.instant() + time;
        let mut reader = Reader::new(limits);
        let mut window = Window::with_capacity(BUFFER_BYTES);
        let mut out = Vec::new();
        loop {
            let mut is_last = false;
            loop {
                let consumed = match reader.read(window.unread()) {
                    Read::Incomplete => break,
                    Read::Request(request, consumed) => {
                        is_last = !request.keep_alive || seat.is_reserved();
                        let connection = if is_last { Persistence::Close } else { request.connection() };
                        let is_probe = matches!(request.path, "/livez" | "/readyz" | "/metrics");
                        let answer = if seat.is_reserved() && !is_probe {
                            self.metrics.turned_away();
                            Answer::full()
                        } else {
                            self.answer(&request).await
                        };
                        let to_pages = request.path.starts_with("/order/");
                        self.write(&mut out, answer, connection, request.head_only(), to_pages);
                        deadline = self.clock.instant() + time;
                        consumed
                    }
                    Read::Refused(refusal) => {
                        refusal.write(&mut out, &Date::new(self.clock.now().wall_ms / 1000));
                        is_last = refusal.close || seat.is_reserved();
                        deadline = self.clock.instant() + time;
                        refusal.consumed
                    }
                };
                window.consume(consumed);
                if is_last {
                    break;
                }
            }
            if reader.expects_continue() {
                out.extend_from_slice(response::CONTINUE);
                reader.continue_sent();
            }
            if !out.is_empty() {
                // The kernel ends a connection whose peer takes nothing (`flux_net::limits::UNTAKEN_TIME_MAX`).
                let (result, buffer) = stream.write_all(out).await;
                if result.is_err() {
                    return;
                }
                out = buffer;
                out.clear();
            }
            if is_last || !window.make_room(limits.buffer_bytes_max() + 1) {
                return;
            }
            let late = reader.refuse_unfinished(window.unread(), Refusal::TIMEOUT);
            match within(deadline.since(self.clock.instant()), stream.read(std::mem::take(&mut window))).await {
                Ok(Some((Ok(1..), filled))) => window = filled,
                Ok(Some((Ok(_) | Err(_), _))) | Err(_) => return,
                Ok(None) => return self.time_out(&stream, &reader, &late),
            }
        }
    }

    /// The peer has said nothing for too long: told so where it had begun a request. Never waits: it may take no answers.
    fn time_out(&self, stream: &Stream, reader: &Reader, late: &Refusal) {
        if reader.stage() != flux_protocol::http::Stage::Idle {
            let mut out = Vec::new();
            late.write(&mut out, &Date::new(self.clock.now().wall_ms / 1000));
            // The connection is closed either way.
            let _ = stream.try_write(&out);
        }
    }

    async fn answer(&self, request: &Request<'_>) -> Answer {
        let order = request.path.strip_prefix("/order/");
        let known = matches!(request.path, "/livez" | "/readyz" | "/metrics") || order.is_some();
        if known && !matches!(request.method, Method::Get | Method::Head) {
            let answer = Answer::error(405, "Method Not Allowed");
            return Answer { field: Some(("allow", "GET, HEAD")), ..answer };
        }
        match (request.path, order) {
            ("/livez", _) => Answer::text(200, "ok\n"),
            ("/readyz", _) => self.readiness(request.has_parameter("deep")),
            ("/metrics", _) => {
                let form = Exposition::asked_for(request.fields.accept);
                let body = form.of_open_metrics(self.metrics.render());
                Answer { status: 200, content_type: form.content_type(), body, field: Some(("vary", "accept")) }
            }
            (_, Some(order)) => self.order(order).await,
            _ => Answer::error(404, "Not Found"),
        }
    }

    fn readiness(&self, is_deep: bool) -> Answer {
        let now = self.clock.instant();
        let complaints = if is_deep { self.health.deep_complaints(now) } else { self.health.complaints(now) };
        if complaints.is_empty() {
            return Answer::json(200, r#"{"status":"ready"}"#.to_owned());
        }
        Answer::json(503, problem::unready("unavailable", &complaints))
    }

    async fn order(&self, path: &str) -> Answer {
        let parsed = path.split_once('/').and_then(|(product, order)| {
            is_identifier(product.as_bytes()).then_some(product).zip(Uuid::parse(order.as_bytes()))
        });
        let unknown = || Answer::error(404, "Unknown order");
        let Some((product, order_id)) = parsed else { return unknown() };
        match self.questions.order_status(order_id).await {
            Ok(Some(OrderStatus { product_id, rejected })) if product_id == product => {
                let body = match rejected {
                    None => serde_json::json!({ "orderId": order_id.to_string(), "status": "stored" }),
                    Some(reason) => serde_json::json!({
                        "orderId": order_id.to_string(), "status": "rejected", "reason": reason
                    }),
                };
                Answer::json(200, body.to_string())
            }
            Ok(_) => unknown(),
            Err(_) => {
                let answer = Answer::json(503, problem::refusal(503, "unavailable", "The ledger is out of reach"));
                Answer { field: Some(("retry-after", "1")), ..answer }
            }
        }
    }
}
