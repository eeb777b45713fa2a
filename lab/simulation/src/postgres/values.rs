//! Values on their way in and out: what Bind carries, what a row says, and arithmetic as PostgreSQL does it.

use bytes::{Buf, Bytes};
use flux_protocol::order::Uuid;
use flux_protocol::postgres::Param;

use super::error::SqlError;

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01 UTC.
pub const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// The first and the first invalid `timestamptz` (`src/include/datatype/timestamp.h`).
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// The values bound to a statement, `$1` at 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(pub(super) Vec<Param>);

macro_rules! accessor {
    ($name:ident, $variant:ident, $type:ty) => {
        pub(super) fn $name(&self, number: usize) -> Result<&$type, SqlError> {
            match self.0.get(number - 1) {
                Some(Param::$variant(value)) => Ok(value),
                other => Err(SqlError::stranger(format!("${number} is {other:?}"))),
            }
        }
    };
}

impl Params {
    accessor!(text, Text, str);
    accessor!(i32, I32, i32);
    accessor!(i64, I64, i64);
    accessor!(uuid, Uuid, Uuid);
    accessor!(texts, Texts, [String]);
    accessor!(i32s, I32s, [i32]);
    accessor!(i64s, I64s, [i64]);
    accessor!(uuids, Uuids, [Uuid]);
    accessor!(byte_strings, ByteStrings, [Option<Bytes>]);

    /// unnest pads shorter arrays with NULL; nobody of ours sends such.
    pub(super) fn all_of_length(lengths: &[usize]) -> Result<usize, SqlError> {
        if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(SqlError::stranger("arrays of different lengths"));
        }
        Ok(lengths[0])
    }
}

/// One parameter as Parse declared and Bind wrote it.
pub(super) fn read_param(oid: u32, format: i16, value: Option<Bytes>) -> Result<Param, SqlError> {
    let stranger = || SqlError::stranger(format!("a parameter of type {oid} in format {format}"));
    let Some(mut value) = value else { return Ok(Param::Null) };
    if oid == 0 && format == 0 {
        return text(&value).map(Param::Text);
    }
    if format != 1 {
        return Err(stranger());
    }
    Ok(match oid {
        16 if value.len() == 1 => Param::Bool(value[0] != 0),
        17 => Param::Bytes(value.to_vec()),
        20 => Param::I64(i64::from_be_bytes(sized(&value)?)),
        23 => Param::I32(i32::from_be_bytes(sized(&value)?)),
        2950 => Param::Uuid(Uuid(sized(&value)?)),
        1001 => Param::ByteStrings(elements(&mut value, 17)?),
        1007 => Param::I32s(each(&mut value, 23, |bytes| sized(bytes).map(i32::from_be_bytes))?),
        1009 => Param::Texts(each(&mut value, 25, text)?),
        1016 => Param::I64s(each(&mut value, 20, |bytes| sized(bytes).map(i64::from_be_bytes))?),
        2951 => Param::Uuids(each(&mut value, 2950, |bytes| sized(bytes).map(Uuid))?),
        _ => return Err(stranger()),
    })
}

fn each<T>(value: &mut Bytes, oid: u32, read: impl Fn(&[u8]) -> Result<T, SqlError>) -> Result<Vec<T>, SqlError> {
    let null = || SqlError::stranger("NULL in an array");
    elements(value, oid)?.into_iter().map(|element| read(&element.ok_or_else(null)?)).collect()
}

/// `array_recv`: dimensions, flags, element type, length, lower bound, then the elements.
fn elements(value: &mut Bytes, oid: u32) -> Result<Vec<Option<Bytes>>, SqlError> {
    let malformed = || SqlError::new(b"22P03", "incorrect binary data format");
    let dimensions = value.try_get_i32().map_err(|_| malformed())?;
    value.try_get_i32().map_err(|_| malformed())?;
    if value.try_get_u32().map_err(|_| malformed())? != oid {
        return Err(malformed());
    }
    match dimensions {
        0 => return Ok(Vec::new()),
        1 => {}
        _ => return Err(SqlError::stranger("an array of several dimensions")),
    }
    let length = value.try_get_i32().map_err(|_| malformed())?;
    value.try_get_i32().map_err(|_| malformed())?;
    let mut elements = Vec::new();
    for _ in 0..length {
        let bytes = value.try_get_i32().map_err(|_| malformed())?;
        elements.push(match usize::try_from(bytes) {
            Err(_) => None,
            Ok(bytes) if bytes <= value.len() => Some(value.split_to(bytes)),
            Ok(_) => return Err(malformed()),
        });
    }
    Ok(elements)
}

/// A value of a fixed length, as its type's receive function takes it.
pub(super) fn sized<const N: usize>(value: &[u8]) -> Result<[u8; N], SqlError> {
    match value.len() {
        length if length < N => Err(SqlError::new(b"08P01", "insufficient data left in message")),
        length if length > N => Err(SqlError::new(b"22P03", "incorrect binary data format")),
        _ => Ok(value.try_into().expect("the length was looked at")),
    }
}

/// Text of a UTF-8 database: valid, and without NUL.
pub(super) fn text(value: &[u8]) -> Result<String, SqlError> {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        Ok(_) => Err(SqlError::new(b"22021", "invalid byte sequence for encoding \"UTF8\": 0x00")),
        Err(_) => Err(SqlError::new(b"22021", "invalid byte sequence for encoding \"UTF8\"")),
    }
}

/// A `timestamptz` as it was received.
pub(super) fn timestamp(micros: i64) -> Result<i64, SqlError> {
    if TIMESTAMPS.contains(&micros) { Ok(micros) } else { Err(SqlError::new(b"22008", "timestamp out of range")) }
}

/// `timestamptz 'epoch' + $n * interval '1 millisecond'`.
pub(super) fn timestamp_of_ms(milliseconds: i64) -> Result<i64, SqlError> {
    timestamp_of_interval(interval_of_ms(milliseconds)?)
}

/// `$n * interval '1 millisecond'`, microseconds: a product of doubles, as is every product with an interval. Where `$n`
/// is a parameter the planner computes it, so that its error comes even where no row is found.
pub(super) fn interval_of_ms(milliseconds: i64) -> Result<i64, SqlError> {
    let micros = (1000.0 * milliseconds as f64).round_ties_even();
    if !(micros >= i64::MIN as f64 && micros < -(i64::MIN as f64)) {
        return Err(SqlError::new(b"22008", "interval out of range"));
    }
    Ok(micros as i64)
}

/// `timestamptz 'epoch' + interval`, computed with the row.
pub(super) fn timestamp_of_interval(micros: i64) -> Result<i64, SqlError> {
    timestamp((-EPOCH_MICROS).wrapping_add(micros))
}

/// `timestamptz 'epoch' + nullif($n, 0) * interval '1 millisecond'`, but for the sum, which is computed with the row.
pub(super) fn interval_unless_0(milliseconds: i64) -> Result<Option<i64>, SqlError> {
    if milliseconds == 0 { Ok(None) } else { interval_of_ms(milliseconds).map(Some) }
}

/// A row of an answer, in text.
pub(super) type AnswerRow = Vec<Option<String>>;

/// A row of values that are not NULL.
macro_rules! row {
    ($($value:expr),* $(,)?) => { vec![$(Some($value.to_string())),*] };
}
pub(super) use row;

/// `t` or `f`.
pub(super) fn boolean(value: bool) -> &'static str {
    if value { "t" } else { "f" }
}

/// `state` of a sale.
pub(super) fn state(is_closed: bool) -> &'static str {
    if is_closed { "closed" } else { "open" }
}
