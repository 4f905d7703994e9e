//! Facts of audit events, and who follows from them to have made a change.
//!
//! Events come in any order, some twice, some never, and not all at once. So nothing is concluded from the order in which they
//! came: of requests that can have written one version, the one that was over before the others began wrote it; else nobody
//! knows.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use reverser_core::{Actor, Attribution, Change, Evidence, ObjectRef, Operation};
use serde_json::Value;

use super::{
    AuditEvent,
    answer::{Mark, asked_at},
    bounded::{Bounded, Limits},
    fact::{Deletion, Fact, Key, Place, Proof, Request, facts_of},
};

/// 64 MiB are about 80,000 facts. Who writes more within the time that a change takes to be read loses the oldest.
const FACTS: Limits = Limits { bytes: 64 << 20, age: AGE };

/// What was seen of each version is a quarter of a fact.
const SEEN: Limits = Limits { bytes: 16 << 20, age: AGE };

/// Changes are read seconds after they happened, and those of a gap within the minutes that etcd keeps.
const AGE: Duration = Duration::from_secs(60 * 60);

/// How long a chain of owners may be: a Pod's is Deployment, ReplicaSet.
const OWNERS: usize = 8;

/// What is known of requests, and of the objects that they were about.
#[derive(Debug)]
pub(super) struct Facts {
    facts: Bounded<Key, Fact>,
    /// By uid, what the watch has shown.
    seen: Bounded<String, Seen>,
}

/// One version of an object, as it was watched.
#[derive(Debug)]
struct Seen {
    version: u64,
    created: Option<i64>,
    /// When its deletion was asked for.
    asked: Option<i64>,
    /// Of its last second: earlier ones were in the version before, too.
    marks: Vec<Mark>,
    owners: Vec<String>,
    replicas: Option<i64>,
}

impl Default for Facts {
    fn default() -> Self {
        Self { facts: Bounded::new(FACTS), seen: Bounded::new(SEEN) }
    }
}

impl Facts {
    /// Takes note of an event; returns whether it told anything.
    pub(super) fn learn(&mut self, event: &AuditEvent, now: Instant) -> bool {
        let mut has_learned = false;
        for (key, fact) in facts_of(event) {
            // The API server sends a batch again when it got no answer; a repetition is close behind.
            if self.facts.of(&key).take(REPEATED).any(|known| known.is_same(&fact)) {
                continue;
            }
            let bytes = fact.bytes(&key);
            self.facts.insert(key, fact, bytes, now);
            has_learned = true;
        }
        has_learned
    }

    /// Takes note of what a watch has shown.
    pub(super) fn saw(&mut self, change: &Change, now: Instant) {
        let (Some(uid), Some(version), Some(body)) = (&change.object.uid, version_of(change), &change.body) else {
            return;
        };
        let seen = Seen::of(version, body);
        let marks: usize = seen.marks.iter().map(|mark| size_of::<Mark>() + mark.manager.len() + 16).sum();
        let owners: usize = seen.owners.iter().map(|owner| owner.len() + 24).sum();
        let bytes = 2 * (uid.len() + 24) + size_of::<Seen>() + marks + owners + 64;
        self.seen.insert(uid.clone(), seen, bytes, now);
    }

    /// Returns who made a change.
    pub(super) fn attribute(&self, change: &Change) -> Attribution {
        let Some(uid) = &change.object.uid else { return Attribution::Unknown };
        match change.operation {
            Operation::Create => self.creator(&change.object, uid, version_of(change)),
            Operation::Delete => self.deleter(change, uid),
            Operation::Update => {
                version_of(change).map_or(Verdict::Nobody, |version| self.writer(change, uid, version))
            }
        }
        .attribution(Evidence::Audit)
    }

    pub(super) fn len(&self) -> usize {
        self.facts.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.facts.bytes() + self.seen.bytes()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.facts.dropped()
    }

