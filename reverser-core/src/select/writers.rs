//! Which changes are left out since a field manager made them, such as a GitOps tool that applies what Git says.
//!
//! Managed fields tell the time of each manager's last write, in whole seconds, and not which write an event is about: one
//! that only removes something leaves no trace there. So an event is an ignored manager's only when it shows a later write
//! than the version before it did, and nobody else wrote in that second. Whatever is less certain is recorded.
//!
//! Source: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>, and
//! `ManagedFieldsEntry.time` in the API reference.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

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

/// Tells the changes that field managers made whose changes are ignored.
///
/// ```
/// use reverser_core::{Change, Glob, ObjectRef, Operation, Resource, Writers};
/// use serde_json::json;
///
/// let configmaps = std::sync::Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps"));
/// let update = |manager: &str, time: &str| {
///     let body = json!({"metadata": {"name": "web", "managedFields": [{"manager": manager, "time": time}]}});
///     Change::new(ObjectRef::of(&configmaps, &body).expect("it has a name"), Operation::Update, Some(body))
/// };
/// let mut writers = Writers::new([Glob::new("kustomize-*")]);
/// let now = "2026-11-27T08:00:09Z".parse()?;
/// assert!(!writers.ignores(&update("kubectl-edit", "2026-11-27T08:00:01Z"), now));
/// assert!(writers.ignores(&update("kustomize-controller", "2026-11-27T08:00:05Z"), now));
/// assert!(!writers.ignores(&update("kustomize-controller", "2026-11-27T08:00:05Z"), now), "somebody removed something");
/// # Ok::<(), jiff::Error>(())
/// ```
#[derive(Debug)]
pub struct Writers {
    ignored: Vec<Glob>,
    /// When each object was last written, by the digest of what names it.
    last: HashMap<u64, Timestamp>,
    hasher: RandomState,
}

impl Writers {
    /// Returns one that ignores the managers that one of these globs matches; none: nobody, and nothing is remembered.
    pub fn new(ignored: impl IntoIterator<Item = Glob>) -> Self {
        Self { ignored: ignored.into_iter().collect(), last: HashMap::new(), hasher: RandomState::new() }
    }

    /// Takes note of the version that a list shows of an object.
    pub fn listed(&mut self, object: &ObjectRef, body: &Value) {
        if !self.ignored.is_empty()
            && let Some(write) = LastWrite::of(body)
        {
            self.remember(object, write.at);
        }
    }

    /// Returns whether an ignored manager made `change`, for certain; takes note of it. The changes of an object have to
    /// come in their order. Never of deletions: managed fields don't tell who deleted. `now` is the time at which it came.
    pub fn ignores(&mut self, change: &Change, now: Timestamp) -> bool {
        let Some(body) = change.body.as_ref().filter(|_| !self.ignored.is_empty()) else { return false };
        let Some(write) = LastWrite::of(body) else { return false };
        let before = self.remember(&change.object, write.at);
        let is_deletion = change.operation == Operation::Delete || !body["metadata"]["deletionTimestamp"].is_null();
        let is_this_write = match before {
            _ if change.operation == Operation::Create => true,
            Some(before) => write.at > before,
            None => now.duration_since(write.at).abs() <= RECENT,
        };
        !is_deletion
            && is_this_write
            && write.managers.iter().all(|by| self.ignored.iter().any(|glob| glob.matches(by)))
    }

    /// Returns when the object was written last before that, as far as it was seen.
    fn remember(&mut self, object: &ObjectRef, at: Timestamp) -> Option<Timestamp> {
        let ObjectRef { resource, namespace, name, uid } = object;
        let key = self.hasher.hash_one((&resource.group, &resource.plural, namespace, name, uid));
        if self.last.len() >= OBJECTS && !self.last.contains_key(&key) {
            self.last.clear();
        }
        self.last.insert(key, at)
    }
}

/// Who wrote an object last, other than its status.
struct LastWrite<'a> {
    at: Timestamp,
    /// All who did in that second.
    managers: Vec<&'a str>,
}

impl<'a> LastWrite<'a> {
    /// `None` where managed fields don't tell.
    fn of(body: &'a Value) -> Option<Self> {
        let entries = body["metadata"]["managedFields"].as_array()?;
        let authors = entries.iter().filter(|entry| entry["subresource"] != "status");
        // What was there before an object's first apply has no time.
        let timed: Vec<(Timestamp, &str)> = authors
            .filter_map(|entry| Some((entry["time"].as_str()?.parse().ok()?, entry["manager"].as_str()?)))
            .collect();
        let at = timed.iter().map(|(at, _)| *at).max()?;
        Some(Self { at, managers: timed.iter().filter(|(other, _)| *other == at).map(|(_, by)| *by).collect() })
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
        assert!(writers.ignores(&create, at(1)));
        for (writes, is_ignored) in [
            (&[(FLUX, "", 1), ("kubectl-edit", "", 5)][..], false),
            (&[(FLUX, "", 7), ("kubectl-edit", "", 5)], true),
            (&[(FLUX, "", 7), ("kubectl-edit", "", 5), ("web-controller", "status", 8)], false),
            (&[(FLUX, "", 7), ("kubectl", "scale", 9), ("web-controller", "status", 8)], false),
            (&[(FLUX, "", 10), ("argocd-controller", "", 10)], true),
        ] {
            assert_eq!(writers.ignores(&update(writes), at(10)), is_ignored, "{writes:?}");
        }
    }

    #[test]
    fn what_is_not_certain_is_not_ignored() {
        let mut writers = flux();
        writers.listed(&update(&[]).object, &body(&[(FLUX, "", 1)]));
        assert!(!writers.ignores(&update(&[(FLUX, "", 1)]), at(2)), "a removal by nobody knows whom");
        assert!(!writers.ignores(&update(&[(FLUX, "", 5), ("kubectl", "", 5)]), at(5)), "in the same second");
        assert!(!writers.ignores(&update(&[]), at(6)), "no managed fields");
        let untimed = json!({"metadata": {"name": "web", "managedFields": [{"manager": FLUX}]}});
        assert!(!writers.ignores(&change(Operation::Update, untimed), at(6)));
        assert!(!flux().ignores(&update(&[(FLUX, "", 1)]), at(9)), "the version before it wasn't seen");
        assert!(flux().ignores(&update(&[(FLUX, "", 8)]), at(9)), "but this write was just made");
    }

    #[test]
    fn a_deletion_is_never_ignored() {
        let mut writers = flux();
        let mut dying = body(&[(FLUX, "", 1)]);
        assert!(!writers.ignores(&change(Operation::Delete, dying.clone()), at(1)));
        dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert!(!flux().ignores(&change(Operation::Update, dying), at(1)));
    }

    #[test]
    fn a_later_object_of_the_name_is_another_one() {
        let mut writers = flux();
        assert!(!writers.ignores(&update(&[("kubectl", "", 9)]), at(9)));
        let mut other = body(&[(FLUX, "", 9)]);
        other["metadata"]["uid"] = "2".into();
        assert!(writers.ignores(&change(Operation::Create, other), at(9)));
    }

    #[test]
    fn nothing_is_remembered_when_nobody_is_ignored() {
        let mut writers = Writers::new([]);
        assert!(!writers.ignores(&update(&[(FLUX, "", 9)]), at(9)));
        assert!(writers.last.is_empty());
    }
}
