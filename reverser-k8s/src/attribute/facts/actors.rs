//! One copy of each user.

use std::{collections::HashMap, sync::Arc};

use reverser_core::Actor;

/// How many may be kept before those are looked for that nobody uses any more.
const FIRST_LOOK: usize = 1024;

/// What users may take. Beyond it only the name is kept of another one, without groups and what the authenticator said.
const MOST_BYTES: usize = 8 << 20;

/// Hands out one copy of each user, as the API server has seen them: another group is another one.
#[derive(Debug)]
pub(super) struct Actors {
    by_name: HashMap<String, Vec<Arc<Actor>>>,
    kept: usize,
    bytes: usize,
    look_at: usize,
}

impl Default for Actors {
    fn default() -> Self {
        Self { by_name: HashMap::new(), kept: 0, bytes: 0, look_at: FIRST_LOOK }
    }
}

impl Actors {
    /// Returns the copy of `actor`, or where there is no room for more of its name alone.
    pub(super) fn intern(&mut self, actor: &Actor) -> Arc<Actor> {
        let same = self.by_name.get(&actor.name).into_iter().flatten();
        if let Some(known) = same.into_iter().find(|known| known.groups == actor.groups && known.extra == actor.extra) {
            return Arc::clone(known);
        }
        if self.kept >= self.look_at {
            self.forget_unused();
        }
        let is_more_than_name = !actor.groups.is_empty() || !actor.extra.is_empty();
        if is_more_than_name && self.bytes + bytes_of(actor) > MOST_BYTES {
            return self.intern(&Actor::user(&actor.name));
        }
        self.bytes += bytes_of(actor);
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
        self.bytes = self.by_name.values().flatten().map(|actor| bytes_of(actor)).sum();
        self.look_at = FIRST_LOOK.max(2 * self.kept);
    }
}

/// Roughly what a user takes in memory.
fn bytes_of(actor: &Actor) -> usize {
    let text = |text: &String| size_of::<String>() + text.len();
    let extra = actor.extra.iter().map(|(key, values)| text(key) + values.iter().map(text).sum::<usize>());
    size_of::<Actor>() + 2 * actor.name.len() + actor.groups.iter().map(text).sum::<usize>() + extra.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_take_no_more_than_there_is_room_for_and_are_named_all_the_same() {
        let mut actors = Actors::default();
        let of = |n: usize| Actor { groups: vec!["g".repeat(32 << 10)], ..Actor::user(format!("token-{n}")) };
        let all: Vec<_> = (0..1_000).map(|n| actors.intern(&of(n))).collect();
        assert!(actors.bytes < MOST_BYTES + 1_000 * 1_024, "{}", actors.bytes);
        assert!(all.iter().enumerate().all(|(n, actor)| actor.name == format!("token-{n}")));
        assert_eq!((all[0].groups.len(), all[999].groups.len()), (1, 0));
        drop(all);
        (0..2 * FIRST_LOOK).for_each(|n| drop(actors.intern(&Actor::user(format!("later-{n}")))));
        assert_eq!(actors.intern(&of(1)).groups.len(), 1, "there is room again");
    }

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
