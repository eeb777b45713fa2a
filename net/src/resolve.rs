//! Names to addresses, on a thread of their own: `getaddrinfo` blocks for seconds when a name server does not answer.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::doorbell::Doorbell;
use crate::limits::ADDRESSES_TRIED_MAX;

/// The addresses of `host`, at least one. An IP address is its own answer and costs no thread.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let doorbell = Doorbell::new()?;
    let answer = Arc::new(Mutex::new(None));
    let listener = doorbell.listen()?;
    let host = host.to_owned();
    let told = Arc::clone(&answer);
    thread::Builder::new().name("resolve".into()).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|all| all.take(ADDRESSES_TRIED_MAX).collect());
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        doorbell.ring();
    })?;
    listener.rung().await?;
    let found: io::Result<Vec<SocketAddr>> = answer
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .unwrap_or_else(|| Err(io::Error::other("the name was not looked up to its end")));
    match found {
        Ok(all) if all.is_empty() => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        other => other,
    }
}
