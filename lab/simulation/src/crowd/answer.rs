//! Requests and answers of the crowd as they stand on a connection, one request each.

use std::io;

use bytes::BytesMut;
use flux_lab::crowd::Order;
use flux_net::{Stream, Tail};
use flux_protocol::queue::TICKET_TEXT_BYTES;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// A ticket as it travels.
pub type TicketText = [u8; TICKET_TEXT_BYTES];

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// It says that it repeats an earlier one.
    pub replayed: bool,
    /// Where a redirect leads.
    pub location: Option<String>,
}

impl Answer {
    /// The ticket that it brings: in the body of a 429, in the location of a 302.
    pub fn ticket(&self) -> Option<TicketText> {
        let body = String::from_utf8_lossy(&self.body);
        let text = match self.status {
            302 => self.location.as_deref()?.split_once("&ticket=")?.1,
            429 => body.split_once("\"ticket\":\"")?.1.split('"').next()?,
            _ => return None,
        };
        text.as_bytes().try_into().ok()
    }
}

/// An order as a request.
pub(super) fn request(order: &Order, wants_json: bool, shown: Option<&TicketText>) -> Vec<u8> {
    let body =
        format!(r#"{{"productId":"{}","userId":"{}","quantity":{}}}"#, order.product, order.user, order.quantity);
    let accept = if wants_json { "accept: application/json\r\n" } else { "" };
    let ticket =
        shown.map_or_else(String::new, |text| format!("x-queue-ticket: {}\r\n", String::from_utf8_lossy(text)));
    let request = format!(
        "POST /order HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\nx-idempotency-key: {}\r\n\
         {accept}{ticket}content-length: {}\r\n\r\n{body}",
        order.key,
        body.len()
    );
    request.into_bytes()
}

/// Reads one answer.
///
/// # Errors
/// The connection ended first, or what came is no answer.
pub async fn answer(stream: &mut Stream) -> io::Result<Answer> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(1024);
        let (read, tail) = stream.read(Tail(buffer)).await;
        buffer = tail.0;
        if read? == 0 || buffer.len() > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut fields);
        let Ok(parsed) = head.parse(&buffer) else { return Err(io::ErrorKind::InvalidData.into()) };
        let httparse::Status::Complete(start) = parsed else { continue };
        let field = |name: &str| {
            let found = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            found.and_then(|field| std::str::from_utf8(field.value).ok())
        };
        let length: usize = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if buffer.len() < start + length {
            continue;
        }
        return Ok(Answer {
            status: head.code.unwrap_or(0),
            body: buffer[start..start + length].to_vec(),
            replayed: field("idempotency-replayed") == Some("true"),
            location: field("location").map(str::to_owned),
        });
    }
}
