//! Where a request ends. Accepts far more than RFC 9112 does; the edge's reader is what a server needs.

const FIELDS_MAX: usize = 32;

/// What stands at the beginning of a connection's bytes.
pub(crate) enum Request {
    /// A request of so many bytes, body included.
    Whole {
        /// Bytes of head and body.
        length: usize,
        /// It is an order; anything else asks for the stock.
        is_post: bool,
    },
    /// The beginning of one.
    Unfinished,
    /// No request.
    Malformed,
}

/// Looks at the first request of `bytes`.
pub(crate) fn next_request(bytes: &[u8]) -> Request {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Request::Unfinished,
        Err(_) => return Request::Malformed,
    };
    let length = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let body = length.map(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok());
    let Some(body) = body.unwrap_or(Some(0)) else { return Request::Malformed };
    match head.checked_add(body) {
        Some(length) if length <= bytes.len() => Request::Whole { length, is_post: request.method == Some("POST") },
        Some(_) => Request::Unfinished,
        None => Request::Malformed,
    }
}
