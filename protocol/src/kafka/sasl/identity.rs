//! Who we are to the brokers: one for all connections of a process, so that a password is stretched once and a new token serves
//! every connection that begins after it.
//!
//! Stretching a password takes milliseconds, which no core of an edge has during a sale. A process gives the identity a helper
//! ([`Identity::help_by`]) that does such work on a thread of its own; without one it is done where it is needed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::mechanism::Mechanism;
use super::scram::{Algorithm, Keys, SHA_256, SHA_512};
use crate::secret::{Secret, SharedSecret};

/// Passwords whose keys are kept: the brokers of a cluster share a user's salt, so it is one, and two while it is changed.
const KEYS_MAX: usize = 4;

/// Of them so many may be under way.
const STRETCHES_MAX: usize = 4;

/// Random bytes in a nonce.
const NONCE_BYTES: usize = 24;

/// See the module. Clones are the same identity.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    mechanism: Mechanism,
    user: String,
    secret: SharedSecret,
    keys: Mutex<Known>,
    helper: OnceLock<Box<Helper>>,
    random: [u8; 32],
    drawn: AtomicU64,
}

/// What is done elsewhere; see [`Identity::help_by`].
type Helper = dyn Fn(Errand) -> bool + Send + Sync;

/// What a helper is asked for.
#[derive(Debug)]
pub enum Errand {
    /// Call [`Stretch::derive`], on a thread that may take milliseconds.
    Stretch(Stretch),
    /// A broker has refused the secret, or there is none yet: where it comes from a file or a command, get it anew.
    Renew,
}

#[derive(Default)]
struct Known {
    ready: VecDeque<(Source, Arc<Keys>)>,
    under_way: Vec<Source>,
}

/// What keys are derived from.
#[derive(Clone, PartialEq, Eq)]
struct Source {
    password: Secret,
    salt: Vec<u8>,
    iterations: u32,
}

/// A password that is to be stretched.
pub struct Stretch {
    identity: Identity,
    source: Source,
}

impl fmt::Debug for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stretch").field("iterations", &self.source.iterations).finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mechanism, user) = (&self.0.mechanism, &self.0.user);
        f.debug_struct("Identity").field("mechanism", mechanism).field("user", user).finish_non_exhaustive()
    }
}

impl Identity {
    /// `user` with the password in `secret`; or, with [`Mechanism::OAuthBearer`], the token in `secret`, which may be empty as
    /// long as there is none. `random` is drawn from the operating system: a nonce that could be foretold would weaken the
    /// proof.
    pub fn new(mechanism: Mechanism, user: &str, secret: SharedSecret, random: [u8; 32]) -> Identity {
        let user = user.to_owned();
        let (keys, helper, drawn) = (Mutex::default(), OnceLock::new(), AtomicU64::new(0));
        Identity(Arc::new(Inner { mechanism, user, secret, keys, helper, random, drawn }))
    }

    /// Has errands run by `helper` from now on. It must not wait: it hands them to another thread, and answers whether it did.
    /// Only the first helper counts.
    pub fn help_by(&self, helper: impl Fn(Errand) -> bool + Send + Sync + 'static) {
        let _ = self.0.helper.set(Box::new(helper));
    }

    /// How it logs in.
    pub fn mechanism(&self) -> Mechanism {
        self.0.mechanism
    }

    /// As whom.
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// The password or token as it is now.
    pub(super) fn secret(&self) -> Secret {
        self.0.secret.get()
    }

    /// Whom messages name.
    pub(crate) fn who(&self) -> String {
        if self.0.mechanism.wants_password() { format!("user {}", self.0.user) } else { "the token".to_owned() }
    }

    /// The secret did not serve: another may be had.
    pub(super) fn renew_secret(&self) {
        if let Some(helper) = self.0.helper.get() {
            helper(Errand::Renew);
        }
    }

    pub(super) fn algorithm(&self) -> &'static Algorithm {
        match self.0.mechanism {
            Mechanism::ScramSha512 => &SHA_512,
            Mechanism::ScramSha256 | Mechanism::Plain | Mechanism::OAuthBearer => &SHA_256,
        }
    }

    /// The keys of `password` with this salt. `None`: a helper derives them; ask again a little later.
    pub(super) fn keys(&self, password: &Secret, salt: &[u8], iterations: u32) -> Option<Arc<Keys>> {
        let source = Source { password: password.clone(), salt: salt.to_vec(), iterations };
        let mut known = self.known();
        if let Some((_, keys)) = known.ready.iter().find(|(its, _)| *its == source) {
            return Some(Arc::clone(keys));
        }
        if known.under_way.contains(&source) {
            return None;
        }
        let stretch = Stretch { identity: self.clone(), source };
        let may_help = known.under_way.len() < STRETCHES_MAX;
        if let Some(helper) = self.0.helper.get().filter(|_| may_help) {
            known.under_way.push(stretch.source.clone());
            drop(known);
            let source = stretch.source.clone();
            if helper(Errand::Stretch(stretch)) {
                return None;
            }
            return Some(Stretch { identity: self.clone(), source }.run());
        }
        drop(known);
        Some(stretch.run())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self) -> [u8; 32] {
        let drawn = self.0.drawn.fetch_add(1, Ordering::Relaxed);
        Sha256::new().chain_update(self.0.random).chain_update(drawn.to_le_bytes()).finalize().into()
    }

    /// A nonce of base64.
    pub(super) fn nonce(&self) -> String {
        STANDARD.encode(&self.draw()[..NONCE_BYTES])
    }

    /// A number from `least` to `most`.
    pub(super) fn between(&self, least: u64, most: u64) -> u64 {
        let drawn = u64::from_le_bytes(self.draw()[..8].try_into().expect("eight bytes"));
        least + drawn % (most - least + 1)
    }
}

impl Stretch {
    /// Derives the keys and keeps them for all connections. Takes a millisecond or more.
    pub fn derive(self) {
        self.run();
    }

    fn run(self) -> Arc<Keys> {
        let Stretch { identity, source } = self;
        let password = source.password.expose().as_bytes();
        let keys = Arc::new(Keys::derive(identity.algorithm(), password, &source.salt, source.iterations));
        let mut known = identity.known();
        known.under_way.retain(|its| *its != source);
        if known.ready.len() == KEYS_MAX {
            known.ready.pop_front();
        }
        known.ready.push_back((source, Arc::clone(&keys)));
        keys
    }
}
