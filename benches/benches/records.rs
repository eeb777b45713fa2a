//! A record batch of 100 orders, written by the edge and read by the worker, beside `kafka-protocol`.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::Criterion;
use flux_benches::{TIMESTAMP_MS, group, per_order, run, values};
use flux_protocol::kafka::records::{BatchBuilder, ProducerId};
use flux_protocol::kafka::records_decode::{Entry, FetchedRecords};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

const RECORDS: usize = 100;
const PRODUCER: ProducerId = ProducerId { id: 4001, epoch: 0 };
const TIMESTAMP: i64 = TIMESTAMP_MS as i64;

fn build(batch: &mut BatchBuilder, values: &[Vec<u8>]) {
    batch.clear();
    for value in values {
        batch.append(TIMESTAMP, None, |out| out.extend_from_slice(value)).expect("a short value");
    }
    batch.seal(PRODUCER, 0);
}

fn records_of_the_crate(values: &[Vec<u8>]) -> Vec<Record> {
    let record = |(index, value): (usize, &Vec<u8>)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: PRODUCER.id,
        producer_epoch: PRODUCER.epoch,
        timestamp_type: TimestampType::Creation,
        offset: index as i64,
        sequence: index as i32,
        timestamp: TIMESTAMP,
        key: None,
        value: Some(Bytes::copy_from_slice(value)),
        headers: IndexMap::new(),
    };
    values.iter().enumerate().map(record).collect()
}

fn encode(criterion: &mut Criterion) {
    let values = values(RECORDS);
    let records = records_of_the_crate(&values);
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut batch = BatchBuilder::new();
    build(&mut batch, &values);
    let mut out = BytesMut::new();
    RecordBatchEncoder::encode(&mut out, &records, &options).expect("a batch");
    assert_eq!(batch.bytes(), &out[..]);

    let mut group = group(criterion, "records/encode");
    group.bench_function("flux", |bencher| {
        per_order(bencher, RECORDS, || build(black_box(&mut batch), black_box(&values)));
    });
    group.bench_function("kafka-protocol", |bencher| {
        per_order(bencher, RECORDS, || {
            out.clear();
            RecordBatchEncoder::encode(black_box(&mut out), black_box(&records), &options)
        });
    });
}

fn decode(criterion: &mut Criterion) {
    let values = values(RECORDS);
    let mut batch = BatchBuilder::new();
    build(&mut batch, &values);
    let bytes = Bytes::copy_from_slice(batch.bytes());
    // Both check the checksum and give values that are slices of the batch.
    let ours = || {
        let records = FetchedRecords::scan(black_box(bytes.clone()), 0, Vec::new()).expect("a batch");
        records.map(|entry| match entry {
            Entry::Record(record) => record.value.map_or(0, |value| value.len()),
            Entry::Unreadable(unreadable) => panic!("{}", unreadable.reason),
        })
    };
    let theirs = || RecordBatchDecoder::decode(&mut black_box(bytes.clone())).expect("a batch").records;
    let lengths: Vec<usize> = values.iter().map(Vec::len).collect();
    assert_eq!(ours().collect::<Vec<_>>(), lengths);
    assert_eq!(theirs(), records_of_the_crate(&values));

    let mut group = group(criterion, "records/decode");
    group.bench_function("flux", |bencher| per_order(bencher, RECORDS, || ours().sum::<usize>()));
    group.bench_function("kafka-protocol", |bencher| per_order(bencher, RECORDS, theirs));
}

fn main() {
    run(&[encode, decode]);
}
