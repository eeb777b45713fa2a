//! The one place where the edge draws from the kernel's randomness: seeds, which the machines stretch themselves.

/// Eight random bytes.
pub fn seed() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer lives through the call, and its length is given.
    let drawn = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(drawn, 8, "the kernel gives eight bytes whole once it has started");
    u64::from_ne_bytes(bytes)
}
