//! On whose behalf controllers delete.
//!
//! A namespace takes along what is in it, an owner what it owns, a definition its instances. Controllers of the cluster do that
//! in their own name, and the API server does the last without asking anybody.

use std::sync::Arc;

use reverser_core::Actor;

use super::{Deleted, Event, Facts, Kind, Root, Uid};
use crate::attribute::controllers::Controller;

/// How many deletions may follow from one another: more is no chain but a circle.
const LONGEST_CHAIN: u8 = 16;

/// How long a definition takes its instances along that hasn't been seen to go, in seconds: until then its removal may have been
/// refused.
const UNSEEN_SECONDS: u32 = 60;

fn is_cleaner(actor: &Actor) -> bool {
    matches!(Controller::of(actor), Some(Controller::GarbageCollector | Controller::Namespace))
}

impl Facts {
    /// Returns who made an object go, and whether others did it for them.
    pub(super) fn responsible(&self, uid: Uid, depth: u8) -> (Vec<&Arc<Actor>>, bool) {
        let causes = self.causes(uid);
        if causes.is_empty() {
            let definition = self.going.of(&uid).next().and_then(|node| node.value.definition);
            return (definition.map(|definition| self.behind([definition], depth)).unwrap_or_default(), true);
        }
        let mut is_cascade = true;
        let mut actors = vec![];
        for cause in causes {
            let behind = self.on_behalf_of(cause, depth);
            if behind.iter().all(|actor| *actor == &cause.actor) {
                is_cascade = false;
                actors.push(&cause.actor);
            } else {
                actors.extend(behind);
            }
        }
        (actors, is_cascade)
    }

    /// Returns the definition that takes an object along, if nobody asks for it.
    pub(super) fn definition_of(&self, now: u32, event: &Event<'_>) -> Option<Uid> {
        let resource = &event.object.resource;
        let root = Root::Definition(format!("{}.{}", resource.plural, resource.group));
        let node = self.named.of(&root).next()?;
        let definition = node.value?;
        let is_seen = self.going.of(&definition).next().is_some();
        let mut created = self.writes.of(&event.uid).filter(|created| created.value.kind == Kind::Create);
        let is_soon = now.saturating_sub(node.at) <= UNSEEN_SECONDS;
        let may_be = (is_seen || is_soon) && created.all(|created| created.order < node.order);
        may_be.then_some(definition)
    }

    /// Returns for whom a controller deleted; nobody: for itself, or that isn't known.
    fn on_behalf_of(&self, deleted: &Deleted, depth: u8) -> Vec<&Arc<Actor>> {
        let namespace = || self.namespace_of(deleted).into_iter().collect::<Vec<_>>();
        let owners = || deleted.owners.to_vec();
        match Controller::of(&deleted.actor) {
            None => vec![],
            Some(Controller::GarbageCollector) => self.behind(owners(), depth),
            Some(Controller::Namespace) => self.behind(namespace(), depth),
            Some(Controller::Any) => {
                let going = |roots: Vec<Uid>| if roots.iter().all(|&uid| self.is_going(uid)) { roots } else { vec![] };
                let behind = self.behind(going(namespace()), depth);
                if behind.is_empty() { self.behind(going(owners()), depth) } else { behind }
            }
        }
    }

    /// Returns who made all of them go; nobody where that isn't known of each.
    fn behind(&self, uids: impl IntoIterator<Item = Uid>, depth: u8) -> Vec<&Arc<Actor>> {
        let mut all = vec![];
        for uid in uids {
            let (actors, _) = if depth < LONGEST_CHAIN { self.responsible(uid, depth + 1) } else { Default::default() };
            // Where a chain ends at who cleans up, its beginning isn't known.
            if actors.is_empty() || actors.iter().any(|actor| is_cleaner(actor)) {
                return vec![];
            }
            all.extend(actors);
        }
        all
    }

    /// Returns the namespace that was to go last before that.
    fn namespace_of(&self, deleted: &Deleted) -> Option<Uid> {
        let name = deleted.namespace.as_deref()?.to_owned();
        self.named.of(&Root::Namespace(name)).find(|node| node.order < deleted.order)?.value
    }

    /// Returns whether an object is known to go, not only asked to.
    fn is_going(&self, uid: Uid) -> bool {
        let again = self.deletions.of(&uid).chain(self.roots.of(&uid)).any(|node| node.value.is_terminating);
        again || self.going.of(&uid).next().is_some() || self.writes.of(&uid).any(|node| node.value.is_terminating)
    }
}
