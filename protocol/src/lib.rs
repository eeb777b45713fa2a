//! What goes over Flux-Gate's wires, and the decisions about it.
//!
//! Every item here is a pure function or a state machine that is handed bytes and time and gives back bytes and
//! events (`handle_*` in, `poll_*` out). This crate never opens a socket, never reads a clock, never draws a random
//! number it was not given the seed for, knows no runtime, and holds no `unsafe`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod ages;
pub mod certificate;
pub mod exposition;
pub mod fence;
pub mod front;
pub mod http;
pub mod kafka;
pub mod observed;
pub mod order;
pub mod outbox_entry;
pub mod planted;
pub mod postgres;
pub mod queue;
pub mod rare;
pub mod redis_keys;
pub mod resp;
pub mod secret;
pub mod time;
