//! How many descriptors the process may have, and so how many clients a core can serve.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::shell::{
    CONNECTIONS_PER_CORE_MAX, DESCRIPTORS_RESERVED, DESCRIPTORS_RESERVED_FENCES, DESCRIPTORS_RESERVED_PER_CORE,
};

/// Raises the limit to what the process may raise it to, and gives it.
pub fn raise_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    // `None` is no limit.
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Connections for each of `cores`, out of `limit` descriptors, where each core speaks with `brokers`. At least one: a
/// process that can hardly do anything still answers its health checks.
pub fn connections_per_core(limit: u64, cores: usize, brokers: usize) -> usize {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let left = limit.saturating_sub(reserved(cores, brokers));
    (left / cores).clamp(1, CONNECTIONS_PER_CORE_MAX)
}

fn reserved(cores: usize, brokers: usize) -> usize {
    DESCRIPTORS_RESERVED + DESCRIPTORS_RESERVED_FENCES + cores * (DESCRIPTORS_RESERVED_PER_CORE + brokers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_limit() {
        assert_eq!(connections_per_core(u64::MAX, 4, 1), CONNECTIONS_PER_CORE_MAX);
        for (limit, cores, brokers) in [(64, 1, 1), (64, 2, 1), (256, 2, 3), (1024, 8, 12), (64, 8, 3)] {
            let connections = connections_per_core(limit, cores, brokers);
            let needed = connections * cores + reserved(cores, brokers);
            assert!(connections == 1 || needed <= limit as usize, "{limit} for {cores}");
        }
        assert!(connections_per_core(64, 2, 1) > 4, "an edge of two cores works with 64");
    }
}
