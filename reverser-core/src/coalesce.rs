//! Fewer commits for what service accounts change over and over: of each object one per interval, with its last state.
//!
//! ```text
//!                 an update by a service account: committed at once
//!  not known ────────────────────────────────────────────────────────► Resting: no commit for an interval
//!      ▲ ▲                                                               │        ▲
//!      │ └──── the interval is over, and nothing waits ──────────────────┤        │ the interval is over:
//!      │                                   its next update, which waits  ▼        │ what waits is committed
//!      └──── somebody else's change, a deletion, a creation: ─────────── Waiting ─┘
//!            what waits is committed, then that at once                  ▲  │ its next update takes the place
//!                                                                        └──┘ of the one that waits
//! ```
//!
//! What waits isn't committed, so its source's position stays before it; the position of an update that another one has
//! taken the place of is passed, as its state will never be in Git. After a crash the source goes on there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{Actor, Change, Filter, Operation, Positions, RepoPath, Wanted, select};

/// How many objects rest or wait at most, about 200 bytes each beside what waits. Beyond it the updates of others are
/// committed at once, as if nobody had asked for anything.
const OBJECTS: usize = 10_000;

/// Which changes are coalesced, and how long.
///
/// ```
/// use std::time::Duration;
///
/// use reverser_core::{Actor, Change, Coalescing, ObjectRef, Operation, Resource};
///
/// let coalescing = Coalescing {
///     interval: Duration::from_secs(60),
///     only: vec!["resource=configmaps user=system:serviceaccount:shop:*".parse()?],
/// };
/// let resource = Resource::new("", "v1", "ConfigMap", "configmaps").into();
/// let object = ObjectRef { resource, namespace: Some("shop".into()), name: "leader".into(), uid: None };
/// let taken = coalescing.takes(&Change::new(object, Operation::Update, None));
/// assert!(coalescing.is_by(&taken, Some(&Actor::user("system:serviceaccount:shop:bot"))));
/// assert!(!coalescing.is_by(&taken, Some(&Actor::user("system:serviceaccount:bank:bot"))));
/// assert!(!coalescing.is_by(&taken, Some(&Actor::user("alice"))) && !coalescing.is_by(&taken, None));
/// # Ok::<(), reverser_core::FilterError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coalescing {
    /// How long after a commit of an object the next one by the same service account is made. Default: zero, nothing is
    /// coalesced.
    pub interval: Duration,
    /// Only what one of these takes, objects and service accounts; empty: everything.
    pub only: Vec<Filter>,
}

impl Coalescing {
    /// Returns whose changes of this kind are coalesced; to be asked while the change has its body. What its filters ask and
    /// can't be known isn't taken.
    pub fn takes(&self, change: &Change) -> Wanted {
        if self.interval.is_zero() { Wanted::No } else { select::taken(&self.only, change) }
    }

    /// Returns whether a change of `actor` is coalesced: only that of a service account is. Where nobody knows who made it, it
    /// isn't.
    pub fn is_by(&self, taken: &Wanted, actor: Option<&Actor>) -> bool {
        let is_service_account = |actor: &Actor| actor.name.starts_with("system:serviceaccount:");
        actor.is_some_and(is_service_account) && taken.by(actor)
    }
}

/// Something that happens to a [`Coalescer`].
#[derive(Debug)]
pub enum Event<T> {
    /// A change of the file at `path`.
    Change(Arrived<T>),
    /// Everything is to be committed.
    Flush,
    /// A source has been read up to here, and nothing is to be committed for that.
    Position {
        /// The source's id.
        source: Arc<str>,
        /// Opaque; the source goes on there.
        position: String,
    },
    /// Time has passed.
    Tick,
}

/// A change that has come.
#[derive(Debug)]
pub struct Arrived<T> {
    /// Where its file is: what tells objects apart.
    pub path: RepoPath,
    /// What was done. Only updates wait.
    pub operation: Operation,
    /// Whoever made it, if their changes are coalesced; `None`: it is committed at once.
    pub actor: Option<Actor>,
    /// The id of the source that reported it.
    pub source: Arc<str>,
    /// How far the source has been read once it is committed; `None` when more of the same position follows.
    pub position: Option<String>,
    /// The change itself.
    pub item: T,
}

