//! What only we and a server may know: a password, a token. It is in no `Debug` text, and it has no `Display`: whoever needs it
//! has to say [`Secret::expose`].

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// What stands in the place of a secret.
const REDACTED: &str = "***";

/// Shorter secrets are not looked for in texts of others: half of all words would be gone from them.
const REDACTED_BYTES_MIN: usize = 4;

/// A secret. Clones share its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Of its text.
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    /// Its text, to be written on a wire and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a server said, without the secret where the server repeated it.
    pub fn redact(&self, words: &str) -> String {
        if self.0.len() < REDACTED_BYTES_MIN { words.to_owned() } else { words.replace(&*self.0, REDACTED) }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// A secret that may be replaced while the program runs: all clones see the new one. Those who have used the old one are not told;
/// it is asked for whenever a connection begins.
#[derive(Clone)]
pub struct SharedSecret(Arc<Shared>);

struct Shared {
    secret: RwLock<Secret>,
    /// Who looks whether there is another by now.
    renewal: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl SharedSecret {
    /// One that begins as `secret`.
    pub fn new(secret: Secret) -> SharedSecret {
        SharedSecret(Arc::new(Shared { secret: RwLock::new(secret), renewal: OnceLock::new() }))
    }

    /// As it is now.
    pub fn get(&self) -> Secret {
        self.0.secret.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it. Whether it was another.
    pub fn set(&self, secret: Secret) -> bool {
        let now = &mut *self.0.secret.write().unwrap_or_else(PoisonError::into_inner);
        let is_another = *now != secret;
        *now = secret;
        is_another
    }

    /// A server has refused it: another may be had by now, where the secret came from. Never waits.
    pub fn note_refused(&self) {
        if let Some(look) = self.0.renewal.get() {
            look();
        }
    }

    /// Has `look` called whenever it is refused; it must not wait. Who says so first, stays.
    pub fn renew_by(&self, look: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.renewal.set(Box::new(look));
    }
}

impl From<&str> for SharedSecret {
    fn from(text: &str) -> SharedSecret {
        SharedSecret::new(Secret::new(text))
    }
}

impl PartialEq for SharedSecret {
    fn eq(&self, other: &SharedSecret) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.get() == other.get()
    }
}

impl Eq for SharedSecret {}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_to_nobody_and_cut_out_of_what_others_repeat() {
        let secret = Secret::new("hunter2");
        let shared = SharedSecret::new(secret.clone());
        assert_eq!(format!("{secret:?} {shared:?} {:?}", Some(&shared)), "*** *** Some(***)");
        assert_eq!(secret.redact("no user has the password hunter2, hunter2"), "no user has the password ***, ***");
        assert_eq!(Secret::new("a").redact("a banana"), "a banana");
        assert_eq!(Secret::new("").redact("banana"), "banana");
    }

    #[test]
    fn all_clones_see_the_new_one() {
        let shared = SharedSecret::from("old");
        let clone = shared.clone();
        assert!(!shared.set(Secret::new("old")) && shared.set(Secret::new("new")));
        assert_eq!(clone.get().expose(), "new");
        assert_eq!(shared, SharedSecret::from("new"));
        clone.note_refused();
        let renewed = shared.clone();
        shared.renew_by(move || assert!(renewed.set(Secret::new("newest"))));
        clone.note_refused();
        assert_eq!(shared.get().expose(), "newest", "whoever is refused has it looked for");
    }
}
