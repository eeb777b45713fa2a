//! `flux-worker rebuild`: proves a suspended sale's stock from the ledger and opens it again.

use std::process::ExitCode;

use crate::config::{Config, RebuildOrder};

/// Rebuilds one sale. Exit code 0: done; 1: refused; 3: a server was out of reach for 30 s.
pub async fn run(_config: &Config, _order: &RebuildOrder) -> ExitCode {
    eprintln!("flux-worker: rebuild is not part of this build");
    ExitCode::FAILURE
}
