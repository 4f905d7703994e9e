//! Which versions objects had between two revisions of etcd, from reads at single revisions.
//!
//! ```text
//!               cursor                                       until
//! changed     ──●────────●──────●────────────────────────●─────┤   read at until, then at each version − 1
//! created       ┆        ◌──────●────────────────────────●─────┤   … until there is nothing
//! deleted     ──●────────●──────────────✕                      ┆   search for ✕, then back from there
//! made anew   ──●───────────────✕    ◌─────────●───────────────┤   both
//! came, went    ┆           ◌────●───✕                         ┆   not seen
//! ```

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use reverser_core::Operation;
use serde_json::value::RawValue;

use crate::api_error::ApiError;

/// How many objects are walked back at the same time. Each has one request under way.
const WALKS: usize = 8;

/// Reads of the past.
///
/// # Contract
/// - An answer is what was asked for: the state at exactly that revision.
/// - What can be read at a revision can be read at each later one: [`Unreadable::Forgotten`] is for what is before some
///   revision, which may grow at any time.
#[async_trait::async_trait]
pub(super) trait History: Sync {
    /// Returns which objects there are at a revision; `None`: now.
    async fn list_at(&self, revision: Option<u64>) -> Result<Snapshot, Unreadable>;

    /// Returns an object as it is at a revision, if there is one.
    async fn get_at(&self, place: &Place, revision: u64) -> Result<Option<Version>, Unreadable>;

    /// Returns whether objects can be read as they were at a revision.
    async fn reaches(&self, revision: u64) -> Result<bool, Unreadable>;
}

/// Where an object stands in its resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) namespace: Option<Box<str>>,
    pub(super) name: Box<str>,
}

/// Which objects there are at a revision.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) revision: u64,
    pub(super) entries: HashMap<Place, Entry>,
}

/// Which object it is, in which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Tells it from an earlier or later one at its place.
    pub(super) uid: Box<str>,
    pub(super) version: u64,
}

/// One version of an object.
pub(super) struct Version {
    pub(super) entry: Entry,
    pub(super) created: Option<Timestamp>,
    /// The latest time of its managed fields.
    pub(super) written: Option<Timestamp>,
    /// The text as it came: the least that it can take of memory until it is needed.
    pub(super) body: Box<RawValue>,
}

/// One thing that happened.
pub(super) struct Step {
    pub(super) operation: Operation,
    /// The revision that it made.
    pub(super) version: u64,
    /// The version of the object that it replaced.
    pub(super) replaced: Option<u64>,
    /// When, if the object tells.
    pub(super) at: Option<Timestamp>,
    /// The object after it; of a deletion before it.
    pub(super) body: Box<RawValue>,
}

/// Never shows the object.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Step({} at {}, {} bytes)", self.operation, self.version, self.body.get().len())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The request failed.
    Failed(ApiError),
    /// etcd was compacted past the revision.
    Forgotten,
    /// What there is takes more memory than allowed.
    TooMuch,
    /// This server doesn't read the past, or its answers don't fit together.
    Unsupported(&'static str),
}

/// What became of a gap.
#[derive(Debug)]
pub(super) enum Reading {
    /// What led up to this revision isn't known any more: it is the oldest, or a later one of which the objects are known.
    Forgotten { until: u64 },
    /// What happened up to a revision, in order. `is_all`: until the time of asking; else more follows.
    Steps { steps: Vec<Step>, until: u64, is_all: bool },
    /// No history is to be had, and why.
    Unsupported(&'static str),
}

/// Returns what happened after `cursor`: all versions of the objects that lived at one of both ends of what was read. At
/// most about `bytes` of it at once, and not past the next of the revisions of which the objects are `known`: of a long history
/// the first part.
pub(super) async fn read(
    history: &impl History,
    cursor: u64,
    known: &BTreeSet<u64>,
    bytes: usize,
) -> Result<Reading, ApiError> {
    let next_known = known.range(cursor.saturating_add(1)..).next();
    let mut part = None;
    let mut latest = cursor;
    loop {
        let steps = match history.list_at(part).await {
            Ok(now) if part.is_some_and(|part| part != now.revision) => Err(CONTRADICTION),
            Ok(now) => {
                latest = latest.max(now.revision);
                part = Some(now.revision);
                if let Some(known) = next_known.filter(|known| **known < now.revision) {
                    part = Some(*known);
                    continue;
                }
                between(history, cursor, now, bytes).await
            }
            Err(error) => Err(error),
        };
        match (steps, part) {
            (Ok(steps), Some(until)) => return Ok(Reading::Steps { steps, until, is_all: until == latest }),
            // Half of it may fit.
            (Err(Unreadable::TooMuch), Some(until)) if until > cursor + 1 => part = Some(cursor.midpoint(until)),
            (Err(Unreadable::Forgotten), Some(_)) => {
                // What was before the last that is known would turn back time.
                let known = known.range(..=latest).next_back().copied().unwrap_or(cursor);
                return oldest(history, cursor.max(known.saturating_sub(1)), latest).await;
            }
            (Err(Unreadable::Failed(error)), _) => return Err(error),
            (Err(Unreadable::Unsupported(why)), _) => return Ok(Reading::Unsupported(why)),
            (Ok(_) | Err(Unreadable::Forgotten | Unreadable::TooMuch), _) => {
                return Ok(Reading::Unsupported("the server has forgotten the present"));
            }
        }
    }
}

/// Searches for the oldest revision that can be read, after `forgotten` and up to `latest`, which can.
async fn oldest(history: &impl History, forgotten: u64, latest: u64) -> Result<Reading, ApiError> {
    let (mut forgotten, mut readable) = (forgotten, latest);
    while readable > forgotten + 1 {
        let middle = forgotten.midpoint(readable);
        match history.reaches(middle).await {
            Ok(true) => readable = middle,
            Ok(false) => forgotten = middle,
            Err(Unreadable::Failed(error)) => return Err(error),
            Err(_) => return Ok(Reading::Unsupported("the server has forgotten the present")),
        }
    }
    Ok(Reading::Forgotten { until: readable })
}

/// Returns what happened after `cursor` and up to `now`, in order.
async fn between(history: &impl History, cursor: u64, now: Snapshot, bytes: usize) -> Result<Vec<Step>, Unreadable> {
    if now.revision < cursor {
        // A restored etcd has another history.
        return Err(Unreadable::Unsupported("the cursor is in the server's future"));
    }
    let until = now.revision;
    let before = history.list_at(Some(cursor)).await?;
    if before.revision != cursor {
        return Err(CONTRADICTION);
    }
    // One revision is one version of one object: that much is read whatever it takes.
    let room = AtomicUsize::new(if until > cursor + 1 { bytes } else { usize::MAX });
    let steps = stream::iter(differences(before, now, cursor)?)
        .map(|difference| {
            Walk { history, room: &room, cursor, place: difference.place, steps: vec![] }.steps(
                difference.before,
                difference.now,
                until,
            )
        })
        .buffer_unordered(WALKS)
        .try_collect::<Vec<_>>()
        .await?;
    let mut steps: Vec<_> = steps.into_iter().flatten().collect();
    steps.sort_unstable_by_key(|step| step.version);
    Ok(steps)
}

/// A place at which something happened.
struct Difference {
    place: Place,
    before: Option<Entry>,
    now: Option<Entry>,
}

/// Returns the places at which something happened.
fn differences(before: Snapshot, now: Snapshot, cursor: u64) -> Result<Vec<Difference>, Unreadable> {
    let mut before = before.entries;
    let mut differences = Vec::new();
    for (place, entry) in now.entries {
        let old = before.remove(&place);
        if entry.version > cursor {
            differences.push(Difference { place, before: old, now: Some(entry) });
        } else if old.as_ref() != Some(&entry) {
            return Err(Unreadable::Unsupported("what didn't change differs"));
        }
    }
    differences.extend(before.into_iter().map(|(place, old)| Difference { place, before: Some(old), now: None }));
    Ok(differences)
}

/// Goes back through what happened at one place.
struct Walk<'a, H> {
    history: &'a H,
    /// How many bytes may still be held, by all walks together.
    room: &'a AtomicUsize,
    cursor: u64,
    place: Place,
    /// Latest first.
    steps: Vec<Step>,
}

