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

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// What the server as a whole can do.
    Server,
    /// An order.
    Order,
    /// What is left of a product.
    Stock,
    /// The document of a product's fair queue.
    Queue,
    /// How far an order is.
    Status,
    /// Opening a sale.
    Init,
    /// Closing one.
    Close,
    /// The shop's files.
    Shop,
    /// The operator's page.
    Dashboard,
    /// The waiting room's files.
    WaitingRoom,
}

/// What a path has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// This one.
    Is(&'static str),
    /// One that begins so.
    Begins(&'static str),
}

/// Every route of the machine, by listener; the first that fits counts. What the most is that one request of each can ask of Redis
/// stands in `tests/routes.rs`.
pub(crate) const ROUTES: [(Role, Pattern, Route); 14] = [
    (Role::Public, Pattern::Is("/order"), Route::Order),
    (Role::Public, Pattern::Begins("/stock/"), Route::Stock),
    (Role::Public, Pattern::Begins("/queue/"), Route::Queue),
    (Role::Public, Pattern::Begins("/order/"), Route::Status),
    (Role::Public, Pattern::Is("/init"), Route::Init),
    (Role::Public, Pattern::Is("/close"), Route::Close),
    (Role::Public, Pattern::Is("*"), Route::Server),
    (Role::Public, Pattern::Begins(""), Route::Shop),
    (Role::Admin, Pattern::Is("/init"), Route::Init),
    (Role::Admin, Pattern::Is("/close"), Route::Close),
    (Role::Admin, Pattern::Is("*"), Route::Server),
    (Role::Admin, Pattern::Begins(""), Route::Dashboard),
    (Role::WaitingRoom, Pattern::Is("*"), Route::Server),
    (Role::WaitingRoom, Pattern::Begins(""), Route::WaitingRoom),
];

/// Where `path` leads on a listener, and what of it stands behind the route's own part.
fn find(role: Role, path: &str) -> (Route, &str) {
    let of_listener = ROUTES.iter().filter(|(its, ..)| *its == role);
    let mut fitting = of_listener.filter_map(|(_, pattern, route)| match *pattern {
        Pattern::Is(whole) => (path == whole).then_some((*route, "")),
        Pattern::Begins(start) => path.strip_prefix(start).map(|rest| (*route, rest)),
    });
    fitting.next().expect("the last route of each listener fits every path")
}

impl Core {
    /// Answers a request, now or later; later exactly once, and in bounded time (`replies.rs`; an order by the deadlines of
    /// its stage).
    pub(crate) fn route(&mut self, now: Now, role: Role, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        if role == Role::Public && request.method == Method::Post && request.path == "/order" {
            return self.handle_order(now, request, reply_to);
        }
        let (route, rest) = find(role, request.path);
        let numbered = self.replies.begin(reply_to);
        let outcome = self.follow(now, role, route, rest, request, numbered);
        match outcome {
            Outcome::Now(_) => self.replies.end(),
            Outcome::Later => {
                let (patience, late) = self.patience(request);
                self.replies.wait(now.instant + patience, late);
            }
        }
        outcome
    }

    /// The answer of a route; `rest` is what of the path stands behind its own part.
    fn follow(
        &mut self,
        now: Now,
        role: Role,
        route: Route,
        rest: &str,
        request: &Request<'_>,
        reply_to: ReplyTo,
    ) -> Outcome {
        match route {
            // RFC 9110 section 9.3.7; only OPTIONS has this target.
            Route::Server => Outcome::Now(Answer::empty(204).with_field("allow", "GET, HEAD, POST, OPTIONS")),
            // Orders have gone another way.
            Route::Order if request.method == Method::Options => Outcome::Now(self.preflight(request, "POST")),
            Route::Order => not_allowed("POST, OPTIONS"),
            Route::Stock | Route::Queue | Route::Status => match request.method {
                Method::Options => Outcome::Now(self.preflight(request, "GET, HEAD")),
                Method::Get | Method::Head => self.read(now, route, rest, reply_to),
                Method::Post | Method::Other => not_allowed("GET, HEAD, OPTIONS"),
            },
            Route::Init | Route::Close => self.operate(now, role, route, request, reply_to),
            Route::Shop => Outcome::Now(self.config.pages.shop(request)),
            Route::Dashboard => Outcome::Now(dashboard::file(request)),
            Route::WaitingRoom => Outcome::Now(self.config.pages.waiting_room(request)),
        }
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

    fn read(&mut self, now: Now, route: Route, rest: &str, reply_to: ReplyTo) -> Outcome {
        if route == Route::Status {
            return self.read_status(now, rest, reply_to);
        }
        let Some(name) = Identifier::new(rest.as_bytes()) else {
            return Outcome::Now(Answer::error(404, "Unknown product"));
        };
        match (route, self.products.known(name.as_bytes())) {
            (Route::Queue, Some(index)) => self.handle_queue(now, index, reply_to),
            (Route::Queue, None) => self.discover_for_queue(now, name, reply_to),
            (_, Some(index)) => self.handle_stock(now, index, reply_to),
            (_, None) => self.discover_for_stock(now, name, reply_to),
        }
    }

    fn read_status(&mut self, now: Now, rest: &str, reply_to: ReplyTo) -> Outcome {
        let Some((name, id)) = rest.split_once('/') else { return Outcome::Now(Answer::error(404, "Not found")) };
        match (Identifier::new(name.as_bytes()), Uuid::parse(id.as_bytes())) {
            (Some(name), Some(id)) => match self.products.known(name.as_bytes()) {
                Some(index) => self.handle_order_status(now, index, id, reply_to),
                None => self.discover_for_status(now, name, id, reply_to),
            },
            _ => Outcome::Now(Answer::error(404, "Unknown order")),
        }
    }

    fn operate(&mut self, now: Now, role: Role, route: Route, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        let needs_token = role == Role::Public || self.config.admin_needs_token;
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
        match (request.method, route) {
            (Method::Post, Route::Init) => self.handle_init(now, request, reply_to),
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
