//! Waits for a state, not for a time.

use std::{fmt, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// Polls `check` until it returns `Ok`, and returns that value.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::{cell::Cell, time::Duration};
///
/// let polls = Cell::new(0);
/// let third = reverser_testbed::eventually("three polls", Duration::from_secs(5), || async {
///     polls.set(polls.get() + 1);
///     if polls.get() == 3 { Ok(polls.get()) } else { Err(polls.get()) }
/// });
/// assert_eq!(third.await, 3);
/// # });
/// ```
///
/// # Panics
/// After `limit`, with `what` and the last `Err` that `check` returned.
#[track_caller]
pub fn eventually<T, S, F>(what: &str, limit: Duration, check: impl FnMut() -> F) -> impl Future<Output = T>
where
    S: fmt::Debug,
    F: Future<Output = Result<T, S>>,
{
    let caller = std::panic::Location::caller();
    async move {
        match try_eventually(limit, check).await {
            Ok(value) => value,
            Err(Some(seen)) => panic!("{caller}: waited {limit:?} for {what}; last seen: {seen:?}"),
            Err(None) => panic!("{caller}: waited {limit:?} for {what}; the check itself did not return"),
        }
    }
}

/// Polls `check` until it returns `Ok`; after `limit` returns what was seen last, `None` when no check has returned.
pub async fn try_eventually<T, S, F>(limit: Duration, mut check: impl FnMut() -> F) -> Result<T, Option<S>>
where
    F: Future<Output = Result<T, S>>,
{
    let deadline = Instant::now() + limit;
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = None;
    loop {
        match timeout_at(deadline, check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(now)) => seen = Some(now),
            Err(_) => return Err(seen),
        }
        if timeout_at(deadline, ticks.tick()).await.is_err() {
            return Err(seen);
        }
    }
}

/// Short beside what servers take, long beside what a check costs.
pub(crate) const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_returns_what_was_seen_last() {
        let polls = Cell::new(0);
        let seen = try_eventually(Duration::from_secs(1), || async {
            polls.set(polls.get() + 1);
            Err::<(), _>(polls.get())
        })
        .await;
        assert_eq!(seen, Err(Some(polls.get())));
        assert!((45..=55).contains(&polls.get()), "{} polls in a second", polls.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_cut_at_the_deadline() {
        let seen = try_eventually(Duration::from_secs(1), std::future::pending::<Result<(), ()>>).await;
        assert_eq!(seen, Err(None));
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "for a miracle; last seen: \"rain\"")]
    async fn the_panic_names_what_was_waited_for_and_what_was_seen() {
        eventually("a miracle", Duration::from_secs(1), || async { Err::<(), _>("rain") }).await;
    }
}
