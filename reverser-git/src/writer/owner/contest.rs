//! Consideration for others who push to the same branch.
//!
//! Whoever loses a race has to fetch, make its commits again and push; whoever has won needs a push alone, and would win
//! again, for as long as it has work, without ever hearing of those who lose. So on a contested branch a winner rests, while
//! its work gathers for the next push:
//!
//! ```text
//! somebody else had a turn since its last one      for about as long as it took itself to get its turn: the more
//!                                                  writers there are, the longer
//! nobody had, while it rested                      twice as long as it did: theirs may take longer than its own
//! nobody had, in the longest rest, or while it     not at all: the branch is its own again
//! had nothing to push
//! ```
//!
//! Whoever is first never loses, and so never hears of the others. A writer that has pushed without a pause for seconds
//! therefore leaves one, of a tenth of its time at most and later a twentieth: whoever waits takes it, and the branch is
//! seen to be contested. What is committed in that pause goes out with the next push.

use std::time::Duration;

use tokio::time::Instant;

/// How the pushes of a writer fare against those of others.
#[derive(Debug, Default)]
pub(super) struct Contest {
    /// When the first of the pushes began that are to bring the latest work to the remote.
    began: Option<Instant>,
    /// When the last turn ended.
    won: Option<Instant>,
    /// How long the rest after it was meant to be; `None`: nobody else is there.
    rest: Option<Duration>,
    /// When it is this writer's turn again.
    rests_until: Option<Instant>,
    /// Since when there was no pause that others could have used.
    busy_since: Option<Instant>,
    /// How long the last pause was that was left for others, and nobody took.
    left: Duration,
}

impl Contest {
    /// Notes that a push begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began.get_or_insert(now);
    }

    /// Notes that somebody else had a turn.
    pub(super) fn lose(&mut self) {
        self.rest = Some(Duration::ZERO);
        self.left = Duration::ZERO;
    }

    /// Notes that a push has succeeded; `random` makes that those who meet once don't meet again.
    pub(super) fn win(&mut self, now: Instant, random: u64) {
        let began = self.began.take().unwrap_or(now);
        let took = now.saturating_duration_since(began);
        let pause = self.won.replace(now).map_or(Duration::ZERO, |won| began.saturating_duration_since(won));
        let busy_since = *self.busy_since.get_or_insert(began);
        if pause >= took {
            self.busy_since = Some(began);
        }
        let most = 8 * took;
        let enough = if self.left < most { LONG_BUSY } else { LONG_BUSY.max(20 * self.left) };
        let busy = now.saturating_duration_since(busy_since);
        let is_long_busy = busy >= enough;
        self.rest = self.rest.and_then(|last| next_rest(last, pause, took));
        let pause = match self.rest {
            None if is_long_busy && pause < took => {
                self.busy_since = Some(now);
                self.left = (2 * took.max(self.left)).min(most).min(busy / 10);
                Some(self.left)
            }
            rest => rest,
        };
        self.rests_until = pause.map(|pause| now + jittered(pause, random));
    }

    /// Notes that a push has failed for a reason of its own: what is waited for then is no turn.
    pub(super) fn give_up(&mut self) {
        self.began = None;
    }

    /// Returns until when the next push waits; `None`: it may begin.
    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.rests_until.filter(|until| *until > now)
    }
}

/// Returns how long to rest after a turn that took so long, `pause` after the one before it; `None`: nobody else is there.
fn next_rest(last: Duration, pause: Duration, took: Duration) -> Option<Duration> {
    let longest = longest_rest(took);
    let is_alone = last >= longest || !last.is_zero() && pause >= 3 * last;
    (!is_alone).then(|| took.max(2 * last).min(longest))
}

/// A turn of others that takes longer, such as one of many thousand commits, has to wait for a moment of less work.
fn longest_rest(took: Duration) -> Duration {
    LONGEST_REST.max(8 * took.min(LONGEST_REST))
}

/// Returns something between half of a duration and three halves.
fn jittered(rest: Duration, random: u64) -> Duration {
    let micros = u64::try_from(rest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros / 2 + random % micros.saturating_add(1))
}

