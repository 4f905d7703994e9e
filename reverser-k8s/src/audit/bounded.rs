//! Values by key, so many bytes of them and no older than so long.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    pub(super) age: Duration,
}

/// Keeps values in the order in which they came; at a limit the oldest goes, and is counted.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    limits: Limits,
    by_key: HashMap<K, VecDeque<V>>,
    oldest_first: VecDeque<Entry<K>>,
    bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    came: Instant,
    bytes: usize,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, by_key: HashMap::new(), oldest_first: VecDeque::new(), bytes: 0, dropped: 0 }
    }

    /// Keeps a value of so many bytes, its key included.
    pub(super) fn insert(&mut self, key: K, value: V, bytes: usize, now: Instant) {
        self.by_key.entry(key.clone()).or_default().push_back(value);
        self.oldest_first.push_back(Entry { key, came: now, bytes });
        self.bytes += bytes;
        while self.bytes > self.limits.bytes {
            self.dropped += 1;
            self.drop_oldest();
        }
        let age = self.limits.age;
        let is_old = |entry: &Entry<K>| now.saturating_duration_since(entry.came) > age;
        while self.oldest_first.front().is_some_and(is_old) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(Entry { key, bytes, .. }) = self.oldest_first.pop_front() else { return };
        self.bytes -= bytes;
        if let Some(values) = self.by_key.get_mut(&key) {
            values.pop_front();
            if values.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }

    /// Returns the values of a key, the latest first.
    pub(super) fn of<'a, Q: Eq + Hash + ?Sized>(&'a self, key: &Q) -> impl Iterator<Item = &'a V> + use<'a, K, V, Q>
    where
        K: Borrow<Q>,
    {
        self.by_key.get(key).into_iter().flat_map(|values| values.iter().rev())
    }

    pub(super) fn len(&self) -> usize {
        self.oldest_first.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns how many have gone for want of room, which nobody may have asked for yet.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bounded: &Bounded<&str, u8>, key: &str) -> Vec<u8> {
        bounded.of(key).copied().collect()
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_bytes_and_is_counted() {
        let now = Instant::now();
        let mut bounded = Bounded::new(Limits { bytes: 30, age: Duration::from_secs(60) });
        for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("a", 4)] {
            bounded.insert(key, value, 10, now);
        }
        assert_eq!((of(&bounded, "a"), of(&bounded, "b")), (vec![4, 3], vec![2]));
        bounded.insert("c", 5, 25, now);
        assert_eq!((of(&bounded, "a"), of(&bounded, "b"), of(&bounded, "c")), (vec![], vec![], vec![5]));
        assert_eq!((bounded.len(), bounded.bytes(), bounded.dropped()), (1, 25, 4));
    }

    #[test]
    fn what_is_too_old_goes_with_the_next_that_comes_and_is_not_missed() {
        let now = Instant::now();
        let mut bounded = Bounded::new(Limits { bytes: 100, age: Duration::from_secs(60) });
        bounded.insert("a", 1, 10, now);
        bounded.insert("a", 2, 10, now + Duration::from_secs(61));
        assert_eq!((of(&bounded, "a"), bounded.dropped()), (vec![2], 0));
    }

    #[test]
    fn what_is_larger_than_all_room_is_not_kept() {
        let mut bounded = Bounded::new(Limits { bytes: 10, age: Duration::from_secs(60) });
        bounded.insert("a", 1, 11, Instant::now());
        assert_eq!((of(&bounded, "a"), bounded.len(), bounded.bytes()), (vec![], 0, 0));
    }
}
