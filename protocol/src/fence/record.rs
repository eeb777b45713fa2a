//! The records of topic `flux-fences`: keys, values, and which are ours.
//!
//! JSON, as the orders are, so that anybody can read the topic. The key is what compaction keeps the last record of, so it
//! names all of a fence that tells it from another: a fence that comes late must never take a later one's place.
//!
//! ```text
//! fence:iphone-15:1705234700000:2:<replid>
//!     {"event":"fence","productId":"iphone-15","saleId":1705234700000,"generation":2,"replid":"…","runId":"…",
//!      "node":"10.0.0.7:6379","timestamp":1705234800123}
//! edge:<uuid>
//!     {"event":"heartbeat","edge":"<uuid>","beat":17,"obeyed":4711,"drained":4711,"timestamp":1705234800123}
//!     {"event":"gone","edge":"<uuid>","beat":17}
//! ```
//!
//! An edge is gone as of one of its heartbeats, so that word of it which comes late says nothing of an edge that lives. Without a
//! value (a tombstone) a key is let go by compaction; what it said is believed no less for it.

use std::fmt;

use serde::Deserialize;

use crate::order::{GENERATION_MAX, Identifier, RecordError, SALE_ID_END, Uuid, decimal};

/// Characters of a `run_id` or `master_replid`.
const REPLID_BYTES: usize = 40;
/// Longest name of a node, in bytes: a host name of 253, a colon, a port.
pub const NODE_BYTES_MAX: usize = 259;

/// A `master_replid` or `run_id`: 40 lower-case hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replid([u8; REPLID_BYTES]);

impl Replid {
    /// The id that `text` spells, or `None` where it is none.
    pub fn parse(text: &[u8]) -> Option<Replid> {
        let id: [u8; REPLID_BYTES] = text.try_into().ok()?;
        id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(Replid(id))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal by construction")
    }
}

impl fmt::Debug for Replid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// From now on this generation of this sale is sold from this Redis alone, and no lower one from any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The product.
    pub product: Identifier,
    /// The sale, 1 to [`SALE_ID_END`] - 1.
    pub sale_id: u64,
    /// Its generation, 1 to [`GENERATION_MAX`].
    pub generation: u32,
    /// The history of the Redis that sells it.
    pub replid: Replid,
    /// The process of that Redis, for people.
    pub run_id: Replid,
    /// Where that Redis was reached, for people: up to [`NODE_BYTES_MAX`] of printable ASCII without quotes.
    pub node: String,
    /// When it was written, milliseconds since the Unix epoch, for people.
    pub timestamp: u64,
}

/// What an edge process says of itself once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// The process, drawn when it starts.
    pub edge: Uuid,
    /// Counts the heartbeats of the process.
    pub beat: u64,
    /// It obeys every fence at a lower offset than this.
    pub obeyed: i64,
    /// And nothing is under way any more of what those fences forbid.
    pub drained: i64,
    /// When it was written, milliseconds since the Unix epoch, for people.
    pub timestamp: u64,
}

/// An edge process that is not waited for any more, unless a later heartbeat of its own stands in the log, before or behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gone {
    /// The process.
    pub edge: Uuid,
    /// The last heartbeat that it wrote, or that was read of it.
    pub beat: u64,
}

/// What a record of the topic says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FenceRecord {
    /// A fence.
    Fence(Fence),
    /// A heartbeat.
    Heartbeat(Heartbeat),
    /// An edge has ended, or was silent for so long that nothing of it can be under way.
    Gone(Gone),
    /// A key was let go: nothing is believed any less for it.
    LetGo,
}

const FENCE_KEY: &[u8] = b"fence:";
const EDGE_KEY: &[u8] = b"edge:";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFence<'a> {
    event: &'a str,
    product_id: &'a str,
    sale_id: u64,
    generation: u32,
    replid: &'a str,
    run_id: &'a str,
    node: &'a str,
    timestamp: u64,
}

#[derive(Deserialize)]
struct RawHeartbeat<'a> {
    event: &'a str,
    edge: &'a str,
    beat: u64,
    obeyed: Option<i64>,
    drained: Option<i64>,
    timestamp: Option<u64>,
}

impl Fence {
    /// Whether it stands above the other: a later sale, or a later generation of the same.
    pub fn is_above(&self, sale_id: u64, generation: u32) -> bool {
        (self.sale_id, self.generation) > (sale_id, generation)
    }

