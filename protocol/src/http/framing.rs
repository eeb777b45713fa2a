//! Where a message ends and whether its connection goes on: `content-length`, `transfer-encoding`, `connection`,
//! `expect` (RFC 9112 sections 6 and 9.3, RFC 9110 section 10.1.1).
//!
//! Two parties that disagree about a message's end can be made to disagree about who sent what. So nothing is
//! repaired here: whatever two readers might read in two ways is refused, and the connection is closed.

use super::refusal::Fault;

/// How long a message's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; zero where nothing announces any.
    Length(u32),
    /// Until the last chunk.
    Chunked,
}

#[derive(Clone, Copy, Debug, Default)]
enum ContentLength {
    #[default]
    Absent,
    Bytes(u64),
    /// Given twice, even with the same number, or not digits only.
    Malformed,
}

/// The transfer codings of all lines together, in their order.
#[derive(Clone, Copy, Debug, Default)]
struct Codings {
    count: u8,
    chunked_count: u8,
    chunked_is_last: bool,
    is_malformed: bool,
}

/// What the fields say about the message itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    content_length: ContentLength,
    codings: Codings,
    says_close: bool,
    says_keep_alive: bool,
    expects_continue: bool,
    expects_other: bool,
}

impl Control {
    /// One `content-length` line.
    pub(super) fn content_length(&mut self, value: &[u8]) {
        self.content_length = match self.content_length {
            ContentLength::Absent if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // A number too large for 64 bits is too large for us as well: it only has to stay so.
                let append = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
                ContentLength::Bytes(value.iter().fold(0, append))
            }
            _ => ContentLength::Malformed,
        };
    }

    /// One `transfer-encoding` line; several make one list.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) {
        let codings = &mut self.codings;
        for coding in list(value) {
            codings.count = codings.count.saturating_add(1);
            codings.chunked_is_last = coding.eq_ignore_ascii_case(b"chunked");
            codings.chunked_count = codings.chunked_count.saturating_add(u8::from(codings.chunked_is_last));
            let name = coding.split(|&byte| byte == b';').next().unwrap_or_default();
            codings.is_malformed |= !is_token(name.trim_ascii_end());
        }
    }

    /// One `connection` line.
    pub(super) fn connection(&mut self, value: &[u8]) {
        for option in list(value) {
            self.says_close |= option.eq_ignore_ascii_case(b"close");
            self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// One `expect` line. Only the one expectation that RFC 9110 defines, alone in its line, can be met.
    pub(super) fn expect(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"100-continue") {
            self.expects_continue = true;
        } else {
            self.expects_other = true;
        }
    }

    /// Whether the connection may serve another request.
    pub(super) fn keep_alive(&self, version_minor: u8) -> bool {
        !self.says_close && (version_minor > 0 || self.says_keep_alive)
    }

    /// Whether the client waits for a 100 before it sends its content; one of HTTP/1.0 never does.
    pub(super) fn expects_continue(&self, version_minor: u8) -> bool {
        version_minor > 0 && self.expects_continue
    }

    /// Whether it expects something other than `100-continue` (RFC 9110 section 10.1.1).
    pub(super) fn expects_other(&self, version_minor: u8) -> bool {
        version_minor > 0 && self.expects_other
    }

    /// Whether any line announced content, be it of no bytes.
    pub(super) fn announces_content(&self) -> bool {
        self.codings.count > 0 || !matches!(self.content_length, ContentLength::Absent)
    }

    /// How long the content is.
    ///
    /// # Errors
    /// A fault after which it is not known where the next message begins: the connection has to be closed.
    pub(super) fn framing(&self, version_minor: u8, body_bytes_max: usize) -> Result<Framing, Fault> {
        if self.codings.count > 0 {
            return self.codings.framing(version_minor, &self.content_length);
        }
        match self.content_length {
            ContentLength::Absent => Ok(Framing::Length(0)),
            ContentLength::Malformed => Err(Fault::ContentLength),
            ContentLength::Bytes(bytes) if bytes > body_bytes_max as u64 => Err(Fault::ContentTooLarge),
            ContentLength::Bytes(bytes) => Ok(Framing::Length(bytes as u32)),
        }
    }
}

impl Codings {
    fn framing(&self, version_minor: u8, content_length: &ContentLength) -> Result<Framing, Fault> {
        if !matches!(content_length, ContentLength::Absent) {
            return Err(Fault::LengthAndCoding);
        }
        if version_minor == 0 {
            return Err(Fault::CodingInOldVersion);
        }
        if self.is_malformed || !self.chunked_is_last || self.chunked_count != 1 {
            return Err(Fault::TransferEncoding);
        }
        if self.count != 1 {
            return Err(Fault::UnknownCoding);
        }
        Ok(Framing::Chunked)
    }
}

/// The elements of a comma-separated list, white space around them dropped. Empty ones are kept: a list of nothing
/// has one.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(|element| element.trim_ascii())
}

/// Whether `bytes` is a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `byte` may stand in a token.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}
