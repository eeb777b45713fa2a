//! New TLS connections at a constant rate, one order each: what a client waits for that comes at its moment, whether those before it
//! were served or not.
//!
//! Each connection is a full handshake (TLS 1.3, no resumption) of a client that checks the server's certificate. Never judges.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use flux_lab::error::{Doing, LabError};

/// Connections a second.
pub const PER_SECOND: f64 = 3_000.0;
/// Connections that may be under way at once: a tenth of a second's. Who is due when all are is late, and that counts.
const CLIENTS: usize = 300;
/// A client's stack: a handshake needs little of it.
const STACK_BYTES: usize = 256 << 10;
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// What came of them.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// From the moment at which each was due to the end of its answer, µs, ascending; of those with a 200.
    pub spans_us: Vec<u64>,
    /// Other answers.
    pub unexpected: u64,
    /// Connections without an answer.
    pub broken: u64,
    /// From the first moment to the last answer.
    pub seconds: f64,
}

impl Arrivals {
    /// The span that so many of a thousand do not pass.
    pub fn of_thousand_us(&self, of_thousand: usize) -> Option<u64> {
        let last = self.spans_us.len().checked_sub(1)?;
        self.spans_us.get((self.spans_us.len() * of_thousand / 1000).min(last)).copied()
    }
}

/// Sends `count` orders of `product` to `target`, which shows a certificate that `issuer` (PEM) has issued for localhost;
/// `run` makes their keys unlike those of another run.
///
/// # Errors
/// The issuer cannot be read, or there are no threads for the clients.
pub fn run(target: SocketAddr, issuer: &Path, product: &str, run: &str, count: u64) -> Result<Arrivals, LabError> {
    let config = Arc::new(client_config(issuer)?);
    let (next, begin) = (AtomicU64::new(0), Instant::now() + Duration::from_millis(100));
    let arrive = || {
        let mut arrivals = Arrivals::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return arrivals;
            }
            let due = begin + Duration::from_secs_f64(number as f64 / PER_SECOND);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            match order(target, &config, product, &format!("{run}-{number}")) {
                Ok(200) => arrivals.spans_us.push(due.elapsed().as_micros() as u64),
                Ok(_) => arrivals.unexpected += 1,
                Err(_) => arrivals.broken += 1,
            }
        }
    };
    let mut all = std::thread::scope(|scope| {
        let clients: Result<Vec<_>, _> = (0..CLIENTS)
            .map(|_| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, arrive))
            .collect();
        let clients = clients.doing(|| "starting clients".to_owned())?;
        let mut all = Arrivals::default();
        for client in clients {
            let one = client.join().map_err(|_| LabError::failed("a client broke down"))?;
            all.spans_us.extend(one.spans_us);
            all.unexpected += one.unexpected;
            all.broken += one.broken;
        }
        Ok::<_, LabError>(all)
    })?;
    all.seconds = begin.elapsed().as_secs_f64();
    all.spans_us.sort_unstable();
    Ok(all)
}

fn client_config(issuer: &Path) -> Result<ClientConfig, LabError> {
    let doing = || format!("reading {}", issuer.display());
    let mut roots = RootCertStore::empty();
    let issuer = CertificateDer::from_pem_file(issuer).map_err(|error| LabError::failed(error.to_string()));
    roots.add(issuer?).map_err(std::io::Error::other).doing(doing)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let config = config.map_err(std::io::Error::other).doing(doing)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// One order on a connection of its own; the status.
fn order(target: SocketAddr, config: &Arc<ClientConfig>, product: &str, key: &str) -> std::io::Result<u16> {
    let mut socket = TcpStream::connect_timeout(&target, REQUEST_MAX)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(REQUEST_MAX))?;
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    let mut session = ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    let body = format!(r#"{{"productId":"{product}","userId":"{key}","quantity":1}}"#);
    stream.write_all(
        format!(
            "POST /order HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             x-idempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    )?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Not every server says goodbye.
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    status.ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_them_is_found_among_few_and_none() {
        let arrivals = Arrivals { spans_us: (1..=10).collect(), ..Arrivals::default() };
        assert_eq!([500, 990, 999].map(|share| arrivals.of_thousand_us(share)), [Some(6), Some(10), Some(10)]);
        assert_eq!(Arrivals::default().of_thousand_us(500), None);
    }
}
