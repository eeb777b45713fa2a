//! kafka.

pub mod assignor;
pub mod decompress;
pub mod reader;
pub mod records_decode;
