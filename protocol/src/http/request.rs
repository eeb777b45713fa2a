//! One complete request, as a route sees it. Borrowed: nothing of it is copied.

use super::fields::Fields;
use super::response::Persistence;

/// What a request asks to be done (RFC 9110 section 9). Methods outside of RFC 9110 and RFC 5789 never get this far:
/// they are refused with a 501.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`: answered as `GET`, without a body.
    Head,
    /// `POST`. It always says how long its body is, else it is refused with a 411.
    Post,
    /// `OPTIONS`.
    Options,
    /// `PUT`, `DELETE`, `TRACE` or `PATCH`: known, served nowhere, so the router's answer is a 405 with `allow`.
    Other,
}

/// One complete request, borrowed from the connection's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Request<'b> {
    /// What is to be done.
    pub method: Method,
    /// 1 for HTTP/1.1 (and any later minor version, RFC 9110 section 6.2), 0 for HTTP/1.0.
    pub version_minor: u8,
    /// The target's path, as sent: it begins with `/` and holds no `%`, or is `*` (`OPTIONS` only). A target in
    /// absolute form is reduced to its path.
    pub path: &'b str,
    /// What follows the first `?`, without it: visible ASCII, not decoded. `None` where there is no `?`.
    pub query: Option<&'b str>,
    /// The header fields that a route may look at.
    pub fields: Fields<'b>,
    /// The content, chunks already joined; empty where there is none.
    pub body: &'b [u8],
    /// Whether another request may follow on this connection (RFC 9112 section 9.3). Where it may not, the caller
    /// answers with `connection: close`, closes, and reads no further.
    pub keep_alive: bool,
}

impl Request<'_> {
    /// What the response has to say about the connection.
    pub fn connection(&self) -> Persistence {
        Persistence::after(self.version_minor, self.keep_alive)
    }

    /// Whether the query has a parameter of this name, with a value or without.
    pub fn has_parameter(&self, name: &str) -> bool {
        let names = self.query.iter().flat_map(|query| query.split('&')).map(|pair| pair.split('=').next());
        names.flatten().any(|found| found == name)
    }

    /// Whether the response goes without its body: the request was a `HEAD`.
    pub fn head_only(&self) -> bool {
        self.method == Method::Head
    }
}

#[cfg(test)]
mod tests {
    use crate::http::{Limits, Read, Reader};

    #[test]
    fn a_parameter_is_found_by_its_whole_name_with_a_value_or_without() {
        for (target, expected) in [
            ("/a", false),
            ("/a?", false),
            ("/a?deep", true),
            ("/a?b=c&deep", true),
            ("/a?deep=1", true),
            ("/a?deeply", false),
            ("/a?why=deep", false),
        ] {
            let mut bytes = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes();
            let Read::Request(request, _) = Reader::new(Limits::DEFAULT).read(&mut bytes) else { panic!("a request") };
            assert_eq!(request.has_parameter("deep"), expected, "{target}");
        }
    }
}
