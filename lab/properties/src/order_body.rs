//! The body of an order: taken if and only if a second reader takes it, and read the same.
//!
//! The second reader knows RFC 8259's grammar by a few lines of its own, leaves strings to `serde_json`, and has SPEC.md's rules
//! of members in it.

use flux_protocol::http::order_body::{MEMBERS_MAX, OrderBody, parse};
use flux_protocol::order::is_identifier;

use crate::allocation;

/// The content of `POST /order`.
pub fn check(bytes: &[u8]) {
    // Names of members are kept until the object ends; a string with escapes is copied.
    let held_max = 4096 + 64 * bytes.len();
    let found = allocation::within(held_max, "an order's body", || {
        parse(bytes).map(|order| (order.product_id.to_string(), order.user_id.map(String::from), order.quantity))
    });
    let expected = order(bytes);
    match (&found, &expected) {
        (Ok(found), Some(expected)) => assert_eq!(found, expected),
        (Err(_), None) => {}
        _ => panic!("{found:?}, but {expected:?} by the second reader"),
    }
    if let Ok((product, user, quantity)) = found {
        assert!(is_identifier(product.as_bytes()) && (1..=1000).contains(&quantity));
        assert!(user.as_deref() != Some(""));
        let mut again = serde_json::json!({ "quantity": quantity, "productId": product });
        if let Some(user) = &user {
            again["userId"] = user.as_str().into();
        }
        let again = again.to_string();
        let OrderBody { product_id, user_id, quantity: units } = parse(again.as_bytes()).expect("written by us");
        assert_eq!((&*product_id, user_id.as_deref(), units), (&*product, user.as_deref(), quantity));
    }
}

type Order = (String, Option<String>, u16);

/// SPEC.md, "The order".
fn order(bytes: &[u8]) -> Option<Order> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (members, rest) = object(blank(text))?;
    if !blank(rest).is_empty() || members.len() > MEMBERS_MAX {
        return None;
    }
    let mut named = Vec::new();
    for (name, value) in members {
        let name: String = serde_json::from_str(name).ok()?;
        if named.iter().any(|(known, _)| *known == name) {
            return None;
        }
        named.push((name, value));
    }
    let member = |wanted: &str| named.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let product: String = serde_json::from_str(member("productId")?).ok()?;
    let user = match member("userId") {
        Some(value) => Some(serde_json::from_str::<String>(value).ok().filter(|user| !user.is_empty())?),
        None => None,
    };
    let quantity = match member("quantity") {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
        None => 1,
    };
    (is_identifier(product.as_bytes()) && (1..=1000).contains(&quantity)).then_some((product, user, quantity))
}

fn blank(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

type Members<'a> = Vec<(&'a str, &'a str)>;

/// The members of the object at the front, each as it is written, and what follows the object.
fn object(text: &str) -> Option<(Members<'_>, &str)> {
    let mut rest = blank(text.strip_prefix('{')?);
    let mut members = Vec::new();
    if let Some(after) = rest.strip_prefix('}') {
        return Some((members, after));
    }
    loop {
        let after = string(rest)?;
        let name = &rest[..rest.len() - after.len()];
        let start = blank(blank(after).strip_prefix(':')?);
        let after = value(start)?;
        members.push((name, &start[..start.len() - after.len()]));
        rest = blank(after);
        match rest.strip_prefix(',') {
            Some(after) => rest = blank(after),
            None => return rest.strip_prefix('}').map(|after| (members, after)),
        }
    }
}

/// What follows a value.
fn value(text: &str) -> Option<&str> {
    match text.bytes().next()? {
        b'{' => object(text).map(|(_, after)| after),
        b'[' => array(text),
        b'"' => string(text),
        b'-' | b'0'..=b'9' => number(text),
        _ => ["true", "false", "null"].iter().find_map(|word| text.strip_prefix(word)),
    }
}

fn array(text: &str) -> Option<&str> {
    let mut rest = blank(text.strip_prefix('[')?);
    if let Some(after) = rest.strip_prefix(']') {
        return Some(after);
    }
    loop {
        rest = blank(value(rest)?);
        match rest.strip_prefix(',') {
            Some(after) => rest = blank(after),
            None => return rest.strip_prefix(']'),
        }
    }
}

fn string(text: &str) -> Option<&str> {
    let mut letters = text.strip_prefix('"')?.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some(&text[at + 2..]),
            '\\' => match letters.next()?.1 {
                '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {}
                'u' => {
                    for _ in 0..4 {
                        letters.next().filter(|(_, digit)| digit.is_ascii_hexdigit())?;
                    }
                }
                _ => return None,
            },
            '\0'..='\x1f' => return None,
            _ => {}
        }
    }
    None
}

fn number(text: &str) -> Option<&str> {
    let digits = |text: &str| text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let text = text.strip_prefix('-').unwrap_or(text);
    let whole = if text.starts_with('0') { 1 } else { digits(text) };
    let mut rest = &text[whole..];
    if whole == 0 {
        return None;
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = Some(&fraction[digits(fraction)..]).filter(|after| after.len() < fraction.len())?;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        rest = Some(&exponent[digits(exponent)..]).filter(|after| after.len() < exponent.len())?;
    }
    Some(rest)
}
