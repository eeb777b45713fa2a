//! An entry of the outbox as Redis answers it ([`flux_protocol::outbox_entry`] has its text). Pure.

use flux_protocol::order::Record;
use flux_protocol::outbox_entry::{EntryHead, EntryOrder};
use flux_protocol::resp::OwnedFrame;

use crate::redis::{array, strings, text};

/// One entry: the orders of one reserve call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The stream's id.
    pub id: String,
    /// What its orders have in common.
    pub head: EntryHead,
    pub orders: Vec<EntryOrder>,
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
        let field = |name: &str| Some(fields.chunks_exact(2).find(|pair| pair[0] == name)?[1].as_bytes());
        let head = EntryHead::parse(field("h")?)?;
        Some(OutboxEntry { id: id.to_owned(), head, orders: head.orders(field("o")?)? })
    }

    /// The record that the topic is given for one of its orders.
    pub fn record<'a>(&self, product: &'a str, order: &'a EntryOrder) -> Record<'a> {
        order.record(&self.head, product)
    }
}

#[cfg(test)]
mod tests {
    use flux_protocol::order::Uuid;

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
        assert_eq!((entry.id.as_str(), entry.head.partition, entry.orders.len()), ("17-0", 3, 2));
        assert_eq!(entry.record("p", &entry.orders[1]).user_id, "bob");
        for fields in [&["h", "3 1705 100 2 3", "o", &lines][..], &["h", "3 1705 100 2 2"], &["o", &lines], &["x", "y"]]
        {
            let entry = OutboxEntry::parse(frame("17-0", fields));
            assert_eq!(entry, Err(Foreign("17-0".into())), "{fields:?}");
        }
        assert_eq!(OutboxEntry::parse(OwnedFrame::Null), Err(Foreign(String::new())));
    }
}
