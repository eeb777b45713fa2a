//! Orders of the three known members, without escapes: what clients send. It accepts or says nothing.

use std::borrow::Cow;

use super::OrderBody;
use crate::order::{QUANTITY_MAX, is_identifier};

/// The order, where `body` is written plainly. `None` says nothing about it.
pub(super) fn parse(body: &[u8]) -> Option<OrderBody<'_>> {
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
    let user_id = match user_id {
        Some(user_id) => Some(text(user_id)?),
        None => None,
    };
    Some(OrderBody { product_id: text(product_id?)?, user_id, quantity: quantity.unwrap_or(1) })
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
