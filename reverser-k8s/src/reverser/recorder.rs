//! From what the pumps hand on to batches: the one place that waits for Git.

use std::{collections::HashSet, sync::Arc, time::Duration};

use reverser_core::{Change, Edit, Wanted, message};
use reverser_git::{Batch, Outcome, SinkError};
use tokio::time::{Instant, sleep_until};

use super::{
    Reverser,
    again::mark_of,
    item::{Item, What},
    lists::{RenderedList, Sweep},
    recording::{Recording, Room, Taken},
};
use crate::queue::{Queued, Receiver};

/// How many changes become one batch at most, so that the first of a burst isn't kept waiting for the last.
pub(super) const BATCH: usize = 1_000;

/// How long positions of sources that report nothing of note may be behind: after a crash so much is read again.
const POSITIONS_EVERY: Duration = Duration::from_secs(60);

impl Reverser {
    /// Commits what the queue brings, as the window says, until all senders are gone; then what is left at once.
    pub(super) async fn record_queue(
        &self,
        queue: &mut Receiver<Item>,
        held: HashSet<String>,
    ) -> Result<(), SinkError> {
        let mut save_positions = tokio::time::interval(POSITIONS_EVERY);
        let mut full = queue.full();
        self.recording.lock().await.held = held;
        loop {
            let (due, has_gathered) = self.recording.lock().await.due();
            tokio::select! {
                gathered = queue.receive(BATCH) => {
                    let mut recording = self.recording.lock().await;
                    if gathered.is_empty() {
                        self.flush_all(&mut recording).await?;
                        return self.save(&mut recording).await;
                    }
                    let items = gathered.into_iter().map(Queued::split).map(|(item, room)| (item, Some(room)));
                    self.take(items, &mut recording).await?;
                }
                () = until(due), if due.is_some() => {
                    let mut recording = self.recording.lock().await;
                    let calmed = recording.tick(&self.pipeline);
                    calmed.iter().for_each(|verdict| self.tell_churn(verdict));
                    self.commit_ready(&mut recording).await?;
                }
                // What gathers takes room in the queue: nothing may wait for changes that can't come.
                () = full.is_reached(), if has_gathered => {
                    self.flush_all(&mut *self.recording.lock().await).await?;
                }
                _ = save_positions.tick() => self.save(&mut *self.recording.lock().await).await?,
            }
        }
    }

    /// Takes items in, in their order, and commits what is ready then; returns how many commits it made.
    pub(super) async fn take(
        &self,
        items: impl IntoIterator<Item = (Item, Room)>,
        recording: &mut Recording,
    ) -> Result<usize, SinkError> {
        let mut commits = 0;
        for (item, room) in items {
            for (item, room) in recording.again.read(item, room, &self.pipeline) {
                commits += self.take_item(item, room, recording).await?;
            }
        }
        Ok(commits + self.commit_ready(recording).await?)
    }

    /// Takes one item in; returns how many commits had to be made for that.
    async fn take_item(&self, item: Item, room: Room, recording: &mut Recording) -> Result<usize, SinkError> {
        let mut commits = 0;
        // A crash after the next commit mustn't begin before what is committed.
        let is_behind = recording.seen.is_behind(&item);
        recording.seen.item(&item, &self.pipeline);
        let Item { source, cursor, what, arrived } = item;
        let recorded = match what {
            What::Change { change, edit, wanted, coalesced } => {
                let taken = self.take_change(change, edit, wanted, arrived).await;
                taken.map(|(change, edit)| {
                    let waits = self.coalescing.is_by(&coalesced, change.attribution.actor());
                    (change, edit, waits)
                })
            }
            What::Leave { mut change, why } => {
                // Whether it was captured is seen in Git, so what is before it has to be there.
                if recording.touches(&self.pipeline.place(&change.object)) {
                    commits += self.flush(recording).await?;
                }
                match self.leaving(&mut change, why).await? {
                    Some(edit) => {
                        self.lock_written().note(&edit);
                        self.attribute(&mut change, arrived).await;
                        Some((change, edit, false))
                    }
                    None => None,
                }
            }
            What::List(list) => {
                commits += self.flush(recording).await?;
                self.take_list(list, &source, cursor, recording).await?;
                return Ok(commits);
            }
            What::Nothing => None,
            What::Restored => {
                self.lock_written().forget_all();
                None
            }
        };
        let position = cursor.filter(|_| !is_behind && !recording.held.contains(&*source));
        if let Some((change, edit, waits)) = recorded {
            let taken = Taken { change, edit, source, position, room, arrived };
            let verdict = recording.gather(taken, waits, &self.pipeline);
            verdict.iter().for_each(|verdict| self.tell_churn(verdict));
        } else if let Some(position) = position {
            recording.position(source, position, &self.pipeline);
        }
        Ok(commits)
    }

