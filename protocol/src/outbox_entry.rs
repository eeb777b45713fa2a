//! An outbox entry as `edge/lua/reserve.lua` writes it: the orders of one call that are reserved and not known to be in the
//! topic. The relay of an edge reads it, and so do a rebuild and an audit.
//!
//! ```text
//! id   <ms>-<sequence>
//! h    <partition> <sale id> <sale total> <generation> <orders>
//! o    <reservation id> <quantity> <order id> <user> <timestamp>      one line an order, a line feed between
//! ```

use crate::order::{Identifier, QUANTITY_MAX, Record, Uuid, decimal};
use crate::resp;

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
    /// The sale they were reserved in.
    pub sale_id: u64,
    /// That sale's units in all.
    pub sale_total: u64,
    /// The generation they were reserved under.
    pub generation: u32,
    /// How many orders.
    pub orders: u32,
}

impl EntryHead {
    /// `None` where it is not as the script writes it.
    pub fn parse(text: &[u8]) -> Option<EntryHead> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let head = EntryHead {
            partition: words.next()?.parse().ok().filter(|partition| *partition >= 0)?,
            sale_id: words.next()?.parse().ok()?,
            sale_total: words.next()?.parse().ok()?,
            generation: words.next()?.parse().ok()?,
            orders: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(head)
    }

    /// The orders of field `o`; `None` where one is not as the script writes it, or there are not as many as the head says.
    pub fn orders(&self, lines: &[u8]) -> Option<Vec<EntryOrder>> {
        let orders: Vec<EntryOrder> =
            lines.split(|byte| *byte == b'\n').map(EntryOrder::parse).collect::<Option<_>>()?;
        (orders.len() == self.orders as usize).then_some(orders)
    }
}

/// One line of field `o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryOrder {
    /// Which taking of units, as the edge that reserved chose it.
    pub reservation_id: Uuid,
    /// Units.
    pub quantity: u16,
    /// The order.
    pub order_id: Uuid,
    /// The buyer.
    pub user: Identifier,
    /// When the edge read it, milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
}

impl EntryOrder {
    /// `None` where it is not as the script writes it.
    pub fn parse(line: &[u8]) -> Option<EntryOrder> {
        let mut words = line.split(|&byte| byte == b' ');
        let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u64>().ok();
        let order = EntryOrder {
            reservation_id: Uuid::parse(words.next()?)?,
            quantity: u16::try_from(number(words.next()?)?).ok().filter(|units| (1..=QUANTITY_MAX).contains(units))?,
            order_id: Uuid::parse(words.next()?)?,
            user: Identifier::new(words.next()?)?,
            timestamp_ms: number(words.next()?)?,
        };
        words.next().is_none().then_some(order)
    }

    /// The record that the topic is given for it.
    pub fn record<'a>(&'a self, head: &EntryHead, product: &'a str) -> Record<'a> {
        Record {
            order_id: self.order_id,
            reservation_id: self.reservation_id,
            product_id: product,
            user_id: self.user.as_str(),
            quantity: self.quantity,
            sale_id: head.sale_id,
            sale_total: head.sale_total,
            generation: head.generation,
            timestamp: self.timestamp_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_and_written() {
        let id = EntryId::parse(b"1705234800123-7").unwrap();
        assert_eq!(id, EntryId { ms: 1_705_234_800_123, sequence: 7 });
        let mut out = Vec::new();
        id.write_bulk(&mut out);
        assert_eq!(out, b"$15\r\n1705234800123-7\r\n");
        for text in ["", "-", "17", "17-", "17-x", "17-1-1"] {
            assert_eq!(EntryId::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_entry_is_read_whole_or_not_at_all() {
        let (a, b) = (Uuid::version_8([1; 16]), Uuid::version_8([2; 16]));
        let lines = format!("{a} 1 {b} ann 1700\n{b} 7 {a} bob 1701");
        let head = EntryHead::parse(b"3 1705 100 2 2").unwrap();
        assert_eq!(head, EntryHead { partition: 3, sale_id: 1705, sale_total: 100, generation: 2, orders: 2 });
        let orders = head.orders(lines.as_bytes()).unwrap();
        let mut json = Vec::new();
        orders[1].record(&head, "p").write_json(&mut json);
        let json = String::from_utf8(json).unwrap();
        assert!(json.contains("\"userId\":\"bob\",\"quantity\":7,\"saleId\":1705,\"saleTotal\":100,\"generation\":2"));
        for head in ["", "3 1705 100 2", "3 1705 100 2 2 2", "-1 1705 100 2 2", "3 1705 100 2 x", "3  1705 100 2 2"] {
            assert_eq!(EntryHead::parse(head.as_bytes()), None, "{head}");
        }
        for lines in [
            String::new(),
            lines.clone() + "\n",
            format!("{a} 1 {b} ann 1700"),
            format!("x 1 {b} ann 1700\n{b} 7 {a} bob 1701"),
            format!("{a} 0 {b} ann 1700\n{b} 7 {a} bob 1701"),
            format!("{a} 1001 {b} ann 1700\n{b} 7 {a} bob 1701"),
            format!("{a} 1 {b} a\"n 1700\n{b} 7 {a} bob 1701"),
            format!("{a} 1 {b} ann 1700 more\n{b} 7 {a} bob 1701"),
        ] {
            assert_eq!(head.orders(lines.as_bytes()), None, "{lines}");
        }
    }
}
