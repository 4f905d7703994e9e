//! Facts of audit events, and who follows from them to have made a change.
//!
//! Events come in any order, some twice, some never, and not all at once. So nothing is concluded from the order in which they
//! came: of requests that can have written one version, the one that was over before the others began wrote it; else nobody
//! knows.

mod deletion;
mod seen;

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use reverser_core::{Actor, Attribution, Change, Evidence, ObjectRef, Operation};
use serde_json::Value;

use self::seen::{Scalable, Seen};
use super::{
    AuditEvent,
    answer::Mark,
    bounded::{Bounded, Limits},
    fact::{Fact, Key, Place, Proof, Request, facts_of},
};

/// 64 MiB are about 65,000 facts: 1,000 bytes each with the groups and the user agent of a person with kubectl. Who writes more
/// within the time that a change takes to be read loses the oldest.
const FACTS: Limits = Limits { bytes: 64 << 20, age: AGE };

/// What was seen of each version is a quarter of a fact.
const SEEN: Limits = Limits { bytes: 16 << 20, age: AGE };

/// Changes are read seconds after they happened, and those of a gap within the minutes that etcd keeps.
const AGE: Duration = Duration::from_secs(60 * 60);

/// Of how many objects with replicas the last version is known, 150 bytes each. Of others a scaling may stay without an author.
const SCALABLE: usize = 100_000;

/// What is known of requests, and of the objects that they were about.
#[derive(Debug)]
pub(super) struct Facts {
    facts: Bounded<Key, Fact>,
    /// By uid, what the watch has shown.
    seen: Bounded<String, Seen>,
    /// By uid, the last version of what can be scaled.
    scalable: HashMap<String, Scalable>,
    /// When the last request was over of those that were told of.
    told_until: Option<Timestamp>,
}

impl Default for Facts {
    fn default() -> Self {
        Self { facts: Bounded::new(FACTS), seen: Bounded::new(SEEN), scalable: HashMap::new(), told_until: None }
    }
}

impl Facts {
    /// Takes note of an event; returns whether it told anything.
    pub(super) fn learn(&mut self, event: &AuditEvent, now: Instant) -> bool {
        self.told_until = self.told_until.max(event.stage_timestamp);
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
        let before = match change.operation {
            Operation::Delete => self.scalable.remove(uid),
            Operation::Create | Operation::Update => self.last(uid, &seen),
        };
        let seen = Seen { before, ..seen };
        let marks: usize = seen.marks.iter().map(|mark| size_of::<Mark>() + mark.manager.len() + 16).sum();
        let owners: usize = seen.owners.iter().map(|owner| owner.len() + 24).sum();
        let bytes = 2 * (uid.len() + 24) + size_of::<Seen>() + marks + owners + 64;
        self.seen.insert(uid.clone(), seen, bytes, now);
    }

