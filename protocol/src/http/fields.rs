//! The header fields a route may look at, found in one pass over all of them.
//!
//! A field is told by the length of its name first, so most of a browser's twenty fields cost one comparison of two
//! numbers. What decides where the message ends goes to [`framing`](super::framing); every other field is ignored.

use std::fmt;

use super::framing::Control;
use super::refusal::Fault;

/// Where a value stands in the connection's buffer. A head is shorter than 64 KiB ([`Limits`](super::Limits)), and no
/// value stands at offset 0, so that means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u16,
    end: u16,
}

impl Span {
    pub(super) const ABSENT: Span = Span { start: 0, end: 0 };

    /// From `start` up to `end`.
    pub(super) fn new(start: usize, end: usize) -> Span {
        debug_assert!(0 < start && start <= end && end <= usize::from(u16::MAX));
        Span { start: start as u16, end: end as u16 }
    }

    /// Where `part` stands in the buffer that begins at address `base`.
    pub(super) fn of(part: &[u8], base: usize) -> Span {
        let start = part.as_ptr() as usize - base;
        Span::new(start, start + part.len())
    }

    pub(super) fn is_absent(self) -> bool {
        self.start == 0
    }

    pub(super) fn get(self, buffer: &[u8]) -> Option<&[u8]> {
        if self.is_absent() { None } else { Some(&buffer[usize::from(self.start)..usize::from(self.end)]) }
    }
}

/// The idempotency key, from `idempotency-key` or `x-idempotency-key`: two names of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyField<'b> {
    /// Neither was sent.
    Absent,
    /// Its value, a pair of double quotes around it dropped. Not validated.
    One(&'b [u8]),
    /// Several were sent, and they differ.
    Conflict,
}

/// Lines kept of a field to which each proxy adds one: the last of them, which the nearest proxies wrote.
pub(super) const LINES_MAX: usize = 4;

/// The last lines of a field that may be spread over several. Found in the buffer when they are asked for: hardly anybody does.
#[derive(Clone, Copy)]
pub struct LastLines<'b> {
    buffer: &'b [u8],
    lines: LineSpans,
}

impl<'b> LastLines<'b> {
    /// The field was not sent.
    pub const NONE: LastLines<'static> = LastLines { buffer: b"", lines: LineSpans([Span::ABSENT; LINES_MAX]) };

    /// The lines, the last one first.
    pub fn iter(&self) -> impl Iterator<Item = &'b [u8]> {
        let buffer = self.buffer;
        self.lines.0.into_iter().map_while(move |line| line.get(buffer))
    }
}

impl fmt::Debug for LastLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|line| line.escape_ascii().to_string())).finish()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct LineSpans([Span; LINES_MAX]);

impl LineSpans {
    fn push(&mut self, line: Span) {
        self.0.rotate_right(1);
        self.0[0] = line;
    }

    fn resolve(self, buffer: &[u8]) -> LastLines<'_> {
        LastLines { buffer, lines: self }
    }
}

/// The header fields that a route may look at: values without the white space around them, otherwise as sent, none
/// of them validated but `host`.
///
/// Of `accept`, `accept-encoding` and `if-none-match`, which a client may spread over several lines, this is the
/// first line; of `forwarded` and `x-forwarded-for`, which proxies add to, the last ones. Any other field given twice is refused before it gets here.
#[derive(Clone, Copy)]
pub struct Fields<'b> {
    /// `host`, or the authority of a target in absolute form, which takes its place.
    pub host: Option<&'b [u8]>,
    /// `content-type`.
    pub content_type: Option<&'b [u8]>,
    /// `content-encoding`.
    pub content_encoding: Option<&'b [u8]>,
    /// `idempotency-key` and `x-idempotency-key`.
    pub idempotency_key: KeyField<'b>,
    /// `accept`, its first line.
    pub accept: Option<&'b [u8]>,
    /// `authorization`. A secret: `Debug` does not show it.
    pub authorization: Option<&'b [u8]>,
    /// `origin`.
    pub origin: Option<&'b [u8]>,
    /// `access-control-request-method`.
    pub access_control_request_method: Option<&'b [u8]>,
    /// `x-queue-ticket`.
    pub x_queue_ticket: Option<&'b [u8]>,
    /// `if-none-match`, its first line.
    pub if_none_match: Option<&'b [u8]>,
    /// `accept-encoding`, its first line.
    pub accept_encoding: Option<&'b [u8]>,
    /// `forwarded`.
    pub forwarded: LastLines<'b>,
    /// `x-forwarded-for`.
    pub x_forwarded_for: LastLines<'b>,
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: Option<&[u8]>| value.map(|value| value.escape_ascii().to_string());
        f.debug_struct("Fields")
            .field("host", &text(self.host))
            .field("content_type", &text(self.content_type))
            .field("content_encoding", &text(self.content_encoding))
            .field("idempotency_key", &self.idempotency_key)
            .field("accept", &text(self.accept))
            .field("authorization", &self.authorization.map(|_| "not shown"))
            .field("origin", &text(self.origin))
            .field("access_control_request_method", &text(self.access_control_request_method))
            .field("x_queue_ticket", &text(self.x_queue_ticket))
            .field("if_none_match", &text(self.if_none_match))
            .field("accept_encoding", &text(self.accept_encoding))
            .field("forwarded", &self.forwarded)
            .field("x_forwarded_for", &self.x_forwarded_for)
            .finish()
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum KeySpan {
    #[default]
    Absent,
    One(Span),
    Conflict,
}

