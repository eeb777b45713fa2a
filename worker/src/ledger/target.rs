//! Where the ledger's database is, and how a connection to it comes to be: in the clear, or after SSLRequest through TLS.

use std::io;
use std::time::Duration;

use flux_net::tls::{FlagNames, TlsOptions, Verification};
use flux_net::{Address, ClientTls, Stream, within};
use flux_protocol::postgres::{Host, PostgresConfig, SSL_REQUEST, SslAnswer, SslMode};

/// The parameters of the URL, as messages name them.
const PARAMETERS: FlagNames = FlagNames {
    ca: "sslrootcert in --postgres",
    certificate: "sslcert in --postgres",
    key: "sslkey in --postgres",
    server_name: "the host in --postgres; hostaddr says where to connect to",
};

/// A database, and the TLS of the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerTarget {
    /// Where it is, and who we are to it.
    pub config: PostgresConfig,
    /// Loaded where `sslmode` asks for it.
    pub tls: Option<ClientTls>,
}

/// A database that is reached in the clear.
impl From<&PostgresConfig> for LedgerTarget {
    fn from(config: &PostgresConfig) -> LedgerTarget {
        LedgerTarget { config: config.clone(), tls: None }
    }
}

impl From<&LedgerTarget> for LedgerTarget {
    fn from(target: &LedgerTarget) -> LedgerTarget {
        target.clone()
    }
}

impl LedgerTarget {
    /// Reads the files that the URL names.
    ///
    /// # Errors
    /// One line: a file cannot be read or used.
    pub fn load(config: PostgresConfig) -> Result<LedgerTarget, String> {
        let asked = &config.tls;
        let verification = match asked.mode {
            SslMode::Disable => return Ok(LedgerTarget { config, tls: None }),
            SslMode::Prefer => Verification::Nothing,
            // As libpq has it: who names issuers wants them looked at.
            SslMode::Require if asked.root_certificate.is_none() => Verification::Nothing,
            SslMode::Require | SslMode::VerifyCa => Verification::Issuer,
            SslMode::VerifyFull => Verification::Full,
        };
        let ca = asked.root_certificate.iter().filter(|path| path.as_os_str() != "system").cloned().collect();
        let server_name = match &config.host {
            Host::Unix(_) => None,
            // One that is no name is found out where it is looked up.
            Host::Tcp(host) => host.clone().try_into().ok(),
        };
        let options = TlsOptions { ca, identity: asked.identity.clone(), server_name, verification, flags: PARAMETERS };
        let tls = ClientTls::load("postgres", options).map_err(|error| error.to_string())?;
        Ok(LedgerTarget { config, tls: Some(tls) })
    }

    /// Where to connect to.
    pub fn address(&self) -> Address {
        let config = &self.config;
        match (config.socket_path(), &config.host_address, &config.host) {
            (Some(path), _, _) => Address::Unix(path),
            (None, Some(host), _) | (None, None, Host::Tcp(host)) => {
                Address::Tcp { host: host.clone(), port: config.port }
            }
            (None, None, Host::Unix(_)) => unreachable!("a socket directory gives a path"),
        }
    }

    /// A connection on which the session can begin, within `limit`.
    pub(super) async fn connect(&self, limit: Duration) -> io::Result<Stream> {
        let address = self.address();
        let Some(tls) = &self.tls else { return Stream::connect(&address, limit).await };
        match within(limit, Box::pin(self.encrypted(&address, tls, limit))).await? {
            Some(connected) => connected,
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn encrypted(&self, address: &Address, tls: &ClientTls, limit: Duration) -> io::Result<Stream> {
        let mut stream = Stream::connect(address, limit).await?;
        stream.write_all(SSL_REQUEST.to_vec()).await.0?;
        // Room for one byte: what somebody in between may have put behind it stays in the socket, and is no handshake there.
        let (read, answer) = stream.read(Box::new([0_u8; 1])).await;
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match (SslAnswer::of(answer[0]), self.config.tls.mode) {
            (SslAnswer::Willing, _) => stream.secure(address, tls).await,
            (SslAnswer::Unwilling, SslMode::Prefer) => Ok(stream),
            (SslAnswer::Unwilling, _) => {
                Err(io::Error::other("it has no TLS (ssl = off), and sslmode does not take less"))
            }
            (SslAnswer::Nonsense, _) => Err(io::Error::other("what it answers to SSLRequest is not PostgreSQL's")),
        }
    }
}
