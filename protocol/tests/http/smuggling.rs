//! Messages that two readers might end in two places. Each is refused and the connection closed, so that what was
//! hidden behind the first message is never read as a second.

use crate::feed::{Outcome, closes, one_by_one, whole};

/// The request an attacker would like to be read on its own.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

#[track_caller]
fn is_caught(status: u16, fields: &str, body: &str) {
    let bytes = format!("POST /order HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}{HIDDEN}");
    closes(status, bytes.as_bytes());
}

#[test]
fn length_and_chunks_together() {
    for fields in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "content-length: x\r\ntransfer-encoding: gzip\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length:\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        "Transfer-Encoding:\r\nContent-Length: 5\r\n",
    ] {
        is_caught(400, fields, "0\r\n\r\n");
        is_caught(400, fields, "5c\r\nGPOST / HTTP/1.1\r\n");
    }
}

#[test]
fn lengths_given_twice() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\ncontent-length: 44\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length: 5\r\nContent-Length:\r\n",
        "Content-Length: x\r\nContent-Length: 5\r\n",
    ] {
        is_caught(400, fields, "0\r\n\r\n");
    }
}

#[test]
fn transfer_codings() {
    for value in [
        "",
        " ",
        "identity",
        "gzip",
        "chunke",
        "xchunked",
        "chunkedx",
        "chunked, chunked",
        "chunked, gzip",
        "chunked, identity",
        "chunked,",
        ",chunked",
        "chunked;",
        "chunked; a=b",
        "\"chunked\"",
        "'chunked'",
        "chunked chunked",
        "chunked\u{a0}",
        "chun ked",
        "x chunked",
        "chunked\u{e9}",
        "gzip,,chunked",
        "gzip chunked",
        "c\u{307}hunked",
        "cow",
        "\u{212a}",
    ] {
        is_caught(400, &format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
    }
    for value in ["gzip, chunked", "deflate,gzip ,\tchunked", "identity, chunked", "x;a=b, chunked"] {
        is_caught(501, &format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
    }
    is_caught(400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n");
    is_caught(400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n");
    is_caught(501, "Transfer-Encoding: cow\r\nTransfer-encoding: chunked\r\n", "0\r\n\r\n");
    // Spelling and white space that RFC 9112 allows: one message, and the hidden one is no longer hidden.
    for value in ["chunked", "Chunked", "CHUNKED", " chunked", "\tchunked", "  chunked  ", "chunked\t"] {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:{value}\r\n\r\n0\r\n\r\n{HIDDEN}");
        for outcomes in [whole(bytes.as_bytes()), one_by_one(bytes.as_bytes())] {
            assert!(matches!(&*outcomes, [Outcome::Request(_), Outcome::Request(got)] if got.path == "/hidden"));
        }
    }
}

#[test]
fn no_chunks_in_http_1_0() {
    for connection in ["", "Connection: keep-alive\r\n"] {
        let bytes = format!("POST / HTTP/1.0\r\n{connection}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        closes(400, bytes.as_bytes());
    }
}

#[test]
fn obfuscated_field_lines() {
    for fields in [
        "Transfer-Encoding : chunked\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "Transfer-Encoding: chunked\r\n\tfolded\r\n",
        "Content-Length: 5\r\n 5\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chun\0ked\r\n",
        "Transfer-Encoding: chunked\0\r\n",
        "Transfer\0-Encoding: chunked\r\n",
        "Trans\u{e9}fer: chunked\r\n",
        "(Transfer-Encoding): chunked\r\n",
        "Transfer Encoding: chunked\r\n",
        "Transfer-Encoding chunked\r\n",
        "Transfer-Encoding\r\n",
        ": chunked\r\n",
        ":\r\n",
        "\"Content-Length\": 5\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\r\rTransfer-Encoding: chunked\r\n",
        "X: \x7f\r\n",
        "X: \x08\r\n",
        "X[]: y\r\n",
        "X;: y\r\n",
        "Content-Length: 5\n",
        "Content-Length: 5\r",
        "X: y\0\r\n",
    ] {
        is_caught(400, fields, "0\r\n\r\n");
    }
}

#[test]
fn bare_line_feeds_and_carriage_returns() {
    for bytes in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost:\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX:\n\r\n",
        "GET / HTTP/1.1\r\n\nHost: a\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
    ] {
        closes(400, bytes.as_bytes());
    }
}

#[test]
fn a_length_that_is_too_short_or_too_long_shifts_nothing() {
    // Too short: the rest is read as a request line, which it is not.
    closes_second("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{}", 400);
    // HTTP/0.9 in a pipeline.
    closes_second("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /hidden\r\n", 400);
    // A GET whose content looks like a request.
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len());
    assert!(matches!(&*whole(bytes.as_bytes()), [Outcome::Request(got)] if got.body == HIDDEN.as_bytes()));
}

#[track_caller]
fn closes_second(bytes: &str, status: u16) {
    let bytes = format!("{bytes}\r\n{HIDDEN}");
    for outcomes in [whole(bytes.as_bytes()), one_by_one(bytes.as_bytes())] {
        assert!(
            matches!(&*outcomes, [Outcome::Request(_), Outcome::Refused(second)] if second.status == status && second.close),
            "{outcomes:?}"
        );
    }
}
