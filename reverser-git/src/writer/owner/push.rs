//! The owner and its remote: one push at a time, and what follows from how it ended.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    backoff::random,
    branch::BranchName,
    conflict::{Conflict, ConflictOutcome, Rewrite},
    fault,
    objects::Id,
    remedy::Remedy,
    remote::{Pushed, Remote, RemoteError},
    sink::{CommitId, SinkError},
    store::{Conflicted, Pushable, Replayed, Rewritten},
    writer::{
        LastPush, StartAt,
        owner::{Owner, Phase, gits::Gits},
    },
};

impl Owner {
    /// Begins a push when there is something to push, none is under way, and no wait is left.
    pub(super) async fn push_when_due(&mut self) {
        if matches!(self.phase, Phase::Looking | Phase::Pushing { .. })
            || self.is_waiting() && Instant::now() < self.due()
        {
            return;
        }
        if self.rests_until().is_some() {
            return;
        }
        let Some(remote) = self.handles.remote() else {
            // All writers are gone: the next thing to come is the end.
            self.phase = Phase::Idle;
            return;
        };
        match self.next_push().await {
            Ok(None) => self.phase = Phase::Idle,
            Ok(Some(push)) => {
                self.phase = Phase::Pushing { sequence: self.sequence };
                if push.commit.is_some() || push.is_stray {
                    // A push finds out where the remote's branch is.
                    self.looking_along.append(&mut self.looking);
                }
                if push.commit.is_some() {
                    self.contest.begin(Instant::now());
                }
                self.round.spawn(round(remote, self.target.branch.clone(), push, self.gits.clone()));
            }
            Err(error) => {
                tracing::error!(%error, "what is to be pushed could not be read");
                self.wait(RemoteError::Local { source: Arc::new(error) });
            }
        }
    }

