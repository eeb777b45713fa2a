//! TLS of the links to servers: whom we trust, and who we are.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore};

use super::fault::{FlagNames, Reason, TlsFault, explained};
use super::figures::TlsFigures;
use super::files::{TlsFileError, certificates};
use super::own::{OwnCertificate, OwnFiles};
use super::provider::provider;
use super::verify::LenientVerifier;
use crate::address::Address;

/// Sessions of servers that are kept to be resumed; one of TLS 1.3 is used once, and a link brings two or more.
const SESSIONS_KEPT_MAX: usize = 256;

/// Servers of which is remembered that they have spoken TLS. Of more it is asked again whether they do.
const SPEAKERS_MAX: usize = 256;

/// What of a server's certificate is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// A trusted issuer, a time that holds, and the server's name.
    #[default]
    Full,
    /// All but the name: who holds any certificate of that issuer may be the server.
    Issuer,
    /// Nothing: who listens hears nothing, and who stands between hears all.
    Nothing,
}

/// What an operator says of one link.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Files of trusted issuers, PEM; empty: those that the operating system trusts.
    pub ca: Vec<PathBuf>,
    /// Our certificate with its intermediates, PEM, and its key's file.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate, where it is not its address'.
    pub server_name: Option<ServerName<'static>>,
    /// What is asked of the server's certificate.
    pub verification: Verification,
    /// How messages name the above.
    pub flags: FlagNames,
}

/// One link's TLS, shared by all connections and cores of a process: sessions are resumed across them. Clones are the same.
#[derive(Clone)]
pub struct ClientTls {
    inner: Arc<Inner>,
}

struct Inner {
    /// `redis`, `kafka`, `postgres`.
    name: &'static str,
    options: TlsOptions,
    loaded: RwLock<Loaded>,
    figures: TlsFigures,
    /// Where a handshake has succeeded since the process started.
    speakers: Mutex<HashSet<Address>>,
}

struct Loaded {
    config: Arc<ClientConfig>,
    /// What was in the files: where it is still that, the sessions stay.
    material: Material,
}

#[derive(PartialEq, Eq)]
struct Material {
    roots: Vec<CertificateDer<'static>>,
    own: Option<OwnCertificate>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.inner.name).field("options", &self.inner.options).finish()
    }
}

/// The same link's, not another that was told the same.
impl PartialEq for ClientTls {
    fn eq(&self, other: &ClientTls) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for ClientTls {}

impl ClientTls {
    /// Reads the files. `name` is what metrics and logs call the link.
    ///
    /// # Errors
    /// A file cannot be read or used; which, in one line.
    pub fn load(name: &'static str, options: TlsOptions) -> Result<ClientTls, TlsFileError> {
        let loaded = read(&options, None)?;
        let figures = TlsFigures::default();
        figures.note_own_expiry(loaded.expiry());
        let (loaded, speakers) = (RwLock::new(loaded), Mutex::default());
        Ok(ClientTls { inner: Arc::new(Inner { name, options, loaded, figures, speakers }) })
    }

    /// What metrics and logs call the link.
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// Its counters.
    pub fn figures(&self) -> &TlsFigures {
        &self.inner.figures
    }

    /// Reads the files anew: true where something else was in them. Connections that stand go on as they are; the next one
    /// begins with what was read.
    ///
    /// # Errors
    /// As [`ClientTls::load`], and a certificate that is out of date where the one of before is not; what was there stays.
    pub fn reload(&self) -> Result<bool, TlsFileError> {
        let inner = &self.inner;
        let loaded = {
            let before = inner.loaded.read().unwrap_or_else(PoisonError::into_inner);
            read(&inner.options, before.material.own.as_ref()).inspect_err(|_| inner.figures.note_reload_failure())?
        };
        let mut slot = inner.loaded.write().unwrap_or_else(PoisonError::into_inner);
        if slot.material == loaded.material {
            return Ok(false);
        }
        inner.figures.note_own_expiry(loaded.expiry());
        *slot = loaded;
        Ok(true)
    }

    /// What an operator should hear of our certificate and its key, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let loaded = self.inner.loaded.read().unwrap_or_else(PoisonError::into_inner);
        match (self.inner.options.own_files(), &loaded.material.own) {
            (Some(files), Some(own)) => files.warnings(own),
            _ => Vec::new(),
        }
    }

