//! The other end: rustls over a socket that blocks.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use flux_net::{Address, sleep};
use flux_test_support::certificates::Identity;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

/// One session.
pub(crate) struct Peer {
    connection: Connection,
    socket: TcpStream,
}

/// What a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    Tls13,
    Tls12,
}

impl Peer {
    /// A client's configurations, which keep sessions.
    pub(crate) fn client_config(trusted: &Path) -> [Arc<ClientConfig>; 2] {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots(trusted), Arc::new(default_provider()));
        let verifier = verifier.build().expect("a verifier");
        [&TLS13, &TLS12].map(|version| {
            let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
                .with_protocol_versions(&[version])
                .expect("a version")
                .with_webpki_verifier(Arc::clone(&verifier))
                .with_no_client_auth();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Arc::new(config)
        })
    }

    pub(crate) fn connect(
        address: &str,
        name: &'static str,
        configs: &[Arc<ClientConfig>; 2],
        versions: Versions,
    ) -> Peer {
        let config = Arc::clone(&configs[versions as usize]);
        let name = ServerName::try_from(name).expect("a name");
        let connection = ClientConnection::new(config, name).expect("a session").into();
        Peer { connection, socket: TcpStream::connect(address).expect("connected") }
    }

    pub(crate) fn shake_hands(&mut self) {
        while self.connection.is_handshaking() {
            self.connection.complete_io(&mut self.socket).expect("a handshake");
        }
    }

    /// Changes its own keys, and asks that the other side change theirs (RFC 8446 section 4.6.3).
    pub(crate) fn ask_for_new_keys(&mut self) {
        self.connection.refresh_traffic_keys().expect("TLS 1.3");
    }

    /// Says that nothing more comes.
    pub(crate) fn goodbye(&mut self) {
        self.connection.send_close_notify();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.socket).expect("taken");
        }
    }

    /// Goes on with what the protocol has to do, and discards what comes, until the other side has ended.
    pub(crate) fn wait_for_end(&mut self) {
        let mut discarded = [0; 4096];
        while !matches!(self.read(&mut discarded), Ok(0) | Err(_)) {}
    }

    pub(crate) fn alpn(&self) -> Option<Vec<u8>> {
        self.connection.alpn_protocol().map(<[u8]>::to_vec)
    }

    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.connection.peer_certificates().expect("shown")[0].to_vec()
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            while self.connection.wants_write() {
                self.connection.write_tls(&mut self.socket)?;
            }
            self.connection.read_tls(&mut self.socket)?;
            if let Err(error) = self.connection.process_new_packets() {
                // The alert: whether it is heard does not matter.
                let _ = self.connection.write_tls(&mut self.socket);
                return Err(io::Error::other(error));
            }
        }
    }
}

impl Write for Peer {
    /// Never reads, but for the handshake.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.connection.is_handshaking() {
            self.connection.complete_io(&mut self.socket)?;
        }
        let count = self.connection.writer().write(bytes)?;
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.socket)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server that serves one client.
pub(crate) struct Server {
    pub(crate) address: Address,
    thread: JoinHandle<()>,
}

thread_local! {
    /// One for all servers of a test, so that sessions can be resumed with the next one.
    static TICKETER: Arc<dyn rustls::server::ProducesTickets> =
        rustls::crypto::aws_lc_rs::Ticketer::new().expect("chance");
}

impl Server {
    /// Serves one client with `serve`. Wants to know clients where it trusts `clients`.
    pub(crate) fn start(
        identity: &Identity,
        clients: Option<PathBuf>,
        serve: impl FnOnce(Peer) + Send + 'static,
    ) -> Server {
        let chain = CertificateDer::pem_file_iter(&identity.certificate).expect("a file");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(trusted) => {
                let provider = Arc::new(default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots(&trusted), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let mut config = builder.with_single_cert(chain, key).expect("an identity");
        config.ticketer = TICKETER.with(Arc::clone);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = Address::parse_tcp(&listener.local_addr().expect("bound").to_string(), 1).expect("an address");
        let thread = std::thread::spawn(move || {
            let (socket, _) = listener.accept().expect("a client");
            let connection = ServerConnection::new(Arc::new(config)).expect("a session").into();
            serve(Peer { connection, socket });
        });
        Server { address, thread }
    }

    /// As [`joined`].
    pub(crate) async fn join(self) {
        joined(self.thread).await;
    }
}

/// Waits for a thread's end, and fails where it failed. A ring closes a socket a turn after it was dropped, so its turns must go
/// on.
pub(crate) async fn joined<T>(thread: JoinHandle<T>) -> T {
    while !thread.is_finished() {
        sleep(Duration::from_millis(1)).await.expect("a timer");
    }
    thread.join().expect("the peer is content")
}

fn roots(trusted: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).expect("a certificate")).expect("an issuer");
    Arc::new(roots)
}
