//! From what the pumps hand on to batches: the one place that waits for Git.

use std::{collections::HashSet, sync::Arc, time::Duration};

use reverser_core::{Change, message};
use reverser_git::{Batch, Outcome, SinkError};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Reverser,
    again::mark_of,
    item::{Item, What},
    late::Fact,
    lists::{RenderedList, Sweep},
    recording::{Recording, Room, Told},
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
        notes: mpsc::Sender<Fact>,
    ) -> Result<(), SinkError> {
        let mut save_positions = tokio::time::interval(POSITIONS_EVERY);
        let mut full = queue.full();
        // Kept while other things happen: a source that is asked anew each time might never get to an end.
        let mut learned = self.actors.learned();
        self.recording.lock().await.held = held;
        loop {
            let (due, listens, keeps) = {
                let recording = self.recording.lock().await;
                self.load.set_waiting(recording.waiting.len());
                (recording.due(), recording.listens(), recording.keeps())
            };
            tokio::select! {
                gathered = queue.receive(BATCH) => {
                    let mut recording = self.recording.lock().await;
                    if gathered.is_empty() {
                        self.flush(&mut recording).await?;
                        self.load.set_waiting(0);
                        recording.late.hurry(Instant::now());
                        self.note_late(&mut recording, &notes);
                        return self.save(&mut recording).await;
                    }
                    let items = gathered.into_iter().map(Queued::split).map(|(item, room)| (item, Some(room)));
                    self.take(items, &mut recording).await?;
                }
                () = until(due), if due.is_some() => self.tick(&mut *self.recording.lock().await, &notes).await?,
                () = &mut learned, if listens => {
                    learned = self.actors.learned();
                    self.recording.lock().await.learned();
                }
                // What gathers or waits takes room in the queue: nothing may wait for changes that can't come.
                () = full.is_reached(), if keeps => {
                    self.make_room(&mut *self.recording.lock().await).await?;
                    // Whoever waits for it takes it.
                    tokio::task::yield_now().await;
                }
                _ = save_positions.tick() => self.save(&mut *self.recording.lock().await).await?,
            }
        }
    }

    /// Does what it is time for.
    async fn tick(&self, recording: &mut Recording, notes: &mpsc::Sender<Fact>) -> Result<(), SinkError> {
        self.end_due_waits(recording).await?;
        self.note_late(recording, notes);
        let calmed = recording.tick(&self.pipeline);
        calmed.iter().for_each(|verdict| self.tell_churn(verdict));
        self.commit_ready(recording).await?;
        Ok(())
    }

    /// Takes items in, in their order, and commits what is ready then; returns how many commits it made.
    pub(super) async fn take(
        &self,
        items: impl IntoIterator<Item = (Item, Room)>,
        recording: &mut Recording,
    ) -> Result<usize, SinkError> {
        let mut commits = 0;
        for (item, room) in items {
            commits += self.take_item(item, room, recording).await?;
        }
        Ok(commits + self.commit_ready(recording).await?)
    }

    /// Takes one item in; returns how many commits had to be made for that.
    async fn take_item(&self, mut item: Item, room: Room, recording: &mut Recording) -> Result<usize, SinkError> {
        recording.again.read(&mut item);
        let is_again = !recording.again.is_past(&item.source);
        // A crash after the next commit mustn't begin before what is committed.
        let is_behind = recording.seen.is_behind(&item);
        recording.seen.item(&item, is_again, &self.pipeline);
        if is_behind || recording.held.contains(&*item.source) && !item.is_list() {
            item.cursor = None;
        }
        let path = match &item.what {
            What::Change { edit, .. } => edit.path().clone(),
            What::Leave { change, .. } => self.pipeline.place(&change.object),
            What::List(_) | What::Nothing | What::Restored => return self.take_other(item, recording).await,
        };
        self.arrive(&path, item, room, recording).await
    }

    /// Takes in what is no change; returns how many commits had to be made for that.
    async fn take_other(&self, item: Item, recording: &mut Recording) -> Result<usize, SinkError> {
        let Item { source, cursor, what, .. } = item;
        match what {
            What::List(list) => {
                let is_meant = |item: &Item| {
                    let is_listed = |change: &Change| change.object.resource.is_version_of(&list.resource);
                    item.source == source || item.change().is_some_and(is_listed)
                };
                let commits = self.end_waits(is_meant, recording).await? + self.flush_gathered(recording).await?;
                self.take_list(list, &source, cursor, recording).await?;
                return Ok(commits);
            }
            What::Restored => {
                let commits = self.end_waits(|item| item.source == source, recording).await?;
                self.lock_written().forget_all();
                return Ok(commits);
            }
            What::Change { .. } | What::Leave { .. } | What::Nothing => {}
        }
        let position = cursor.and_then(|cursor| recording.waiting.position(&source, cursor));
        if let Some(position) = position {
            recording.position(source, position, &self.pipeline);
        }
        Ok(0)
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

    /// Commits all that is there; returns how many commits it made. What waits for its author goes on as it is.
    pub(super) async fn flush(&self, recording: &mut Recording) -> Result<usize, SinkError> {
        Ok(self.end_waits(|_| true, recording).await? + self.flush_gathered(recording).await?)
    }

    /// Commits all that has gathered; returns how many commits it made.
    pub(super) async fn flush_gathered(&self, recording: &mut Recording) -> Result<usize, SinkError> {
        recording.flush(&self.pipeline);
        self.commit_ready(recording).await
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
        for (changes, outcome) in recording.committed().into_iter().zip(outcomes) {
            self.tell(&changes, outcome);
            let of = changes.len();
            for Told { change, arrived, .. } in changes {
                if let Outcome::Committed(commit) = outcome {
                    self.remember(change, arrived, commit, of, recording);
                }
            }
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