    /// Appends its key.
    pub fn write_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(FENCE_KEY);
        out.extend_from_slice(self.product.as_bytes());
        for number in [self.sale_id, u64::from(self.generation)] {
            out.push(b':');
            out.extend_from_slice(decimal(number, &mut [0; 20]));
        }
        out.push(b':');
        out.extend_from_slice(self.replid.as_str().as_bytes());
    }

    /// Appends its value.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let Fence { product, sale_id, generation, replid, run_id, node, timestamp } = self;
        let json = format!(
            r#"{{"event":"fence","productId":"{product}","saleId":{sale_id},"generation":{generation},"replid":"{}","runId":"{}","node":"{node}","timestamp":{timestamp}}}"#,
            replid.as_str(),
            run_id.as_str()
        );
        out.extend_from_slice(json.as_bytes());
    }
}

impl Heartbeat {
    /// Appends the key of an edge's heartbeats.
    pub fn write_key(edge: Uuid, out: &mut Vec<u8>) {
        out.extend_from_slice(EDGE_KEY);
        out.extend_from_slice(&edge.text());
    }

    /// Appends its value.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let Heartbeat { edge, beat, obeyed, drained, timestamp } = self;
        let json = format!(
            r#"{{"event":"heartbeat","edge":"{edge}","beat":{beat},"obeyed":{obeyed},"drained":{drained},"timestamp":{timestamp}}}"#
        );
        out.extend_from_slice(json.as_bytes());
    }
}

