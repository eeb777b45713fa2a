//! TLS for the links to servers and for the public listener: rustls' buffered API behind [`Stream`](crate::Stream).
//!
//! - [`given`]: what flags say; [`client`], [`server`]: what is trusted and shown, read from [`files`] (our own: `own`), and read
//!   anew ([`reload`]);
//! - [`fault`]: what went wrong, in words; [`figures`]: what is counted, and [`metrics`]: as text;
//! - `stream`: a session and its socket.
//!
//! Never goes on without what was asked for: where a certificate does not hold there is no connection. Never asks whether a
//! certificate was revoked. One thread owns a session; what cores share is read only, or counted.

pub mod client;
pub mod fault;
pub mod figures;
pub mod files;
pub mod given;
pub mod metrics;
mod own;
mod provider;
pub mod reload;
pub mod server;
#[cfg(not(feature = "simulated"))]
pub(crate) mod stream;
mod verify;

pub use client::{ClientTls, TlsOptions, Verification};
pub use fault::{FlagNames, Reason, TlsFault};
pub use figures::TlsFigures;
pub use files::TlsFileError;
pub use given::TlsGiven;
pub use reload::Certificates;
pub use rustls::pki_types::ServerName;
pub use server::ServerTls;
