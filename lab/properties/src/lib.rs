//! What must hold of any bytes that reach a parser of Flux-Gate: one file a format, one function a property.
//!
//! Each property takes bytes that anybody may have written, and panics where what it says does not hold. Two drivers run them:
//! libFuzzer, which looks for bytes that break one (`lab/fuzz`, `make fuzz`), and `tests/corpora.rs`, which gives each the bytes
//! that fuzzing has found worth keeping. So what was found once is asked of every build, by the compiler that ships.
//!
//! Where a format has a second reader that can be trusted (a library, or one of a few lines that is written here for nothing
//! else), both must read the same. Memory is counted by an allocator of this crate's own: a length that lies must not be
//! believed. Never part of a program that ships.

pub mod allocation;
mod input;

pub mod front;
pub mod http;
mod http_reference;
pub mod jwt;
pub mod kafka_answers;
pub mod kafka_records;
pub mod order_body;
pub mod postgres_session;
pub mod proxy_header;
pub mod resp;
pub mod scram;
pub mod ticket;
pub mod topic_record;
pub mod urls;

/// A property: it panics where it does not hold of the bytes.
pub type Property = fn(&[u8]);

/// Every property, under the name of its target in `lab/fuzz` and of its corpus.
pub const ALL: [(&str, Property); 15] = [
    ("copy_rows", postgres_session::copy_rows),
    ("front", front::check),
    ("http", http::check),
    ("jwks", jwt::key_set),
    ("jwt", jwt::token),
    ("kafka_answers", kafka_answers::check),
    ("kafka_records", kafka_records::check),
    ("order_body", order_body::check),
    ("postgres_session", postgres_session::check),
    ("proxy_header", proxy_header::check),
    ("resp", resp::check),
    ("scram", scram::check),
    ("ticket", ticket::check),
    ("topic_record", topic_record::check),
    ("urls", urls::check),
];
