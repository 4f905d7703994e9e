//! The owner and its remote: one push at a time, and what follows from how it ended.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    branch::BranchName,
    fault,
    objects::Id,
    remedy::Remedy,
    remote::{Remote, RemoteError},
    sink::{CommitId, SinkError},
    store::Store,
    writer::{
        LastPush,
        owner::{Owner, Phase},
    },
};

impl Owner {
    /// Begins a push when there is something to push, none is under way, and no wait is left.
    pub(super) fn push_when_due(&mut self) {
        if matches!(self.phase, Phase::Pushing { .. }) {
            return;
        }
        let Some(tip) = self.store().unpushed().back().map(|unpushed| CommitId::from(unpushed.id)) else {
            self.phase = Phase::Idle;
            return;
        };
        if self.is_waiting() && Instant::now() < self.due() || self.rests_until().is_some() {
            return;
        }
        let Some(remote) = self.handles.remote() else {
            // All writers are gone: the next thing to come is the end.
            self.phase = Phase::Idle;
            return;
        };
        self.phase = Phase::Pushing { commit: tip.clone(), sequence: self.sequence };
        self.round.spawn(push(remote, tip, self.branch.clone(), self.expected.clone()));
    }

    /// Returns until when commits wait that could be pushed.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let commits = self.store().unpushed().len();
        let can_be_pushed = commits > 0 && matches!(self.phase, Phase::Idle);
        can_be_pushed.then(|| self.pace.waits_until(Instant::now(), commits, *self.pushed.borrow())).flatten()
    }

    /// Takes in how a push ended.
    pub(super) async fn settle(&mut self, round: Result<Round, tokio::task::JoinError>) {
        let round = round.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let Phase::Pushing { commit, sequence } = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        let settled = match round {
            Round::Failed(error) if self.handles.next_turn(&error) => {
                tracing::warn!(%error, "a push failed; it is tried with the credentials of another writer of the branch");
                return;
            }
            Round::Failed(error) => {
                // Said once for each different failure: it is tried again for ever.
                let text = error.to_string();
                if self.told.as_ref() == Some(&text) {
                    tracing::debug!(%error, "a push failed again");
                } else {
                    tracing::warn!(%error, remedy = %error.remedy(), "a push failed; it is tried again until it succeeds");
                    self.told = Some(text);
                }
                self.wait(error);
                return;
            }
            Round::Moved(Some(tip)) => self.meet(tip).await,
            Round::Moved(None) => self.meet_nothing().await,
            Round::Pushed => self.note_pushed(commit, sequence).await,
        };
        match settled {
            Ok(()) => {
                self.backoff.reset();
                self.handles.accepted();
            }
            Err(error) => {
                // The remote is fine, the disk isn't; nothing is lost, and the next round finds out where things are.
                let cause: &dyn std::error::Error = &error;
                tracing::error!(error = cause, "the local repository could not follow the remote; it is tried again");
                self.wait(RemoteError::Local { source: Arc::new(error) });
            }
        }
    }

    pub(super) async fn note_pushed(&mut self, commit: CommitId, sequence: u64) -> Result<(), SinkError> {
        let id = Id::try_from(&commit)?;
        self.with_store(move |store| store.note_remote_tip(id)).await?;
        match self.told.take() {
            Some(_) => tracing::info!(%commit, "pushed again"),
            None => tracing::debug!(%commit, "pushed"),
        }
        self.expected = Some(commit.clone());
        self.last_push = Some(LastPush { commit, at: Timestamp::now() });
        self.pace.rest(Instant::now());
        self.pushed.send_replace(sequence);
        Ok(())
    }

    /// Takes in that the remote's branch is at `tip`, which was fetched.
    pub(super) async fn meet(&mut self, tip: CommitId) -> Result<(), SinkError> {
        let id = Id::try_from(&tip)?;
        let replayed = self.with_store(move |store| store.meet(id, Timestamp::now())).await?;
        let crate::store::Replayed { kept, dropped, rewritten } = replayed;
        if rewritten {
            tracing::warn!(%tip, kept, dropped, "the remote's history was rewritten, and may lack what was pushed before; unpushed commits stand on its new tip. A complete list brings all files in line again");
        } else if kept + dropped > 0 {
            tracing::info!(%tip, kept, dropped, "somebody else pushed; unpushed commits stand on the new tip");
        }
        self.expected = Some(tip);
        Ok(())
    }

    /// Takes in that the remote's branch is gone: all of it is pushed again.
    pub(super) async fn meet_nothing(&mut self) -> Result<(), SinkError> {
        tracing::warn!("the remote's branch is gone; it is pushed again with its history");
        self.with_store(Store::note_remote_lost).await?;
        self.expected = None;
        Ok(())
    }

    pub(super) fn wait(&mut self, error: RemoteError) {
        let now = Instant::now();
        let due = now + self.backoff.next_wait();
        let earliest = now + if error.remedy() == Remedy::FixConfiguration { MEND_PAUSE } else { RETRY_PAUSE };
        self.phase = Phase::Waiting { error, due, earliest };
    }
}

/// How a push ended, after the remote was asked what is behind a refusal.
pub(super) enum Round {
    Failed(RemoteError),
    /// Somebody else moved the branch to here, and it is fetched; `None`: it is gone.
    Moved(Option<CommitId>),
    Pushed,
}

/// Where a writer begins.
pub(super) enum Seen {
    /// The branch is there, and fetched when it wasn't known.
    Branch(CommitId),
    /// Only the default branch is there, and fetched.
    DefaultBranch(CommitId),
    Nothing,
}

pub(super) async fn look(
    remote: &dyn Remote,
    branch: &BranchName,
    known: Option<&CommitId>,
    is_fresh: bool,
) -> Result<Seen, RemoteError> {
    let tip = remote.tip(branch).await?;
    match (tip.branch, tip.default_branch) {
        (Some(tip), _) if !is_fresh && known == Some(&tip) => Ok(Seen::Branch(tip)),
        (Some(_), _) => remote.fetch(branch).await.map(Seen::Branch),
        (None, Some((default_branch, _))) if is_fresh => remote.fetch(&default_branch).await.map(Seen::DefaultBranch),
        (None, _) => Ok(Seen::Nothing),
    }
}

/// Pushes; on a refusal, finds out whether the branch was moved, which has the same flag as a hook's.
async fn push(remote: Arc<dyn Remote>, commit: CommitId, branch: BranchName, expected: Option<CommitId>) -> Round {
    fault::reached("push-begun");
    let answer = remote.push(&commit, &branch, expected.as_ref()).await;
    fault::reached("push-answered");
    let error = match answer {
        Ok(_) => return Round::Pushed,
        Err(error) if error.may_be_moved_tip() => error,
        Err(error) => return Round::Failed(error),
    };
    let fetched = match remote.tip(&branch).await {
        Ok(tip) if tip.branch == expected => return Round::Failed(error),
        Ok(tip) if tip.branch.is_none() => Ok(None),
        Ok(_) => remote.fetch(&branch).await.map(Some),
        Err(error) => Err(error),
    };
    fault::reached("tip-fetched");
    match fetched {
        Ok(tip) => Round::Moved(tip),
        Err(error) => Round::Failed(error),
    }
}

/// New work wakes a writer that waits for the remote to come back at most this often.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// New work wakes a writer that waits for a person at most this often; more would hammer a server that says no.
const MEND_PAUSE: Duration = Duration::from_secs(10);
