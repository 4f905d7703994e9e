//! Why a change was made, as annotations of its object say it.
//!
//! An annotation stands there until somebody takes it away, and each later change shows it, too. So a reason is told once, with
//! the first change of the object's file since it was set: by the same write, or by the one after `kubectl annotate`.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use serde_json::Value;

use crate::{Change, ObjectRef, Operation, Resource, message::clean};

/// The annotation that says why the object is changed. It isn't stored in the object's file.
pub const REASON: &str = "configbutler.ai/reason";

/// The annotation that `kubectl rollout history` shows. It stays where it is.
/// <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#checking-rollout-history-of-a-deployment>
pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// How many objects with such annotations are remembered, about 60 bytes each. Beyond it all are forgotten, and count as
/// never seen.
const OBJECTS: usize = 100_000;

/// In bytes, of each: more than anybody writes as a reason, and little beside the object that is in memory with it.
const MAX_BYTES: usize = 16 * 1024;

/// What the annotations of an object say, be it about its last change or about an earlier one.
///
/// ```
/// use reverser_core::reason::Annotated;
/// use serde_json::json;
///
/// let object = json!({"metadata": {"annotations": {"configbutler.ai/reason": "Black Friday"}}});
/// assert!(!Annotated::of(&object).is_empty());
/// assert!(Annotated::of(&json!({"metadata": {"annotations": {"team": "shop"}}})).is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotated {
    /// By [`REASON`] and [`CHANGE_CAUSE`].
    texts: [Option<Given>; 2],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    text: String,
    /// Managed fields don't show a later write by somebody else than whoever set it.
    may_be_of_last_write: bool,
}

impl Annotated {
    /// Returns what an object's annotations say, each up to 16 KiB.
    pub fn of(object: &Value) -> Self {
        let annotations = &object["metadata"]["annotations"];
        let given = |key: &str| {
            let text = annotations[key].as_str()?.trim();
            let is_said = text.chars().any(|c| !c.is_whitespace() && !c.is_control());
            is_said.then(|| Given {
                text: clean::bounded(text, MAX_BYTES),
                may_be_of_last_write: may_be_of_last_write(object, key),
            })
        };
        Self { texts: [REASON, CHANGE_CAUSE].map(given) }
    }

    /// Returns how many bytes they have.
    pub fn bytes(&self) -> usize {
        self.texts.iter().flatten().map(|given| given.text.len()).sum()
    }

    /// Returns whether they say nothing.
    pub fn is_empty(&self) -> bool {
        self.texts.iter().all(Option::is_none)
    }
}

/// Tells which reasons are those of a change.
///
/// For each change, in the order in which they happened: [`saw`](Self::saw), then [`tell`](Self::tell) when it is written and
/// [`leave_out`](Self::leave_out) when it isn't although the file would change.
///
/// ```
/// use std::sync::Arc;
///
/// use reverser_core::{Change, ObjectRef, Operation, Reasons, Resource, reason::Annotated};
/// use serde_json::json;
///
/// let configmaps = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps"));
/// let change = |operation, reason: &str| {
///     let body = json!({"metadata": {"name": "web", "annotations": {"configbutler.ai/reason": reason}}});
///     let object = ObjectRef::of(&configmaps, &body).expect("it has a name");
///     Change { annotated: Some(Annotated::of(&body)), ..Change::new(object, operation, None) }
/// };
/// let mut reasons = Reasons::default();
/// let mut told = |mut change: Change| {
///     reasons.saw(&change);
///     reasons.tell(&mut change);
///     change.reason
/// };
/// assert_eq!(told(change(Operation::Create, "Black Friday")).as_deref(), Some("Black Friday"));
/// assert_eq!(told(change(Operation::Update, "Black Friday")), None, "it still stands there");
/// assert_eq!(told(change(Operation::Update, "It is over")).as_deref(), Some("It is over"));
/// ```
#[derive(Debug, Default)]
pub struct Reasons {
    known: HashMap<u64, [Option<Standing>; 2]>,
    /// Resources, by group, plural and namespace, of which a list has shown all objects that there are: what isn't known
    /// since has been set since.
    listed: HashSet<(String, String, Option<String>)>,
    hasher: RandomState,
}

/// An annotation that stands there.
#[derive(Clone, Copy, Debug)]
struct Standing {
    digest: u64,
    is_told: bool,
}

