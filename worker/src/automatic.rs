//! `--rebuild auto`: a sale whose Redis was restarted is rebuilt without being told to.
//!
//! Only where that is certain to be right: the Redis is another process than the one the sale was bound to, it is a
//! master, and every look that anybody took saw no replica, so that no second master can be selling. Edges note a replica
//! in the sale; where the restart has lost that note, too, what this worker has seen since its start must do. Where it
//! cannot be known, nothing is done, and it is said once.
//!
//! Connections of its own: a rebuild waits for long, and nothing waits for it. Several workers may try: the ledger's
//! advisory lock lets one.

use std::collections::BTreeSet;
use std::time::Duration;

use flux_net::sleep;
use flux_protocol::order::Identifier;
use tracing::{debug, info, warn};

use crate::config::{Config, RebuildOrder};
use crate::ledger::Ledger;
use crate::limits::UNITS_INTERVAL;
use crate::rebuild::rebuild;
use crate::redis::{Redis, RedisError, info_field, key, strings, text};
use crate::returns::ReturnsError;

/// The wait that lets every edge forget what it had reserved before: `flux-worker rebuild`'s default.
const FENCE: Duration = Duration::from_secs(15);

/// What this worker has seen of Redis since it started.
#[derive(Debug, Default)]
struct Seen {
    /// The process that was there at the last look.
    run_id: Option<String>,
    /// Another process was there at an earlier look.
    has_seen_another: bool,
    /// Some look saw a replica.
    replica: bool,
    /// Sales by product of which it was said that they are left to the operator.
    left: BTreeSet<String>,
}

/// What Redis says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    run_id: String,
    replid: String,
    is_master: bool,
    has_replica: bool,
}

/// What it says of a sale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    run_id: Option<String>,
    replid: Option<String>,
    had_replica: bool,
}

/// What is to be done about a sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advice {
    /// It is believed, or suspended for another reason than a restart: nothing.
    Nothing,
    /// A rebuild is safe.
    Rebuild,
    /// Whether one is safe cannot be known.
    Operator,
}

impl Seen {
    fn look(&mut self, server: &Server) {
        self.replica |= server.has_replica || !server.is_master;
        self.has_seen_another |= self.run_id.as_ref().is_some_and(|before| *before != server.run_id);
        self.run_id = Some(server.run_id.clone());
    }

    fn advise(&self, server: &Server, held: &Held) -> Advice {
        if !server.is_master {
            return Advice::Nothing;
        }
        match (&held.run_id, &held.replid) {
            (Some(run_id), Some(replid)) => {
                if *run_id == server.run_id || *replid == server.replid {
                    Advice::Nothing
                } else if held.had_replica || self.replica {
                    Advice::Operator
                } else {
                    Advice::Rebuild
                }
            }
            // All of it is gone. Known to be a restart only where this worker has seen the process before.
            _ if self.replica => Advice::Operator,
            _ if self.has_seen_another => Advice::Rebuild,
            _ => Advice::Operator,
        }
    }
}

/// Looks every second. Never ends but where the process has no descriptor left for a timer.
pub async fn run(config: Config) {
    let mut seen = Seen::default();
    let mut servers = None;
    loop {
        if let Err(error) = turn(&config, &mut seen, &mut servers).await {
            debug!(%error, "whether a sale is to be rebuilt cannot be told now");
            servers = None;
        }
        if let Err(error) = sleep(UNITS_INTERVAL).await {
            warn!(%error, "no sale is rebuilt by itself any more");
            return;
        }
    }
}

async fn turn(config: &Config, seen: &mut Seen, servers: &mut Option<(Ledger, Redis)>) -> Result<(), ReturnsError> {
    let (ledger, redis) = match servers {
        Some(servers) => servers,
        none => none.insert((Ledger::connect(&config.postgres).await?, Redis::connect(&config.redis).await?)),
    };
    let server = server(redis).await?;
    seen.look(&server);
    for sale in ledger.units().await?.iter().filter(|units| !units.closed) {
        let held = held(redis, &sale.product_id).await?;
        match seen.advise(&server, &held) {
            Advice::Nothing => drop(seen.left.remove(&sale.product_id)),
            Advice::Operator => {
                if seen.left.insert(sale.product_id.clone()) {
                    warn!(
                        product = sale.product_id,
                        "suspended, and not certain that no replica of its Redis sells: run flux-worker rebuild"
                    );
                }
            }
            Advice::Rebuild => rebuild_one(config, &sale.product_id).await,
        }
    }
    Ok(())
}

