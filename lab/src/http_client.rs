//! One HTTP request over a connection of its own, blocking: for `/init`, `/readyz` and the like. The crowd has its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Doing, LabError};

const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What came back.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// Header fields in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// The first field called `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or(serde_json::Value::Null)
    }
}

/// Sends one request and reads the answer to its end.
///
/// # Errors
/// Where the connection fails, `timeout` passes between two reads, or what came back is not HTTP. Whether the request
/// took effect is then unknown.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Result<HttpAnswer, LabError> {
    let doing = || format!("{method} http://{address}{path}");
    let mut stream = TcpStream::connect_timeout(&address, timeout).doing(doing)?;
    stream.set_nodelay(true).doing(doing)?;
    stream.set_read_timeout(Some(timeout)).doing(doing)?;
    stream.set_write_timeout(Some(timeout)).doing(doing)?;
    let mut message = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        message.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        message.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    message.push_str("\r\n");
    let mut message = message.into_bytes();
    message.extend_from_slice(body);
    stream.write_all(&message).doing(doing)?;
    let bytes = read_answer(stream.take(ANSWER_BYTES_MAX)).doing(doing)?;
    parse(&bytes).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        LabError::failed(format!("{}: not an HTTP answer: {shown:?}", doing()))
    })
}

/// Reads until an answer that names its length is there in full, else until the end: not every server closes when asked.
fn read_answer(mut stream: impl Read) -> std::io::Result<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let read = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..read]);
        if read == 0 || parse(&bytes).is_some_and(|answer| answer.header("content-length").is_some()) {
            return Ok(bytes);
        }
    }
}

/// The answer in `bytes`, once it is there in full.
pub fn parse(bytes: &[u8]) -> Option<HttpAnswer> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(bytes).ok()? else { return None };
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|field| (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).into_owned()))
        .collect();
    let mut body = bytes[head..].to_vec();
    if let Some((_, length)) = headers.iter().find(|(name, _)| name == "content-length") {
        let length: usize = length.trim().parse().ok()?;
        if body.len() < length {
            return None;
        }
        body.truncate(length);
    }
    Some(HttpAnswer { status: response.code?, headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_names_its_length_needs_no_end() {
        /// Gives its bytes one by one, and fails where more is asked for.
        struct Open<'a>(&'a [u8]);
        impl Read for Open<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let (first, rest) = self.0.split_first().ok_or(std::io::ErrorKind::TimedOut)?;
                (buffer[0], self.0) = (*first, rest);
                Ok(1)
            }
        }
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(read_answer(Open(whole)).unwrap(), whole);
        assert!(read_answer(Open(&whole[..whole.len() - 1])).is_err());
        let unnamed = b"HTTP/1.1 200 OK\r\n\r\n{}";
        assert_eq!(read_answer(&unnamed[..]).unwrap(), unnamed);
    }

    #[test]
    fn an_answer_cut_off_is_none() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Y: z\r\n\r\n{}";
        let answer = parse(whole).unwrap();
        assert_eq!((answer.status, answer.header("x-y"), answer.text().as_str()), (200, Some("z"), "{}"));
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_none(), "cut at {cut}");
        }
    }
}
