//! Feeds bytes to a [`Reader`] as a connection would, and keeps what came of them.

use flux_protocol::http::{KeyField, Limits, Method, Read, Reader, Refusal, Stage};

/// A request, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) method: Method,
    pub(crate) version_minor: u8,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) key: Option<Result<String, ()>>,
    pub(crate) fields: String,
    pub(crate) body: Vec<u8>,
    pub(crate) keep_alive: bool,
    pub(crate) consumed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Request(Got),
    Refused(Refusal),
}

/// One connection: its reader, its unread bytes, and what came of those it has read.
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) unread: Vec<u8>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) is_over: bool,
    limits: Limits,
}

impl Connection {
    pub(crate) fn new(limits: Limits) -> Connection {
        Connection { reader: Reader::new(limits), unread: vec![], outcomes: vec![], is_over: false, limits }
    }

    /// Appends what has arrived and reads all requests there are.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        self.unread.extend_from_slice(bytes);
        loop {
            let (outcome, consumed, goes_on) = match self.reader.read(&mut self.unread) {
                Read::Incomplete => {
                    assert!(self.unread.len() < self.limits.buffer_bytes_max(), "the buffer's bound does not hold");
                    return;
                }
                Read::Refused(refusal) => {
                    assert!(refusal.close || refusal.consumed > 0, "the same message would be refused for ever");
                    (Outcome::Refused(refusal), refusal.consumed, !refusal.close)
                }
                Read::Request(request, consumed) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let got = Got {
                        method: request.method,
                        version_minor: request.version_minor,
                        path: request.path.to_owned(),
                        query: request.query.map(str::to_owned),
                        host: request.fields.host.map(text),
                        key: match request.fields.idempotency_key {
                            KeyField::Absent => None,
                            KeyField::One(key) => Some(Ok(text(key))),
                            KeyField::Conflict => Some(Err(())),
                        },
                        fields: format!("{:?}", request.fields),
                        body: request.body.to_vec(),
                        keep_alive: request.keep_alive,
                        consumed,
                    };
                    (Outcome::Request(got), consumed, request.keep_alive)
                }
            };
            assert!(consumed > 0 || !goes_on, "no progress");
            assert!(consumed <= self.unread.len());
            self.outcomes.push(outcome);
            self.unread.drain(..consumed);
            if !goes_on {
                self.is_over = true;
                return;
            }
            assert_eq!(self.reader.stage(), Stage::Idle);
        }
    }
}

/// What comes of `bytes` when they arrive at once.
pub(crate) fn whole(bytes: &[u8]) -> Vec<Outcome> {
    in_pieces(bytes, &[])
}

/// What comes of `bytes` when they arrive cut at `cuts`, which are in order.
pub(crate) fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Outcome> {
    let mut connection = Connection::new(Limits::DEFAULT);
    let mut start = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        connection.feed(&bytes[start..cut]);
        start = cut;
    }
    connection.outcomes
}

/// What comes of `bytes` when they arrive one by one.
pub(crate) fn one_by_one(bytes: &[u8]) -> Vec<Outcome> {
    in_pieces(bytes, &(0..bytes.len()).collect::<Vec<_>>())
}

/// The single request that `bytes` are.
#[track_caller]
pub(crate) fn request(bytes: &[u8]) -> Got {
    match &*whole(bytes) {
        [Outcome::Request(got)] => got.clone(),
        other => panic!("{}\nis not one request: {other:?}", bytes.escape_ascii()),
    }
}

/// The refusal that `bytes` begin with.
#[track_caller]
pub(crate) fn refusal(bytes: &[u8]) -> Refusal {
    match whole(bytes).first() {
        Some(Outcome::Refused(refusal)) => *refusal,
        other => panic!("{}\nis not refused: {other:?}", bytes.escape_ascii()),
    }
}

/// A well-behaved request, to follow a bad one.
pub(crate) const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: shop\r\n\r\n";

/// Holds `bytes` to be refused with `status` and the connection to be closed: nothing behind them is read, however
/// they arrive.
#[track_caller]
pub(crate) fn closes(status: u16, bytes: &[u8]) {
    let mut followed = bytes.to_vec();
    followed.extend_from_slice(NEXT);
    for outcomes in [whole(&followed), one_by_one(&followed)] {
        match &*outcomes {
            [Outcome::Refused(refusal)] if refusal.status == status && refusal.close => {}
            other => panic!("{}\nis not a {status} and close: {other:?}", bytes.escape_ascii()),
        }
    }
}

/// Holds `bytes` to be one message, refused with `status`, after which the connection goes on: the next request is
/// answered, and nothing else.
#[track_caller]
pub(crate) fn refused_and_goes_on(status: u16, bytes: &[u8]) {
    let mut followed = bytes.to_vec();
    followed.extend_from_slice(NEXT);
    for outcomes in [whole(&followed), one_by_one(&followed)] {
        match &*outcomes {
            [Outcome::Refused(refusal), Outcome::Request(next)]
                if refusal.status == status
                    && !refusal.close
                    && refusal.consumed == bytes.len()
                    && next.path == "/next" => {}
            other => panic!("{}\nis not a {status} that goes on: {other:?}", bytes.escape_ascii()),
        }
    }
}
