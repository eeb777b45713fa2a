//! All certificates of a process, to be read anew at once (`flux_net::reload` says when).

use std::fmt;

use tracing::{error, info, warn};

use super::client::ClientTls;
use super::figures::TlsFigures;
use super::server::ServerTls;
use crate::reload::Occasion;

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

    /// What an operator should hear of our own certificates and keys, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let links = self.links.iter().flat_map(ClientTls::warnings);
        links.chain(self.listener.iter().flat_map(ServerTls::warnings)).collect()
    }

    /// Reads all files anew. What cannot be used stays as it was, and each is said in one line.
    pub fn reload(&self, occasion: Occasion) {
        if occasion == Occasion::Told && self.links.is_empty() && self.listener.is_none() {
            info!("told to read certificates anew: there are none, no link and no listener has TLS");
        }
        for link in &self.links {
            say(link.name(), link.reload());
        }
        if let Some(listener) = &self.listener {
            say("the public listener", listener.reload());
        }
        for line in self.warnings() {
            warn!("{line}");
        }
    }
}

fn say(of: &str, reloaded: Result<bool, impl fmt::Display>) {
    match reloaded {
        Ok(true) => info!("certificates of {of}: read anew"),
        Ok(false) => info!("certificates of {of}: read anew, they are what they were"),
        Err(error) => error!("certificates of {of}: what was there stays, the new cannot be used: {error}"),
    }
}
