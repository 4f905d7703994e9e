//! What was read and isn't committed.
//!
//! ```text
//! read ─► waiting (for its author) ─► coalescer ─► batcher ─► ready ─► committed
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use reverser_core::{
    Batcher, Batching, Change, Churn, Coalescer, Coalescing, Edit, Operation, Pipeline, RepoPath, batch,
    batch::{Gathered, Group, Ready},
    churn::Verdict,
    coalesce::{self, Arrived, Passed},
};
use reverser_git::Batch;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    again::{Again, Mark, mark_of, version_of},
    late::Late,
    seen::Seen,
    waiting::Waiting,
};

/// The room in the queue that a change takes until it is committed, where it came through one.
pub(super) type Room = Option<OwnedSemaphorePermit>;

/// What was read and isn't committed.
#[derive(Debug)]
pub(super) struct Recording {
    /// What has come and isn't taken in, as who made it may still become known.
    pub(super) waiting: Waiting,
    churn: Churn,
    coalescer: Coalescer<Taken>,
    /// For what commits say of it.
    interval: Duration,
    batcher: Batcher,
    clock: Clock,
    /// Of what is in the batcher, in its order.
    gathered: VecDeque<Held>,
    /// What has left the batcher. Positions that moved without a change wait here, too: they are worth no commit of their
    /// own, and go with the next one, or are saved once in a while.
    pub(super) ready: Batch,
    /// What each of those plans stands for.
    ready_changes: Vec<Vec<Told>>,
    /// The marks that Git has, by source.
    marked: BTreeMap<String, String>,
    /// What is read again since something waited when an earlier run ended.
    pub(super) again: Again,
    /// Sources that have a sweep held: they keep no position, so that the next start lists, and asks, again.
    pub(super) held: HashSet<String>,
    /// What is committed and may turn out to be somebody else's.
    pub(super) late: Late,
    /// For verifications.
    pub(super) seen: Seen,
}

/// A change that is to be committed.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) change: Change,
    pub(super) edit: Edit,
    pub(super) source: Arc<str>,
    /// How far its source had been read with it.
    pub(super) read_to: Option<String>,
    /// How far its source counts as read once it is committed.
    pub(super) position: Option<String>,
    pub(super) room: Room,
    pub(super) arrived: Instant,
}

/// What is kept of a change until it is committed.
#[derive(Debug)]
struct Held {
    source: Arc<str>,
    read_to: Option<String>,
    arrived: Instant,
    stands_for: u64,
    room: Room,
}

/// What is told of a change that is committed.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) change: Change,
    /// When it was read.
    pub(super) arrived: Instant,
    /// How many changes it stands for, itself included.
    pub(super) stands_for: u64,
    /// Given back when this is dropped.
    _room: Room,
}

/// What time it is for the window.
#[derive(Debug)]
enum Clock {
    /// That of the changes themselves: a log gives the commits that there had been, whenever it is read.
    Log(Duration),
    /// Since then. Monotonic: somebody may set this machine's time.
    Monotonic(Instant),
}

impl Clock {
    /// `at`: when what is taken in happened.
    fn now(&mut self, at: Option<Timestamp>) -> Duration {
        match self {
            Self::Log(last) => {
                let at = at.map(|at| at.duration_since(Timestamp::UNIX_EPOCH));
                *last = (*last).max(at.and_then(|at| at.try_into().ok()).unwrap_or_default());
                *last
            }
            Self::Monotonic(since) => since.elapsed(),
        }
    }
}

impl Recording {
    /// Of changes as they happen.
    pub(super) fn live(batching: Batching, coalescing: &Coalescing) -> Self {
        Self::new(batching, coalescing, Clock::Monotonic(Instant::now()))
    }

    /// Of changes that happened some time ago.
    pub(super) fn of_log(batching: Batching, coalescing: &Coalescing) -> Self {
        Self::new(batching, coalescing, Clock::Log(Duration::ZERO))
    }

    fn new(batching: Batching, coalescing: &Coalescing, clock: Clock) -> Self {
        Self {
            waiting: Waiting::default(),
            churn: Churn::default(),
            coalescer: Coalescer::new(coalescing.interval),
            interval: coalescing.interval,
            batcher: Batcher::new(batching),
            clock,
            gathered: VecDeque::new(),
            ready: Batch::default(),
            ready_changes: vec![],
            marked: BTreeMap::new(),
            again: Again::default(),
            held: HashSet::new(),
            late: Late::default(),
            seen: Seen::default(),
        }
    }

