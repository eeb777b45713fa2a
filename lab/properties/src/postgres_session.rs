//! PostgreSQL's answers: cut anywhere they mean the same, no more is answered than was asked, no password leaves in the clear;
//! and a COPY of ours is read back row by row.

use bytes::BytesMut;
use flux_protocol::order::Uuid;
use flux_protocol::postgres::{
    CopyRows, Event, Param, PostgresConfig, Session, SessionError, SessionOptions, Statement,
};
use flux_protocol::time::Instant;

use crate::allocation;
use crate::input::{Input, pieces};

const PASSWORD: &str = "a-password-of-31-letters-and-so";
/// The longest message that is taken, for which room is made as soon as its length is known.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// AuthenticationOk, ReadyForQuery.
const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

/// How to cut, how far the session is and what it has asked; then what the server sends.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (choice, asked) = (input.byte(), input.byte());
    let stream = input.rest();
    let whole = run(&[stream], asked);
    assert_eq!(run(&pieces(stream, choice), asked), whole, "cut by {choice}");
    assert_eq!(run(&pieces(stream, 255), asked), whole, "byte by byte");
}

type Outcome = (Vec<Event>, Result<(), SessionError>);

fn run(pieces: &[&[u8]], asked: u8) -> Outcome {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    allocation::within(2 * MESSAGE_BYTES_MAX + 64 * length, "a session", || drive(pieces, asked))
}

fn drive(pieces: &[&[u8]], asked: u8) -> Outcome {
    let must_be_bound = asked & 2 == 2;
    let more = if must_be_bound { "?sslmode=require&channel_binding=require" } else { "" };
    let config = PostgresConfig::parse(&format!("postgres://shop:{PASSWORD}@db/flux{more}")).expect("a URL");
    let now = Instant::from_micros(1);
    let mut session = Session::new(config, SessionOptions::default());
    session.handle_open(now);
    let mut buffer = BytesMut::new();
    let mut syncs = 0;
    if asked & 1 == 1 && !must_be_bound {
        buffer.extend_from_slice(LET_IN);
        session.handle_bytes(now, &mut buffer).expect("a server without a password");
        assert_eq!(session.poll_event(), Some(Event::Ready { server_version: 0 }));
        syncs = ask(&mut session, now, asked >> 2);
    }
    let (mut events, mut result) = (Vec::new(), Ok(()));
    for piece in pieces {
        buffer.extend_from_slice(piece);
        result = session.handle_bytes(now, &mut buffer);
        events.extend(std::iter::from_fn(|| session.poll_event()));
        if result.is_err() {
            break;
        }
    }
    let mut out = Vec::new();
    session.poll_write(&mut out);
    assert!(!out.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()), "over TCP, without TLS");
    assert!(!(must_be_bound && session.is_up()), "channel_binding=require, without TLS");
    let synced = events.iter().filter(|event| matches!(event, Event::Synced(_))).count();
    assert!(synced <= syncs, "{synced} answers to {syncs} questions");
    let rows = events
        .iter()
        .map(|event| if let Event::Row(row) = event { row.texts().flatten().map(str::len).sum() } else { 0 });
    assert!(rows.sum::<usize>() <= pieces.iter().map(|piece| piece.len()).sum(), "more than came");
    (events, result)
}

/// Asks for this and that; how often it is to be told that all is answered.
fn ask(session: &mut Session, now: Instant, what: u8) -> usize {
    let mut syncs = 0;
    let mut rows = CopyRows::new();
    rows.row(1, |fields| fields.i32(7));
    rows.finish();
    if what & 1 == 1 {
        session.statement(Statement { sql: "SELECT $1", params: &[Param::I64(1)], copy: None });
    }
    if what & 2 == 2 {
        session.statement(Statement { sql: "COPY t FROM STDIN (FORMAT binary)", params: &[], copy: Some(&rows) });
    }
    if what & 7 != 0 {
        session.sync(now);
        syncs += 1;
    }
    if what & 8 == 8 {
        session.simple(now, "SELECT 1; SELECT 2");
        syncs += 1;
    }
    syncs
}