    /// Returns until when commits wait that could be pushed.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let commits = self.store().unpushed_count();
        if commits == 0 || !matches!(self.phase, Phase::Idle) {
            return None;
        }
        let now = Instant::now();
        // Somebody counts the seconds.
        let turn = self.contest.waits_until(now).filter(|_| !self.handles.is_one_closing());
        turn.max(self.pace.waits_until(now, commits, *self.pushed.borrow()))
    }

    async fn next_push(&mut self) -> Result<Option<Push>, SinkError> {
        let id = self.expected.as_ref().map(Id::try_from).transpose()?;
        let pushable = self.with_store(move |store| store.pushable(id)).await?;
        let asides: Vec<_> =
            self.store().asides().iter().map(|aside| (aside.branch.clone(), aside.tip.into())).collect();
        let expected = self.expected.clone();
        Ok(match pushable {
            Pushable::Commit(commit) => Some(Push { commit: Some(commit.into()), expected, asides, is_stray: false }),
            Pushable::Nothing if asides.is_empty() => None,
            Pushable::Nothing => Some(Push { commit: None, expected, asides, is_stray: false }),
            Pushable::Stray => {
                tracing::warn!(
                    expected = self.expected.as_ref().map(CommitId::as_str),
                    "the unpushed commits don't descend from where the remote's branch was: it is looked at again before anything is pushed"
                );
                Some(Push { commit: None, expected, asides: Vec::new(), is_stray: true })
            }
        })
    }

    /// Takes in how a push ended.
    pub(super) async fn settle(&mut self, round: Result<Round, tokio::task::JoinError>) {
        let round = round.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let Phase::Pushing { sequence } = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return match round {
                Round::Failed(error) => self.settle_look(Err(error)).await,
                Round::Looked(tip) | Round::Moved(tip) => self.settle_look(Ok(tip)).await,
                Round::Pushed(_) => {}
            };
        };
        let settled = match round {
            Round::Failed(error) if self.handles.next_turn(&error) => {
                tracing::warn!(%error, "a push failed; it is tried with the credentials of another writer of the branch");
                return;
            }
            Round::Failed(error) => {
                self.fail(error);
                return self.answer_looking(&Ok(()));
            }
            Round::Looked(tip) | Round::Moved(tip) => {
                self.contest.lose();
                match tip {
                    Some(tip) => self.meet(tip).await,
                    None => self.meet_nothing().await,
                }
            }
            Round::Pushed(done) => self.note_pushed(done, sequence).await,
        };
        self.answer_looking(&settled);
        self.notes.wake();
        match settled {
            Ok(()) if self.is_waiting() => {}
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

    /// Waits before the next try. Said once for each different failure: it is tried again for ever.
    fn fail(&mut self, error: RemoteError) {
        let text = error.to_string();
        if self.told.as_ref() == Some(&text) {
            tracing::debug!(%error, "a push failed again");
        } else {
            tracing::warn!(%error, remedy = %error.remedy(), "a push failed; it is tried again until it succeeds");
            self.told = Some(text);
        }
        self.wait(error);
    }

    pub(super) async fn note_pushed(&mut self, done: Done, sequence: u64) -> Result<(), SinkError> {
        let Done { main, asides, error } = done;
        if let Some((commit, pushed)) = main {
            let id = Id::try_from(&commit)?;
            let at = Timestamp::now();
            let oldest = self.store().unpushed().front().map_or(at, |unpushed| unpushed.at);
            self.with_store(move |store| store.note_remote_tip(id)).await?;
            match (self.told.take(), pushed) {
                (Some(_), _) => tracing::info!(%commit, "pushed again"),
                (None, Pushed::Moved) => tracing::debug!(%commit, "pushed"),
                (None, Pushed::UpToDate) => tracing::debug!(%commit, "an earlier push had arrived"),
            }
            self.expected = Some(commit.clone());
            // A clock that was set back since makes no wait.
            let waited = at.duration_since(oldest).try_into().unwrap_or_default();
            self.last_push = Some(LastPush { commit, at, waited });
            self.totals.pushes += 1;
            let now = Instant::now();
            self.pace.rest(now);
            self.contest.win(now, random());
        }
        for branch in asides {
            tracing::info!(%branch, "what was put aside is pushed");
            self.with_store(move |store| store.note_aside_pushed(&branch)).await?;
        }
        match error {
            Some(error) => self.fail(error),
            None if self.store().asides().is_empty() => {
                // Whoever waits for the push may look at the state next.
                self.publish();
                self.pushed.send_replace(sequence);
            }
            None => {}
        }
        Ok(())
    }

    /// Takes in that the remote's branch is at `tip`, which was fetched.
    pub(super) async fn meet(&mut self, tip: CommitId) -> Result<(), SinkError> {
        let (id, on_conflict) = (Id::try_from(&tip)?, self.target.on_conflict);
        let replayed = self.with_store(move |store| store.meet(id, on_conflict, Timestamp::now())).await?;
        self.tell(&tip, &replayed);
        match self.last_conflict.clone().filter(|_| replayed.is_stopped) {
            Some(conflict) => self.fail(RemoteError::Conflict {
                url: self.target.url.clone(),
                branch: self.target.branch.clone(),
                conflict: Box::new(conflict),
            }),
            None => self.expected = Some(tip),
        }
        Ok(())
    }

    /// Says what was met and what became of our commits.
    fn tell(&mut self, tip: &CommitId, replayed: &Replayed) {
        let Replayed { kept, dropped, overtaken, blocked, conflict, aside, is_stopped, rewritten } = replayed;
        let at = Timestamp::now();
        if let Some(Rewritten { was, restored }) = *rewritten {
            tracing::warn!(%tip, %was, restored, kept, dropped, "the remote's history was rewritten: files of ours that it lacks are written again, and unpushed commits stand on its new tip");
            self.totals.rewrites += 1;
            self.last_rewrite = Some(Rewrite { at, was: was.into(), is: Some(tip.clone()), restored });
        } else if kept + dropped + overtaken > 0 && !is_stopped {
            tracing::info!(%tip, kept, dropped, overtaken, "somebody else pushed; unpushed commits stand on the new tip");
        }
        if let Some(first) = blocked.first() {
            tracing::error!(%tip, first, files = blocked.len(), "left out: somebody else's symbolic link or submodule is in the way");
        }
        let Some(conflicted) = conflict else { return };
        let outcome = match aside {
            _ if *is_stopped => ConflictOutcome::Stopped,
            Some(aside) => ConflictOutcome::Aside(aside.branch.clone()),
            None => ConflictOutcome::Replaced,
        };
        let Conflicted { path, files, theirs } = conflicted.clone();
        let conflict = Conflict { at, path, files, theirs: theirs.into(), outcome };
        match &conflict.outcome {
            ConflictOutcome::Aside(branch) => tracing::warn!(%tip, %branch, "put aside: {conflict}"),
            ConflictOutcome::Replaced => tracing::warn!(%tip, "replaced: {conflict}"),
            // An error that is told once for all tries.
            ConflictOutcome::Stopped => {}
        }
        self.totals.conflicts += 1;
        self.last_conflict = Some(conflict);
    }

    /// Takes in that the remote's branch is gone: all of it is pushed again.
    pub(super) async fn meet_nothing(&mut self) -> Result<(), SinkError> {
        tracing::warn!("the remote's branch is gone; it is pushed again with its history");
        if let Some(was) = self.expected.take() {
            self.totals.rewrites += 1;
            self.last_rewrite = Some(Rewrite { at: Timestamp::now(), was, is: None, restored: 0 });
        }
        self.with_store(|store| store.note_remote_lost(Timestamp::now())).await
    }

    pub(super) fn wait(&mut self, error: RemoteError) {
        self.contest.give_up();
        self.totals.failures += 1;
        let now = Instant::now();
        let due = now + self.backoff.next_wait();
        let earliest = now + if error.remedy() == Remedy::FixConfiguration { MEND_PAUSE } else { RETRY_PAUSE };
        self.phase = Phase::Waiting { error, due, earliest };
    }
}