    /// Goes on where an earlier run stopped, which left these positions.
    pub(super) fn resume(&mut self, cursors: &BTreeMap<String, String>) {
        self.again = Again::of(cursors);
        self.marked = self.marks();
    }

    /// Takes a change in; `is_coalesced`: it may wait for later ones by the same actor. Returns what begins or ceases to churn.
    pub(super) fn gather(&mut self, mut taken: Taken, is_coalesced: bool, pipeline: &Pipeline) -> Option<Verdict> {
        let now = self.clock.now(taken.change.at);
        let verdict = self.churn.changed(now, taken.edit.path(), &taken.change);
        let actor = taken.change.attribution.actor().filter(|_| is_coalesced).cloned();
        if let Some(actor) = actor.as_ref().filter(|_| taken.change.operation == Operation::Update)
            && taken.change.reason.is_none()
        {
            // What takes the place of a change stands for it: a reason is told once.
            let before = self.coalescer.replaceable(taken.edit.path(), actor);
            taken.change.reason = before.and_then(|before| before.change.reason.clone());
        }
        let arrived = Arrived {
            path: taken.edit.path().clone(),
            operation: taken.change.operation,
            actor,
            source: Arc::clone(&taken.source),
            position: taken.position.take(),
            item: taken,
        };
        self.coalesce(now, coalesce::Event::Change(arrived), pipeline);
        verdict
    }

    /// Takes note of a change that is committed by itself. Returns what begins or ceases to churn.
    pub(super) fn changed(&mut self, path: &RepoPath, change: &Change) -> Option<Verdict> {
        let now = self.clock.now(change.at);
        self.churn.changed(now, path, change)
    }

    /// A source counts as read up to here once all is committed that has been taken in, and nothing is to be committed for that.
    pub(super) fn position(&mut self, source: Arc<str>, position: String, pipeline: &Pipeline) {
        let now = self.clock.now(None);
        self.coalesce(now, coalesce::Event::Position { source, position }, pipeline);
    }

    /// Time has passed; returns what has calmed down.
    pub(super) fn tick(&mut self, pipeline: &Pipeline) -> Vec<Verdict> {
        let now = self.clock.now(None);
        self.coalesce(now, coalesce::Event::Tick, pipeline);
        self.batch(now, batch::Event::Tick, pipeline);
        self.churn.tick(now)
    }

    /// Makes all of it ready.
    pub(super) fn flush(&mut self, pipeline: &Pipeline) {
        let now = self.clock.now(None);
        self.coalesce(now, coalesce::Event::Flush, pipeline);
        self.batch(now, batch::Event::Flush, pipeline);
    }

    fn coalesce(&mut self, now: Duration, event: coalesce::Event<Taken>, pipeline: &Pipeline) {
        for passed in self.coalescer.step(now, event) {
            let event = match passed {
                Passed::Change { source, position, changes, item } => {
                    let Taken { mut change, edit, source: _, read_to, room, arrived, .. } = item;
                    if changes > 1 {
                        change.reason.get_or_insert_with(|| coalesced(changes, self.interval));
                    }
                    let held = Held { source: Arc::clone(&source), read_to, arrived, stands_for: changes, room };
                    self.gathered.push_back(held);
                    batch::Event::Change(Gathered { change, edit, source, position }.into())
                }
                Passed::Position { source, position } => batch::Event::Position { source, position },
            };
            self.batch(now, event, pipeline);
        }
    }

    fn batch(&mut self, now: Duration, event: batch::Event, pipeline: &Pipeline) {
        let Ready { groups, positions } = self.batcher.step(now, event);
        for Group { changes, edits } in groups {
            self.ready.plans.push(pipeline.group_plan(&changes, edits, Timestamp::now()));
            let held = self.gathered.drain(..changes.len());
            self.ready_changes
                .push(changes.into_iter().zip(held).map(|(change, held)| Told::new(change, held)).collect());
        }
        self.ready.cursors.extend(positions);
    }

    /// Takes the positions that wait to be saved, with marks where a source has been read further.
    pub(super) fn take_cursors(&mut self) -> BTreeMap<String, String> {
        self.mark();
        std::mem::take(&mut self.ready.cursors)
    }

