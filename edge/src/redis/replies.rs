//! What the scripts answer, read from the reply's elements. The replies are described in the heads of `lua/*.lua`.
//!
//! Anything that is not as described is `None`: the caller treats it as unknown.

use std::time::Duration;

use flux_protocol::fence::Replid;
use flux_protocol::order::Uuid;
use flux_protocol::outbox_entry::EntryId;
use flux_protocol::queue::{Seed, Slot};
use flux_protocol::resp::{Items, Value, printable};

use crate::sale::{Sale, SaleState};

/// What `reserve.lua` says of one product's orders together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// All are in this entry; no codes follow.
    AllAccepted(EntryId),
    /// One code an order follows; those accepted, if any, are in this entry.
    Mixed(Option<EntryId>),
    /// A key is missing or Redis is not the sale's.
    Suspended,
    /// Its user may not do what an order needs: no rebuild mends that.
    NotPermitted,
    /// The sale was rebuilt.
    OtherGeneration,
    /// There is no such product.
    UnknownProduct,
    /// The outbox holds as many orders as it may.
    OutboxFull,
}

impl Head {
    /// Reads the next element as a head.
    pub fn read(items: &mut Items<'_>) -> Option<Head> {
        let text = items.next_bulk()?;
        match text.split_first()? {
            (b'A', id) => EntryId::parse(id).map(Head::AllAccepted),
            (b'M', []) => Some(Head::Mixed(None)),
            (b'M', id) => EntryId::parse(id).map(|id| Head::Mixed(Some(id))),
            (b'S', b"permission") => Some(Head::NotPermitted),
            (b'S', _) => Some(Head::Suspended),
            (b'G', _) => Some(Head::OtherGeneration),
            (b'U', _) => Some(Head::UnknownProduct),
            (b'F', _) => Some(Head::OutboxFull),
            _ => None,
        }
    }
}

/// A record that stands for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whose reservation it is.
    pub reservation_id: Uuid,
    /// Its units.
    pub quantity: u16,
    /// Its entry has left the outbox.
    pub delivered: bool,
    pub entry: EntryId,
}

/// What `reserve.lua` says of one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It is in the entry that the head names.
    Accepted,
    /// A record stands.
    Recorded(Recorded),
    /// No unit is left.
    SoldOut,
    /// So many are left: too few.
    Insufficient(u64),
    /// The place by which it was called is used up, with all of its user up to this slot.
    PlaceUsedUp(Slot),
    /// The user has as many as one may.
    LimitReached,
    /// The sale is closed.
    Closed,
    /// Not yet open; it opens so long after Redis was asked, at the latest.
    NotOpen(Duration),
    /// The outbox holds as many orders as it may.
    OutboxFull,
    /// There is another sale than the order's id was derived for.
    OtherSale,
}

impl Code {
    /// Reads one element as a code.
    pub fn read(item: &Value<'_>) -> Option<Code> {
        let Value::Bulk(text) = item else { return None };
        match text.split_first()? {
            (b'+', []) => Some(Code::Accepted),
            (b'0', []) => Some(Code::SoldOut),
            (b'I', left) => number(left).map(Code::Insufficient),
            (b'T', slot) => Some(Code::PlaceUsedUp(u32::try_from(number(slot)?).ok()?)),
            (b'L', []) => Some(Code::LimitReached),
            (b'C', []) => Some(Code::Closed),
            (b'N', []) => Some(Code::OtherSale),
            (b'O', left) => number(left).map(|ms| Code::NotOpen(Duration::from_millis(ms))),
            (b'F', []) => Some(Code::OutboxFull),
            (b'R', record) => Recorded::parse(record).map(Code::Recorded),
            _ => None,
        }
    }
}

impl Recorded {
    /// Reads `<reservation id> <quantity> <0|1> <entry id>`.
    fn parse(text: &[u8]) -> Option<Recorded> {
        let mut words = text.split(|byte| *byte == b' ');
        Some(Recorded {
            reservation_id: Uuid::parse(words.next()?)?,
            quantity: u16::try_from(number(words.next()?)?).ok()?,
            delivered: match words.next()? {
                b"0" => false,
                b"1" => true,
                _ => return None,
            },
            entry: EntryId::parse(words.next()?)?,
        })
    }
}

/// Strings that `refresh.lua` says of each product.
const REFRESH_FIELDS: usize = 15;

