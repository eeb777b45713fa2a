//! An outbox entry as `edge/lua/reserve.lua` writes it. Pure.

use flux_protocol::order::{Identifier, QUANTITY_MAX, Record, Uuid};
use flux_protocol::resp::OwnedFrame;

use crate::redis::{array, strings, text};

/// One entry: the orders of one reserve call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The stream's id.
    pub id: String,
    /// Where all of its orders are published.
    pub partition: i32,
    pub sale_id: u64,
    /// Units of that sale in all.
    pub sale_total: u64,
    /// The sale's generation when they were reserved.
    pub generation: u32,
    /// Them.
    pub orders: Vec<OutboxOrder>,
}

/// One order that is reserved and not known to be in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxOrder {
    /// Which taking of units.
    pub reservation_id: Uuid,
    /// Units.
    pub quantity: u16,
    pub order_id: Uuid,
    /// Whose.
    pub user_id: Identifier,
    /// When the edge read it, ms since the epoch.
    pub timestamp: u64,
}

/// An entry that none of our scripts wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("outbox entry {0} is none of ours")]
pub struct Foreign(pub String);

impl OutboxEntry {
    /// The entry that one element of `XRANGE`'s answer holds.
    ///
    /// # Errors
    /// [`Foreign`], with the entry's id as far as it has one.
    pub fn parse(frame: OwnedFrame) -> Result<OutboxEntry, Foreign> {
        let mut parts = array(frame).unwrap_or_default().into_iter();
        let id = parts.next().and_then(|id| text(id).ok()).unwrap_or_default();
        let fields = parts.next().and_then(|fields| strings(fields).ok()).unwrap_or_default();
        OutboxEntry::of_fields(&id, &fields).ok_or(Foreign(id))
    }

    fn of_fields(id: &str, fields: &[String]) -> Option<OutboxEntry> {
        let field = |name: &str| Some(fields.chunks_exact(2).find(|pair| pair[0] == name)?[1].as_str());
        let mut head = field("h")?.split(' ');
        let entry = OutboxEntry {
            id: id.to_owned(),
            partition: head.next()?.parse().ok().filter(|partition| *partition >= 0)?,
            sale_id: head.next()?.parse().ok()?,
            sale_total: head.next()?.parse().ok()?,
            generation: head.next()?.parse().ok()?,
            orders: field("o")?.lines().map(OutboxOrder::parse).collect::<Option<_>>()?,
        };
        (head.next()?.parse() == Ok(entry.orders.len())).then_some(entry)
    }

    /// The record that the topic is given for one of its orders.
    pub fn record<'a>(&self, product: &'a str, order: &'a OutboxOrder) -> Record<'a> {
        Record {
            order_id: order.order_id,
            reservation_id: order.reservation_id,
            product_id: product,
            user_id: order.user_id.as_str(),
            quantity: order.quantity,
            sale_id: self.sale_id,
            sale_total: self.sale_total,
            generation: self.generation,
            timestamp: order.timestamp,
        }
    }
}

impl OutboxOrder {
    fn parse(line: &str) -> Option<OutboxOrder> {
        let mut words = line.split(' ');
        let order = OutboxOrder {
            reservation_id: Uuid::parse(words.next()?.as_bytes())?,
            quantity: words.next()?.parse().ok().filter(|quantity| (1..=QUANTITY_MAX).contains(quantity))?,
            order_id: Uuid::parse(words.next()?.as_bytes())?,
            user_id: Identifier::new(words.next()?.as_bytes())?,
            timestamp: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: &str, fields: &[&str]) -> OwnedFrame {
        let bulk = |text: &str| OwnedFrame::BulkString(text.as_bytes().to_vec());
        OwnedFrame::Array(vec![bulk(id), OwnedFrame::Array(fields.iter().map(|field| bulk(field)).collect())])
    }

    #[test]
    fn an_entry_is_read_whole_or_refused_with_its_id() {
        let (a, b) = (Uuid::version_8([1; 16]), Uuid::version_8([2; 16]));
        let lines = format!("{a} 1 {b} ann 1700\n{b} 7 {a} bob 1701");
        let entry = OutboxEntry::parse(frame("17-0", &["h", "3 1705 100 2 2", "o", &lines, "c", "9"])).unwrap();
        assert_eq!((entry.id.as_str(), entry.partition, entry.sale_id), ("17-0", 3, 1705));
        assert_eq!((entry.sale_total, entry.generation, entry.orders.len()), (100, 2, 2));
        let mut json = Vec::new();
        entry.record("p", &entry.orders[1]).write_json(&mut json);
        let json = String::from_utf8(json).unwrap();
        assert!(json.contains("\"userId\":\"bob\",\"quantity\":7,\"saleId\":1705,\"saleTotal\":100,\"generation\":2"));
        for (head, lines) in [
            ("3 1705 100 2 3", lines.as_str()),
            ("3 1705 100 2", &lines),
            ("-1 1705 100 2 2", &lines),
            ("3 1705 100 2 1", "x 1 y ann 1700"),
            ("3 1705 100 2 1", &format!("{a} 1001 {b} ann 1700")),
            ("3 1705 100 2 1", &format!("{a} 1 {b} a\"n 1700")),
            ("3 1705 100 2 1", &format!("{a} 1 {b} ann 1700 more")),
        ] {
            let entry = OutboxEntry::parse(frame("17-0", &["h", head, "o", lines]));
            assert_eq!(entry, Err(Foreign("17-0".into())), "{head} / {lines}");
        }
        assert_eq!(OutboxEntry::parse(frame("18-0", &["x", "y"])), Err(Foreign("18-0".into())));
        assert_eq!(OutboxEntry::parse(OwnedFrame::Null), Err(Foreign(String::new())));
    }
}
