//! What a core says to a request before it asks Redis or Kafka, neither of which is there.

mod asked;

use flux_edge::core::request::Role;

/// The answer that a core gives at once.
fn answer(role: Role, request: &str) -> String {
    String::from_utf8(asked::ask(&[], role, request)).expect("text")
}

fn post(role: Role, path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    answer(role, &format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\n{fields}\r\n{body}"))
}

fn status(answer: &str) -> &str {
    &answer[9..12]
}

const ORDER: &str = r#"{"productId":"p","userId":"u"}"#;

#[test]
fn an_operation_is_an_object() {
    for (path, object, array) in [
        ("/init", r#" {"productId":"p","quantity":5}"#, r#"["p",5,null,null,false]"#),
        ("/close", r#" {"productId":"p"}"#, r#" ["p"]"#),
    ] {
        assert_eq!(status(&post(Role::Admin, path, "", object)), "503", "well-formed, and Redis is away");
        let refused = post(Role::Admin, path, "", array);
        assert_eq!(status(&refused), "400", "{refused}");
        assert!(refused.contains("\r\n\r\n{\"error\":\"Not a JSON object\","), "{refused}");
    }
}

#[test]
fn content_in_another_coding_is_refused() {
    let operation = r#"{"productId":"p"}"#;
    for (role, path, body) in [(Role::Public, "/order", ORDER), (Role::Admin, "/close", operation)] {
        for coding in ["gzip", "identity, br", "x"] {
            let fields = format!("idempotency-key: k\r\ncontent-encoding: {coding}\r\n");
            let refused = post(role, path, &fields, body);
            assert_eq!(status(&refused), "415", "{coding}");
            assert!(refused.contains("accept-encoding: identity\r\n"), "{refused}");
        }
        for coding in ["identity", "Identity , identity", ""] {
            let fields = format!("idempotency-key: k\r\ncontent-encoding: {coding}\r\n");
            assert_eq!(status(&post(role, path, &fields, body)), "503", "{coding:?} leaves it as it is");
        }
    }
}

#[test]
fn the_waiting_room_says_nothing_of_the_request() {
    let page = |host: &str| answer(Role::WaitingRoom, &format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    let usual = page("shop.example:4000");
    assert!(usual.contains(r#"<meta name="flux-edge" content=":3210">"#), "{usual}");
    for host in ["evil.example", "[::1]", "[::1]:4000", "127.0.0.1"] {
        assert_eq!(page(host), usual, "a cache may give it to anybody");
    }
}

#[test]
fn the_dashboard_is_the_operators() {
    let page = |role| answer(role, "GET / HTTP/1.1\r\nhost: 127.0.0.1:3001\r\n\r\n");
    let dashboard = page(Role::Admin);
    assert!(dashboard.contains("dashboard.js") && dashboard.contains("frame-ancestors 'none'"), "{dashboard}");
    for role in [Role::Public, Role::WaitingRoom] {
        assert!(!page(role).contains("dashboard.js"));
        assert_eq!(status(&answer(role, "GET /dashboard.js HTTP/1.1\r\nhost: h\r\n\r\n")), "404");
    }
    assert_eq!(status(&answer(Role::Admin, "GET /index.js HTTP/1.1\r\nhost: h\r\n\r\n")), "404");
}

#[test]
fn what_the_server_can_do_as_a_whole_is_told() {
    for role in [Role::Public, Role::Admin, Role::WaitingRoom] {
        let told = answer(role, "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(status(&told), "204", "{role:?}: {told}");
        assert!(told.contains("\r\nallow: GET, HEAD, POST, OPTIONS\r\n"), "{told}");
    }
}

#[test]
fn every_error_has_the_members_of_rfc_9457_beside_its_own() {
    let json = |text: &str| -> serde_json::Value {
        let (_, body) = text.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    };
    for (text, title) in [
        (post(Role::Public, "/order", "", ORDER), "Bad Request"),
        (post(Role::Public, "/order", "idempotency-key: k\r\n", ORDER), "Service Unavailable"),
        (post(Role::Public, "/stock/p", "", ORDER), "Method Not Allowed"),
        (answer(Role::Public, "GET /nothing HTTP/1.1\r\nhost: h\r\n\r\n"), "Not Found"),
    ] {
        let body = json(&text);
        assert_eq!((&body["type"], &body["title"]), (&"about:blank".into(), &title.into()), "{text}");
        // A word where it is one of ours, else the number.
        let number: u16 = status(&text).parse().expect("a number");
        assert!(body["status"].is_string() || body["status"] == number, "{text}");
        assert!(body["detail"].is_string(), "{text}");
        assert!(text.contains("\r\ncontent-type: application/json\r\n"), "callers know our answers by it: {text}");
    }
}
