//! What the most is that one request can make Redis do, route by route: of each kind of call that its route needs, one, of a bounded
//! length; and how many of a kind are on their way is bounded, however many ask. docs/GUARANTEES.md shows the same as a table.

use std::collections::BTreeSet;
use std::sync::Arc;

use flux_protocol::http::{Fields, KeyField, Method, Request};
use flux_protocol::order::IDENTIFIER_BYTES_MAX;

use super::redis::{Asked, FakeQueue, array};
use super::{Bench, FIELDS, at, config};
use crate::answer::ReplyTo;
use crate::core::machine::Machine;
use crate::core::request::{Outcome, Role};
use crate::core::routes::{Pattern, ROUTES, Route};
use crate::limits::{
    CALL_ORDERS_MAX, CALLS_OUTSTANDING_MAX, DISCOVER_CALLS_MAX, DISCOVER_NAMES_MAX, GATHERED_SALES_MAX,
    LEASES_OUTSTANDING_MAX, LOOKUP_RECORDS_MAX, LOOKUPS_OUTSTANDING_MAX, OPERATIONS_MAX, QUEUES_OUTSTANDING_MAX,
    REFRESH_PRODUCTS_MAX, REFRESHES_OUTSTANDING_MAX, STATUS_CALLS_MAX, STATUS_IDS_MAX,
};
use crate::monitoring::admin;

/// What one request of a route can ask for.
struct Bound {
    /// Names of calls, one a kind; each is written once at most.
    calls: &'static [&'static str],
    /// Bytes of all arguments of one of them, with the longest identifiers.
    bytes_max: usize,
}

/// Every route of the machine has its bound here: one without does not compile.
fn bound(route: Route) -> Bound {
    match route {
        // First the product, where this core does not know it (`EXISTS`: whether there is a registry, before a 404); then a token
        // where the sale has a limit; then the order, or the look-up of its record.
        Route::Order => Bound { calls: &["refresh", "EXISTS", "lease", "replay_lookup", "reserve"], bytes_max: 1400 },
        // A refresh of a sale with a fair queue asks for the queue's status, too.
        Route::Stock => Bound { calls: &["refresh", "EXISTS", "lease"], bytes_max: 1400 },
        Route::Queue => Bound { calls: &["refresh", "EXISTS", "lease", "queue"], bytes_max: 1400 },
        Route::Status => Bound { calls: &["refresh", "EXISTS", "lease", "status"], bytes_max: 1400 },
        // With the operator's token only.
        Route::Init => Bound { calls: &["init", "SADD", "refresh", "lease"], bytes_max: 1600 },
        Route::Close => Bound { calls: &["close", "refresh"], bytes_max: 1600 },
        Route::Server | Route::Shop | Route::Dashboard | Route::WaitingRoom => Bound { calls: &[], bytes_max: 0 },
    }
}

/// Calls of a name that may be on their way, and what the most is that one of them gathers, by the number of its arguments that
/// each adds.
fn kind(name: &str) -> (usize, usize) {
    match name {
        // Three words an order, and of each group its keys and a head.
        "reserve" => (CALLS_OUTSTANDING_MAX, CALL_ORDERS_MAX * (3 + 16)),
        "replay_lookup" => (LOOKUPS_OUTSTANDING_MAX, LOOKUP_RECORDS_MAX + GATHERED_SALES_MAX * 16),
        "lease" => (LEASES_OUTSTANDING_MAX, 700),
        "status" => (STATUS_CALLS_MAX, STATUS_IDS_MAX + GATHERED_SALES_MAX * 16),
        "queue" => (QUEUES_OUTSTANDING_MAX, 16),
        // Names that are not in memory, or products that are.
        "refresh" => {
            (DISCOVER_CALLS_MAX + REFRESHES_OUTSTANDING_MAX, DISCOVER_NAMES_MAX.max(REFRESH_PRODUCTS_MAX) * 10 + 8)
        }
        "EXISTS" => (DISCOVER_CALLS_MAX, 1),
        "init" | "close" | "SADD" => (OPERATIONS_MAX, 32),
        other => panic!("no request may cause {other}"),
    }
}

/// Everything that a request can cause.
const HELD: [&str; 9] = ["reserve", "lease", "refresh", "replay_lookup", "status", "queue", "init", "close", "EXISTS"];
const LONG: &str = "a-product-of-sixty-four-letters-is-as-long-as-an-identifier-gets";
const _: () = assert!(LONG.len() == IDENTIFIER_BYTES_MAX);
/// Redis has a sale of it, and this core has not heard of it.
const UNHEARD: &str = "another-of-sixty-four-letters-which-this-core-has-not-heard-of-";

