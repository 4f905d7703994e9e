//! What one audit event tells of who wrote which version of which object, or deleted it.
//!
//! What an answer has, and what follows from it, by the level of the audit policy (kube-apiserver 1.36):
//!
//! | request | `RequestResponse` | `Metadata`, `Request` |
//! |---|---|---|
//! | create | uid and version | the name, unless it was generated |
//! | update | uid and version | uid and the version that was replaced, if it was named |
//! | patch | uid and version | the name alone: nothing follows |
//! | scale | the parent's uid and version, no managers | as update and patch |
//! | delete | uid; of what goes on to exist its version and deletionTimestamp too | the name alone: nothing follows |
//! | deletecollection | a list of what there was | nothing |
//! | eviction | nothing but that it was accepted | the same |
//!
//! A request that changes nothing is answered like one that does, with a version that somebody else wrote.

use std::sync::Arc;

use jiff::Timestamp;
use reverser_core::{Actor, ObjectRef, RequestInfo};

use super::{
    AuditEvent, AuditRef,
    answer::{Answer, Mark, sent_version},
};

/// What a fact is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// By uid.
    Object(String),
    /// By name, where no uid is known, or somebody looks for it by name.
    Place(Place),
}

/// Where an object stands, whichever it is at the time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) group: String,
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl Place {
    pub(super) fn of(object: &ObjectRef) -> Self {
        let (group, plural) = (object.resource.group.clone(), object.resource.plural.clone());
        Self { group, plural, namespace: object.namespace.clone(), name: object.name.clone() }
    }

    pub(super) fn of_namespace(name: &str) -> Self {
        Self { group: String::new(), plural: "namespaces".into(), namespace: None, name: name.into() }
    }

    /// Returns the place of what defines a custom resource.
    pub(super) fn of_definition(group: &str, plural: &str) -> Self {
        let name = format!("{plural}.{group}");
        Self { group: DEFINITIONS.0.into(), plural: DEFINITIONS.1.into(), namespace: None, name }
    }

    fn of_reference(reference: &AuditRef) -> Option<Self> {
        let AuditRef { api_group: group, resource: plural, .. } = reference.clone();
        let name = reference.name.clone().filter(|name| !name.is_empty())?;
        // The server takes `/api/v1/namespaces/NAME` for something in that namespace.
        let is_namespace = group.is_empty() && plural == "namespaces";
        let namespace = reference.namespace.clone().filter(|namespace| !is_namespace && !namespace.is_empty());
        Some(Self { group, plural, namespace, name })
    }

    /// Returns whether others are deleted along with it without naming it.
    fn takes_others_along(&self) -> bool {
        (self.group.is_empty() && self.plural == "namespaces") || (&*self.group, &*self.plural) == DEFINITIONS
    }
}

const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

/// Something that follows from an event.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    /// An object of this name was created.
    Created(Arc<Request>),
    /// The object was deleted, or its deletion began.
    Deleted { how: Deletion, by: Arc<Request> },
    /// A pod of this name was evicted.
    Evicted(Arc<Request>),
    /// An object of this name, with this uid, was deleted.
    Named { uid: String },
    /// The object belongs to those with these uids.
    Owned { owners: Vec<String> },
    /// This version of the object was replaced, unless the request changed nothing.
    Replaced { version: u64, by: Arc<Request> },
    /// The answer had this version of the object.
    Written { version: u64, proof: Proof, newest: Option<i64>, by: Arc<Request> },
}

/// How a deletion was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    /// The object is no more.
    Gone,
    /// It was there when all that there was was deleted; somebody else may have been faster.
    Listed,
    /// This version of it has a deletionTimestamp, which is of the time of this request.
    Marked { version: u64 },
}

/// How far an answer proves that its request wrote the version in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It created the object.
    Created,
    /// It named the version that it replaced, and was answered with another one.
    Replaced,
    /// It changed nothing.
    Nothing,
    /// Its manager was at work on the object while the request was under way. Times of managers are whole seconds.
    Touched,
    /// The answer doesn't show it. What only removes something leaves no mark of its manager; nor does a scaling, mostly.
    Unshown { may_be_unmarked: bool },
}

/// A request that was accepted.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) actor: Actor,
    pub(super) info: RequestInfo,
    manager: Option<String>,
    subresource: String,
    pub(super) received: Option<Timestamp>,
    pub(super) completed: Option<Timestamp>,
}

