//! Batches of records as they stand in a Kafka log (magic 2), written by hand, so that no encoder is trusted by the tests of what
//! reads them.

/// Appends a signed number as a record has them: zigzag, seven bits a byte, the lowest first.
pub fn varint(out: &mut Vec<u8>, value: i64) {
    let mut bits = ((value << 1) ^ (value >> 63)) as u64;
    while bits >= 0x80 {
        out.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

/// A batch whose first record stands at offset `from`; `content` is what its checksum covers, from the attributes on.
pub fn sealed(from: i64, content: &[u8]) -> Vec<u8> {
    let mut batch = from.to_be_bytes().to_vec();
    batch.extend_from_slice(&(content.len() as i32 + 9).to_be_bytes());
    batch.extend_from_slice(&[0, 0, 0, 0, 2]);
    batch.extend_from_slice(&crc32c(content).to_be_bytes());
    batch.extend_from_slice(content);
    batch
}

/// A batch at offset `from`, packed by zstd, of one record with the value `x` and a header that nobody reads, of `padding` zeros.
///
/// # Panics
/// Where libzstd fails.
pub fn padded(from: i64, padding: usize) -> Vec<u8> {
    let mut record = vec![0, 0, 0]; // attributes, time and offset since the first
    varint(&mut record, -1); // no key
    varint(&mut record, 1);
    record.push(b'x');
    varint(&mut record, 1); // one header
    varint(&mut record, 1);
    record.push(b'h');
    varint(&mut record, padding as i64);
    record.resize(record.len() + padding, 0);
    let mut records = Vec::new();
    varint(&mut records, record.len() as i64);
    records.extend_from_slice(&record);
    let mut content = vec![0, 4]; // zstd
    content.extend_from_slice(&[0; 4]);
    content.extend_from_slice(&[0; 16]); // timestamps
    content.extend_from_slice(&[0xff; 14]); // no producer
    content.extend_from_slice(&1i32.to_be_bytes());
    content.extend_from_slice(&zstd::bulk::compress(&records, 1).expect("zeros"));
    sealed(from, &content)
}

/// CRC-32C (RFC 3720 appendix B.4), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
