//! Who deleted something, or what it belonged to.

use reverser_core::Change;

use super::{Facts, Verdict, version_of};
use crate::{
    attribute::controllers::Controller,
    audit::fact::{Deletion, Fact, Place, Request},
};

impl Facts {
    pub(super) fn deleter(&self, change: &Change, uid: &str) -> Verdict<'_> {
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
        let Verdict::One { by, cascade: false, .. } = direct else { return direct };
        let of_namespace = || namespace.map_or(Verdict::Nobody, |namespace| self.namespace_deleter(namespace, by));
        let origin = match Controller::of(&by.actor) {
            Some(Controller::Any) => self.owners_deleter(uid, depth).or(of_namespace),
            Some(Controller::GarbageCollector) => self.owners_deleter(uid, depth),
            Some(Controller::Namespace) => of_namespace(),
            None => Verdict::Nobody,
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

/// How long a chain of owners may be: a Pod's is Deployment, ReplicaSet.
const OWNERS: usize = 8;
