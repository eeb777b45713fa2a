//! Chance that follows from the run's seed.

use super::host;

/// As the real one.
pub fn draw<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    host().draw(&mut bytes);
    bytes
}
