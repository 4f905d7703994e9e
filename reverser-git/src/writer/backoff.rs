//! How long to wait before a failed push is tried again.

use std::time::Duration;

/// Decorrelated jitter: each wait is between [`SHORTEST`](Self::SHORTEST) and three times the one before, at most
/// [`LONGEST`](Self::LONGEST), so that writers that failed together don't come back together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    last: Duration,
}

impl Backoff {
    pub(crate) const SHORTEST: Duration = Duration::from_millis(250);
    pub(crate) const LONGEST: Duration = Duration::from_secs(60);

    /// Returns the back-off after a success.
    pub(crate) const fn new() -> Self {
        Self { last: Self::SHORTEST }
    }

    /// Returns the next wait; `random` is any number.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let span = (self.last * 3).min(Self::LONGEST) - Self::SHORTEST;
        let milliseconds = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.last = Self::SHORTEST + Duration::from_millis(random % milliseconds);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_at_most_three_and_end_at_a_minute() {
        let mut backoff = Backoff::new();
        let mut last = Backoff::SHORTEST;
        for random in (0..200).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let wait = backoff.next(random);
            assert!(wait >= Backoff::SHORTEST && wait <= Backoff::LONGEST.min(last * 3), "{wait:?} after {last:?}");
            last = wait;
        }
    }

    #[test]
    fn the_longest_waits_reach_a_minute() {
        let mut backoff = Backoff { last: Backoff::LONGEST };
        assert_eq!(backoff.next(59_750), Backoff::LONGEST);
        assert_eq!(backoff.next(0), Backoff::SHORTEST);
    }
}
