//! What is committed when: changes gather in a window, and leave it together as groups, a commit each.
//!
//! ```text
//!               Change                       quiet for long enough, too old, full, or a Flush
//!  Empty ─────────────────────► Open ──────────────────────────────────────────────────────────► Ready
//!    ▲                          gathers changes, and the positions of their sources                │
//!    └─────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! There is one window for all, whoever made the changes: what leaves it is one batch, durable as a whole or not at all.
//! So a position never passes a change that isn't committed, and what is committed isn't read again after a crash.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use crate::{Change, Edit, RepoPath};

/// Which changes become one commit.
///
/// ```
/// use reverser_core::Grouping;
///
/// assert_eq!("actor".parse(), Ok(Grouping::Actor));
/// assert_eq!(Grouping::default().to_string(), "change");
/// assert_eq!("author".parse::<Grouping>().unwrap_err().to_string(), "\"author\" is none of actor, change, interval");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Grouping {
    /// Those that one actor made within the window; those of whom nobody knows who made them are a commit of their own.
    /// Where several actors changed one object in turn, the order of its states is kept: whoever comes back to what
    /// another one has changed meanwhile begins another commit.
    Actor,
    /// Each is a commit of its own: the history is the audit trail.
    #[default]
    Change,
    /// All of the window.
    Interval,
}

impl Grouping {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Actor, Self::Change, Self::Interval];

    /// Returns its name, as it is written in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::Change => "change",
            Self::Interval => "interval",
        }
    }
}

/// Its name.
impl std::fmt::Display for Grouping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads a name.
impl std::str::FromStr for Grouping {
    type Err = GroupingError;

    fn from_str(text: &str) -> Result<Self, GroupingError> {
        let named = Self::ALL.into_iter().find(|grouping| grouping.name() == text);
        named.ok_or_else(|| GroupingError { text: text.to_owned() })
    }
}

/// The text names no [`Grouping`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is none of actor, change, interval")]
pub struct GroupingError {
    text: String,
}

/// How changes are grouped, and how long they gather for that: until the first of the limits is reached.
///
/// ```
/// use std::time::Duration;
///
/// use reverser_core::{Batching, Grouping};
///
/// assert_eq!(Batching::default().quiet, Duration::ZERO, "each change at once, as a commit of its own");
/// let batching = Batching { max_age: Duration::from_secs(60), ..Batching::new(Grouping::Actor) };
/// assert_eq!(batching.quiet, Duration::from_secs(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Which changes become one commit. Default: [`Grouping::Change`].
    pub grouping: Grouping,
    /// How long after the last change the window ends. Default: zero for [`Grouping::Change`], two seconds for
    /// [`Grouping::Actor`], and for [`Grouping::Interval`] the maximum age, so that only that counts. Zero: nothing gathers,
    /// and each change is a commit. With [`Grouping::Change`] what gathers is still a commit each, but one pack and one push.
    pub quiet: Duration,
    /// How long after its first change the window ends, whatever still comes. Default: ten seconds. Zero: nothing gathers.
    pub max_age: Duration,
    /// How many changes gather at most. Default: 1,000.
    pub max_changes: NonZeroUsize,
    /// How many bytes of manifests and their paths gather at most; a larger change goes alone. Default: 8 MiB, well below
    /// what may wait for Git.
    pub max_bytes: NonZeroUsize,
}

impl Batching {
    /// Returns the defaults for a grouping.
    pub const fn new(grouping: Grouping) -> Self {
        let quiet = match grouping {
            Grouping::Actor => QUIET,
            Grouping::Change => Duration::ZERO,
            Grouping::Interval => MAX_AGE,
        };
        Self { grouping, quiet, max_age: MAX_AGE, max_changes: MAX_CHANGES, max_bytes: MAX_BYTES }
    }
}

impl Default for Batching {
    fn default() -> Self {
        Self::new(Grouping::default())
    }
}

/// Long enough for one `kubectl apply` of a folder, short enough for somebody who waits for the commit.
const QUIET: Duration = Duration::from_secs(2);
const MAX_AGE: Duration = Duration::from_secs(10);
const MAX_CHANGES: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();
const MAX_BYTES: NonZeroUsize = NonZeroUsize::new(8 << 20).unwrap();

/// Something that happens to a [`Batcher`].
#[derive(Debug)]
pub enum Event {
    /// A change is to be committed.
    Change(Box<Gathered>),
    /// Everything is to be committed: whoever asks wants to look at Git, or to end, or there is no room left.
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

/// A change that is to be committed.
#[derive(Debug)]
pub struct Gathered {
    /// What happened, and by whom; its body isn't needed any more.
    pub change: Change,
    /// What it does to its file.
    pub edit: Edit,
    /// The id of the source that reported it.
    pub source: Arc<str>,
    /// How far the source has been read once the change is committed; `None` when more of the same position follows.
    pub position: Option<String>,
}

/// Changes that become one commit, the earliest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What happened.
    pub changes: Vec<Change>,
    /// What became of it: one edit a file, the last one.
    pub edits: Vec<Edit>,
}

