//! `redis-protocol` is the oracle: what it makes of whole, well-formed bytes, ours must make of them in any pieces.

use bytes::BytesMut;
use proptest::prelude::*;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::encode::encode;
use redis_protocol::resp2::types::Resp2Frame;

use super::*;

fn frame_of(value: Value<'_>) -> OwnedFrame {
    match value {
        Value::Status(text) => OwnedFrame::SimpleString(text.to_vec()),
        Value::Error(error) => OwnedFrame::Error(String::from_utf8(error.message().to_vec()).expect("UTF-8")),
        Value::Integer(number) => OwnedFrame::Integer(number),
        Value::Bulk(bytes) => OwnedFrame::BulkString(bytes.to_vec()),
        Value::Null => OwnedFrame::Null,
        Value::Array(items) => OwnedFrame::Array(items.map(frame_of).collect()),
    }
}

/// All replies in `pieces`, and whether the end was reached without an error.
fn read(pieces: &[&[u8]], limits: Limits) -> (Vec<OwnedFrame>, Result<(), Malformed>) {
    let (mut decoder, mut buffer, mut replies) = (Decoder::new(limits), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.poll(&mut buffer) {
                Ok(Some(reply)) => {
                    let frame = frame_of(reply.value());
                    assert_eq!(frame, reply.to_frame().expect("well-formed"));
                    replies.push(frame);
                }
                Ok(None) => break,
                Err(error) => return (replies, Err(error)),
            }
        }
    }
    (replies, Ok(()))
}

fn any_frame() -> impl Strategy<Value = OwnedFrame> {
    let leaf = prop_oneof![
        "[ -~]{0,40}".prop_map(|text| OwnedFrame::SimpleString(text.into_bytes())),
        "[A-Z]{1,12}( [ -~]{0,40})?".prop_map(OwnedFrame::Error),
        any::<i64>().prop_map(OwnedFrame::Integer),
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(OwnedFrame::BulkString),
        Just(OwnedFrame::Null),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| proptest::collection::vec(inner, 0..8).prop_map(OwnedFrame::Array))
}

fn encoded(frames: &[OwnedFrame]) -> Vec<u8> {
    let mut wire = Vec::new();
    for frame in frames {
        let mut bytes = vec![0; frame.encode_len(false)];
        let length = encode(&mut bytes, frame, false).expect("room was measured");
        wire.extend_from_slice(&bytes[..length]);
    }
    wire
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Cut anywhere, the same replies come out, and what went in.
    #[test]
    fn replies_survive_any_cuts(frames in proptest::collection::vec(any_frame(), 1..4), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let wire = encoded(&frames);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        at.extend([0, wire.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
        let (replies, end) = read(&pieces, Limits::DEFAULT);
        prop_assert_eq!(replies, frames);
        prop_assert_eq!(end, Ok(()));
    }

    /// Any bytes at all: no panic, and where a reply is yielded the oracle reads the same one.
    #[test]
    fn hostile_bytes_are_refused_or_read_as_the_oracle_reads_them(bytes in hostile()) {
        let mut decoder = Decoder::new(Limits { reply_bytes_max: 1 << 16, elements_max: 1 << 10 });
        if let Ok(Some(length)) = decoder.reply_bytes(&bytes) {
            let reply = Reply::new(&bytes[..length]);
            if std::str::from_utf8(reply.bytes()).is_ok() {
                let (frame, taken) = decode(&bytes).expect("the oracle takes what we take").expect("complete");
                prop_assert_eq!(taken, length);
                prop_assert_eq!(frame_of(reply.value()), frame);
            }
        }
    }

    /// Commands are what the oracle reads back.
    #[test]
    fn commands_are_arrays_of_bulk_strings(arguments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..20)) {
        let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let mut wire = Vec::new();
        command(&mut wire, &slices);
        let (frame, length) = decode(&wire).expect("well-formed").expect("complete");
        prop_assert_eq!(length, wire.len());
        prop_assert_eq!(frame, OwnedFrame::Array(arguments.into_iter().map(OwnedFrame::BulkString).collect()));
    }
}

/// Bytes that look like RESP often enough to get past its first check.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"*".to_vec()),
        Just(b"$".to_vec()),
        Just(b":".to_vec()),
        Just(b"+".to_vec()),
        Just(b"-".to_vec()),
        "[0-9]{1,3}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 1..4),
    ];
    proptest::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