impl Request {
    fn of(event: &AuditEvent) -> Self {
        Self {
            actor: event.actor(),
            info: event.request_info(),
            manager: event.manager().map(str::to_owned),
            subresource: event.object_ref.as_ref().map_or_else(String::new, |reference| reference.subresource.clone()),
            received: event.request_received_timestamp,
            completed: event.stage_timestamp,
        }
    }

    /// Returns whether it is the same request, told again.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let times = |request: &Self| (request.received, request.completed);
        match (&self.info.audit_id, &other.info.audit_id) {
            (Some(one), Some(two)) => one == two,
            _ => self.actor == other.actor && self.received.is_some() && times(self) == times(other),
        }
    }

    /// Returns whether the server was at work on it in this second.
    pub(super) fn was_under_way(&self, second: i64) -> bool {
        let Some(received) = self.received else { return false };
        received.as_second() <= second && self.completed.is_none_or(|completed| second <= completed.as_second())
    }

    /// Returns whether it was over before the other one began.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        matches!((self.completed, other.received), (Some(completed), Some(received)) if completed < received)
    }

    /// Returns whether it only asked for a number of replicas.
    pub(super) fn is_scaling(&self) -> bool {
        self.subresource == "scale"
    }

    /// Returns whether this mark in an object can be its.
    pub(super) fn has_left(&self, mark: &Mark) -> bool {
        self.manager.as_ref().is_none_or(|manager| *manager == mark.manager)
            && self.subresource == mark.subresource
            && self.was_under_way(mark.second)
    }

    /// Returns about how many bytes it takes.
    fn bytes(&self) -> usize {
        let strings = |strings: &[String]| strings.iter().map(|text| text.len() + 24).sum::<usize>();
        let Actor { name, groups, extra } = &self.actor;
        let extra: usize = extra.iter().map(|(key, values)| key.len() + 100 + strings(values)).sum();
        let info = [&self.info.audit_id, &self.info.impersonator, &self.info.user_agent, &self.manager];
        let info: usize = info.into_iter().flatten().map(String::len).sum();
        size_of::<Self>() + name.len() + strings(groups) + extra + info + self.subresource.len()
    }
}

impl Fact {
    /// Returns the request that it is of.
    pub(super) fn request(&self) -> Option<&Arc<Request>> {
        match self {
            Self::Created(by)
            | Self::Deleted { by, .. }
            | Self::Evicted(by)
            | Self::Replaced { by, .. }
            | Self::Written { by, .. } => Some(by),
            Self::Named { .. } | Self::Owned { .. } => None,
        }
    }

    /// Returns the uid of what was deleted by name.
    pub(super) fn uid(&self) -> Option<&str> {
        if let Self::Named { uid } = self { Some(uid) } else { None }
    }

    /// Returns whether it says what another one of the same key does.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        if std::mem::discriminant(self) != std::mem::discriminant(other) {
            return false;
        }
        match (self, other) {
            (Self::Named { uid: one }, Self::Named { uid: two }) => one == two,
            (Self::Owned { owners: one }, Self::Owned { owners: two }) => one == two,
            _ => self.request().zip(other.request()).is_some_and(|(one, two)| one.is_same(two)),
        }
    }

    /// Returns about how many bytes it takes with its key, which is kept twice.
    pub(super) fn bytes(&self, key: &Key) -> usize {
        let key = size_of::<Key>()
            + match key {
                Key::Object(uid) => uid.len(),
                Key::Place(place) => {
                    let namespace = place.namespace.as_ref().map_or(0, String::len);
                    place.group.len() + place.plural.len() + namespace + place.name.len()
                }
            };
        let own = match self {
            Self::Named { uid } => uid.len(),
            Self::Owned { owners } => owners.iter().map(|owner| owner.len() + 24).sum(),
            // Several facts share a request; where it was many, this is too much.
            _ => self.request().map_or(0, |by| by.bytes()),
        };
        2 * key + size_of::<Self>() + own + 64
    }
}

/// Returns what follows from an event: nothing, unless it is the last word on a write that was carried out.
pub(super) fn facts_of(event: &AuditEvent) -> Vec<(Key, Fact)> {
    if !event.is_accepted_write() {
        return vec![];
    }
    let by = Arc::new(Request::of(event));
    // What can't be read as an answer about an object is none.
    let answer = event.response_object.as_ref().and_then(|answer| serde_json::from_str::<Answer>(answer.get()).ok());
    let place = event.object_ref.as_ref().and_then(Place::of_reference);
    if event.verb.starts_with("delete") {
        return answer.map_or_else(Vec::new, |answer| deletions(&answer, place.as_ref(), &by));
    }
    match (answer, place) {
        (_, Some(place)) if by.subresource == "eviction" => vec![(Key::Place(place), Fact::Evicted(by))],
        (Some(answer), _) => writes(event, &answer, &by),
        (None, Some(place)) if event.is_creation() && by.subresource.is_empty() => {
            vec![(Key::Place(place), Fact::Created(by))]
        }
        (None, Some(_)) => replacement(event, by).into_iter().collect(),
        (None, None) => vec![],
    }
}