/// What may be committed now, as one batch.
#[derive(Debug, Default, PartialEq)]
#[must_use = "what has left the batcher is nowhere else"]
pub struct Ready {
    /// A commit each, in this order.
    pub groups: Vec<Group>,
    /// How far sources have been read, by id, once all of the groups are committed, and all that became ready before.
    pub positions: BTreeMap<String, String>,
}

impl Ready {
    fn position(source: &str, position: String) -> Self {
        Self { groups: Vec::new(), positions: [(source.to_owned(), position)].into() }
    }

    fn then(mut self, later: Self) -> Self {
        self.groups.extend(later.groups);
        self.positions.extend(later.positions);
        self
    }
}

/// Gathers changes as [`Batching`] says. No clock, no I/O: the time is a parameter.
///
/// - Each change is in one group exactly, and the changes of one file leave in the order in which they came.
/// - A source's position leaves together with the changes before it, or after them.
/// - Nobody waits for longer than the maximum age, if there is an [`Event::Tick`] when it is [`due`](Self::due).
///
/// Not promised: the order of changes of different files by different actors, within one window.
///
/// ```
/// use std::time::Duration;
///
/// use reverser_core::{
///     Actor, Change, Edit, ObjectRef, Operation, Resource,
///     batch::{Batcher, Batching, Event, Gathered, Grouping},
/// };
///
/// let event = |user: &str, name: &str, position: &str| {
///     let resource = Resource::new("", "v1", "ConfigMap", "configmaps").into();
///     let object = ObjectRef { resource, namespace: Some("shop".into()), name: name.into(), uid: None };
///     Event::Change(Box::new(Gathered {
///         change: Change::new(object, Operation::Update, None).by(Actor::user(user)),
///         edit: Edit::Put { path: name.parse().expect("it is a path"), content: position.into() },
///         source: "configmaps".into(),
///         position: Some(position.into()),
///     }))
/// };
/// let mut batcher = Batcher::new(Batching::new(Grouping::Actor));
/// let second = Duration::from_secs;
/// for (now, user, name) in [(1, "alice", "a"), (2, "bob", "b"), (3, "alice", "c"), (4, "alice", "a")] {
///     let ready = batcher.step(second(now), event(user, name, &now.to_string()));
///     assert!(ready.groups.is_empty() && ready.positions.is_empty());
/// }
/// assert_eq!(batcher.due(), Some(second(6)), "two seconds after the last change");
///
/// let ready = batcher.step(second(6), Event::Tick);
/// let paths = |edits: &[Edit]| edits.iter().map(|edit| edit.path().to_string()).collect::<Vec<_>>();
/// assert_eq!(ready.groups.iter().map(|group| paths(&group.edits)).collect::<Vec<_>>(), [vec!["c", "a"], vec!["b"]]);
/// assert_eq!(ready.positions["configmaps"], "4");
/// ```
#[derive(Debug)]
pub struct Batcher {
    batching: Batching,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing has gathered.
    #[default]
    Empty,
    Open(Window),
}

impl Batcher {
    /// Returns an empty one.
    pub fn new(batching: Batching) -> Self {
        Self { batching, state: State::Empty }
    }

    /// Takes in what happens, and returns what may be committed from now on. `now` is the time since any fixed moment; it
    /// shouldn't go back, and when it does, only delays.
    pub fn step(&mut self, now: Duration, event: Event) -> Ready {
        let (state, ready) = match (std::mem::take(&mut self.state), event) {
            (State::Empty, Event::Change(change)) => self.add(now, Window::new(now), *change),
            (State::Empty, Event::Flush | Event::Tick) => (State::Empty, Ready::default()),
            (State::Empty, Event::Position { source, position }) => (State::Empty, Ready::position(&source, position)),
            (State::Open(window), Event::Change(change)) if window.ends_before(now, &change, &self.batching) => {
                let (state, ready) = self.add(now, Window::new(now), *change);
                (state, window.close().then(ready))
            }
            (State::Open(window), Event::Change(change)) => self.add(now, window, *change),
            (State::Open(window), Event::Flush) => (State::Empty, window.close()),
            (State::Open(mut window), Event::Position { source, position }) if window.sources.contains(&source) => {
                window.positions.insert(source.to_string(), position);
                (State::Open(window), Ready::default())
            }
            // Nothing of this source waits.
            (State::Open(window), Event::Position { source, position }) => {
                (State::Open(window), Ready::position(&source, position))
            }
            (State::Open(window), Event::Tick) if window.is_over(now, &self.batching) => (State::Empty, window.close()),
            (State::Open(window), Event::Tick) => (State::Open(window), Ready::default()),
        };
        self.state = state;
        ready
    }

