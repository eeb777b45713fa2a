//! The body of `POST /order`: `{"productId":"…","userId":"…","quantity":1}`.
//!
//! Almost every order is written plainly, so it is first read by a scanner of a few lines that knows nothing else. It
//! may only accept: whatever it does not know (escapes, other members, every mistake) is read again by `serde_json`,
//! whose word is the only one that counts. A property test holds the two against each other.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use smallvec::SmallVec;

use crate::order::{QUANTITY_MAX, is_identifier};

/// Most members of the object, known and unknown: their names are compared with each other.
pub const MEMBERS_MAX: usize = 64;

/// What a client orders. Borrowed from the body unless an identifier was written with escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBody<'b> {
    /// An identifier.
    pub product_id: Cow<'b, str>,
    /// An identifier.
    pub user_id: Cow<'b, str>,
    /// Units, 1 to 1000; 1 where the body does not say.
    pub quantity: u16,
}

/// Why a body is no order. Each is a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderBodyError {
    /// Not JSON (RFC 8259), or not UTF-8.
    #[error("Malformed JSON")]
    Malformed,
    /// JSON, but not an object.
    #[error("Not a JSON object")]
    NotAnObject,
    /// More than [`MEMBERS_MAX`] members.
    #[error("Too many members")]
    TooManyMembers,
    /// A member stands there twice; unknown ones too.
    #[error("Duplicate member")]
    Duplicate,
    /// `productId` is missing.
    #[error("Missing productId")]
    MissingProductId,
    /// `userId` is missing.
    #[error("Missing userId")]
    MissingUserId,
    /// `productId` is no identifier.
    #[error("Invalid productId")]
    InvalidProductId,
    /// `userId` is no identifier.
    #[error("Invalid userId")]
    InvalidUserId,
    /// `quantity` is no integer literal from 1 to 1000.
    #[error("Invalid quantity")]
    InvalidQuantity,
}

impl OrderBodyError {
    /// The text of the JSON `error`: ASCII, nothing to escape.
    pub fn error(self) -> &'static str {
        match self {
            OrderBodyError::Malformed => "Malformed JSON",
            OrderBodyError::NotAnObject => "Not a JSON object",
            OrderBodyError::TooManyMembers => "Too many members",
            OrderBodyError::Duplicate => "Duplicate member",
            OrderBodyError::MissingProductId => "Missing productId",
            OrderBodyError::MissingUserId => "Missing userId",
            OrderBodyError::InvalidProductId => "Invalid productId",
            OrderBodyError::InvalidUserId => "Invalid userId",
            OrderBodyError::InvalidQuantity => "Invalid quantity",
        }
    }
}

/// What `body` orders.
///
/// # Errors
/// The first thing wrong with it, in the order of its bytes; a missing member comes last.
pub fn parse(body: &[u8]) -> Result<OrderBody<'_>, OrderBodyError> {
    match parse_plain(body) {
        Some(order) => Ok(order),
        None => parse_any(body),
    }
}

/// The short way, for orders of the three known members without escapes. `None` says nothing about the body.
#[doc(hidden)] // public for the test that compares the two
pub fn parse_plain(body: &[u8]) -> Option<OrderBody<'_>> {
    let mut rest = after(after_space(body), b'{')?;
    let (mut product_id, mut user_id, mut quantity) = (None, None, None);
    loop {
        let (name, after_name) = plain_string(after_space(rest))?;
        let value = after_space(after(after_space(after_name), b':')?);
        rest = match name {
            b"productId" if product_id.is_none() => take_identifier(value, &mut product_id)?,
            b"userId" if user_id.is_none() => take_identifier(value, &mut user_id)?,
            b"quantity" if quantity.is_none() => {
                let (number, rest) = plain_quantity(value)?;
                quantity = Some(number);
                rest
            }
            _ => return None,
        };
        rest = after_space(rest);
        match rest.split_first()? {
            (b',', after) => rest = after,
            (b'}', after) if after_space(after).is_empty() => break,
            _ => return None,
        }
    }
    let text = |bytes| std::str::from_utf8(bytes).ok().map(Cow::Borrowed);
    Some(OrderBody { product_id: text(product_id?)?, user_id: text(user_id?)?, quantity: quantity.unwrap_or(1) })
}

fn after_space(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    &bytes[spaces..]
}

fn after(bytes: &[u8], expected: u8) -> Option<&[u8]> {
    bytes.split_first().and_then(|(&first, rest)| (first == expected).then_some(rest))
}

