//! One batch: consecutive records of one partition on their way into the ledger.
//!
//! Pure: it parses what Kafka brought, drops redeliveries that meet inside it, sets aside what is no record of ours,
//! and remembers how much of it the ledger holds for certain. It never talks to the ledger, and knows none of its types.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use flux_protocol::order::{OwnedRecord, SaleEvent, TopicRecord, Uuid};
use foldhash::fast::RandomState;

/// Longest reason kept with a dead letter, in characters.
const REASON_CHARS_MAX: usize = 500;
/// Milliseconds since the epoch that every timestamp of a record stays below, as `TopicRecord::parse` has it.
const TIMESTAMP_MS_END: u64 = 1 << 52;
/// Of a fair sale's seed, in hexadecimal.
pub(crate) const SEED_DIGITS: usize = 64;

/// Where a batch comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The topic's name, for people.
    pub topic: String,
    /// The topic's id: what positions belong to.
    pub topic_id: Uuid,
    pub partition: i32,
}

/// One record of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the partition.
    pub offset: i64,
    /// The leader's epoch under which it was written; `None`: it is not known.
    pub leader_epoch: Option<i32>,
    /// The record's key as it came.
    pub key: Option<Bytes>,
    /// The record's value as it came.
    pub value: Option<Bytes>,
    /// What it says.
    pub content: Content,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An accepted order.
    Order(OwnedRecord),
    /// A sale has opened.
    Opened(Box<SaleEvent>),
    /// A sale has closed.
    Closed(Box<SaleEvent>),
    /// Nothing that the ledger can store, and why.
    Dead(DeadReason),
}

/// Why a record goes to the dead letters, and what is known of it nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadReason {
    /// For people; no control characters.
    pub reason: String,
    /// Product, sale and quantity where it was an order.
    pub order: Option<(String, u64, u16)>,
}

/// What a batch has come to. Orders that were stored by another attempt count as duplicates here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub orders: u64,
    /// Redeliveries dropped: inside the batch, of stored orders, or of rejected ones.
    pub duplicates: u64,
    /// Second reservations noted for return.
    pub returns: u64,
    /// Rejections noted.
    pub rejected: u64,
    /// Orders noted that came too late to be counted by a rebuild.
    pub late: u64,
    /// Dead letters kept.
    pub dead_letters: u64,
}

impl Stored {
    /// Adds another account to this one.
    pub fn add(&mut self, other: &Stored) {
        self.orders += other.orders;
        self.duplicates += other.duplicates;
        self.returns += other.returns;
        self.rejected += other.rejected;
        self.late += other.late;
        self.dead_letters += other.dead_letters;
    }
}

/// What happens to the whole batch in the ledger. Kept here, so that a batch can be handed in again after a failure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Entries before this one are in the ledger for certain, and the offset stands behind them.
    pub(crate) stored_entries: usize,
    /// Where the batch was halved, the innermost half last: each entry from there on waits for those before.
    pub(crate) span_ends: Vec<usize>,
    /// A COMMIT was sent for the span and its outcome is unknown; what it would have stored.
    pub(crate) in_doubt: Option<Stored>,
    /// The span is looked at order by order, because the short way met something.
    pub(crate) careful: bool,
    /// What the spans that are stored have come to.
    pub(crate) totals: Stored,
    /// The whole batch is in the ledger.
    pub(crate) finished: bool,
}

impl Progress {
    /// Whether nothing of the batch is stored, split or in doubt: only then may it still grow.
    fn is_fresh(&self) -> bool {
        self.stored_entries == 0 && self.span_ends.is_empty() && self.in_doubt.is_none() && !self.finished
    }
}

/// Records of one partition, in order, from the offset at which the ledger stands.
#[derive(Clone, Debug)]
pub struct Batch {
    origin: Origin,
    first: i64,
    next: i64,
    /// Of the last record before `next`.
    leader_epoch: Option<i32>,
    entries: Vec<Entry>,
    /// First entry of each order.
    seen: HashMap<Uuid, usize, RandomState>,
    bytes: usize,
    orders: usize,
    redelivered: u64,
    /// Offsets of the redeliveries, where the records are dead letters that are replayed.
    replayed_twice: Option<Vec<i64>>,
    pub(crate) progress: Progress,
}

impl Batch {
    /// An empty batch of dead letters of one partition that are to be stored after all. It moves no offset: what its
    /// transaction takes out in place of that are the dead letters themselves.
    pub fn replay(origin: Origin) -> Batch {
        let mut batch = Batch::new(origin, 0);
        batch.replayed_twice = Some(Vec::new());
        // They stand there because the short way failed.
        batch.progress.careful = true;
        batch
    }

