//! The cryptography under TLS: aws-lc-rs, with the key exchanges that we choose.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};

/// The default provider prefers a post-quantum hybrid, whose key share makes a handshake a kilobyte longer each way and
/// dearer for a server of crowds. What passes here is worth nothing to a listener years later, and passwords do not
/// travel; the curves that every server speaks are enough. Said in decisions.md.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let kx_groups = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..default_provider() })
}
