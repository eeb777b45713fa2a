//! Which request goes where, by listener: the public one, the admin one, the waiting room.
//!
//! Never decides about an order. `/livez`, `/readyz`, `/metrics` and the dashboard's figures look across cores and are the
//! shell's.

use std::time::Duration;

use flux_protocol::http::{Method, Request};
use flux_protocol::order::{Identifier, Uuid};
use flux_protocol::time::Now;

use crate::answer::{Answer, Framing, ReplyTo, Unavailable};
use crate::core::Core;
use crate::core::request::{Outcome, Role};
use crate::monitoring::dashboard;

impl Core {
    /// Answers a request, now or later; later exactly once, and in bounded time (`replies.rs`; an order by the deadlines of
    /// its stage).
    pub(crate) fn route(&mut self, now: Now, role: Role, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        if role == Role::Public && request.method == Method::Post && request.path == "/order" {
            return self.handle_order(now, request, reply_to);
        }
        if request.path == "*" {
            // What the server as a whole can do (RFC 9110 section 9.3.7); only OPTIONS has this target.
            return Outcome::Now(Answer::empty(204).with_field("allow", "GET, HEAD, POST, OPTIONS"));
        }
        let numbered = self.replies.begin(reply_to);
        let outcome = match role {
            Role::Public => self.route_public(now, request, numbered),
            Role::Admin => self.route_admin(now, request, numbered),
            Role::WaitingRoom => Outcome::Now(self.config.pages.waiting_room(request)),
        };
        match outcome {
            Outcome::Now(_) => self.replies.end(),
            Outcome::Later => {
                let (patience, late) = self.patience(request);
                self.replies.wait(now.instant + patience, late);
            }
        }
        outcome
    }

    /// How long a request other than an order may wait, and what it is told then. An operation goes on all the same,
    /// but its caller cannot know how it ends (503 unknown); of a read nothing was done (503 unavailable).
    fn patience(&self, request: &Request<'_>) -> (Duration, Answer) {
        match request.method {
            Method::Post => (2 * self.config.redis_deadline + self.config.publish_deadline, Answer::Unknown),
            _ => (self.config.redis_deadline, Answer::Unavailable(Unavailable::Redis)),
        }
    }

    /// How the answer to `request` is framed.
    pub(crate) fn framing_of(&self, request: &Request<'_>) -> Framing {
        let origin = request.fields.origin;
        Framing {
            connection: request.connection(),
            head_only: request.head_only(),
            cors: origin.is_some_and(|origin| origin == self.config.cors_origin.as_bytes()),
        }
    }

    fn route_public(&mut self, now: Now, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        if request.path == "/order" {
            return match request.method {
                Method::Options => Outcome::Now(self.preflight(request, "POST")),
                _ => not_allowed("POST, OPTIONS"),
            };
        }
        let read = matches!(request.method, Method::Get | Method::Head);
        let is_asked_by_pages = ["/stock/", "/queue/", "/order/"].iter().any(|route| request.path.starts_with(route));
        if request.method == Method::Options && is_asked_by_pages {
            return Outcome::Now(self.preflight(request, "GET, HEAD"));
        }
        if let Some(name) = request.path.strip_prefix("/stock/") {
            return match (read, Identifier::new(name.as_bytes())) {
                (false, _) => not_allowed("GET, HEAD, OPTIONS"),
                (true, None) => Outcome::Now(Answer::error(404, "Unknown product")),
                (true, Some(name)) => match self.products.known(name.as_bytes()) {
                    Some(index) => self.handle_stock(now, index, reply_to),
                    None => self.discover_for_stock(now, name, reply_to),
                },
            };
        }
        if let Some(name) = request.path.strip_prefix("/queue/") {
            return match (read, Identifier::new(name.as_bytes())) {
                (false, _) => not_allowed("GET, HEAD, OPTIONS"),
                (true, None) => Outcome::Now(Answer::error(404, "Unknown product")),
                (true, Some(name)) => match self.products.known(name.as_bytes()) {
                    Some(index) => self.handle_queue(now, index, reply_to),
                    None => self.discover_for_queue(now, name, reply_to),
                },
            };
        }
        if let Some(rest) = request.path.strip_prefix("/order/") {
            return if read { self.route_status(now, rest, reply_to) } else { not_allowed("GET, HEAD, OPTIONS") };
        }
        match request.path {
            "/init" | "/close" => self.route_operation(now, request, reply_to, true),
            _ => Outcome::Now(self.config.pages.shop(request)),
        }
    }

