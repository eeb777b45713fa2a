//! HTTP/1.1 and HTTP/1.0 as the edge's listeners speak it: requests read over `httparse` with the checks it lacks,
//! responses appended to a caller's buffer.
//!
//! [`Reader`] is handed the unread bytes of one connection and gives back one request at a time; the caller loops
//! over pipelined ones. Nothing here knows a route, opens a socket or reads a clock, and a normal request costs no
//! allocation. A message that RFC 9110 and RFC 9112 refuse comes back as a [`Refusal`]: with its status, and whether
//! the connection's framing can still be trusted.
//!
//! This module never folds lines, never percent-decodes, never hands trailers on, and never guesses where a message
//! ends.

mod chunked;
mod date;
mod fields;
mod framing;
mod head;
mod limits;
pub mod media;
pub mod order_body;
pub mod problem;
mod reader;
mod refusal;
mod request;
pub mod response;
mod target;

pub use date::Date;
pub use fields::{Fields, KeyField, LastLines};
pub use limits::Limits;
pub use reader::{Read, Reader, Stage};
pub use refusal::Refusal;
pub use request::{Method, Request};
pub use response::Persistence;