    fn about(&self, uid: &str) -> impl Iterator<Item = &Fact> {
        self.facts.of(&Key::Object(uid.to_owned()))
    }

    fn at(&self, place: Place) -> impl Iterator<Item = &Fact> {
        self.facts.of(&Key::Place(place))
    }

    fn seen(&self, uid: &str, version: u64) -> Option<&Seen> {
        self.seen.of(uid).find(|seen| seen.version == version)
    }
}

/// How many of the latest facts of an object a repetition is looked for in.
const REPEATED: usize = 64;

/// Who it was, as far as it is known.
enum Verdict<'a> {
    Nobody,
    One { by: &'a Request, cascade: bool },
    Several(Vec<Actor>),
}

impl<'a> Verdict<'a> {
    /// Returns the first of these requests, each of which can have done what only the first can have.
    fn first(requests: &[&'a Request]) -> Self {
        let is_first = |by: &&Request| requests.iter().all(|other| by.actor == other.actor || by.is_before(other));
        if let Some(by) = requests.iter().copied().find(is_first) {
            return Self::One { by, cascade: false };
        }
        let mut named = HashSet::new();
        let actors: Vec<_> = requests.iter().filter(|by| named.insert(&by.actor)).map(|by| by.actor.clone()).collect();
        if actors.is_empty() { Self::Nobody } else { Self::Several(actors) }
    }

    fn or(self, other: impl FnOnce() -> Self) -> Self {
        if let Self::Nobody = self { other() } else { self }
    }

    fn cascade(self) -> Self {
        if let Self::One { by, .. } = self { Self::One { by, cascade: true } } else { self }
    }

    fn attribution(self, evidence: Evidence) -> Attribution {
        match self {
            Self::Nobody => Attribution::Unknown,
            Self::One { by, cascade } => Attribution::Known {
                actor: by.actor.clone(),
                evidence: if cascade { Evidence::Cascade } else { evidence },
                request: Box::new(by.info.clone()),
            },
            Self::Several(mut actors) => {
                actors.sort_by(|a, b| a.name.cmp(&b.name));
                Attribution::Ambiguous(actors)
            }
        }
    }
}

/// Who wrote it.
impl Facts {
    fn creator(&self, object: &ObjectRef, uid: &str, version: Option<u64>) -> Verdict<'_> {
        // An object that is listed after somebody has updated it was not created by them.
        let exact = self.about(uid).filter_map(|fact| match fact {
            Fact::Written { version: its, proof: Proof::Created, by, .. } if Some(*its) == version => Some(&**by),
            _ => None,
        });
        Verdict::first(&exact.collect::<Vec<_>>()).or(|| {
            let Some(created) = self.seen.of(uid).find_map(|seen| seen.created) else { return Verdict::Nobody };
            let named = self.at(Place::of(object)).filter_map(|fact| match fact {
                Fact::Created(by) if by.was_under_way(created) => Some(&**by),
                _ => None,
            });
            Verdict::first(&named.collect::<Vec<_>>())
        })
    }

