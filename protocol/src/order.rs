//! The order, its identifiers and its record: the words edge and worker share.
//!
//! Never decides whether an order may be sold; never touches a wire format other than the topic's JSON record.

use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Longest identifier (product, user, idempotency key), in bytes.
pub const IDENTIFIER_BYTES_MAX: usize = 64;
/// Most units one order may ask for.
pub const QUANTITY_MAX: u16 = 1000;
/// Most units that a sale may allow one user.
pub const PER_USER_MAX: u16 = 1000;
/// Sale ids stay below this: they are milliseconds since the epoch, and exact as a Lua number and in a script of a page.
pub const SALE_ID_END: u64 = 1 << 52;
/// Highest generation of a sale: nobody rebuilds one a million times, and above it there is still room to count.
pub const GENERATION_MAX: u32 = 1_000_000;
/// Most units one sale may hold.
pub const SALE_TOTAL_MAX: u64 = 1_000_000_000;

/// Whether `bytes` is an identifier: 1 to 64 of `A-Z a-z 0-9 . _ : -`, but not `.` or `..`.
pub fn is_identifier(bytes: &[u8]) -> bool {
    (1..=IDENTIFIER_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
        && !matches!(bytes, b"." | b"..")
}

/// A validated identifier, stored inline: no allocation, 65 bytes. Ordered, for maps: the shorter first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier {
    length: u8,
    bytes: [u8; IDENTIFIER_BYTES_MAX],
}

impl Identifier {
    /// The identifier `bytes` spells, or `None` where it is none ([`is_identifier`]).
    pub fn new(bytes: &[u8]) -> Option<Identifier> {
        if !is_identifier(bytes) {
            return None;
        }
        let mut inline = [0; IDENTIFIER_BYTES_MAX];
        inline[..bytes.len()].copy_from_slice(bytes);
        Some(Identifier { length: bytes.len() as u8, bytes: inline })
    }

    /// Its bytes, all ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("an identifier is ASCII by construction")
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A UUID's 16 bytes; written as 36 lower-case characters (RFC 9562 section 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// Length of a UUID's text, in bytes.
pub const UUID_TEXT_BYTES: usize = 36;

impl Uuid {
    /// Its text, lower case with hyphens.
    pub fn text(&self) -> [u8; UUID_TEXT_BYTES] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; UUID_TEXT_BYTES];
        let mut at = 0;
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        text
    }

    /// The UUID that `text` spells: 36 lower-case characters, hyphens in place; else `None`.
    pub fn parse(text: &[u8]) -> Option<Uuid> {
        if text.len() != UUID_TEXT_BYTES {
            return None;
        }
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 16];
        let mut at = 0;
        for (index, byte) in bytes.iter_mut().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                if text[at] != b'-' {
                    return None;
                }
                at += 1;
            }
            *byte = nibble(text[at])? << 4 | nibble(text[at + 1])?;
            at += 2;
        }
        Some(Uuid(bytes))
    }

    /// A version 8 UUID (RFC 9562 section 5.8) of the first 16 of `bytes`: version and variant written over.
    pub fn version_8(bytes: [u8; 16]) -> Uuid {
        let mut bytes = bytes;
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid(bytes)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("hexadecimal digits and hyphens"))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The order's id: UUID version 8 over SHA-256 of product, sale id in decimal, user and key, each prefixed with its
/// length as one byte. The same order asked for again has the same id.
pub fn order_id(product: &[u8], sale_id: u64, user: &[u8], key: &[u8]) -> Uuid {
    debug_assert!(product.len() <= IDENTIFIER_BYTES_MAX && user.len() <= IDENTIFIER_BYTES_MAX);
    let mut digits = [0; 20];
    let sale_id = decimal(sale_id, &mut digits);
    let mut message = [0u8; 4 + 3 * IDENTIFIER_BYTES_MAX + 20];
    let mut length = 0;
    for part in [product, sale_id, user, key] {
        message[length] = part.len() as u8;
        message[length + 1..length + 1 + part.len()].copy_from_slice(part);
        length += 1 + part.len();
    }
    let digest = Sha256::digest(&message[..length]);
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    Uuid::version_8(first)
}

