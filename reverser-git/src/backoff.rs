//! How long to wait before something that failed is tried again.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Decorrelated jitter: each wait is between the shortest and three times the one before, at most the longest, so that
/// tasks that failed together don't come back together.
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    last: Duration,
}

impl Backoff {
    /// Returns the back-off as it is after a success.
    pub const fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, last: shortest }
    }

    /// Begins anew: it succeeded.
    pub const fn reset(&mut self) {
        self.last = self.shortest;
    }

    /// Returns how long to wait now.
    pub fn next_wait(&mut self) -> Duration {
        self.step(random())
    }

    /// Returns how long to wait now, for a number that nobody can foretell.
    pub fn step(&mut self, random: u64) -> Duration {
        let span = (self.last * 3).min(self.longest).saturating_sub(self.shortest);
        let milliseconds = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.last = self.shortest + Duration::from_millis(random % milliseconds);
        self.last
    }
}

/// Returns a number that nobody can foretell well enough to matter here. Every `RandomState` has keys of its own.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(60);

    #[test]
    fn waits_grow_by_at_most_three_and_end_at_the_longest() {
        let mut backoff = Backoff::new(SHORTEST, LONGEST);
        let mut last = SHORTEST;
        for random in (0..200).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let wait = backoff.step(random);
            assert!(wait >= SHORTEST && wait <= LONGEST.min(last * 3), "{wait:?} after {last:?}");
            last = wait;
        }
    }

    #[test]
    fn the_longest_wait_is_reached_and_a_success_begins_anew() {
        let mut backoff = Backoff { last: LONGEST, ..Backoff::new(SHORTEST, LONGEST) };
        assert_eq!(backoff.step(59_750), LONGEST);
        backoff.reset();
        assert!(backoff.step(u64::MAX) <= SHORTEST * 3);
    }
}
