//! RESP2, what we speak with Redis: commands out, replies in, scripts by their digest.
//!
//! Encoding appends to a `Vec<u8>` that the caller owns. Decoding finds the end of one reply at a time with a cursor
//! that never goes back, whatever the pieces the bytes arrive in, and yields it as a view that borrows the buffer:
//! nothing is allocated for an element. Every length is held against a cap and every terminator is looked at
//! before a byte is believed. `redis-protocol` builds owned trees of replies that were checked so
//! ([`Reply::to_frame`]); by itself it takes `$3\r\nabcXY` for a string and waits for ever on `$2000000000`.
//!
//! Never opens a connection, never retries, and never guesses what a lost reply would have said.

mod decode;
mod encode;
mod error;
mod head;
mod reply;
mod script;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Limits};
pub use encode::{Arguments, array_header, bulk, bulk_number, bulk_parts, command};
pub use error::{Belief, ErrorKind, ServerError, printable, with_user};
pub use head::Malformed;
pub use redis_protocol::resp2::types::OwnedFrame;
pub use reply::{Items, Reply, Value};
pub use script::Script;
