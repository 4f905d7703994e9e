//! How long to wait before a request is tried again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Decorrelated jitter: each wait is drawn between the shortest and three times the last one, so that many watches that
/// failed together don't come back together. <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
#[derive(Debug)]
pub(crate) struct Backoff {
    shortest: Duration,
    longest: Duration,
    last: Duration,
}

impl Backoff {
    pub(crate) fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, last: shortest }
    }

    pub(crate) fn reset(&mut self) {
        self.last = self.shortest;
    }

    pub(crate) fn next_wait(&mut self) -> Duration {
        let span = (self.last * 3).saturating_sub(self.shortest);
        let share = f64::from(u32::try_from(random() & 0xffff_ffff).unwrap_or(0)) / f64::from(u32::MAX);
        self.last = (self.shortest + span.mul_f64(share)).min(self.longest);
        self.last
    }
}

/// The standard library seeds each `RandomState` differently; enough to spread retries.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_between_their_bounds_and_grow() {
        let (shortest, longest) = (Duration::from_millis(250), Duration::from_secs(60));
        let mut backoff = Backoff::new(shortest, longest);
        let waits: Vec<_> = (0..200).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|wait| (shortest..=longest).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(5)), "{waits:?}");
        backoff.reset();
        assert!(backoff.next_wait() <= shortest * 3);
    }
}
