//! Isolated real servers on loopback: free ports, their own temporary directory, nothing left behind.
//!
//! Never touches a server that was running before, nor a default port.

pub mod balancer;
pub mod kafka;
pub mod kafka_rights;
pub mod postgres;
pub mod redis;

use std::ffi::OsStr;
use std::path::PathBuf;

pub use balancer::{Balancer, Kind};
pub use kafka::{Jvm, Kafka, KafkaLogins, KafkaOptions, Side};
pub use kafka_rights::KafkaRight;
pub use postgres::{Postgres, PostgresOptions};
pub use redis::{Redis, RedisOptions};

use crate::error::LabError;

/// Whether all three can be started here: what is missing is found before anybody waits.
///
/// # Errors
/// Where one is missing; the text has a line for each.
pub fn check_installed() -> Result<(), LabError> {
    let missing = [redis::check_installed(), kafka::check_installed(), postgres::check_installed()];
    let missing: Vec<String> = missing.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    if missing.is_empty() { Ok(()) } else { Err(LabError::Failed(missing.join("\n"))) }
}

/// How a server speaks TLS, beside its plain listener.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// Its certificate with intermediates, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM (PKCS #8).
    pub key: PathBuf,
    /// Whose clients it takes: they must show a certificate of this issuer (PEM); `None`: it asks for none.
    pub clients: Option<PathBuf>,
}

/// What a restart does with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// It comes back with what it held.
    Keep,
    /// It comes back empty.
    Lose,
}

/// The first directory of `PATH` that holds an executable called `name`.
pub fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate.as_os_str()))
}

fn is_executable(path: &OsStr) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
