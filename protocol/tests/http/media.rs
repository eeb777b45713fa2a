//! Media types of requests and answers.

use flux_protocol::http::media::{is_json, names_json};

#[test]
fn content_types() {
    for json in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json ; a=\"b;c\"",
        "application/json;",
    ] {
        assert!(is_json(json.as_bytes()), "{json}");
    }
    for other in [
        "",
        "text/plain",
        "application/jsonp",
        "application/json5",
        "application",
        "application/json, text/plain",
        "application/x-www-form-urlencoded",
        "x;application/json",
        "application /json",
    ] {
        assert!(!is_json(other.as_bytes()), "{other}");
    }
}

#[test]
fn accepted_types() {
    for json in [
        "application/json",
        "text/html, application/json",
        "text/html;q=0.9 , Application/Json;q=0.001,*/*",
        "application/json;q=1",
        "application/json;v=0",
    ] {
        assert!(names_json(json.as_bytes()), "{json}");
    }
    for other in [
        "",
        "*/*",
        "application/*",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "application/json;q=0",
        "application/json ; Q=0.000",
        "application/jsonp",
        "x;application/json",
    ] {
        assert!(!names_json(other.as_bytes()), "{other}");
    }
}