/// What `refresh.lua` says of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// There is no such product.
    Unknown,
    /// Redis cannot be trusted with it.
    Suspended {
        /// The script's reason.
        reason: String,
        /// Sale id and generation that stand there, where they can be read: a rebuild may have fenced the sale off under them.
        stands: Option<(u64, u32)>,
    },
    /// Its orders belong into this topic, which is another than the edge's.
    Foreign(String),
    /// How it stands.
    Sale {
        sale: Sale,
        /// It is sold under a fence, which has to name this Redis.
        is_fenced: bool,
        /// Open (also where it is sold out), scheduled or closed.
        state: SaleState,
        /// It opens so long after Redis was asked, at the latest; zero where it has opened.
        opens_in: Duration,
        /// Units left.
        stock: u64,
        outbox_entries: u64,
        /// Orders in them: exact while they are few, else never fewer than there are.
        outbox_orders: u64,
        outbox_oldest: Option<EntryId>,
        outbox_newest: Option<EntryId>,
        /// The sale's seed, where it has a fair queue.
        queue_seed: Option<[u8; 32]>,
    },
}

impl Refreshed {
    /// Reads the next product's elements.
    pub fn read(items: &mut Items<'_>) -> Option<Refreshed> {
        let mut fields: [&[u8]; REFRESH_FIELDS] = [b""; REFRESH_FIELDS];
        for field in &mut fields {
            *field = items.next_bulk()?;
        }
        let [state, reason, id, generation, total, stock, rate, burst, entries, oldest, orders, _, newest, left, seed] =
            fields;
        let state = match state {
            b"unknown" => return Some(Refreshed::Unknown),
            b"suspended" => {
                let generation = number(generation).and_then(|generation| u32::try_from(generation).ok());
                return Some(Refreshed::Suspended { reason: printable(reason), stands: number(id).zip(generation) });
            }
            b"foreign" => return Some(Refreshed::Foreign(printable(reason))),
            b"open" | b"sold_out" => SaleState::Open,
            b"scheduled" => SaleState::Scheduled,
            b"closed" => SaleState::Closed,
            _ => return None,
        };
        // Of a sale that is sold under a fence the generation stands with the history of the Redis that this has to name.
        let (generation, fence) = match generation.iter().position(|byte| *byte == b' ') {
            Some(blank) => (&generation[..blank], Some(Replid::parse(&generation[blank + 1..])?)),
            None => (generation, None),
        };
        Some(Refreshed::Sale {
            is_fenced: fence.is_some(),
            sale: Sale {
                id: number(id)?,
                generation: u32::try_from(number(generation)?).ok()?,
                total: number(total)?,
                rate: number(rate)?,
                burst: number(burst)?,
            },
            state,
            opens_in: Duration::from_millis(number(left)?),
            stock: number(stock)?,
            outbox_entries: number(entries)?,
            outbox_orders: number(orders)?,
            outbox_oldest: EntryId::parse(oldest),
            outbox_newest: EntryId::parse(newest),
            queue_seed: if seed.is_empty() { None } else { Some(*Seed::parse(seed)?.bytes()) },
        })
    }
}

/// A decimal number without a sign.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_and_nothing_else_is() {
        let uuid = "00000000-0000-8000-8000-000000000001";
        let record = format!("R{uuid} 2 0 5-1");
        let read = |text: &str| Code::read(&Value::Bulk(text.as_bytes()));
        assert_eq!(read("+"), Some(Code::Accepted));
        assert_eq!(read("I3"), Some(Code::Insufficient(3)));
        assert_eq!(read("T12"), Some(Code::PlaceUsedUp(12)));
        assert_eq!(read("O1500"), Some(Code::NotOpen(Duration::from_millis(1500))));
        // Each of these is another answer to a buyer; one that is not read would be told as unknown.
        let told = ["0", "L", "C", "N", "F"].map(read);
        let meant = [Code::SoldOut, Code::LimitReached, Code::Closed, Code::OtherSale, Code::OutboxFull].map(Some);
        assert_eq!(told, meant);
        let Some(Code::Recorded(recorded)) = read(&record) else { panic!("a record") };
        assert_eq!((recorded.quantity, recorded.delivered), (2, false));
        assert_eq!(recorded.entry, EntryId { ms: 5, sequence: 1 });
        for wrong in ["", "++", "T", "T-1", "I", "I-3", "O", "O-1", "X", "R", "R1 2 3 4", &record.replace(" 0 ", " 2 ")]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(Code::read(&Value::Integer(0)), None);
    }
}