async fn rebuild_one(config: &Config, product: &str) {
    let Some(product) = Identifier::new(product.as_bytes()) else { return };
    let order = RebuildOrder { product, fence: FENCE, old_master_is_dead: false, slot_moved: false };
    info!(product = product.as_str(), "its Redis was restarted: rebuilding");
    match rebuild(config, &order).await {
        Ok(line) => info!("{line}"),
        // Another worker may be at it; whatever it was, the next look tells.
        Err(ended) => warn!(product = product.as_str(), "not rebuilt this time: {ended}"),
    }
}

async fn server(redis: &mut Redis) -> Result<Server, RedisError> {
    let server = text(redis.ask(&[b"INFO", b"server"]).await?)?;
    let replication = text(redis.ask(&[b"INFO", b"replication"]).await?)?;
    let field = |of: &str, name: &str| info_field(of, name).unwrap_or_default().to_owned();
    Ok(Server {
        run_id: field(&server, "run_id"),
        replid: field(&replication, "master_replid"),
        is_master: field(&replication, "role") == "master",
        has_replica: field(&replication, "connected_slaves") != "0",
    })
}

async fn held(redis: &mut Redis, product: &str) -> Result<Held, RedisError> {
    let sale = key(product, "sale");
    let values = match redis.ask(&[b"HMGET", sale.as_bytes(), b"run_id", b"replid", b"replica"]).await {
        Ok(frame) => strings(frame)?,
        // Of another type: nobody's note.
        Err(RedisError::Server { kind: flux_protocol::resp::ErrorKind::WrongType, .. }) => return Ok(Held::default()),
        Err(error) => return Err(error),
    };
    let value = |at: usize| values.get(at).filter(|value| !value.is_empty()).cloned();
    Ok(Held { run_id: value(0), replid: value(1), had_replica: value(2).is_some_and(|note| note != "0") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(run_id: &str, replid: &str) -> Server {
        Server { run_id: run_id.into(), replid: replid.into(), is_master: true, has_replica: false }
    }

    fn sale(run_id: &str, replid: &str) -> Held {
        Held { run_id: Some(run_id.into()), replid: Some(replid.into()), had_replica: false }
    }

    #[test]
    fn only_a_restart_without_replicas_is_rebuilt() {
        let mut seen = Seen::default();
        seen.look(&server("new", "b"));
        assert_eq!(seen.advise(&server("new", "b"), &sale("new", "b")), Advice::Nothing, "it is believed");
        assert_eq!(seen.advise(&server("new", "c"), &sale("new", "b")), Advice::Nothing, "no restart");
        assert_eq!(seen.advise(&server("new", "b"), &sale("old", "a")), Advice::Rebuild);
        let noted = Held { had_replica: true, ..sale("old", "a") };
        assert_eq!(seen.advise(&server("new", "b"), &noted), Advice::Operator);
        let replica = Server { is_master: false, ..server("new", "b") };
        assert_eq!(seen.advise(&replica, &sale("old", "a")), Advice::Nothing, "a replica is nobody's to rebuild on");
    }

    #[test]
    fn where_the_note_is_lost_what_was_seen_must_do() {
        let mut seen = Seen::default();
        seen.look(&server("new", "b"));
        assert_eq!(
            seen.advise(&server("new", "b"), &Held::default()),
            Advice::Operator,
            "nobody knows what was before"
        );
        let mut seen = Seen::default();
        seen.look(&server("old", "a"));
        seen.look(&server("new", "b"));
        assert_eq!(seen.advise(&server("new", "b"), &Held::default()), Advice::Rebuild);
        let mut seen = Seen::default();
        seen.look(&Server { has_replica: true, ..server("old", "a") });
        seen.look(&server("new", "b"));
        assert_eq!(seen.advise(&server("new", "b"), &Held::default()), Advice::Operator);
        assert_eq!(seen.advise(&server("new", "b"), &sale("old", "a")), Advice::Operator);
    }
}
