//! Outbox entries this core still has to see through: how many of their orders Kafka has not acknowledged.
//!
//! The entry itself lives in Redis, written by the reserve script. This file knows when it may be deleted, and reads
//! entries that the relay took over. Never deletes anything itself.

use std::fmt::Write as _;

use flux_protocol::order::{Identifier, Uuid};

use crate::product::ProductIndex;

/// A stream entry id: milliseconds of Redis' clock and a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// Milliseconds since the Unix epoch, on Redis' clock.
    pub ms: u64,
    /// Tells entries of one millisecond apart.
    pub sequence: u64,
}

impl EntryId {
    /// Reads `<ms>-<sequence>`.
    pub fn parse(text: &[u8]) -> Option<EntryId> {
        let (ms, sequence) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(EntryId { ms: ms.parse().ok()?, sequence: sequence.parse().ok()? })
    }

    /// Appends `<ms>-<sequence>`.
    pub fn write(&self, out: &mut String) {
        write!(out, "{self}").expect("a String takes all");
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

/// An entry's place in [`Entries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryIndex(u32);

#[derive(Clone, Copy, Debug)]
struct Entry {
    product: ProductIndex,
    id: EntryId,
    /// Orders that are neither acknowledged nor left to the relay.
    unsettled: u32,
    /// An order of it will not be acknowledged to this core: the entry is the relay's.
    left: bool,
    /// The relay took it: its claim goes with it.
    claimed: bool,
}

/// What is to be done with an entry once its last order is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Others of its orders are still under way.
    NotYet,
    /// All were acknowledged: delete it, and its claim where it has one.
    Delete {
        /// Whose outbox.
        product: ProductIndex,
        /// Which entry.
        id: EntryId,
        /// Whether `:claims` names it.
        claimed: bool,
    },
    /// Not all were: it stays, and the relay delivers it.
    Leave,
}

/// The entries under way on this core.
#[derive(Debug, Default)]
pub struct Entries {
    places: Vec<Entry>,
    free: Vec<u32>,
}

impl Entries {
    /// An entry of `orders` orders was written, or taken over by the relay (`claimed`).
    pub fn insert(&mut self, product: ProductIndex, id: EntryId, orders: u32, claimed: bool) -> EntryIndex {
        assert!(orders > 0, "an entry holds at least one order");
        let entry = Entry { product, id, unsettled: orders, left: false, claimed };
        match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = entry;
                EntryIndex(place)
            }
            None => {
                self.places.push(entry);
                EntryIndex(self.places.len() as u32 - 1)
            }
        }
    }

    /// One order of the entry is settled: acknowledged by Kafka, or left to the relay.
    pub fn settle(&mut self, index: EntryIndex, acknowledged: bool) -> Settled {
        let entry = &mut self.places[index.0 as usize];
        assert!(entry.unsettled > 0, "an order is settled once");
        entry.unsettled -= 1;
        entry.left |= !acknowledged;
        if entry.unsettled > 0 {
            return Settled::NotYet;
        }
        let entry = *entry;
        self.free.push(index.0);
        if entry.left {
            Settled::Leave
        } else {
            Settled::Delete { product: entry.product, id: entry.id, claimed: entry.claimed }
        }
    }

    /// How many entries are under way.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Field `h` of an entry: what its orders have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// The partition all of its orders go to.
    pub partition: i32,
    /// Their sale.
    pub sale_id: u64,
    /// Its units in all.
    pub sale_total: u64,
    /// The generation they were reserved under.
    pub generation: u32,
    /// How many orders.
    pub orders: u32,
}

impl EntryHead {
    /// Reads `<partition> <sale id> <sale total> <generation> <orders>`.
    pub fn parse(text: &[u8]) -> Option<EntryHead> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let head = EntryHead {
            partition: words.next()?.parse().ok()?,
            sale_id: words.next()?.parse().ok()?,
            sale_total: words.next()?.parse().ok()?,
            generation: words.next()?.parse().ok()?,
            orders: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(head)
    }
}

/// One line of field `o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryOrder {
    /// As the edge that reserved chose it.
    pub reservation_id: Uuid,
    /// Units.
    pub quantity: u16,
    /// The order.
    pub order_id: Uuid,
    /// The buyer.
    pub user: Identifier,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
}

impl EntryOrder {
    /// Reads `<reservation id> <quantity> <order id> <user> <timestamp>`.
    pub fn parse(line: &[u8]) -> Option<EntryOrder> {
        let mut words = line.split(|&byte| byte == b' ');
        let order = EntryOrder {
            reservation_id: Uuid::parse(words.next()?)?,
            quantity: std::str::from_utf8(words.next()?).ok()?.parse().ok()?,
            order_id: Uuid::parse(words.next()?)?,
            user: Identifier::new(words.next()?)?,
            timestamp_ms: std::str::from_utf8(words.next()?).ok()?.parse().ok()?,
        };
        words.next().is_none().then_some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_deleted_only_when_every_order_is_acknowledged() {
        let mut entries = Entries::default();
        let id = EntryId { ms: 5, sequence: 0 };
        let whole = entries.insert(ProductIndex(0), id, 2, false);
        assert_eq!(entries.settle(whole, true), Settled::NotYet);
        assert_eq!(entries.settle(whole, true), Settled::Delete { product: ProductIndex(0), id, claimed: false });
        let parted = entries.insert(ProductIndex(0), id, 2, false);
        assert_eq!(entries.settle(parted, false), Settled::NotYet);
        assert_eq!(entries.settle(parted, true), Settled::Leave);
        assert!(entries.is_empty());
    }

    #[test]
    fn an_entry_written_by_the_script_is_read_back() {
        let head = EntryHead::parse(b"3 1705234700000 100 1 2").expect("five numbers");
        assert_eq!(head, EntryHead { partition: 3, sale_id: 1705234700000, sale_total: 100, generation: 1, orders: 2 });
        assert_eq!(EntryHead::parse(b"3 1705234700000 100 1"), None);
        assert_eq!(EntryHead::parse(b"3 1705234700000 100 1 2 9"), None);
        let line = b"00000000-0000-8000-8000-000000000001 2 00000000-0000-8000-8000-000000000002 user-42 1705234800123";
        let order = EntryOrder::parse(line).expect("five words");
        assert_eq!((order.quantity, order.user.as_str(), order.timestamp_ms), (2, "user-42", 1705234800123));
        for cut in 0..line.len() - 13 {
            assert_eq!(EntryOrder::parse(&line[..cut]), None, "cut at {cut}");
        }
    }
}