/// `value` in decimal digits, written into the end of `digits`; returns the written part.
pub fn decimal(mut value: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &digits[at..];
        }
    }
}

/// One accepted order as the topic carries it. Borrowed: an encoder's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Which order, the same for every repeat of its key.
    pub order_id: Uuid,
    /// Which taking of units: one order reserved twice has two.
    pub reservation_id: Uuid,
    /// An identifier.
    pub product_id: &'a str,
    /// An identifier.
    pub user_id: &'a str,
    /// Units, 1 to [`QUANTITY_MAX`].
    pub quantity: u16,
    /// The sale the units were taken from.
    pub sale_id: u64,
    /// Units of that sale in all.
    pub sale_total: u64,
    /// How often the sale had been rebuilt, plus one.
    pub generation: u32,
    /// When the edge read the order, milliseconds since the Unix epoch.
    pub timestamp: u64,
}

impl Record<'_> {
    /// Appends the record's JSON, members in the order SPEC.md shows them. Identifiers need no escaping.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let number = |out: &mut Vec<u8>, name: &[u8], value: u64| {
            out.extend_from_slice(name);
            out.extend_from_slice(decimal(value, &mut [0; 20]));
        };
        out.extend_from_slice(b"{\"orderId\":\"");
        out.extend_from_slice(&self.order_id.text());
        out.extend_from_slice(b"\",\"reservationId\":\"");
        out.extend_from_slice(&self.reservation_id.text());
        out.extend_from_slice(b"\",\"productId\":\"");
        out.extend_from_slice(self.product_id.as_bytes());
        out.extend_from_slice(b"\",\"userId\":\"");
        out.extend_from_slice(self.user_id.as_bytes());
        out.extend_from_slice(b"\"");
        number(out, b",\"quantity\":", u64::from(self.quantity));
        number(out, b",\"saleId\":", self.sale_id);
        number(out, b",\"saleTotal\":", self.sale_total);
        number(out, b",\"generation\":", u64::from(self.generation));
        number(out, b",\"timestamp\":", self.timestamp);
        out.push(b'}');
    }
}

/// What a record of the topic says: an order, or that a sale opened or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRecord {
    /// An accepted order.
    Order(OwnedRecord),
    /// `{"event":"sale-opened", …}`.
    SaleOpened(SaleEvent),
    /// `{"event":"sale-closed", …}`.
    SaleClosed(SaleEvent),
}

/// [`Record`] as the worker holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// See [`Record::order_id`].
    pub order_id: Uuid,
    /// See [`Record::reservation_id`].
    pub reservation_id: Uuid,
    /// See [`Record::product_id`].
    pub product_id: String,
    /// See [`Record::user_id`].
    pub user_id: String,
    /// See [`Record::quantity`].
    pub quantity: u16,
    /// See [`Record::sale_id`].
    pub sale_id: u64,
    /// See [`Record::sale_total`].
    pub sale_total: u64,
    /// See [`Record::generation`].
    pub generation: u32,
    /// See [`Record::timestamp`].
    pub timestamp: u64,
}

/// A sale that opened or closed, as the topic carries it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SaleEvent {
    /// `sale-opened` or `sale-closed`.
    pub event: String,
    /// An identifier.
    pub product_id: String,
    /// The sale.
    pub sale_id: u64,
    /// Its units in all.
    pub sale_total: u64,
    /// Its generation when the event was written.
    pub generation: u32,
    /// Units taken back unsold; 0 when it opens.
    #[serde(default)]
    pub withdrawn: u64,
    /// Orders per second of this sale's token bucket; 0 is no limit.
    pub rate: u64,
    /// Capacity of the bucket, orders.
    pub burst: u64,
    /// Units that one user may take; 0 where there is no limit, and when it closes.
    #[serde(default)]
    pub per_user: u16,
    /// When units may be sold from, milliseconds since the Unix epoch on Redis' clock; 0 where that is from the start, and
    /// when it closes.
    #[serde(default)]
    pub opens_at: u64,
    /// `fair` where the sale has a fair queue, `retry` where it has none; empty when it closes.
    #[serde(default)]
    pub queue: String,
    /// Drawn when the sale opened, 64 hexadecimal digits (for the fair queue); empty when it closes.
    #[serde(default)]
    pub seed: String,
    /// When, milliseconds since the Unix epoch.
    pub timestamp: u64,
}

