//! Reading certificates anew: when a process is told to (SIGHUP), and once a day, since an issuer's tool may tell nobody.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use tracing::{error, info};

use super::client::ClientTls;
use super::figures::TlsFigures;
use super::server::ServerTls;

/// A certificate of which nothing was said is shown for a day longer at most; issuers renew weeks before the end.
const RELOAD_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// All that one process has read of certificates. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    /// The links to servers that have TLS.
    pub links: Vec<ClientTls>,
    /// The public listener, where it has TLS.
    pub listener: Option<ServerTls>,
}

impl Certificates {
    /// What is counted, by link; `public` is the public listener.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, &TlsFigures)> {
        let links = self.links.iter().map(|link| (link.name(), link.figures()));
        links.chain(self.listener.iter().map(|listener| ("public", listener.figures())))
    }

    /// Reads all files anew. What cannot be read stays as it was, and each is said in one line.
    pub fn reload(&self) {
        if self.links.is_empty() && self.listener.is_none() {
            info!("told to read certificates anew: there are none, no link and no listener has TLS");
        }
        for link in &self.links {
            say(link.name(), link.reload());
        }
        if let Some(listener) = &self.listener {
            say("the public listener", listener.reload());
        }
    }

    /// Reads them anew every day, on a thread of its own, for as long as the process lives. Nothing where there are none.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn reload_daily(&self) -> io::Result<()> {
        if self.links.is_empty() && self.listener.is_none() {
            return Ok(());
        }
        let certificates = self.clone();
        thread::Builder::new().name("certificates".into()).spawn(move || {
            loop {
                thread::sleep(RELOAD_INTERVAL);
                certificates.reload();
            }
        })?;
        Ok(())
    }
}

fn say(of: &str, reloaded: Result<bool, impl fmt::Display>) {
    match reloaded {
        Ok(true) => info!("certificates of {of}: read anew"),
        Ok(false) => info!("certificates of {of}: read anew, they are what they were"),
        Err(error) => error!("certificates of {of}: what was there stays, the new cannot be used: {error}"),
    }
}
