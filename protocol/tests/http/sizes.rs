//! How large a message may be, and how it says so.

use flux_protocol::http::{Limits, Read, Reader};

use crate::feed::{NEXT, closes, request, whole};

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
    closes(413, (post(&format!("1{}3", "0".repeat(100))) + "abc").as_bytes());
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
