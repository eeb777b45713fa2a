//! The request target (RFC 9112 section 3.2) and the `host` it goes with.
//!
//! Paths are compared byte for byte by the router, so a `%` in one is refused rather than decoded: no product, order
//! or file needs it, and two spellings of one path would be two cache entries and one hole.

use super::fields::Span;
use super::refusal::Fault;
use super::request::Method;

/// May stand in a path: `pchar` without `pct-encoded`, and `/` (RFC 3986 section 3.3).
const IN_PATH: u8 = 1;
/// May stand in a query: visible ASCII but `#`. Browsers send more than RFC 3986 allows there.
const IN_QUERY: u8 = 2;
/// May stand in a registered name (RFC 3986 section 3.2.2), percent-encoding apart.
const IN_NAME: u8 = 4;

const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0x21u8;
    while byte < 0x7f {
        let name = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~') // unreserved
            || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='); // sub-delims
        let path = name || matches!(byte, b':' | b'@' | b'/');
        let query = byte != b'#';
        class[byte as usize] = (name as u8 * IN_NAME) | (path as u8 * IN_PATH) | (query as u8 * IN_QUERY);
        byte += 1;
    }
    class
};

fn is_in(byte: u8, class: u8) -> bool {
    CLASS[usize::from(byte)] & class != 0
}

/// A target's parts as offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Absent where a target in absolute form has none.
    pub(super) path: Span,
    pub(super) query: Span,
    /// Present in absolute form only.
    pub(super) authority: Span,
}

impl Target {
    /// Takes `target`, which stands at offset `at`, apart.
    ///
    /// # Errors
    /// The fault, where it is none for `method`. The message's framing is not touched by it.
    pub(super) fn parse(target: &[u8], at: usize, method: Method) -> Result<Target, Fault> {
        let whole = Span::new(at, at + target.len());
        match target {
            [b'/', ..] => path_and_query(target, at, Span::ABSENT),
            b"*" if method == Method::Options => {
                Ok(Target { path: whole, query: Span::ABSENT, authority: Span::ABSENT })
            }
            _ => absolute_form(target, at),
        }
    }
}

fn absolute_form(target: &[u8], at: usize) -> Result<Target, Fault> {
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes())));
    let start = scheme.ok_or(Fault::Target)?.len();
    let authority = &target[start..];
    let end = authority.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(authority.len());
    if end == 0 || !is_host(&authority[..end]) {
        return Err(Fault::Target);
    }
    let span = Span::new(at + start, at + start + end);
    path_and_query(&authority[end..], at + start + end, span)
}

fn path_and_query(rest: &[u8], at: usize, authority: Span) -> Result<Target, Fault> {
    let end = rest.iter().position(|&byte| !is_in(byte, IN_PATH)).unwrap_or(rest.len());
    let path = if end == 0 { Span::ABSENT } else { Span::new(at, at + end) };
    let query = match &rest[end..] {
        [] => Span::ABSENT,
        [b'?', query @ ..] if query.iter().all(|&byte| is_in(byte, IN_QUERY)) => {
            Span::new(at + end + 1, at + rest.len())
        }
        [b'%', ..] => return Err(Fault::PercentInPath),
        _ => return Err(Fault::Target),
    };
    Ok(Target { path, query, authority })
}

/// Whether `value` is a `host` field's value: empty, or a name or address with an optional port (RFC 9110 section 7.2,
/// RFC 3986 section 3.2.2). User information is none of it.
pub(super) fn is_host(value: &[u8]) -> bool {
    let port = match value {
        [] => return true,
        [b'[', address @ ..] => after_address(address),
        _ => after_name(value),
    };
    match port {
        Some([]) => true,
        Some([b':', digits @ ..]) => digits.iter().all(u8::is_ascii_digit),
        Some(_) | None => false,
    }
}

/// What follows an IP literal whose bracket has been read; `None` where it is none.
fn after_address(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')).count();
    if length == 0 { None } else { bytes[length..].strip_prefix(b"]") }
}

/// What follows a registered name of at least one character.
fn after_name(bytes: &[u8]) -> Option<&[u8]> {
    let mut length = 0;
    loop {
        length += bytes[length..].iter().take_while(|&&byte| is_in(byte, IN_NAME)).count();
        match &bytes[length..] {
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => length += 3,
            rest => return if length == 0 { None } else { Some(rest) },
        }
    }
}