    fn writer(&self, change: &Change, uid: &str, version: u64) -> Verdict<'_> {
        let marks = self.seen(uid, version).map_or(&[][..], |seen| &seen.marks);
        let is_marked = |by: &Request| marks.iter().any(|mark| by.has_left(mark));
        let replaced = change.replaced.as_ref().and_then(|version| version.parse::<u64>().ok());
        let (mut exact, mut marked, mut unmarked) = (vec![], vec![], vec![]);
        for fact in self.about(uid) {
            match fact {
                Fact::Replaced { version, by } if Some(*version) == replaced && is_marked(by) => marked.push(&**by),
                Fact::Written { version: its, proof, by, .. } if *its == version => match proof {
                    Proof::Created | Proof::Replaced => exact.push(&**by),
                    Proof::Touched => marked.push(&**by),
                    Proof::Unshown { .. } if is_marked(by) => marked.push(&**by),
                    Proof::Unshown { may_be_unmarked: true }
                        if !(by.is_scaling() && self.has_same_replicas(uid, version)) =>
                    {
                        unmarked.push(&**by);
                    }
                    Proof::Unshown { .. } | Proof::Nothing => {}
                },
                _ => {}
            }
        }
        if !marked.is_empty() || self.is_unmarked(uid, version) {
            // A mark may be from the version before, made in the same second.
            marked.append(&mut unmarked);
        }
        Verdict::first(&exact).or(|| Verdict::first(&marked))
    }

    /// Returns whether a version is seen to have as many replicas as the one before: then nobody scaled it.
    fn has_same_replicas(&self, uid: &str, version: u64) -> bool {
        let before = self.seen.of(uid).filter(|seen| seen.version < version).max_by_key(|seen| seen.version);
        before.zip(self.seen(uid, version)).is_some_and(|(before, after)| before.replicas == after.replicas)
    }

    /// Returns whether a version was written without a mark: no manager has been at work since one before, as far as is known.
    fn is_unmarked(&self, uid: &str, version: u64) -> bool {
        let told = self.about(uid).filter_map(|fact| match fact {
            Fact::Written { version, newest, .. } => Some((*version, (*newest)?)),
            _ => None,
        });
        let watched = self.seen.of(uid).filter_map(|seen| Some((seen.version, seen.marks.first()?.second)));
        let (mut newest, mut before) = (None, None);
        for (its, second) in told.chain(watched) {
            if its == version {
                newest = Some(second);
            } else if its < version {
                before = before.max(Some((its, second)));
            }
        }
        before.is_some_and(|(_, second)| newest <= Some(second))
    }
}

