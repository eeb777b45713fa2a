//! The admin listener: `/livez`, `/readyz`, `/metrics`, and `GET /order/{product}/{order}` from the ledger.
//!
//! Never writes anything and needs no token: it tells nothing that a caller could not be told.

use std::cell::Cell;
use std::rc::Rc;

use flux_net::{Bound, Clock, Listener, Stream, Window, within};
use flux_protocol::exposition::Exposition;
use flux_protocol::http::{Date, Limits, Method, Read, Reader, Refusal, Request, response};
use flux_protocol::order::{Uuid, is_identifier};
use tracing::warn;

use crate::desk::Desk;
use crate::health::Health;
use crate::ledger::OrderStatus;
use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_REQUEST_TIMEOUT};
use crate::metrics::Metrics;

/// Room for a request at first; a probe's is some 100 bytes.
const BUFFER_BYTES: usize = 1024;

/// Whether an order is stored may be read by any page: it needs the order's id, which nobody guesses, and no credentials
/// are looked at, so a browser's owner is told nothing that another client would not be.
const OPEN_TO_PAGES: (&str, &str) = ("access-control-allow-origin", "*");

/// What the listener tells of.
pub struct Admin {
    /// For `/readyz`.
    pub health: Rc<Health>,
    /// For `/metrics`.
    pub metrics: Rc<Metrics>,
    /// For `GET /order`.
    pub desk: Rc<Desk>,
    /// The one clock.
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
    let connections = Rc::new(Cell::new(0_usize));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or a connection that went while it waited: the next one may be had.
                warn!(%error, "the admin listener could not accept");
                flux_net::sleep(std::time::Duration::from_millis(100)).await?;
                continue;
            }
        };
        if connections.get() >= ADMIN_CONNECTIONS_MAX {
            continue; // Dropped, and so closed.
        }
        connections.set(connections.get() + 1);
        let (admin, connections) = (Rc::clone(&admin), Rc::clone(&connections));
        flux_net::spawn(async move {
            admin.converse(stream).await;
            connections.set(connections.get() - 1);
        });
    }
}

impl Admin {
    /// One connection, request after request.
    async fn converse(&self, mut stream: Stream) {
        let limits = Limits::DEFAULT;
        let mut reader = Reader::new(limits);
        let mut window = Window::with_capacity(BUFFER_BYTES);
        let mut out = Vec::new();
        loop {
            let mut is_last = false;
            loop {
                let date = Date::new(self.clock.now().wall_ms / 1000);
                let consumed = match reader.read(window.unread()) {
                    Read::Incomplete => break,
                    Read::Request(request, consumed) => {
                        let answer = self.answer(&request).await;
                        let mut fields = vec![("content-type", answer.content_type), response::NO_STORE];
                        fields.extend(answer.field);
                        if request.path.starts_with("/order/") {
                            fields.push(OPEN_TO_PAGES);
                        }
                        let body = answer.body.as_bytes();
                        let (connection, head_only) = (request.connection(), request.head_only());
                        response::write(&mut out, answer.status, &date, &fields, body, connection, head_only);
                        is_last = !request.keep_alive;
                        consumed
                    }
                    Read::Refused(refusal) => {
                        refusal.write(&mut out, &date);
                        is_last = refusal.close;
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
            match within(ADMIN_REQUEST_TIMEOUT, stream.read(std::mem::take(&mut window))).await {
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
            let answer = Answer::json(405, r#"{"error":"Method Not Allowed"}"#.to_owned());
            return Answer { field: Some(("allow", "GET, HEAD")), ..answer };
        }
        match (request.path, order) {
            ("/livez", _) => Answer::text(200, "ok\n"),
            ("/readyz", _) => self.readiness(),
            ("/metrics", _) => {
                let form = Exposition::asked_for(request.fields.accept);
                let body = form.of_open_metrics(self.metrics.render());
                Answer { status: 200, content_type: form.content_type(), body, field: Some(("vary", "accept")) }
            }
            (_, Some(order)) => self.order(order).await,
            _ => Answer::json(404, r#"{"error":"Not Found"}"#.to_owned()),
        }
    }

    fn readiness(&self) -> Answer {
        let complaints = self.health.complaints(self.clock.instant());
        if complaints.is_empty() {
            return Answer::json(200, r#"{"status":"ready"}"#.to_owned());
        }
        let body = serde_json::json!({ "status": "unavailable", "reasons": complaints });
        Answer::json(503, body.to_string())
    }

    async fn order(&self, path: &str) -> Answer {
        let parsed = path.split_once('/').and_then(|(product, order)| {
            is_identifier(product.as_bytes()).then_some(product).zip(Uuid::parse(order.as_bytes()))
        });
        let unknown = || Answer::json(404, r#"{"error":"Unknown order"}"#.to_owned());
        let Some((product, order_id)) = parsed else { return unknown() };
        match self.desk.order_status(order_id).await {
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
                let answer =
                    Answer::json(503, r#"{"status":"unavailable","msg":"The ledger is out of reach"}"#.to_owned());
                Answer { field: Some(("retry-after", "1")), ..answer }
            }
        }
    }
}