    /// A session about to begin, and the name that the server at `address` must show.
    pub(super) fn begin(&self, address: &Address) -> io::Result<(ClientConnection, String)> {
        let (name, shown) = self.server_name(address)?;
        let config = Arc::clone(&self.inner.loaded.read().unwrap_or_else(PoisonError::into_inner).config);
        match ClientConnection::new(config, name) {
            Ok(connection) => Ok((connection, shown)),
            Err(error) => Err(self.fault(&error, &shown)),
        }
    }

    fn server_name(&self, address: &Address) -> io::Result<(ServerName<'static>, String)> {
        let host = match (&self.inner.options.server_name, address) {
            (Some(name), _) => return Ok((name.clone(), format!("{address} as {}", name.to_str()))),
            (None, Address::Tcp { host, .. }) => host.clone(),
            (None, Address::Unix(_)) => "localhost".to_owned(),
        };
        let name = ServerName::try_from(host).map_err(|_| TlsFault {
            reason: Reason::Other,
            peer: address.to_string(),
            what: "no name for a certificate".into(),
        })?;
        Ok((name, address.to_string()))
    }

    pub(super) fn fault(&self, error: &Error, peer: &str) -> io::Error {
        let (reason, what) = explained(error, Some(&self.inner.options.flags));
        self.failed(reason, peer, what)
    }

    pub(super) fn failed(&self, reason: Reason, peer: &str, what: String) -> io::Error {
        self.inner.figures.note_failure(reason);
        TlsFault { reason, peer: peer.to_owned(), what }.into()
    }

    /// The server has taken the connection and does not answer the handshake.
    pub(crate) fn silent(&self, address: &Address) -> io::Error {
        let what = format!("no answer to the handshake{}", self.doubt(address));
        self.failed(Reason::Silent, &address.to_string(), what)
    }

    /// A handshake has succeeded there.
    pub(super) fn note_speaker(&self, address: &Address) {
        let mut speakers = self.speakers();
        if speakers.len() < SPEAKERS_MAX && !speakers.contains(address) {
            speakers.insert(address.clone());
        }
    }

    /// What is to be thought of a server that does not answer a handshake, as the end of a sentence.
    pub(super) fn doubt(&self, address: &Address) -> &'static str {
        if self.speakers().contains(address) {
            ", where one has succeeded before"
        } else {
            ": is TLS spoken on that port?"
        }
    }

    fn speakers(&self) -> MutexGuard<'_, HashSet<Address>> {
        self.inner.speakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    fn expiry(&self) -> Option<u64> {
        self.material.own.as_ref()?.expiry()
    }
}

impl TlsOptions {
    fn own_files(&self) -> Option<OwnFiles> {
        self.identity.clone().map(|(certificate, key)| OwnFiles { certificate, key })
    }
}

/// What the files hold, in place of `before`.
fn read(options: &TlsOptions, before: Option<&OwnCertificate>) -> Result<Loaded, TlsFileError> {
    let provider = provider();
    let mut material = Material { roots: Vec::new(), own: None };
    let mut roots = RootCertStore::empty();
    if options.verification != Verification::Nothing {
        for path in &options.ca {
            for certificate in certificates(path)? {
                roots.add(certificate.clone()).map_err(|error| TlsFileError::unusable(path, error))?;
                material.roots.push(certificate);
            }
        }
        if options.ca.is_empty() {
            let found = rustls_native_certs::load_native_certs();
            // A bundle may hold certificates of bygone days that nothing can be made of.
            roots.add_parsable_certificates(found.certs.iter().cloned());
            if roots.is_empty() {
                let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
                let flag = options.flags.ca;
                return Err(TlsFileError::Other(format!(
                    "the operating system trusts no issuer{why}: name one ({flag})"
                )));
            }
            material.roots = found.certs;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsFileError::Other(error.to_string()))?;
    let builder = match options.verification {
        Verification::Full => builder.with_root_certificates(roots),
        Verification::Issuer | Verification::Nothing => {
            let roots = (options.verification == Verification::Issuer).then_some(roots);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(LenientVerifier { roots, provider }))
        }
    };
    let mut config = match options.own_files() {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let own = match before {
                Some(before) => files.read_in_place_of(before)?,
                None => files.read()?,
            };
            let config =
                builder.with_client_auth_cert(own.chain.clone(), own.key()).map_err(|error| files.misfit(&error))?;
            material.own = Some(own);
            config
        }
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT_MAX);
    Ok(Loaded { config: Arc::new(config), material })
}