/// What to push in one round.
pub(super) struct Push {
    /// The branch's tip; `None`: it has nothing new.
    commit: Option<CommitId>,
    expected: Option<CommitId>,
    /// Branches of our own, pushed after it.
    asides: Vec<(BranchName, CommitId)>,
    /// Nothing is pushed, and the remote is looked at.
    is_stray: bool,
}

/// How a push ended, after the remote was asked what is behind a refusal.
pub(super) enum Round {
    Failed(RemoteError),
    /// Nothing was to be pushed. The branch is here, and fetched; `None`: it isn't there.
    Looked(Option<CommitId>),
    /// Somebody else moved the branch to here, and it is fetched; `None`: it is gone.
    Moved(Option<CommitId>),
    Pushed(Done),
}

/// What is on the remote.
pub(super) struct Done {
    main: Option<(CommitId, Pushed)>,
    asides: Vec<BranchName>,
    /// Why the rest of what was put aside isn't.
    error: Option<RemoteError>,
}

/// Where a writer begins.
pub(super) enum Seen {
    /// The branch is there, and fetched when it wasn't known.
    Branch(CommitId),
    /// Only the default branch is there, and fetched.
    DefaultBranch(CommitId),
    Nothing,
}

/// `start_at`: nothing is known yet.
pub(super) async fn look(
    remote: &dyn Remote,
    branch: &BranchName,
    known: Option<&CommitId>,
    start_at: Option<StartAt>,
) -> Result<Seen, RemoteError> {
    let tip = remote.tip(branch).await?;
    match (tip.branch, tip.default_branch, start_at) {
        (Some(tip), _, None) if known == Some(&tip) => Ok(Seen::Branch(tip)),
        (Some(_), ..) => remote.fetch(branch).await.map(Seen::Branch),
        (None, Some((default_branch, _)), Some(StartAt::DefaultBranch)) => {
            remote.fetch(&default_branch).await.map(Seen::DefaultBranch)
        }
        (None, ..) => Ok(Seen::Nothing),
    }
}

async fn round(remote: Arc<dyn Remote>, branch: BranchName, push: Push, gits: Gits) -> Round {
    let remote = remote.as_ref();
    if push.is_stray {
        return gits.fetch(async { fetched(look(remote, &branch, None, None).await) }).await;
    }
    let mut done = Done { main: None, asides: Vec::new(), error: None };
    if let Some(commit) = push.commit {
        fault::reached("push-begun");
        let answer = remote.push(&commit, &branch, push.expected.as_ref()).await;
        fault::reached("push-answered");
        match answer {
            Ok(pushed) => done.main = Some((commit, pushed)),
            Err(error) if error.may_be_moved_tip() => {
                return gits.fetch(moved(remote, &branch, push.expected, error)).await;
            }
            Err(error) => return Round::Failed(error),
        }
    }
    for (aside, commit) in push.asides {
        // Its name has the commit's id, so nobody else's can be there.
        match remote.push(&commit, &aside, None).await {
            Ok(_) => done.asides.push(aside),
            Err(error) => {
                done.error = Some(error);
                break;
            }
        }
    }
    Round::Pushed(done)
}

/// Finds out whether a refused push means that the branch was moved, which has the same flag as a hook's, and fetches it.
async fn moved(remote: &dyn Remote, branch: &BranchName, expected: Option<CommitId>, error: RemoteError) -> Round {
    // git itself has seen it elsewhere, so that there is no need to ask; but it may be gone.
    if matches!(error, RemoteError::MovedTip { .. })
        && let Ok(tip) = remote.fetch(branch).await
    {
        fault::reached("tip-fetched");
        // Where it was: the server says so of a race that another one has lost, too, and of a lock that was left behind.
        return if Some(&tip) == expected.as_ref() { Round::Failed(unmoved(error)) } else { Round::Moved(Some(tip)) };
    }
    match remote.tip(branch).await {
        Ok(tip) if tip.branch == expected => Round::Failed(unmoved(error)),
        Ok(tip) if tip.branch.is_none() => Round::Moved(None),
        Ok(_) => fetched(remote.fetch(branch).await.map(Seen::Branch)),
        Err(error) => Round::Failed(error),
    }
}

/// Nobody moved the branch: another push is at work there, or the server can't write it, as where `main` is in the way of
/// `main/x`. Its words tell.
fn unmoved(error: RemoteError) -> RemoteError {
    match error {
        RemoteError::MovedTip { url, reason, .. } => RemoteError::Failed { action: "push to", url, words: reason },
        error => error,
    }
}

fn fetched(seen: Result<Seen, RemoteError>) -> Round {
    match seen {
        Ok(Seen::Branch(tip) | Seen::DefaultBranch(tip)) => Round::Moved(Some(tip)),
        Ok(Seen::Nothing) => Round::Moved(None),
        Err(error) => Round::Failed(error),
    }
}

/// New work wakes a writer that waits for the remote to come back at most this often.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// New work wakes a writer that waits for a person at most this often; more would hammer a server that says no.
const MEND_PAUSE: Duration = Duration::from_secs(10);
