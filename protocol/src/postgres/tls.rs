//! How a connection to PostgreSQL comes to TLS, as libpq's parameters say it: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`,
//! `channel_binding`; and the few bytes before the handshake.

use std::path::PathBuf;
use std::str::FromStr;

use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::certificate::{SignatureHash, signature_hash};

/// SSLRequest: all that is sent in the clear. The server answers with one byte ([`SslAnswer`]), and nothing that it sends
/// before the handshake may be read as anything else.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Plain. libpq's `allow` is this too: it asks for a connection that may be plain.
    #[default]
    Disable,
    /// TLS where the server has it, nobody's certificate looked at.
    Prefer,
    /// TLS, and the certificate's issuer where `sslrootcert` names one.
    Require,
    /// TLS, and a trusted issuer.
    VerifyCa,
    /// TLS, a trusted issuer, and the host's name.
    VerifyFull,
}

/// The text is no `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMode;

impl FromStr for SslMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<SslMode, UnknownMode> {
        match text {
            "disable" | "allow" => Ok(SslMode::Disable),
            "prefer" => Ok(SslMode::Prefer),
            "require" => Ok(SslMode::Require),
            "verify-ca" => Ok(SslMode::VerifyCa),
            "verify-full" => Ok(SslMode::VerifyFull),
            _ => Err(UnknownMode),
        }
    }
}

/// `channel_binding`: whether the login proves that both ends see the same TLS session's certificate (RFC 5929).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where both can.
    #[default]
    Prefer,
    /// Or there is no login.
    Require,
}

impl FromStr for ChannelBinding {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<ChannelBinding, UnknownMode> {
        match text {
            "disable" => Ok(ChannelBinding::Disable),
            "prefer" => Ok(ChannelBinding::Prefer),
            "require" => Ok(ChannelBinding::Require),
            _ => Err(UnknownMode),
        }
    }
}

/// What a URL says of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresTls {
    /// `sslmode`.
    pub mode: SslMode,
    /// `sslrootcert`: issuers trusted; `None` or libpq's `system`: those of the operating system.
    pub root_certificate: Option<PathBuf>,
    /// `sslcert` and `sslkey`: who we are.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `channel_binding`.
    pub channel_binding: ChannelBinding,
}

/// What a server answers to [`SSL_REQUEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslAnswer {
    /// `S`: the handshake follows.
    Willing,
    /// `N`: it has no TLS. The connection may go on in the clear.
    Unwilling,
    /// No PostgreSQL, or one that is in trouble.
    Nonsense,
}

impl SslAnswer {
    /// Reads it.
    pub fn of(byte: u8) -> SslAnswer {
        match byte {
            b'S' => SslAnswer::Willing,
            b'N' => SslAnswer::Unwilling,
            _ => SslAnswer::Nonsense,
        }
    }
}

/// `tls-server-end-point` (RFC 5929 section 4.1): the hash of the server's certificate, by the hash that it was signed with, or
/// SHA-256 in place of a broken one. `None` where the certificate's signature has none of its own.
pub fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match signature_hash(certificate)? {
        SignatureHash::Weak | SignatureHash::Sha256 => Sha256::digest(certificate).to_vec(),
        SignatureHash::Sha384 => Sha384::digest(certificate).to_vec(),
        SignatureHash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}