/// What goes on, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Passed<T> {
    /// A change is to be committed.
    Change {
        /// The id of the source that reported it.
        source: Arc<str>,
        /// How far the source has been read once it is committed, and all that went on before; `None`: no further.
        position: Option<String>,
        /// How many changes it stands for: itself, and those whose place it has taken.
        changes: u64,
        /// The change itself.
        item: T,
    },
    /// A source has been read up to here, once all is committed that went on before.
    Position {
        /// The source's id.
        source: Arc<str>,
        /// Opaque; the source goes on there.
        position: String,
    },
}

/// Lets changes pass, or wait for the end of their interval.
///
/// - The changes of an object pass in their order, and the last one does.
/// - A change stands for earlier ones of the same object by the same actor alone.
/// - None waits for longer than the interval, if there is an [`Event::Tick`] when one is [`due`](Self::due).
/// - A source's position passes no change that waits.
///
/// ```
/// use std::time::Duration;
///
/// use reverser_core::{Actor, Coalescer, Operation, coalesce::{Arrived, Event, Passed}};
///
/// let event = |text: &'static str, user: Option<&str>| {
///     Event::Change(Arrived {
///         path: "leader.yaml".parse().expect("it is a path"),
///         operation: Operation::Update,
///         actor: user.map(Actor::user),
///         source: "configmaps".into(),
///         position: Some(text.into()),
///         item: text,
///     })
/// };
/// let items = |passed: Vec<Passed<&'static str>>| {
///     let item = |passed| match passed { Passed::Change { item, changes, .. } => Some((item, changes)), _ => None };
///     passed.into_iter().filter_map(item).collect::<Vec<_>>()
/// };
/// let (minute, bot) = (Duration::from_secs(60), Some("system:serviceaccount:shop:bot"));
/// let mut coalescer = Coalescer::new(minute);
/// assert_eq!(items(coalescer.step(Duration::ZERO, event("1", bot))), [("1", 1)]);
/// assert_eq!(items(coalescer.step(Duration::from_secs(5), event("2", bot))), []);
/// assert_eq!(items(coalescer.step(Duration::from_secs(9), event("3", bot))), []);
/// assert_eq!(coalescer.due(), Some(minute));
/// assert_eq!(items(coalescer.step(minute, Event::Tick)), [("3", 2)]);
/// assert_eq!(items(coalescer.step(minute, event("4", bot))), []);
/// assert_eq!(items(coalescer.step(minute, event("5", None))), [("4", 1), ("5", 1)], "never across actors");
/// ```
#[derive(Debug)]
pub struct Coalescer<T> {
    interval: Duration,
    objects: HashMap<RepoPath, Object<T>>,
    /// By the end of their interval.
    due: BTreeSet<(Duration, RepoPath)>,
    /// Those of which a change waits, by its number.
    waiting: BTreeMap<u64, RepoPath>,
    positions: Positions,
}

/// One whose last commit is younger than the interval.
#[derive(Debug)]
struct Object<T> {
    actor: Actor,
    due: Duration,
    waiting: Option<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    number: u64,
    source: Arc<str>,
    changes: u64,
    item: T,
}

