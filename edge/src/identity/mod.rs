//! Who orders: the user that a bearer token names (RFC 6750, RFC 7519), where the edge is told to ask for one.
//!
//! An identity provider signs tokens; the edge holds public keys (or a shared secret) and believes the user that a valid
//! token names, and no `userId` beside it. Signatures and the claims `exp`, `nbf`, `aud` and `iss` are checked by the
//! `jsonwebtoken` crate. Here is decided which key may be asked (`keys.rs`, `sound_key.rs`), what of a token is remembered
//! (`remembered.rs`) and what its subject is called in records (`subject.rs`).
//!
//! Never fetches keys or asks the identity provider: whoever runs the edge puts the file there and sends SIGHUP. Never logs
//! a token.

mod bearer;
mod keys;
mod remembered;
mod sound_key;
mod subject;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub use bearer::{Bearers, Caller, REFUSALS, Refusal};
pub use keys::{KeySet, KeysError};
pub use subject::{SUBJECT_KEY_BYTES_MIN, SubjectKey};

/// What is asked of a token, and how its user is found.
#[derive(Clone, Debug)]
pub struct Rules {
    /// A JWK set or PEM public keys; see [`KeySet::read`].
    pub keys: PathBuf,
    /// Values of `aud`, one of which a token must have; where there is none, a token that has an `aud` is not for us
    /// (RFC 7519 section 4.1.3).
    pub audience: Vec<String>,
    /// Values of `iss`, one of which a token must have; none: whoever holds a key.
    pub issuer: Vec<String>,
    /// The claim that names the user.
    pub claim: String,
    /// By how much the clocks of edge and identity provider may differ.
    pub leeway: Duration,
    /// With it subjects that are no identifiers are hashed: the same on all edges.
    pub subject_key: SubjectKey,
}

/// The rules of a process and the keys in force, shared by its cores.
#[derive(Debug)]
pub struct IdentityProvider {
    rules: Rules,
    keys: RwLock<Arc<KeySet>>,
    /// Counts the readings of the file: a core compares one number a request.
    version: AtomicU64,
}

impl IdentityProvider {
    /// Reads the keys.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load(rules: Rules) -> Result<IdentityProvider, KeysError> {
        let keys = KeySet::read(&rules.keys)?;
        Ok(IdentityProvider::with_keys(rules, keys))
    }

    /// One that begins with keys that were read already.
    pub fn with_keys(rules: Rules, keys: KeySet) -> IdentityProvider {
        IdentityProvider { rules, keys: RwLock::new(Arc::new(keys)), version: AtomicU64::new(0) }
    }

    /// Reads the keys anew; how many there are. Tokens of keys that are gone are refused from then on, remembered ones too.
    ///
    /// # Errors
    /// What is wrong with the file: the keys of before stay in force.
    pub fn reload(&self) -> Result<usize, KeysError> {
        let keys = KeySet::read(&self.rules.keys)?;
        let count = keys.len();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        self.version.fetch_add(1, Ordering::Release);
        Ok(count)
    }

    /// What an operator should hear of the file of keys.
    pub fn warning(&self) -> Option<String> {
        let path = self.rules.keys.display();
        self.keys().is_secret_in_the_open.then(|| {
            format!("--jwt-keys: every user of this machine may read {path}, and sign tokens with its shared secret: chmod o-rwx it")
        })
    }

    /// What is asked of a token.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}
