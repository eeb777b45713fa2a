//! `GET /queue/{productId}`: one answer for everybody, good for a second, from which a page works out its own place.
//!
//! Never names a visitor, and gives the seed away only where the sale has ended.

use super::place::{Place, Watermark};
use crate::order::decimal;

/// Where the line stands, in the words of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentState {
    /// The sale opens later; everyone who comes draws a lot for slot 0.
    Waiting,
    /// The line moves.
    Open,
    /// No unit is left. Units may come back.
    SoldOut,
    /// The sale has ended: the seed is there to check the lots by.
    Closed,
}

impl DocumentState {
    /// As the document writes it.
    pub fn name(self) -> &'static str {
        match self {
            DocumentState::Waiting => "waiting",
            DocumentState::Open => "open",
            DocumentState::SoldOut => "sold_out",
            DocumentState::Closed => "closed",
        }
    }
}

/// The document's content.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    /// Where the line stands.
    pub state: DocumentState,
    /// When the sale opens, milliseconds since the Unix epoch, Redis' clock.
    pub opens_at_ms: u64,
    /// When this was so, likewise.
    pub now_ms: u64,
    /// Orders a second; 0 is no limit.
    pub rate: u64,
    /// Everyone before it may order.
    pub watermark: Watermark,
    /// Places given, by slot, from the watermark's on.
    pub issued: &'a [u64],
    /// Units left.
    pub available: u64,
    /// SHA-256 of the seed.
    pub seed_hash: &'a [u8; 32],
    /// The seed. Written only where the state is [`DocumentState::Closed`].
    pub seed: &'a [u8; 32],
}

impl Document<'_> {
    /// Appends it as JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let number = |out: &mut Vec<u8>, name: &str, value: u64| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(decimal(value, &mut [0; 20]));
        };
        out.extend_from_slice(b"{\"state\":\"");
        out.extend_from_slice(self.state.name().as_bytes());
        number(out, "\",\"opensAt\":", self.opens_at_ms);
        number(out, ",\"now\":", self.now_ms);
        number(out, ",\"rate\":", self.rate);
        number(out, ",\"watermark\":{\"slot\":", self.watermark.0.slot.into());
        number(out, ",\"rank\":", self.watermark.0.rank.into());
        number(out, "},\"issuedFrom\":", self.watermark.0.slot.into());
        out.extend_from_slice(b",\"issued\":[");
        for (index, count) in self.issued.iter().enumerate() {
            number(out, if index == 0 { "" } else { "," }, *count);
        }
        number(out, "],\"available\":", self.available);
        out.extend_from_slice(b",\"seedHash\":\"");
        push_hex(out, self.seed_hash);
        out.extend_from_slice(b"\",\"seed\":");
        if self.state == DocumentState::Closed {
            out.push(b'"');
            push_hex(out, self.seed);
            out.extend_from_slice(b"\"}");
        } else {
            out.extend_from_slice(b"null}");
        }
    }
}

/// How many are before a place and were not called, by what the document says; 0: called. Within a slot it is an
/// estimate, since lots are spread evenly: off by some √n of the slot's n.
pub fn position(place: Place, watermark: Watermark, issued: &[u64]) -> u64 {
    if watermark.has_called(place) {
        return 0;
    }
    let part =
        |count: Option<&u64>, rank: u32| count.map_or(0.0, |count| *count as f64 * f64::from(rank) / 4_294_967_296.0);
    let mark = watermark.0;
    let slots = (place.slot - mark.slot) as usize;
    let whole: u64 = issued.iter().take(slots).sum();
    let before = whole as f64 + part(issued.get(slots), place.rank) - part(issued.first(), mark.rank);
    before.max(0.0).round() as u64
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend([byte >> 4, byte & 15].map(|nibble| b"0123456789abcdef"[usize::from(nibble)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(slot: u32, rank: u32) -> Watermark {
        Watermark(Place { slot, rank })
    }

    #[test]
    fn the_seed_is_given_away_only_when_the_sale_has_ended() {
        let (seed_hash, seed) = ([0xab; 32], [0x5e; 32]);
        for state in [DocumentState::Waiting, DocumentState::Open, DocumentState::SoldOut, DocumentState::Closed] {
            let document = Document {
                state,
                opens_at_ms: 1_764_590_400_000,
                now_ms: 1_764_590_412_345,
                rate: 10_000,
                watermark: mark(3, 1 << 31),
                issued: &[52_000, 9100, 8700],
                available: 41,
                seed_hash: &seed_hash,
                seed: &seed,
            };
            let mut text = Vec::new();
            document.write_json(&mut text);
            let hex = |byte: &str| byte.repeat(32);
            let seed = if state == DocumentState::Closed { format!("\"{}\"", hex("5e")) } else { "null".into() };
            let expected = format!(
                "{{\"state\":\"{}\",\"opensAt\":1764590400000,\"now\":1764590412345,\"rate\":10000,\
                 \"watermark\":{{\"slot\":3,\"rank\":2147483648}},\"issuedFrom\":3,\"issued\":[52000,9100,8700],\
                 \"available\":41,\"seedHash\":\"{}\",\"seed\":{seed}}}",
                state.name(),
                hex("ab"),
            );
            assert_eq!(String::from_utf8(text).expect("text"), expected);
        }
    }

    #[test]
    fn a_position_counts_those_between_the_watermark_and_the_place() {
        let issued = [1000, 200, 40];
        let position_of = |slot, rank| position(Place { slot, rank }, mark(3, 1 << 30), &issued);
        assert_eq!(position_of(3, (1 << 30) - 1), 0, "called");
        assert_eq!(position_of(3, 1 << 31), 250);
        assert_eq!(position_of(4, 0), 750);
        assert_eq!(position_of(5, 1 << 31), 970);
        assert_eq!(position_of(9, 7), 990, "a slot that the document does not know yet is the end");
    }
}