/// Rests grow to this where pushes are quick, and to some times what they take where they are slow.
const LONGEST_REST: Duration = Duration::from_secs(3);

/// Pushes without a pause for so long leave one for others.
const LONG_BUSY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const PUSH: Duration = Duration::from_millis(100);

    /// Half of each rest and of all that is possible is added: no jitter.
    fn middle(rest: Duration) -> u64 {
        u64::try_from(rest.as_micros() / 2).unwrap()
    }

    /// A turn of one push after another; returns how long it rests then.
    fn turn(contest: &mut Contest, now: &mut Instant, rest: Duration) -> Option<Duration> {
        contest.begin(*now);
        *now += PUSH;
        contest.win(*now, middle(rest));
        contest.waits_until(*now).map(|until| until - *now)
    }

    #[test]
    fn a_writer_that_is_alone_rests_only_after_seconds_without_a_pause_and_little() {
        let (mut contest, mut now) = (Contest::default(), Instant::now());
        for _ in 0..200 {
            assert_eq!(turn(&mut contest, &mut now, PUSH), None);
            now += PUSH;
        }
        let (began, mut rested) = (now, Duration::ZERO);
        while now < began + 40 * LONG_BUSY {
            let rest = turn(&mut contest, &mut now, Duration::ZERO).unwrap_or_default();
            assert!(rest.is_zero() || now >= began + LONG_BUSY - PUSH, "{:?}", now - began);
            now += rest;
            rested += rest;
        }
        assert!(!rested.is_zero() && rested <= 2 * LONG_BUSY, "{rested:?}");
    }

    #[test]
    fn a_winner_rests_for_about_as_long_as_its_turn_took_with_all_that_it_lost() {
        let (began, mut contest) = (Instant::now(), Contest::default());
        for lost in 0..3 {
            contest.begin(began + lost * PUSH);
            contest.lose();
        }
        contest.begin(began + 3 * PUSH);
        let won = began + 4 * PUSH;
        contest.win(won, middle(4 * PUSH));
        assert_eq!(contest.waits_until(won), Some(won + 4 * PUSH));
        assert_eq!(contest.waits_until(won + 4 * PUSH), None);
    }

    #[test]
    fn rests_grow_while_nobody_else_has_a_turn_and_end_with_the_longest() {
        let (mut contest, mut now) = (Contest::default(), Instant::now());
        contest.lose();
        let mut expected = PUSH;
        while expected < LONGEST_REST {
            assert_eq!(turn(&mut contest, &mut now, expected), Some(expected));
            now += expected;
            expected *= 2;
        }
        assert_eq!(turn(&mut contest, &mut now, LONGEST_REST), Some(LONGEST_REST));
        now += LONGEST_REST;
        assert_eq!(turn(&mut contest, &mut now, LONGEST_REST), None);
        contest.lose();
        assert_eq!(turn(&mut contest, &mut now, PUSH), Some(PUSH), "somebody is there again");
    }

    #[test]
    fn a_writer_with_little_to_push_rests_once() {
        let (mut contest, mut now) = (Contest::default(), Instant::now());
        contest.lose();
        assert_eq!(turn(&mut contest, &mut now, PUSH), Some(PUSH));
        now += 3 * PUSH;
        assert_eq!(turn(&mut contest, &mut now, PUSH), None);
    }

    #[test]
    fn an_outage_is_no_turn() {
        let (mut now, mut contest) = (Instant::now(), Contest::default());
        contest.begin(now);
        contest.lose();
        contest.give_up();
        now += LONGEST_REST;
        assert_eq!(turn(&mut contest, &mut now, PUSH), Some(PUSH));
    }

    #[test]
    fn a_rest_is_between_half_and_three_halves_of_what_is_meant() {
        for random in [0, 1, 99_999, 100_000, 100_001, u64::MAX] {
            let rest = jittered(PUSH, random);
            assert!(rest >= PUSH / 2 && rest <= PUSH * 3 / 2, "{rest:?} for {random}");
        }
        assert_eq!(jittered(Duration::ZERO, 7), Duration::ZERO);
    }
}
