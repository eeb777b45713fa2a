//! Kafka, spoken directly: framing, one connection, a cluster of them, record batches, and the machines on top.
//!
//! From the bottom up:
//!
//! - [`frame`]: length, header and correlation id around a message; [`wire`]: decoding a message that may be hostile;
//! - [`versions`]: which version of which request we speak;
//! - [`connection`]: one broker connection, its handshake and its requests in flight;
//! - [`client`]: what the shell of any of the machines below calls;
//! - [`cluster`]: the brokers, the topic's partitions and leaders ([`metadata`]), reconnecting. A machine that needs
//!   Kafka owns a [`cluster::Cluster`] and asks through it;
//! - [`reader`], [`records_decode`], [`decompress`]: record batches as a fetch brings them;
//! - [`group`], [`group_config`], [`group_request`], [`assignor`]: membership of a consumer group; [`fetch`]: the partitions that are read;
//!   [`end_offsets`]: where they end; [`consumer`]: all of it over one cluster;
//! - [`records`]: the record batch as it is written; [`producer`]: the idempotent producer; [`admin`]: the topic made
//!   where it is missing;
//! - [`sasl`]: who we are to a broker; [`security`]: whether a connection is encrypted, and whether it logs in.
//!
//! A cluster, and each machine that owns one, has a folder of its own; what they are made of stands flat beside them.
//!
//! Nothing here opens a socket, reads a clock, or keeps a record beyond its machine's bounds ([`limits`]).

pub mod admin;
pub mod assignor;
pub mod backoff;
pub mod client;
pub mod cluster;
pub mod connection;
pub mod consumer;
pub mod decompress;
pub mod denial;
pub mod end_offsets;
pub mod error_code;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
pub(crate) mod fake_login;
pub mod fetch;
pub mod fetch_answer;
pub mod frame;
pub mod group;
pub mod group_config;
pub mod group_request;
pub mod limits;
pub mod log_reader;
pub mod metadata;
pub mod producer;
pub mod reader;
pub mod records;
pub mod records_decode;
pub mod sasl;
pub mod security;
pub mod settings;
pub mod strands;
pub mod versions;
pub mod wire;
