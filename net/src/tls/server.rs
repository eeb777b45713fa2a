//! TLS of a public listener: its certificate, read anew without a lost connection.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{Error, ServerConfig, ServerConnection};

use super::fault::{Reason, TlsFault, explained};
use super::figures::TlsFigures;
use super::files::TlsFileError;
use super::own::{OwnCertificate, OwnFiles};
use super::provider::provider;

/// Tickets that a client of TLS 1.3 is given: one for the next connection, one for a second at the same time.
const TICKETS_PER_HANDSHAKE: usize = 2;

/// One certificate for all cores of a process. Clones are the same.
#[derive(Clone)]
pub struct ServerTls {
    inner: Arc<Inner>,
}

struct Inner {
    files: OwnFiles,
    /// One for all cores and all certificates after each other, so that any core resumes what another has begun.
    ticketer: Arc<dyn ProducesTickets>,
    loaded: RwLock<Loaded>,
    figures: TlsFigures,
}

struct Loaded {
    config: Arc<ServerConfig>,
    own: OwnCertificate,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("files", &self.inner.files).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads the certificate with its intermediates, and its key: certbot's `fullchain.pem` and `privkey.pem`.
    ///
    /// # Errors
    /// A file cannot be read or used; which, in one line.
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<ServerTls, TlsFileError> {
        let ticketer = Ticketer::new().map_err(|error| TlsFileError::Other(error.to_string()))?;
        let files = OwnFiles { certificate, key };
        let loaded = shown(&files, files.read()?, &ticketer)?;
        let figures = TlsFigures::default();
        figures.note_own_expiry(loaded.own.expiry());
        Ok(ServerTls { inner: Arc::new(Inner { files, ticketer, loaded: RwLock::new(loaded), figures }) })
    }

    /// Its counters.
    pub fn figures(&self) -> &TlsFigures {
        &self.inner.figures
    }

    /// Reads the files anew: true where something else was in them. Connections that stand go on; the next handshake shows
    /// what was read.
    ///
    /// # Errors
    /// As [`ServerTls::load`], and a certificate that is out of date where the one of before is not; what was there stays.
    pub fn reload(&self) -> Result<bool, TlsFileError> {
        self.read_anew().inspect_err(|_| self.inner.figures.note_reload_failure())
    }

    fn read_anew(&self) -> Result<bool, TlsFileError> {
        let inner = &self.inner;
        let own = {
            let before = inner.loaded.read().unwrap_or_else(PoisonError::into_inner);
            let own = inner.files.read_in_place_of(&before.own)?;
            if before.own == own {
                return Ok(false);
            }
            own
        };
        let loaded = shown(&inner.files, own, &inner.ticketer)?;
        inner.figures.note_own_expiry(loaded.own.expiry());
        *inner.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(true)
    }

    /// What an operator should hear of the certificate and its key, a line each.
    pub fn warnings(&self) -> Vec<String> {
        self.inner.files.warnings(&self.inner.loaded.read().unwrap_or_else(PoisonError::into_inner).own)
    }

    pub(super) fn begin(&self) -> io::Result<ServerConnection> {
        let config = Arc::clone(&self.inner.loaded.read().unwrap_or_else(PoisonError::into_inner).config);
        ServerConnection::new(config).map_err(|error| self.fault(&error))
    }

    pub(super) fn fault(&self, error: &Error) -> io::Error {
        let (reason, what) = explained(error, None);
        self.failed(reason, what)
    }

    pub(super) fn failed(&self, reason: Reason, what: String) -> io::Error {
        self.inner.figures.note_failure(reason);
        TlsFault { reason, peer: "a client".to_owned(), what }.into()
    }
}

fn shown(files: &OwnFiles, own: OwnCertificate, ticketer: &Arc<dyn ProducesTickets>) -> Result<Loaded, TlsFileError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsFileError::Other(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(own.chain.clone(), own.key())
        .map_err(|error| files.misfit(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(ticketer);
    config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    // Tickets are the client's to keep; a table of sessions would be ours, with a lock.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Loaded { config: Arc::new(config), own })
}