    /// An empty batch that begins at `next_offset`, where the ledger stands (`Ledger::claim`, or the `next_offset` of the
    /// batch before).
    pub fn new(origin: Origin, next_offset: i64) -> Batch {
        assert!(next_offset >= 0, "offsets are counted from 0");
        Batch {
            origin,
            first: next_offset,
            next: next_offset,
            leader_epoch: None,
            entries: Vec::new(),
            seen: HashMap::default(),
            bytes: 0,
            orders: 0,
            redelivered: 0,
            replayed_twice: None,
            progress: Progress::default(),
        }
    }

    /// What comes next was written under this epoch of the partition's leader, up to the place to which the batch is
    /// advanced; `None`: that is not known.
    pub fn under(&mut self, leader_epoch: Option<i32>) {
        self.leader_epoch = leader_epoch;
    }

    /// Appends a record. Offsets ascend; what lies between them (control records, compaction) is passed over.
    pub fn push(&mut self, offset: i64, key: Option<Bytes>, value: Option<Bytes>) {
        let content = match value.as_deref().map(TopicRecord::parse) {
            None => dead("a record without a value", None),
            Some(Err(error)) => dead(&error.to_string(), None),
            Some(Ok(TopicRecord::Order(order))) => Content::Order(order),
            Some(Ok(TopicRecord::SaleOpened(sale))) => event(sale, Content::Opened),
            Some(Ok(TopicRecord::SaleClosed(sale))) => event(sale, Content::Closed),
        };
        self.append(Entry { offset, leader_epoch: self.leader_epoch, key, value, content });
        self.advance_to(offset + 1);
    }

    /// Appends what can never be read as records: one dead letter for all offsets from `first_offset` to `last_offset`.
    pub fn push_unreadable(&mut self, first_offset: i64, last_offset: i64, reason: &str, bytes: Bytes) {
        assert!(first_offset <= last_offset);
        let content = dead(&format!("offsets {first_offset} to {last_offset} cannot be read: {reason}"), None);
        let leader_epoch = self.leader_epoch;
        self.append(Entry { offset: first_offset, leader_epoch, key: None, value: Some(bytes), content });
        self.advance_to(last_offset + 1);
    }

    /// Says that nothing stands before `next_offset` but what was pushed.
    pub fn advance_to(&mut self, next_offset: i64) {
        assert!(next_offset >= self.next, "a batch goes forward");
        self.next = next_offset;
    }

    fn append(&mut self, entry: Entry) {
        assert!(entry.offset >= self.next, "records come in the order of their offsets");
        assert!(self.progress.is_fresh(), "a batch on its way is closed");
        if let Content::Order(order) = &entry.content {
            let at = self.entries.len();
            match self.seen.entry(order.order_id) {
                std::collections::hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(at);
                }
                std::collections::hash_map::Entry::Occupied(first) => {
                    let Content::Order(earlier) = &self.entries[*first.get()].content else {
                        unreachable!("only orders are remembered")
                    };
                    if earlier.reservation_id == order.reservation_id {
                        self.redelivered += 1;
                        self.replayed_twice.iter_mut().for_each(|offsets| offsets.push(entry.offset));
                        return;
                    }
                    // A second reservation: units to give back. The short way cannot tell.
                    self.progress.careful = true;
                }
            }
            self.orders += 1;
        }
        if matches!(entry.content, Content::Opened(_) | Content::Closed(_)) {
            // Their sales' rows must be locked in one order with those of the orders.
            self.progress.careful = true;
        }
        self.bytes += bytes_held(&entry);
        self.entries.push(entry);
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Where the ledger stood when it was begun.
    pub fn first_offset(&self) -> i64 {
        self.first
    }

