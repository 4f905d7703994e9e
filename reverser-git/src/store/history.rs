//! Where two lines of history part, without a look at what they share.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use crate::{
    commit::Commit,
    objects::Id,
    sink::SinkError,
    store::Store,
    trees::{self, Change},
};

/// What each of two commits has in its history and the other hasn't; the latest first.
#[derive(Debug, Default)]
pub(super) struct Parting {
    pub(super) ours: Vec<Id>,
    pub(super) theirs: Vec<Id>,
}

impl Store {
    /// Returns where the histories of two commits part. Reads what is different and little more: both are walked together,
    /// by date, until all that is left belongs to both.
    pub(super) fn parting(&self, ours: Id, theirs: Id) -> Result<Parting, SinkError> {
        let mut walk = Walk::default();
        self.mark(&mut walk, ours, OURS)?;
        self.mark(&mut walk, theirs, THEIRS)?;
        while walk.of_one_side > 0
            && let Some((_, Reverse(_), id)) = walk.queue.pop()
        {
            let Some(seen) = walk.seen.get_mut(&id) else { continue };
            seen.step = Step::Walked;
            let (sides, parents) = (seen.sides, seen.parents.clone());
            walk.of_one_side -= usize::from(sides != BOTH);
            for parent in parents {
                self.mark(&mut walk, parent, sides)?;
            }
        }
        let mut parting = Parting::default();
        let mut found: Vec<_> = walk.seen.into_iter().filter(|(_, seen)| seen.sides != BOTH).collect();
        found.sort_unstable_by_key(|(id, seen)| (Reverse(seen.at), seen.order, *id));
        for (id, seen) in found {
            if seen.sides == OURS { &mut parting.ours } else { &mut parting.theirs }.push(id);
        }
        Ok(parting)
    }

    /// Notes that a commit is in the history of some sides; it is walked on from when that is news.
    fn mark(&self, walk: &mut Walk, id: Id, sides: u8) -> Result<(), SinkError> {
        let mut ids = vec![id];
        while let Some(id) = ids.pop() {
            if !walk.seen.contains_key(&id) {
                let commit = self.commit_of(id)?;
                let at = commit.committed_at().unwrap_or_default().as_second();
                let order = walk.seen.len();
                let seen = Seen { sides: 0, at, order, parents: commit.parents, step: Step::Found };
                walk.seen.insert(id, seen);
            }
            let Some(seen) = walk.seen.get_mut(&id) else { continue };
            let before = seen.sides;
            if before | sides == before {
                continue;
            }
            seen.sides |= sides;
            match seen.step {
                Step::Found => {
                    seen.step = Step::Queued;
                    walk.of_one_side += usize::from(seen.sides != BOTH);
                    walk.queue.push((seen.at, Reverse(seen.order), id));
                }
                // It was of one side when it was queued.
                Step::Queued => walk.of_one_side -= usize::from(seen.sides == BOTH && before != BOTH),
                // Dates mislead, such as somebody's clock that is behind: what is behind it was taken for one side's, too.
                Step::Walked => ids.extend(&seen.parents),
            }
        }
        Ok(())
    }

    /// Returns what a commit changed. Of a merge that is what it has from none of its parents.
    pub(super) fn changes_of(&self, commit: &Commit) -> Result<Vec<Change>, SinkError> {
        let Some((first, others)) = commit.parents.split_first() else {
            return trees::difference(self.objects.empty_tree(), commit.tree, &self.objects);
        };
        let mut changes = trees::difference(self.commit_of(*first)?.tree, commit.tree, &self.objects)?;
        for other in others {
            let of_other = trees::difference(self.commit_of(*other)?.tree, commit.tree, &self.objects)?;
            changes.retain(|change| of_other.iter().any(|theirs| theirs.path == change.path));
        }
        Ok(changes)
    }
}

#[derive(Default)]
struct Walk {
    seen: HashMap<Id, Seen>,
    /// The latest first; of the same second the one that was seen first.
    queue: BinaryHeap<(i64, Reverse<usize>, Id)>,
    /// How many of the queued ones belong to one side alone.
    of_one_side: usize,
}

struct Seen {
    sides: u8,
    /// In seconds since 1970.
    at: i64,
    order: usize,
    parents: Vec<Id>,
    step: Step,
}

/// How far the walk has come with a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Found,
    Queued,
    Walked,
}

const OURS: u8 = 1;
const THEIRS: u8 = 2;
const BOTH: u8 = OURS | THEIRS;
