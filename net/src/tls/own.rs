//! A certificate of our own with its key, as an operator put them into files, and what is to be said of them.
//!
//! Never refuses one for its dates when a program starts: clients will, and the clock may be what is wrong. But none that is out of
//! date takes the place of one that is not.

use std::fmt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use flux_protocol::certificate;
use flux_protocol::http::Date;
use rustls::Error;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::files::{TlsFileError, certificates, private_key};
use crate::secrets::file::is_open_to_others;

/// The two files.
#[derive(Clone, Debug)]
pub(super) struct OwnFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What was in them.
#[derive(PartialEq, Eq)]
pub(super) struct OwnCertificate {
    /// Ours first; at least that.
    pub(super) chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Without the key.
impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl OwnFiles {
    /// Reads both.
    ///
    /// # Errors
    /// One cannot be read, or is something else.
    pub(super) fn read(&self) -> Result<OwnCertificate, TlsFileError> {
        Ok(OwnCertificate { chain: certificates(&self.certificate)?, key: private_key(&self.key)? })
    }

    /// The same, to take the place of what is there.
    ///
    /// # Errors
    /// And this one is out of date, where that is not.
    pub(super) fn read_in_place_of(&self, current: &OwnCertificate) -> Result<OwnCertificate, TlsFileError> {
        let read = self.read()?;
        let now = now();
        match read.outdated(now) {
            Some(why) if current.outdated(now).is_none() => Err(TlsFileError::unusable(&self.certificate, why)),
            _ => Ok(read),
        }
    }

    /// Why they cannot be used together.
    pub(super) fn misfit(&self, error: &Error) -> TlsFileError {
        let why = match error {
            Error::InconsistentKeys(_) => "the key is not this certificate's".to_owned(),
            other => other.to_string(),
        };
        TlsFileError::Other(format!("{} and {}: {why}", self.certificate.display(), self.key.display()))
    }

    /// What an operator should hear, a line each.
    pub(super) fn warnings(&self, certificate: &OwnCertificate) -> Vec<String> {
        let outdated = certificate.outdated(now());
        let outdated = outdated.map(|why| format!("{}: {why}", self.certificate.display()));
        // A file that has gone is open to nobody.
        let open = std::fs::metadata(&self.key)
            .is_ok_and(|metadata| is_open_to_others(&metadata))
            .then(|| format!("every user of this machine may read {0}: chmod o-rwx {0}", self.key.display()));
        outdated.into_iter().chain(open).collect()
    }
}

impl OwnCertificate {
    /// The key, for rustls.
    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    /// When it expires, seconds since the Unix epoch.
    pub(super) fn expiry(&self) -> Option<u64> {
        certificate::expiry(&self.chain[0])
    }

    /// Why it is not valid at `now`, in seconds since the Unix epoch; `None` where it is, and where it does not say.
    fn outdated(&self, now: u64) -> Option<String> {
        let date = |seconds| String::from_utf8_lossy(Date::new(seconds).as_bytes()).into_owned();
        match certificate::validity(&self.chain[0])? {
            (_, not_after) if not_after < now => {
                Some(format!("our certificate expired on {}, and it is {} here", date(not_after), date(now)))
            }
            (not_before, _) if not_before > now => {
                Some(format!("our certificate is valid from {} only, and it is {} here", date(not_before), date(now)))
            }
            _ => None,
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
