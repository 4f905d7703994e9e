//! Who deleted an object.

use std::sync::Arc;

use reverser_core::{Actor, Attribution, Evidence, Operation, RequestInfo};

use super::{Deleted, Event, Facts, Going, Uid, attribution};

/// How long before a Pod is seen to go its eviction may have been asked for, in seconds. One that a disruption budget refuses
/// leaves the same fact, and is asked for again every few seconds.
const EVICTION_SECONDS: u32 = 10;

impl Facts {
    /// From here on the version is known that was deleted, however long the finalizers take.
    pub(super) fn note_going(&mut self, now: u32, event: &Event<'_>) {
        if !event.is_deletion() || self.going.of(&event.uid).next().is_some() {
            return;
        }
        let definition = self.definition_of(now, event);
        // It was going already, which an earlier run has seen.
        let was_going = event.operation == Operation::Delete && event.is_terminating();
        let replaced = event.replaced.filter(|_| !was_going);
        self.going.push(event.uid, (now, self.learned), Going { replaced, version: event.version, definition });
    }

    /// Returns who made an event that is a deletion.
    pub(super) fn who_deleted(&self, event: &Event<'_>) -> Attribution {
        let deletions = self.causes(event.uid);
        if deletions.is_empty() {
            let evicted = self.who_evicted(event);
            if !evicted.is_empty() {
                return attribution(evicted, Evidence::Admission, RequestInfo::default());
            }
        }
        let (actors, is_cascade) = self.responsible(event.uid, 0);
        let evidence = if is_cascade { Evidence::Cascade } else { Evidence::Admission };
        attribution(actors, evidence, RequestInfo::default())
    }

    /// Returns the requests of which one made an object go: those that found it as it was last.
    pub(super) fn causes(&self, uid: Uid) -> Vec<&Deleted> {
        let going = self.going.of(&uid).next().map(|node| &node.value);
        let replaced = going.and_then(|going| going.replaced).filter(|&version| !self.was_going(uid, version));
        let replaced = replaced.or_else(|| {
            let before = going.map_or(u64::MAX, |going| going.version);
            self.living_versions(uid).filter(|&version| version < before).max()
        });
        self.deletions_of(uid).filter(|deleted| Some(deleted.replaced) == replaced).collect()
    }

    /// Returns whether an object is known to have been going at a version.
    fn was_going(&self, uid: Uid, version: u64) -> bool {
        let writes = self.writes.of(&uid).map(|node| (node.value.is_terminating, node.value.replaced));
        let deletions = self.deletions.of(&uid).chain(self.roots.of(&uid));
        let deletions = deletions.map(|node| (node.value.is_terminating, node.value.replaced));
        writes.chain(deletions).any(|it| it == (true, version))
    }

    fn who_evicted(&self, event: &Event<'_>) -> Vec<&Arc<Actor>> {
        let resource = &event.object.resource;
        let (true, Some(namespace)) = (resource.qualified() == "pods", event.object.namespace.clone()) else {
            return vec![];
        };
        let Some(going) = self.going.of(&event.uid).next() else { return vec![] };
        let in_time = going.at.saturating_sub(EVICTION_SECONDS)..=going.at;
        let evictions = self.evictions.of(&(namespace, event.object.name.clone()));
        let evictions = evictions.filter(|node| in_time.contains(&node.at)).map(|node| &node.value);
        let mine = evictions.filter(|evicted| evicted.took.get().is_none_or(|uid| uid == event.uid));
        mine.inspect(|evicted| evicted.took.set(Some(event.uid))).map(|evicted| &evicted.actor).collect()
    }
}
