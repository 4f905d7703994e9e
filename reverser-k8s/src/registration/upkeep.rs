//! When a configuration is applied again. Pure: time comes in.

use std::time::Duration;

use tokio::time::Instant;

/// How long what has changed waits for more: a chart brings dozens of CustomResourceDefinitions at once.
const SETTLE: Duration = Duration::from_millis(100);

/// How often it is looked whether all is right although nothing says otherwise; an apply that changes nothing is cheap.
const LOOK: Duration = Duration::from_secs(300);

/// How long the second repair of an episode waits, or what has failed once; each further one waits twice as long, …
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// … up to this: what somebody made of it may refuse writes, and names no authors, and a repair is one small request.
const LONGEST_REPAIR_WAIT: Duration = Duration::from_secs(5);

/// How long it waits at most to be tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// An episode of repairs, or of failures, is over when nobody has tampered with it for so long.
const EPISODE: Duration = Duration::from_secs(600);

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It was applied; `is_news`: and differed from what was applied before.
    Applied { is_news: bool },
    /// Something else is to be applied.
    Changed,
    /// It could not be applied.
    Failed,
    /// Somebody has edited or deleted it.
    Tampered,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// It can't be applied for the moment.
    Failing,
    /// Somebody had tampered with it.
    PutRight,
    /// It could not be applied, and is.
    Recovered,
}

/// Decides when to apply.
#[derive(Debug)]
pub(super) struct Upkeep {
    due: Instant,
    /// Why it is due, or nothing but the time.
    why: Why,
    /// Of this episode.
    repairs: u32,
    tampered: Option<Instant>,
    /// In a row.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// To look.
    Look,
    /// Somebody has tampered with it.
    Repair,
    /// It isn't what it is to be.
    Update,
}

impl Upkeep {
    /// Begins with a configuration that was applied.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now + LOOK, why: Why::Look, repairs: 0, tampered: None, failures: 0 }
    }

    /// Returns when to apply.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Takes note; returns what is to be told.
    pub(super) fn step(&mut self, now: Instant, event: Event) -> Option<Tell> {
        match event {
            Event::Applied { is_news } => self.applied(now, is_news),
            Event::Changed => {
                self.due = self.due.min(now + SETTLE);
                if self.why == Why::Look {
                    self.why = Why::Update;
                }
                None
            }
            Event::Failed => {
                self.due = now + wait(self.failures);
                self.failures += 1;
                (self.failures == 1).then_some(Tell::Failing)
            }
            Event::Tampered => {
                if self.why != Why::Repair {
                    self.why = Why::Repair;
                    self.begin_repair(now);
                }
                None
            }
        }
    }

    fn begin_repair(&mut self, now: Instant) {
        if self.tampered.is_some_and(|last| now.duration_since(last) >= EPISODE) {
            self.repairs = 0;
        }
        self.tampered = Some(now);
        let wait = self.repairs.checked_sub(1).map_or(Duration::ZERO, wait).min(LONGEST_REPAIR_WAIT);
        self.repairs += 1;
        // What waits for longer has failed, or waits for its turn to look.
        self.due = self.due.min(now + wait);
    }

    fn applied(&mut self, now: Instant, is_news: bool) -> Option<Tell> {
        let why = std::mem::replace(&mut self.why, Why::Look);
        self.due = now + LOOK;
        if why == Why::Look && is_news {
            // Nobody had said so.
            self.begin_repair(now);
            self.due = now + LOOK;
        }
        let has_failed = std::mem::take(&mut self.failures) > 0;
        match why {
            Why::Look | Why::Repair if is_news && self.repairs == 1 => Some(Tell::PutRight),
            _ if has_failed => Some(Tell::Recovered),
            _ => None,
        }
    }
}

/// Returns the wait after so many others.
fn wait(others: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(others)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies as soon as it is due, each time to find it tampered with; returns the waits and what is told.
    fn fight(upkeep: &mut Upkeep, now: &mut Instant, rounds: usize) -> (Vec<u64>, Vec<Tell>) {
        let (mut waits, mut told) = (vec![], vec![]);
        for _ in 0..rounds {
            told.extend(upkeep.step(*now, Event::Tampered));
            waits.push(upkeep.due().duration_since(*now).as_secs());
            *now = upkeep.due();
            told.extend(upkeep.step(*now, Event::Applied { is_news: true }));
        }
        (waits, told)
    }

    #[test]
    fn the_first_edit_is_put_right_at_once_and_a_fight_slows_down_and_is_told_once() {
        let mut now = Instant::now();
        let mut upkeep = Upkeep::new(now);
        let (waits, told) = fight(&mut upkeep, &mut now, 10);
        assert_eq!(waits, [0, 1, 2, 4, 5, 5, 5, 5, 5, 5]);
        assert_eq!(told, [Tell::PutRight]);
        // Days later somebody edits it once more.
        now += EPISODE;
        assert_eq!(fight(&mut upkeep, &mut now, 2), (vec![0, 1], vec![Tell::PutRight]));
    }

    #[test]
    fn changes_wait_for_each_other_for_a_moment_from_the_first_one_on() {
        let begin = Instant::now();
        let mut upkeep = Upkeep::new(begin);
        for milliseconds in [0, 40, 80] {
            assert_eq!(upkeep.step(begin + Duration::from_millis(milliseconds), Event::Changed), None);
        }
        assert_eq!(upkeep.due(), begin + SETTLE);
        assert_eq!(upkeep.step(begin + SETTLE, Event::Applied { is_news: true }), None, "it was ours to change");
        assert_eq!(upkeep.due(), begin + SETTLE + LOOK);
    }

    #[test]
    fn what_fails_is_tried_again_ever_more_slowly_and_told_once() {
        let mut now = Instant::now();
        let mut upkeep = Upkeep::new(now);
        upkeep.step(now, Event::Changed);
        let mut told = vec![];
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            now = upkeep.due();
            told.extend(upkeep.step(now, Event::Failed));
            assert_eq!(upkeep.due().duration_since(now).as_secs(), expected);
        }
        told.extend(upkeep.step(upkeep.due(), Event::Applied { is_news: true }));
        assert_eq!(told, [Tell::Failing, Tell::Recovered]);
    }

    #[test]
    fn what_has_come_up_does_not_wait_behind_a_failure() {
        let now = Instant::now();
        let mut upkeep = Upkeep::new(now);
        for _ in 0..10 {
            upkeep.step(now, Event::Failed);
        }
        upkeep.step(now, Event::Changed);
        assert_eq!(upkeep.due(), now + SETTLE);
    }

    #[test]
    fn an_edit_that_was_undone_meanwhile_is_not_told() {
        let now = Instant::now();
        let mut upkeep = Upkeep::new(now);
        upkeep.step(now, Event::Tampered);
        assert_eq!(upkeep.step(now, Event::Applied { is_news: false }), None);
    }

    #[test]
    fn an_edit_that_nobody_told_of_is_found_by_the_next_look() {
        let begin = Instant::now();
        let mut upkeep = Upkeep::new(begin);
        let mut now = upkeep.due();
        assert_eq!(now, begin + LOOK);
        assert_eq!(upkeep.step(now, Event::Applied { is_news: false }), None);
        now = upkeep.due();
        assert_eq!(upkeep.step(now, Event::Applied { is_news: true }), Some(Tell::PutRight));
        assert_eq!(upkeep.due(), now + LOOK);
    }
}
