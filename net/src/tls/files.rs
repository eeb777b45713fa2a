//! Certificates and keys as they lie in files: PEM, as certbot, OpenSSL and Kafka's tools write it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file of certificates that is longer is something else. The system's own bundle is a quarter of a megabyte.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why what was asked for cannot be used: one line, with the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds nothing of the kind.
    #[error("{}: no {what} in it (PEM is expected)", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// What it holds cannot be used.
    #[error("{}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Certificate and key do not belong together, or the operating system trusts nobody.
    #[error("{0}")]
    Other(String),
}

impl TlsFileError {
    pub(super) fn unusable(path: &Path, why: impl ToString) -> TlsFileError {
        TlsFileError::Unusable { path: path.into(), why: why.to_string() }
    }
}

fn text(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let unreadable = |source| TlsFileError::Unreadable { path: path.into(), source };
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(TlsFileError::unusable(path, "too long to be certificates"));
    }
    fs::read(path).map_err(unreadable)
}

/// All certificates of a file, in their order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let text = text(path)?;
    let all = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| TlsFileError::unusable(path, fault(&error)))?;
    if all.is_empty() {
        return Err(TlsFileError::Nothing { path: path.into(), what: "certificate" });
    }
    Ok(all)
}

/// The private key of a file: PKCS #8, PKCS #1 or SEC 1, not encrypted.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let text = text(path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if text.windows(9).any(|part| part == b"ENCRYPTED") => {
            Err(TlsFileError::unusable(path, "the key is encrypted with a passphrase: it must lie there without one"))
        }
        Err(pem::Error::NoItemsFound) => Err(TlsFileError::Nothing { path: path.into(), what: "private key" }),
        Err(error) => Err(TlsFileError::unusable(path, fault(&error))),
    }
}

/// What is wrong with a file's PEM (RFC 7468), without a line of it: it may be a key's.
fn fault(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            let section: String =
                String::from_utf8_lossy(end_marker).chars().filter(|char| !char.is_control()).collect();
            format!("the section {section} has no end: the file is cut off")
        }
        pem::Error::IllegalSectionStart { .. } => "a line that begins a section does not end with five dashes".into(),
        pem::Error::Base64Decode(_) => "what a section holds is no base64".into(),
        other => other.to_string(),
    }
}
