//! What edges and the ledger believe of a sale, looked at again and again: its id and generation never go back at any of them,
//! whatever a Redis says that has slept or was put back.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use crate::edge::Edge;
use crate::postgres::Postgres;

/// Who believes it: a core of an edge's process, or the ledger.
type Who = String;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Observers {
    /// Sale id and generation as they were last seen, by product.
    seen: BTreeMap<(Who, String), (u64, u32)>,
    /// What went back, in words.
    pub(super) retreats: Vec<String>,
}

impl Observers {
    /// Looks at everybody.
    pub(super) fn look(&mut self, now_us: u64, edges: &[Edge], postgres: &Postgres) {
        for (place, edge) in edges.iter().enumerate() {
            for (core, counters) in edge.counters.iter().enumerate() {
                let products = counters.decisions.products.lock().unwrap_or_else(PoisonError::into_inner);
                for gauge in products.iter() {
                    if let Some(sale) = gauge.sale {
                        let who = format!("core {core} of edge {place} ({:?})", edge.process);
                        self.note(now_us, who, gauge.name.as_str(), (sale.id, sale.generation));
                    }
                }
            }
        }
        let mut latest: BTreeMap<&str, (u64, u32)> = BTreeMap::new();
        for row in postgres.sales() {
            let known = latest.entry(row.product_id.as_str()).or_default();
            *known = (*known).max((row.sale_id as u64, row.generation as u32));
        }
        latest.into_iter().for_each(|(product, sale)| self.note(now_us, "the ledger".to_owned(), product, sale));
    }

    fn note(&mut self, now_us: u64, who: Who, product: &str, sale: (u64, u32)) {
        let believes = format!("{who} believes of {product}");
        if let Some(before) = self.seen.insert((who, product.to_owned()), sale).filter(|before| sale < *before) {
            let at = Duration::from_micros(now_us);
            let what = format!("went back: {believes} sale and generation {sale:?} at {at:?}, {before:?} before");
            self.retreats.push(what);
        }
    }
}