/// How a core may stand when a request comes.
fn states() -> Vec<(&'static str, Bench)> {
    let with = |prepare: fn(&mut Bench)| {
        // Not the first core, which also does what no request is needed for.
        let mut bench = Bench::beside(config(), &Arc::default(), 1, |redis| redis.open_sale(LONG, 100));
        let known = bench.get(&format!("/stock/{LONG}"));
        bench.run();
        assert_eq!(bench.statuses(&[known]), [Some(200)]);
        prepare(&mut bench);
        bench.pass(2_000);
        bench.redis.open_sale(UNHEARD, 100);
        bench.redis.registry.retain(|name| name != UNHEARD);
        let words = |words: &[&str]| array(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        bench.redis.script("init", words(&["OK", "1805234700000", "1"]));
        bench.redis.script("close", words(&["OK", "1705234700000", "1", "100", "40", "50", "60"]));
        bench
    };
    vec![
        ("open", with(|_| {})),
        ("limited", with(|bench| set(bench, 6, "50"))),
        ("sold out", with(|bench| set(bench, 5, "0"))),
        ("closed", with(|bench| set(bench, 0, "closed"))),
        ("suspended", with(|bench| set(bench, 0, "suspended"))),
        ("fair", with(|bench| bench.redis.make_fair(FakeQueue { mark: (1, 0), is_free: false, tokens: 5 }))),
        ("Redis away", with(|bench| bench.lose_redis())),
    ]
}

fn set(bench: &mut Bench, place: usize, value: &str) {
    for product in ["p", LONG] {
        bench.redis.sales.get_mut(product).expect("a sale")[place] = value.to_owned();
    }
}

/// One request of a route.
struct Asking {
    method: Method,
    path: String,
    body: String,
}

const METHODS: [Method; 5] = [Method::Get, Method::Head, Method::Post, Method::Options, Method::Other];

/// Requests of a route with every method, for products that are known, not heard of, not there, and none.
fn requests(pattern: Pattern, route: Route) -> Vec<Asking> {
    let id = "00000000-0000-8000-8000-000000000001";
    let products = ["p", LONG, UNHEARD, "nothing", "..", "", "a%20b"];
    let paths: Vec<String> = match (pattern, route) {
        (Pattern::Is(path), _) => vec![path.to_owned()],
        (Pattern::Begins(start), Route::Status) => {
            let ids = [id, "", "x", "00000000-0000-8000-8000-00000000000G"];
            products.iter().flat_map(|product| ids.map(|id| format!("{start}{product}/{id}"))).collect()
        }
        (Pattern::Begins(start), Route::Stock | Route::Queue) => {
            products.iter().map(|product| format!("{start}{product}")).collect()
        }
        (Pattern::Begins(start), _) => {
            let files = ["/", "/index.js", "/nothing", "/init/", "/orders", "/stock", "/../order"];
            files.iter().map(|file| format!("{start}{file}")).chain(admin::PATHS.map(str::to_owned)).collect()
        }
    };
    let bodies = |product: &str| match route {
        Route::Order => format!(r#"{{"productId":"{product}","userId":"{}","quantity":1000}}"#, "u".repeat(64)),
        Route::Init => format!(
            r#"{{"productId":"{product}","quantity":1000000000,"rate":1000,"burst":1000,"perUser":1000,"force":true}}"#
        ),
        _ => format!(r#"{{"productId":"{product}"}}"#),
    };
    let mut requests = Vec::new();
    for path in paths {
        for method in METHODS {
            for product in ["p", LONG, UNHEARD, "nothing", ".."] {
                requests.push(Asking { method, path: path.clone(), body: bodies(product) });
                if !matches!(route, Route::Order | Route::Init | Route::Close) || method != Method::Post {
                    break; // Only these read a body.
                }
            }
        }
    }
    requests
}

fn ask(bench: &mut Bench, role: Role, asking: &Asking, key: &str) {
    let position = bench.asked;
    bench.asked += 1;
    let fields = Fields { idempotency_key: KeyField::One(key.as_bytes()), ..FIELDS };
    let (path, body) = (&*asking.path, asking.body.as_bytes());
    let request =
        Request { method: asking.method, version_minor: 1, path, query: None, fields, body, keep_alive: true };
    let reply_to = ReplyTo { conn: 0, generation: 0, position };
    if let Outcome::Now(answer) = bench.core.handle_request(at(bench.now), role, &request, reply_to) {
        bench.answers.insert(position, answer);
    }
}

fn bytes(asked: &Asked) -> usize {
    asked.arguments.iter().map(String::len).sum()
}

#[test]
fn one_request_makes_redis_do_one_bounded_call_of_each_kind_it_needs() {
    let key = "k".repeat(IDENTIFIER_BYTES_MAX);
    let mut seen = BTreeSet::new();
    for (role, pattern, route) in ROUTES {
        let Bound { calls, bytes_max } = bound(route);
        for asking in requests(pattern, route) {
            for (state, mut bench) in states() {
                let what = format!("{:?} {} {} while {state}", asking.method, asking.path, asking.body);
                bench.redis.asked.clear();
                bench.redis.holds = HELD.to_vec();
                ask(&mut bench, role, &asking, &key);
                let mut written = BTreeSet::new();
                loop {
                    bench.run();
                    let asked = std::mem::take(&mut bench.redis.asked);
                    if asked.is_empty() {
                        break;
                    }
                    for call in &asked {
                        assert!(calls.contains(&call.name), "{what}: {call:?}");
                        // Tokens are asked for once more, ahead of the orders that may follow.
                        let is_new = written.insert(call.name) || (call.name == "lease" && written.insert("ahead"));
                        assert!(is_new, "{what}: {} a second time", call.name);
                        assert!(bytes(call) <= bytes_max, "{what}: {} bytes of {}", bytes(call), call.name);
                        let (_, arguments_max) = kind(call.name);
                        assert!(call.arguments.len() <= arguments_max, "{what}: {} arguments", call.arguments.len());
                        seen.insert((route as usize, call.name));
                    }
                    // These are answered, and what they bring about is not.
                    bench.redis.holds.clear();
                    bench.redis.answer();
                    bench.redis.holds = HELD.to_vec();
                    let now = at(bench.now);
                    bench.core.handle_redis_bytes(now, &mut bench.redis.to_core).expect("well-formed");
                }
            }
        }
    }
    let all = ROUTES.iter().flat_map(|(_, _, route)| bound(*route).calls.iter().map(|name| (*route as usize, *name)));
    assert_eq!(seen, all.collect(), "every call of the table is caused by some request, and no other");
}

/// Requests of a route in one turn: as many as a client may pipeline and more, each for another order, id or name where that
/// costs the most.
const FLOOD: usize = 3_000;

#[test]
fn however_many_ask_at_once_the_calls_are_few_and_bounded() {
    for (role, pattern, route) in ROUTES {
        let calls = bound(route).calls;
        for (state, mut bench) in states() {
            bench.redis.asked.clear();
            bench.redis.holds = HELD.to_vec();
            for n in 0..FLOOD {
                // Every other is for a product of its own, which nobody has heard of.
                let product = if n % 2 == 0 { "p".to_owned() } else { format!("{n}-{}", "x".repeat(58)) };
                let (method, path) = match (pattern, route) {
                    (Pattern::Is(path), Route::Order | Route::Init | Route::Close) => (Method::Post, path.to_owned()),
                    (Pattern::Is(path), _) => (Method::Options, path.to_owned()),
                    (Pattern::Begins(start), Route::Status) => {
                        (Method::Get, format!("{start}{product}/00000000-0000-8000-8000-{n:012}"))
                    }
                    (Pattern::Begins(start), _) => (Method::Get, format!("{start}{product}")),
                };
                let (user, key) = ("u".repeat(64), format!("{n}-{}", "k".repeat(58)));
                let body = match route {
                    Route::Order => format!(r#"{{"productId":"{product}","userId":"{user}","quantity":1000}}"#),
                    Route::Init => format!(r#"{{"productId":"{product}","quantity":1000}}"#),
                    _ => format!(r#"{{"productId":"{product}"}}"#),
                };
                ask(&mut bench, role, &Asking { method, path, body }, &key);
            }
            bench.run();
            let asked = std::mem::take(&mut bench.redis.asked);
            for name in asked.iter().map(|call| call.name).collect::<BTreeSet<_>>() {
                assert!(calls.contains(&name), "{route:?} while {state}: {name}");
                let (calls_max, arguments_max) = kind(name);
                let of_kind = asked.iter().filter(|call| call.name == name);
                let (count, longest) = (of_kind.clone().count(), of_kind.map(|call| call.arguments.len()).max());
                assert!(count <= calls_max, "{route:?} while {state}: {count} calls of {name}");
                assert!(longest <= Some(arguments_max), "{route:?} while {state}: {longest:?} arguments of {name}");
            }
        }
    }
}

#[test]
fn the_manual_shows_these_bounds() {
    let manual = include_str!("../../../../docs/GUARANTEES.md");
    for (name, route) in [
        ("POST /order", Route::Order),
        ("GET /stock/", Route::Stock),
        ("GET /queue/", Route::Queue),
        ("GET /order/", Route::Status),
        ("POST /init", Route::Init),
        ("POST /close", Route::Close),
    ] {
        let Bound { calls, bytes_max } = bound(route);
        let calls: Vec<String> = calls.iter().map(|call| format!("`{call}`")).collect();
        let row = format!("| `{name}` | {} | {bytes_max} |", calls.join(", "));
        assert!(manual.contains(&row), "{row}");
    }
}
