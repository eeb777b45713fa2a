//! An outbox entry in Redis, as `lua/reserve.lua` writes it: its id, its head, its orders. Only read here.

use flux_protocol::order::{Identifier, Uuid, decimal};
use flux_protocol::resp;

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

    /// Appends `<ms>-<sequence>` as one argument of a command.
    pub fn write_bulk(&self, out: &mut Vec<u8>) {
        resp::bulk_parts(out, &[decimal(self.ms, &mut [0; 20]), b"-", decimal(self.sequence, &mut [0; 20])]);
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

/// Field `h` of an entry: what its orders have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// The partition all of its orders go to.
    pub partition: i32,
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
