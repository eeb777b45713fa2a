//! `--rebuild auto`: a sale whose Redis was restarted is rebuilt without being told to.
//!
//! Only where that is certain to be right: the Redis is another process than the one the sale was bound to, it is a
//! master, and no look of an edge or of this worker saw a replica, so that no second master can be selling. Edges note
//! a replica in the sale; where the restart has lost that note, too, what this worker has seen since its start must do.
//! A rebuild that ended before its end is begun again. Where it cannot be known, or where the rebuild itself wants a word of an
//! operator, nothing is done, and it is said once.
//! Closed sales, which sell nothing, are left to the operator.
//!
//! Connections of its own: a rebuild waits for long, and nothing waits for it. Several workers may try: the ledger's
//! advisory lock lets one, and the others find another sale than they had seen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use flux_net::sleep;
use flux_protocol::order::Identifier;
use tracing::{debug, error, info, warn};

use crate::config::{Config, RebuildOrder};
use crate::ledger::{Ledger, Units};
use crate::limits::{COMPARED_MAX, COMPARED_PAGE, FENCE_MIN, REBUILDS_TOGETHER_MAX, UNITS_INTERVAL};
use crate::oneshot::Ended;
use crate::rebuild::{SaleView, Server, rebuild_as_seen};
use crate::redis::Redis;
use crate::repeated::Repeated;
use crate::returns::ReturnsError;
use crate::rota::Rota;

/// What this worker has seen of Redis since it started.
#[derive(Debug, Default)]
struct Seen {
    /// Some look saw a replica.
    replica: bool,
    /// The process that was there at the last look.
    process: Option<String>,
    /// Another process was there at an earlier look.
    has_seen_another: bool,
    /// What it said of itself when all sales were looked at.
    looked_at: Option<Server>,
    /// The process that each product's sale was last bound to.
    bound_to: BTreeMap<String, String>,
    /// Products of which it was said that they are left to the operator.
    left: BTreeSet<String>,
    /// By product what Redis held of it when a rebuild wanted a word of the operator: left to them while it does.
    undecided: BTreeMap<String, SaleView>,
    /// By product why it was not rebuilt the last time.
    refused: BTreeMap<String, Repeated>,
}

/// What is to be done about a sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advice {
    /// It is believed, or suspended for another reason than what has become of its Redis: nothing.
    Nothing,
    /// A rebuild is safe.
    Rebuild,
    /// Whether one is safe cannot be known.
    Operator,
}

impl Seen {
    fn look(&mut self, server: &Server) {
        self.replica |= server.has_replica || !server.is_master;
        let before = self.process.replace(server.run_id.clone());
        self.has_seen_another |= before.is_some_and(|before| before != server.run_id);
    }

    /// Whether nothing has befallen it since all of its sales were looked at.
    fn is_as_before(&self, server: &Server) -> bool {
        self.looked_at.as_ref() == Some(server)
    }

    /// Whether it was said that only an operator knows how to go on with what Redis still holds of the product.
    fn is_undecided(&self, product: &str, view: &SaleView) -> bool {
        self.undecided.get(product) == Some(view)
    }

    /// There is nothing to be done about it: what was said of it is over.
    fn forget(&mut self, product: &str) {
        self.left.remove(product);
        self.undecided.remove(product);
        self.refused.remove(product);
    }

    /// What a rebuild of the product came to, begun when Redis held `view` of it.
    fn note(&mut self, product: &str, view: &SaleView, outcome: Result<Option<String>, Ended>) {
        let ended = match outcome {
            Ok(line) => {
                self.forget(product);
                return match line {
                    Some(line) => info!("{line}"),
                    None => debug!(product, "another rebuild is under way"),
                };
            }
            Err(ended) => ended,
        };
        let reason = ended.to_string();
        if let Ended::Undecided(_) = ended {
            self.undecided.insert(product.to_owned(), view.clone());
            self.refused.remove(product);
            error!(product, "not rebuilt, and left to the operator: {reason}");
        } else if self.refused.entry(product.to_owned()).or_default().is_due(reason) {
            // The next look tells whether it is still to be done.
            warn!(product, "not rebuilt; tried again: {ended}");
        }
    }

    /// Forgets products that the ledger does not name as open any more.
    fn keep(&mut self, open: &[Units]) {
        let named: BTreeSet<&str> = open.iter().map(|units| units.product_id.as_str()).collect();
        self.undecided.retain(|product, _| named.contains(product.as_str()));
        self.refused.retain(|product, _| named.contains(product.as_str()));
        self.left.retain(|product| named.contains(product.as_str()));
        self.bound_to.retain(|product, _| named.contains(product.as_str()));
    }

