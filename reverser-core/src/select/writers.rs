//! Which field manager made a change: to name it, or to leave the change out, such as that of a GitOps tool that applies
//! what Git says.
//!
//! Managed fields tell the time of each manager's last write, in whole seconds, and not which write an event is about: one
//! that only removes something leaves no trace there. So an event is a manager's only when it shows a later write than the
//! version before it did, and nobody else wrote in that second. Whatever is less certain is recorded, and nobody's.
//!
//! Source: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>, and
//! `ManagedFieldsEntry.time` in the API reference.

use std::{collections::HashMap, hash::RandomState};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Glob;
use crate::{Change, ObjectRef, Operation};

/// How many objects are remembered, about 40 bytes each. Beyond it all are forgotten, and the next change of each has to be
/// [`RECENT`] to be somebody's.
const OBJECTS: usize = 100_000;

/// How old a write may be that an event is about when the version before it wasn't seen: the time is in whole seconds, and
/// the event takes a moment.
const RECENT: SignedDuration = SignedDuration::from_secs(3);

/// The manager that the API server names where a client says nothing of itself.
const NAMELESS: &str = "unknown";

/// Tells which field managers made changes, and which of these are ignored.
///
/// ```
/// use reverser_core::{Change, Glob, Made, ObjectRef, Operation, Resource, Writers};
/// use serde_json::json;
///
/// let configmaps = std::sync::Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps"));
/// let update = |manager: &str, time: &str| {
///     let body = json!({"metadata": {"name": "web", "managedFields": [{"manager": manager, "time": time}]}});
///     Change::new(ObjectRef::of(&configmaps, &body).expect("it has a name"), Operation::Update, Some(body))
/// };
/// let mut writers = Writers::new([Glob::new("kustomize-*")]);
/// let now = "2026-11-27T08:00:09Z".parse()?;
/// let edit = update("kubectl-edit", "2026-11-27T08:00:01Z");
/// assert_eq!(writers.made(&edit, now), Made::default(), "the version before it wasn't seen");
/// let edit = update("kubectl-edit", "2026-11-27T08:00:03Z");
/// assert_eq!(writers.made(&edit, now), Made { is_ignored: false, manager: Some("kubectl-edit") });
/// let apply = update("kustomize-controller", "2026-11-27T08:00:05Z");
/// assert_eq!(writers.made(&apply, now), Made { is_ignored: true, manager: Some("kustomize-controller") });
/// assert_eq!(writers.made(&apply, now), Made::default(), "somebody removed something");
/// # Ok::<(), jiff::Error>(())
/// ```
#[derive(Debug)]
pub struct Writers {
    ignored: Vec<Glob>,
    /// When each object was last written, by the digest of what names it.
    last: HashMap<u64, Timestamp>,
    hasher: RandomState,
}

/// What managed fields tell of who made a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made<'a> {
    /// Whether it was an ignored manager, for certain.
    pub is_ignored: bool,
    /// Which manager it was, where it can only have been that one.
    pub manager: Option<&'a str>,
}

impl Writers {
    /// Returns one that ignores the managers that one of these globs matches; none: nobody.
    pub fn new(ignored: impl IntoIterator<Item = Glob>) -> Self {
        Self { ignored: ignored.into_iter().collect(), last: HashMap::new(), hasher: RandomState::new() }
    }

    /// Takes note of the version that a list shows of an object.
    pub fn listed(&mut self, object: &ObjectRef, body: &Value) {
        if let Some(write) = LastWrite::of(body) {
            self.remember(object, write.at);
        }
    }

