//! Arbitrary bytes: never a panic, never a buffer beyond its bound, never an outcome that depends on how they arrived.

use flux_protocol::http::{Limits, order_body};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::feed::{Connection, in_pieces, one_by_one, whole};
use crate::splitting::{REFUSED, SAMPLES};

/// What requests are made of, and what they are broken with.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /order HTTP/1.1\r\nHost: a\r\n",
        b"POST /order?x HTTP/1.0\r\n",
        b"GET /%41 HTTP/1.1\r\nHost: a\r\n",
        b"FOO * HTTP/1.4\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"GET http://b HTTP/2.0\r\n",
        b"GET",
        b" ",
        b"/",
        b" HTTP/1.1",
        b"Host: a\r\n",
        b"host:\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 4097\r\n",
        b"content-length: +5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Expect: 100-continue\r\n",
        b"Expect: x\r\n",
        b"X-Idempotency-Key: k\r\n",
        b"idempotency-key: \"l\"\r\n",
        b"Content-Type: a\r\n",
        b"X: y\n",
        b" folded\r\n",
        b"Name : value\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"\n",
        b"\0",
        b":",
        b"hello",
        b"5\r\nhello\r\n",
        b"1\r\nx\r\n",
        b"0\r\n\r\n",
        b"0\r\nT: u\r\n\r\n",
        b"5;a=\"b\"\r\nhello\r\n",
        b"0x5\r\n",
        b"fffff\r\n",
        b"{\"productId\":\"p\",\"userId\":\"u\"}",
    ];
    prop_oneof![
        20 => prop::sample::select([SAMPLES, &REFUSED[..4]].concat()).prop_map(<[u8]>::to_vec),
        20 => prop::sample::select(known).prop_map(<[u8]>::to_vec),
        2 => prop::collection::vec(any::<u8>(), 0..8),
        1 => (0..9000usize, prop::sample::select(b"aA0 \t;\r\n\"".to_vec())).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

fn config(cases: u32, seed: u64) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(seed), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(3000, 1))]

    #[test]
    fn splitting_never_changes_the_outcome(
        fragments in prop::collection::vec(fragment(), 0..24),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = fragments.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let expected = whole(&bytes);
        prop_assert_eq!(&in_pieces(&bytes, &cuts), &expected);
        prop_assert_eq!(&one_by_one(&bytes), &expected);
    }

    #[test]
    fn a_cut_connection_has_seen_a_part_of_what_the_whole_one_saw(
        fragments in prop::collection::vec(fragment(), 0..16),
        end in any::<prop::sample::Index>(),
    ) {
        let bytes = fragments.concat();
        let part = whole(&bytes[..end.index(bytes.len() + 1)]);
        prop_assert!(whole(&bytes).starts_with(&part));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(whole(&bytes), one_by_one(&bytes));
        let _ = order_body::parse(&bytes);
    }

    #[test]
    fn a_mutated_request_never_panics_and_is_never_torn(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        also_at in any::<prop::sample::Index>(),
        also in prop::sample::select(b"\r\n\t :;,0fF\0\x80%/".to_vec()),
        is_chunked in any::<bool>(),
    ) {
        let framing = if is_chunked {
            "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n"
        } else {
            "Content-Length: 5\r\n\r\nhello"
        };
        let request = format!("POST http://a/order?x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: x\r\n{framing}");
        let mut bytes = (request.clone() + &request).into_bytes();
        let length = bytes.len();
        bytes[at.index(length)] = byte;
        bytes[also_at.index(length)] = also;
        prop_assert_eq!(whole(&bytes), one_by_one(&bytes));
    }
}

/// A slow sender's buffer stays within its bound whatever the limits: `feed` asserts it at every byte.
#[test]
fn endless_messages_are_cut_off() {
    let limits = Limits {
        head_bytes_max: 600,
        body_bytes_max: 50,
        target_bytes_max: 100,
        chunk_framing_bytes_max: 256,
        ..Limits::DEFAULT
    };
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (start, repeated) in [
        ("", "G"),
        ("", "\r\n"),
        ("GET /", "x"),
        ("GET / HTTP/1.1\r\n", "a:b\r\n"),
        ("GET / HTTP/1.1\r\n", "a"),
        (chunked, "0"),
        (chunked, "1\r\nx\r\n"),
        (chunked, "5\r\nhello\r\n"),
        (&format!("{chunked}1;"), "a"),
        (&format!("{chunked}0\r\n"), "a"),
        (&format!("{chunked}0\r\n"), "a:b\r\n"),
    ] {
        let mut connection = Connection::new(limits);
        connection.feed(start.as_bytes());
        for byte in repeated.bytes().cycle().take(2000) {
            connection.feed(&[byte]);
        }
        assert!(connection.is_over, "{start:?} {repeated:?}");
    }
}