    /// Returns when the window ends if nothing else happens; `None`: nothing has gathered.
    pub fn due(&self) -> Option<Duration> {
        match &self.state {
            State::Empty => None,
            State::Open(window) => Some(window.due(&self.batching)),
        }
    }

    /// Returns whether a change of this file has gathered.
    pub fn touches(&self, path: &RepoPath) -> bool {
        match &self.state {
            State::Empty => false,
            State::Open(window) => window.of_path.contains_key(path),
        }
    }

    fn add(&self, now: Duration, mut window: Window, change: Gathered) -> (State, Ready) {
        window.add(now, change, self.batching.grouping);
        if window.is_full(&self.batching) || window.is_over(now, &self.batching) {
            (State::Empty, window.close())
        } else {
            (State::Open(window), Ready::default())
        }
    }
}

/// What has gathered.
#[derive(Debug, Default)]
struct Window {
    /// When its first change came.
    since: Duration,
    /// When its last change came.
    last: Duration,
    changes: usize,
    bytes: usize,
    groups: Vec<Group>,
    /// The group of an actor's next change, unless that would overtake another one of its file. `None`: nobody knows who.
    of_actor: BTreeMap<Option<String>, usize>,
    /// The last group that has a change of this file.
    of_path: BTreeMap<RepoPath, usize>,
    /// Who reported the changes: their positions wait with them.
    sources: BTreeSet<Arc<str>>,
    positions: BTreeMap<String, String>,
}

impl Window {
    fn new(now: Duration) -> Self {
        Self { since: now, last: now, ..Self::default() }
    }

    fn add(&mut self, now: Duration, gathered: Gathered, grouping: Grouping) {
        let Gathered { change, edit, source, position } = gathered;
        self.last = self.last.max(now);
        self.changes += 1;
        self.bytes += bytes(&edit);
        let group = self.group_of(&change, edit.path(), grouping);
        self.of_path.insert(edit.path().clone(), group);
        if group == self.groups.len() {
            self.groups.push(Group { changes: Vec::new(), edits: Vec::new() });
        }
        self.groups[group].changes.push(change);
        self.groups[group].edits.push(edit);
        if let Some(position) = position {
            self.positions.insert(source.to_string(), position);
        }
        self.sources.insert(source);
    }

    /// Returns the index of the group that a change belongs to, which may be the next one that there isn't yet.
    fn group_of(&mut self, change: &Change, path: &RepoPath, grouping: Grouping) -> usize {
        let next = self.groups.len();
        match grouping {
            Grouping::Actor => {
                let earliest = self.of_path.get(path).copied().unwrap_or_default();
                let actor = change.attribution.actor().map(|actor| actor.name.clone());
                let group = self.of_actor.entry(actor).or_insert(next);
                if *group < earliest {
                    *group = next;
                }
                *group
            }
            Grouping::Change => next,
            Grouping::Interval => 0,
        }
    }

    /// Returns whether a change is too late for this window, or too large for what is in it.
    fn ends_before(&self, now: Duration, change: &Gathered, batching: &Batching) -> bool {
        self.is_over(now, batching) || self.bytes + bytes(&change.edit) > batching.max_bytes.get()
    }

    fn is_full(&self, batching: &Batching) -> bool {
        self.changes >= batching.max_changes.get() || self.bytes >= batching.max_bytes.get()
    }

    fn is_over(&self, now: Duration, batching: &Batching) -> bool {
        self.due(batching) <= now
    }

    fn due(&self, batching: &Batching) -> Duration {
        let quiet = self.last.saturating_add(batching.quiet);
        quiet.min(self.since.saturating_add(batching.max_age))
    }

    fn close(self) -> Ready {
        let mut groups = self.groups;
        for group in &mut groups {
            keep_last_of_each_file(&mut group.edits);
        }
        Ready { groups, positions: self.positions }
    }
}

fn keep_last_of_each_file(edits: &mut Vec<Edit>) {
    let mut seen = BTreeSet::new();
    edits.reverse();
    edits.retain(|edit| seen.insert(edit.path().clone()));
    edits.reverse();
}

fn bytes(edit: &Edit) -> usize {
    match edit {
        Edit::Delete { path } => path.as_str().len(),
        Edit::Put { path, content } => path.as_str().len() + content.len(),
    }
}

#[cfg(test)]
mod tests;
