//! The data: keys, their values, when they expire. Time is what [`Keyspace::advance`] was told last; a key whose time has
//! passed is gone from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::reply::{Failure, WRONG_TYPE};
use super::stream::Stream;

/// A key, field, member or value; kept once, however often it is named.
pub(super) type Text = Rc<[u8]>;
pub(super) type Hash = BTreeMap<Text, Text>;
pub(super) type Set = BTreeSet<Text>;

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(Text),
    Hash(Hash),
    Set(Set),
    Stream(Stream),
}

impl Value {
    /// As `TYPE` names it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "string",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
            Value::Stream(_) => "stream",
        }
    }
}

/// One of the types of value, so that a command says once which it is about.
pub(super) trait Kind: Default {
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    fn into_value(self) -> Value;
}

macro_rules! kind {
    ($type:ty, $variant:ident) => {
        impl Kind for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
            fn into_value(self) -> Value {
                Value::$variant(self)
            }
        }
    };
}
kind!(Text, Text);
kind!(Hash, Hash);
kind!(Set, Set);
kind!(Stream, Stream);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    value: Value,
    expires_ms: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keyspace {
    entries: BTreeMap<Text, Entry>,
    /// When, and what: the same as the entries say, in order.
    expiries: BTreeSet<(u64, Text)>,
    now_us: u64,
}

impl Keyspace {
    /// Redis' clock, µs since the epoch.
    pub(super) fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Redis' clock, ms since the epoch.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    /// Sets the clock, which may go back; whether a key expired by it. A key lives until its very millisecond has passed.
    pub(super) fn advance(&mut self, now_us: u64) -> bool {
        self.now_us = now_us;
        let mut expired = false;
        while let Some((when, _)) = self.expiries.first()
            && *when < now_us / 1000
        {
            let (_, key) = self.expiries.pop_first().expect("it was there");
            self.entries.remove(&key).expect("what expires is there");
            expired = true;
        }
        expired
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Value> {
        Some(&self.entries.get(key)?.value)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// # Errors
    /// Of another type.
    pub(super) fn read<K: Kind>(&self, key: &[u8]) -> Result<Option<&K>, Failure> {
        self.get(key).map(|value| K::of(value).ok_or(WRONG_TYPE)).transpose()
    }

    /// # Errors
    /// Of another type.
    pub(super) fn change<K: Kind>(&mut self, key: &[u8]) -> Result<Option<&mut K>, Failure> {
        self.entries.get_mut(key).map(|entry| K::of_mut(&mut entry.value).ok_or(WRONG_TYPE)).transpose()
    }

    /// The value, made empty where there is none.
    ///
    /// # Errors
    /// Of another type.
    pub(super) fn make<K: Kind>(&mut self, key: &Text) -> Result<&mut K, Failure> {
        let fresh = || Entry { value: K::default().into_value(), expires_ms: None };
        let entry = self.entries.entry(key.clone()).or_insert_with(fresh);
        K::of_mut(&mut entry.value).ok_or(WRONG_TYPE)
    }

    /// Puts `value` in place of whatever was there.
    pub(super) fn set(&mut self, key: &Text, value: Value, expires_ms: Option<u64>) {
        let before = self.entries.insert(key.clone(), Entry { value, expires_ms });
        if let Some(when) = before.and_then(|entry| entry.expires_ms) {
            self.expiries.remove(&(when, key.clone()));
        }
        if let Some(when) = expires_ms {
            self.expiries.insert((when, key.clone()));
        }
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, key: &Text) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        if let Some(when) = entry.expires_ms {
            self.expiries.remove(&(when, key.clone()));
        }
        true
    }

    /// When the key expires, ms since the epoch.
    pub(super) fn expires_ms(&self, key: &[u8]) -> Option<u64> {
        self.entries.get(key)?.expires_ms
    }

    /// Lets a key that is there expire then.
    pub(super) fn expire_at(&mut self, key: &Text, when: u64) {
        let entry = self.entries.get_mut(key).expect("asked for a key that is there");
        if let Some(before) = entry.expires_ms.replace(when) {
            self.expiries.remove(&(before, key.clone()));
        }
        self.expiries.insert((when, key.clone()));
    }

    /// Forgets everything but the time.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.expiries.clear();
    }
}