impl<T> Coalescer<T> {
    /// Returns one for which an object's changes by one service account are at least so far apart; zero: all pass.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            objects: HashMap::new(),
            due: BTreeSet::new(),
            waiting: BTreeMap::new(),
            positions: Positions::default(),
        }
    }

    /// Takes in what happens, and returns what passes. `now` is the time since any fixed moment; it shouldn't go back, and when
    /// it does, only delays.
    pub fn step(&mut self, now: Duration, event: Event<T>) -> Vec<Passed<T>> {
        let mut passed = self.end_intervals(now);
        match event {
            Event::Change(change) => self.add(now, change, &mut passed),
            Event::Flush => passed.extend(self.flush(now)),
            Event::Position { source, position } => {
                let position = self.positions.pass(&source, Some(position));
                passed.extend(position.map(|position| Passed::Position { source, position }));
            }
            Event::Tick => {}
        }
        passed
    }

    /// Returns when an interval is over if nothing else happens: then what waits passes. `None`: there is none.
    pub fn due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Returns whether anything waits.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns what waits, in the order in which it came.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        let objects = self.waiting.values().filter_map(|path| self.objects.get(path));
        objects.filter_map(|object| object.waiting.as_ref().map(|waiting| &waiting.item))
    }

    /// Returns whether a change of this file waits.
    pub fn touches(&self, path: &RepoPath) -> bool {
        self.objects.get(path).is_some_and(|object| object.waiting.is_some())
    }

    /// Returns the change of this file that waits, if the next update by `actor` takes its place.
    pub fn replaceable(&self, path: &RepoPath, actor: &Actor) -> Option<&T> {
        let object = self.objects.get(path).filter(|object| object.actor == *actor)?;
        object.waiting.as_ref().map(|waiting| &waiting.item)
    }

    fn add(&mut self, now: Duration, change: Arrived<T>, passed: &mut Vec<Passed<T>>) {
        let object = self.objects.get(&change.path).map(|object| &object.actor);
        if change.operation == Operation::Update && object.is_some_and(|actor| Some(actor) == change.actor.as_ref()) {
            return self.wait(change, passed);
        }
        let Arrived { path, operation, actor, source, position, item } = change;
        passed.extend(self.forget(&path));
        if let Some(actor) = actor.filter(|_| operation != Operation::Delete)
            && !self.interval.is_zero()
            && self.objects.len() < OBJECTS
        {
            let due = now.saturating_add(self.interval);
            self.due.insert((due, path.clone()));
            self.objects.insert(path, Object { actor, due, waiting: None });
        }
        let position = self.positions.pass(&source, position);
        passed.push(Passed::Change { position, source, changes: 1, item });
    }

    /// Lets a change wait, in the place of the one of its object that waits already.
    fn wait(&mut self, change: Arrived<T>, passed: &mut Vec<Passed<T>>) {
        let Arrived { path, source, position, item, .. } = change;
        let Some(object) = self.objects.get_mut(&path) else { return };
        let number = self.positions.wait(&source, position);
        let before = object.waiting.take();
        let changes = before.as_ref().map_or(0, |before| before.changes) + 1;
        object.waiting = Some(Waiting { number, source, changes, item });
        self.waiting.insert(number, path);
        if let Some(before) = before {
            let position = self.let_go(&before);
            passed.extend(position.map(|position| Passed::Position { source: before.source, position }));
        }
    }

    /// Lets all that waits pass, in the order in which it came. Its intervals begin anew.
    fn flush(&mut self, now: Duration) -> Vec<Passed<T>> {
        let waiting: Vec<_> = self.waiting.values().cloned().collect();
        waiting.iter().filter_map(|path| self.pass(now, path)).collect()
    }

    /// Lets pass what has waited for long enough; what waits for nothing is forgotten.
    fn end_intervals(&mut self, now: Duration) -> Vec<Passed<T>> {
        let mut passed = Vec::new();
        while let Some((_, path)) = self.due.first().filter(|(due, _)| *due <= now) {
            let path = path.clone();
            if self.touches(&path) {
                passed.extend(self.pass(now, &path));
            } else {
                self.forget(&path);
            }
        }
        passed
    }

    /// Lets pass what waits of an object; its interval begins anew.
    fn pass(&mut self, now: Duration, path: &RepoPath) -> Option<Passed<T>> {
        let object = self.objects.get_mut(path)?;
        self.due.remove(&(object.due, path.clone()));
        object.due = now.saturating_add(self.interval);
        self.due.insert((object.due, path.clone()));
        let waiting = object.waiting.take()?;
        Some(self.commit(waiting))
    }

    /// Lets pass what waits of an object, and nothing of it waits any more.
    fn forget(&mut self, path: &RepoPath) -> Option<Passed<T>> {
        let object = self.objects.remove(path)?;
        self.due.remove(&(object.due, path.clone()));
        object.waiting.map(|waiting| self.commit(waiting))
    }

    fn commit(&mut self, waiting: Waiting<T>) -> Passed<T> {
        let position = self.let_go(&waiting);
        let Waiting { source, changes, item, .. } = waiting;
        Passed::Change { source, position, changes, item }
    }

    /// A change no longer waits; returns how far its source has been read then, if further.
    fn let_go(&mut self, waiting: &Waiting<T>) -> Option<String> {
        self.waiting.remove(&waiting.number);
        self.positions.let_go(&waiting.source, waiting.number)
    }
}

#[cfg(test)]
mod tests;