/// One of each shape that Redis 7.0 answers our calls with, and a few it may.
const GOLDEN: &[u8] = b"$40\r\n0123456789abcdef0123456789abcdef01234567\r\n*1\r\n$16\r\nA1700000000000-0\r\n\
*3\r\n$1\r\nM\r\n$1\r\n0\r\n$2\r\nI3\r\n*1\r\n*2\r\n$15\r\n1700000000000-0\r\n*2\r\n$1\r\nh\r\n$1\r\nx\r\n*0\r\n*-1\r\n$-1\r\n$0\r\n\r\n:-7\r\n+OK\r\n\
-NOSCRIPT No matching script. Please use EVAL.\r\n";

#[test]
fn every_cut_of_every_reply_yields_the_same() {
    let (whole, end) = read(&[GOLDEN], Limits::DEFAULT);
    assert_eq!((whole.len(), end), (11, Ok(())));
    for cut in 0..=GOLDEN.len() {
        assert_eq!(read(&[&GOLDEN[..cut], &GOLDEN[cut..]], Limits::DEFAULT).0, whole, "cut at {cut}");
    }
    let bytewise: Vec<&[u8]> = GOLDEN.chunks(1).collect();
    assert_eq!(read(&bytewise, Limits::DEFAULT).0, whole);
}

#[test]
fn what_is_not_resp_is_refused_with_its_reason() {
    let limits = Limits { reply_bytes_max: 1000, elements_max: 20 };
    let deep = b"*1\r\n".repeat(9);
    let long_line = [b"+".as_slice(), &[b'x'; 9000]].concat();
    let cases: &[(&[u8], Malformed)] = &[
        (b"$3\r\nabcXY", Malformed::Terminator),
        (b"$2000000000\r\n", Malformed::TooLarge),
        (b"$1001\r\n", Malformed::TooLarge),
        (b"*21\r\n", Malformed::TooLarge),
        (b"*10\r\n*5\r\n*6\r\n", Malformed::TooLarge),
        (&deep, Malformed::TooLarge),
        (&long_line, Malformed::TooLarge),
        (b":99999999999999999999999999", Malformed::TooLarge),
        (b":9223372036854775808\r\n", Malformed::Number),
        (b":\r\n", Malformed::Number),
        (b"$\r\n", Malformed::Number),
        (b"$-2\r\n", Malformed::Number),
        (b"$+2\r\n", Malformed::Number),
        (b"$03\r\n", Malformed::Number),
        (b"*1 \r\n", Malformed::Number),
        (b"+OK\n", Malformed::Terminator),
        (b"+O\rK\r\n", Malformed::Terminator),
        (b"+\n", Malformed::Terminator),
        (b"!3\r\nabc\r\n", Malformed::Kind(b'!')),
        (b"\r\n", Malformed::Kind(b'\r')),
    ];
    for (bytes, error) in cases {
        assert_eq!(read(&[bytes], limits), (Vec::new(), Err(*error)), "{}", bytes.escape_ascii());
    }
}

#[test]
fn many_small_elements_cannot_pass_the_cap_on_bytes() {
    let element = [b"$60\r\n".as_slice(), &[b'x'; 60], b"\r\n"].concat();
    let many = [b"*20\r\n".to_vec(), element.repeat(20)].concat();
    assert_eq!(read(&[&many], Limits { reply_bytes_max: 1000, elements_max: 100 }).1, Err(Malformed::TooLarge));
    assert_eq!(read(&[&many], Limits { reply_bytes_max: 2000, elements_max: 100 }).0.len(), 1);
}

