//! Parameters of a statement, as Parse names their types and Bind carries their values.
//!
//! Numbers, identifiers and arrays travel in binary, so that no value is ever quoted or escaped; text travels as text
//! with its type left to the statement, so that `$1::timestamptz` and `id = $1` mean what they say.

use bytes::{BufMut, BytesMut};
use postgres_protocol::types;
use postgres_protocol::{IsNull, Oid};

use crate::order::Uuid;

/// One value for one `$n`.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// NULL of whatever type the statement wants.
    Null,
    /// Text; the statement decides the type. Must not hold a NUL byte: the server refuses it (22021).
    Text(String),
    /// `boolean`.
    Bool(bool),
    /// `integer`.
    I32(i32),
    /// `bigint`.
    I64(i64),
    /// `uuid`.
    Uuid(Uuid),
    /// `bytea`.
    Bytes(Vec<u8>),
    /// `text[]`.
    Texts(Vec<String>),
    /// `integer[]`.
    I32s(Vec<i32>),
    /// `bigint[]`.
    I64s(Vec<i64>),
    /// `uuid[]`.
    Uuids(Vec<Uuid>),
    /// `bytea[]`; `None` is NULL.
    ByteStrings(Vec<Option<bytes::Bytes>>),
}

// Object ids of the built-in types, PostgreSQL's src/include/catalog/pg_type.dat; fixed for ever.
const UNSPECIFIED: Oid = 0;
const BOOL: Oid = 16;
const BYTEA: Oid = 17;
const INT8: Oid = 20;
const INT4: Oid = 23;
const TEXT: Oid = 25;
const UUID: Oid = 2950;
const BYTEA_ARRAY: Oid = 1001;
const INT4_ARRAY: Oid = 1007;
const TEXT_ARRAY: Oid = 1009;
const INT8_ARRAY: Oid = 1016;
const UUID_ARRAY: Oid = 2951;

impl Param {
    /// The type that Parse names.
    pub(super) fn oid(&self) -> Oid {
        match self {
            Param::Null | Param::Text(_) => UNSPECIFIED,
            Param::Bool(_) => BOOL,
            Param::I32(_) => INT4,
            Param::I64(_) => INT8,
            Param::Uuid(_) => UUID,
            Param::Bytes(_) => BYTEA,
            Param::Texts(_) => TEXT_ARRAY,
            Param::I32s(_) => INT4_ARRAY,
            Param::I64s(_) => INT8_ARRAY,
            Param::Uuids(_) => UUID_ARRAY,
            Param::ByteStrings(_) => BYTEA_ARRAY,
        }
    }

    /// The format that Bind names: 0 text, 1 binary.
    pub(super) fn format(&self) -> i16 {
        i16::from(self.oid() != UNSPECIFIED)
    }

    /// Appends the value, without its length.
    pub(super) fn write(&self, out: &mut BytesMut) -> IsNull {
        match self {
            Param::Null => return IsNull::Yes,
            Param::Text(text) => out.put_slice(text.as_bytes()),
            Param::Bool(value) => types::bool_to_sql(*value, out),
            Param::I32(value) => types::int4_to_sql(*value, out),
            Param::I64(value) => types::int8_to_sql(*value, out),
            Param::Uuid(value) => types::uuid_to_sql(value.0, out),
            Param::Bytes(value) => out.put_slice(value),
            Param::Texts(values) => array(out, TEXT, values.iter().map(|value| Some(value.as_bytes()))),
            Param::I32s(values) => {
                let values: Vec<_> = values.iter().map(|value| value.to_be_bytes()).collect();
                array(out, INT4, values.iter().map(|value| Some(&value[..])));
            }
            Param::I64s(values) => {
                let values: Vec<_> = values.iter().map(|value| value.to_be_bytes()).collect();
                array(out, INT8, values.iter().map(|value| Some(&value[..])));
            }
            Param::Uuids(values) => array(out, UUID, values.iter().map(|value| Some(&value.0[..]))),
            Param::ByteStrings(values) => array(out, BYTEA, values.iter().map(|value| value.as_deref())),
        }
        IsNull::No
    }
}

/// An array of one dimension as `array_recv` reads it: dimensions, whether a NULL is in it, element type, length, lower
/// bound, then each element with its length.
fn array<'a>(out: &mut BytesMut, element: Oid, values: impl ExactSizeIterator<Item = Option<&'a [u8]>> + Clone) {
    if values.len() == 0 {
        out.put_i32(0);
        out.put_i32(0);
        out.put_u32(element);
        return;
    }
    out.put_i32(1);
    out.put_i32(i32::from(values.clone().any(|value| value.is_none())));
    out.put_u32(element);
    out.put_i32(i32::try_from(values.len()).expect("a batch is far smaller"));
    out.put_i32(1);
    for value in values {
        match value {
            None => out.put_i32(-1),
            Some(value) => {
                out.put_i32(i32::try_from(value.len()).expect("a Kafka record is far smaller"));
                out.put_slice(value);
            }
        }
    }
}