fn take_identifier<'b>(bytes: &'b [u8], place: &mut Option<&'b [u8]>) -> Option<&'b [u8]> {
    let (value, rest) = plain_string(bytes)?;
    *place = Some(value);
    is_identifier(value).then_some(rest)
}

/// A string of ASCII letters, digits and the other characters of identifiers.
fn plain_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = after(bytes, b'"')?;
    let is_plain = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
    let (string, rest) = inner.split_at(inner.iter().take_while(is_plain).count());
    Some((string, after(rest, b'"')?))
}

fn plain_quantity(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=4).contains(&digits) || bytes[0] == b'0' {
        return None;
    }
    let (digits, rest) = bytes.split_at(digits);
    let number = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    (number <= QUANTITY_MAX).then_some((number, rest))
}

/// The long way, for every body: `serde_json` decides what is JSON.
#[doc(hidden)] // public for the test that compares the two
pub fn parse_any(body: &[u8]) -> Result<OrderBody<'_>, OrderBodyError> {
    // Ignored strings are not looked into by serde_json, so it has to be told that all of them are UTF-8.
    let text = std::str::from_utf8(body).map_err(|_| OrderBodyError::Malformed)?;
    let mut reason = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let order = Members { reason: &mut reason }.deserialize(&mut json);
    let order = order.and_then(|order| json.end().map(|()| order));
    order.map_err(|error| match reason {
        Some(reason) => reason,
        None if error.is_data() => OrderBodyError::NotAnObject,
        None => OrderBodyError::Malformed,
    })
}

/// Reads the object; `reason` holds what went wrong where it was more than JSON, since serde's errors can only speak.
struct Members<'r> {
    reason: &'r mut Option<OrderBodyError>,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = OrderBody<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<OrderBody<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = OrderBody<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OrderBody<'de>, A::Error> {
        let mut names: SmallVec<[Cow<'de, str>; 8]> = SmallVec::new();
        let (mut product_id, mut user_id, mut quantity) = (None, None, 1);
        while let Some(Text(name)) = map.next_key_seed(AnyText)? {
            if names.contains(&name) {
                return Err(refuse(self.reason, OrderBodyError::Duplicate));
            }
            if names.len() == MEMBERS_MAX {
                return Err(refuse(self.reason, OrderBodyError::TooManyMembers));
            }
            // An error inside of a member's value is that member's.
            match &*name {
                "productId" => {
                    *self.reason = Some(OrderBodyError::InvalidProductId);
                    product_id = Some(map.next_value_seed(IdentifierText)?);
                }
                "userId" => {
                    *self.reason = Some(OrderBodyError::InvalidUserId);
                    user_id = Some(map.next_value_seed(IdentifierText)?);
                }
                "quantity" => {
                    *self.reason = Some(OrderBodyError::InvalidQuantity);
                    quantity = map.next_value_seed(Quantity)?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            *self.reason = None;
            names.push(name);
        }
        let product_id = product_id.ok_or_else(|| refuse(self.reason, OrderBodyError::MissingProductId))?;
        let user_id = user_id.ok_or_else(|| refuse(self.reason, OrderBodyError::MissingUserId))?;
        Ok(OrderBody { product_id, user_id, quantity })
    }
}

fn refuse<E: Error>(place: &mut Option<OrderBodyError>, reason: OrderBodyError) -> E {
    *place = Some(reason);
    E::custom(reason)
}

struct Text<'de>(Cow<'de, str>);

/// Any string, borrowed where it can be.
struct AnyText;

impl<'de> DeserializeSeed<'de> for AnyText {
    type Value = Text<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for AnyText {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

/// A string that is an identifier.
struct IdentifierText;

impl<'de> DeserializeSeed<'de> for IdentifierText {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        let Text(text) = AnyText.deserialize(deserializer)?;
        if is_identifier(text.as_bytes()) { Ok(text) } else { Err(D::Error::custom("not an identifier")) }
    }
}

/// An integer literal from 1 to [`QUANTITY_MAX`].
struct Quantity;

impl<'de> DeserializeSeed<'de> for Quantity {
    type Value = u16;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u16, D::Error> {
        deserializer.deserialize_u64(self)
    }
}

impl Visitor<'_> for Quantity {
    type Value = u16;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer from 1 to {QUANTITY_MAX}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u16, E> {
        match u16::try_from(number) {
            Ok(number @ 1..=QUANTITY_MAX) => Ok(number),
            _ => Err(E::custom("out of range")),
        }
    }
}