    /// Takes note of an object of a complete list.
    pub(super) fn listed(&mut self, uid: &str, body: &Value) {
        let version = body["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok());
        if let Some(version) = version {
            self.last(uid, &Seen::of(version, body));
        }
    }

    /// Notes the last version of what can be scaled, and returns the one before.
    fn last(&mut self, uid: &str, seen: &Seen) -> Option<Scalable> {
        let Seen { version, replicas, .. } = *seen;
        let known = self.scalable.get(uid).copied();
        if replicas.is_some() && (known.is_some() || self.scalable.len() < SCALABLE) {
            let newest = seen.marks.first().map(|mark| mark.second);
            self.scalable.insert(uid.to_owned(), Scalable { version, newest, replicas });
        }
        known.filter(|known| known.version < version)
    }

    /// Returns who made a change.
    pub(super) fn attribute(&self, change: &Change) -> Attribution {
        self.verdict(change).attribution(Evidence::Audit)
    }

    /// Returns whether one request is known that can have made a change, and nothing proves that it did: it may have changed
    /// nothing, and another one, of which no event has come, made it. No more so when requests were told of that were over a
    /// moment later.
    pub(super) fn is_unproven(&self, change: &Change) -> bool {
        let Verdict::One { is_proven: false, by, .. } = self.verdict(change) else { return false };
        let (Some(completed), Some(told)) = (by.completed, self.told_until) else { return true };
        told.duration_since(completed) < BEHIND
    }

    fn verdict(&self, change: &Change) -> Verdict<'_> {
        let Some(uid) = &change.object.uid else { return Verdict::Nobody };
        match change.operation {
            Operation::Create => self.creator(&change.object, uid, version_of(change)),
            Operation::Delete => self.deleter(change, uid),
            Operation::Update => {
                version_of(change).map_or(Verdict::Nobody, |version| self.writer(change, uid, version))
            }
        }
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

/// How far the event of who wrote a version may be behind that of who was answered with it: the API server wrote it before it
/// answered a request that found nothing left to change.
pub(super) const BEHIND: SignedDuration = SignedDuration::from_millis(50);

/// How many of the latest facts of an object a repetition is looked for in.
const REPEATED: usize = 64;

/// Who it was, as far as it is known.
enum Verdict<'a> {
    Nobody,
    One { by: &'a Request, cascade: bool, is_proven: bool },
    Several(Vec<Actor>),
}

impl<'a> Verdict<'a> {
    /// Returns the first of these requests, each of which can have done what only the first can have.
    fn first(requests: &[&'a Request]) -> Self {
        let is_first = |by: &&Request| requests.iter().all(|other| by.actor == other.actor || by.is_before(other));
        if let Some(by) = requests.iter().copied().find(is_first) {
            return Self::One { by, cascade: false, is_proven: true };
        }
        let mut named = HashSet::new();
        let actors: Vec<_> = requests.iter().filter(|by| named.insert(&by.actor)).map(|by| by.actor.clone()).collect();
        if actors.is_empty() { Self::Nobody } else { Self::Several(actors) }
    }

    fn or(self, other: impl FnOnce() -> Self) -> Self {
        if let Self::Nobody = self { other() } else { self }
    }

    fn cascade(self) -> Self {
        if let Self::One { by, is_proven, .. } = self { Self::One { by, cascade: true, is_proven } } else { self }
    }

    fn unproven(self) -> Self {
        if let Self::One { by, cascade, .. } = self { Self::One { by, cascade, is_proven: false } } else { self }
    }

    fn attribution(self, evidence: Evidence) -> Attribution {
        match self {
            Self::Nobody => Attribution::Unknown,
            Self::One { by, cascade, .. } => Attribution::Known {
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
        let replaced = change.replaced.as_ref().and_then(|version| version.parse::<u64>().ok());
        let (marks, are_new) = self.marks(uid, version, replaced);
        let is_marked = |by: &Request| marks.iter().any(|mark| by.has_left(mark));
        let (mut exact, mut marked, mut unmarked) = (vec![], vec![], vec![]);
        for fact in self.about(uid) {
            match fact {
                Fact::Replaced { version, by } if Some(*version) == replaced && is_marked(by) => marked.push(&**by),
                Fact::Written { version: its, proof, by, .. } if *its == version => match proof {
                    Proof::Created | Proof::Replaced => exact.push(&**by),
                    Proof::Touched if !are_new => marked.push(&**by),
                    Proof::Touched | Proof::Unshown { .. } if is_marked(by) => marked.push(&**by),
                    Proof::Unshown { may_be_unmarked: true }
                        if !(are_new || by.is_scaling() && self.has_same_replicas(uid, version)) =>
                    {
                        unmarked.push(&**by);
                    }
                    Proof::Touched | Proof::Unshown { .. } | Proof::Nothing => {}
                },
                _ => {}
            }
        }
        if !marked.is_empty() || self.is_unmarked(uid, version) {
            // A mark may be from the version before, made in the same second.
            marked.append(&mut unmarked);
        }
        Verdict::first(&exact).or(|| Verdict::first(&marked).unproven())
    }

    /// Returns the marks of the last second that were seen in a version, and whether these are those alone that the version before
    /// didn't have: who wrote it left one of them. Without any it was written without a mark, or with one that was there.
    fn marks(&self, uid: &str, version: u64, replaced: Option<u64>) -> (Vec<&Mark>, bool) {
        let Some(seen) = self.seen(uid, version) else { return (vec![], false) };
        let before = replaced.and_then(|replaced| self.seen(uid, replaced));
        let new = |before: &Seen| seen.marks.iter().filter(|mark| !before.marks.contains(mark)).collect::<Vec<_>>();
        match before.map(new).filter(|new| !new.is_empty()) {
            Some(new) => (new, true),
            None => (seen.marks.iter().collect(), false),
        }
    }

    /// Returns whether a version is seen to have as many replicas as the one before: then nobody scaled it.
    fn has_same_replicas(&self, uid: &str, version: u64) -> bool {
        let seen = self.seen(uid, version);
        seen.is_some_and(|seen| seen.before.is_some_and(|before| before.replicas == seen.replicas))
    }

    /// Returns whether a version was written without a mark: no manager has been at work since one before, as far as is known.
    fn is_unmarked(&self, uid: &str, version: u64) -> bool {
        let told = self.about(uid).filter_map(|fact| match fact {
            Fact::Written { version, newest, .. } => Some((*version, (*newest)?)),
            _ => None,
        });
        let watched = self.seen.of(uid).filter_map(|seen| Some((seen.version, seen.marks.first()?.second)));
        let scalable = self.seen(uid, version).and_then(|seen| seen.before);
        let scalable = scalable.and_then(|before| Some((before.version, before.newest?)));
        let (mut newest, mut before) = (None, None);
        for (its, second) in told.chain(watched).chain(scalable) {
            if its == version {
                newest = Some(second);
            } else if its < version {
                before = before.max(Some((its, second)));
            }
        }
        before.is_some_and(|(_, second)| newest <= Some(second))
    }
}

fn version_of(change: &Change) -> Option<u64> {
    change.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests;
