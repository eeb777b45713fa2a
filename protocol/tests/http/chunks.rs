//! Chunked content.

use flux_protocol::http::Limits;

use crate::feed::{closes, one_by_one, refused_and_goes_on, request, whole};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunked(body: &str) -> Vec<u8> {
    (HEAD.to_owned() + body).into_bytes()
}

#[test]
fn chunks_are_joined() {
    for (body, expected) in [
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"),
        ("00000003\r\nabc\r\n00000000\r\n\r\n", "abc"),
        ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("7\r\n0\r\n\r\nx\n\r\n0\r\n\r\n", "0\r\n\r\nx\n"),
        ("3;a\r\nabc\r\n0;b=c\r\n\r\n", "abc"),
        ("3 ; a = \"b;\\\"c\" ;d\r\nabc\r\n0\r\n\r\n", "abc"),
        ("0\r\nA: b\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nHost: b\r\n\r\n", ""),
    ] {
        let bytes = chunked(body);
        let got = request(&bytes);
        assert_eq!((&*got.body, got.consumed), (expected.as_bytes(), bytes.len()), "{body:?}");
        assert_eq!(got.host.as_deref(), Some("a"), "trailers change nothing");
        assert_eq!(whole(&bytes), one_by_one(&bytes));
    }
}

#[test]
fn chunk_sizes_that_others_read_otherwise_are_refused() {
    for size in [
        "",
        " ",
        " 3",
        "3 ",
        "3\t",
        "+3",
        "-3",
        "0x3",
        "0X3",
        "x3",
        "3x",
        "3h",
        "3,3",
        "3.0",
        "3_0",
        "'3'",
        "\"3\"",
        "3 3",
        "\t3",
        "\u{663}",
        "\0",
        "3\0",
        "000000003",
        "00000000000000003",
        "3\r",
        "3\x0b",
        "3=a",
        "3:a",
    ] {
        closes(400, &chunked(&format!("{size}\r\nabc\r\n0\r\n\r\n")));
    }
    // An empty size is not the last chunk.
    closes(400, &chunked("\r\n\r\n"));
    closes(400, &chunked(";a\r\n\r\n"));
    // Size and extension alike are read before it is told what is wrong with the size.
    closes(400, &chunked("fffffffffffffffffx\r\nabc\r\n0\r\n\r\n"));
    closes(400, &chunked("ffffffffffffffffff;=\r\nabc\r\n0\r\n\r\n"));
    // Well-formed, however large (RFC 9112 section 7.1): what is wrong with them is their size, and no digit of theirs is lost.
    for size in [
        "1001",
        "ffff",
        "7fffffff",
        "80000000",
        "ffffffff",
        "100000000",
        "fffffffff",
        "ffffffffffffffff",
        "10000000000000003",
        "0000000000001001",
        &"f".repeat(200),
    ] {
        closes(413, &chunked(&format!("{size}\r\nabc\r\n0\r\n\r\n")));
    }
}

#[test]
fn chunk_extensions_are_checked_and_bounded() {
    for extension in [
        ";",
        ";;a",
        ";a;",
        ";=b",
        ";a=",
        ";a=\"b",
        ";a=\"b\\",
        ";a=b c",
        ";a b",
        " ;a ",
        ";a=b\"c\"",
        ";a=\"\x01\"",
        ";\u{e9}",
        "; ",
        ";a\0",
        ";a={b}",
        "a=b",
    ] {
        closes(400, &chunked(&format!("3{extension}\r\nabc\r\n0\r\n\r\n")));
        closes(400, &chunked(&format!("0{extension}\r\n\r\n")));
    }
    let extended = |bytes: usize| chunked(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(bytes - 4)));
    request(&extended(256));
    closes(400, &extended(257));
    closes(400, &chunked(&format!("3;{}", "a".repeat(10_000))));
    closes(400, &chunked(&"0".repeat(10_000)));
}

#[test]
fn lines_of_chunks_end_by_crlf() {
    for body in [
        "3\nabc\r\n0\r\n\r\n",
        "\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "3;a\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\n\r\n",
        "3\r\nabc\r\n0\r\n\n",
        "3\r\nabc\r\n0\r\nA: b\n\r\n",
        "3\r\rabc\r\n0\r\n\r\n",
    ] {
        closes(400, &chunked(body));
    }
}

#[test]
fn trailers_are_checked_and_bounded() {
    for trailers in [
        "A\r\n",
        ": b\r\n",
        "A : b\r\n",
        " A: b\r\n",
        "A: b\r\n c\r\n",
        "A: \0\r\n",
        "A: b\rc\r\n",
        "A: \x07\r\n",
        "(A): b\r\n",
    ] {
        closes(400, &chunked(&format!("0\r\n{trailers}\r\n")));
    }
    request(&chunked(&format!("0\r\n{}\r\n", "a:b\r\n".repeat(64))));
    closes(431, &chunked(&format!("0\r\n{}\r\n", "a:b\r\n".repeat(65))));
    closes(431, &chunked(&format!("0\r\nA: {}", "b".repeat(10_000))));
}

#[test]
fn content_and_framing_are_bounded_however_small_the_chunks() {
    let most = Limits::DEFAULT.body_bytes_max;
    assert_eq!(request(&chunked(&format!("{most:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(most)))).body.len(), most);
    closes(413, &chunked(&format!("{most:x}\r\n{}\r\n1\r\n", "x".repeat(most))));
    closes(413, &chunked(&format!("{:x}\r\n", most + 1)));
    // Five bytes of framing for each byte of content.
    let framing = Limits::DEFAULT.chunk_framing_bytes_max;
    let fits = (framing - "0\r\n\r\n".len()) / 5;
    assert_eq!(request(&chunked(&("1\r\nx\r\n".repeat(fits) + "0\r\n\r\n"))).body.len(), fits);
    closes(413, &chunked(&("1\r\nx\r\n".repeat(fits + 1) + "0\r\n\r\n")));
    closes(413, &chunked(&"1\r\nx\r\n".repeat(4096)));
    // Wherever in a chunk the framing comes to its bound.
    for padding in 1..20 {
        let start = "1\r\nx\r\n".repeat(fits - 4) + &format!("1;{}\r\nx\r\n", "a".repeat(padding));
        closes(413, &chunked(&(start + &"1\r\nx\r\n".repeat(4) + "0\r\n\r\n")));
    }
}

#[test]
fn a_message_refused_for_its_head_is_read_to_its_end() {
    refused_and_goes_on(
        400,
        b"POST /%41 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
    );
    closes(400, b"POST /%41 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
}