impl Gone {
    /// Appends its value; its key is that of the edge's heartbeats.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let Gone { edge, beat } = self;
        out.extend_from_slice(format!(r#"{{"event":"gone","edge":"{edge}","beat":{beat}}}"#).as_bytes());
    }
}

impl FenceRecord {
    /// What a record of the topic says.
    ///
    /// # Errors
    /// [`RecordError`]: it is none of ours, and nothing of it is believed. The range named is `key` where the value belongs
    /// under another.
    pub fn parse(key: &[u8], value: Option<&[u8]>) -> Result<FenceRecord, RecordError> {
        if let Some(edge) = key.strip_prefix(EDGE_KEY) {
            let edge = Uuid::parse(edge).ok_or(RecordError::Range("key"))?;
            return value.map_or(Ok(FenceRecord::LetGo), |value| of_edge(edge, value));
        }
        check(key.starts_with(FENCE_KEY), "key")?;
        let Some(value) = value else { return Ok(FenceRecord::LetGo) };
        let fence = fence(value)?;
        let mut expected = Vec::with_capacity(key.len());
        fence.write_key(&mut expected);
        check(key == expected, "key")?;
        Ok(FenceRecord::Fence(fence))
    }
}

fn fence(value: &[u8]) -> Result<Fence, RecordError> {
    let raw: RawFence<'_> = serde_json::from_slice(value).map_err(|error| RecordError::Json(error.to_string()))?;
    check(raw.event == "fence", "event")?;
    check((1..SALE_ID_END).contains(&raw.sale_id), "saleId")?;
    check((1..=GENERATION_MAX).contains(&raw.generation), "generation")?;
    check(raw.node.len() <= NODE_BYTES_MAX && raw.node.bytes().all(is_plain), "node")?;
    check(raw.timestamp < 1 << 52, "timestamp")?;
    Ok(Fence {
        product: Identifier::new(raw.product_id.as_bytes()).ok_or(RecordError::Range("productId"))?,
        sale_id: raw.sale_id,
        generation: raw.generation,
        replid: Replid::parse(raw.replid.as_bytes()).ok_or(RecordError::Range("replid"))?,
        run_id: Replid::parse(raw.run_id.as_bytes()).ok_or(RecordError::Range("runId"))?,
        node: raw.node.to_owned(),
        timestamp: raw.timestamp,
    })
}

fn of_edge(edge: Uuid, value: &[u8]) -> Result<FenceRecord, RecordError> {
    let raw: RawHeartbeat<'_> = serde_json::from_slice(value).map_err(|error| RecordError::Json(error.to_string()))?;
    check(Uuid::parse(raw.edge.as_bytes()) == Some(edge), "key")?;
    let beat = raw.beat;
    if raw.event == "gone" {
        return Ok(FenceRecord::Gone(Gone { edge, beat }));
    }
    check(raw.event == "heartbeat", "event")?;
    let obeyed = raw.obeyed.filter(|offset| *offset >= 0).ok_or(RecordError::Range("obeyed"))?;
    let drained = raw.drained.filter(|offset| (0..=obeyed).contains(offset)).ok_or(RecordError::Range("drained"))?;
    let timestamp = raw.timestamp.filter(|ms| *ms < 1 << 52).ok_or(RecordError::Range("timestamp"))?;
    Ok(FenceRecord::Heartbeat(Heartbeat { edge, beat, obeyed, drained, timestamp }))
}

/// Whether it stands in JSON as it is.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

fn check(holds: bool, member: &'static str) -> Result<(), RecordError> {
    if holds { Ok(()) } else { Err(RecordError::Range(member)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPLID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn written(record: &FenceRecord) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        match record {
            FenceRecord::Fence(fence) => {
                fence.write_key(&mut key);
                fence.write_json(&mut value);
            }
            FenceRecord::Heartbeat(heartbeat) => {
                Heartbeat::write_key(heartbeat.edge, &mut key);
                heartbeat.write_json(&mut value);
            }
            FenceRecord::Gone(gone) => {
                Heartbeat::write_key(gone.edge, &mut key);
                gone.write_json(&mut value);
            }
            FenceRecord::LetGo => return (b"fence:p:1:1:".to_vec(), None),
        }
        (key, Some(value))
    }

    fn parsed(key: &[u8], value: &Option<Vec<u8>>) -> Result<FenceRecord, RecordError> {
        FenceRecord::parse(key, value.as_deref())
    }

    fn fences() -> impl Strategy<Value = FenceRecord> {
        let text = ("[A-Za-z0-9._:-]{1,64}", "[0-9a-f]{40}", "[0-9a-f]{40}", "[ !#-\\[\\]-~]{0,259}");
        let numbers = (1..SALE_ID_END, 1..=GENERATION_MAX, 0_u64..1 << 52);
        (text, numbers).prop_filter_map("no identifier", |((product, replid, run_id, node), numbers)| {
            let (sale_id, generation, timestamp) = numbers;
            let product = Identifier::new(product.as_bytes())?;
            let (replid, run_id) = (Replid::parse(replid.as_bytes())?, Replid::parse(run_id.as_bytes())?);
            Some(FenceRecord::Fence(Fence { product, sale_id, generation, replid, run_id, node, timestamp }))
        })
    }

    fn heartbeats() -> impl Strategy<Value = FenceRecord> {
        let offsets = (0..=i64::MAX).prop_flat_map(|obeyed| (Just(obeyed), 0..=obeyed));
        (any::<[u8; 16]>(), any::<u64>(), offsets, 0_u64..1 << 52).prop_map(
            |(edge, beat, (obeyed, drained), timestamp)| {
                FenceRecord::Heartbeat(Heartbeat { edge: Uuid(edge), beat, obeyed, drained, timestamp })
            },
        )
    }

    fn records() -> impl Strategy<Value = FenceRecord> {
        let gone = (any::<[u8; 16]>(), any::<u64>());
        let gone = gone.prop_map(|(edge, beat)| FenceRecord::Gone(Gone { edge: Uuid(edge), beat }));
        prop_oneof![fences(), heartbeats(), gone, Just(FenceRecord::LetGo)]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(record in records()) {
            let (key, value) = written(&record);
            prop_assert_eq!(parsed(&key, &value), Ok(record));
        }

        #[test]
        fn a_record_under_the_key_of_another_is_a_strangers(one in records(), other in records()) {
            let ((_, value), (key, _)) = (written(&one), written(&other));
            prop_assume!(one != other && value.is_some() && key != written(&one).0);
            prop_assert!(parsed(&key, &value).is_err());
        }

        #[test]
        fn bytes_of_strangers_are_refused(key in any::<Vec<u8>>(), value in any::<Option<Vec<u8>>>()) {
            prop_assert!(parsed(&key, &value).is_err());
        }

        #[test]
        fn what_is_read_of_a_damaged_record_is_written_so(record in records(), at in any::<prop::sample::Index>(), byte: u8) {
            let (key, Some(mut value)) = written(&record) else { return Ok(()) };
            let at = at.index(value.len());
            value[at] = byte;
            // A byte of white space, or a digit for a digit: it is what it says. Nothing is taken for a record of another key.
            if let Ok(read) = parsed(&key, &Some(value)) {
                prop_assert_eq!(written(&read).0, key);
            }
        }
    }

    #[test]
    fn the_records_of_the_manual() {
        let product = Identifier::new(b"iphone-15").expect("an identifier");
        let replid = Replid::parse(REPLID.as_bytes()).expect("an id");
        let (sale_id, generation, timestamp) = (1_705_234_700_000, 2, 1_705_234_800_123);
        let node = "10.0.0.7:6379".to_owned();
        let fence = Fence { product, sale_id, generation, replid, run_id: replid, node, timestamp };
        let (key, value) = written(&FenceRecord::Fence(fence));
        assert_eq!(key, format!("fence:iphone-15:1705234700000:2:{REPLID}").into_bytes());
        let expected = format!(
            r#"{{"event":"fence","productId":"iphone-15","saleId":1705234700000,"generation":2,"replid":"{REPLID}","runId":"{REPLID}","node":"10.0.0.7:6379","timestamp":1705234800123}}"#
        );
        assert_eq!(value.as_deref(), Some(expected.as_bytes()));
        let edge = Uuid([0x5a; 16]);
        let heartbeat = Heartbeat { edge, beat: 17, obeyed: 4711, drained: 4710, timestamp };
        let (key, value) = written(&FenceRecord::Heartbeat(heartbeat));
        assert_eq!(key, b"edge:5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a");
        let expected = r#"{"event":"heartbeat","edge":"5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a","beat":17,"obeyed":4711,"drained":4710,"timestamp":1705234800123}"#;
        assert_eq!(value.as_deref(), Some(expected.as_bytes()));
    }

    /// Each out of one that is good.
    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let replid = Replid::parse(REPLID.as_bytes()).expect("an id");
        let product = Identifier::new(b"p").expect("an identifier");
        let fence =
            Fence { product, sale_id: 5, generation: 2, replid, run_id: replid, node: "n".to_owned(), timestamp: 3 };
        let heartbeat = Heartbeat { edge: Uuid([1; 16]), beat: 1, obeyed: 8, drained: 7, timestamp: 3 };
        for (record, from, to, named) in [
            (FenceRecord::Fence(fence.clone()), r#""saleId":5"#, r#""saleId":0"#, "saleId"),
            (FenceRecord::Fence(fence.clone()), r#""saleId":5"#, r#""saleId":4503599627370496"#, "saleId"),
            (FenceRecord::Fence(fence.clone()), r#""generation":2"#, r#""generation":0"#, "generation"),
            (FenceRecord::Fence(fence.clone()), r#""generation":2"#, r#""generation":1000001"#, "generation"),
            (FenceRecord::Fence(fence.clone()), r#""generation":2"#, r#""generation":3"#, "key"),
            (FenceRecord::Fence(fence.clone()), r#""replid":"0"#, r#""replid":"A"#, "replid"),
            (FenceRecord::Fence(fence.clone()), r#""event":"fence""#, r#""event":"sale-opened""#, "event"),
            (FenceRecord::Fence(fence.clone()), r#""productId":"p""#, r#""productId":"..""#, "productId"),
            (FenceRecord::Fence(fence), r#""node":"n""#, r#""node":"é""#, "node"),
            (FenceRecord::Heartbeat(heartbeat), r#""drained":7"#, r#""drained":9"#, "drained"),
            (FenceRecord::Heartbeat(heartbeat), r#""obeyed":8"#, r#""obeyed":-1"#, "obeyed"),
            (FenceRecord::Heartbeat(heartbeat), r#","drained":7"#, "", "drained"),
            (FenceRecord::Heartbeat(heartbeat), r#""event":"heartbeat""#, r#""event":"fence""#, "event"),
            (FenceRecord::Heartbeat(heartbeat), "0101-0101-0101", "0101-0101-0102", "key"),
        ] {
            let (key, value) = written(&record);
            let value = String::from_utf8(value.expect("a value")).expect("text");
            assert!(value.contains(from), "{value}");
            let refused = FenceRecord::parse(&key, Some(value.replace(from, to).as_bytes()));
            assert_eq!(refused, Err(RecordError::Range(named)), "{to}");
        }
    }
}
