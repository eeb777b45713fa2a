//! A table of values whose keys outlive them: a place that is used again gets another generation, so that the key of what stood
//! there before finds nothing.
//!
//! By such a key a late answer names what waits for it: an order, a connection, a product. Values do not move while they are in,
//! and no place is made while one is free. Never gives memory back, and has no bound: the owner asks [`Slab::len`] first.

/// Names one value, and none that had or will have its place. (After 2³² values in one place a key comes back.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which place.
    pub place: u32,
    /// How many values have left it.
    pub generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// The table.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// Places without a value; the one that was left last is taken first.
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// How many values are in.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a value into a free place, or into a new one.
    #[inline]
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(place) = self.free.pop() {
            let entry = &mut self.entries[place as usize];
            entry.value = Some(value);
            return Key { place, generation: entry.generation };
        }
        let place = u32::try_from(self.entries.len()).expect("the owner's bound is far below");
        self.entries.push(Entry { generation: 0, value: Some(value) });
        Key { place, generation: 0 }
    }

    /// The value of that key, unless it was taken out.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.place as usize)?;
        if entry.generation == key.generation { entry.value.as_ref() } else { None }
    }

    /// The value of that key, unless it was taken out.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.place as usize)?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// Takes a value out, once; its place may be another's at once.
    #[inline]
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.place as usize).filter(|entry| entry.generation == key.generation)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.place);
        Some(value)
    }

    /// How many places there are, free ones among them. A walk that goes on later takes them one by one with [`Slab::at`].
    pub fn places(&self) -> usize {
        self.entries.len()
    }

    /// The value at a place, and its key; `None` where it is free.
    pub fn at(&self, place: usize) -> Option<(Key, &T)> {
        let entry = self.entries.get(place)?;
        let value = entry.value.as_ref()?;
        Some((Key { place: place as u32, generation: entry.generation }, value))
    }

    /// All values, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }

    /// All values, in the order of their places.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|entry| entry.value.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_own_value_and_never_the_next_one_in_its_place() {
        let mut slab = Slab::default();
        let (first, other) = (slab.insert("first"), slab.insert("other"));
        assert_eq!((slab.get(first), slab.get(other), slab.len()), (Some(&"first"), Some(&"other"), 2));
        assert_eq!(slab.remove(first), Some("first"));
        let next = slab.insert("next");
        assert_eq!(next.place, first.place, "a free place is used again");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None, "gone once is gone");
        assert_eq!((slab.get(next), slab.len()), (Some(&"next"), 2));
        assert_eq!(slab.get(Key { place: 7, generation: 0 }), None, "no such place");
    }

    #[test]
    fn a_walk_meets_each_value_once_and_no_free_place() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..4).map(|n| slab.insert(n)).collect();
        slab.remove(keys[1]);
        slab.iter_mut().for_each(|value| *value += 10);
        assert_eq!(slab.iter().copied().collect::<Vec<_>>(), [10, 12, 13]);
        let met: Vec<_> = (0..slab.places()).filter_map(|place| slab.at(place)).collect();
        assert_eq!(met, [(keys[0], &10), (keys[2], &12), (keys[3], &13)]);
        assert_eq!((slab.at(1), slab.at(4), slab.is_empty()), (None, None, false));
    }
}
