//! Compressed record batches, as foreign producers write them. Ours never compresses.
//!
//! The decompressors that come with kafka-protocol have no limit, and a megabyte of zeros packed well unpacks into
//! gigabytes; so the same libraries are called here with one. Never touches what is not compressed.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

/// How a batch's records are packed: the lowest three bits of its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks in the framing of snappy-java, or one bare block.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// The compression that a batch's attributes name.
    pub fn from_attributes(attributes: i16) -> Option<Compression> {
        match attributes & 7 {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }
}

/// Why there are no unpacked bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The packed bytes are damaged, or packed by something else.
    #[error("the compressed records cannot be unpacked")]
    Damaged,
    /// Unpacked they would be larger than the limit.
    #[error("the compressed records unpack to more than the limit")]
    TooLarge,
}

/// First bytes of snappy-java's framing: magic, version, compatible version.
const SNAPPY_JAVA_HEADER: &[u8; 16] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";
/// zstd frames that want a larger window than this power of two are refused: a window is memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// Unpacks `packed` into at most `bytes_max` bytes.
///
/// # Errors
/// [`DecompressError`]; trying again gives the same.
pub fn decompress(compression: Compression, packed: Bytes, bytes_max: usize) -> Result<Bytes, DecompressError> {
    match compression {
        Compression::None => Ok(packed),
        Compression::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(packed.reader()), bytes_max),
        Compression::Lz4 => read_bounded(lz4::Decoder::new(packed.reader()).map_err(damaged)?, bytes_max),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed.reader()).map_err(damaged)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
            read_bounded(decoder, bytes_max)
        }
        Compression::Snappy => snappy(packed, bytes_max),
    }
}

fn damaged(_: io::Error) -> DecompressError {
    DecompressError::Damaged
}

fn read_bounded(from: impl Read, bytes_max: usize) -> Result<Bytes, DecompressError> {
    let mut unpacked = Vec::new();
    from.take(bytes_max as u64 + 1).read_to_end(&mut unpacked).map_err(damaged)?;
    if unpacked.len() > bytes_max { Err(DecompressError::TooLarge) } else { Ok(unpacked.into()) }
}

fn snappy(mut packed: Bytes, bytes_max: usize) -> Result<Bytes, DecompressError> {
    if !packed.starts_with(SNAPPY_JAVA_HEADER) {
        let mut unpacked = Vec::new();
        snappy_block(&packed, &mut unpacked, bytes_max)?;
        return Ok(unpacked.into());
    }
    packed.advance(SNAPPY_JAVA_HEADER.len());
    let mut unpacked = Vec::new();
    while packed.has_remaining() {
        let length = packed.try_get_u32().map_err(|_| DecompressError::Damaged)? as usize;
        if length > packed.len() {
            return Err(DecompressError::Damaged);
        }
        snappy_block(&packed.split_to(length), &mut unpacked, bytes_max)?;
    }
    Ok(unpacked.into())
}

fn snappy_block(block: &[u8], unpacked: &mut Vec<u8>, bytes_max: usize) -> Result<(), DecompressError> {
    let length = snap::raw::decompress_len(block).map_err(|_| DecompressError::Damaged)?;
    let start = unpacked.len();
    if length > bytes_max - start {
        return Err(DecompressError::TooLarge);
    }
    unpacked.resize(start + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut unpacked[start..]).map_err(|_| DecompressError::Damaged)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::compression as oracle;
    use kafka_protocol::compression::Compressor;

    fn packed(compression: Compression, bytes: &[u8]) -> Bytes {
        let mut out = bytes::BytesMut::new();
        macro_rules! pack {
            ($by:ty) => {
                <$by>::compress(&mut out, |buffer: &mut bytes::BytesMut| {
                    buffer.extend_from_slice(bytes);
                    Ok(())
                })
                .unwrap()
            };
        }
        match compression {
            Compression::None => out.extend_from_slice(bytes),
            Compression::Gzip => pack!(oracle::Gzip),
            Compression::Snappy => pack!(oracle::Snappy),
            Compression::Lz4 => pack!(oracle::Lz4),
            Compression::Zstd => pack!(oracle::Zstd),
        }
        out.freeze()
    }

    const PACKED: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    #[test]
    fn what_the_crate_packs_comes_back() {
        for compression in PACKED {
            for bytes in [&b""[..], b"a", &[7; 100_000]] {
                assert_eq!(
                    decompress(compression, packed(compression, bytes), 100_000).as_deref(),
                    Ok(bytes),
                    "{compression:?}"
                );
            }
        }
        let bare = snap::raw::Encoder::new().compress_vec(b"a bare block").unwrap();
        assert_eq!(decompress(Compression::Snappy, bare.into(), 100).as_deref(), Ok(&b"a bare block"[..]));
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        for compression in PACKED {
            let bomb = packed(compression, &vec![0; 1 << 20]);
            assert_eq!(
                decompress(compression, bomb.clone(), (1 << 20) - 1),
                Err(DecompressError::TooLarge),
                "{compression:?}"
            );
            assert!(decompress(compression, bomb, 1 << 20).is_ok(), "{compression:?}");
        }
        // A bare snappy block that claims 4 GB in its first bytes reserves nothing.
        let claim = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
        assert_eq!(decompress(Compression::Snappy, claim, 1 << 20), Err(DecompressError::TooLarge));
    }

    #[test]
    fn damage_is_an_error() {
        for compression in PACKED {
            let whole = packed(compression, b"some bytes that are packed and then damaged");
            for at in 0..whole.len() {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 0x55;
                // Either refused, or (a damaged header field that nobody checks) some bytes within the limit.
                if let Ok(unpacked) = decompress(compression, bytes.into(), 1000) {
                    assert!(unpacked.len() <= 1000);
                }
            }
            let nonsense = Bytes::from_static(b"\x05\xff nothing of the kind");
            assert_eq!(decompress(compression, nonsense, 1000), Err(DecompressError::Damaged), "{compression:?}");
        }
    }
}
