//! Who is measured: our edge on either driver, and the peers beside it, which `perf/peers/build.sh` builds.
//!
//! Never judges: a contestant that is not on disk is named as missing, and left out.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use super::scenario::Scenario;
use crate::programs;
use crate::servers::find_in_path;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    /// flux-edge on io_uring.
    Edge,
    /// flux-edge on epoll.
    EdgeEpoll,
    /// Go: net/http, rueidis, franz-go.
    Go,
    /// Rust: axum, fred, rdkafka.
    Axum,
    /// nginx with constant answers.
    Nginx,
    /// monoio with constant answers: what the runtime alone costs.
    Monoio,
}

/// What a contestant is started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Our edge.
    Edge,
    /// A peer's program.
    Peer(PathBuf),
    /// nginx, and the template of its configuration.
    Nginx {
        /// The program.
        program: PathBuf,
        /// `nginx.conf.template`.
        template: PathBuf,
    },
}

impl Contestant {
    /// As it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Contestant::Edge => "edge",
            Contestant::EdgeEpoll => "edge-epoll",
            Contestant::Go => "go",
            Contestant::Axum => "axum",
            Contestant::Nginx => "nginx",
            Contestant::Monoio => "monoio",
        }
    }

    /// Whether it is our edge.
    pub fn is_ours(self) -> bool {
        matches!(self, Contestant::Edge | Contestant::EdgeEpoll)
    }

    /// Whether its answers are constant, without Redis and Kafka.
    pub fn is_constant(self) -> bool {
        matches!(self, Contestant::Nginx | Contestant::Monoio)
    }

    /// Whether it takes part in `scenario`.
    pub fn plays(self, scenario: Scenario) -> bool {
        match scenario {
            Scenario::Accepted | Scenario::Replay | Scenario::SoldOut => !self.is_constant(),
            Scenario::Redirect | Scenario::Stock | Scenario::Pipelined | Scenario::Idle => true,
            Scenario::Zipf | Scenario::OneProduct => self.is_ours(),
            Scenario::Worker => false,
        }
    }

    /// What it is started from; `root` is the repository.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn find(self, root: &Path) -> Result<Source, String> {
        let peer = |name: &str| {
            let path = root.join("perf/peers/target/bin").join(name);
            if path.is_file() {
                Ok(Source::Peer(path))
            } else {
                Err(format!("{name} is not built (perf/peers/build.sh)"))
            }
        };
        match self {
            Contestant::Edge | Contestant::EdgeEpoll => {
                programs::edge_binary().map(|_| Source::Edge).map_err(|error| error.to_string())
            }
            Contestant::Go => peer("flux-peer-go"),
            Contestant::Axum => peer("flux-peer-axum"),
            Contestant::Monoio => peer("flux-peer-monoio"),
            Contestant::Nginx => {
                let template = root.join("perf/peers/nginx/nginx.conf.template");
                // Debian keeps it out of a plain user's PATH.
                let debian = || Some(PathBuf::from("/usr/sbin/nginx")).filter(|path| path.is_file());
                let Some(program) = find_in_path("nginx").or_else(debian) else {
                    return Err("nginx is not installed (sudo apt-get install nginx)".to_owned());
                };
                if template.is_file() {
                    Ok(Source::Nginx { program, template })
                } else {
                    Err("perf/peers/nginx/nginx.conf.template is not there".to_owned())
                }
            }
        }
    }
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
        let empty = tempfile::tempdir().unwrap();
        let missing = Contestant::Axum.find(empty.path()).unwrap_err();
        assert!(missing.contains("flux-peer-axum") && missing.contains("perf/peers/build.sh"), "{missing}");
        let directory = empty.path().join("perf/peers/target/bin");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("flux-peer-axum"), "").unwrap();
        let found = Contestant::Axum.find(empty.path());
        assert_eq!(found, Ok(Source::Peer(directory.join("flux-peer-axum"))));
    }

    #[test]
    fn constant_answers_are_no_orders() {
        assert!(!Contestant::Nginx.plays(Scenario::Accepted) && Contestant::Nginx.plays(Scenario::Redirect));
        assert!(Contestant::Go.plays(Scenario::SoldOut) && !Contestant::Go.plays(Scenario::Zipf));
    }
}
