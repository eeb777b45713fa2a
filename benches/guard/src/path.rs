//! The ways of a request that are counted: what is asked, and what has to be answered.

use std::str::FromStr;

/// The product of every request.
pub(crate) const PRODUCT: &str = "iphone-15-pro";
/// Digits of a buyer's number in the templates below.
const NUMBER: &str = "0000000";

/// A way that requests take in their thousands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// A token, a unit, a record, an acknowledgement: 200.
    Accepted,
    /// The bucket is known to be empty: 302 from memory.
    Redirected,
    /// Remembered as sold out; its record is looked up: 409.
    SoldOut,
    /// Its record is found by the script: 200 as the first time.
    Replayed,
    /// `GET /stock` from memory: 200.
    Stock,
}

impl Path {
    /// All of them.
    pub const ALL: [Path; 5] = [Path::Accepted, Path::Redirected, Path::SoldOut, Path::Replayed, Path::Stock];

    /// Its name in the recorded figures.
    pub fn name(self) -> &'static str {
        match self {
            Path::Accepted => "accepted",
            Path::Redirected => "redirected",
            Path::SoldOut => "sold_out",
            Path::Replayed => "replayed",
            Path::Stock => "stock",
        }
    }

    /// How every answer has to begin.
    pub(crate) fn status_line(self) -> &'static [u8] {
        match self {
            Path::Accepted | Path::Replayed | Path::Stock => b"HTTP/1.1 200 ",
            Path::Redirected => b"HTTP/1.1 302 ",
            Path::SoldOut => b"HTTP/1.1 409 ",
        }
    }

    /// The bytes of a request.
    pub(crate) fn template(self) -> Template {
        let method = match self {
            Path::Stock => format!("GET /stock/{PRODUCT}"),
            _ => "POST /order".to_owned(),
        };
        let head = format!(
            "{method} HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux)\r\nAccept: */*\r\n\
             Accept-Encoding: gzip,br\r\nConnection: keep-alive\r\n"
        );
        let text = if self == Path::Stock {
            format!("{head}\r\n")
        } else {
            let body = format!(r#"{{"productId":"{PRODUCT}","userId":"user-{NUMBER}","quantity":1}}"#);
            let length = body.len();
            format!(
                "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\
                 Idempotency-Key: checkout-{NUMBER}\r\n\r\n{body}"
            )
        };
        let numbers = text.match_indices(NUMBER).map(|(at, _)| at).collect();
        Template { bytes: text.into_bytes(), numbers }
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(name: &str) -> Result<Path, String> {
        Path::ALL.into_iter().find(|path| path.name() == name).ok_or_else(|| format!("there is no path {name:?}"))
    }
}

/// A request that is another buyer's each time.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) bytes: Vec<u8>,
    numbers: Vec<usize>,
}

impl Template {
    /// Writes the buyer's number wherever it stands.
    pub(crate) fn set_buyer(&mut self, number: u64) {
        for at in &self.numbers {
            let mut rest = number;
            for digit in self.bytes[*at..at + NUMBER.len()].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            assert!(rest == 0, "more buyers than numbers");
        }
    }
}
