//! The index by which a sale's orders are found: built beside a worker that stores, however large the table has grown.
//!
//! No migration: those run in one transaction, under the limits of a worker's statements, and a plain CREATE INDEX lets
//! no worker store while it runs. This one is built CONCURRENTLY, on a connection without limits: storing goes on, and
//! the build waits for transactions that are storing. One worker builds; what is left of a build that was cut off is
//! dropped and begun anew. Until it is there, a rebuild works as well and reads the whole table instead.

use flux_protocol::postgres::{Param, SessionOptions, StatementLimit};
use tracing::{info, warn};

use super::{Ledger, LedgerError, LedgerTarget};
use crate::limits::INDEX_RETRY_WAIT;

/// Key of the advisory lock: "flux" in ASCII, then 2 for the index.
const LOCK: i64 = 0x666c_7578_0000_0002;

/// Orders of a sale lie together, for they are stored as they come; so it is enough to keep, for each run of 64 pages, which
/// sales it holds (up to 32 of them exactly). Some 15 kB for a million orders, and 5 % of the rate of COPY, where a B-tree of
/// (product_id, sale_id) takes 23 % and one of sale_id 11 %.
const CREATE: &str = "CREATE INDEX CONCURRENTLY orders_by_sale ON orders USING brin (sale_id int8_minmax_multi_ops) WITH \
                      (pages_per_range = 64, autosummarize = on)";

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    There,
    /// It was built just now.
    Built,
    /// Another worker builds it.
    Elsewhere,
}

/// Sees to it that the index is there; tries again for as long as that may help.
pub async fn keep(target: LedgerTarget) {
    loop {
        match build(&target).await {
            Ok(Index::There) => return,
            Ok(Index::Built) => return info!("the orders' index by sale is built"),
            Ok(Index::Elsewhere) => {}
            Err(error) if error.is_retryable() => warn!(%error, "the orders' index by sale is not built yet"),
            Err(error) => {
                return warn!(
                    %error,
                    "the orders' index by sale cannot be built: a rebuild reads the whole table; build it by hand: {CREATE}"
                );
            }
        }
        if flux_net::sleep(INDEX_RETRY_WAIT).await.is_err() {
            return;
        }
    }
}

/// Builds it where it is missing.
///
/// # Errors
/// [`LedgerError`]: it is not there, or not of use; to be begun again.
pub async fn build(target: impl Into<LedgerTarget>) -> Result<Index, LedgerError> {
    let options = SessionOptions {
        application_name: "flux-worker-index".to_owned(),
        statement: StatementLimit::None,
        lock_timeout: std::time::Duration::ZERO,
        ..SessionOptions::default()
    };
    let mut ledger = Ledger::connect_pinned(target, options).await?;
    if state(&mut ledger).await? == Some(true) {
        return Ok(Index::There);
    }
    let rows = ledger.query("SELECT pg_try_advisory_lock($1)", &[Param::I64(LOCK)]).await?;
    if rows.first().and_then(|row| row.text(0)) != Some("t") {
        return Ok(Index::Elsewhere);
    }
    // Again, under the lock: no other worker builds now.
    match state(&mut ledger).await? {
        Some(true) => return Ok(Index::There),
        Some(false) => ledger.text("DROP INDEX CONCURRENTLY orders_by_sale").await?,
        None => {}
    }
    info!(
        "building the orders' index by sale, beside everything else (pg_stat_progress_create_index shows how far it is)"
    );
    ledger.text(CREATE).await?;
    Ok(Index::Built)
}

/// Whether it can be used; `None`: it is not there.
async fn state(ledger: &mut Ledger) -> Result<Option<bool>, LedgerError> {
    let sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('orders_by_sale')";
    let rows = ledger.query(sql, &[]).await?;
    Ok(rows.first().map(|row| row.text(0) == Some("t")))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use flux_net::{DriverChoice, Runtime, RuntimeOptions};
    use flux_protocol::postgres::PostgresConfig;

    use super::*;

    /// The parameters of the first message that a client sends, whose connection then ends (PostgreSQL's protocol, StartupMessage:
    /// length, version, and names and values that each end with a zero byte).
    fn asked(listener: &TcpListener) -> Vec<String> {
        let (mut client, _) = listener.accept().expect("a connection");
        let mut length = [0; 4];
        client.read_exact(&mut length).expect("a length");
        let mut message = vec![0; u32::from_be_bytes(length) as usize - length.len()];
        client.read_exact(&mut message).expect("as long as it said");
        message[4..].split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    /// An index of a large table takes hours, and waits for whoever stores.
    #[test]
    fn a_build_may_take_as_long_as_it_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let config = PostgresConfig::parse(&format!("postgres://flux@127.0.0.1:{port}/flux?sslmode=disable"));
        let server = std::thread::spawn(move || asked(&listener));
        let options = RuntimeOptions { driver: DriverChoice::Auto, monoio_timers: false };
        let mut runtime = Runtime::build(options).expect("a runtime");
        let outcome = runtime.block_on(build(&config.expect("an address")));
        assert!(outcome.is_err_and(|error| error.is_retryable()), "its server has gone");
        let words = server.join().expect("it was asked");
        let value = |name: &str| words.iter().position(|word| word == name).map(|at| words[at + 1].as_str());
        assert_eq!([value("statement_timeout"), value("lock_timeout")], [Some("0"); 2]);
    }
}