    /// Returns what tells who made `change`; takes note of it. The changes of an object have to come in their order. Nothing
    /// of deletions: managed fields don't tell who deleted. `now` is the time at which it came.
    pub fn made<'a>(&mut self, change: &'a Change, now: Timestamp) -> Made<'a> {
        let Some(body) = &change.body else { return Made::default() };
        if change.operation == Operation::Delete {
            let key = self.key(&change.object);
            self.last.remove(&key);
            return Made::default();
        }
        let Some(write) = LastWrite::of(body) else { return Made::default() };
        let before = self.remember(&change.object, write.at);
        if !body["metadata"]["deletionTimestamp"].is_null() {
            return Made::default();
        }
        let (is_this_write, is_certain) = match before {
            // A list may show an object that is new to us, and that others have written since.
            _ if change.operation == Operation::Create => (true, write.is_first),
            Some(before) => (write.at > before, write.at > before),
            None => (now.duration_since(write.at).abs() <= RECENT, false),
        };
        let is_ignored = |by: &&str| self.ignored.iter().any(|glob| glob.matches(by));
        Made {
            is_ignored: is_this_write && write.managers.iter().all(is_ignored),
            manager: write.only().filter(|by| is_certain && *by != NAMELESS),
        }
    }

    /// Returns when the object was written last before that, as far as it was seen.
    fn remember(&mut self, object: &ObjectRef, at: Timestamp) -> Option<Timestamp> {
        let key = self.key(object);
        if self.last.len() >= OBJECTS && !self.last.contains_key(&key) {
            self.last.clear();
        }
        self.last.insert(key, at)
    }

    fn key(&self, object: &ObjectRef) -> u64 {
        object.digest(&self.hasher)
    }
}

/// Who wrote an object last, other than its status.
struct LastWrite<'a> {
    at: Timestamp,
    /// All who did in that second.
    managers: Vec<&'a str>,
    /// Whether nobody had written it before.
    is_first: bool,
}

impl<'a> LastWrite<'a> {
    /// `None` where managed fields don't tell.
    fn of(body: &'a Value) -> Option<Self> {
        let entries = body["metadata"]["managedFields"].as_array()?;
        let authors = entries.iter().filter(|entry| entry["subresource"] != "status");
        // What was there before an object's first apply has no time.
        let timed: Vec<(Timestamp, &str)> = authors
            .clone()
            .filter_map(|entry| Some((entry["time"].as_str()?.parse().ok()?, entry["manager"].as_str()?)))
            .collect();
        let at = timed.iter().map(|(at, _)| *at).max()?;
        let managers: Vec<_> = timed.iter().filter(|(other, _)| *other == at).map(|(_, by)| *by).collect();
        Some(Self { at, is_first: managers.len() == authors.count(), managers })
    }

