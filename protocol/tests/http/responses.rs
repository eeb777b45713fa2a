//! What is sent, byte for byte.

use std::time::{Duration, UNIX_EPOCH};

use flux_protocol::http::response::{self, CONTINUE, Template, reason};
use flux_protocol::http::{Date, Persistence, Refusal};

const NOON: u64 = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before|".to_vec();
    write(&mut out);
    String::from_utf8(out).unwrap().strip_prefix("before|").unwrap().to_owned()
}

#[test]
fn a_response_is_written_whole() {
    let date = Date::new(NOON);
    let response =
        text(|out| response::write(out, 200, &date, &[response::JSON, ("retry-after", "1")], b"{}", true, false));
    assert_eq!(
        response,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nretry-after: 1\r\ncontent-length: 2\r\n\
         date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n{}"
    );
    let head = text(|out| response::write(out, 404, &date, &[], b"{}", false, true));
    assert_eq!(
        head,
        "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nconnection: close\r\n\r\n"
    );
    let old = text(|out| response::write(out, 302, &date, &[("location", "/")], b"", Persistence::KeepAliveOld, false));
    assert_eq!(
        old,
        "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         connection: keep-alive\r\n\r\n"
    );
    for status in [204, 304] {
        let response = text(|out| response::write(out, status, &date, &[], b"", true, false));
        assert!(!response.contains("content-length"), "{response}");
    }
    assert_eq!(CONTINUE, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn a_template_writes_what_write_writes() {
    let date = Date::new(NOON);
    let fields = [response::JSON, ("idempotency-replayed", "true")];
    let constant = Template::new(409, &fields, b"{\"status\":\"sold_out\"}");
    let gap = Template::with_gap(200, &fields, b"{\"orderId\":\"", 4, b"\"}");
    let empty = Template::new(304, &[("etag", "\"x\"")], b"");
    for connection in [Persistence::KeepAlive, Persistence::KeepAliveOld, Persistence::Close] {
        for head_only in [false, true] {
            let plain = |status, fields: &[(&str, &str)], body: &[u8]| {
                text(|out| response::write(out, status, &date, fields, body, connection, head_only))
            };
            assert_eq!(
                text(|out| constant.write(out, &date, connection, head_only, b"")),
                plain(409, &fields, b"{\"status\":\"sold_out\"}")
            );
            assert_eq!(
                text(|out| gap.write(out, &date, connection, head_only, b"abcd")),
                plain(200, &fields, b"{\"orderId\":\"abcd\"}")
            );
            assert_eq!(
                text(|out| empty.write(out, &date, connection, head_only, b"")),
                plain(304, &[("etag", "\"x\"")], b"")
            );
        }
    }
}

#[test]
#[should_panic(expected = "length")]
fn a_gap_is_filled_exactly() {
    Template::with_gap(200, &[], b"", 4, b"").write(&mut vec![], &Date::new(0), Persistence::Close, false, b"abc");
}

#[test]
fn refusals_answer_in_json() {
    let date = Date::new(NOON);
    assert_eq!(
        text(|out| Refusal::TIMEOUT.write(out, &date)),
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: 114\r\n\
         date: Sun, 06 Nov 1994 08:49:37 GMT\r\nconnection: close\r\n\r\n{\"error\":\"Request Timeout\",\
         \"type\":\"about:blank\",\"title\":\"Request Timeout\",\"status\":408,\"detail\":\"Request Timeout\"}"
    );
    let open = Refusal { close: false, consumed: 9, ..Refusal::closing(501, "Unknown method") };
    assert!(!text(|out| open.write(out, &date)).contains("connection"));
    let old = Refusal { version_minor: 0, ..open };
    assert!(text(|out| old.write(out, &date)).contains("\r\nconnection: keep-alive\r\n"));
    let head = Refusal { head_only: true, ..open };
    assert!(text(|out| head.write(out, &date)).ends_with("\r\n\r\n"));
}

#[test]
fn every_status_of_the_project_has_its_reason() {
    for status in [
        200, 202, 204, 302, 304, 400, 401, 403, 404, 405, 406, 408, 409, 411, 413, 414, 415, 417, 422, 429, 431, 500,
        501, 503, 505,
    ] {
        assert!(!reason(status).is_empty(), "{status}");
    }
    assert_eq!(text(|out| response::begin(out, 299)), "HTTP/1.1 299 \r\n");
}

#[test]
fn dates_are_those_of_another_implementation() {
    let mut date = Date::new(0);
    assert_eq!(date.as_bytes(), b"Thu, 01 Jan 1970 00:00:00 GMT");
    // Every 7 hours and some for 600 years, and the seconds around the turns.
    let regular = (0..700_000).map(|step| step * 27_011);
    let turns = [951_782_399, 951_782_400, 951_868_799, 951_868_800, 4_107_542_399, 4_107_542_400, 253_402_300_799];
    for seconds in regular.chain(turns) {
        date.set(seconds);
        let expected = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(date.as_bytes(), expected.as_bytes(), "{seconds}");
        assert_eq!(date, Date::new(seconds));
    }
    assert_eq!(Date::new(u64::MAX).as_bytes(), b"Fri, 31 Dec 9999 23:59:59 GMT");
}