    /// Where the ledger stands once it is stored.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// Orders in it, without redeliveries.
    pub fn orders(&self) -> usize {
        self.orders
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether storing it would change nothing at all.
    pub fn is_empty(&self) -> bool {
        self.next == self.first
    }

    /// Redeliveries that were dropped because they met inside it.
    pub fn redelivered(&self) -> u64 {
        self.redelivered
    }

    pub(crate) fn entries(&self, span: Range<usize>) -> &[Entry] {
        &self.entries[span]
    }

    /// The span that is on its way or next.
    pub(crate) fn span(&self) -> Range<usize> {
        self.progress.stored_entries..self.progress.span_ends.last().copied().unwrap_or(self.entries.len())
    }

    /// The offsets that a span leads from and to.
    pub(crate) fn span_offsets(&self, span: &Range<usize>) -> (i64, i64) {
        let from = if span.start == 0 { self.first } else { self.entries[span.start].offset };
        let to = self.entries.get(span.end).map_or(self.next, |entry| entry.offset);
        (from, to)
    }

    /// The leader's epoch of the record before the offset that a span leads to. Between two entries stand what was dropped
    /// and markers; epochs only rise, so what is the same on both sides is that of all between.
    pub(crate) fn span_leader_epoch(&self, span: &Range<usize>) -> Option<i32> {
        match self.entries.get(span.end) {
            None => self.leader_epoch,
            Some(next) => {
                let last = span.end.checked_sub(1).and_then(|last| self.entries[last].leader_epoch);
                last.filter(|epoch| next.leader_epoch == Some(*epoch))
            }
        }
    }

    /// Whether its records are dead letters that are replayed.
    pub(crate) fn is_replay(&self) -> bool {
        self.replayed_twice.is_some()
    }

    /// The offsets of a span's records, redeliveries among them.
    pub(crate) fn span_letters(&self, span: &Range<usize>) -> Vec<i64> {
        let (from, to) = self.span_offsets(span);
        let twice = self.replayed_twice.iter().flatten().copied().filter(|offset| (from..to).contains(offset));
        self.entries[span.clone()].iter().map(|entry| entry.offset).chain(twice).collect()
    }

    /// The span is in the ledger for certain.
    pub(crate) fn span_stored(&mut self, stored: &Stored) {
        let span = self.span();
        let progress = &mut self.progress;
        progress.totals.add(stored);
        progress.stored_entries = span.end;
        progress.span_ends.pop();
        progress.in_doubt = None;
        progress.finished = span.end == self.entries.len();
        if progress.finished {
            progress.totals.duplicates += self.redelivered;
        }
    }

    /// Halves the span: its first half is next. False where there is nothing to halve.
    pub(crate) fn halve(&mut self) -> bool {
        let span = self.span();
        if span.len() > 1 {
            self.progress.span_ends.push(span.start + span.len() / 2);
        }
        span.len() > 1
    }

    /// Shortens the span to so many entries, one at least.
    pub(crate) fn cut(&mut self, entries_max: usize) {
        let span = self.span();
        if span.len() > entries_max.max(1) {
            self.progress.span_ends.push(span.start + entries_max.max(1));
        }
    }

    /// The database cannot store something in the span: halves it, or makes its only record a dead letter. False where
    /// neither is possible, because there is no record to blame.
    pub(crate) fn isolate(&mut self, reason: &str) -> bool {
        let span = self.span();
        self.progress.careful = true;
        if self.halve() {
            return true;
        }
        let Some(entry) = self.entries.get_mut(span.start).filter(|_| !span.is_empty()) else { return false };
        let order = match &entry.content {
            Content::Order(order) => Some((order.product_id.clone(), order.sale_id, order.quantity)),
            Content::Opened(_) | Content::Closed(_) => None,
            Content::Dead(_) => return false,
        };
        entry.content = dead(reason, order);
        true
    }
}

/// Bytes that an entry holds: what came, what was read out of it, and the two places it stands in.
fn bytes_held(entry: &Entry) -> usize {
    let read = match &entry.content {
        Content::Order(order) => order.product_id.len() + order.user_id.len() + size_of::<(Uuid, usize)>(),
        Content::Opened(sale) | Content::Closed(sale) => {
            size_of::<SaleEvent>() + sale.event.len() + sale.product_id.len() + sale.queue.len() + sale.seed.len()
        }
        Content::Dead(dead) => dead.reason.len(),
    };
    let came = entry.key.as_ref().map_or(0, Bytes::len) + entry.value.as_ref().map_or(0, Bytes::len);
    size_of::<Entry>() + came + read
}

fn dead(reason: &str, order: Option<(String, u64, u16)>) -> Content {
    let reason = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_CHARS_MAX).collect();
    Content::Dead(DeadReason { reason, order })
}

/// An event whose numbers the ledger can hold, or a dead letter.
fn event(sale: SaleEvent, make: fn(Box<SaleEvent>) -> Content) -> Content {
    let seed_holds = sale.seed.is_empty()
        || sale.seed.len() == SEED_DIGITS && sale.seed.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (member, holds) in [
        ("rate", i64::try_from(sale.rate).is_ok()),
        ("burst", i64::try_from(sale.burst).is_ok()),
        ("opensAt", sale.opens_at < TIMESTAMP_MS_END),
        ("timestamp", sale.timestamp < TIMESTAMP_MS_END),
        ("seed", seed_holds),
    ] {
        if !holds {
            return dead(&format!("`{member}` is out of range"), None);
        }
    }
    make(Box::new(sale))
}

#[cfg(test)]
mod tests {
    use flux_protocol::order::Record;

    use super::*;

    fn empty() -> Batch {
        Batch::new(Origin { topic: "orders".into(), topic_id: Uuid([7; 16]), partition: 3 }, 100)
    }

    fn order(number: u8, reservation: u8) -> Option<Bytes> {
        let mut value = Vec::new();
        Record {
            order_id: Uuid([number; 16]),
            reservation_id: Uuid([reservation; 16]),
            product_id: "phone",
            user_id: "user-42",
            quantity: 1,
            sale_id: 7,
            sale_total: 10,
            generation: 1,
            timestamp: 1_705_234_800_123,
        }
        .write_json(&mut value);
        Some(value.into())
    }