    /// Returns who it was, unless it may have been another.
    fn only(&self) -> Option<&'a str> {
        let first = *self.managers.first()?;
        self.managers.iter().all(|by| *by == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::Resource;

    const FLUX: &str = "kustomize-controller";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000 + second).unwrap()
    }

    /// `writes`: manager, subresource, second.
    fn body(writes: &[(&str, &str, i64)]) -> Value {
        let entry = |(by, of, second): &(&str, &str, i64)| json!({"manager": by, "subresource": of, "time": at(*second).to_string()});
        let entries: Vec<_> = writes.iter().map(entry).collect();
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "1", "managedFields": entries}})
    }

    fn change(operation: Operation, body: Value) -> Change {
        let resource = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps"));
        Change::new(ObjectRef::of(&resource, &body).unwrap(), operation, Some(body))
    }

    fn update(writes: &[(&str, &str, i64)]) -> Change {
        change(Operation::Update, body(writes))
    }

    fn flux() -> Writers {
        Writers::new([Glob::new("kustomize-*"), Glob::new("argocd-controller")])
    }

    #[test]
    fn the_last_writer_counts_and_the_status_does_not() {
        let mut writers = flux();
        let create = change(Operation::Create, body(&[(FLUX, "", 1)]));
        assert!(writers.made(&create, at(1)).is_ignored);
        for (writes, is_ignored) in [
            (&[(FLUX, "", 1), ("kubectl-edit", "", 5)][..], false),
            (&[(FLUX, "", 7), ("kubectl-edit", "", 5)], true),
            (&[(FLUX, "", 7), ("kubectl-edit", "", 5), ("web-controller", "status", 8)], false),
            (&[(FLUX, "", 7), ("kubectl", "scale", 9), ("web-controller", "status", 8)], false),
            (&[(FLUX, "", 10), ("argocd-controller", "", 10)], true),
        ] {
            assert_eq!(writers.made(&update(writes), at(10)).is_ignored, is_ignored, "{writes:?}");
        }
    }

    #[test]
    fn what_is_not_certain_is_not_ignored() {
        let mut writers = flux();
        writers.listed(&update(&[]).object, &body(&[(FLUX, "", 1)]));
        assert!(!writers.made(&update(&[(FLUX, "", 1)]), at(2)).is_ignored, "a removal by nobody knows whom");
        assert!(!writers.made(&update(&[(FLUX, "", 5), ("kubectl", "", 5)]), at(5)).is_ignored, "in the same second");
        assert!(!writers.made(&update(&[]), at(6)).is_ignored, "no managed fields");
        let untimed = json!({"metadata": {"name": "web", "managedFields": [{"manager": FLUX}]}});
        assert!(!writers.made(&change(Operation::Update, untimed), at(6)).is_ignored);
        assert!(!flux().made(&update(&[(FLUX, "", 1)]), at(9)).is_ignored, "the version before it wasn't seen");
        assert!(flux().made(&update(&[(FLUX, "", 8)]), at(9)).is_ignored, "but this write was just made");
    }

    #[test]
    fn a_deletion_is_never_ignored() {
        let mut writers = flux();
        let mut dying = body(&[(FLUX, "", 1)]);
        assert!(!writers.made(&change(Operation::Delete, dying.clone()), at(1)).is_ignored);
        dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert!(!flux().made(&change(Operation::Update, dying), at(1)).is_ignored);
    }

    #[test]
    fn a_later_object_of_the_name_is_another_one() {
        let mut writers = flux();
        assert!(!writers.made(&update(&[("kubectl", "", 9)]), at(9)).is_ignored);
        let mut other = body(&[(FLUX, "", 9)]);
        other["metadata"]["uid"] = "2".into();
        assert!(writers.made(&change(Operation::Create, other), at(9)).is_ignored);
    }

    #[test]
    fn the_manager_is_named_whose_write_this_must_be() {
        let mut writers = Writers::new([]);
        let create = change(Operation::Create, body(&[("kubectl", "", 1)]));
        assert_eq!(writers.made(&create, at(1)).manager, Some("kubectl"));
        for (writes, manager) in [
            (&[("kubectl", "", 1), ("web-controller", "status", 2)][..], None),
            (&[("kubectl", "", 1), ("kubectl-edit", "", 3)], Some("kubectl-edit")),
            (&[("kubectl", "", 1), ("kubectl-edit", "", 3)], None),
            (&[("kubectl", "", 1), ("kubectl-edit", "", 5), ("helm", "", 5)], None),
            (&[("kubectl", "", 6), ("kubectl", "scale", 6), ("helm", "", 5)], Some("kubectl")),
            (&[("unknown", "", 8)], None),
        ] {
            assert_eq!(writers.made(&update(writes), at(9)).manager, manager, "{writes:?}");
        }
        let delete = change(Operation::Delete, body(&[("kubectl", "", 9)]));
        assert_eq!(writers.made(&delete, at(9)).manager, None);
    }

    #[test]
    fn nobody_is_named_where_what_was_before_is_not_known() {
        assert_eq!(flux().made(&update(&[(FLUX, "", 9)]), at(9)).manager, None, "not seen");
        let listed_late = change(Operation::Create, body(&[("kubectl", "", 1), ("helm", "", 9)]));
        assert_eq!(flux().made(&listed_late, at(9)).manager, None, "two wrote it since nobody had");
    }
}