impl Reasons {
    /// Takes note of what a complete list shows: it was set earlier.
    pub fn listed<'a>(
        &mut self,
        resource: &Resource,
        namespace: Option<&str>,
        objects: impl IntoIterator<Item = (&'a ObjectRef, &'a Annotated)>,
    ) {
        let scope = (resource.group.clone(), resource.plural.clone(), namespace.map(str::to_owned));
        self.listed.insert(scope);
        for (object, annotated) in objects {
            let standing = |given: &Option<Given>| given.as_ref().map(|given| self.standing(given, true));
            let standing = annotated.texts.each_ref().map(standing);
            self.remember(object, standing);
        }
    }

    /// Takes note of a change, also of one that changes no file.
    pub fn saw(&mut self, change: &Change) {
        let Some(annotated) = &change.annotated else { return };
        if annotated.is_empty() {
            // As it is with nearly all.
            return self.remember(&change.object, [None; 2]);
        }
        let before = self.known.get(&self.key(&change.object)).copied();
        let is_known = before.is_some() || change.operation == Operation::Create || self.is_listed(&change.object);
        let [before_reason, before_cause] = before.unwrap_or_default();
        let [reason, cause] = &annotated.texts;
        let stands = |before: Option<Standing>, given: &Option<Given>| {
            let given = given.as_ref()?;
            let now = self.standing(given, !is_known && !given.may_be_of_last_write);
            Some(before.filter(|before| before.digest == now.digest).unwrap_or(now))
        };
        let standing = [stands(before_reason, reason), stands(before_cause, cause)];
        self.remember(&change.object, standing);
    }

    /// Gives a change that is written the reasons that weren't told, each as a paragraph; [`REASON`] comes first. One that the
    /// change has already wins.
    pub fn tell(&mut self, change: &mut Change) {
        let Some(mut annotated) = change.annotated.take() else { return };
        let key = self.key(&change.object);
        let known = self.known.get_mut(&key);
        for (given, standing) in annotated.texts.iter_mut().zip(known.into_iter().flatten()) {
            match standing {
                Some(standing) if !standing.is_told => standing.is_told = true,
                _ => *given = None,
            }
        }
        let texts: Vec<_> = annotated.texts.iter().flatten().map(|given| given.text.as_str()).collect();
        let is_said = |reason: &String| !reason.trim().is_empty();
        if !texts.is_empty() && !change.reason.as_ref().is_some_and(is_said) {
            change.reason = Some(texts.join("\n\n"));
        }
        change.annotated = Some(annotated);
    }

    /// Takes back what was told with a change: it has made no commit after all.
    pub fn untell(&mut self, change: &Change) {
        let Some(annotated) = &change.annotated else { return };
        let told = annotated.texts.each_ref().map(|given| given.as_ref().map(|given| self.digest(&given.text)));
        let key = self.key(&change.object);
        for (told, standing) in told.into_iter().zip(self.known.get_mut(&key).into_iter().flatten()) {
            if let Some(standing) = standing.as_mut().filter(|standing| Some(standing.digest) == told) {
                standing.is_told = false;
            }
        }
    }

    /// Takes note of a change that would have been written, and isn't: its reasons aren't those of a later one.
    pub fn leave_out(&mut self, change: &Change) {
        let key = self.key(&change.object);
        for standing in self.known.get_mut(&key).into_iter().flatten().flatten() {
            standing.is_told = true;
        }
    }

    /// Without any such annotation nothing is remembered.
    fn remember(&mut self, object: &ObjectRef, standing: [Option<Standing>; 2]) {
        let key = self.key(object);
        if standing.iter().all(Option::is_none) {
            self.known.remove(&key);
            return;
        }
        if self.known.len() >= OBJECTS && !self.known.contains_key(&key) {
            self.known.clear();
            self.listed.clear();
        }
        self.known.insert(key, standing);
    }

    fn is_listed(&self, object: &ObjectRef) -> bool {
        let scope = |namespace| (object.resource.group.clone(), object.resource.plural.clone(), namespace);
        !self.listed.is_empty()
            && (self.listed.contains(&scope(None)) || self.listed.contains(&scope(object.namespace.clone())))
    }

    fn standing(&self, given: &Given, is_told: bool) -> Standing {
        Standing { digest: self.digest(&given.text), is_told }
    }

    fn digest(&self, text: &str) -> u64 {
        self.hasher.hash_one(text)
    }

    fn key(&self, object: &ObjectRef) -> u64 {
        object.digest(&self.hasher)
    }
}

/// Returns whether whoever has set the annotation was, as far as managed fields show, the last to write. They have a time for
/// each manager, of its last write: a later one of another manager is a later change. Without them it may be.
fn may_be_of_last_write(object: &Value, annotation: &str) -> bool {
    let entries = object["metadata"]["managedFields"].as_array();
    let field = format!("f:{annotation}");
    let authors = entries.into_iter().flatten().filter(|entry| entry["subresource"] != "status");
    // RFC 3339 in UTC, in whole seconds: in the order of its text.
    let timed: Vec<_> = authors
        .filter_map(|entry| {
            let owns = !entry["fieldsV1"]["f:metadata"]["f:annotations"][&field].is_null();
            Some((entry["time"].as_str()?, owns))
        })
        .collect();
    let last = timed.iter().map(|(time, _)| *time).max();
    let set = timed.iter().filter(|(_, owns)| *owns).map(|(time, _)| *time).max();
    set.is_none() || set == last
}

#[cfg(test)]
mod tests;
