//! Values by key, of which the oldest go first.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    iter,
};

/// Keeps values until they are too old or too many. Those of one key form a chain through the queue, so that a key costs one
/// entry of a map, and forgetting the oldest takes no search.
#[derive(Debug)]
pub(super) struct Ring<K, V> {
    nodes: VecDeque<Node<K, V>>,
    /// How many have been forgotten: the number of the first node.
    forgotten: u64,
    /// The number of each key's newest node.
    newest: HashMap<K, u64>,
    limit: usize,
    keep_seconds: u32,
}

/// When something came: in seconds since 1970, and as the how manieth.
pub(super) type Moment = (u32, u64);

#[derive(Debug)]
pub(super) struct Node<K, V> {
    pub(super) value: V,
    key: K,
    /// When it came, in seconds since 1970.
    pub(super) at: u32,
    /// How many came before, to any ring that is filled with the same count.
    pub(super) order: u64,
    /// How many nodes before this one the key has another one; 0: none.
    back: u32,
}

impl<K: Clone + Eq + Hash, V> Ring<K, V> {
    /// Returns an empty one for at most `limit` values, which are kept for `keep_seconds`.
    pub(super) fn new(limit: usize, keep_seconds: u32) -> Self {
        Self { nodes: VecDeque::new(), forgotten: 0, newest: HashMap::new(), limit, keep_seconds }
    }

    /// Adds a value; returns the one that had to go for it.
    pub(super) fn push(&mut self, key: K, (at, order): Moment, value: V) -> Option<(K, V)> {
        let out = if self.nodes.len() >= self.limit { self.pop() } else { None };
        let number = self.forgotten + self.nodes.len() as u64;
        let before = self.newest.insert(key.clone(), number).filter(|&before| before >= self.forgotten);
        let back = before.and_then(|before| u32::try_from(number - before).ok()).unwrap_or_default();
        self.nodes.push_back(Node { value, key, at, order, back });
        out
    }

    /// Forgets what is too old.
    pub(super) fn age(&mut self, now: u32) {
        while self.nodes.front().is_some_and(|oldest| now.saturating_sub(oldest.at) > self.keep_seconds) {
            self.pop();
        }
        // What a burst took is given back.
        if self.nodes.len() < self.nodes.capacity() / 8 && self.nodes.capacity() > 1024 {
            self.nodes.shrink_to(2 * self.nodes.len());
            self.newest.shrink_to(2 * self.newest.len());
        }
    }

    /// Returns the values of a key, the newest first.
    pub(super) fn of<'s>(&'s self, key: &K) -> impl Iterator<Item = &'s Node<K, V>> + use<'s, K, V> {
        let node = |number: u64| self.nodes.get(usize::try_from(number.checked_sub(self.forgotten)?).ok()?);
        let next = self.newest.get(key).copied();
        iter::successors(next, move |&number| {
            let back = node(number)?.back;
            (back > 0).then(|| number - u64::from(back))
        })
        .map_while(node)
    }

    /// Returns how many values there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    fn pop(&mut self) -> Option<(K, V)> {
        let Node { value, key, .. } = self.nodes.pop_front()?;
        if self.newest.get(&key) == Some(&self.forgotten) {
            self.newest.remove(&key);
        }
        self.forgotten += 1;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn a_ring_is_a_queue_that_is_searched(steps in vec((0..5_u8, 0..4_u32), 0..60)) {
            let (mut ring, mut queue, mut now) = (Ring::new(7, 9), VecDeque::new(), 0);
            for (value, (key, later)) in steps.into_iter().enumerate() {
                now += later;
                ring.age(now);
                queue.retain(|&(_, at, _)| now - at <= 9);
                let out = (queue.len() == 7).then(|| queue.pop_front().map(|(key, _, value)| (key, value))).flatten();
                prop_assert_eq!(ring.push(key, (now, 0), value), out);
                queue.push_back((key, now, value));
                for key in 0..5 {
                    let found: Vec<_> = ring.of(&key).map(|node| (node.at, node.value)).collect();
                    let expected: Vec<_> = queue.iter().rev().filter(|entry| entry.0 == key).collect();
                    prop_assert_eq!(found, expected.iter().map(|entry| (entry.1, entry.2)).collect::<Vec<_>>());
                }
                prop_assert_eq!(ring.len(), queue.len());
                let keys: std::collections::HashSet<_> = queue.iter().map(|entry| entry.0).collect();
                prop_assert_eq!(ring.newest.len(), keys.len());
            }
        }
    }
}
