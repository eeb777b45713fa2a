//! A sale as Redis shows it, and the ticket of its queue as it travels: the words that answers, counters and a core's memory
//! share.

use flux_protocol::fence::Replid;
use flux_protocol::order::decimal;
use flux_protocol::queue::TICKET_TEXT_BYTES;
use flux_protocol::resp;

/// A ticket of a fair queue as it travels.
pub type TicketText = [u8; TICKET_TEXT_BYTES];

/// The state of a sale, as `GET /stock` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaleState {
    /// Units may be sold.
    Open,
    /// Opens later.
    Scheduled,
    /// Not a unit is left.
    SoldOut,
    /// Redis is not the one that opened the sale, or a key is missing: nothing is sold until a rebuild.
    Suspended,
    /// Ended by the operator.
    Closed,
}

impl SaleState {
    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            SaleState::Open => "open",
            SaleState::Scheduled => "scheduled",
            SaleState::SoldOut => "sold_out",
            SaleState::Suspended => "suspended",
            SaleState::Closed => "closed",
        }
    }
}

/// A sale as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sale {
    /// Rises with every `/init`.
    pub id: u64,
    /// Rises with every rebuild.
    pub generation: u32,
    /// Units in all.
    pub total: u64,
    /// Orders a second; 0 is no limit.
    pub rate: u64,
    /// Orders.
    pub burst: u64,
}

/// The latest sale id and generation that a core has seen of a product, as the scripts take them: an earlier one is never
/// believed (`is_behind` of `lua/trust.lua`). With them goes the fence that the caller obeys, without which a sale that is sold
/// under one is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    latest: Option<(u64, u32)>,
    obeyed: Option<Replid>,
}

impl Seen {
    /// Of a product whose latest sale and generation, as far as they are known, are these.
    pub fn of(latest: Option<(u64, u32)>) -> Seen {
        Seen { latest, obeyed: None }
    }

    /// The same of a caller that obeys the fence by which the Redis of this history sells that sale.
    #[must_use]
    pub fn obeying(self, fence: Option<Replid>) -> Seen {
        Seen { obeyed: fence, ..self }
    }

    /// Appends the two as arguments of a call; they are empty where no sale was seen.
    pub fn write(self, out: &mut Vec<u8>) {
        match self.latest {
            Some((id, generation)) => {
                resp::bulk_number(out, id);
                write_generation(out, generation, self.obeyed);
            }
            None => {
                resp::bulk(out, b"");
                resp::bulk(out, b"");
            }
        }
    }

    /// The two in words.
    pub fn texts(self) -> [String; 2] {
        let Some((id, generation)) = self.latest else { return Default::default() };
        let mut text = [0; GENERATION_TEXT_BYTES];
        let generation = generation_text(generation, self.obeyed, &mut text);
        [id.to_string(), String::from_utf8_lossy(generation).into_owned()]
    }
}

/// Room for a generation in words, with the fence that is obeyed.
pub type GenerationText = [u8; GENERATION_TEXT_BYTES];

/// Twenty digits, a blank, forty characters.
pub const GENERATION_TEXT_BYTES: usize = 61;

/// A generation in words, with the fence that is obeyed (`lua/trust.lua`).
pub fn generation_text(generation: u32, fence: Option<Replid>, text: &mut GenerationText) -> &[u8] {
    let mut digits = [0; 20];
    let digits = decimal(generation.into(), &mut digits);
    let mut end = digits.len();
    text[..end].copy_from_slice(digits);
    if let Some(fence) = fence {
        let fence = fence.as_str().as_bytes();
        text[end] = b' ';
        text[end + 1..end + 1 + fence.len()].copy_from_slice(fence);
        end += 1 + fence.len();
    }
    &text[..end]
}

/// Appends a generation as an argument of a call, with the fence that is obeyed (`lua/trust.lua`).
pub fn write_generation(out: &mut Vec<u8>, generation: u32, fence: Option<Replid>) {
    resp::bulk(out, generation_text(generation, fence, &mut [0; GENERATION_TEXT_BYTES]));
}
