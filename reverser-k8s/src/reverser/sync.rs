//! The first sync: Git is brought in line with complete lists.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use reverser_core::{Edit, message};
use reverser_git::{Batch, SinkError};

use super::{Reverser, again::mark_of, commit_id, lists::Sweep};
use crate::{
    api_error::ApiError,
    report::Notice,
    source::{Event, Source},
};

/// How many resources are listed at the same time at the start.
const LISTS: usize = 8;

/// How often a source is asked before the first sync goes on without it: three tries take about two seconds.
const FIRST_TRIES: usize = 3;

/// What a first sync could not do.
#[derive(Debug, Default)]
pub struct SyncGaps {
    /// Sources that could not be listed, by id, and why.
    pub failed: BTreeMap<String, ApiError>,
    /// Sources, by id, and their resources of which suspiciously many files have no object any more: those files stayed.
    pub held: Vec<(String, Arc<reverser_core::Resource>)>,
}

impl Reverser {
    /// Brings Git in line with what each source lists, as one commit. A source that can't be listed is reported and
    /// left as it is.
    pub async fn sync(&self, sources: &mut [Box<dyn Source>]) -> Result<SyncGaps, SinkError> {
        // Lists are compared with Git, so what has gathered has to be there.
        self.flush(&mut *self.recording.lock().await).await?;
        let mut batch = Batch::default();
        let mut edits = Vec::new();
        let mut sync = message::Synced::default();
        let mut gaps = SyncGaps::default();
        let mut waiting = sources.iter_mut();
        let first_event = |source| self.first_event(source);
        let mut firsts: FuturesUnordered<_> = waiting.by_ref().take(LISTS).map(first_event).collect();
        while let Some((id, event)) = firsts.next().await {
            firsts.extend(waiting.next().map(first_event));
            match event {
                Some(Event::Listed(listed)) => {
                    let resource = Arc::clone(&listed.resource);
                    let cursor = listed.cursor.clone();
                    batch.cursors.insert(mark_of(&id), String::new());
                    self.recording.lock().await.again.forget(&id);
                    let list = self.render_list(listed);
                    self.note_listed_reasons(&list);
                    self.reporter.report(Notice::Listed { resource: &resource, objects: list.edits.len() });
                    *sync.objects.entry((*resource).clone()).or_default() += list.edits.len();
                    match self.sweep(&list).await? {
                        Sweep::Held(removed) => {
                            sync.removed += removed.len();
                            edits.extend(removed);
                            // Without a position the next start lists, and asks, again.
                            batch.cursors.insert(id.clone(), String::new());
                            gaps.held.push((id, resource));
                        }
                        Sweep::Remove(removed) => {
                            sync.removed += removed.len();
                            edits.extend(removed);
                            batch.cursors.insert(id, cursor);
                        }
                    }
                    edits.extend(list.edits);
                }
                Some(Event::Failed(error)) => {
                    self.failed(&id, &error);
                    gaps.failed.insert(id, error);
                }
                Some(Event::Change { .. } | Event::Cursor(_) | Event::Gap(_) | Event::Resumed) | None => {}
            }
        }
        let cursors = batch.cursors.clone();
        self.commit_sync(batch, edits, &sync).await?;
        self.recording.lock().await.seen.stands(&cursors);
        Ok(gaps)
    }

    /// Returns what a source says first; a failure that may pass is tried again a few times.
    async fn first_event(&self, source: &mut Box<dyn Source>) -> (String, Option<Event>) {
        let mut event = source.next().await;
        for _ in 1..FIRST_TRIES {
            match &event {
                Some(Event::Failed(error)) if error.is_restored() => {
                    self.failed(source.id(), error);
                    self.lock_written().forget_all();
                    event = source.next().await;
                }
                Some(Event::Failed(error)) if !error.is_for_a_person() => event = source.next().await,
                _ => break,
            }
        }
        if matches!(event, Some(Event::Listed(_))) {
            // It is compared with Git now, which takes a while.
            source.pause();
        }
        (source.id().to_owned(), event)
    }

    pub(super) async fn commit_sync(
        &self,
        mut batch: Batch,
        edits: Vec<Edit>,
        sync: &message::Synced,
    ) -> Result<(), SinkError> {
        for edit in &edits {
            self.lock_written().note(edit);
        }
        if !edits.is_empty() {
            batch.plans.push(self.pipeline.sync_plan(sync, edits, Timestamp::now()));
        }
        let outcomes = self.commit_batch(&batch).await?;
        if sync == &message::Synced::default() {
            // Every source went on where it stood, or had nothing to sweep.
            return Ok(());
        }
        self.reporter.report(Notice::Synced { sync, commit: outcomes.first().and_then(commit_id) });
        Ok(())
    }
}
