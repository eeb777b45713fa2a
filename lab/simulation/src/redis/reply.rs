//! What a command answers, before it is bytes or a Lua value.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::keyspace::Text;

/// One reply of RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Status(Cow<'static, str>),
    /// Without the leading `-`.
    Error(Cow<'static, str>),
    Integer(i64),
    Bulk(Text),
    Null,
    NullArray,
    Array(Vec<Reply>),
}

/// Why a command did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Redis' own words, without the leading `-`.
    Words(Cow<'static, str>),
    /// Redis could do this and the fake cannot: whoever needs it has to teach it. Recorded, so that a run can fail.
    Beyond(String),
}

/// What a command comes to.
pub(super) type Outcome = Result<Reply, Failure>;

pub(super) const WRONG_TYPE: Failure =
    Failure::Words(Cow::Borrowed("WRONGTYPE Operation against a key holding the wrong kind of value"));
pub(super) const SYNTAX: Failure = Failure::Words(Cow::Borrowed("ERR syntax error"));
pub(super) const NOT_AN_INTEGER: Failure = Failure::Words(Cow::Borrowed("ERR value is not an integer or out of range"));

impl Failure {
    pub(super) const fn words(words: &'static str) -> Failure {
        Failure::Words(Cow::Borrowed(words))
    }
}

impl Reply {
    pub(super) const OK: Reply = Reply::Status(Cow::Borrowed("OK"));

    /// An error line; Redis writes blanks where it would break.
    pub(super) fn error(words: &str) -> Reply {
        let line: String = words.trim_end_matches(['\r', '\n']).replace(['\r', '\n'], " ");
        Reply::Error(line.into())
    }

    pub(super) fn count(count: usize) -> Reply {
        Reply::Integer(i64::try_from(count).expect("nothing here has so many elements"))
    }

    pub(super) fn bulk(text: impl AsRef<[u8]>) -> Reply {
        Reply::Bulk(Text::from(text.as_ref()))
    }

    pub(super) fn bulk_or_null(bulk: Option<&Text>) -> Reply {
        bulk.map_or(Reply::Null, |bulk| Reply::Bulk(bulk.clone()))
    }

    /// Appends the reply as it goes over the wire.
    pub(super) fn write(&self, out: &mut BytesMut) {
        match self {
            Reply::Status(text) => line(out, b'+', text.as_bytes()),
            Reply::Error(text) => line(out, b'-', text.as_bytes()),
            Reply::Integer(number) => line(out, b':', number.to_string().as_bytes()),
            Reply::Bulk(bytes) => {
                line(out, b'$', bytes.len().to_string().as_bytes());
                out.put_slice(bytes);
                out.put_slice(b"\r\n");
            }
            Reply::Null => out.put_slice(b"$-1\r\n"),
            Reply::NullArray => out.put_slice(b"*-1\r\n"),
            Reply::Array(items) => {
                line(out, b'*', items.len().to_string().as_bytes());
                items.iter().for_each(|item| item.write(out));
            }
        }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        match failure {
            Failure::Words(words) => Reply::error(&words),
            Failure::Beyond(what) => Reply::error(&format!("ERR the fake Redis cannot do this: {what}")),
        }
    }
}

fn line(out: &mut BytesMut, kind: u8, text: &[u8]) {
    out.put_u8(kind);
    out.put_slice(text);
    out.put_slice(b"\r\n");
}