/// Rows of any values, written for COPY and read back by the letter of its binary format.
pub fn copy_rows(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (mut rows, mut expected) = (CopyRows::new(), Vec::new());
    while !input.is_empty() && expected.len() < 2000 {
        let fields = written(&mut input);
        rows.row(fields.len() as i16, |out| {
            for field in &fields {
                match field {
                    Field::Null => out.null(),
                    Field::Bytes(bytes) => out.bytes(bytes),
                    Field::I32(number) => out.i32(*number),
                    Field::I64(number) => out.i64(*number),
                    Field::Uuid(uuid) => out.uuid(*uuid),
                    Field::Timestamp(ms) => out.timestamp_ms(*ms),
                }
            }
        });
        expected.push(fields);
    }
    rows.finish();
    assert_eq!(rows.rows(), expected.len() as u64);
    let read = read_copy(rows.messages());
    assert_eq!(read.len(), expected.len());
    for (row, fields) in read.iter().zip(&expected) {
        assert_eq!(row.len(), fields.len());
        row.iter().zip(fields).for_each(|(value, field)| field.assert_is(*value));
    }
}

enum Field {
    Null,
    Bytes(Vec<u8>),
    I32(i32),
    I64(i64),
    Uuid(Uuid),
    Timestamp(i64),
}

fn written(input: &mut Input<'_>) -> Vec<Field> {
    (0..input.byte() % 9)
        .map(|_| match input.byte() % 6 {
            0 => Field::Null,
            1 => Field::Bytes(input.piece(255).repeat(1 + usize::from(input.byte()))),
            2 => Field::I32(input.number() as i32),
            3 => Field::I64(input.number() as i64),
            4 => Field::Uuid(Uuid(u128::from(input.number()).to_be_bytes())),
            _ => Field::Timestamp(input.number() as i64),
        })
        .collect()
}

impl Field {
    fn assert_is(&self, value: Option<&[u8]>) {
        match self {
            Field::Null => assert_eq!(value, None),
            Field::Bytes(bytes) => assert_eq!(value, Some(&bytes[..])),
            Field::I32(number) => assert_eq!(value, Some(&number.to_be_bytes()[..])),
            Field::I64(number) => assert_eq!(value, Some(&number.to_be_bytes()[..])),
            Field::Uuid(uuid) => assert_eq!(value, Some(&uuid.0[..])),
            Field::Timestamp(ms) => {
                // PostgreSQL's first and last timestamps, and what stands for them: from 4713 BC to the year 294276.
                let micros = i64::from_be_bytes(value.expect("a value").try_into().expect("eight bytes"));
                let wanted = i128::from(*ms) * 1000 - 946_684_800_000_000;
                let held = wanted.clamp(-211_813_488_000_000_000, 9_223_371_331_199_999_999);
                assert_eq!(i128::from(micros), held);
            }
        }
    }
}

/// The rows of a whole COPY (PostgreSQL documentation, "COPY", binary format; "Message Formats", CopyData and CopyDone).
fn read_copy(mut messages: &[u8]) -> Vec<Vec<Option<&[u8]>>> {
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(count);
        *bytes = rest;
        taken
    }
    let (mut rows, mut is_first) = (Vec::new(), true);
    loop {
        let kind = take(&mut messages, 1)[0];
        let length = u32::from_be_bytes(take(&mut messages, 4).try_into().expect("four bytes")) as usize;
        let mut data = take(&mut messages, length - 4);
        if kind == b'c' {
            assert!(data.is_empty() && messages.is_empty(), "CopyDone is the last");
            panic!("CopyDone before the trailer");
        }
        assert_eq!(kind, b'd');
        if std::mem::take(&mut is_first) {
            assert_eq!(take(&mut data, 19), b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        }
        // No row is cut by the end of a message.
        while !data.is_empty() {
            let columns = i16::from_be_bytes(take(&mut data, 2).try_into().expect("two bytes"));
            if columns == -1 {
                assert!(data.is_empty(), "the trailer is the last");
                assert_eq!(messages, b"c\0\0\0\x04");
                return rows;
            }
            let row = (0..columns).map(|_| {
                let length = i32::from_be_bytes(take(&mut data, 4).try_into().expect("four bytes"));
                usize::try_from(length).ok().map(|length| take(&mut data, length))
            });
            rows.push(row.collect());
        }
    }
}
