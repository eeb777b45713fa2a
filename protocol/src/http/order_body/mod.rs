//! The body of `POST /order`: `{"productId":"…","userId":"…","quantity":1}`.
//!
//! Almost every order is written plainly, so it is first read by a scanner of a few lines that knows nothing else. It
//! may only accept: whatever it does not know (escapes, other members, every mistake) is read again by `serde_json`,
//! whose word is the only one that counts. A property test holds the two against each other.

mod any;
mod plain;

use std::borrow::Cow;

/// Most members of the object, known and unknown: their names are compared with each other.
pub const MEMBERS_MAX: usize = 64;

/// What a client orders. Borrowed from the body unless an identifier was written with escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBody<'b> {
    /// An identifier.
    pub product_id: Cow<'b, str>,
    /// Any text but `""`: whether it is an identifier is for the caller to look at, who may know the user by another name.
    /// `None` where the body does not say.
    pub user_id: Option<Cow<'b, str>>,
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
    /// `productId` is no identifier.
    #[error("Invalid productId")]
    InvalidProductId,
    /// `userId` is no text, or empty.
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
    match plain::parse(body) {
        Some(order) => Ok(order),
        None => any::parse(body),
    }
}

#[cfg(test)]
mod tests {
    use proptest::arbitrary::any as arbitrary;
    use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert_eq, prop_oneof, proptest};
    use proptest::test_runner::RngSeed;

    use super::{any, plain};

    /// Pieces of plain orders, in their places or not, and what may be taken for one.
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
            "\"productId\":",
            "\"userId\":",
            "\"quantity\":",
            "\"other\":",
            "\"product\\u0049d\":",
            "\"iphone-15\"",
            "\"user:42\"",
            "\"a b\"",
            "\"\"",
            "\".\"",
            "\"..\"",
            "\"\\u0061\"",
            "\"\u{e9}\"",
            "1",
            "1000",
            "1001",
            "0",
            "01",
            "-1",
            "1.0",
            "1e0",
            "65537",
            "true",
            "null",
            "\u{feff}",
        ])
    }

    fn body() -> impl Strategy<Value = String> {
        let member = prop::sample::select(vec![
            "\"productId\":\"iphone-15\"",
            "\"productId\" : \"a_b.c:d-e\"",
            "\"userId\":\"user-42\"",
            "\"userId\":\"..\"",
            "\"quantity\":1",
            "\"quantity\":\t1000 ",
            "\"quantity\":1001",
            "\"quantity\":007",
            "\"quantity\":\"1\"",
            "\"other\":[1]",
        ]);
        let order = prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(",")));
        let spoiled = (order.clone(), piece(), arbitrary::<prop::sample::Index>()).prop_map(|(order, piece, at)| {
            let at = at.index(order.len() + 1);
            format!("{}{piece}{}", &order[..at], &order[at..])
        });
        let soup = prop::collection::vec(piece(), 0..16).prop_map(|pieces| pieces.concat());
        prop_oneof![order, spoiled, soup]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 20_000, failure_persistence: None, rng_seed: RngSeed::Fixed(15), ..ProptestConfig::default()
        })]

        #[test]
        fn what_the_plain_scanner_accepts_serde_json_reads_the_same(body in body()) {
            if let Some(order) = plain::parse(body.as_bytes()) {
                prop_assert_eq!(Ok(order), any::parse(body.as_bytes()));
            }
        }
    }

    #[test]
    fn plain_orders_take_the_short_way() {
        for body in [
            r#"{"productId":"iphone-15","userId":"user-42","quantity":1}"#,
            r#"{"quantity":1000,"userId":"u","productId":"p"}"#,
            " {\r\n\t\"productId\" : \"p\" , \"userId\" : \"u\" } \n",
        ] {
            assert!(plain::parse(body.as_bytes()).is_some(), "{body}");
        }
    }
}
