//! However the bytes of a connection arrive, the same comes of them.

use flux_protocol::http::{Limits, Read, Reader};

use crate::feed::{in_pieces, one_by_one, whole};

/// Requests of every shape, one message each.
pub(crate) const SAMPLES: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"\r\n\r\nHEAD /x?y HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nAccess-Control-Request-Method: POST\r\n\r\n",
    b"GET http://b:80 HTTP/1.3\r\nHost: a\r\nAccept: */*\r\nIf-None-Match: \"x\"\r\n\r\n",
    b"POST /order HTTP/1.1\r\nHost: shop\r\nUser-Agent: curl/8\r\nAccept: */*\r\nContent-Type: application/json\r\n\
      X-Idempotency-Key: 550e8400-e29b-41d4-a716-446655440000\r\nContent-Length: 57\r\n\r\n\
      {\"productId\":\"iphone-15\",\"userId\":\"user-42\",\"quantity\":1}",
    b"POST /order HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nidempotency-key: \"k\"\r\nx-idempotency-key: k\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /order HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b\"\r\n{\r\n01\r\n}\r\n0\r\nT: u\r\nV: w\r\n\r\n",
    b"POST /order HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00\r\n\r\n",
    b"POST /order HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n\r\n\r",
    b"DELETE /order HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
];

/// Messages that are refused: first those after which the connection goes on.
pub(crate) const REFUSED: &[&[u8]] = &[
    b"GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"FOO / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / HTTP/1.1\r\nHost: a b\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
    b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
];

#[test]
fn splitting_a_sample_at_any_byte_changes_nothing() {
    for sample in SAMPLES.iter().chain(REFUSED) {
        let expected = whole(sample);
        assert_eq!(expected.len(), 1, "{}", sample.escape_ascii());
        for cut in 0..=sample.len() {
            assert_eq!(in_pieces(sample, &[cut]), expected, "{} cut at {cut}", sample.escape_ascii());
        }
        for (first, second) in
            (0..sample.len()).flat_map(|first| (first..sample.len()).map(move |second| (first, second)))
        {
            assert_eq!(
                in_pieces(sample, &[first, second]),
                expected,
                "{} cut at {first}, {second}",
                sample.escape_ascii()
            );
        }
        assert_eq!(one_by_one(sample), expected);
    }
}

#[test]
fn splitting_a_pipeline_at_any_byte_changes_nothing() {
    let is_persistent = |sample: &&&[u8]| one_by_one(&[sample, SAMPLES[0]].concat()).len() == 2;
    let pipeline: Vec<u8> =
        SAMPLES.iter().chain(&REFUSED[..4]).filter(is_persistent).flat_map(|sample| sample.iter().copied()).collect();
    let expected = whole(&pipeline);
    assert!(expected.len() > 10);
    for cut in 0..=pipeline.len() {
        assert_eq!(in_pieces(&pipeline, &[cut]), expected, "cut at {cut}");
    }
    assert_eq!(one_by_one(&pipeline), expected);
}

#[test]
fn a_sample_that_ends_early_is_incomplete() {
    for sample in SAMPLES {
        for end in 0..sample.len() {
            let mut part = sample[..end].to_vec();
            let read = Reader::new(Limits::DEFAULT).read(&mut part);
            assert!(matches!(read, Read::Incomplete), "{}: {read:?}", sample[..end].escape_ascii());
        }
    }
}

#[test]
fn what_follows_a_sample_is_left_alone() {
    for sample in SAMPLES {
        let mut bytes = [sample, &b"\x00\xffGET"[..]].concat();
        match Reader::new(Limits::DEFAULT).read(&mut bytes) {
            Read::Request(_, consumed) => assert_eq!(consumed, sample.len()),
            other => panic!("{other:?}"),
        }
        assert_eq!(&bytes[sample.len()..], b"\x00\xffGET");
    }
}
