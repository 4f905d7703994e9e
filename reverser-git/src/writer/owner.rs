//! The task that owns a writer's repository: commits what it is sent, pushes what it has committed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    backoff::Backoff,
    blocking::blocking,
    branch::BranchName,
    conflict::{Conflict, OnConflict, Rewrite},
    fault,
    objects::Id,
    remote::RemoteError,
    sign::Signer,
    sink::{CommitId, Note, Receipt, SinkError},
    store::{Committed, OpenError, Store, Work},
    url::RemoteUrl,
    writer::{LastPush, PushPhase, PushState, PushTotals, StartAt, handle::Handle},
};

mod consolidate;
mod contest;
mod gits;
mod handles;
mod hold;
mod look;
mod notes;
mod pace;
mod push;
mod request;

use consolidate::Joined;
use contest::Contest;
use gits::Gits;
use handles::Handles;
use hold::Held;
pub(crate) use look::Looking;
use notes::Notes;
use pace::Pace;
pub(crate) use pace::Pacing;
use push::{Round, Seen, look};
pub(crate) use request::Request;

/// What the owner pushes to, when, and how it deals with others there: as the first writer of the branch has it.
pub(crate) struct Target {
    pub(crate) url: RemoteUrl,
    pub(crate) branch: BranchName,
    pub(crate) on_conflict: OnConflict,
    pub(crate) start_at: StartAt,
    pub(crate) pacing: Pacing,
    /// How much room there is for what isn't pushed.
    pub(crate) unpushed_bytes: u64,
}

/// Owns the store. Commits run one after the other on a thread that may block; at most one push runs beside them.
pub(crate) struct Owner {
    /// Locked by the blocking thread while it works, and by nobody else at that time: the owner waits for it.
    store: Arc<Mutex<Store>>,
    handles: Handles,
    target: Target,
    /// Where the remote's branch was when it was last seen: what the next push expects.
    expected: Option<CommitId>,
    /// Batches that wait for room, in their order.
    held: VecDeque<Held>,
    /// Whether it was said that there is no room left.
    told_full: bool,
    /// How many batches were committed; what an earlier run has left to push counts as one.
    sequence: u64,
    phase: Phase,
    /// Who waits for a look at the remote, and has to wait for the push or look under way.
    looking: Vec<Looking>,
    /// Who waits for that one.
    looking_along: Vec<Looking>,
    /// The push or the look at the remote under way, alone.
    round: JoinSet<Round>,
    backoff: Backoff,
    pace: Pace,
    contest: Contest,
    /// The failure that was told last, until a push succeeds.
    told: Option<String>,
    last_push: Option<LastPush>,
    last_conflict: Option<Conflict>,
    last_rewrite: Option<Rewrite>,
    totals: PushTotals,
    notes: Notes,
    /// The join of packs under way, alone.
    joining: JoinSet<Joined>,
    /// No other one begins before this, unless packs are many.
    join_pause: Instant,
    gits: Gits,
    /// How many packs there were when joining them failed; there is no other try before they are twice as many.
    packs_kept: usize,
    /// Whether it was said that the disk has no room for joining packs.
    told_no_room: bool,
    push_state: watch::Sender<PushState>,
    pushed: watch::Sender<u64>,
}

/// A fact about a commit, the room that it takes, and where the answer goes.
type Noting = (Note, OwnedSemaphorePermit, oneshot::Sender<Result<(), SinkError>>);

enum Phase {
    Idle,
    /// The remote is looked at, with nothing to push.
    Looking,
    Pushing {
        /// All batches up to this one are in it.
        sequence: u64,
    },
    Waiting {
        error: RemoteError,
        due: Instant,
        /// New work doesn't wake it before this.
        earliest: Instant,
    },
}