    /// Adds the marks to what is ready.
    pub(super) fn mark(&mut self) {
        let marks = self.marks();
        let before = std::mem::replace(&mut self.marked, marks);
        let gone = before.into_keys().filter(|mark| !self.marked.contains_key(mark)).map(|mark| (mark, String::new()));
        self.ready.cursors.extend(gone);
        self.ready.cursors.extend(self.marked.clone());
    }

    /// Returns how far each source has been read of which something waits that isn't ready, and what. What is in the window alone
    /// needs none: nothing behind it is committed before it.
    fn marks(&self) -> BTreeMap<String, String> {
        let mut marks: BTreeMap<&str, Mark> = BTreeMap::new();
        marks.extend(self.again.marks().map(|(source, mark)| (source.as_str(), mark.clone())));
        let version = |source, read_to: &Option<String>| Some((source, version_of(read_to.as_deref()?)?));
        let coalesced = self.coalescer.waiting().filter_map(|taken| version(&taken.source, &taken.read_to));
        for (source, version) in self.waiting.versions().chain(coalesced) {
            self.add_mark(&mut marks, source, version);
        }
        for (source, version) in self.gathered.iter().filter_map(|held| version(&held.source, &held.read_to)) {
            if marks.contains_key(&**source) || self.marked.contains_key(&mark_of(source)) {
                self.add_mark(&mut marks, source, version);
            }
        }
        marks.retain(|_, mark| mark.waiting.last().is_none_or(|last| *last <= mark.until));
        marks.into_iter().map(|(source, mark)| (mark_of(source), mark.encode())).collect()
    }

    fn add_mark<'a>(&self, marks: &mut BTreeMap<&'a str, Mark>, source: &'a Arc<str>, version: u64) {
        let until = || self.seen.reached(source).unwrap_or_default();
        let mark = marks.entry(source).or_insert_with(|| Mark { until: until(), waiting: BTreeSet::new() });
        mark.waiting.insert(version);
    }

    /// Lets go of what was ready, since it is committed; returns what each plan stood for.
    pub(super) fn committed(&mut self) -> Vec<Vec<Told>> {
        self.ready = Batch::default();
        std::mem::take(&mut self.ready_changes)
    }

    /// Returns when there is something to do, if nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = [self.batcher.due(), self.coalescer.due(), self.churn.due()].into_iter().flatten().min();
        let instant = match self.clock {
            Clock::Log(_) => None,
            Clock::Monotonic(since) => due.and_then(|due| since.checked_add(due)),
        };
        [instant, self.waiting.due(), self.late.due()].into_iter().flatten().min()
    }

    /// Something has been learned of who makes changes.
    pub(super) fn learned(&mut self) {
        let now = Instant::now();
        self.waiting.learned(now);
        self.late.learned(now);
    }

    /// Returns whether it matters what is learned.
    pub(super) fn listens(&self) -> bool {
        self.waiting.listens() || self.late.listens()
    }

    /// Returns whether anything takes room that goes on later.
    pub(super) fn keeps(&self) -> bool {
        self.has_gathered() || self.waiting.len() > 0
    }

    /// Returns whether anything has gathered for fewer commits.
    pub(super) fn has_gathered(&self) -> bool {
        self.batcher.due().is_some() || self.coalescer.is_waiting()
    }

    /// Returns whether a change of this file has.
    pub(super) fn gathers(&self, path: &RepoPath) -> bool {
        self.coalescer.touches(path)
            || self.batcher.touches(path)
            || self.ready.plans.iter().flat_map(|plan| &plan.edits).any(|edit| edit.path() == path)
    }

    /// Returns whether a change of this file isn't committed.
    pub(super) fn touches(&self, path: &RepoPath) -> bool {
        self.waiting.touches(path) || self.gathers(path)
    }
}

impl Told {
    fn new(change: Change, held: Held) -> Self {
        let Held { arrived, stands_for, room, .. } = held;
        Self { change, arrived, stands_for, _room: room }
    }

    /// Of a change that stands for itself and takes no room.
    pub(super) fn alone(change: Change, arrived: Instant) -> Self {
        Self { change, arrived, stands_for: 1, _room: None }
    }
}

/// What the commit of a coalesced change says.
fn coalesced(changes: u64, interval: Duration) -> String {
    format!("The last of {changes} changes that the same service account made within {interval:?}.")
}
