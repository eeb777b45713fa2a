//! Who we are to a broker: SASL's PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER, and when a login has to be renewed.
//!
//! From the bottom up:
//!
//! - [`error`]: why a login came to nothing, in one line that names what is missing;
//! - [`mechanism`]: which ways there are;
//! - [`scram`]: the messages of SCRAM and their proofs (RFC 5802, 7677), pure functions of them;
//! - [`identity`]: who we are: shared by all connections of a process, with the keys that SCRAM derives from a password;
//! - [`exchange`]: one login over one connection: SaslHandshake, then SaslAuthenticate until both sides are content;
//! - [`session`]: when there is one: after ApiVersions, and again on the same connection before the broker's limit (KIP-368).
//!
//! [`super::connection`] carries the bytes. Nothing here opens a socket, draws a random number by itself, or reads a file.

pub mod error;
mod exchange;
pub mod identity;
pub mod mechanism;
pub(crate) mod scram;
pub(crate) mod session;

#[cfg(test)]
mod tests;
