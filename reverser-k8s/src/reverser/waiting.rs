//! Changes that wait for who made them, each behind those of its own object alone.
//!
//! ```text
//!  v1/configmaps/shop/a   [ 103 asked, until 12.5 s ] ◄─ [ 106 ] ◄─ [ 109 ]     in their order
//!  v1/configmaps/shop/b   [ 104 asked, until 12.6 s ]
//!  v1/configmaps/shop/c   105 went on: its author was known
//! ```
//!
//! The position of their source stays before 103 all the while ([`Positions`]).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use reverser_core::{Positions, RepoPath};
use tokio::time::Instant;

use super::{again::version_of, item::Item, recording::Room};

/// How many changes wait at most: a few seconds of what an API server can take. At the bound the one that has waited longest goes
/// on as it is.
pub(super) const CHANGES: usize = if cfg!(test) { 2_000 } else { 10_000 };

/// How long a change waits for its author at most, and one whose author isn't certain is remembered, whatever is configured.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// What asking about one change may cost: while thousands wait and facts come one by one, there are no more than so many questions
/// a second.
const QUESTION: Duration = Duration::from_micros(5);

/// Lines of changes, by file.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    lines: HashMap<RepoPath, VecDeque<Pending>>,
    /// The first of each line, by number: in the order in which they came.
    firsts: BTreeMap<u64, RepoPath>,
    /// When those are to go on as they are.
    due: BTreeSet<(Instant, u64)>,
    positions: Positions,
    len: usize,
    /// When the first ones were asked about last.
    asked: Option<Instant>,
    /// When they are to be asked about again.
    ask: Option<Instant>,
}

/// A change that has come and hasn't gone on.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) item: Item,
    pub(super) room: Room,
    /// Its source has said who made it, so nobody else is asked.
    pub(super) is_told: bool,
    number: u64,
    /// When it goes on as it is; `None`: nobody was asked yet.
    until: Option<Instant>,
}

impl Pending {
    /// Returns whether it had to wait for an answer.
    pub(super) fn has_waited(&self) -> bool {
        self.until.is_some()
    }
}

impl Waiting {
    /// Puts a change behind those of the same file; returns whether it is the first one. Its cursor is how far its source has been
    /// read then.
    pub(super) fn push(&mut self, path: &RepoPath, item: Item, room: Room) -> bool {
        let number = self.positions.wait(&item.source, item.cursor.clone());
        let is_told = item.change().is_some_and(|change| change.attribution.actor().is_some());
        let line = self.lines.entry(path.clone()).or_default();
        line.push_back(Pending { item, room, is_told, number, until: None });
        self.len += 1;
        let is_first = line.len() == 1;
        if is_first {
            self.firsts.insert(number, path.clone());
        }
        is_first
    }

    /// Returns the change of a file whose turn it is.
    pub(super) fn first(&mut self, path: &RepoPath) -> Option<&mut Pending> {
        self.lines.get_mut(path)?.front_mut()
    }

    /// The first one of a file has been asked about, and waits.
    pub(super) fn put_off(&mut self, path: &RepoPath, until: Instant) {
        let Some(first) = self.lines.get_mut(path).and_then(VecDeque::front_mut) else { return };
        if let Some(before) = first.until.replace(until) {
            self.due.remove(&(before, first.number));
        }
        self.due.insert((until, first.number));
    }

    /// The first one of a file goes on; returns it, and how far its source counts as read then.
    pub(super) fn pop(&mut self, path: &RepoPath) -> Option<(Pending, Option<String>)> {
        let line = self.lines.get_mut(path)?;
        let first = line.pop_front()?;
        match line.front() {
            Some(next) => drop(self.firsts.insert(next.number, path.clone())),
            None => drop(self.lines.remove(path)),
        }
        self.firsts.remove(&first.number);
        if let Some(until) = first.until {
            self.due.remove(&(until, first.number));
        }
        self.len -= 1;
        let position = self.positions.let_go(&first.item.source, first.number);
        Some((first, position))
    }

    /// A source has been read up to here; returns how far it counts as read then, if further than before.
    pub(super) fn position(&mut self, source: &Arc<str>, position: String) -> Option<String> {
        self.positions.pass(source, Some(position))
    }

    /// Asks about the first ones again; returns the files of those that go on. `ask` says until when one waits.
    pub(super) fn ask(&mut self, now: Instant, ask: impl Fn(&mut Pending) -> Option<Instant>) -> Vec<RepoPath> {
        (self.ask, self.asked) = (None, Some(now));
        let mut answered = Vec::new();
        for (number, path) in &self.firsts {
            let Some(first) = self.lines.get_mut(path).and_then(VecDeque::front_mut) else { continue };
            match ask(first) {
                Some(until) => {
                    if let Some(before) = first.until.replace(until).filter(|before| *before != until) {
                        self.due.remove(&(before, *number));
                        self.due.insert((until, *number));
                    }
                }
                None => answered.push(path.clone()),
            }
        }
        answered
    }

    /// Something has been learned: those that wait are asked about again soon.
    pub(super) fn learned(&mut self, now: Instant) {
        let questions = u32::try_from(self.firsts.len()).unwrap_or(u32::MAX);
        if questions > 0 && self.ask.is_none() {
            let rested = self.asked.map_or(now, |asked| asked + QUESTION * questions);
            self.ask = Some(rested.max(now));
        }
    }

    /// Returns whether what is learned matters.
    pub(super) fn listens(&self) -> bool {
        !self.firsts.is_empty() && self.ask.is_none()
    }

    /// Returns whether it is time to ask again.
    pub(super) fn asks(&self, now: Instant) -> bool {
        self.ask.is_some_and(|ask| ask <= now)
    }

    /// Returns the files of which the first one has waited for long enough.
    pub(super) fn overdue(&self, now: Instant) -> Vec<RepoPath> {
        let overdue = self.due.iter().take_while(|(until, _)| *until <= now);
        overdue.filter_map(|(_, number)| self.firsts.get(number).cloned()).collect()
    }

    /// Returns when there is something to do if nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = self.due.first().map(|(until, _)| *until);
        [due, self.ask].into_iter().flatten().min()
    }

    /// Returns the file of the one that has waited longest.
    pub(super) fn oldest(&self) -> Option<RepoPath> {
        self.firsts.first_key_value().map(|(_, path)| path.clone())
    }

    /// Returns the file of each change that waits in the order in which they came, of the files of which one `is_meant`.
    pub(super) fn in_order(&self, is_meant: impl Fn(&Item) -> bool) -> Vec<RepoPath> {
        let meant = self.lines.iter().filter(|(_, line)| line.iter().any(|pending| is_meant(&pending.item)));
        let mut numbers: Vec<_> =
            meant.flat_map(|(path, line)| line.iter().map(move |pending| (pending.number, path))).collect();
        numbers.sort_unstable_by_key(|(number, _)| *number);
        numbers.into_iter().map(|(_, path)| path.clone()).collect()
    }

    /// Returns the source and version of each that is read again after a crash.
    pub(super) fn versions(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        let pending = self.lines.values().flatten();
        pending.filter_map(|pending| Some((&pending.item.source, version_of(pending.item.cursor.as_deref()?)?)))
    }

    /// Returns whether a change of this file waits.
    pub(super) fn touches(&self, path: &RepoPath) -> bool {
        self.lines.contains_key(path)
    }

    /// Returns how many changes wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}
