//! The unpushed commits made again on a tip that somebody else has moved.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use jiff::Timestamp;

use crate::{
    commit::State,
    fault,
    objects::Id,
    sink::SinkError,
    store::{Store, Unpushed},
    trees::{self, Folder},
};

/// What became of the unpushed commits when the remote's branch had moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// How many were made again on the new tip.
    pub(crate) kept: usize,
    /// How many changed nothing there.
    pub(crate) dropped: usize,
    /// Whether the commit that they stood upon is gone from the remote's history.
    pub(crate) rewritten: bool,
}

impl Store {
    /// Takes in that the remote's branch is at `tip`, which was fetched: what it has is pushed, and the rest is replayed
    /// onto it when somebody else has moved it.
    pub(crate) fn meet(&mut self, tip: Id, now: Timestamp) -> Result<Replayed, SinkError> {
        let is_ours = self.base == Some(tip) || self.unpushed.iter().any(|unpushed| unpushed.id == tip);
        let replayed = if is_ours { Replayed::default() } else { self.replay(tip, now)? };
        self.note_remote_tip(tip)?;
        Ok(replayed)
    }

    /// Makes the unpushed commits again on `onto`, which was fetched. Author, author date and message are kept; what
    /// changes nothing there is dropped.
    pub(crate) fn replay(&mut self, onto: Id, now: Timestamp) -> Result<Replayed, SinkError> {
        let replayed = self.try_replay(onto, now);
        self.recover(replayed)
    }

    pub(super) fn try_replay(&mut self, onto: Id, now: Timestamp) -> Result<Replayed, SinkError> {
        self.refresh()?;
        fault::reached("replay-begun");
        // The branch there may hold some of ours: a push whose answer was lost, and somebody's commits on top of it.
        let known: Vec<_> = self.base.into_iter().chain(self.unpushed.iter().map(|unpushed| unpushed.id)).collect();
        let latest_there = self.latest_ancestor(onto, &known)?;
        let rest: Vec<_> = match latest_there {
            Some(latest) => known[latest + 1..].to_vec(),
            None => self.unpushed.iter().map(|unpushed| unpushed.id).collect(),
        };
        let mut replayed = Replayed { rewritten: latest_there.is_none() && self.base.is_some(), ..Replayed::default() };
        self.tree_id = self.commit_of(onto)?.tree;
        self.tree = Folder::of(self.tree_id);
        let (mut tip, mut made) = (onto, VecDeque::new());
        for id in rest {
            let commit = self.commit_of(id)?;
            let old = match commit.parents.first() {
                Some(parent) => self.commit_of(*parent)?.tree,
                None => self.objects.empty_tree(),
            };
            for trees::Change { path, file } in trees::difference(old, commit.tree, &self.objects)? {
                match file {
                    Some(file) => self.tree.put(&path, file, &self.objects)?,
                    None => self.tree.remove(&path, &self.objects)?,
                }
            }
            // Each writer of the branch has a committer of its own.
            self.committer = commit.committed_by().unwrap_or_else(|| self.committer.clone());
            match self.add_commit(Some(tip), commit.author, commit.message, now)? {
                Some(id) => {
                    tip = id;
                    made.push_back(Unpushed { id, at: now });
                    replayed.kept += 1;
                }
                None => replayed.dropped += 1,
            }
        }
        // Commits that the remote had are gone from it, so what the cursors say of it is no longer true.
        let cursors = if replayed.rewritten { BTreeMap::new() } else { self.cursors.clone() };
        fault::reached("replay-made");
        self.write(Some(tip), State { remote: Some(self.remote.clone()), base: Some(onto), cursors }, now)?;
        self.unpushed = made;
        Ok(replayed)
    }

    /// Returns the index of the latest of `known`, a chain from the oldest on, that is `descendant` or an ancestor of it.
    pub(super) fn latest_ancestor(&self, descendant: Id, known: &[Id]) -> Result<Option<usize>, SinkError> {
        let places: HashMap<_, _> = known.iter().enumerate().map(|(index, id)| (*id, index)).collect();
        let (mut latest, mut seen, mut next) = (None, HashSet::from([descendant]), VecDeque::from([descendant]));
        while let Some(id) = next.pop_front() {
            match places.get(&id) {
                // All below it are its ancestors, so there is no need to look.
                Some(index) => latest = latest.max(Some(*index)),
                None => next.extend(self.commit_of(id)?.parents.into_iter().filter(|parent| seen.insert(*parent))),
            }
        }
        Ok(latest)
    }
}