    fn route_status(&mut self, now: Now, rest: &str, reply_to: ReplyTo) -> Outcome {
        let Some((name, id)) = rest.split_once('/') else { return Outcome::Now(Answer::error(404, "Not found")) };
        match (Identifier::new(name.as_bytes()), Uuid::parse(id.as_bytes())) {
            (Some(name), Some(id)) => match self.products.known(name.as_bytes()) {
                Some(index) => self.handle_order_status(now, index, id, reply_to),
                None => self.discover_for_status(now, name, id, reply_to),
            },
            _ => Outcome::Now(Answer::error(404, "Unknown order")),
        }
    }

    fn route_admin(&mut self, now: Now, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        match request.path {
            "/init" | "/close" => self.route_operation(now, request, reply_to, self.config.admin_needs_token),
            _ => Outcome::Now(dashboard::file(request)),
        }
    }

    fn route_operation(&mut self, now: Now, request: &Request<'_>, reply_to: ReplyTo, needs_token: bool) -> Outcome {
        let token = self.config.admin_token.as_ref();
        if needs_token && token.is_none() {
            return Outcome::Now(Answer::error(404, "Not found"));
        }
        // Where none is needed, one that is sent is looked at all the same: who sends a wrong one is not who they say.
        if let Some(token) = token
            && (needs_token || request.fields.authorization.is_some())
        {
            if !token.matches_bearer(request.fields.authorization) {
                let refused = Answer::error(401, "Unauthorized").with_field("www-authenticate", "Bearer");
                return Outcome::Now(refused);
            }
        } else if !request.fields.host.is_none_or(is_local)
            || request.fields.origin.is_some_and(|origin| !is_same_origin(origin, request.fields.host))
        {
            // Without a token a page that the operator happens to have open must not be able to open a sale.
            return Outcome::Now(Answer::error(403, "Cross-origin request refused"));
        }
        match (request.method, request.path) {
            (Method::Post, "/init") => self.handle_init(now, request, reply_to),
            (Method::Post, _) => self.handle_close(now, request, reply_to),
            _ => not_allowed("POST"),
        }
    }

    /// The answer to a preflight (Fetch standard, CORS protocol): the waiting room's origin may do this.
    fn preflight(&self, request: &Request<'_>, methods: &'static str) -> Answer {
        let answer = Answer::empty(204);
        if !self.framing_of(request).cors || request.fields.access_control_request_method.is_none() {
            return answer.with_field("allow", format!("{methods}, OPTIONS"));
        }
        answer
            .with_field("access-control-allow-methods", methods)
            .with_field("access-control-allow-headers", &*self.config.cors_headers)
            .with_field("access-control-max-age", "86400")
    }
}

/// Whether a `host` field names this machine by itself: a name that somebody else's DNS resolves to loopback does not.
fn is_local(host: &[u8]) -> bool {
    let name = match host {
        [b'[', ..] => host.split(|byte| *byte == b']').next().unwrap_or_default(),
        _ => host.split(|byte| *byte == b':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case(b"localhost") || name.starts_with(b"127.") && is_address(name) || name == b"[::1"
}

fn is_address(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| name.parse::<std::net::Ipv4Addr>().is_ok())
}

fn is_same_origin(origin: &[u8], host: Option<&[u8]>) -> bool {
    host.is_some_and(|host| origin.strip_prefix(b"http://") == Some(host))
}

fn not_allowed(allow: &'static str) -> Outcome {
    Outcome::Now(Answer::error(405, "Method not allowed").with_field("allow", allow))
}
