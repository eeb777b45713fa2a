//! The one place that draws from the kernel's randomness: seeds, which the machines stretch themselves.

use rustix::rand::{GetRandomFlags, getrandom};

/// Random bytes; 256 at most, which the kernel gives whole.
pub fn draw<const N: usize>() -> [u8; N] {
    const { assert!(N <= 256, "getrandom(2) may give less than it is asked for beyond that") };
    let mut bytes = [0_u8; N];
    let drawn = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(drawn, Ok(N), "the kernel gives so few bytes whole once it has started");
    bytes
}
