//! What is known of requests, in memory, and who made a change by it. Pure: time is a parameter.
//!
//! A fact says that somebody asked for something, not that it was done: the request may be denied by another webhook, lose a race
//! and be reviewed again, or change nothing. What was done is what the watch shows, and a fact joins it only where nothing else
//! can have made the same.

mod actors;
mod cascade;
mod deletion;
mod ring;
mod write;

use std::{cell::Cell, sync::Arc};

use reverser_core::{
    Actor, Attribution, Change, Evidence, Fingerprint, Fingerprinter, ObjectRef, Operation, RequestInfo,
};

use self::{
    actors::Actors,
    ring::{Moment, Ring},
};
use super::fact::{Deed, Deletion, Fact, Root, Uid, Write};

/// How much is kept of what, and how long. What comes when it is full pushes out the oldest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Writes, at most 228 bytes each: a node of 96, and up to four slots of 33 in the map of uids.
    pub(super) writes: usize,
    /// How long a write is kept, in seconds: its event comes within milliseconds, unless the watch has to catch up.
    pub(super) write_seconds: u32,
    /// Deletions, about as large, and the objects that were seen to go, smaller.
    pub(super) deletions: usize,
    /// Deletions of namespaces and of definitions, so that what they take along doesn't push them out.
    pub(super) roots: usize,
    /// How long a deletion is kept, in seconds: an object may wait for its finalizers, what it owns for the garbage collector.
    pub(super) deletion_seconds: u32,
}

/// 15 MiB, 8 MiB and 1 MiB at most: about a minute of 1,000 writes a second, or all of ten minutes of 100.
impl Default for Limits {
    fn default() -> Self {
        Self { writes: 65_536, write_seconds: 600, deletions: 16_384, roots: 2048, deletion_seconds: 3600 }
    }
}

/// Facts, until they are used, too old, or too many.
#[derive(Debug)]
pub(super) struct Facts {
    fingerprinter: Fingerprinter,
    actors: Actors,
    writes: Ring<Uid, Written>,
    deletions: Ring<Uid, Deleted>,
    /// Deletions of namespaces and definitions.
    roots: Ring<Uid, Deleted>,
    /// Whose deletion was asked for by that name; `None`: a definition of that name was created again.
    named: Ring<Root, Option<Uid>>,
    /// By namespace and name of the Pod.
    evictions: Ring<(String, String), Evicted>,
    /// Objects that the watch has shown to go.
    going: Ring<Uid, Going>,
    /// How many requests there were.
    learned: u64,
    dropped: u64,
}

/// A write that was asked for.
#[derive(Debug)]
struct Written {
    /// D1; of a scale the replicas.
    content: u128,
    /// D2; 0: there is none.
    managed: u128,
    replaced: u64,
    actor: Arc<Actor>,
    api_version: u32,
    kind: Kind,
    may_differ: bool,
    is_noop: bool,
    is_terminating: bool,
    /// Whether it is from an earlier run: between it and this one others were missed.
    is_recalled: bool,
    /// Whether it made an event whose replaced version was known: then it made no other.
    has_joined: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Create,
    Scale,
    Update,
}

/// A deletion that was asked for.
#[derive(Debug)]
struct Deleted {
    actor: Arc<Actor>,
    order: u64,
    replaced: u64,
    is_terminating: bool,
    owners: Box<[Uid]>,
    namespace: Option<Box<str>>,
}

/// An eviction that was asked for.
#[derive(Debug)]
struct Evicted {
    actor: Arc<Actor>,
    /// The Pod that went for it: a later one of that name did not.
    took: Cell<Option<Uid>>,
}

/// The first event in which an object was going, or gone.
#[derive(Debug)]
struct Going {
    /// The last version in which nobody had deleted it, if that is known.
    replaced: Option<u64>,
    /// The version of the event.
    version: u64,
    /// The definition whose removal takes it along, unless somebody asked for it.
    definition: Option<Uid>,
}

impl Facts {
    /// Returns none yet.
    pub(super) fn new(fingerprinter: Fingerprinter, limits: Limits) -> Self {
        let Limits { writes, write_seconds, deletions, roots, deletion_seconds } = limits;
        Self {
            fingerprinter,
            actors: Actors::default(),
            writes: Ring::new(writes, write_seconds),
            deletions: Ring::new(deletions, deletion_seconds),
            roots: Ring::new(roots, deletion_seconds),
            named: Ring::new(roots, deletion_seconds),
            evictions: Ring::new(roots, write_seconds),
            going: Ring::new(deletions, deletion_seconds),
            learned: 0,
            dropped: 0,
        }
    }

    /// Takes note of a request that was made at `now`, in seconds since 1970.
    pub(super) fn learn(&mut self, now: u32, fact: &Fact) {
        self.take(now, fact, false);
    }

    /// Takes note of a request of an earlier run, made at `at`.
    pub(super) fn recall(&mut self, at: u32, fact: &Fact) {
        self.take(at, fact, true);
    }

    /// Takes note of a change that the watch shows; of each object in their order.
    pub(super) fn saw(&mut self, now: u32, change: &Change) {
        if let Some(event) = Event::of(change, &self.fingerprinter) {
            self.note_going(now, &event);
        }
    }

    /// Returns who made a change.
    pub(super) fn who(&mut self, now: u32, change: &Change) -> Attribution {
        let Some(event) = Event::of(change, &self.fingerprinter) else { return Attribution::Unknown };
        if event.is_deletion() {
            self.note_going(now, &event);
            self.who_deleted(&event)
        } else {
            self.who_wrote(&event)
        }
    }