#[test]
fn errors_say_what_to_believe() {
    let of = |message: &'static str| {
        let error = ServerError::new(message.as_bytes());
        (error.kind(), error.belief())
    };
    // Messages as Redis 7.0.15 writes them.
    assert_eq!(of("NOSCRIPT No matching script. Please use EVAL."), (ErrorKind::NoScript, Belief::Refused));
    assert_eq!(of("LOADING Redis is loading the dataset in memory"), (ErrorKind::Loading, Belief::Refused));
    assert_eq!(
        of("READONLY Can not run script with write flag on readonly replica."),
        (ErrorKind::ReadOnly, Belief::Refused)
    );
    assert_eq!(
        of("OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"),
        (ErrorKind::OutOfMemory, Belief::Refused)
    );
    assert_eq!(
        of("OOM command not allowed when used memory > 'maxmemory'. script: 9b2f, on @user_script:3."),
        (ErrorKind::OutOfMemory, Belief::Unknown)
    );
    assert_eq!(
        of("WRONGTYPE Operation against a key holding the wrong kind of value script: 9b2f, on @user_script:3."),
        (ErrorKind::WrongType, Belief::Unknown)
    );
    assert_eq!(
        of("WRONGTYPE Operation against a key holding the wrong kind of value"),
        (ErrorKind::WrongType, Belief::Failed)
    );
    assert_eq!(of("MISCONF Redis is configured to save RDB snapshots"), (ErrorKind::Misconfigured, Belief::Refused));
    assert_eq!(of("BUSY Redis is busy running a script."), (ErrorKind::Busy, Belief::Refused));
    assert_eq!(of("MOVED 3999 127.0.0.1:6381"), (ErrorKind::Moved, Belief::Refused));
    assert_eq!(of("ASK 3999 127.0.0.1:6381"), (ErrorKind::Ask, Belief::Refused));
    assert_eq!(of("CLUSTERDOWN Hash slot not served"), (ErrorKind::ClusterDown, Belief::Refused));
    assert_eq!(of("TRYAGAIN Multiple keys request during rehashing of slot"), (ErrorKind::TryAgain, Belief::Refused));
    assert_eq!(of("NOAUTH Authentication required."), (ErrorKind::Denied, Belief::Refused));
    assert_eq!(of("ERR wrong number of arguments for 'get' command"), (ErrorKind::Other, Belief::Failed));
    assert_eq!(
        of(
            "ERR user_script:1: Script attempted to access nonexistent global variable 'x' script: 9b2f, on @user_script:1."
        ),
        (ErrorKind::Other, Belief::Unknown)
    );
}

#[test]
fn a_call_collected_in_pieces_is_the_call_written_at_once() {
    let script = Script::new("#!lua\nreturn ARGV", &["local answer = 42"]);
    assert_eq!(script.source(), "#!lua\nlocal answer = 42\nreturn ARGV");
    let (mut keys, mut first, mut second) = (Arguments::default(), Arguments::default(), Arguments::default());
    keys.push_parts(&[b"product:{", b"iphone-15", b"}:stock"]);
    first.push_number(1_705_234_700_000);
    second.push(b"");
    second.push(b"x y");
    let (mut pieces, mut whole) = (Vec::new(), Vec::new());
    script.write_call(&mut pieces, &[&keys], &[&first, &second]);
    script.write_call_with(&mut whole, &[b"product:{iphone-15}:stock"], &[b"1705234700000", b"", b"x y"]);
    assert_eq!(pieces, whole);
    assert_eq!((first.count() + second.count(), second.bytes()), (3, 6 + 9));
    let (frame, _) = decode(&whole).expect("well-formed").expect("complete");
    assert!(matches!(frame, OwnedFrame::Array(parts) if parts.len() == 7));
}

#[test]
fn the_digest_is_sha1_of_the_source() {
    // printf '#!lua\nreturn 1' | sha1sum
    let script = Script::new("#!lua\nreturn 1", &[]);
    assert_eq!(std::str::from_utf8(script.digest()).expect("ASCII"), "cb70127618f0b0be70c53cf6bfcfa54a29d9b0c0");
}

#[test]
fn a_server_s_words_are_printable() {
    assert_eq!(printable(b"ERR \x07 a 'quoted' \\ \"word\"\r\n\xff"), "ERR \\x07 a 'quoted' \\ \"word\"\\r\\n\\xff");
}

#[test]
fn whom_redis_does_not_name_is_named() {
    let refused = "WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(with_user(refused.to_owned(), Some("shop")), format!("{refused} (user shop)"));
    assert_eq!(with_user(refused.to_owned(), None), format!("{refused} (user default)"));
    let lacking = "NOPERM User shop has no permissions to run the 'info' command";
    assert_eq!(with_user(lacking.to_owned(), Some("shop")), lacking);
}
