//! What only we and a server may know: a password, a token. It is in no `Debug` text, and it has no `Display`: whoever needs it
//! has to say [`Secret::expose`].

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

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
pub struct SharedSecret(Arc<RwLock<Secret>>);

impl SharedSecret {
    /// One that begins as `secret`.
    pub fn new(secret: Secret) -> SharedSecret {
        SharedSecret(Arc::new(RwLock::new(secret)))
    }

    /// As it is now.
    pub fn get(&self) -> Secret {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it. Whether it was another.
    pub fn set(&self, secret: Secret) -> bool {
        let now = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_another = *now != secret;
        *now = secret;
        is_another
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
    }
}
