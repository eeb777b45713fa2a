//! The two answers, of the edge's size and with its fields, `date` among them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const STOCK: [&str; 2] = [
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\ndate: ",
    "\r\ncontent-length: 59\r\n\r\n{\"productId\":\"bench\",\"available\":1000000000,\"state\":\"open\"}",
];
const REDIRECT: [&str; 2] = [
    "HTTP/1.1 302 Found\r\nlocation: http://localhost:4000/?product=trickle\r\ncache-control: no-store\r\ndate: ",
    "\r\ncontent-length: 0\r\n\r\n",
];

/// Both answers with the date of the second in which they were last written.
pub(crate) struct Answers {
    second: u64,
    stock: String,
    redirect: String,
}

impl Answers {
    /// Not written yet.
    pub(crate) fn new() -> Answers {
        Answers { second: 0, stock: String::new(), redirect: String::new() }
    }

    /// Appends the redirect that an order gets, or the stock.
    pub(crate) fn write(&mut self, is_post: bool, out: &mut Vec<u8>) {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second {
            self.second = second;
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            self.stock = STOCK.join(&date);
            self.redirect = REDIRECT.join(&date);
        }
        out.extend_from_slice(if is_post { &self.redirect } else { &self.stock }.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_bodies() {
        for [_, end] in [STOCK, REDIRECT] {
            let (fields, body) = end.split_once("\r\n\r\n").expect("a body, if an empty one");
            let length = fields.rsplit_once(' ').expect("a length").1;
            assert_eq!(length.parse(), Ok(body.len()));
        }
    }
}
