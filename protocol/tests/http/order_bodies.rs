//! `POST /order`: what is an order, what is refused, and which member the refusal names.

use std::borrow::Cow;

use flux_protocol::http::order_body::{MEMBERS_MAX, OrderBody, OrderBodyError, parse};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;

use crate::json_shapes::{MALFORMED, WELL_FORMED};

fn order(product_id: &'static str, user_id: &'static str, quantity: u16) -> Result<OrderBody<'static>, OrderBodyError> {
    Ok(OrderBody { product_id: Cow::Borrowed(product_id), user_id: Some(Cow::Borrowed(user_id)), quantity })
}

/// An order with one more member.
fn with(member: &str) -> Vec<u8> {
    format!(r#"{{"productId":"p","userId":"u",{member}}}"#).into_bytes()
}

#[test]
fn orders() {
    for (body, expected) in [
        (r#"{"productId":"iphone-15","userId":"user-42","quantity":1}"#, order("iphone-15", "user-42", 1)),
        (r#"{"userId":"u","productId":"p"}"#, order("p", "u", 1)),
        (
            " \t\r\n{ \"quantity\" : 1000 , \"userId\" : \"u\" , \"productId\" : \"a.b_c:d-E9\" } \n",
            order("a.b_c:d-E9", "u", 1000),
        ),
        (
            r#"{"productId":"p","userId":"u","quantity":7,"note":"é ☃ \ud83d\ude00","x":[{"y":null}],"":0}"#,
            order("p", "u", 7),
        ),
        (r#"{"product\u0049d":"\u0070","userId":"\u0075"}"#, order("p", "u", 1)),
    ] {
        assert_eq!(parse(body.as_bytes()), expected, "{body}");
    }
    assert!(matches!(parse(br#"{"productId":"p","userId":"u","x":1}"#).unwrap().product_id, Cow::Borrowed("p")));
    let longest = "i".repeat(64);
    let body = format!(r#"{{"productId":"{longest}","userId":"{longest}"}}"#);
    assert_eq!(parse(body.as_bytes()).unwrap().user_id.as_deref(), Some(&*longest));
}

#[test]
fn quantities_are_integer_literals_from_1_to_1000() {
    for quantity in ["1", "9", "10", "999", "1000", "1 ", "\n1"] {
        assert!(parse(&with(&format!("\"quantity\":{quantity}"))).is_ok(), "{quantity}");
    }
    for quantity in [
        "0",
        "-0",
        "-1",
        "1001",
        "10000",
        "65536",
        "65537",
        "4294967297",
        "18446744073709551617",
        "1.0",
        "1e0",
        "1E0",
        "1.5",
        "0.1",
        "1e3",
        "1e400",
        "-1e400",
        "01",
        "+1",
        "0x1",
        "null",
        "true",
        "false",
        "\"1\"",
        "[1]",
        "{}",
        "[]",
        "",
        "NaN",
        "Infinity",
        "- 1",
        "1e",
        "1.",
        "\u{661}",
    ] {
        let body = with(&format!("\"quantity\":{quantity}"));
        assert_eq!(parse(&body), Err(OrderBodyError::InvalidQuantity), "{quantity}");
    }
    let endless = "9".repeat(3000);
    assert_eq!(parse(&with(&format!("\"quantity\":{endless}"))), Err(OrderBodyError::InvalidQuantity));
}

#[test]
fn identifiers_name_their_member_when_they_are_wrong() {
    let too_long = format!("\"{}\"", "i".repeat(65));
    for value in [
        "\"\"",
        "\".\"",
        "\"..\"",
        "\"a b\"",
        "\"a/b\"",
        "\"é\"",
        "\"a\\u0000\"",
        "\"\\ud800\"",
        "\"{a}\"",
        "1",
        "null",
        "true",
        "[\"a\"]",
        "{}",
        &too_long,
        "\"a\\nb\"",
        "\"\\\"\"",
        "'a'",
        "a",
    ] {
        assert_eq!(
            parse(format!(r#"{{"productId":{value},"userId":"u"}}"#).as_bytes()),
            Err(OrderBodyError::InvalidProductId),
            "{value}"
        );
        // Who knows the user by another name decides about texts that are no identifiers.
        let body = format!(r#"{{"productId":"p","userId":{value}}}"#);
        match serde_json::from_str::<String>(value) {
            Ok(text) if !text.is_empty() => {
                assert_eq!(parse(body.as_bytes()).map(|order| order.user_id), Ok(Some(text.into())), "{value}");
            }
            _ => assert_eq!(parse(body.as_bytes()), Err(OrderBodyError::InvalidUserId), "{value}"),
        }
    }
    let nobody = parse(br#"{"productId":"p","quantity":1}"#);
    assert_eq!(nobody, Ok(OrderBody { product_id: Cow::Borrowed("p"), user_id: None, quantity: 1 }));
    for (body, expected) in [
        ("{}", OrderBodyError::MissingProductId),
        (r#"{"userId":"u","quantity":1}"#, OrderBodyError::MissingProductId),
        (r#"{"productID":"p","userId":"u"}"#, OrderBodyError::MissingProductId),
    ] {
        assert_eq!(parse(body.as_bytes()), Err(expected), "{body}");
    }
}

#[test]
fn a_member_given_twice_is_refused_known_or_not() {
    for member in [
        r#""productId":"p""#,
        r#""productId":"q""#,
        r#""userId":"u""#,
        r#""quantity":1,"quantity":1"#,
        r#""product\u0049d":"p""#,
        r#""x":1,"x":2"#,
        r#""x":1,"y":2,"\u0078":2"#,
        r#""":1,"":1"#,
    ] {
        assert_eq!(parse(&with(member)), Err(OrderBodyError::Duplicate), "{member}");
    }
    assert!(parse(&with(r#""x":{"productId":1},"y":{"x":1}"#)).is_ok());
}

#[test]
fn members_are_bounded() {
    let members = |count: usize| (0..count - 2).map(|index| format!("\"{index}\":0")).collect::<Vec<_>>().join(",");
    assert!(parse(&with(&members(MEMBERS_MAX))).is_ok());
    assert_eq!(parse(&with(&members(MEMBERS_MAX + 1))), Err(OrderBodyError::TooManyMembers));
}

#[test]
fn what_is_not_an_object_is_refused() {
    for body in ["[]", "null", "true", "1", "\"a\"", "-0.1e1", r#"[{"productId":"p","userId":"u"}]"#] {
        assert_eq!(parse(body.as_bytes()), Err(OrderBodyError::NotAnObject), "{body}");
    }
    for body in [
        &b""[..],
        b" ",
        b"{",
        b"}",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b"{}{}",
        b"{},",
        b"{} x",
        b"\0",
        b"{}\0",
        b"{\0}",
        b"\x0c{}",
    ] {
        assert!(parse(body).is_err(), "{}", body.escape_ascii());
    }
    let order = br#"{"productId":"p","userId":"u"}"#;
    for (before, after) in [
        (&b"\xef\xbb\xbf"[..], &b""[..]),
        (b"", b"x"),
        (b"", b"{}"),
        (b"", b","),
        (b"", b"}"),
        (b"", b"\0"),
        (b"", b"//"),
        (b"\x0b", b""),
        (b"\xc2\xa0", b""),
        (b"", b"\x1a"),
    ] {
        assert_eq!(parse(&[before, order, after].concat()), Err(OrderBodyError::Malformed));
    }
    // UTF-16, as some clients would have it.
    let utf_16: Vec<u8> = order.iter().flat_map(|&byte| [byte, 0]).collect();
    assert_eq!(parse(&utf_16), Err(OrderBodyError::Malformed));
}

#[test]
fn deep_nesting_costs_no_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let depth = 4000 / (open.len() + close.len());
        let nested = format!("\"x\":{}0{}", open.repeat(depth), close.repeat(depth));
        assert!(parse(&with(&nested)).is_ok());
        assert_eq!(parse(&with(&format!("\"x\":{}", open.repeat(depth)))), Err(OrderBodyError::Malformed));
    }
    assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    assert!(parse("{\"a\":".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn json_is_refused_where_it_is_malformed_and_only_there() {
    let embed = |value: &[u8]| [br#"{"productId":"p","userId":"u","x":"#, value, b"}"].concat();
    for value in MALFORMED {
        assert_eq!(parse(&embed(value)), Err(OrderBodyError::Malformed), "{}", value.escape_ascii());
        assert!(parse(value).is_err(), "{}", value.escape_ascii());
    }
    for value in WELL_FORMED {
        assert_eq!(parse(&embed(value.as_bytes())), order("p", "u", 1), "{value}");
    }
}

#[test]
fn an_order_that_ends_early_is_refused() {
    let body = r#"{"productId":"p","userId":"u","quantity":1,"x":["\u00e9",{"y":-1.5e3}]}"#;
    assert!(parse(body.as_bytes()).is_ok());
    for end in 0..body.len() {
        assert!(parse(&body.as_bytes()[..end]).is_err(), "{}", &body[..end]);
    }
}

/// The rules once more, the slow way: over a whole tree of values, members in order.
fn oracle(body: &[u8]) -> Option<(String, Option<String>, u16)> {
    struct Members(Vec<(String, Value)>);
    impl<'de> serde::Deserialize<'de> for Members {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Members;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                    let mut members = vec![];
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    let Members(members) = serde_json::from_slice(body).ok()?;
    let mut names: Vec<_> = members.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    if names.len() != members.len() {
        return None;
    }
    let get = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let identifier = |name: &str| {
        let text = get(name)?.as_str()?;
        let allowed = |character: char| character.is_ascii_alphanumeric() || "._:-".contains(character);
        let is_valid = (1..=64).contains(&text.len()) && text.chars().all(allowed) && text != "." && text != "..";
        is_valid.then(|| text.to_owned())
    };
    let quantity = match get("quantity") {
        None => 1,
        Some(value) => value.as_u64().filter(|number| (1..=1000).contains(number))? as u16,
    };
    let user = match get("userId") {
        None => None,
        Some(value) => Some(value.as_str().filter(|text| !text.is_empty())?.to_owned()),
    };
    Some((identifier("productId")?, user, quantity))
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        " ",
        "\n",
        "\\",
        "\"productId\"",
        "\"userId\"",
        "\"quantity\"",
        "\"x\"",
        "\"p\"",
        "\"u-1\"",
        "\"\\u0070\"",
        "\"é\"",
        "\"..\"",
        "0",
        "1",
        "5",
        "1000",
        "1001",
        "-1",
        "0.5",
        "null",
        "true",
        "false",
        "\"productId\":\"p\"",
        "\"userId\":\"u\"",
        "\"quantity\":2",
        "\"x\":[1,{}]",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000, failure_persistence: None, rng_seed: RngSeed::Fixed(8259), ..ProptestConfig::default()
    })]

    #[test]
    fn orders_are_read_as_the_rules_say(
        members in prop::collection::vec(piece(), 0..6),
        spoil in prop::option::weighted(0.5, (piece(), any::<prop::sample::Index>())),
    ) {
        let mut body = format!("{{\"userId\":\"u\",\"productId\":\"p\",{}}}", members.join(","));
        if members.is_empty() {
            body = r#"{"userId":"u","productId":"p","quantity":12}"#.to_owned();
        }
        if let Some((piece, at)) = spoil {
            let at = (0..=at.index(body.len() + 1)).rev().find(|&at| body.is_char_boundary(at)).unwrap();
            body.insert_str(at, piece);
        }
        let read = parse(body.as_bytes()).ok();
        let read =
            read.map(|order| (order.product_id.into_owned(), order.user_id.map(Cow::into_owned), order.quantity));
        prop_assert_eq!(read, oracle(body.as_bytes()), "{}", body);
    }
}