    /// All of its sales were looked at, or were before and nothing has befallen it since.
    fn looked_at_all_of(&mut self, server: Server) {
        self.looked_at = Some(server);
    }

    fn advise(&mut self, server: &Server, product: &str, view: &SaleView) -> Advice {
        if !server.is_master {
            return Advice::Nothing;
        }
        let is_safe = match (&view.run_id, &view.replid) {
            (Some(run_id), Some(replid)) => {
                self.bound_to.insert(product.to_owned(), run_id.clone());
                if *replid != server.replid {
                    // The same process under another history was a replica meanwhile.
                    *run_id != server.run_id
                } else if view.is_rebuilding {
                    true
                } else {
                    return Advice::Nothing;
                }
            }
            // All of it is gone: with the process, or by an operator's hand.
            _ => match self.bound_to.get(product) {
                Some(run_id) => *run_id != server.run_id,
                // Opened just before it was lost.
                None => self.has_seen_another,
            },
        };
        if is_safe && !view.had_replica && !self.replica { Advice::Rebuild } else { Advice::Operator }
    }
}

/// Looks every second. Never ends but where the process has no descriptor left for a timer.
pub async fn run(config: Config) {
    let (mut seen, mut rota) = (Seen::default(), Rota::default());
    let (mut servers, mut failing) = (None, Repeated::default());
    loop {
        match turn(&config, &mut seen, &mut rota, &mut servers).await {
            Ok(()) => {
                if failing.is_over() {
                    info!("sales are looked at again, and rebuilt where they have to be");
                }
            }
            Err(error) => {
                if failing.is_due(error.to_string()) {
                    warn!(%error, "no sale is rebuilt by itself for now");
                }
                servers = None;
            }
        }
        if let Err(error) = sleep(UNITS_INTERVAL).await {
            warn!(%error, "no sale is rebuilt by itself any more");
            return;
        }
    }
}

