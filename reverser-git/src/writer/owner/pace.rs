//! When the next push may begin, for users who want fewer of them.

use std::{num::NonZeroUsize, time::Duration};

use tokio::time::Instant;

/// How pushes follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pacing {
    /// The longest wait between the end of a push and the next one. Zero: none.
    pub(crate) interval: Duration,
    /// So many commits don't wait any longer.
    pub(crate) max_commits: Option<NonZeroUsize>,
}

/// What the next push waits for, beside the end of the one under way.
#[derive(Debug)]
pub(super) struct Pace {
    pacing: Pacing,
    /// When the wait after the last push ends; `None`: there was none.
    rests_until: Option<Instant>,
    /// Somebody waits for all batches up to this one.
    asked: u64,
}

impl Pace {
    pub(super) fn new(pacing: Pacing) -> Self {
        Self { pacing, rests_until: None, asked: 0 }
    }

    /// Notes that a push has ended well.
    pub(super) fn rest(&mut self, now: Instant) {
        self.rests_until = Some(now + self.pacing.interval.min(LONGEST));
    }

    /// Notes that somebody waits for all batches up to this one.
    pub(super) fn ask(&mut self, sequence: u64) {
        self.asked = self.asked.max(sequence);
    }

    /// Returns until when a push of so many commits waits, where all batches up to `pushed` are on the remote; `None`: it
    /// may begin.
    pub(super) fn waits_until(&self, now: Instant, commits: usize, pushed: u64) -> Option<Instant> {
        let is_enough = self.pacing.max_commits.is_some_and(|most| commits >= most.get());
        if is_enough || self.asked > pushed {
            return None;
        }
        self.rests_until.filter(|until| *until > now)
    }
}

/// What is longer is for ever; added to an instant, `Duration::MAX` would be past the end of time, and nothing would wait.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_after_a_push_waits_unless_enough_has_gathered_or_somebody_asks() {
        let interval = Duration::from_secs(5);
        let mut pace = Pace::new(Pacing { interval, max_commits: NonZeroUsize::new(3) });
        let now = Instant::now();
        assert_eq!(pace.waits_until(now, 1, 0), None, "an idle branch pushes at once");
        pace.rest(now);
        let later = now + Duration::from_secs(1);
        assert_eq!(pace.waits_until(later, 2, 4), Some(now + interval));
        assert_eq!(pace.waits_until(later, 3, 4), None, "enough");
        assert_eq!(pace.waits_until(now + interval, 1, 4), None, "long enough");
        pace.ask(6);
        assert_eq!(pace.waits_until(later, 1, 5), None, "asked for");
        assert_eq!(pace.waits_until(later, 1, 6), Some(now + interval), "what was asked for is there");
    }

    #[test]
    fn an_interval_without_an_end_waits_until_somebody_asks() {
        let mut pace = Pace::new(Pacing { interval: Duration::MAX, max_commits: None });
        let now = Instant::now();
        pace.rest(now);
        assert!(pace.waits_until(now + Duration::from_secs(3600), 1, 1).is_some());
        pace.ask(2);
        assert_eq!(pace.waits_until(now, 1, 1), None);
    }

    #[test]
    fn without_an_interval_nothing_waits() {
        let mut pace = Pace::new(Pacing::default());
        let now = Instant::now();
        pace.rest(now);
        assert_eq!(pace.waits_until(now, 1, 0), None);
    }
}