impl<H: History> Walk<'_, H> {
    async fn steps(mut self, before: Option<Entry>, now: Option<Entry>, until: u64) -> Result<Vec<Step>, Unreadable> {
        let is_same = before.as_ref().map(|entry| &entry.uid) == now.as_ref().map(|entry| &entry.uid);
        if let Some(entry) = now {
            let version = self.get(until).await?.filter(|version| version.entry == entry);
            self.back_from(version.ok_or(CONTRADICTION)?).await?;
        }
        if let Some(entry) = before.filter(|_| !is_same) {
            self.deletion(entry, until).await?;
        }
        Ok(self.steps)
    }

    /// Takes in a version, and what the same object was before.
    async fn back_from(&mut self, mut version: Version) -> Result<(), Unreadable> {
        while version.entry.version > self.cursor {
            let Version { entry, created, written, body } = version;
            match self.get(entry.version - 1).await? {
                Some(older) if older.entry.uid == entry.uid => {
                    // Not each write leaves a time: one that only removes what others wrote leaves theirs.
                    let at = written.filter(|_| written > older.written);
                    let replaced = Some(older.entry.version);
                    self.take(Step { operation: Operation::Update, version: entry.version, replaced, at, body })?;
                    version = older;
                }
                _ => {
                    let Entry { version, .. } = entry;
                    return self.take(Step {
                        operation: Operation::Create,
                        version,
                        replaced: None,
                        at: created,
                        body,
                    });
                }
            }
        }
        Ok(())
    }

    /// Searches for the revision at which an object went, and takes in the deletion and what was before it. The object is
    /// there at the cursor and not at `gone`, and once it is gone it doesn't come back: a later one has another uid.
    async fn deletion(&mut self, entry: Entry, mut gone: u64) -> Result<(), Unreadable> {
        let mut there = self.cursor;
        let mut last = None;
        while gone > there + 1 {
            let middle = there.midpoint(gone);
            match self.get(middle).await?.filter(|version| version.entry.uid == entry.uid) {
                Some(version) => (there, last) = (middle, Some(version)),
                None => gone = middle,
            }
        }
        let last = match last {
            Some(last) => last,
            None => self.get(there).await?.filter(|version| version.entry == entry).ok_or(CONTRADICTION)?,
        };
        let replaced = Some(last.entry.version);
        self.take(Step { operation: Operation::Delete, version: gone, replaced, at: None, body: last.body.clone() })?;
        self.back_from(last).await
    }

    async fn get(&self, revision: u64) -> Result<Option<Version>, Unreadable> {
        let version = self.history.get_at(&self.place, revision).await?;
        if version.as_ref().is_some_and(|version| version.entry.version > revision) {
            return Err(CONTRADICTION);
        }
        Ok(version)
    }

    fn take(&mut self, step: Step) -> Result<(), Unreadable> {
        let bytes = step.body.get().len() + size_of::<Step>();
        let taken = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(bytes));
        taken.map_err(|_room| Unreadable::TooMuch)?;
        self.steps.push(step);
        Ok(())
    }
}

const CONTRADICTION: Unreadable = Unreadable::Unsupported("reads at one revision contradict each other");

#[cfg(test)]
mod tests;