    fn reason(batch: &Batch, at: usize) -> &str {
        match &batch.entries[at].content {
            Content::Dead(dead) => &dead.reason,
            other => panic!("{other:?} is not dead"),
        }
    }

    #[test]
    fn a_redelivery_inside_is_dropped_and_a_second_reservation_kept() {
        let mut batch = empty();
        for (offset, value) in [order(1, 1), order(2, 2), order(1, 1), order(1, 9)].into_iter().enumerate() {
            batch.push(100 + 2 * offset as i64, None, value);
        }
        assert_eq!((batch.orders(), batch.redelivered(), batch.entries.len()), (3, 1, 3));
        assert!(batch.progress.careful, "the short way cannot tell which of the two stands");
        assert_eq!((batch.first_offset(), batch.next_offset()), (100, 107));
        assert_eq!(batch.span_offsets(&(0..1)), (100, 102));
        assert_eq!(batch.span_offsets(&(1..3)), (102, 107));
    }

    #[test]
    fn an_event_counts_with_all_that_was_read_out_of_it() {
        let mut batch = empty();
        let value = br#"{"event":"sale-closed","productId":"phone","saleId":1,"saleTotal":9,"withdrawn":2,"generation":1,"rate":1,"burst":1,"timestamp":1}"#;
        batch.push(100, None, Some(Bytes::from_static(value)));
        let Content::Closed(sale) = &batch.entries[0].content else { panic!("{:?}", batch.entries[0].content) };
        let texts = [&sale.event, &sale.product_id, &sale.queue, &sale.seed].map(|text| text.len());
        let read = size_of::<SaleEvent>() + texts.iter().sum::<usize>();
        assert_eq!(batch.bytes(), size_of::<Entry>() + value.len() + read);
    }

    #[test]
    fn what_is_no_record_of_ours_is_kept_with_its_reason() {
        let mut batch = empty();
        let event = |member: &str| {
            let text = format!(
                r#"{{"event":"sale-closed","productId":"p","saleId":1,"saleTotal":1,"generation":1,"rate":1,"burst":1,
                "timestamp":1,{member}}}"#
            );
            Some(Bytes::from(text.replacen(&format!("{}:1,", member.split(':').next().unwrap()), "", 1)))
        };
        let cases = [
            (None, "without a value"),
            (Some(Bytes::from_static(b"\x00")), "not an order record"),
            (event(r#""generation":1000001"#), "`generation`"),
            (event(r#""saleId":4503599627370496"#), "`saleId`"),
            (event(r#""rate":18446744073709551615"#), "`rate`"),
            (event(r#""burst":9223372036854775808"#), "`burst`"),
            (event(r#""timestamp":4503599627370496"#), "`timestamp`"),
            (event(r#""seed":"\u0000""#), "`seed`"),
            (event(r#""withdrawn":2"#), "`withdrawn`"),
            (event(r#""perUser":1001"#), "`perUser`"),
            (event(r#""opensAt":4503599627370496"#), "`opensAt`"),
        ];
        for (at, (value, says)) in cases.into_iter().enumerate() {
            batch.push(batch.next_offset(), None, value);
            assert!(reason(&batch, at).contains(says), "{says}: {}", reason(&batch, at));
        }
        batch.push(batch.next_offset(), None, event(r#""withdrawn":1"#));
        assert!(matches!(batch.entries[11].content, Content::Closed(_)));
        assert!(!reason(&batch, 1).contains(char::is_control));
    }

    /// The ledger is told an epoch only where it is certain which record's it is.
    #[test]
    fn the_epoch_before_the_end_of_a_span_is_known_or_left_out() {
        let mut batch = empty();
        for (offset, epoch, value) in
            [(100, 3, order(1, 1)), (101, 3, order(2, 2)), (102, 4, order(1, 1)), (103, 4, order(3, 3))]
        {
            batch.under(Some(epoch));
            batch.push(offset, None, value);
        }
        batch.under(Some(5));
        batch.advance_to(105);
        assert_eq!(batch.span_leader_epoch(&(0..3)), Some(5), "a marker is the last");
        assert_eq!(batch.span_leader_epoch(&(0..1)), Some(3));
        assert_eq!(batch.span_offsets(&(0..2)), (100, 103));
        assert_eq!(batch.span_leader_epoch(&(0..2)), None, "the redelivery between them is of the one or the other");
    }

    #[test]
    #[should_panic(expected = "order of their offsets")]
    fn offsets_ascend() {
        let mut batch = empty();
        batch.push(100, None, order(1, 1));
        batch.push(100, None, order(2, 2));
    }
}
