//! Request line and fields, one table a rule: what is read, and what is refused with which status.

use flux_protocol::http::{LastLines, Limits, Method, Read, Reader, Refusal};

use crate::feed::{Outcome, closes, one_by_one, refusal, refused_and_goes_on, request, whole};

#[test]
fn an_order_is_read() {
    let got = request(
        b"POST /order HTTP/1.1\r\nHost: shop:3000\r\nContent-Type: application/json\r\nX-Idempotency-Key: k-1\r\n\
          Content-Length: 13\r\nAccept: text/html\r\nAuthorization: Bearer secret\r\nOrigin: http://a\r\n\r\n{\"quantity\":1",
    );
    assert_eq!((got.method, got.version_minor, &*got.path, got.query), (Method::Post, 1, "/order", None));
    assert_eq!(got.body, b"{\"quantity\":1");
    assert_eq!(got.key, Some(Ok("k-1".to_owned())));
    assert_eq!(got.host.as_deref(), Some("shop:3000"));
    assert!(got.keep_alive);
    assert!(got.fields.contains(r#"content_type: Some("application/json")"#), "{}", got.fields);
    assert!(got.fields.contains(r#"accept: Some("text/html")"#), "{}", got.fields);
    assert!(got.fields.contains(r#"origin: Some("http://a")"#), "{}", got.fields);
    assert!(got.fields.contains("authorization: Some(\"not shown\")") && !got.fields.contains("secret"));
}

#[test]
fn of_a_field_that_each_proxy_adds_to_the_last_lines_are_kept() {
    let lines: String = (1..=6).map(|hop| format!("X-Forwarded-For: {hop}\r\n")).collect();
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}forwarded:\r\nForwarded: for=b\r\n\r\n");
    let mut bytes = head.into_bytes();
    let Read::Request(request, _) = Reader::new(Limits::DEFAULT).read(&mut bytes) else { panic!("a whole request") };
    let texts = |lines: LastLines<'_>| -> Vec<String> {
        lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    };
    assert_eq!(texts(request.fields.x_forwarded_for), ["6", "5", "4", "3"], "the last one first");
    assert_eq!(texts(request.fields.forwarded), ["for=b", ""]);
}

#[test]
fn every_field_of_the_contract_is_found_whatever_its_case() {
    let read = |name: &str| {
        let mut bytes = format!("GET / HTTP/1.1\r\nhost: a\r\n{name}:\t the value \t\r\n\r\n").into_bytes();
        let Read::Request(request, _) = Reader::new(Limits::DEFAULT).read(&mut bytes) else { panic!("{name}") };
        let fields = request.fields;
        [
            fields.content_type,
            fields.content_encoding,
            fields.accept,
            fields.authorization,
            fields.origin,
            fields.access_control_request_method,
            fields.x_queue_ticket,
            fields.if_none_match,
            fields.accept_encoding,
        ]
        .map(|value| value.map(<[u8]>::to_vec))
    };
    let names = [
        "Content-Type",
        "content-encoding",
        "ACCEPT",
        "Authorization",
        "oRIGIN",
        "Access-Control-Request-Method",
        "X-Queue-Ticket",
        "If-None-Match",
        "Accept-Encoding",
    ];
    for (index, name) in names.into_iter().enumerate() {
        let mut expected = [const { None }; 9];
        expected[index] = Some(b"the value".to_vec());
        assert_eq!(read(name), expected, "{name}");
    }
    assert_eq!(read("accepted"), [const { None }; 9]);
}

#[test]
fn methods() {
    for (name, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("OPTIONS", Method::Options),
        ("PUT", Method::Other),
        ("DELETE", Method::Other),
        ("TRACE", Method::Other),
        ("PATCH", Method::Other),
    ] {
        assert_eq!(request(format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).method, method);
    }
    for name in ["FOO", "get", "Get", "GETS", "PROPFIND", "!#$%&'*+-.^_`|~09"] {
        refused_and_goes_on(501, format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    }
    refused_and_goes_on(501, b"FOO / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    refused_and_goes_on(501, b"FOO / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
    for target in ["shop:443", "/", "http://shop/"] {
        closes(501, format!("CONNECT {target} HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes());
    }
    for line in [
        "G@T / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET",
        "GET ",
        "G\u{e9}T / HTTP/1.1",
        "\x16\x03\x01",
        "{}",
        "\"",
        "(GET) /",
    ] {
        closes(400, format!("{line}\r\n").as_bytes());
    }
}

#[test]
fn another_protocol_is_refused_by_its_first_byte() {
    for byte in [0x16, 0x80, 0x00, b' ', b'{', b':', b'/', 0xef] {
        assert_eq!(refusal(&[byte]).status, 400);
        assert_eq!(refusal(&[b'\r', b'\n', byte]).status, 400);
    }
}

#[test]
fn a_refused_head_request_is_answered_without_a_body() {
    assert!(refusal(b"HEAD /%41 HTTP/1.1\r\nHost: a\r\n\r\n").head_only);
    assert!(!refusal(b"GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n").head_only);
}

#[test]
fn so_is_one_whose_connection_closes() {
    let long = format!("/{} HTTP/1.1\r\n\r\n", "a".repeat(9000));
    let many = format!("/ HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    for rest in [
        "/ HTTP/2.0\r\n\r\n",
        "/ HTTP/1.1\n\r\n",
        "/ HTTP/1.1\r\na b: c\r\n\r\n",
        "/ HTTP/1.1\r\na: \0\r\n\r\n",
        "/ HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        "/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n",
        "/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "/%41 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        &long,
        &many,
    ] {
        for (method, head_only) in [("HEAD", true), ("\r\nHEAD", true), ("GET", false), ("HEADER", false)] {
            let message = format!("{method} {rest}");
            for outcomes in [whole(message.as_bytes()), one_by_one(message.as_bytes())] {
                let [Outcome::Refused(refusal)] = &*outcomes else { panic!("{message}: {outcomes:?}") };
                assert!(refusal.close && refusal.head_only == head_only, "{message}: {refusal:?}");
            }
        }
    }
}

#[test]
fn one_of_which_no_more_is_read_is_answered_by_its_method() {
    let late = |bytes: &[u8]| {
        let (mut reader, mut bytes) = (Reader::new(Limits::DEFAULT), bytes.to_vec());
        assert!(matches!(reader.read(&mut bytes), Read::Incomplete));
        reader.refuse_unfinished(&bytes, Refusal::TIMEOUT)
    };
    for (bytes, head_only) in [
        (&b"HEAD / HTTP/1.1\r\nHost"[..], true),
        (b"\r\nHEAD /", true),
        (b"HEAD", false),
        (b"GET / HTTP/1.1\r\n", false),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", true),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", false),
    ] {
        assert_eq!(late(bytes), Refusal { head_only, ..Refusal::TIMEOUT }, "{}", bytes.escape_ascii());
    }
}

#[test]
fn versions() {
    assert_eq!(request(b"GET / HTTP/1.0\r\n\r\n").version_minor, 0);
    assert_eq!(request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").version_minor, 1);
    // RFC 9110 section 6.2: a later minor version is read as the latest one that is known.
    assert_eq!(request(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n").version_minor, 1);
    assert_eq!(request(b"GET / HTTP/1.9\r\nHost: a\r\n\r\n").version_minor, 1);
    closes(400, b"GET / HTTP/1.2\r\nHost: a\r\n bad\r\n\r\n");
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9", "HTTP/2.1"] {
        closes(505, format!("GET / {version}\r\nHost: a\r\n\r\n").as_bytes());
    }
    closes(505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    for version in [
        "",
        "HTTP",
        "HTTP/",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/1.11",
        "HTTP/11.1",
        "http/1.1",
        "HTTPS/1.1",
        "HTTP/a.b",
        "HTTP /1.1",
        "HTTP/1.1 ",
        " HTTP/1.1",
        "HTTP/1,1",
    ] {
        closes(400, format!("GET / {version}\r\nHost: a\r\n\r\n").as_bytes());
    }
}

#[test]
fn request_targets() {
    let get = |target: &str| request(format!("GET {target} HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes());
    for (target, path, query, host) in [
        ("/", "/", None, "shop"),
        ("/order", "/order", None, "shop"),
        ("/a?b", "/a", Some("b"), "shop"),
        ("/?", "/", Some(""), "shop"),
        ("/a?b?c/%20{|}\"<>\\^`", "/a", Some("b?c/%20{|}\"<>\\^`"), "shop"),
        ("//a/../b;c=d,e@f:g!$&'()*+~-._", "//a/../b;c=d,e@f:g!$&'()*+~-._", None, "shop"),
        ("http://other", "/", None, "other"),
        ("HTTP://other:80/x?y", "/x", Some("y"), "other:80"),
        ("https://other?y", "/", Some("y"), "other"),
        ("http://[::1]:3000/x", "/x", None, "[::1]:3000"),
    ] {
        let got = get(target);
        assert_eq!((&*got.path, got.query.as_deref(), got.host.as_deref()), (path, query, Some(host)), "{target}");
    }
    for (target, path) in [("*", "*"), ("http://shop", "*"), ("http://shop/", "/"), ("/x", "/x")] {
        assert_eq!(request(format!("OPTIONS {target} HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes()).path, path);
    }
    for target in [
        "/%41",
        "/a%",
        "/%2e%2e/",
        "/a#b",
        "/a?b#c",
        "/<",
        "/a\"",
        "/a\\b",
        "/a|b",
        "/{a}",
        "/a^",
        "/a`",
        "*",
        "*a",
        "shop:80",
        "a",
        "order",
        "?a",
        "http:/a",
        "http://",
        "http:///a",
        "http://?a",
        "http://user@a/",
        "http://a:b/",
        "http://a#b",
        "http://a%/",
        "ftp://a/",
        "javascript:alert(1)",
        "http://[::1/",
        "http://[]/",
        "/\u{e9}",
        "/a?\u{e9}",
    ] {
        refused_and_goes_on(400, format!("GET {target} HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes());
    }
    assert_eq!(refusal(b"GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n").error, "Percent sign in path");
    // Not UTF-8, or control characters: not even a request line.
    for target in [&b"/\xff"[..], b"/\x80a", b"/a\x7f", b"/\x00", b"/\x1f", b"/\t", b"/a b", b"", b"/\r"] {
        closes(400, &[b"GET ", target, b" HTTP/1.1\r\nHost: shop\r\n\r\n"].concat());
    }
}

#[test]
fn host() {
    for host in [
        "shop",
        "shop:80",
        "shop:",
        "127.0.0.1:3000",
        "[::1]",
        "[::1]:80",
        "a_b.c~d",
        "a%20b",
        "",
        "xn--bcher-kva.example",
        "a,b;c=d",
    ] {
        request(format!("GET / HTTP/1.1\r\nHost:{host}\r\n\r\n").as_bytes());
    }
    for host in [
        "a b", "a/b", "a@b", "a:b", "a:80:80", "[::1", "::1", "[::1]80", "[]", "[g]", "a%2", "a%zz", "\u{e9}", ":80",
        "http://a", "a?b", "a#b", "a\\b", "a\"b",
    ] {
        refused_and_goes_on(400, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        refused_and_goes_on(
            400,
            format!("GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: {host}\r\n\r\n").as_bytes(),
        );
    }
    refused_and_goes_on(400, b"GET / HTTP/1.1\r\n\r\n");
    refused_and_goes_on(400, b"GET http://a/ HTTP/1.1\r\n\r\n");
    refused_and_goes_on(400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
    refused_and_goes_on(400, b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhOsT: b\r\n\r\n");
    refused_and_goes_on(400, b"GET / HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n");
    assert_eq!(request(b"GET / HTTP/1.0\r\n\r\n").host, None);
}

#[test]
fn fields_given_twice() {
    for name in [
        "content-type",
        "content-encoding",
        "authorization",
        "origin",
        "access-control-request-method",
        "x-queue-ticket",
    ] {
        refused_and_goes_on(400, format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: a\r\n{name}: a\r\n\r\n").as_bytes());
    }
    for name in ["accept", "accept-encoding", "if-none-match", "cookie", "x-anything"] {
        let got = request(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: one\r\n{name}: two\r\n\r\n").as_bytes());
        assert!(!got.fields.contains("two"), "{}", got.fields);
    }
}

#[test]
fn idempotency_keys() {
    let key = |fields: &str| request(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).key;
    let one = |text: &str| Some(Ok(text.to_owned()));
    for (fields, expected) in [
        ("", None),
        ("idempotency-key: k\r\n", one("k")),
        ("X-Idempotency-Key: k\r\n", one("k")),
        ("idempotency-key:  \t k \t\r\n", one("k")),
        ("idempotency-key: \"k\"\r\n", one("k")),
        ("idempotency-key: \"\"\r\n", one("")),
        ("idempotency-key:\r\n", one("")),
        ("idempotency-key: \"\r\n", one("\"")),
        ("idempotency-key: \"k\r\n", one("\"k")),
        ("idempotency-key: \"\"k\"\"\r\n", one("\"k\"")),
        ("idempotency-key: k\r\nx-idempotency-key: k\r\n", one("k")),
        ("x-idempotency-key: k\r\nidempotency-key: \"k\"\r\n", one("k")),
        ("idempotency-key: k\r\nidempotency-key: k\r\n", one("k")),
        ("idempotency-key: k\r\nx-idempotency-key: K\r\n", Some(Err(()))),
        ("idempotency-key: k\r\nidempotency-key: l\r\n", Some(Err(()))),
        ("x-idempotency-key: k\r\nx-idempotency-key: l\r\n", Some(Err(()))),
        ("idempotency-key: k\r\nidempotency-key: l\r\nidempotency-key: k\r\n", Some(Err(()))),
        ("idempotency-key: k\r\nx-idempotency-key:\r\n", Some(Err(()))),
    ] {
        assert_eq!(key(fields), expected, "{fields:?}");
    }
}
