//! Flux-Gate under virtual time: the programs that ship, against fake Redis, Kafka and PostgreSQL, driven by one seed.
//!
//! - [`peer`]: what a fake server is; [`redis`], [`kafka`], [`postgres`]: the three of them, pure;
//! - [`world`]: processes, network and virtual time.
//!
//! Nothing here opens a socket or reads a clock.

/// That of the programs; a run allocates more than it reckons.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod crowd;
pub mod edge;
pub mod kafka;
pub mod operator;
pub mod peer;
pub mod postgres;
pub mod random;
pub mod redis;
pub mod scenario;
pub mod worker;
pub mod world;
