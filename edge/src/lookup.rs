//! While a sale is remembered as sold out, or is closed, and for orders whose place in line is used up: one question
//! (`lua/lookup.lua`) for many orders instead of `reserve.lua`, which costs Redis four times as much.
//!
//! A repeat of an accepted order must get its first answer even then; `reserve.lua` gives it, once a record is found.
//! An order without a record is told 409 for good, so the script proves first that this is the Redis that opened the
//! sale, and that its records are all there.

use flux_protocol::resp::Reply;
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::{Call, Core};
use crate::gate::LookupIndex;
use crate::pending::{PendingIndex, Turn};
use crate::product::{ProductIndex, State};
use crate::schedule::Work;

impl Core {
    /// Asks for the records of the orders that wait; whether there were any.
    pub(crate) fn write_lookup(&mut self, now: Now) -> bool {
        if !self.gate.wants_lookup(self.redis.outstanding(Work::Lookup)) {
            return false;
        }
        let (products, orders, gate) = (&self.products, &self.orders, &mut self.gate);
        self.redis.call_script_if(now.instant, |out| gate.seal_lookup(products, orders, out).map(Call::Lookup))
    }

    /// Which orders have records. No reply: the connection is gone, and nothing was reserved.
    pub(crate) fn handle_looked_up(&mut self, now: Now, index: LookupIndex, reply: Option<Reply<'_>>) {
        let mut items = self.items_of(reply);
        let lookup = self.gate.take_lookup(index);
        let mut orders = &lookup.orders[..];
        for (product, count) in &lookup.groups {
            let (of_sale, others) = orders.split_at(*count);
            orders = others;
            let found = items.as_mut().and_then(|items| items.next_bulk());
            self.handle_records(now, *product, of_sale, found);
        }
        self.gate.recycle_lookup(index, lookup);
    }

    /// What was found for orders of one sale; `None`: nothing that can be read.
    fn handle_records(&mut self, now: Now, product: ProductIndex, orders: &[PendingIndex], found: Option<&[u8]>) {
        let refusal = match found {
            Some(b"S" | b"U") => {
                self.products[product].state = State::Suspended;
                self.look_soon(now, product);
                Some(Unavailable::Suspended)
            }
            // Of another sale by now: the script tells each what to do.
            Some(b"N") => {
                orders.iter().for_each(|order| self.reserve_after_token(now, *order));
                return;
            }
            Some(places) if Places(places).all(|place| place.is_some_and(|place| place <= orders.len())) => None,
            Some(_) | None => Some(Unavailable::Redis),
        };
        if let Some(refusal) = refusal {
            orders.iter().for_each(|order| self.respond(now, *order, Answer::Unavailable(refusal)));
            return;
        }
        let mut recorded = Places(found.unwrap_or_default()).flatten().peekable();
        for (place, order) in orders.iter().enumerate() {
            if recorded.next_if_eq(&(place + 1)).is_some() {
                self.reserve_after_token(now, *order);
            } else {
                self.answer_unrecorded(now, *order);
            }
        }
    }

    /// An order that is none of those that were accepted: nothing is left for it, or its place in line is used up.
    fn answer_unrecorded(&mut self, now: Now, index: PendingIndex) {
        let Some((product, turn)) = self.orders.get(index).map(|order| (order.product, order.turn)) else { return };
        let answer = match turn {
            Turn::UsedUp { until, .. } => self.send_behind(now, index, product, until),
            _ => Answer::SoldOut,
        };
        self.respond(now, index, answer);
    }
}

/// Numbers, a blank behind each; `None` for what is no number from 1 on.
struct Places<'a>(&'a [u8]);

impl Iterator for Places<'_> {
    type Item = Option<usize>;

    fn next(&mut self) -> Option<Option<usize>> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|byte| *byte == b' ');
        let (word, rest) = end.map_or((&b""[..], &b""[..]), |end| (&self.0[..end], &self.0[end + 1..]));
        self.0 = rest;
        let number = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
        Some(number.filter(|place| *place > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn places_are_numbers_with_a_blank_behind_each() {
        let read = |text: &str| Places(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(read(""), []);
        assert_eq!(read("1 26 512 "), [Some(1), Some(26), Some(512)]);
        for wrong in ["1", "0 ", "x ", "1 2", " ", "-1 "] {
            assert!(read(wrong).contains(&None), "{wrong:?}");
        }
    }
}