    /// Forgets what is too old.
    pub(super) fn age(&mut self, now: u32) {
        self.writes.age(now);
        self.deletions.age(now);
        self.roots.age(now);
        self.named.age(now);
        self.evictions.age(now);
        self.going.age(now);
    }

    /// Returns how many requests are known that may still join a change.
    pub(super) fn len(&self) -> usize {
        self.writes.len() + self.deletions.len() + self.roots.len() + self.evictions.len()
    }

    /// Returns how many were pushed out by others before anything joined them.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn take(&mut self, at: u32, fact: &Fact, is_recalled: bool) {
        let actor = self.actors.intern(&fact.actor);
        self.learned += 1;
        let at = (at, self.learned);
        let is_lost = match &fact.deed {
            Deed::Create(write) => {
                if let Some(name) = &write.defines {
                    self.named.push(Root::Definition(name.clone()), at, None);
                }
                self.take_write(at, actor, Kind::Create, write, is_recalled)
            }
            Deed::Update(write) => self.take_write(at, actor, Kind::Update, write, is_recalled),
            Deed::Scale(write) => self.take_write(at, actor, Kind::Scale, write, is_recalled),
            Deed::Delete(deletion) => self.take_deletion(at, actor, deletion),
            Deed::Evict { namespace, name } => {
                let evicted = Evicted { actor, took: Cell::new(None) };
                let out = self.evictions.push((namespace.clone(), name.clone()), at, evicted);
                out.is_some_and(|(_, evicted)| evicted.took.get().is_none())
            }
        };
        // The file of facts goes back further than memory does.
        self.dropped += u64::from(is_lost && !is_recalled);
    }

    /// Returns whether another one had to go that nothing had joined.
    fn take_write(&mut self, at: Moment, actor: Arc<Actor>, kind: Kind, write: &Write, is_recalled: bool) -> bool {
        let written = Written {
            content: write.content,
            managed: write.managed.unwrap_or_default(),
            replaced: write.replaced,
            actor,
            api_version: write.api_version,
            kind,
            may_differ: write.may_differ,
            is_noop: write.is_noop,
            is_terminating: write.is_terminating,
            is_recalled,
            has_joined: Cell::new(false),
        };
        let out = self.writes.push(write.uid, at, written);
        out.is_some_and(|(_, out)| !out.has_joined.get() && !out.is_noop)
    }

    fn take_deletion(&mut self, at: Moment, actor: Arc<Actor>, deletion: &Deletion) -> bool {
        let deleted = Deleted {
            actor,
            order: at.1,
            replaced: deletion.replaced,
            is_terminating: deletion.is_terminating,
            owners: deletion.owners.clone().into(),
            namespace: deletion.namespace.as_deref().map(Into::into),
        };
        let out = match &deletion.takes_along {
            None => self.deletions.push(deletion.uid, at, deleted),
            Some(root) => {
                self.named.push(root.clone(), at, Some(deletion.uid));
                self.roots.push(deletion.uid, at, deleted)
            }
        };
        out.is_some_and(|(uid, _)| self.going.of(&uid).next().is_none())
    }

    /// Returns the versions of an object that are known to have been there before anybody deleted it, other than by events.
    fn living_versions(&self, uid: Uid) -> impl Iterator<Item = u64> {
        let written = self.writes.of(&uid).map(|node| &node.value).filter(|written| !written.is_terminating);
        let deleted = self.deletions_of(uid).map(|deleted| deleted.replaced);
        written.map(|written| written.replaced).chain(deleted)
    }

    /// Returns the deletions that were asked for while the object wasn't going yet, the newest first.
    fn deletions_of(&self, uid: Uid) -> impl Iterator<Item = &Deleted> {
        let nodes = self.deletions.of(&uid).chain(self.roots.of(&uid));
        nodes.map(|node| &node.value).filter(|deleted| !deleted.is_terminating)
    }
}

/// What a change says that joins it with requests.
#[derive(Clone, Copy, Debug)]
struct Event<'a> {
    object: &'a ObjectRef,
    operation: Operation,
    uid: Uid,
    /// The version that it made.
    version: u64,
    /// The version before it.
    replaced: Option<u64>,
    fingerprint: Option<&'a Fingerprint>,
}

impl<'a> Event<'a> {
    fn of(change: &'a Change, fingerprinter: &Fingerprinter) -> Option<Self> {
        let replaced = match &change.replaced {
            Some(version) => Some(version.parse().ok()?),
            None => None,
        };
        Some(Self {
            object: &change.object,
            operation: change.operation,
            uid: Uid::of(change.object.uid.as_deref()?, fingerprinter),
            version: change.resource_version.as_deref()?.parse().ok()?,
            replaced,
            fingerprint: change.fingerprint.as_deref(),
        })
    }

    /// Returns whether the object is gone, or waits for its finalizers: whatever is written then, the deletion is the change.
    fn is_deletion(&self) -> bool {
        self.operation == Operation::Delete || self.is_terminating()
    }

    fn is_terminating(&self) -> bool {
        self.fingerprint.is_some_and(|fingerprint| fingerprint.is_terminating)
    }
}

/// Returns that it was one of `actors`, or nobody that is known.
fn attribution<'a>(actors: impl IntoIterator<Item = &'a Arc<Actor>>, how: Evidence, info: RequestInfo) -> Attribution {
    let mut actors: Vec<&Actor> = actors.into_iter().map(|actor| &**actor).collect();
    actors.sort_by(|a, b| a.name.cmp(&b.name));
    actors.dedup();
    match actors[..] {
        [] => Attribution::Unknown,
        [actor] => Attribution::Known { actor: actor.clone(), evidence: how, request: Box::new(info) },
        _ => Attribution::Ambiguous(actors.into_iter().cloned().collect()),
    }
}

#[cfg(test)]
mod tests;
