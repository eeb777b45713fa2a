//! What a request costs one core, counted: instructions (`main.rs`, `make guard`) and allocations (`tests/`).
//!
//! A core is driven from a request's bytes to its answer's, between a Redis and a Kafka that answer at once, under a
//! time that is an argument. Nothing here opens a socket or reads a clock, so a count is the same however busy the
//! machine is. Never measures time, nor what the kernel costs: `perf/` does.

mod drive;
mod figures;
mod kafka;
mod path;
mod redis;
mod valgrind;

pub use drive::{CLIENTS, Drive};
pub use figures::{Figures, FiguresError, TOLERANCE_PERCENT};
pub use path::Path;
pub use valgrind::{ValgrindError, instructions_per_request};
