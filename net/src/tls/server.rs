//! TLS of a public listener: its certificate, read anew without a lost connection.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use flux_protocol::certificate;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{Error, ServerConfig, ServerConnection};

use super::client::misfit;
use super::fault::{Reason, TlsFault, explained};
use super::figures::TlsFigures;
use super::files::{TlsFileError, certificates, private_key};
use super::provider::provider;

/// Tickets that a client of TLS 1.3 is given: one for the next connection, one for a second at the same time.
const TICKETS_PER_HANDSHAKE: usize = 2;

/// One certificate for all cores of a process. Clones are the same.
#[derive(Clone)]
pub struct ServerTls {
    inner: Arc<Inner>,
}

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    /// One for all cores and all certificates after each other, so that any core resumes what another has begun.
    ticketer: Arc<dyn ProducesTickets>,
    loaded: RwLock<Loaded>,
    figures: TlsFigures,
}

struct Loaded {
    config: Arc<ServerConfig>,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("certificate", &self.inner.certificate).field("key", &self.inner.key).finish()
    }
}

impl ServerTls {
    /// Reads the certificate with its intermediates, and its key: certbot's `fullchain.pem` and `privkey.pem`.
    ///
    /// # Errors
    /// A file cannot be read or used; which, in one line.
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<ServerTls, TlsFileError> {
        let ticketer = Ticketer::new().map_err(|error| TlsFileError::Other(error.to_string()))?;
        let loaded = read(&certificate, &key, &ticketer)?;
        let figures = TlsFigures::default();
        figures.note_own_expiry(certificate::expiry(&loaded.chain[0]));
        Ok(ServerTls { inner: Arc::new(Inner { certificate, key, ticketer, loaded: RwLock::new(loaded), figures }) })
    }

    /// Its counters.
    pub fn figures(&self) -> &TlsFigures {
        &self.inner.figures
    }

    /// Reads the files anew: true where something else was in them. Connections that stand go on; the next handshake shows
    /// what was read.
    ///
    /// # Errors
    /// As [`ServerTls::load`]; what was there before stays.
    pub fn reload(&self) -> Result<bool, TlsFileError> {
        let inner = &self.inner;
        let loaded = read(&inner.certificate, &inner.key, &inner.ticketer)
            .inspect_err(|_| inner.figures.note_reload_failure())?;
        let mut slot = inner.loaded.write().unwrap_or_else(PoisonError::into_inner);
        if slot.chain == loaded.chain && slot.key == loaded.key {
            return Ok(false);
        }
        inner.figures.note_own_expiry(certificate::expiry(&loaded.chain[0]));
        *slot = loaded;
        Ok(true)
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

fn read(certificate: &Path, key: &Path, ticketer: &Arc<dyn ProducesTickets>) -> Result<Loaded, TlsFileError> {
    let (chain, secret) = (certificates(certificate)?, private_key(key)?);
    let secret_bytes = secret.secret_der().to_owned();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsFileError::Other(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain.clone(), secret)
        .map_err(|error| {
            TlsFileError::Other(format!("{} and {}: {}", certificate.display(), key.display(), misfit(&error)))
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(ticketer);
    config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    // Tickets are the client's to keep; a table of sessions would be ours, with a lock.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Loaded { config: Arc::new(config), chain, key: secret_bytes })
}
