//! One connection's requests, one after the other, however their bytes arrive.

use super::chunked::Decoder;
use super::framing::Framing;
use super::head::{Head, Scan};
use super::limits::Limits;
use super::refusal::{Fault, Refusal};
use super::request::{Method, Request};

/// What [`Reader::read`] made of the unread bytes.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "the request is the common case; a box would allocate for each")]
pub enum Read<'b> {
    /// They are part of a request, or none at all: more are needed.
    Incomplete,
    /// A request, and how many bytes it took up. The rest is the next one's.
    Request(Request<'b>, usize),
    /// A message that is not served.
    Refused(Refusal),
}

/// What the connection waits for, and so which of the caller's timeouts runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first byte of a request.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    /// So many bytes behind the head.
    Length(usize),
    Chunked(Decoder),
}

#[derive(Clone, Debug)]
enum State {
    Head(Scan),
    Body(Head, Body),
    /// The connection is over; asked again, it is refused again.
    Refused(Refusal),
}

/// Reads the requests of one connection (RFC 9112).
///
/// The caller keeps the unread bytes in one buffer and hands all of them over whenever some were added. On
/// [`Read::Incomplete`] it appends more behind them and changes nothing else: the reader remembers how far it has
/// looked and has moved chunks within them. On [`Read::Request`], and on a [`Read::Refused`] that does not close, it
/// drops the bytes consumed from the front and asks again: there may be another request. Each byte is looked at a
/// fixed number of times, however slowly they come.
#[derive(Clone, Debug)]
pub struct Reader {
    limits: Limits,
    state: State,
    continue_sent: bool,
}

impl Reader {
    /// For a connection that has just been opened.
    ///
    /// # Panics
    /// Where the limits contradict each other: a head of more than 64 KiB, more than 64 fields, a target that does
    /// not fit into the head, or less chunk framing than one line may have.
    pub fn new(limits: Limits) -> Reader {
        assert!(limits.are_sound(), "limits contradict each other: {limits:?}");
        Reader { limits, state: State::Head(Scan::default()), continue_sent: false }
    }

    /// Reads one request from `buffer`, all unread bytes of the connection. Chunked content is joined in place.
    pub fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Read<'b> {
        if let State::Head(scan) = &mut self.state {
            let head = match scan.advance(buffer, &self.limits) {
                Ok(Some(head)) => head,
                Ok(None) => return Read::Incomplete,
                Err(fault) => {
                    let head_only = scan.begins_with_head(buffer);
                    return self.refuse(fault, head_only);
                }
            };
            let start = usize::from(head.bytes);
            let body = match head.framing {
                Framing::Length(length) => Body::Length(length as usize),
                Framing::Chunked => Body::Chunked(Decoder::new(start)),
            };
            match (head.fault, body) {
                // Whether a client that waits for a 100 sends its content after a refusal is its own choice.
                (Some(fault), Body::Length(1..) | Body::Chunked(_)) if head.expects_continue => {
                    return self.refuse(fault, head.method == Method::Head);
                }
                (_, Body::Length(length)) if length <= buffer.len() - start => {
                    *scan = Scan::default();
                    let end = start + length;
                    return complete(&head, buffer, start..end, end);
                }
                _ => self.state = State::Body(head, body),
            }
        }
        self.read_body(buffer)
    }

    fn read_body<'b>(&mut self, buffer: &'b mut [u8]) -> Read<'b> {
        let (head, body, end) = match &mut self.state {
            State::Refused(refusal) => return Read::Refused(*refusal),
            State::Head(_) => return Read::Incomplete,
            State::Body(head, Body::Length(length)) => {
                let start = usize::from(head.bytes);
                if buffer.len() - start < *length {
                    return Read::Incomplete;
                }
                (*head, start..start + *length, start + *length)
            }
            State::Body(head, Body::Chunked(decoder)) => match decoder.advance(buffer, &self.limits) {
                Ok(true) => (*head, decoder.body(), decoder.consumed()),
                Ok(false) => return Read::Incomplete,
                Err(fault) => {
                    let head_only = head.method == Method::Head;
                    return self.refuse(fault, head_only);
                }
            },
        };
        self.state = State::Head(Scan::default());
        self.continue_sent = false;
        complete(&head, buffer, body, end)
    }

    /// Whether the client waits for a 100 before it sends its content. The caller sends
    /// [`CONTINUE`](super::response::CONTINUE) and says so with [`continue_sent`](Reader::continue_sent).
    pub fn expects_continue(&self) -> bool {
        matches!(&self.state, State::Body(head, _) if head.expects_continue) && !self.continue_sent
    }

    /// The 100 is on its way: [`expects_continue`](Reader::expects_continue) asks for no second one.
    pub fn continue_sent(&mut self) {
        self.continue_sent = true;
    }

    /// What the connection waits for, as of the last [`read`](Reader::read).
    pub fn stage(&self) -> Stage {
        match &self.state {
            State::Head(scan) if scan.is_idle() => Stage::Idle,
            State::Head(_) | State::Refused(_) => Stage::Head,
            State::Body(..) => Stage::Body,
        }
    }

    /// `refusal` as the answer to the request in `buffer`, of which no more is read: without its body where that is a
    /// `HEAD` (RFC 9110 section 9.3.2).
    pub fn refuse_unfinished(&self, buffer: &[u8], refusal: Refusal) -> Refusal {
        let head_only = match &self.state {
            State::Head(scan) => scan.begins_with_head(buffer),
            State::Body(head, _) => head.method == Method::Head,
            State::Refused(refusal) => refusal.head_only,
        };
        Refusal { head_only, ..refusal }
    }

    fn refuse<'b>(&mut self, fault: Fault, head_only: bool) -> Read<'b> {
        let refusal = Refusal { head_only, ..fault.refusal() };
        self.state = State::Refused(refusal);
        Read::Refused(refusal)
    }
}

/// The request of a message that is all there.
fn complete<'b>(head: &Head, buffer: &'b [u8], body: std::ops::Range<usize>, consumed: usize) -> Read<'b> {
    if let Some(fault) = head.fault {
        return Read::Refused(Refusal {
            close: !head.keep_alive,
            consumed,
            head_only: head.method == Method::Head,
            version_minor: head.version_minor,
            ..fault.refusal()
        });
    }
    let text = |bytes: &'b [u8]| std::str::from_utf8(bytes).expect("a target is visible ASCII");
    let no_path = if head.method == Method::Options { "*" } else { "/" }; // RFC 9112 sections 3.2.1 and 3.2.4
    let request = Request {
        method: head.method,
        version_minor: head.version_minor,
        path: head.path.get(buffer).map_or(no_path, text),
        query: head.query.get(buffer).map(text),
        fields: head.fields.resolve(buffer),
        body: &buffer[body],
        keep_alive: head.keep_alive,
    };
    Read::Request(request, consumed)
}