    /// Returns what is to be committed of a change.
    async fn take_change(
        &self,
        mut change: Change,
        edit: Edit,
        wanted: Wanted,
        arrived: Instant,
    ) -> Option<(Change, Edit)> {
        // Asked first, as most events are no news, and who did it may take a while to know.
        if !self.is_news(&change, &edit) {
            return None;
        }
        if wanted != Wanted::No {
            self.attribute(&mut change, arrived).await;
        }
        if !wanted.by(change.attribution.actor()) {
            self.leave_out(&change, &edit);
            return None;
        }
        self.note_change(&mut change, &edit);
        Some((change, edit))
    }

    async fn take_list(
        &self,
        list: RenderedList,
        source: &Arc<str>,
        cursor: Option<String>,
        recording: &mut Recording,
    ) -> Result<(), SinkError> {
        self.note_listed_reasons(&list);
        let (removed, cursor) = match self.sweep(&list).await? {
            Sweep::Held(removed) => {
                recording.held.insert(source.to_string());
                (removed, Some(String::new()))
            }
            Sweep::Remove(removed) => {
                recording.held.remove(&**source);
                (removed, cursor)
            }
        };
        let mut sync = message::Synced { removed: removed.len(), ..message::Synced::default() };
        if !list.edits.is_empty() {
            sync.objects.insert((*list.resource).clone(), list.edits.len());
        }
        let mut cursors = recording.take_cursors();
        cursors.insert(mark_of(source), String::new());
        cursors.extend(cursor.map(|cursor| (source.to_string(), cursor)));
        let edits = list.edits.into_iter().chain(removed).collect();
        self.commit_sync(Batch { plans: vec![], cursors }, edits, &sync).await
    }

    /// Commits all that has gathered; returns how many commits it made.
    pub(super) async fn flush(&self, recording: &mut Recording) -> Result<usize, SinkError> {
        recording.flush(&self.pipeline);
        self.commit_ready(recording).await
    }

    /// Commits all that is there, also what is kept while it is read again.
    async fn flush_all(&self, recording: &mut Recording) -> Result<(), SinkError> {
        for (item, room) in recording.again.end_all() {
            self.take_item(item, room, recording).await?;
        }
        self.flush(recording).await?;
        Ok(())
    }

    /// Commits what is ready, with the positions that have waited. Positions alone go on waiting.
    async fn commit_ready(&self, recording: &mut Recording) -> Result<usize, SinkError> {
        if recording.ready.plans.is_empty() {
            return Ok(0);
        }
        recording.mark();
        let outcomes = self.commit_batch(&recording.ready).await?;
        Ok(self.settle(recording, &outcomes))
    }

    /// Lets go of what was ready and is committed; returns how many commits that made.
    pub(super) fn settle(&self, recording: &mut Recording, outcomes: &[Outcome]) -> usize {
        for (changes, outcome) in recording.committed().iter().zip(outcomes) {
            self.tell(changes, outcome);
        }
        outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Committed(_))).count()
    }

    /// Saves the positions that have waited.
    pub(super) async fn save(&self, recording: &mut Recording) -> Result<(), SinkError> {
        if recording.ready.plans.is_empty() {
            let cursors = recording.take_cursors();
            self.commit_batch(&Batch { plans: vec![], cursors }).await?;
        }
        Ok(())
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
