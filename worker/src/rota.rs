//! Whose turn it is to be compared: so many products a second, whatever their number. Pure.
//!
//! Those of which the ledger has something new come first, up to half of the places, and all others in their turn; so a sale
//! that sells is looked at about every second among thousands that do not, and none of them waits for ever.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::Units;

/// See the module.
#[derive(Debug, Default)]
pub struct Rota {
    /// What the ledger said of each product when it was last its turn.
    seen: BTreeMap<String, Units>,
    /// All up to this product have had their turn among those with news, and among all.
    behind: [Option<String>; 2],
}

impl Rota {
    /// The places in `units` whose turn it is, ascending: at most `places_max` of them. Their turn is then taken.
    pub fn turn(&mut self, units: &[Units], places_max: usize) -> Vec<usize> {
        let names: BTreeSet<&str> = units.iter().map(|units| units.product_id.as_str()).collect();
        self.seen.retain(|product, _| names.contains(product.as_str()));
        let mut chosen = BTreeSet::new();
        for (round, places) in [(0, places_max / 2), (1, places_max)] {
            let is_news = |units: &Units| self.seen.get(&units.product_id) != Some(units);
            for at in round_from(units, self.behind[round].as_deref()) {
                if chosen.len() >= places {
                    break;
                }
                if (round == 1 || is_news(&units[at])) && chosen.insert(at) {
                    self.behind[round] = Some(units[at].product_id.clone());
                }
            }
        }
        for at in &chosen {
            self.seen.insert(units[*at].product_id.clone(), units[*at].clone());
        }
        chosen.into_iter().collect()
    }
}

/// Every place once, beginning behind the product of this name.
fn round_from(units: &[Units], behind: Option<&str>) -> impl Iterator<Item = usize> + use<> {
    let found = behind.and_then(|name| units.iter().position(|units| units.product_id == name));
    let (from, count) = (found.map_or(0, |at| at + 1), units.len());
    (0..count).map(move |step| (from + step) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(products: std::ops::Range<usize>) -> Vec<Units> {
        let of = |n| Units::unsold(&format!("p{n:05}"), 1, 1);
        products.map(of).collect()
    }

    #[test]
    fn a_few_are_all_compared_every_time() {
        let (mut rota, units) = (Rota::default(), units(0..7));
        for _ in 0..3 {
            assert_eq!(rota.turn(&units, 10), (0..7).collect::<Vec<_>>());
        }
        assert!(rota.turn(&[], 10).is_empty() && rota.seen.is_empty());
    }

    #[test]
    fn each_of_thousands_comes_to_its_turn_and_none_twice_before() {
        let (mut rota, units) = (Rota::default(), units(0..5000));
        rota.seen = units.iter().map(|units| (units.product_id.clone(), units.clone())).collect();
        let mut turns = vec![0; 5000];
        for turn in 0..20 {
            let chosen = rota.turn(&units, 500);
            assert_eq!(chosen.len(), 500, "turn {turn}");
            chosen.iter().for_each(|at| turns[*at] += 1);
        }
        assert!(turns.iter().all(|times| *times == 2));
    }

    #[test]
    fn what_sells_is_compared_every_time_and_keeps_nothing_waiting() {
        let (mut rota, mut units) = (Rota::default(), units(0..1000));
        let mut waited = vec![0; 1000];
        for turn in 0..100 {
            for at in [3, 999] {
                units[at].stored += 1;
            }
            let chosen = rota.turn(&units, 100);
            assert!(chosen.len() <= 100);
            waited.iter_mut().for_each(|turns| *turns += 1);
            chosen.iter().for_each(|at| waited[*at] = 0);
            // At first all are news.
            assert!(turn < 20 || (waited[3] == 0 && waited[999] == 0), "turn {turn}");
            assert!(waited.iter().all(|turns| *turns <= 20), "turn {turn}");
        }
        // Even where everything sells.
        for _ in 0..40 {
            units.iter_mut().for_each(|units| units.stored += 1);
            let chosen = rota.turn(&units, 100);
            waited.iter_mut().for_each(|turns| *turns += 1);
            chosen.iter().for_each(|at| waited[*at] = 0);
            assert!(waited.iter().all(|turns| *turns <= 21));
        }
    }

    #[test]
    fn products_that_come_and_go_lose_nobody_their_turn() {
        let mut rota = Rota::default();
        rota.turn(&units(0..30), 10);
        let chosen = rota.turn(&units(25..60), 10);
        assert_eq!(chosen.len(), 10);
        let mut turns: BTreeSet<usize> = chosen.into_iter().collect();
        for _ in 0..7 {
            turns.extend(rota.turn(&units(25..60), 10));
        }
        assert_eq!(turns.len(), 35);
    }
}
