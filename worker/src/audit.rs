//! `flux-worker audit`: the conservation account over Redis, topic and PostgreSQL.

use std::process::ExitCode;

use flux_protocol::order::Identifier;

use crate::config::Config;

/// Prints the account of each sale. Exit code 0: it holds; 1: it does not; 3: a server was out of reach for 30 s.
pub async fn run(_config: &Config, _product: Option<&Identifier>) -> ExitCode {
    eprintln!("flux-worker: audit is not part of this build");
    ExitCode::FAILURE
}