async fn turn(
    config: &Config,
    seen: &mut Seen,
    rota: &mut Rota,
    servers: &mut Option<(Ledger, Redis)>,
) -> Result<(), ReturnsError> {
    let (ledger, redis) = match servers {
        Some(servers) => servers,
        none => none.insert((Ledger::connect(&config.postgres).await?, Redis::connect(&config.redis).await?)),
    };
    let server = Server::ask(redis).await?;
    seen.look(&server);
    let mut due = Vec::new();
    let mut open = ledger.units().await?;
    open.retain(|units| !units.closed);
    seen.keep(&open);
    // Whatever befalls a Redis shows in what it says of itself; beside that sales are looked at in their turn.
    let places_max = if seen.is_as_before(&server) { COMPARED_MAX } else { open.len() };
    let sold: BTreeMap<&str, u64> = open.iter().map(|units| (units.product_id.as_str(), units.stored)).collect();
    let products: Vec<&str> = rota.turn(&open, places_max).into_iter().map(|at| open[at].product_id.as_str()).collect();
    let mut all = Vec::with_capacity(products.len());
    for page in products.chunks(COMPARED_PAGE) {
        all.extend(SaleView::ask_page(redis, page).await?);
    }
    for (product, view) in products.into_iter().zip(all) {
        if view.other_topic(&config.topic).is_some() {
            continue;
        }
        match seen.advise(&server, product, &view) {
            Advice::Nothing => seen.forget(product),
            Advice::Operator => {
                if seen.left.insert(product.to_owned()) {
                    warn!(
                        product,
                        "suspended, and not certain that nobody else sells or that it was lost by a restart: run \
                         flux-worker rebuild"
                    );
                }
            }
            Advice::Rebuild if seen.is_undecided(product, &view) => {}
            Advice::Rebuild => {
                if let Some(product) = Identifier::new(product.as_bytes()) {
                    due.push((RebuildOrder::new(product, FENCE_MIN), view));
                }
            }
        }
    }
    // Those that sell first. Where there are more than are locked together, all are looked at again behind these.
    due.sort_by_key(|(order, _)| Reverse(sold.get(order.product.as_str()).copied().unwrap_or(0)));
    if due.len() > REBUILDS_TOGETHER_MAX {
        due.truncate(REBUILDS_TOGETHER_MAX);
    } else {
        seen.looked_at_all_of(server);
    }
    if !due.is_empty() {
        debug!(sales = due.len(), "their Redis was restarted, or a rebuild did not end: rebuilding");
        let outcomes = rebuild_as_seen(config, &due).await;
        for ((order, view), outcome) in due.iter().zip(outcomes) {
            seen.note(order.product.as_str(), view, outcome);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCT: &str = "phone";

    fn server(run_id: &str, replid: &str) -> Server {
        Server {
            run_id: run_id.into(),
            replid: replid.into(),
            is_master: true,
            has_replica: false,
            is_cluster: false,
            stands_alone: true,
        }
    }

    fn sale(run_id: &str, replid: &str) -> SaleView {
        SaleView { run_id: Some(run_id.into()), replid: Some(replid.into()), ..SaleView::default() }
    }

    /// A worker that sees `server` and then `view`.
    fn advise(seen: &mut Seen, server: &Server, view: &SaleView) -> Advice {
        seen.look(server);
        seen.advise(server, PRODUCT, view)
    }

    #[test]
    fn only_a_restart_without_replicas_is_rebuilt() {
        let seen = &mut Seen::default();
        let new = server("new", "b");
        assert_eq!(advise(seen, &new, &sale("new", "b")), Advice::Nothing, "it is believed");
        assert_eq!(advise(seen, &server("new", "c"), &sale("new", "b")), Advice::Operator, "a replica meanwhile");
        assert_eq!(advise(seen, &new, &sale("old", "a")), Advice::Rebuild);
        let noted = SaleView { had_replica: true, ..sale("old", "a") };
        assert_eq!(advise(seen, &new, &noted), Advice::Operator);
        let replica = Server { is_master: false, ..server("new", "b") };
        assert_eq!(advise(seen, &replica, &sale("old", "a")), Advice::Nothing, "a replica is nobody's to rebuild on");
        assert_eq!(advise(seen, &new, &sale("old", "a")), Advice::Operator, "it may be one again");
    }

    #[test]
    fn a_rebuild_that_did_not_end_is_begun_again() {
        let begun = SaleView { is_rebuilding: true, ..sale("new", "b") };
        assert_eq!(advise(&mut Seen::default(), &server("new", "b"), &begun), Advice::Rebuild);
        let noted = SaleView { had_replica: true, ..begun };
        assert_eq!(advise(&mut Seen::default(), &server("new", "b"), &noted), Advice::Operator);
    }

    #[test]
    fn what_only_an_operator_knows_is_asked_once_and_not_tried_again_before_something_has_changed() {
        let (seen, lost) = (&mut Seen::default(), SaleView::default());
        seen.note(PRODUCT, &lost, Err(Ended::Refused("no worker stores it".into())));
        assert!(!seen.is_undecided(PRODUCT, &lost), "that may mend itself");
        seen.note(PRODUCT, &lost, Err(Ended::Undecided("say which".into())));
        assert!(seen.is_undecided(PRODUCT, &lost));
        assert!(!seen.is_undecided(PRODUCT, &sale("old", "a")), "Redis holds something else now");
        assert!(!seen.is_undecided("another", &lost));
        seen.keep(&[]);
        assert!(!seen.is_undecided(PRODUCT, &lost) && seen.refused.is_empty(), "nothing is kept of what is gone");
    }

    #[test]
    fn where_the_note_is_lost_what_was_seen_must_do() {
        let (old, new, lost) = (server("old", "a"), server("new", "b"), SaleView::default());
        assert_eq!(advise(&mut Seen::default(), &new, &lost), Advice::Operator, "nobody knows what was before");

        let seen = &mut Seen::default();
        assert_eq!(advise(seen, &old, &sale("old", "a")), Advice::Nothing);
        assert_eq!(advise(seen, &old, &lost), Advice::Operator, "no restart: deleted by hand");
        assert_eq!(advise(seen, &new, &lost), Advice::Rebuild);
        assert_eq!(seen.advise(&new, "another", &lost), Advice::Rebuild, "opened and lost between two looks");
        assert_eq!(advise(seen, &new, &sale("new", "b")), Advice::Nothing, "rebuilt");
        assert_eq!(advise(seen, &new, &lost), Advice::Operator, "deleted by hand, after a restart");

        let seen = &mut Seen::default();
        let copied = Server { has_replica: true, ..old };
        assert_eq!(advise(seen, &copied, &sale("old", "a")), Advice::Nothing);
        assert_eq!(advise(seen, &new, &lost), Advice::Operator);
        assert_eq!(advise(seen, &new, &sale("old", "a")), Advice::Operator);
    }
}
