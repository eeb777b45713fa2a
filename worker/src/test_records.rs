//! Records as a fetch brings them.

use flux_protocol::kafka::fetch::Fetched;
use flux_protocol::kafka::records_decode::FetchedRecords;
use flux_protocol::order::{Record, Uuid};
use flux_test_support::records::{self, sealed, varint};

/// Orders at the offsets from `from`.
pub(crate) fn fetched(partition: i32, from: i64, count: i64) -> Fetched {
    values(partition, from, &orders(partition, from, count))
}

pub(crate) fn orders(partition: i32, from: i64, count: i64) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for index in 0..count {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(from + index).to_be_bytes());
        id[8..12].copy_from_slice(&partition.to_be_bytes());
        let mut json = Vec::new();
        Record {
            order_id: Uuid::version_8(id),
            reservation_id: Uuid(id),
            product_id: "p",
            user_id: "u",
            quantity: 1,
            sale_id: 1,
            sale_total: 1_000_000,
            generation: 1,
            timestamp: 1,
        }
        .write_json(&mut json);
        records.push(json);
    }
    records
}

/// So many batches of one small record each, whose header nobody reads unpacks to `padding` bytes.
pub(crate) fn padded(batches: i64, padding: usize) -> Fetched {
    let log: Vec<u8> = (0..batches).flat_map(|offset| records::padded(offset, padding)).collect();
    let records = FetchedRecords::scan(log.into(), 0, Vec::new()).expect("a batch of the test's own making");
    Fetched { partition: 0, from_offset: 0, records, end_offset: batches }
}

pub(crate) fn values(partition: i32, from: i64, values: &[Vec<u8>]) -> Fetched {
    let records =
        FetchedRecords::scan(written(from, values).into(), from, Vec::new()).expect("a batch of the test's own making");
    Fetched { partition, from_offset: from, records, end_offset: from + values.len() as i64 }
}

/// A batch of records with these values.
pub(crate) fn written(from: i64, values: &[Vec<u8>]) -> Vec<u8> {
    let mut content = Vec::new();
    content.extend_from_slice(&[0, 0]); // attributes
    content.extend_from_slice(&(values.len() as i32 - 1).to_be_bytes());
    content.extend_from_slice(&[0; 16]); // timestamps
    content.extend_from_slice(&[0xff; 14]); // no producer
    content.extend_from_slice(&(values.len() as i32).to_be_bytes());
    for (delta, value) in values.iter().enumerate() {
        let mut record = vec![0, 0];
        varint(&mut record, delta as i64);
        varint(&mut record, -1);
        varint(&mut record, value.len() as i64);
        record.extend_from_slice(value);
        record.push(0);
        varint(&mut content, record.len() as i64);
        content.extend_from_slice(&record);
    }
    sealed(from, &content)
}
