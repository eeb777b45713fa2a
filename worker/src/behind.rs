//! Whether Redis shows an older sale, or an older generation of it, than the ledger: an old master that woke, or a copy that
//! was put back. Sale ids and generations only ever rise, so nothing that such a Redis says of the sale is to be believed.
//!
//! Said loudly and counted; changes nothing. A rebuild makes the ledger the later one for a moment, so one look is none.

use std::collections::BTreeMap;

use tracing::{error, info};

use crate::ledger::Units;

/// Looks in a row after which it is said.
const LOOKS_MIN: u64 = 2;

/// How often in a row each product was seen behind; those that are not, are not here.
#[derive(Debug, Default)]
pub struct Behind {
    looks: BTreeMap<String, u64>,
}

/// Whether `held`, a sale's id and generation in Redis, is older than the ledger's. No sale at all is another matter: it is
/// suspended, and its edges say so.
fn is_older(units: &Units, held: (u64, u32)) -> bool {
    held < (units.sale_id, units.generation)
}

impl Behind {
    /// A look: what Redis holds of the product, `None` where that is no sale. Whether it is to be called behind.
    pub fn look(&mut self, units: &Units, held: Option<(u64, u32)>) -> bool {
        let Some(held) = held.filter(|held| is_older(units, *held)) else {
            if self.looks.remove(&units.product_id).is_some_and(|looks| looks >= LOOKS_MIN) {
                info!(product = units.product_id, "Redis is behind the ledger no more");
            }
            return false;
        };
        let looks = self.looks.entry(units.product_id.clone()).or_default();
        *looks += 1;
        // Then ever more rarely: it may last for hours.
        if *looks >= LOOKS_MIN && looks.is_power_of_two() {
            error!(
                product = units.product_id,
                ledger_sale = units.sale_id,
                ledger_generation = units.generation,
                redis_sale = held.0,
                redis_generation = held.1,
                looks = *looks,
                "Redis shows an older sale than the ledger: an old master that woke, or a copy that was put back; whatever is \
                 sold from it may be rejected: take it away, or run flux-worker rebuild where it is the only one"
            );
        }
        *looks >= LOOKS_MIN
    }

    /// Forgets products that the ledger does not name any more.
    pub fn keep(&mut self, units: &[Units]) {
        self.looks.retain(|product, _| units.iter().any(|units| units.product_id == *product));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(sale_id: u64, generation: u32) -> Units {
        Units::unsold("p", sale_id, generation)
    }

    #[test]
    fn an_older_sale_or_generation_seen_twice_is_behind_and_nothing_else_is() {
        let mut behind = Behind::default();
        let ledger = units(7, 2);
        for older in [(7, 1), (6, 9)] {
            assert!(!behind.look(&ledger, Some(older)), "a rebuild under way looks so for a moment");
            assert!(behind.look(&ledger, Some(older)) && behind.look(&ledger, Some(older)), "{older:?}");
            for other in [None, Some((7, 2)), Some((7, 3)), Some((8, 1))] {
                assert!(!behind.look(&ledger, other), "{other:?}");
                assert!(!behind.look(&ledger, Some(older)), "counted anew");
            }
            assert!(!behind.look(&ledger, None));
        }
    }

    #[test]
    fn nothing_is_kept_of_products_that_are_gone() {
        let mut behind = Behind::default();
        behind.look(&units(7, 2), Some((7, 1)));
        behind.keep(&[]);
        assert!(behind.looks.is_empty());
    }
}
