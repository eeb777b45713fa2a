//! What `lease.lua` answers: tokens, and where the sale has a fair queue also how it moved.

use std::time::Duration;

use flux_protocol::queue::limits::TICKS;
use flux_protocol::queue::{Moved, Place, Watermark};
use flux_protocol::resp::Items;

/// Tokens that the bucket has granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseReply {
    /// How many.
    pub(crate) count: u64,
    /// For how long they are good, from when they were asked for.
    pub(crate) life: Duration,
    /// How long the bucket holds no token from now on.
    pub(crate) next_due: Duration,
    /// No unit was left.
    pub(crate) is_sold_out: bool,
}

impl LeaseReply {
    /// The first four words of a reply of `lease.lua`; `None` where it does not believe the sale.
    pub(crate) fn read(items: &mut Items<'_>) -> Option<LeaseReply> {
        let count = items.next_number()?;
        let (life, next_due) =
            (Duration::from_micros(items.next_number()?), Duration::from_micros(items.next_number()?));
        let is_sold_out = items.next_bulk()? == b"0";
        Some(LeaseReply { count, life, next_due, is_sold_out })
    }
}

/// What `lease.lua` answers where there is a fair queue.
pub(crate) struct QueueReply {
    /// The tokens.
    pub(crate) lease: LeaseReply,
    /// Redis' clock, µs since the Unix epoch.
    pub(crate) redis_us: u64,
    /// When the sale opens on it.
    pub(crate) opens_us: u64,
    /// How the queue moved.
    pub(crate) moved: Moved,
}

impl QueueReply {
    /// The whole reply; `None` where the script does not believe the sale.
    pub(crate) fn read(items: &mut Items<'_>) -> Option<QueueReply> {
        let lease = LeaseReply::read(items)?;
        let (redis_us, opens_us) = (items.next_number()?, items.next_number()?);
        let watermark = mark(items)?;
        let is_free = items.next_number()? == 1;
        let (issued, called, tick) = (items.next_number()?, items.next_number()?, items.next_number()?);
        let mut marks = [Watermark::default(); TICKS];
        for place in &mut marks {
            *place = mark(items)?;
        }
        let moved = Moved { watermark, is_free, issued, called, tick, marks };
        Some(QueueReply { lease, redis_us, opens_us, moved })
    }
}

fn mark(items: &mut Items<'_>) -> Option<Watermark> {
    let slot = u32::try_from(items.next_number()?).ok()?;
    let rank = u32::try_from(items.next_number()?).ok()?;
    Some(Watermark(Place { slot, rank }))
}
