//! Who is measured: our edge on either driver, and the peers beside it, which `perf/peers/build.sh` builds.
//!
//! Never judges: a contestant that is not on disk is named as missing, and left out.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use super::scenario::Scenario;
use flux_lab::programs;
use flux_lab::servers::balancer;

/// The variable that names the program of [`Contestant::EdgeEarlier`].
pub const EARLIER_EDGE: &str = "FLUX_EDGE_EARLIER_BIN";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    /// flux-edge on io_uring.
    Edge,
    /// flux-edge on epoll.
    EdgeEpoll,
    /// flux-edge as it was before a change, on io_uring: the program that [`EARLIER_EDGE`] names.
    EdgeEarlier,
    /// Go: net/http, rueidis, franz-go.
    Go,
    /// Rust: axum, fred, rdkafka.
    Axum,
    /// nginx with constant answers.
    Nginx,
    /// monoio with constant answers: what the runtime alone costs.
    Monoio,
    /// flux-edge whose links to Redis and Kafka go through TLS.
    EdgeTlsLinks,
    /// flux-edge that speaks TLS with its clients.
    EdgeHttps,
    /// nginx that speaks TLS with clients, as `deploy/` has it, in front of flux-edge.
    NginxHttps,
    /// HAProxy, likewise.
    HaproxyHttps,
}

/// What a contestant is started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Our edge.
    Edge,
    /// Our edge as another build has it.
    EarlierEdge(PathBuf),
    /// A peer's program.
    Peer(PathBuf),
}

impl Contestant {
    /// As it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Contestant::Edge => "edge",
            Contestant::EdgeEpoll => "edge-epoll",
            Contestant::EdgeEarlier => "edge-earlier",
            Contestant::Go => "go",
            Contestant::Axum => "axum",
            Contestant::Nginx => "nginx",
            Contestant::Monoio => "monoio",
            Contestant::EdgeTlsLinks => "edge-tls-links",
            Contestant::EdgeHttps => "edge-https",
            Contestant::NginxHttps => "nginx-https",
            Contestant::HaproxyHttps => "haproxy-https",
        }
    }

    /// Whether it is our edge, alone or behind another program.
    pub fn is_ours(self) -> bool {
        use Contestant::{Edge, EdgeEarlier, EdgeEpoll, EdgeHttps, EdgeTlsLinks, HaproxyHttps, NginxHttps};
        matches!(self, Edge | EdgeEpoll | EdgeEarlier | EdgeTlsLinks | EdgeHttps | NginxHttps | HaproxyHttps)
    }

    /// Whether its clients speak TLS.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Contestant::EdgeHttps | Contestant::NginxHttps | Contestant::HaproxyHttps)
    }

    /// What stands in front of the edge.
    pub fn balancer(self) -> Option<balancer::Kind> {
        match self {
            Contestant::NginxHttps => Some(balancer::Kind::Nginx),
            Contestant::HaproxyHttps => Some(balancer::Kind::Haproxy),
            _ => None,
        }
    }

    /// Whether it is one of those whose clients and links are plain.
    fn is_plain(self) -> bool {
        !self.is_encrypted() && self != Contestant::EdgeTlsLinks
    }

    /// Whether its answers are constant, without Redis and Kafka.
    pub fn is_constant(self) -> bool {
        matches!(self, Contestant::Nginx | Contestant::Monoio)
    }

    /// Whether it takes part in `scenario`.
    pub fn plays(self, scenario: Scenario) -> bool {
        match scenario {
            Scenario::Accepted | Scenario::Replay | Scenario::SoldOut => !self.is_constant() && self.is_plain(),
            Scenario::Redirect | Scenario::Stock | Scenario::Pipelined | Scenario::Idle | Scenario::OpeningStorm => {
                self.is_plain()
            }
            Scenario::Zipf | Scenario::OneProduct => self.is_ours() && self.is_plain(),
            Scenario::TlsLinks => matches!(self, Contestant::Edge | Contestant::EdgeTlsLinks),
            Scenario::HttpsKept | Scenario::HttpsNew => self.is_encrypted(),
            Scenario::Queued => self == Contestant::Edge,
            Scenario::Opening | Scenario::Flood | Scenario::IdleProducts | Scenario::Worker => false,
        }
    }

    /// What it is started from: a peer from `peers`, a directory.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn find(self, peers: &Path) -> Result<Source, String> {
        if let Some(kind) = self.balancer()
            && kind.program().is_none()
        {
            return Err(format!("{kind:?} is not installed"));
        }
        if self == Contestant::EdgeEarlier {
            let named = std::env::var_os(EARLIER_EDGE).map(PathBuf::from).filter(|path| path.is_file());
            return named.map(Source::EarlierEdge).ok_or_else(|| format!("{EARLIER_EDGE} names no program"));
        }
        if self.is_ours() {
            return programs::edge_binary().map(|_| Source::Edge).map_err(|error| error.to_string());
        }
        let path = peers.join(format!("peer-{}", self.name()));
        if path.is_file() {
            Ok(Source::Peer(path))
        } else {
            Err(format!("peer-{} is not built (perf/peers/build.sh)", self.name()))
        }
    }
}

/// Where the peers' programs are: `FLUX_PEERS_BIN`, or where `perf/peers/build.sh` puts them in the repository `root`.
pub fn peers_directory(root: &Path) -> PathBuf {
    std::env::var_os("FLUX_PEERS_BIN").map_or_else(|| root.join("target/peers/bin"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for contestant in Contestant::value_variants() {
            assert_eq!(contestant.to_possible_value().unwrap().get_name(), contestant.name());
        }
    }

    #[test]
    fn a_peer_that_is_not_built_is_named_with_what_builds_it() {
        let peers = tempfile::tempdir().unwrap();
        let missing = Contestant::Axum.find(peers.path()).unwrap_err();
        assert!(missing.contains("peer-axum") && missing.contains("perf/peers/build.sh"), "{missing}");
        std::fs::write(peers.path().join("peer-axum"), "").unwrap();
        let found = Contestant::Axum.find(peers.path());
        assert_eq!(found, Ok(Source::Peer(peers.path().join("peer-axum"))));
    }

    #[test]
    fn constant_answers_are_no_orders() {
        assert!(!Contestant::Nginx.plays(Scenario::Accepted) && Contestant::Nginx.plays(Scenario::Redirect));
        assert!(Contestant::Go.plays(Scenario::SoldOut) && !Contestant::Go.plays(Scenario::Zipf));
    }

    #[test]
    fn what_is_encrypted_is_held_against_what_is_encrypted() {
        let playing = |scenario| -> Vec<&str> {
            let all = Contestant::value_variants().iter().filter(|one| one.plays(scenario));
            all.map(|contestant| contestant.name()).collect()
        };
        assert_eq!(playing(Scenario::HttpsNew), ["edge-https", "nginx-https", "haproxy-https"]);
        assert_eq!(playing(Scenario::TlsLinks), ["edge", "edge-tls-links"]);
        assert_eq!(playing(Scenario::Accepted), ["edge", "edge-epoll", "edge-earlier", "go", "axum"]);
    }
}
