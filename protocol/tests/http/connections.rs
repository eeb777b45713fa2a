//! From one message to the next: keep-alive, pipelines, `Expect: 100-continue`.

use flux_protocol::http::{Limits, Persistence, Read, Reader, Stage};

use crate::feed::{NEXT, Outcome, closes, refusal, refused_and_goes_on, request, whole};

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
    assert_eq!(refusal(b"GET /%41 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").connection(), Persistence::KeepAliveOld);
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