/// Why a record of the topic is none of ours. It goes to the dead letters with its bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// Not JSON, or a member is missing or of the wrong type.
    #[error("not an order record: {0}")]
    Json(String),
    /// JSON of the right shape with a value out of range; names the member.
    #[error("`{0}` is out of range")]
    Range(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRecord {
    order_id: String,
    reservation_id: String,
    product_id: String,
    user_id: String,
    quantity: u16,
    sale_id: u64,
    sale_total: u64,
    generation: u32,
    timestamp: u64,
}

#[derive(Deserialize)]
struct EventName<'a> {
    #[serde(borrow)]
    event: Option<std::borrow::Cow<'a, str>>,
}

impl TopicRecord {
    /// What the value of a topic record says.
    ///
    /// # Errors
    /// [`RecordError`] where it is not a record of ours; its neighbours are not concerned.
    pub fn parse(value: &[u8]) -> Result<TopicRecord, RecordError> {
        let json = |error: serde_json::Error| RecordError::Json(error.to_string());
        let name: EventName<'_> = serde_json::from_slice(value).map_err(json)?;
        if let Some(event) = name.event {
            let sale: SaleEvent = serde_json::from_slice(value).map_err(json)?;
            check(is_identifier(sale.product_id.as_bytes()), "productId")?;
            check((1..=SALE_TOTAL_MAX).contains(&sale.sale_total), "saleTotal")?;
            check(sale.withdrawn <= sale.sale_total, "withdrawn")?;
            check(sale.per_user <= PER_USER_MAX, "perUser")?;
            check((1..SALE_ID_END).contains(&sale.sale_id), "saleId")?;
            check(sale.generation <= GENERATION_MAX, "generation")?;
            check(matches!(&*sale.queue, "" | "fair" | "retry"), "queue")?;
            return match &*event {
                "sale-opened" => Ok(TopicRecord::SaleOpened(sale)),
                "sale-closed" => Ok(TopicRecord::SaleClosed(sale)),
                _ => Err(RecordError::Range("event")),
            };
        }
        let raw: RawRecord = serde_json::from_slice(value).map_err(json)?;
        check(is_identifier(raw.product_id.as_bytes()), "productId")?;
        check(is_identifier(raw.user_id.as_bytes()), "userId")?;
        check((1..=QUANTITY_MAX).contains(&raw.quantity), "quantity")?;
        check((1..=SALE_TOTAL_MAX).contains(&raw.sale_total), "saleTotal")?;
        check((1..SALE_ID_END).contains(&raw.sale_id), "saleId")?;
        check(raw.generation <= GENERATION_MAX, "generation")?;
        check(raw.timestamp < 1 << 52, "timestamp")?;
        Ok(TopicRecord::Order(OwnedRecord {
            order_id: Uuid::parse(raw.order_id.as_bytes()).ok_or(RecordError::Range("orderId"))?,
            reservation_id: Uuid::parse(raw.reservation_id.as_bytes()).ok_or(RecordError::Range("reservationId"))?,
            product_id: raw.product_id,
            user_id: raw.user_id,
            quantity: raw.quantity,
            sale_id: raw.sale_id,
            sale_total: raw.sale_total,
            generation: raw.generation,
            timestamp: raw.timestamp,
        }))
    }
}

fn check(holds: bool, member: &'static str) -> Result<(), RecordError> {
    if holds { Ok(()) } else { Err(RecordError::Range(member)) }
}
