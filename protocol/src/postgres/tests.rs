//! The session against what PostgreSQL 15 really answered (`golden/`, taken by `golden/capture.py`), whole, split at
//! every byte and cut off at every byte; and against servers that lie.

mod golden;
mod hostile;
mod scram;

use bytes::BytesMut;

use super::*;
use crate::time::Instant;

const NOW: Instant = Instant::from_micros(0);

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

macro_rules! recorded {
    ($name:literal) => {
        (
            crate::postgres::tests::hex(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/src/postgres/golden/",
                $name,
                ".client.hex"
            ))),
            crate::postgres::tests::hex(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/src/postgres/golden/",
                $name,
                ".server.hex"
            ))),
        )
    };
}
use recorded;

fn config(url: &str) -> PostgresConfig {
    PostgresConfig::parse(url).expect("a URL of these tests")
}

fn opened(url: &str) -> Session {
    let mut session = Session::new(config(url), SessionOptions::default());
    session.handle_open(NOW);
    session
}

fn written(session: &mut Session) -> Vec<u8> {
    let mut out = Vec::new();
    session.poll_write(&mut out);
    out
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// A session that a real server has let in, its own start-up message and the first event taken out.
fn up() -> Session {
    let mut session = opened("postgres://postgres@/postgres?host=/x");
    let (_, server) = recorded!("startup_trust");
    session.handle_bytes(NOW, &mut BytesMut::from(&server[..])).expect("a real server's bytes");
    written(&mut session);
    assert!(matches!(events(&mut session)[..], [Event::Ready { server_version: 150_000.. }]));
    session
}

/// Feeds `server` to sessions made by `make`: whole, split at every byte, byte by byte, and cut off at every byte.
/// All must tell the same; a cut-off one a beginning of it and no error. Returns what the whole one told.
fn fed_every_way(make: impl Fn() -> Session, server: &[u8]) -> (Vec<Event>, Result<(), SessionError>) {
    let feed = |pieces: &[&[u8]]| {
        let mut session = make();
        let mut bytes = BytesMut::new();
        let mut outcome = Ok(());
        for piece in pieces {
            bytes.extend_from_slice(piece);
            outcome = outcome.and_then(|()| session.handle_bytes(NOW, &mut bytes));
        }
        (events(&mut session), outcome)
    };
    let whole = feed(&[server]);
    for at in 0..server.len() {
        let (begin, end) = server.split_at(at);
        assert_eq!(feed(&[begin, end]), whole, "split at {at}");
        let (told, outcome) = feed(&[begin]);
        assert_eq!(outcome, Ok(()), "cut at {at}");
        assert!(whole.0.starts_with(&told), "cut at {at}");
    }
    let single: Vec<&[u8]> = server.chunks(1).collect();
    assert_eq!(feed(&single), whole, "byte by byte");
    whole
}