/// Who deleted it.
impl Facts {
    fn deleter(&self, change: &Change, uid: &str) -> Verdict<'_> {
        let place = Place::of(&change.object);
        let verdict = Verdict::first(&self.deletions(uid, Some(place)));
        let direct = verdict.or(|| self.definition_deleter(change, uid));
        self.origin(direct, uid, change.object.namespace.as_deref(), OWNERS)
    }

    /// Returns who can have deleted an object first.
    fn deletions(&self, uid: &str, place: Option<Place>) -> Vec<&Request> {
        // It is the first one that counts: finalizers, and who comes later, go on with what is deleted.
        let asked = self.seen.of(uid).filter_map(|seen| Some((seen.version, seen.asked?))).min();
        let was_under_way = |by: &Request| asked.is_none_or(|(_, asked)| by.was_under_way(asked));
        let (mut sure, mut listed) = (vec![], vec![]);
        for fact in self.about(uid) {
            match fact {
                Fact::Deleted { how: Deletion::Listed, by } if was_under_way(by) => listed.push(&**by),
                Fact::Deleted { by, .. } if was_under_way(by) => sure.push(&**by),
                _ => {}
            }
        }
        let evicted = place.filter(|_| asked.is_some()).into_iter().flat_map(|place| self.at(place));
        sure.extend(evicted.filter_map(|fact| match fact {
            Fact::Evicted(by) if was_under_way(by) => Some(&**by),
            _ => None,
        }));
        // What is listed to be deleted may be deleted by somebody else just then: not where the server says when it was.
        if sure.is_empty() || asked.is_some() {
            sure.extend(listed);
        }
        sure
    }

    /// Returns who deleted the definition of a custom resource: its objects go with it, and no event tells of them.
    fn definition_deleter(&self, change: &Change, uid: &str) -> Verdict<'_> {
        let resource = &change.object.resource;
        let created = self.seen.of(uid).find_map(|seen| seen.created);
        let (Some(created), Some(version)) = (created, version_of(change)) else { return Verdict::Nobody };
        let definitions = self.at(Place::of_definition(&resource.group, &resource.plural));
        for definition in definitions.filter_map(Fact::uid) {
            let went_before = self.about(definition).any(|fact| match fact {
                Fact::Deleted { how: Deletion::Marked { version: its }, by } => {
                    *its < version && by.received.is_some_and(|received| created <= received.as_second())
                }
                _ => false,
            });
            if went_before {
                return Verdict::first(&self.deletions(definition, None)).cascade();
            }
        }
        Verdict::Nobody
    }

    /// Returns who had a controller delete it, where it was one that does what others ask for.
    fn origin<'a>(&'a self, direct: Verdict<'a>, uid: &str, namespace: Option<&str>, depth: usize) -> Verdict<'a> {
        let Verdict::One { by, cascade: false } = direct else { return direct };
        let of_namespace = || namespace.map_or(Verdict::Nobody, |namespace| self.namespace_deleter(namespace, by));
        let origin = match &*by.actor.name {
            NAMESPACE_CONTROLLER => of_namespace(),
            GARBAGE_COLLECTOR => self.owners_deleter(uid, depth),
            CONTROLLER_MANAGER => self.owners_deleter(uid, depth).or(of_namespace),
            _ => Verdict::Nobody,
        };
        origin.cascade().or(|| direct)
    }

    /// Returns who deleted the namespace of this name, the last one that was deleted before the controller went to work.
    fn namespace_deleter(&self, name: &str, controller: &Request) -> Verdict<'_> {
        let namespaces = self.at(Place::of_namespace(name)).filter_map(Fact::uid);
        let began = |requests: &Vec<&Request>| requests.iter().filter_map(|by| by.received).min();
        let deletions = namespaces.map(|uid| self.deletions(uid, None));
        let before = deletions.filter(|requests| began(requests).is_some_and(|at| Some(at) <= controller.completed));
        before.max_by_key(began).map_or(Verdict::Nobody, |requests| Verdict::first(&requests))
    }

    /// Returns who deleted all that an object belongs to.
    fn owners_deleter(&self, uid: &str, depth: usize) -> Verdict<'_> {
        let told =
            || self.about(uid).find_map(|fact| if let Fact::Owned { owners } = fact { Some(owners) } else { None });
        let watched = self.seen.of(uid).map(|seen| &seen.owners).find(|owners| !owners.is_empty());
        let Some(owners) = watched.or_else(told).filter(|_| depth > 0) else { return Verdict::Nobody };
        let mut requests = vec![];
        for owner in owners {
            let direct = Verdict::first(&self.deletions(owner, None));
            match self.origin(direct, owner, None, depth - 1) {
                Verdict::One { by, .. } => requests.push(by),
                other => return other,
            }
        }
        Verdict::first(&requests)
    }
}

/// The controllers that delete what belongs to something that is deleted; the last one stands for all of them where they
/// have no accounts of their own (`--use-service-account-credentials=false`).
const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";
const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// Returns whether it may still be found out whom this one did it for.
pub(crate) fn acts_for_others(actor: &Actor) -> bool {
    [NAMESPACE_CONTROLLER, GARBAGE_COLLECTOR, CONTROLLER_MANAGER].contains(&&*actor.name)
}

impl Seen {
    fn of(version: u64, body: &Value) -> Self {
        let metadata = &body["metadata"];
        let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = metadata["managedFields"].as_array();
        let mut marks: Vec<_> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let second = time(&entry["time"])?.as_second();
                Some(Mark { manager: text(&entry["manager"]), subresource: text(&entry["subresource"]), second })
            })
            .collect();
        let newest = marks.iter().map(|mark| mark.second).max();
        marks.retain(|mark| Some(mark.second) == newest);
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten().map(|owner| text(&owner["uid"]));
        let grace = metadata["deletionGracePeriodSeconds"].as_i64();
        Self {
            version,
            created: time(&metadata["creationTimestamp"]).map(|created| created.as_second()),
            asked: time(&metadata["deletionTimestamp"]).and_then(|deletion| asked_at(deletion, grace)),
            marks,
            owners: owners.collect(),
            replicas: body["spec"]["replicas"].as_i64(),
        }
    }
}

fn version_of(change: &Change) -> Option<u64> {
    change.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests;
