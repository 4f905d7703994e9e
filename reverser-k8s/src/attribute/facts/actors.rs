//! One copy of each user.

use std::{collections::HashMap, sync::Arc};

use reverser_core::Actor;

/// How many may be kept before those are looked for that nobody uses any more.
const FIRST_LOOK: usize = 1024;

/// Hands out one copy of each user, as the API server has seen them: another group is another one.
#[derive(Debug)]
pub(super) struct Actors {
    by_name: HashMap<String, Vec<Arc<Actor>>>,
    kept: usize,
    look_at: usize,
}

impl Default for Actors {
    fn default() -> Self {
        Self { by_name: HashMap::new(), kept: 0, look_at: FIRST_LOOK }
    }
}

impl Actors {
    /// Returns the copy of `actor`.
    pub(super) fn intern(&mut self, actor: &Actor) -> Arc<Actor> {
        let same = self.by_name.get(&actor.name).into_iter().flatten();
        if let Some(known) = same.into_iter().find(|known| known.groups == actor.groups && known.extra == actor.extra) {
            return Arc::clone(known);
        }
        if self.kept >= self.look_at {
            self.forget_unused();
        }
        let actor = Arc::new(actor.clone());
        self.by_name.entry(actor.name.clone()).or_default().push(Arc::clone(&actor));
        self.kept += 1;
        actor
    }

    fn forget_unused(&mut self) {
        self.by_name.retain(|_, same| {
            same.retain(|actor| Arc::strong_count(actor) > 1);
            !same.is_empty()
        });
        self.kept = self.by_name.values().map(Vec::len).sum();
        self.look_at = FIRST_LOOK.max(2 * self.kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_kept_once_and_as_long_as_a_fact_names_them() {
        let mut actors = Actors::default();
        let alice = actors.intern(&Actor::user("alice"));
        assert!(Arc::ptr_eq(&alice, &actors.intern(&Actor::user("alice"))));
        let grouped = Actor { groups: vec!["admins".into()], ..Actor::user("alice") };
        let promoted = actors.intern(&grouped);
        assert_eq!((alice.groups.len(), promoted.groups.len()), (0, 1));
        for n in 0..10 * FIRST_LOOK {
            actors.intern(&Actor::user(format!("runner-{n}")));
        }
        assert!(actors.kept <= FIRST_LOOK + 2, "{}", actors.kept);
        assert!(Arc::ptr_eq(&alice, &actors.intern(&Actor::user("alice"))));
    }
}
