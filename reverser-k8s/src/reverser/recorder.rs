//! From what the pumps hand on to batches: the one place that waits for Git.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use reverser_core::{Change, CommitPlan, Edit, RepoPath, Wanted, message};
use reverser_git::{Batch, Outcome, SinkError};
use tokio::time::Instant;

use super::{RenderedList, Reverser, Sweep};
use crate::queue::{Queued, Receiver};

/// How many changes become one batch at most, so that the first of a burst isn't kept waiting for the last.
pub(super) const BATCH: usize = 1_000;

/// How long positions of sources that report nothing of note may be behind: after a crash so much is read again.
const POSITIONS_EVERY: Duration = Duration::from_secs(60);

impl Reverser {
    /// Commits what the queue brings until all senders are gone.
    pub(super) async fn record_queue(
        &self,
        queue: &mut Receiver<Item>,
        held: HashSet<String>,
    ) -> Result<(), SinkError> {
        let mut save_positions = tokio::time::interval(POSITIONS_EVERY);
        let mut progress = Progress { held, ..Progress::default() };
        loop {
            let gathered = tokio::select! {
                gathered = queue.receive(BATCH) => gathered,
                _ = save_positions.tick() => {
                    self.save(&mut progress).await?;
                    continue;
                }
            };
            if gathered.is_empty() {
                return self.save(&mut progress).await;
            }
            let _turn = self.turn.lock().await;
            let (items, rooms): (Vec<_>, Vec<_>) = gathered.into_iter().map(Queued::split).unzip();
            self.commit(items, &mut progress).await?;
            drop(rooms);
        }
    }

    /// Commits items in their order, as few batches as that takes; returns how many commits it made.
    pub(super) async fn commit(&self, items: Vec<Item>, progress: &mut Progress) -> Result<usize, SinkError> {
        let mut commits = 0;
        let mut open = OpenBatch::default();
        for item in items {
            let Item { source, cursor, what, arrived } = item;
            match what {
                What::Change { mut change, edit, wanted } => {
                    // Asked first, as most events are no news, and who did it may take a while to know.
                    if self.lock_written().is_news(&change, &edit) {
                        if wanted != Wanted::No {
                            self.attribute(&mut change, arrived).await;
                        }
                        if wanted.by(change.attribution.actor()) {
                            self.lock_written().note_change(&change, &edit);
                            open.add(self.pipeline.plan(&change, edit, Timestamp::now()), change);
                        } else {
                            self.lock_written().leave_out(&edit);
                        }
                    }
                }
                What::Leave { mut change } => {
                    // Whether it was captured is seen in Git, so what is before it has to be there.
                    if open.touches(&self.pipeline.place(&change.object)) {
                        commits += self.close(&mut open, progress).await?;
                    }
                    if let Some(edit) = self.leaving(&mut change).await? {
                        self.lock_written().note(&edit);
                        self.attribute(&mut change, arrived).await;
                        open.add(self.pipeline.plan(&change, edit, Timestamp::now()), change);
                    }
                }
                What::List(list) => {
                    commits += self.close(&mut open, progress).await?;
                    let (removed, cursor) = match self.sweep(&list).await? {
                        Sweep::Held => {
                            progress.held.insert(source.to_string());
                            (vec![], Some(String::new()))
                        }
                        Sweep::Remove(removed) => {
                            progress.held.remove(&*source);
                            (removed, cursor)
                        }
                    };
                    let mut sync = message::Synced { removed: removed.len(), ..message::Synced::default() };
                    if !list.edits.is_empty() {
                        sync.objects.insert((*list.resource).clone(), list.edits.len());
                    }
                    let mut cursors = std::mem::take(&mut progress.positions);
                    cursors.extend(cursor.map(|cursor| (source.to_string(), cursor)));
                    let edits = list.edits.into_iter().chain(removed).collect();
                    self.commit_sync(Batch { plans: vec![], cursors }, edits, &sync).await?;
                    continue;
                }
                What::Nothing => {}
            }
            if !progress.held.contains(&*source) {
                open.batch.cursors.extend(cursor.map(|cursor| (source.to_string(), cursor)));
            }
        }
        Ok(commits + self.close(&mut open, progress).await?)
    }

    /// Commits what is open, with the positions that have waited. Positions alone go on waiting.
    async fn close(&self, open: &mut OpenBatch, progress: &mut Progress) -> Result<usize, SinkError> {
        let OpenBatch { batch: Batch { plans, cursors }, changes } = std::mem::take(open);
        progress.positions.extend(cursors);
        if plans.is_empty() {
            return Ok(0);
        }
        let batch = Batch { plans, cursors: std::mem::take(&mut progress.positions) };
        let outcomes = self.commit_batch(batch).await?;
        self.tell(&changes, &outcomes);
        Ok(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Committed(_))).count())
    }

    /// Saves the positions that have waited.
    pub(super) async fn save(&self, progress: &mut Progress) -> Result<(), SinkError> {
        let cursors = std::mem::take(&mut progress.positions);
        self.commit_batch(Batch { plans: vec![], cursors }).await.map(|_no_outcomes| ())
    }
}

/// What a pump hands to the recorder.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) source: Arc<str>,
    pub(super) cursor: Option<String>,
    pub(super) what: What,
    pub(super) arrived: Instant,
}

#[derive(Debug)]
pub(super) enum What {
    Change {
        change: Change,
        edit: Edit,
        /// Whether it is recorded, which may depend on who made it.
        wanted: Wanted,
    },
    /// An update of an object that isn't selected: it may have been before.
    Leave {
        change: Change,
    },
    List(RenderedList),
    /// Only the position moves.
    Nothing,
}

impl Item {
    /// Roughly what it takes of the queue.
    pub(super) fn bytes(&self) -> usize {
        let edit = |edit: &Edit| match edit {
            Edit::Delete { path } => path.as_str().len(),
            Edit::Put { path, content } => path.as_str().len() + content.len(),
        };
        size_of::<Self>()
            + match &self.what {
                What::Change { edit: one, .. } => edit(one),
                What::List(list) => list.edits.iter().map(edit).sum(),
                What::Leave { .. } | What::Nothing => 0,
            }
    }
}

/// How far the sources have been read, beside what Git knows of that.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Positions that moved without a change. They are worth no commit of their own, and go with the next one, or are
    /// saved once in a while.
    pub(super) positions: BTreeMap<String, String>,
    /// Sources that have a sweep held: they keep no position, so that the next start lists, and asks, again.
    pub(super) held: HashSet<String>,
}

/// A batch that still grows, and the changes that its plans stand for.
#[derive(Debug, Default)]
struct OpenBatch {
    batch: Batch,
    changes: Vec<Change>,
}

impl OpenBatch {
    fn touches(&self, path: &RepoPath) -> bool {
        self.batch.plans.iter().flat_map(|plan| &plan.edits).any(|edit| edit.path() == path)
    }

    fn add(&mut self, plan: CommitPlan, change: Change) {
        self.batch.plans.push(plan);
        self.changes.push(change);
    }
}
