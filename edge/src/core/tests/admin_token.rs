//! Who may open and close sales: by the token, or from this machine where none is asked for.

use flux_protocol::http::{Fields, Method, Request};

use super::{Bench, FIELDS, at, config};
use crate::answer::ReplyTo;
use crate::core::config::{AdminToken, CoreConfig};
use crate::core::machine::Machine;
use crate::core::request::{Outcome, Role};

/// The status of an `/init` without a body: 400 where whoever asks is let in.
fn init(bench: &mut Bench, role: Role, host: &'static [u8], authorization: Option<&'static [u8]>) -> u16 {
    let fields = Fields { host: Some(host), authorization, ..FIELDS };
    let (method, path) = (Method::Post, "/init");
    let request = Request { method, version_minor: 1, path, query: None, fields, body: b"", keep_alive: true };
    let ticket = ReplyTo { conn: 0, generation: 0, position: 0 };
    match bench.core.handle_request(at(bench.now), role, &request, ticket) {
        Outcome::Now(answer) => answer.status(),
        Outcome::Later => panic!("nothing is asked of Redis"),
    }
}

#[test]
fn a_token_that_is_sent_is_looked_at_wherever_it_is_sent() {
    let token = Some(AdminToken::new("s3cret".into()));
    for (admin_token, admin_needs_token, role, expected) in [
        // From this machine: no token, from elsewhere the same, the right token, a wrong one.
        (None, false, Role::Admin, [400, 403, 400, 400]),
        (token.clone(), false, Role::Admin, [400, 403, 400, 401]),
        (token.clone(), true, Role::Admin, [401, 401, 400, 401]),
        (token, false, Role::Public, [401, 401, 400, 401]),
        (None, false, Role::Public, [404, 404, 404, 404]),
    ] {
        let what = format!("{} token, needed {admin_needs_token}, {role:?}", admin_token.is_some());
        let mut bench = Bench::with(CoreConfig { admin_token, admin_needs_token, ..config() }, |_| {});
        let asked = [
            (&b"localhost:3001"[..], None),
            (b"shop.example", None),
            (b"localhost:3001", Some(&b"Bearer s3cret"[..])),
            (b"localhost:3001", Some(b"Bearer secret")),
        ];
        assert_eq!(asked.map(|(host, token)| init(&mut bench, role, host, token)), expected, "{what}");
    }
    let config = CoreConfig { admin_token: Some(AdminToken::new("s3cret".into())), ..config() };
    let by_name = init(&mut Bench::with(config, |_| {}), Role::Admin, b"edge.internal", Some(b"Bearer s3cret"));
    assert_eq!(by_name, 400, "whoever has the token may come by any name");
}