impl Owner {
    /// Meets the remote. An error is fatal only when nothing is known from an earlier run.
    pub(crate) async fn open(
        store: Store,
        handle: &Arc<Handle>,
        target: Target,
        push_state: watch::Sender<PushState>,
        pushed: watch::Sender<u64>,
    ) -> Result<Self, OpenError> {
        let (is_fresh, known) = (!store.has_state(), store.remote_tip()?.map(CommitId::from));
        if let Some(tip) = store.tip().map(CommitId::from) {
            // Only another folder than before lacks contents.
            handle.remote.fetch_contents(&tip).await?;
        }
        let gits = Gits::new(store.git_dir().to_owned());
        let mut owner = Self {
            store: Arc::new(Mutex::new(store)),
            handles: Handles::new(handle),
            pace: Pace::new(target.pacing),
            contest: Contest::default(),
            target,
            expected: known.clone(),
            held: VecDeque::new(),
            told_full: false,
            sequence: 0,
            phase: Phase::Idle,
            looking: Vec::new(),
            looking_along: Vec::new(),
            round: JoinSet::new(),
            backoff: Backoff::new(SHORTEST_WAIT, LONGEST_WAIT),
            told: None,
            last_push: None,
            last_conflict: None,
            last_rewrite: None,
            totals: PushTotals::default(),
            notes: Notes::new(),
            joining: JoinSet::new(),
            join_pause: Instant::now(),
            gits,
            packs_kept: 0,
            told_no_room: false,
            push_state,
            pushed,
        };
        let start_at = Some(owner.target.start_at).filter(|_| is_fresh);
        let seen = look(handle.remote.as_ref(), &owner.target.branch, known.as_ref(), start_at).await;
        fault::reached("remote-seen");
        match seen {
            Ok(Seen::Branch(tip)) => owner.meet(tip).await?,
            Ok(Seen::DefaultBranch(tip)) => {
                let tip = Id::try_from(&tip)?;
                owner.with_store(move |store| store.replay(tip, OnConflict::Ours, Timestamp::now())).await?;
            }
            Ok(Seen::Nothing) if known.is_some() => owner.meet_nothing().await?,
            Ok(Seen::Nothing) => {}
            Err(error) if is_fresh => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "the remote can't be reached, going on with the local repository");
                owner.gits.clear().await;
                owner.wait(error);
            }
        }
        owner.with_store(|store| store.sign_unpushed(Timestamp::now())).await?;
        let is_all_pushed = owner.store().unpushed_count() == 0;
        owner.sequence = u64::from(!is_all_pushed);
        owner.weigh_unpushed().await;
        owner.publish();
        Ok(owner)
    }

    /// Serves requests until all senders are gone or the last handle leaves.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut leaving = None;
        loop {
            self.commit_held().await;
            // One moment for both: a pause that passes in between would be neither over nor waited for.
            let looked = Instant::now();
            // Not while somebody counts the seconds: a push may wait for it.
            if !self.handles.is_one_closing() {
                self.consolidate_when_due(looked);
            }
            self.push_when_due().await;
            self.look_when_asked();
            self.send_notes_when_due().await;
            self.publish();
            let (is_waiting, due, rested) = (self.is_waiting(), self.due(), self.rests_until());
            let (notes_due, join_pause) = (self.notes.waits_until(), self.join_pause(looked));
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.serve(request, &mut requests, &mut leaving).await,
                    None => break,
                },
                Some(round) = self.round.join_next() => self.settle(round).await,
                answer = self.notes.answer() => self.settle_notes(answer).await,
                Some(joined) = self.joining.join_next() => self.settle_join(joined).await,
                () = sleep_until(due), if is_waiting => {}
                () = sleep_until(rested.unwrap_or(due)), if rested.is_some() => {}
                () = sleep_until(notes_due.unwrap_or(due)), if notes_due.is_some() => {}
                () = sleep_until(join_pause.unwrap_or(due)), if join_pause.is_some() => {}
            }
        }
        self.joining.shutdown().await;
        // Ends a push under way and frees the state folder before anybody hears of it.
        self.round.shutdown().await;
        self.notes.end().await;
        drop(self);
        let _ = leaving.map(|reply| reply.send(()));
    }

    /// Answers a request and all that came after it; batches that follow each other share a pack.
    async fn serve(
        &mut self,
        first: Request,
        requests: &mut mpsc::Receiver<Request>,
        leaving: &mut Option<oneshot::Sender<()>>,
    ) {
        let mut next = Some(first);
        let mut noted = Vec::new();
        while let Some(request) = next {
            match request {
                Request::Note { note, permit, reply } => noted.push((note, permit, reply)),
                Request::Commit { work, permit, reply } => self.held.push_back(Held { work, permit, reply }),
                other => {
                    self.commit_held().await;
                    self.answer(other, requests, leaving).await;
                }
            }
            next = requests.try_recv().ok();
        }
        self.commit_held().await;
        self.note(noted).await;
    }

    /// Keeps facts about commits, all of them in one step.
    async fn note(&mut self, noted: Vec<Noting>) {
        if noted.is_empty() {
            return;
        }
        let (mut notes, mut waiting) = (Vec::new(), Vec::new());
        for (note, permit, reply) in noted {
            notes.push(note);
            waiting.push((permit, reply));
        }
        let kept = self.with_store(move |store| store.note(&notes, Timestamp::now())).await;
        if let Err(error) = &kept {
            let cause: &dyn std::error::Error = error;
            tracing::error!(error = cause, "notes could not be kept");
        }
        self.notes.wake();
        // Whoever has noted something may look at the state next.
        self.publish();
        for (_permit, reply) in waiting {
            drop(reply.send(kept.clone()));
        }
    }

    async fn answer(
        &mut self,
        request: Request,
        requests: &mut mpsc::Receiver<Request>,
        leaving: &mut Option<oneshot::Sender<()>>,
    ) {
        // An answer that nobody waits for any more is no failure.
        match request {
            Request::Close { handle, reply } => {
                handle.close();
                self.pace.ask(self.sequence);
                // What waits is tried at once, and what failed before is not what is told.
                self.wake();
                self.notes.try_now();
                self.publish();
                // What is held counts: it is committed when there is room.
                let _ = reply.send(self.sequence + self.held.len() as u64);
            }
            Request::Commit { .. } | Request::Note { .. } => {}
            Request::Cursors { reply } => drop(reply.send(self.store().cursors().clone())),
            // Whoever comes after the last one has left finds another owner.
            Request::CatchUp { reply } => self.looking.push(reply),
            Request::Join { reply, .. } if leaving.is_some() => drop(reply),
            Request::Join { handle, signer, reply } => {
                let _ = reply.send(self.join(handle, signer).await);
            }
            Request::Leave { handle, reply } => {
                if self.handles.leave(handle) {
                    requests.close();
                    *leaving = Some(reply);
                } else {
                    let _ = reply.send(());
                }
            }
            Request::List { folder, under, reply } => {
                drop(reply.send(self.with_store(move |store| store.list(folder.as_ref(), under.as_ref())).await));
            }
            Request::Push { sequence } => self.pace.ask(sequence),
            Request::RetryNow { reply } => {
                if let Phase::Waiting { due, .. } = &mut self.phase {
                    *due = Instant::now();
                }
                self.notes.try_now();
                let _ = reply.send(());
            }
            Request::Read { path, reply } => drop(reply.send(self.with_store(move |store| store.read(&path)).await)),
        }
    }

    async fn commit(
        &mut self,
        batches: Vec<Work>,
        waiting: Vec<(OwnedSemaphorePermit, oneshot::Sender<Result<Receipt, SinkError>>)>,
    ) {
        if batches.is_empty() {
            return;
        }
        match self.with_store(move |store| store.commit(&batches, Timestamp::now())).await {
            Ok(committed) => {
                fault::reached("batch-durable");
                for ((permit, reply), Committed { outcomes, obstructed }) in waiting.into_iter().zip(committed) {
                    self.sequence += 1;
                    drop(permit);
                    drop(reply.send(Ok(Receipt { outcomes, sequence: self.sequence, obstructed })));
                }
            }
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::error!(error = cause, "a commit failed");
                for (_, reply) in waiting {
                    drop(reply.send(Err(error.clone())));
                }
            }
        }
        if let Phase::Waiting { due, earliest, .. } = &mut self.phase {
            *due = (*due).min(*earliest);
        }
    }

    async fn join(&mut self, handle: Weak<Handle>, signer: Option<Arc<dyn Signer>>) -> Result<(), RemoteError> {
        let tip = self.store().tip().map(CommitId::from);
        if let (Some(tip), Some(handle)) = (tip, handle.upgrade()) {
            // Its folder may be one whose contents were left at the remote.
            handle.remote.fetch_contents(&tip).await?;
        }
        self.handles.join(handle);
        if let Some(signer) = signer {
            self.store().sign_with(signer);
        }
        self.wake();
        Ok(())
    }

    fn publish(&self) {
        let store = self.store();
        let phase = match &self.phase {
            Phase::Idle | Phase::Looking => PushPhase::Idle,
            Phase::Pushing { .. } => PushPhase::Pushing,
            Phase::Waiting { error, due, .. } => {
                let wait = due.saturating_duration_since(Instant::now());
                let retry_at = Timestamp::now().checked_add(wait).unwrap_or(Timestamp::MAX);
                PushPhase::Waiting { error: error.clone(), retry_at }
            }
        };
        self.push_state.send_replace(PushState {
            unpushed: store.unpushed_count(),
            unpushed_bytes: store.unpushed_bytes(),
            is_full: self.is_held_back(&store),
            unpushed_since: store.unpushed().front().map(|unpushed| unpushed.at),
            last_push: self.last_push.clone(),
            aside: store.asides().iter().map(|aside| aside.branch.clone()).collect(),
            last_conflict: self.last_conflict.clone(),
            last_rewrite: self.last_rewrite.clone(),
            unpushed_notes: store.waiting_notes(),
            notes_error: self.notes.error.clone(),
            phase,
            totals: self.totals,
        });
        if store.unpushed_count() == 0 {
            self.pushed.send_replace(self.sequence);
        }
    }

    /// Lets a push that waits be tried at once.
    fn wake(&mut self) {
        if self.is_waiting() {
            self.phase = Phase::Idle;
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. })
    }

    fn due(&self) -> Instant {
        match self.phase {
            Phase::Waiting { due, .. } => due,
            Phase::Idle | Phase::Looking | Phase::Pushing { .. } => Instant::now(),
        }
    }

    async fn with_store<T: Send + 'static>(&self, work: impl FnOnce(&mut Store) -> T + Send + 'static) -> T {
        let store = Arc::clone(&self.store);
        blocking(move || work(&mut lock(&store))).await
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    // A panic under the lock has ended the owner.
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A push that failed is tried again after this at the earliest, and after [`LONGEST_WAIT`] at the latest.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
