//! One table a rule: what is read, what is refused with which status, and what becomes of the connection.

use flux_protocol::http::{Connection, Limits, Method, Read, Reader, Stage};

use crate::feed::{NEXT, Outcome, closes, refusal, refused_and_goes_on, request, whole};

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
fn a_refused_head_request_is_answered_without_a_body() {
    assert!(refusal(b"HEAD /%41 HTTP/1.1\r\nHost: a\r\n\r\n").head_only);
    assert!(!refusal(b"GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n").head_only);
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

#[test]
fn keep_alive() {
    for (version, connection, expected) in [
        (1, "", true),
        (1, "Connection: close\r\n", false),
        (1, "Connection: CLOSE\r\n", false),
        (1, "Connection: keep-alive\r\n", true),
        (1, "Connection: keep-alive, close\r\n", false),
        (1, "Connection: upgrade ,\tclose\r\n", false),
        (1, "Connection: a\r\nConnection: close\r\n", false),
        (1, "Connection: closed, \"close\"\r\n", true),
        (1, "Connection:\r\n", true),
        (0, "", false),
        (0, "Connection: keep-alive\r\n", true),
        (0, "Connection: Keep-Alive, x\r\n", true),
        (0, "Connection: keep-alive, close\r\n", false),
        (0, "Connection: close\r\nConnection: keep-alive\r\n", false),
        (0, "Connection: upgrade\r\n", false),
    ] {
        let got = request(format!("GET / HTTP/1.{version}\r\nHost: a\r\n{connection}\r\n").as_bytes());
        assert_eq!(got.keep_alive, expected, "HTTP/1.{version} {connection:?}");
    }
    // A refusal follows the client's wish too.
    assert!(refusal(b"GET /%41 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").close);
    assert!(refusal(b"GET /%41 HTTP/1.0\r\n\r\n").close);
    assert_eq!(refusal(b"GET /%41 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").connection(), Connection::KeepAliveOld);
}

#[test]
fn content_length() {
    let post = |length: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:{length}\r\n\r\n");
    for (length, body) in [(" 0", ""), ("3", "abc"), (" 003 \t", "abc"), (" 00000000000000000000000000000003", "abc")] {
        assert_eq!(request((post(length) + body).as_bytes()).body, body.as_bytes(), "{length}");
    }
    for length in [
        "", " ", " +3", " -3", " 3,3", " 3, 3", " 3 3", " 0x3", " 3.0", " 3e0", " three", " \"3\"", " ,3", " 3;",
        " \u{663}",
    ] {
        closes(400, (post(length) + "abc").as_bytes());
    }
    for length in [
        "4097",
        "10000",
        "2147483648",
        "4294967299",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551619",
    ] {
        closes(413, (post(length) + "abc").as_bytes());
    }
    closes(413, (post(&"9".repeat(400)) + "abc").as_bytes());
    let largest = post("4096") + &"x".repeat(4096);
    assert_eq!(request(largest.as_bytes()).body.len(), 4096);
}

#[test]
fn a_post_says_how_long_it_is() {
    closes(411, b"POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    closes(411, b"POST / HTTP/1.0\r\n\r\n");
    closes(411, b"POST / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{}");
    assert_eq!(request(b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n").body, b"");
    assert_eq!(request(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").body, b"hi");
    assert_eq!(request(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi").body, b"hi");
}

#[test]
fn expectations() {
    let order = b"POST /order HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\nhi";
    let mut buffer = order[..order.len() - 2].to_vec();
    let mut reader = Reader::new(Limits::DEFAULT);
    assert!(!reader.expects_continue());
    let cut = buffer.len() - 1;
    assert!(matches!(reader.read(&mut buffer[..cut]), Read::Incomplete));
    assert!(!reader.expects_continue(), "the head is not complete");
    assert!(matches!(reader.read(&mut buffer), Read::Incomplete));
    assert!(reader.expects_continue());
    assert_eq!(reader.stage(), Stage::Body);
    reader.continue_sent();
    assert!(!reader.expects_continue(), "one 100 is enough");
    buffer.push(b'h');
    assert!(matches!(reader.read(&mut buffer), Read::Incomplete));
    assert!(!reader.expects_continue());
    buffer.push(b'i');
    assert!(matches!(reader.read(&mut buffer), Read::Request(request, _) if request.body == b"hi"));
    assert!(!reader.expects_continue());
    // The next request is asked anew.
    let mut again = order[..order.len() - 2].to_vec();
    assert!(matches!(reader.read(&mut again), Read::Incomplete));
    assert!(reader.expects_continue());

    assert_eq!(request(order).body, b"hi");
    assert_eq!(request(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").body, b"");
    for expectation in ["nonsense", "100-continue, nonsense", "100-continue=x", "", "200-ok"] {
        refused_and_goes_on(
            417,
            format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: {expectation}\r\nContent-Length: 2\r\n\r\nhi").as_bytes(),
        );
    }
    // RFC 9110 section 10.1.1: a client of HTTP/1.0 expects nothing.
    for expectation in ["100-continue", "nonsense"] {
        let head = format!("POST / HTTP/1.0\r\nExpect: {expectation}\r\nContent-Length: 2\r\n\r\n");
        let mut reader = Reader::new(Limits::DEFAULT);
        assert!(matches!(reader.read(&mut head.clone().into_bytes()), Read::Incomplete));
        assert!(!reader.expects_continue());
        assert_eq!(request((head + "hi").as_bytes()).body, b"hi");
    }
}

#[test]
fn a_client_that_waits_for_a_100_and_is_refused_is_answered_at_once_and_closed() {
    // Whether it goes on to send the content is its own choice, so nobody knows where its next message begins.
    for framing in ["Content-Length: 2", "Transfer-Encoding: chunked"] {
        let head = format!("POST /%41 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n\r\n");
        closes(400, head.as_bytes());
        assert!(refusal(head.as_bytes()).close);
    }
    refused_and_goes_on(400, b"POST /%41 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
    closes(413, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n");
}

#[test]
fn sizes_of_heads() {
    let limits = Limits::DEFAULT;
    let with_field = |bytes: usize| {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{head}{}\r\n\r\n", "x".repeat(bytes - head.len() - 4))
    };
    assert_eq!(request(with_field(limits.head_bytes_max).as_bytes()).consumed, limits.head_bytes_max);
    closes(431, with_field(limits.head_bytes_max + 1).as_bytes());
    closes(431, &[b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &*vec![b'x'; 100_000]].concat());

    let with_target =
        |method: &str, bytes: usize| format!("{method} /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1));
    assert_eq!(request(with_target("OPTIONS", limits.target_bytes_max).as_bytes()).path.len(), limits.target_bytes_max);
    closes(414, with_target("OPTIONS", limits.target_bytes_max + 1).as_bytes());
    closes(414, with_target("GET", 100_000).as_bytes());
    // RFC 9112 section 3: a method longer than any that is implemented is a 501.
    closes(501, "X".repeat(100_000).as_bytes());

    let with_fields = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a:b\r\n".repeat(fields - 1));
    request(with_fields(limits.fields_max).as_bytes());
    closes(431, with_fields(limits.fields_max + 1).as_bytes());
}

#[test]
fn limits_can_be_set() {
    let limits =
        Limits { head_bytes_max: 300, fields_max: 2, body_bytes_max: 3, target_bytes_max: 5, ..Limits::DEFAULT };
    let read = |text: &str| match Reader::new(limits).read(&mut text.as_bytes().to_vec()) {
        Read::Request(..) => 200,
        Read::Refused(refusal) => refusal.status,
        Read::Incomplete => 100,
    };
    assert_eq!(read("GET /four HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"), 200);
    assert_eq!(read("OPTIONS /five+ HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"), 414);
    assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n"), 431);
    assert_eq!(read("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"), 200);
    assert_eq!(read("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"), 413);
    assert_eq!(read(&format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(300))), 431);
}

#[test]
#[should_panic(expected = "contradict")]
fn limits_that_contradict_each_other_are_our_own_mistake() {
    Reader::new(Limits { head_bytes_max: 100_000, ..Limits::DEFAULT });
}

#[test]
fn empty_lines_before_a_request_are_bounded() {
    for lines in 0..=2 {
        let bytes = ["\r\n".repeat(lines).as_bytes(), NEXT].concat();
        assert_eq!(request(&bytes).consumed, bytes.len());
    }
    closes(400, b"\r\n\r\n\r\n");
    closes(400, "\r\n".repeat(10_000).as_bytes());
    closes(400, b"\n");
    closes(400, b"\r\n\n");
    closes(400, b"\r\rGET / HTTP/1.1\r\n");
    closes(400, b"\r\n GET / HTTP/1.1\r\n");
    // Each request of a pipeline may have its own.
    let pipeline = [b"\r\n\r\n", NEXT, b"\r\n\r\n", NEXT].concat();
    assert_eq!(whole(&pipeline).len(), 2);
}

#[test]
fn stages() {
    let mut reader = Reader::new(Limits::DEFAULT);
    let mut stage = |bytes: &[u8]| {
        assert!(matches!(reader.read(&mut bytes.to_vec()), Read::Incomplete));
        reader.stage()
    };
    assert_eq!(stage(b""), Stage::Idle);
    assert_eq!(stage(b"\r\n"), Stage::Idle);
    assert_eq!(stage(b"\r\nP"), Stage::Head);
    assert_eq!(stage(b"\r\nPOST / HTTP/1.1\r\nHost: a\r\n"), Stage::Head);
    assert_eq!(stage(b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"), Stage::Body);
    assert_eq!(stage(b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh"), Stage::Body);
}

#[test]
fn pipelined_requests_are_read_one_by_one() {
    let post = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let chunked = b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let refused = b"GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = b"GET /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let outcomes = whole(&[&post[..], chunked, refused, last, NEXT].concat());
    let paths: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Request(got) => got.path.clone(),
            Outcome::Refused(refusal) => refusal.status.to_string(),
        })
        .collect();
    assert_eq!(paths, ["/a", "/b", "400", "/c"]);
}

#[test]
fn a_connection_that_was_refused_stays_refused() {
    let mut reader = Reader::new(Limits::DEFAULT);
    let mut bytes = b"GET / HTTP/1.1\nHost: a\n\n".to_vec();
    let Read::Refused(first) = reader.read(&mut bytes) else { panic!() };
    let Read::Refused(second) = reader.read(&mut NEXT.to_vec()) else { panic!("it went on") };
    assert_eq!(first, second);
}
