//! While a sale is remembered as sold out, or is closed, and for orders whose place in line is used up: one question
//! (`lua/replay_lookup.lua`) for many orders instead of `reserve.lua`, which costs Redis four times as much.
//!
//! A repeat of an accepted order must get its first answer even then; `reserve.lua` gives it, once a record is found.
//! An order without a record is told 409 for good, so the script proves first that this is the Redis that opened the
//! sale, that its records are all there, and that nothing is for sale.

use flux_protocol::resp::Reply;
use flux_protocol::time::{Instant, Now};

use crate::answer::{Answer, Unavailable};
use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::state::lookups::LookupIndex;
use crate::core::state::orders::{OrderIndex, Turn};
use crate::core::state::product_index::ProductIndex;
use crate::core::state::wakes::Wake;
use crate::redis::work::Work;
use crate::sale::SaleState;

impl Core {
    /// Asks for the records of the orders that wait; whether there were any.
    pub(crate) fn write_lookup(&mut self, now: Now) -> bool {
        if !self.lookups.wants_call(self.redis.outstanding(Work::Lookup)) {
            return false;
        }
        let (products, orders, lookups) = (&self.products, &self.orders, &mut self.lookups);
        self.redis.call_script_if(now.instant, |out| {
            lookups.seal(now.instant, products, orders, out).map(PendingCall::Lookup)
        })
    }

    /// Which orders have records. No reply: the connection is gone, and nothing was reserved.
    pub(crate) fn handle_looked_up(&mut self, now: Now, index: LookupIndex, reply: Option<Reply<'_>>) {
        let mut items = self.refusals.items_of(&self.counters, reply);
        let lookup = self.lookups.take(index);
        let mut orders = &lookup.orders[..];
        for (product, count) in &lookup.groups {
            let (of_sale, others) = orders.split_at(*count);
            orders = others;
            let found = items.as_mut().and_then(|items| items.next_bulk());
            self.handle_records(now, *product, of_sale, found);
        }
        self.lookups.recycle(index, lookup);
    }

    /// What was found for orders of one sale; `None`: nothing that can be read.
    fn handle_records(&mut self, now: Now, product: ProductIndex, orders: &[OrderIndex], found: Option<&[u8]>) {
        let refusal = match found {
            Some(b"S" | b"U") => {
                self.products[product].state = SaleState::Suspended;
                self.refreshes.want(&mut self.products, product);
                Some(Unavailable::Suspended)
            }
            // Of another sale by now: the script tells each what to do.
            Some(b"N") => {
                orders.iter().for_each(|order| self.reserve_after_token(now, *order));
                return;
            }
            Some(numbers) if is_readable(numbers, orders.len()) => None,
            Some(_) | None => Some(Unavailable::Redis),
        };
        if let Some(refusal) = refusal {
            orders.iter().for_each(|order| self.respond(now, *order, Answer::Unavailable(refusal)));
            return;
        }
        let mut numbers = Numbers(found.unwrap_or_default()).flatten().peekable();
        let units = numbers.next().unwrap_or_default();
        if units > 0 {
            // Units came back: what was remembered is not true any more.
            let product = &mut self.products[product];
            (product.sold_out_until, product.stock) = (Instant::default(), units);
        }
        for (place, order) in orders.iter().enumerate() {
            if numbers.next_if_eq(&(place as u64 + 1)).is_some() {
                self.reserve_after_token(now, *order);
            } else {
                self.answer_unrecorded(now, *order, units);
            }
        }
    }

    /// An order that is none of those that were accepted: its place in line is used up, or so many units are left for it.
    fn answer_unrecorded(&mut self, now: Now, index: OrderIndex, units: u64) {
        let Some((product, turn)) = self.orders.get(index).map(|order| (order.product, order.turn)) else { return };
        let answer = match turn {
            Turn::UsedUp { until, .. } => self.send_behind(now, index, product, until),
            _ if units > 0 && self.products[product].state != SaleState::Closed => {
                return self.wakes.push(index, Wake::Again);
            }
            // Closed when it was last looked at, and open now: a refresh tells which.
            _ if units > 0 => {
                self.set_out(now, index);
                return self.refreshes.hold(&mut self.products, product, index);
            }
            _ => Answer::SoldOut,
        };
        self.respond(now, index, answer);
    }
}

/// Whether a reply is the units that are for sale, and places of so many orders.
fn is_readable(numbers: &[u8], orders: usize) -> bool {
    let mut numbers = Numbers(numbers);
    numbers.next().flatten().is_some()
        && numbers.all(|place| place.is_some_and(|place| 0 < place && place <= orders as u64))
}

/// Numbers, a blank behind each; `None` for what is none.
struct Numbers<'a>(&'a [u8]);

impl Iterator for Numbers<'_> {
    type Item = Option<u64>;

    fn next(&mut self) -> Option<Option<u64>> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|byte| *byte == b' ');
        let (word, rest) = end.map_or((&b""[..], &b""[..]), |end| (&self.0[..end], &self.0[end + 1..]));
        self.0 = rest;
        Some(std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Numbers, is_readable};

    #[test]
    fn numbers_have_a_blank_behind_each() {
        let read = |text: &str| Numbers(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(read(""), []);
        assert_eq!(read("0 1 26 512 "), [Some(0), Some(1), Some(26), Some(512)]);
        for wrong in ["1", "x ", "1 2", " ", "-1 "] {
            assert!(read(wrong).contains(&None), "{wrong:?}");
        }
    }

    #[test]
    fn a_reply_names_the_units_and_places_that_there_are() {
        for right in ["0 ", "7 ", "0 1 2 ", "7 2 "] {
            assert!(is_readable(right.as_bytes(), 2), "{right:?}");
        }
        for wrong in ["", "0", "0 0 ", "0 3 ", "0 x ", "x 1 "] {
            assert!(!is_readable(wrong.as_bytes(), 2), "{wrong:?}");
        }
    }
}
