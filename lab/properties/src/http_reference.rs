//! Where a message ends by the letter of RFC 9112, and what its content is: a second reader of a few lines, which knows no
//! buffer, no speed and no leniency. What it calls smuggling must never have been taken for a request.

/// The content of `message`, which must be one whole request and not a byte more.
pub(crate) fn content(message: &[u8]) -> Result<Vec<u8>, &'static str> {
    let start = message.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
    let end = message[start..].windows(4).position(|four| four == b"\r\n\r\n").ok_or("no end of a head")?;
    let (head, rest) = message[start..].split_at(end + 4);
    let lines = lines(&head[..end + 2])?;
    let (request_line, fields) = lines.split_first().ok_or("no request line")?;
    let is_old = request_line.ends_with(b"HTTP/1.0");
    let (mut lengths, mut codings) = (Vec::new(), Vec::new());
    for field in fields {
        let colon = field.iter().position(|byte| *byte == b':').ok_or("a field without a colon")?;
        let (name, value) = (&field[..colon], field[colon + 1..].trim_ascii());
        if name.is_empty() || name.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
            return Err("white space in a field's name, or a folded line");
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths.push(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings.push(value);
        }
    }
    match (&lengths[..], &codings[..]) {
        ([], []) if rest.is_empty() => Ok(Vec::new()),
        ([length], []) => {
            let digits = std::str::from_utf8(length).map_err(|_| "a length that is no text")?;
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("a length that is not all digits");
            }
            let length: usize = digits.parse().map_err(|_| "a length beyond measure")?;
            if rest.len() == length { Ok(rest.to_vec()) } else { Err("another length than was said") }
        }
        ([], [coding]) if !is_old && coding.eq_ignore_ascii_case(b"chunked") => joined(rest),
        _ => Err("two lengths, a length beside a coding, or a coding that is not `chunked`"),
    }
}

/// The lines of `text`, which all end in CRLF; neither of the two stands alone.
fn lines(text: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or("a line without an end")?;
        if rest[..end].iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err("CR, LF or NUL inside a line");
        }
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    Ok(lines)
}

/// The data of all chunks (section 7.1), where the trailer section ends with the message.
fn joined(mut rest: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut data = Vec::new();
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or("a chunk without a size")?;
        let line = rest[..end].split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        let digits = std::str::from_utf8(line).map_err(|_| "a size that is no text")?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a size that is no number");
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| "a size beyond measure")?;
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        let (chunk, after) = rest.split_at_checked(size).ok_or("a chunk that is cut off")?;
        data.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n").ok_or("no CRLF behind a chunk")?;
    }
    let trailers = rest.strip_suffix(b"\r\n").ok_or("no empty line at the end")?;
    for trailer in lines(trailers)? {
        if trailer.is_empty() {
            return Err("bytes behind the end");
        }
    }
    Ok(data)
}
