//! Servers that lie: an error and a new connection, never a panic, never a wait for what will not come.

use proptest::prelude::*;

use super::*;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}

fn answer(session: &mut Session, bytes: &[u8]) -> Result<(), SessionError> {
    session.handle_bytes(NOW, &mut BytesMut::from(bytes))
}

fn asked() -> Session {
    let mut session = up();
    session.statement(Statement { sql: "SELECT 1", params: &[], copy: None });
    session.sync(NOW);
    session
}

#[test]
fn absurd_lengths_are_refused_at_the_header() {
    for (length, made) in [
        (3u32, asked as fn() -> Session),
        (0, asked),
        (u32::MAX, asked),
        (i32::MAX as u32, asked),
        (16 << 20, asked),
        // A server that has not let us in yet gets less credit.
        (16 << 10, || opened("postgres://x")),
    ] {
        let mut bytes = vec![b'N'];
        bytes.extend(length.to_be_bytes());
        assert_eq!(answer(&mut made(), &bytes), Err(SessionError::Wire(WireError::Length(i64::from(length as i32)))));
    }
    let mut bytes = vec![b'N'];
    bytes.extend(((16u32 << 20) - 1).to_be_bytes());
    assert_eq!(answer(&mut asked(), &bytes), Ok(()), "the longest is waited for");
}

#[test]
fn unknown_types_are_refused_at_once() {
    for tag in [0, b'H', b'W', b'd', b'c', b'v', b'V', b's', 0xff] {
        assert_eq!(answer(&mut asked(), &[tag]), Err(SessionError::Wire(WireError::Type(tag))));
    }
    // A TLS or HTTP server on the port.
    assert!(answer(&mut opened("postgres://x"), b"HTTP/1.1 400 Bad Request\r\n").is_err());
}

#[test]
fn answers_that_nobody_asked_for() {
    let complete = message(b'C', b"SELECT 1\0");
    let ready = message(b'Z', b"I");
    let row = message(b'D', &[0, 1, 0, 0, 0, 1, b'1']);
    for bytes in [&complete, &ready, &row, &message(b'1', b""), &message(b'R', &[0; 4]), &message(b'K', &[0; 8])] {
        assert!(matches!(answer(&mut up(), bytes), Err(SessionError::OutOfTurn(_))), "{bytes:?}");
    }
    // Ready before its statement; complete before its bind; COPY where none was asked for; login again.
    let copy = [message(b'1', b""), message(b'2', b""), message(b'G', &[1, 0, 0])].concat();
    for bytes in [&ready, &complete, &row, &copy, &message(b'R', &[0; 4])] {
        assert!(matches!(answer(&mut asked(), bytes), Err(SessionError::OutOfTurn(_))), "{bytes:?}");
    }
    let mut session = asked();
    assert!(answer(&mut session, &ready).is_err());
    assert!(!session.is_up(), "what failed once is over");
    assert!(answer(&mut session, &ready).is_err());
}

#[test]
fn messages_that_contradict_themselves() {
    let begun = [message(b'1', b""), message(b'2', b"")].concat();
    for (bytes, name) in [
        (message(b'D', &[0, 2, 0, 0, 0, 1, b'1']), "DataRow"),
        (message(b'D', &[0, 1, 0, 0, 0, 9, b'1']), "DataRow"),
        (message(b'D', &[0, 1, 0, 0, 0, 1, 0xff]), "text in DataRow"),
        (message(b'C', b"SELECT 1"), "CommandComplete"),
        (message(b'E', b"SERROR\0\0"), "error without a SQLSTATE"),
        (message(b'E', b"C230\xff5\0\0"), "error without a SQLSTATE"),
        (message(b'E', b"C23505\0"), "error fields"),
        (message(b'1', b"x"), "ParseComplete"),
    ] {
        let all = [&begun[..], &bytes].concat();
        assert_eq!(answer(&mut asked(), &all), Err(SessionError::Wire(WireError::Malformed(name))), "{bytes:?}");
    }
    let ended = [&begun[..], &message(b'C', b"SELECT 1\0"), &message(b'Z', b"X")].concat();
    assert_eq!(answer(&mut asked(), &ended), Err(SessionError::Wire(WireError::Malformed("ReadyForQuery"))));
}

#[test]
fn a_long_error_is_cut_and_cleaned() {
    let mut body = b"SERROR\0VERROR\0C22021\0M".to_vec();
    body.extend(std::iter::repeat_n(b"a\n\x1b\xff".as_slice(), 5000).flatten());
    body.extend(b"\0\0");
    let mut session = asked();
    answer(&mut session, &message(b'E', &body)).expect("an error is a value");
    let Some(Event::Failed(error)) = session.poll_event() else { panic!("no error") };
    assert!(error.message.chars().count() <= 1024 && !error.message.contains(char::is_control));
}

#[test]
fn a_silent_server_is_given_up() {
    let late = Instant::from_micros(15_000_000);
    let early = Instant::from_micros(14_999_999);
    let mut session = asked();
    assert_eq!(session.handle_time(early), Ok(()));
    assert_eq!(session.handle_time(late), Err(SessionError::Timeout));
    // A server that owes nothing may be silent for ever.
    let mut session = up();
    assert_eq!(session.next_deadline(), Instant::FAR_FUTURE);
    assert_eq!(session.handle_time(late), Ok(()));
    // A server that accepts and never greets.
    let mut session = opened("postgres://x");
    assert_eq!(session.handle_time(late), Err(SessionError::Timeout));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    /// One byte of a real answer changed: an error, another answer or a wait, never a panic.
    #[test]
    fn a_byte_changed(at in 0usize..4096, to in any::<u8>()) {
        let (_, mut server) = recorded!("copy_duplicate");
        let at = at % server.len();
        server[at] = to;
        let mut session = up();
        let mut rows = CopyRows::new();
        rows.finish();
        for copy in [None, Some(&rows), None] {
            session.statement(Statement { sql: "x", params: &[], copy });
        }
        session.sync(NOW);
        let _ = answer(&mut session, &server);
        prop_assert!(events(&mut session).len() <= 4);
    }

    /// Rows of any content have the length they announce and the fields they were given.
    #[test]
    fn rows_hold_what_was_written(values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), 0..600)) {
        let mut rows = CopyRows::new();
        for value in &values {
            rows.row(1, |fields| match value {
                Some(value) => fields.bytes(value),
                None => fields.null(),
            });
        }
        rows.finish();
        prop_assert_eq!(rows.rows(), values.len() as u64);
        let mut data = Vec::new();
        let mut rest = rows.messages();
        while let [b'd', a, b, c, d, after @ ..] = rest {
            let (body, next) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4);
            data.extend_from_slice(body);
            rest = next;
        }
        prop_assert_eq!(rest, b"c\0\0\0\x04");
        let mut at = 19;
        for value in &values {
            prop_assert_eq!(&data[at..at + 2], &[0, 1]);
            let length = i32::from_be_bytes(data[at + 2..at + 6].try_into().unwrap());
            at += 6;
            match value {
                None => prop_assert_eq!(length, -1),
                Some(value) => {
                    prop_assert_eq!(&data[at..at + length as usize], &value[..]);
                    at += length as usize;
                }
            }
        }
        prop_assert_eq!(&data[at..], &[0xff, 0xff]);
    }
}
