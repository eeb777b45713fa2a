//! The events of a sale as the topic has them, from what `init.lua` and `close.lua` say of it.

use flux_protocol::order::{Identifier, SaleEvent};

use crate::redis::replies::number;

/// Of a sale that was opened.
pub(super) const OPENED: &str = "sale-opened";

/// The event of a sale that was opened before, from what `init.lua` says behind `BUSY`.
pub(super) fn sale_under_way(name: Identifier, words: &[Vec<u8>]) -> Option<SaleEvent> {
    let [numbers @ .., seed, queue] = words else { return None };
    let numbers: Vec<u64> = numbers.iter().map(|word| number(word)).collect::<Option<_>>()?;
    let [of_sale @ .., per_user, opens_at, opened_at] = &numbers[..] else { return None };
    Some(SaleEvent {
        event: OPENED.into(),
        per_user: u16::try_from(*per_user).ok()?,
        opens_at: *opens_at,
        queue: std::str::from_utf8(queue).ok()?.into(),
        seed: std::str::from_utf8(seed).ok()?.into(),
        ..sale_closed(name, of_sale, *opened_at)?
    })
}

/// The event of a sale that closed, from what a script says of it: id, generation, total, withdrawn, rate, burst.
pub(super) fn sale_closed(name: Identifier, numbers: &[u64], timestamp: u64) -> Option<SaleEvent> {
    let [sale_id, generation, sale_total, withdrawn, rate, burst] = *numbers else { return None };
    Some(SaleEvent {
        event: "sale-closed".into(),
        product_id: name.as_str().into(),
        sale_id,
        sale_total,
        generation: generation as u32,
        withdrawn,
        rate,
        burst,
        per_user: 0,
        opens_at: 0,
        queue: String::new(),
        seed: String::new(),
        timestamp,
    })
}
