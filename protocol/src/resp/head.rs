//! The first line of an element: what kind it is, and how much follows.

/// Bytes of a status or error line. Redis' own are under 1 KiB; an error of a script names its source line.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Bytes of a line that holds a number: 20 digits with their sign, the kind, and some slack.
const NUMBER_LINE_BYTES_MAX: usize = 24;

/// The peer does not speak RESP2 as agreed. Nothing after this can be believed: the connection is closed, and what
/// was outstanding on it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first byte of an element is none of `+ - : $ *`.
    #[error("an element begins with byte {0:#04x}")]
    Kind(u8),
    /// A number or a length is not one.
    #[error("a number is not one")]
    Number,
    /// A line or string does not end in CR LF, or holds one of them alone.
    #[error("a terminator is missing")]
    Terminator,
    /// A cap of [`super::Limits`], or on lines or depth, is passed.
    #[error("longer or deeper than allowed")]
    TooLarge,
}

/// Head of one element: everything up to and including its first CR LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// `+` or `-`: the text is the line between the kind and the terminator.
    Line,
    /// `:`
    Integer(i64),
    /// `$`: as many bytes and a terminator follow.
    Bulk(usize),
    /// `*`: as many elements follow.
    Array(usize),
    /// `$-1` or `*-1`.
    Null,
}

/// The head at the front of `bytes` and its length, or `None` where it is incomplete. `searched` bytes are known to
/// hold no line feed.
pub(super) fn head(bytes: &[u8], searched: usize) -> Result<Option<(Head, usize)>, Malformed> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    let length_max = match kind {
        b'+' | b'-' => LINE_BYTES_MAX,
        b':' | b'$' | b'*' => NUMBER_LINE_BYTES_MAX,
        other => return Err(Malformed::Kind(*other)),
    };
    let within = &bytes[..bytes.len().min(length_max)];
    let Some(feed) = within[searched.min(within.len())..].iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < length_max { Ok(None) } else { Err(Malformed::TooLarge) };
    };
    let feed = searched + feed;
    if bytes[feed - 1] != b'\r' || feed < 2 {
        return Err(Malformed::Terminator);
    }
    let line = &bytes[1..feed - 1];
    let head = match kind {
        b':' => Head::Integer(integer(line)?),
        b'$' | b'*' if line == b"-1" => Head::Null,
        b'$' => Head::Bulk(length(line)?),
        b'*' => Head::Array(length(line)?),
        _ if line.contains(&b'\r') => return Err(Malformed::Terminator),
        _ => Head::Line,
    };
    Ok(Some((head, feed + 1)))
}

fn length(digits: &[u8]) -> Result<usize, Malformed> {
    // Ten digits are more than any cap; beyond them the value could overflow where a usize has 32 bits.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || (digits[0] == b'0' && digits.len() > 1) {
        return Err(Malformed::Number);
    }
    if digits.len() > 9 {
        return Err(Malformed::TooLarge);
    }
    Ok(digits.iter().fold(0, |value, digit| value * 10 + usize::from(digit - b'0')))
}

fn integer(text: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Malformed::Number)
}
