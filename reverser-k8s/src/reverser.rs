//! The front door: joins sources to a [`GitSink`].
//!
//! ```text
//! Source ─► pump: render ─► queue (bounded in bytes) ─► recorder: attribute, group, plan ─► GitSink
//!                                                          └─► facts that come later: notes ──┘
//! ```
//!
//! A pump for each source renders what it reads; one recorder takes what has come, asks who did it, lets a change wait whose
//! author may still become known, and commits what is ready as one batch: at once, unless changes are to gather for fewer
//! commits. The recorder alone waits for Git.

mod again;
mod attributing;
mod builder;
mod item;
mod late;
mod lists;
mod persist;
mod pump;
mod reasons;
mod recorder;
mod recording;
mod rendering;
mod seen;
mod sync;
mod telling;
mod troubles;
mod unserved;
mod verify;
mod waiting;
mod written;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future;
use jiff::Timestamp;
use reverser_core::{
    Batching, Change, Coalescing, Edit, LeftOut, Operation, Pipeline, Reasons, Rendered, SealError, Writers,
};
use reverser_git::{Batch, CommitId, GitSink, Outcome, Receipt, SinkError};
use tokio::{sync::mpsc, time::Instant};

pub(crate) use self::{
    again::{mark_of, source_of_mark, version_of},
    lists::is_mass_deletion,
};
use self::{
    pump::Pumps,
    recorder::BATCH,
    recording::{Recording, Told},
    troubles::Troubles,
    written::Written,
};
pub use self::{sync::SyncGaps, verify::Verified};
use crate::{
    attribute::{ActorSource, Nobody},
    queue::Load,
    report::{LogReporter, Notice, Reporter},
    source::{Event, Source},
};

/// How long committing what has been read may take at the end. A full disk could keep it waiting for ever, and the
/// positions of what isn't committed haven't moved.
const LAST_COMMITS: Duration = Duration::from_secs(10);

/// Records changes in Git: those that a program hands to it, and those that its sources report.
#[derive(Clone, Debug)]
pub struct Reverser {
    sink: Arc<dyn GitSink>,
    pipeline: Arc<Pipeline>,
    actors: Arc<dyn ActorSource>,
    /// How long a change waits when nobody knows who made it; `None`: as the source of actors says.
    attribution_wait: Option<Duration>,
    reporter: Arc<dyn Reporter>,
    troubles: Arc<Mutex<Troubles>>,
    written: Arc<Mutex<Written>>,
    writers: Arc<Mutex<Writers>>,
    reasons: Arc<Mutex<Reasons>>,
    /// Held from the look at `written` until the sink has taken the batch, so that both see one order. An async mutex: the
    /// sink may make it wait.
    recording: Arc<tokio::sync::Mutex<Recording>>,
    batching: Batching,
    coalescing: Coalescing,
    allow_mass_delete: bool,
    tries: Option<usize>,
    load: Load,
    /// Zero: never.
    verify_every: Duration,
}

/// Puts a [`Reverser`] together; each part has a default.
#[derive(Debug)]
pub struct ReverserBuilder(Reverser);

/// A resource comes or goes while [`Reverser::run`] runs.
#[derive(Debug)]
pub enum Arrival {
    /// A source's resource is no longer to be watched.
    Gone {
        /// The source's id.
        source: String,
        /// Whether the server still serves it. If not, what it still says of deletions is read to its end.
        is_served: bool,
    },
    /// A resource is served in another version: its files move there, as one commit.
    Moved(Box<dyn Source>),
    /// A resource has come up: what it lists at first has been made since, and each object is a change, unless the source goes
    /// on at a position.
    New(Box<dyn Source>),
}

/// What became of a change that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was recorded already, or a later version of the object was; or the object was like that before, by a change
    /// that isn't selected.
    Known,
    /// The object, or this change of it, isn't selected.
    Left(LeftOut),
    /// It went to Git; `receipt` has the one outcome, and tells when it is pushed.
    Planned(Receipt),
}