/// [`Fields`] as offsets, so that they outlive the buffer's growth while a body arrives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FieldSpans {
    pub(super) host: Span,
    content_type: Span,
    content_encoding: Span,
    idempotency_key: KeySpan,
    accept: Span,
    authorization: Span,
    origin: Span,
    access_control_request_method: Span,
    x_queue_ticket: Span,
    if_none_match: Span,
    accept_encoding: Span,
    forwarded: LineSpans,
    x_forwarded_for: LineSpans,
}

impl FieldSpans {
    /// Sorts `headers` of the message in `buffer`: into spans, and into what concerns the message itself. The fault
    /// is the first field that may be given only once and was given again; framing is not touched by it.
    pub(super) fn collect(headers: &[httparse::Header<'_>], buffer: &[u8]) -> (FieldSpans, Control, Option<Fault>) {
        let mut spans = FieldSpans::default();
        let mut control = Control::default();
        let mut fault = None;
        let base = buffer.as_ptr() as usize;
        for header in headers {
            let (name, value) = (header.name.as_bytes(), header.value);
            let mut once = |place: &mut Span, repeated: Fault| {
                if place.is_absent() {
                    *place = Span::of(value, base);
                } else if fault.is_none() {
                    fault = Some(repeated);
                }
            };
            match name.len() {
                4 if is(name, b"host") => once(&mut spans.host, Fault::RepeatedHost),
                6 if is(name, b"accept") => first(&mut spans.accept, value, base),
                6 if is(name, b"expect") => control.expect(value),
                6 if is(name, b"origin") => once(&mut spans.origin, Fault::RepeatedOrigin),
                9 if is(name, b"forwarded") => spans.forwarded.push(Span::of(value, base)),
                10 if is(name, b"connection") => control.connection(value),
                12 if is(name, b"content-type") => once(&mut spans.content_type, Fault::RepeatedContentType),
                13 if is(name, b"authorization") => once(&mut spans.authorization, Fault::RepeatedAuthorization),
                13 if is(name, b"if-none-match") => first(&mut spans.if_none_match, value, base),
                14 if is(name, b"content-length") => control.content_length(value),
                14 if is(name, b"x-queue-ticket") => once(&mut spans.x_queue_ticket, Fault::RepeatedTicket),
                15 if is(name, b"idempotency-key") => spans.key(value, buffer),
                15 if is(name, b"x-forwarded-for") => spans.x_forwarded_for.push(Span::of(value, base)),
                15 if is(name, b"accept-encoding") => first(&mut spans.accept_encoding, value, base),
                16 if is(name, b"content-encoding") => {
                    once(&mut spans.content_encoding, Fault::RepeatedContentEncoding)
                }
                17 if is(name, b"x-idempotency-key") => spans.key(value, buffer),
                17 if is(name, b"transfer-encoding") => control.transfer_encoding(value),
                29 if is(name, b"access-control-request-method") => {
                    once(&mut spans.access_control_request_method, Fault::RepeatedRequestMethod);
                }
                _ => {}
            }
        }
        (spans, control, fault)
    }

    fn key(&mut self, value: &[u8], buffer: &[u8]) {
        let value = match value {
            [b'"', inner @ .., b'"'] => inner,
            _ => value,
        };
        self.idempotency_key = match self.idempotency_key {
            KeySpan::Absent => KeySpan::One(Span::of(value, buffer.as_ptr() as usize)),
            KeySpan::One(span) if span.get(buffer) == Some(value) => KeySpan::One(span),
            KeySpan::One(_) | KeySpan::Conflict => KeySpan::Conflict,
        };
    }

    /// The fields themselves, once no more bytes are awaited.
    pub(super) fn resolve<'b>(&self, buffer: &'b [u8]) -> Fields<'b> {
        Fields {
            host: self.host.get(buffer),
            content_type: self.content_type.get(buffer),
            content_encoding: self.content_encoding.get(buffer),
            idempotency_key: match self.idempotency_key {
                KeySpan::Absent => KeyField::Absent,
                KeySpan::One(span) => span.get(buffer).map_or(KeyField::Absent, KeyField::One),
                KeySpan::Conflict => KeyField::Conflict,
            },
            accept: self.accept.get(buffer),
            authorization: self.authorization.get(buffer),
            origin: self.origin.get(buffer),
            access_control_request_method: self.access_control_request_method.get(buffer),
            x_queue_ticket: self.x_queue_ticket.get(buffer),
            if_none_match: self.if_none_match.get(buffer),
            accept_encoding: self.accept_encoding.get(buffer),
            forwarded: self.forwarded.resolve(buffer),
            x_forwarded_for: self.x_forwarded_for.resolve(buffer),
        }
    }
}

/// Whether `name`, a token, is `known` in upper or lower case. Of all bytes a token may hold, only a letter in its
/// other case becomes a lower-case letter by setting the bit, and only the hyphen is one; so all can be compared
/// without a branch, several at a time.
fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    name.iter().zip(known).fold(0, |differing, (byte, known)| differing | (byte | 0x20) ^ known) == 0
}

fn first(place: &mut Span, value: &[u8], base: usize) {
    if place.is_absent() {
        *place = Span::of(value, base);
    }
}
