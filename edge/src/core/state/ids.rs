//! Ids that no other core draws, and what only this core can foresee: both from 32 random bytes of its own.

use flux_protocol::order::Uuid;
use sha2::{Digest, Sha256};

/// The source of one core's ids.
#[derive(Debug)]
pub(crate) struct Ids {
    nonce: [u8; 8],
    secret: [u8; 32],
    drawn: u64,
}

impl Ids {
    /// Of 32 random bytes.
    pub(crate) fn new(secret: [u8; 32]) -> Ids {
        let mut nonce = [0; 8];
        nonce.copy_from_slice(&Sha256::digest(secret)[..8]);
        Ids { nonce, secret, drawn: 0 }
    }

    /// Eight bytes that tell this core from others.
    pub(crate) fn nonce(&self) -> [u8; 8] {
        self.nonce
    }

    /// An id that no other core draws: this core's nonce and a count.
    pub(crate) fn draw(&mut self) -> Uuid {
        self.drawn += 1;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.nonce);
        // The low 60 bits of the count: version and variant take the rest.
        bytes[8..].copy_from_slice(&self.drawn.to_be_bytes());
        Uuid::version_8(bytes)
    }

    /// The seed of a sale's lots: 32 unpredictable bytes, in hexadecimal.
    pub(crate) fn draw_seed(&mut self) -> String {
        let drawn = self.draw();
        let digest = Sha256::new().chain_update(self.secret).chain_update(drawn.0).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
