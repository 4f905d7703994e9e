//! Whether what happens in the cluster gets to the remote.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use reverser_git::{PushPhase, PushState, SinkError};
use tokio::time::Instant;

use super::Metrics;
use crate::report::chain;

/// How long something may be in the way before it counts: a remote that is started again is away for less.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Why the flow isn't ready: a line each, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady(Vec<String>);

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// What readiness depends on.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_started: bool,
    /// Why nothing can be committed, and since when.
    sink: Option<(String, Instant)>,
    push: Push,
}

#[derive(Debug, Default)]
struct Push {
    unpushed: usize,
    unpushed_since: Option<Timestamp>,
    is_full: bool,
    /// Why the last attempt failed; none has succeeded since.
    error: Option<String>,
    /// How many had succeeded by then.
    pushes: u64,
}

impl Metrics {
    /// Returns whether the first sync is done, and what is recorded gets to the remote. Not ready are: a flow before
    /// [`Notice::Started`](crate::Notice::Started); one that hasn't been able to commit for [`PATIENCE`]; one whose last push
    /// failed and whose oldest unpushed commit is older than that; one whose commits wait as the state folder is full.
    /// A resource that can't be watched changes nothing: the others go on.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.state().health.readiness(Instant::now(), Timestamp::now())
    }
}

impl Health {
    pub(super) fn started(&mut self) {
        self.is_started = true;
    }

    pub(super) fn sink_failed(&mut self, error: &SinkError) {
        let since = self.sink.take().map_or_else(Instant::now, |(_, since)| since);
        self.sink = Some((chain(error), since));
    }

    pub(super) fn sink_recovered(&mut self) {
        self.sink = None;
    }

    pub(super) fn push_state(&mut self, state: &PushState) {
        let PushState { unpushed, unpushed_since, is_full, ref phase, totals, .. } = *state;
        let push = &mut self.push;
        let has_succeeded = totals.pushes > push.pushes || unpushed == 0;
        (push.unpushed, push.unpushed_since, push.is_full, push.pushes) =
            (unpushed, unpushed_since, is_full, totals.pushes);
        match phase {
            PushPhase::Waiting { error, .. } => push.error = Some(chain(error)),
            // An attempt under way doesn't make up for those that failed.
            PushPhase::Idle | PushPhase::Pushing if has_succeeded => push.error = None,
            PushPhase::Idle | PushPhase::Pushing => {}
        }
    }

    fn readiness(&self, now: Instant, time: Timestamp) -> Result<(), NotReady> {
        let mut why = Vec::new();
        if !self.is_started {
            why.push("the first sync isn't done".to_owned());
        }
        if let Some((error, since)) = &self.sink
            && now.duration_since(*since) >= PATIENCE
        {
            why.push(format!("nothing can be committed: {error}"));
        }
        let Push { unpushed, unpushed_since, is_full, error, .. } = &self.push;
        if let (Some(error), Some(since)) = (error, unpushed_since)
            && time.duration_since(*since) >= PATIENCE.try_into().unwrap_or_default()
        {
            let plural = if *unpushed == 1 { "" } else { "s" };
            why.push(format!("not pushed since {since:.0}: {unpushed} commit{plural}, {error}"));
        }
        if *is_full {
            why.push("commits wait: what isn't pushed has reached its limit in bytes".to_owned());
        }
        if why.is_empty() { Ok(()) } else { Err(NotReady(why)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reverser_git::RemoteError;

    use super::*;

    fn said(health: &Health, seconds: u64) -> String {
        let later = Duration::from_secs(seconds);
        let time = Timestamp::UNIX_EPOCH + later;
        health.readiness(Instant::now() + later, time).map_or_else(|why| why.to_string(), |()| "ready".to_owned())
    }

    fn waiting() -> PushPhase {
        let source = SinkError::Late { limit: PATIENCE };
        PushPhase::Waiting { error: RemoteError::Local { source: Arc::new(source) }, retry_at: Timestamp::MAX }
    }

    fn pushes(health: &mut Health, unpushed: usize, phase: PushPhase) {
        let mut state = PushState::default();
        (state.unpushed, state.phase) = (unpushed, phase);
        state.unpushed_since = (unpushed > 0).then_some(Timestamp::UNIX_EPOCH);
        health.push_state(&state);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_ready_after_the_first_sync_while_it_can_commit() {
        let mut health = Health::default();
        assert_eq!(said(&health, 0), "the first sync isn't done");
        health.started();
        assert_eq!(said(&health, 0), "ready");
        let error = SinkError::Late { limit: PATIENCE };
        health.sink_failed(&error);
        assert_eq!(said(&health, 59), "ready");
        tokio::time::advance(Duration::from_secs(30)).await;
        health.sink_failed(&error);
        assert!(
            said(&health, 30).starts_with("nothing can be committed: what was read last"),
            "since the first failure"
        );
        health.sink_recovered();
        assert_eq!(said(&health, 100), "ready");
    }

    #[test]
    fn it_is_not_ready_while_commits_wait_behind_a_push_that_fails_for_long() {
        let mut health = Health { is_started: true, ..Health::default() };
        pushes(&mut health, 3, PushPhase::Pushing);
        assert_eq!(said(&health, 300), "ready", "a long push is no failure");
        pushes(&mut health, 3, waiting());
        assert_eq!(said(&health, 59), "ready");
        let why = said(&health, 60);
        assert!(why.starts_with("not pushed since 1970-01-01T00:00:00Z: 3 commits, "), "{why}");
        pushes(&mut health, 4, PushPhase::Pushing);
        assert!(said(&health, 70).contains("4 commits"), "the next attempt may fail, too");
        pushes(&mut health, 0, PushPhase::Idle);
        assert_eq!(said(&health, 80), "ready");
        let mut full = PushState::default();
        full.is_full = true;
        health.push_state(&full);
        assert!(said(&health, 80).starts_with("commits wait"));
    }
}
