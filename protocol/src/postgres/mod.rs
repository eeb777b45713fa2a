//! What Flux-Gate speaks to PostgreSQL: protocol 3.0 from start-up to binary `COPY … FROM STDIN`.
//!
//! [`Session`] is one connection's state machine: it is handed bytes and time, and gives back bytes and [`Event`]s.
//! `postgres-protocol` frames the messages and does the cryptography of SCRAM-SHA-256; the lengths it would believe
//! are capped here first.
//!
//! This module never opens a socket, never decides whether a statement may be repeated, and knows no table. One thing
//! in it is not a function of its arguments: the nonce of SCRAM comes from the operating system's generator, inside
//! `postgres-protocol`, because a predictable one would give the password's proof away.

mod config;
mod copy;
mod error;
mod login;
mod options;
mod param;
pub mod pass_file;
mod row;
mod session;
mod tls;
mod wire;

pub use config::{ConfigError, Host, PostgresConfig};
pub use copy::{CopyRows, Fields};
pub use error::{ErrorClass, ServerError, Severity, SqlState};
pub use login::LoginError;
pub use options::{SessionOptions, StatementLimit};
pub use param::Param;
pub use row::Row;
pub use session::{CancelKey, Event, Session, SessionError, Statement, TransactionStatus};
pub use tls::{ChannelBinding, PostgresTls, SSL_REQUEST, SslAnswer, SslMode, end_point};
pub use wire::WireError;

#[cfg(test)]
mod tests;