/// deletecollection is answered with a list of what there was, a plain deletion with a Status that has the uid in its
/// details, or with the object.
fn deletions(answer: &Answer, place: Option<&Place>, by: &Arc<Request>) -> Vec<(Key, Fact)> {
    if answer.uid().is_none() {
        let there = answer.items.iter().flatten().filter(|object| object.metadata.deletion_timestamp.is_none());
        let listed = |uid: &str| (Key::Object(uid.into()), Fact::Deleted { how: Deletion::Listed, by: by.clone() });
        return there.filter_map(Answer::uid).map(listed).collect();
    }
    let Some(uid) = answer.uid() else { return vec![] };
    let how = match (answer.version(), answer.metadata.asked_at()) {
        (Some(version), Some(asked)) => {
            if by.received.is_some() && !by.was_under_way(asked) {
                return vec![]; // somebody else had asked before
            }
            Deletion::Marked { version }
        }
        _ => Deletion::Gone,
    };
    let deleted = (Key::Object(uid.into()), Fact::Deleted { how, by: by.clone() });
    let named = place.filter(|place| place.takes_others_along());
    let named = named.map(|place| (Key::Place(place.clone()), Fact::Named { uid: uid.into() }));
    [deleted].into_iter().chain(named).collect()
}

fn writes(event: &AuditEvent, answer: &Answer, by: &Arc<Request>) -> Vec<(Key, Fact)> {
    // Of a Status its details name what was asked for, and not what was written.
    let (Some(uid), Some(version)) = (answer.metadata.uid.as_deref(), answer.version()) else { return vec![] };
    let key = Key::Object(uid.to_owned());
    let newest = answer.metadata.marks().map(|mark| mark.second).max();
    let proof = proof(event, answer, version, by);
    let written = (key.clone(), Fact::Written { version, proof, newest, by: by.clone() });
    let owners: Vec<_> = answer.metadata.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect();
    let owned = (!owners.is_empty() && event.is_creation()).then_some((key, Fact::Owned { owners }));
    [written].into_iter().chain(owned).collect()
}

fn proof(event: &AuditEvent, answer: &Answer, version: u64, by: &Request) -> Proof {
    if event.is_creation() {
        return Proof::Created;
    }
    match event.replaced() {
        // The server refuses it where the object has another version.
        Some(replaced) if replaced == version => Proof::Nothing,
        Some(_) => Proof::Replaced,
        None if answer.metadata.marks().any(|mark| by.has_left(&mark)) => Proof::Touched,
        None => Proof::Unshown { may_be_unmarked: event.may_be_unmarked() },
    }
}

/// Returns what follows from an event without an answer: which version a whole object replaced.
fn replacement(event: &AuditEvent, by: Arc<Request>) -> Option<(Key, Fact)> {
    let uid = event.object_ref.as_ref()?.uid.clone().filter(|uid| !uid.is_empty())?;
    Some((Key::Object(uid), Fact::Replaced { version: event.replaced()?, by }))
}

impl AuditEvent {
    /// Returns the version that the request said it replaces.
    fn replaced(&self) -> Option<u64> {
        let sent = || sent_version(self.request_object.as_ref()?);
        let named = self.object_ref.as_ref().and_then(|reference| reference.resource_version.clone());
        // `0`: whichever there is.
        named.or_else(sent)?.parse().ok().filter(|version| *version > 0)
    }

    /// Returns whether the request may have left no mark, as one that only removes something, or a scaling.
    fn may_be_unmarked(&self) -> bool {
        let is_scale = self.object_ref.as_ref().is_some_and(|reference| reference.subresource == "scale");
        match &self.request_object {
            // A JSON patch is a list. In other patches `null`, a list that is shorter, and a directive can remove.
            Some(patch) if self.verb == "patch" && !is_scale => {
                ["null", "[", "\"$"].iter().any(|part| patch.get().contains(part))
            }
            _ => true,
        }
    }
}