/// A change could not be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is sensitive and can't be sealed.
    #[error(transparent)]
    Refused(#[from] SealError),
    /// It could not be committed.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl Reverser {
    /// Begins with everything at its default: all but noise, faithful manifests, the default layout and message.
    #[expect(clippy::new_ret_no_self, reason = "the builder is how one reads it: new, parts, build")]
    pub fn new(sink: impl GitSink + 'static) -> ReverserBuilder {
        ReverserBuilder(Self {
            sink: Arc::new(sink),
            pipeline: Arc::default(),
            actors: Arc::new(Nobody),
            attribution_wait: None,
            reporter: Arc::new(LogReporter),
            troubles: Arc::default(),
            written: Arc::default(),
            writers: Arc::new(Mutex::new(Writers::new([]))),
            reasons: Arc::default(),
            recording: Arc::new(tokio::sync::Mutex::new(Recording::live(Batching::default(), &Coalescing::default()))),
            batching: Batching::default(),
            coalescing: Coalescing::default(),
            allow_mass_delete: false,
            tries: None,
            load: Load::new(64 << 20),
            verify_every: Duration::from_secs(3600),
        })
    }

    /// Returns the stages that every change goes through.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Returns how much of what was read isn't committed.
    pub fn load(&self) -> Load {
        self.load.clone()
    }

    /// Commits one change, as a program that made it knows it. Returns once it is durable locally; call
    /// [`GitSink::pushed`] with the receipt to wait for the remote.
    ///
    /// Whoever calls this waits, so the change is a commit of its own, at once, whatever
    /// [`batching`](ReverserBuilder::batching) says. What has gathered of the same object is committed before it.
    pub async fn record(&self, mut change: Change) -> Result<Recorded, RecordError> {
        let arrived = Instant::now();
        let rendered = self.render_change(&mut change);
        let mut recording = self.recording.lock().await;
        let path = self.pipeline.place(&change.object);
        recording.seen.path(&path);
        if recording.touches(&path) {
            self.end_wait(&path, &mut recording).await?;
            recording.flush(&self.pipeline);
            recording.mark();
            let receipt = self.sink.commit(recording.ready.clone()).await?;
            self.settle(&mut recording, &receipt.outcomes);
        }
        let (edit, is_wanted) = match rendered {
            Rendered::Leave(why) => match self.leaving(&mut change, why).await? {
                Some(edit) => (edit, true),
                None => return Ok(Recorded::Left(why)),
            },
            Rendered::Refuse(error) => return Err(error.into()),
            Rendered::Skip(edit) => (edit, false),
            Rendered::Write(edit) => (edit, true),
            Rendered::WriteIfBy(users, edit) => (edit, users.include(change.attribution.actor())),
        };
        let is_news = self.is_news(&change, &edit);
        if !is_wanted {
            if is_news {
                self.leave_out(&change, &edit);
            }
            return Ok(Recorded::Left(LeftOut::NotThisChange));
        }
        if !is_news {
            return Ok(Recorded::Known);
        }
        self.note_change(&mut change, &edit);
        recording.changed(edit.path(), &change).iter().for_each(|verdict| self.tell_churn(verdict));
        let plan = self.pipeline.plan(&change, edit, Timestamp::now());
        let committed = self.sink.commit(Batch { plans: vec![plan], cursors: BTreeMap::new() }).await;
        let receipt = committed.inspect_err(|_not_written| self.forget(&change))?;
        if !receipt.obstructed.is_empty() {
            // Somebody may make place and record it again.
            self.forget(&change);
        }
        self.tell_obstructed(&receipt);
        let told = [Told::alone(change, arrived)];
        receipt.outcomes.iter().for_each(|outcome| self.tell(&told, outcome));
        Ok(Recorded::Planned(receipt))
    }

    /// Records what `source` reports until it ends, such as an audit log. Returns how many commits that made.
    ///
    /// Changes are grouped by the times at which they happened, not by that of reading. Nobody else should record the same
    /// objects meanwhile.
    pub async fn drain(&self, source: &mut dyn Source) -> Result<usize, SinkError> {
        let id: Arc<str> = source.id().into();
        let mut commits = 0;
        let (mut gathered, mut recording) = (Vec::new(), Recording::of_log(self.batching, &self.coalescing));
        loop {
            let event = source.next().await;
            let ended = event.is_none();
            if let Some(Event::Failed(error)) = &event {
                self.failed(&id, error);
            }
            gathered.extend(event.into_iter().flat_map(|event| self.items(&id, event, false)));
            if gathered.len() >= BATCH || ended {
                let _turn = self.recording.lock().await;
                let items = std::mem::take(&mut gathered).into_iter().map(|item| (item, None));
                commits += self.take(items, &mut recording).await?;
            }
            if ended {
                commits += self.wait_out(&mut recording).await? + self.flush(&mut recording).await?;
                self.save(&mut recording).await?;
                return Ok(commits);
            }
        }
    }

    /// Brings Git in line with what each source lists, then follows them and whatever `arrivals` brings until `shutdown`.
    /// What has been read by then is committed before this returns.
    ///
    /// # Errors
    /// [`SinkError::Closed`] when the sink has ended, [`SinkError::Late`] when it can't be committed within ten seconds.
    pub async fn run(
        &self,
        mut sources: Vec<Box<dyn Source>>,
        mut arrivals: mpsc::Receiver<Arrival>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), SinkError> {
        tokio::pin!(shutdown);
        let synced = async {
            let cursors = self.persist(|| self.sink.cursors()).await?;
            {
                let mut recording = self.recording.lock().await;
                recording.resume(&cursors);
                // A source that goes on where it stood tells of its position only with what comes next. What is read again is
                // in Git already, beyond that position.
                let resumed = cursors.into_iter().filter(|(source, _)| recording.again.is_past(source)).collect();
                recording.seen.stands(&resumed);
            }
            self.sync(&mut sources).await
        };
        let SyncGaps { failed, held } = tokio::select! {
            gaps = synced => gaps?,
            () = &mut shutdown => return Ok(()),
        };
        let (items, mut queue) = self.load.queue();
        let mut pumps = Pumps::new(self.clone(), items);
        self.reporter.report(Notice::Started { sources: sources.len() - failed.len() });
        for source in sources {
            pumps.start(source, false);
        }
        let (notes, facts) = late::facts();
        let held = held.into_iter().map(|(source, _)| source).collect();
        let is_recorded = AtomicBool::new(false);
        let record = async {
            self.record_queue(&mut queue, held, notes).await?;
            is_recorded.store(true, Ordering::Relaxed);
            Ok(())
        };
        // The recorder drops its end of the notes when it returns, and so ends whoever writes them.
        let recorder = future::try_join(record, self.write_notes(facts));
        tokio::pin!(recorder);
        let mut is_open = true;
        loop {
            tokio::select! {
                recorded = &mut recorder => return recorded.map(drop),
                arrival = arrivals.recv(), if is_open => match arrival {
                    Some(Arrival::New(source)) => {
                        self.reporter.report(Notice::Watching { source: source.id() });
                        pumps.start(source, true);
                    }
                    Some(Arrival::Moved(source)) => {
                        self.reporter.report(Notice::Watching { source: source.id() });
                        pumps.start(source, false);
                    }
                    Some(Arrival::Gone { source, is_served }) => pumps.gone(&source, is_served),
                    None => is_open = false,
                },
                () = pumps.ended() => {}
                () = &mut shutdown => break,
            }
        }
        // The pumps drop their ends of the queue, and the recorder returns when it has run dry.
        pumps.stop().await;
        match tokio::time::timeout(LAST_COMMITS, recorder).await {
            Ok(recorded) => recorded.map(drop),
            // Notes alone are left.
            Err(_late) if is_recorded.load(Ordering::Relaxed) => Ok(()),
            Err(_late) => Err(SinkError::Late { limit: LAST_COMMITS }),
        }
    }

    /// Returns the deletion of an object that is no longer selected and was when its file was written. The file tells:
    /// another selection's files may stand in the same folder.
    async fn leaving(&self, change: &mut Change, why: LeftOut) -> Result<Option<Edit>, SinkError> {
        if change.operation != Operation::Update {
            return Ok(None);
        }
        let path = self.pipeline.place(&change.object);
        let Some(content) = self.persist(|| self.sink.read(&path)).await? else { return Ok(None) };
        if !self.pipeline.owns(&path, &content, &change.object.resource, change.object.namespace.as_deref()) {
            return Ok(None);
        }
        change.reason.get_or_insert_with(|| self.why_left(why));
        Ok(Some(Edit::Delete { path }))
    }

    /// What could not be written is news again.
    fn forget(&self, change: &Change) {
        self.lock_written().forget(&self.pipeline.place(&change.object));
        self.untell_reason(change);
    }

    fn lock_written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn commit_id(outcome: &Outcome) -> Option<&CommitId> {
    match outcome {
        Outcome::Committed(id) => Some(id),
        Outcome::Unchanged | Outcome::Written => None,
    }
}

#[cfg(test)]
mod tests;
