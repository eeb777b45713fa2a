//! Every body, read by `serde_json`: it decides what is JSON.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use smallvec::SmallVec;

use super::{MEMBERS_MAX, OrderBody, OrderBodyError};
use crate::order::{QUANTITY_MAX, is_identifier};

/// What `body` orders, or the first thing wrong with it.
pub(super) fn parse(body: &[u8]) -> Result<OrderBody<'_>, OrderBodyError> {
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
                    user_id = Some(map.next_value_seed(NameText)?);
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

/// A string that is not empty.
struct NameText;

impl<'de> DeserializeSeed<'de> for NameText {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        let Text(text) = AnyText.deserialize(deserializer)?;
        if text.is_empty() { Err(D::Error::custom("empty")) } else { Ok(text) }
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
