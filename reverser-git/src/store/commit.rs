//! What a batch makes of the branch: files in the tree, and a commit for each plan.

use jiff::Timestamp;
use reverser_core::{CommitPlan, Edit, RepoPath, Signature};

use crate::{
    commit::{Commit, ident, message},
    objects::{Id, Kind},
    sink::{Batch, Obstructed, Outcome, SinkError, move_cursors, says_the_same},
    store::{Store, Unpushed},
    trees::{self, Blocked, REGULAR, Standing},
};

/// A batch, and who commits it. Its paths are the repository's.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) batch: Batch,
    pub(crate) committer: Signature,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Committed {
    /// One for each plan.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) obstructed: Vec<Obstructed>,
}

/// Says which file it is.
#[derive(Debug, thiserror::Error)]
#[error("{path} can't be read")]
struct UnreadableFile {
    path: RepoPath,
    source: SinkError,
}

impl Store {
    /// Commits the batches in order, all of them durable when this returns; returns what became of each.
    pub(crate) fn commit(&mut self, batches: &[Work], now: Timestamp) -> Result<Vec<Committed>, SinkError> {
        let outcomes = self.try_commit(batches, now);
        self.recover(outcomes)
    }

    fn try_commit(&mut self, batches: &[Work], now: Timestamp) -> Result<Vec<Committed>, SinkError> {
        self.refresh()?;
        let (mut tip, mut cursors, mut made) = (self.tip, self.cursors.clone(), Vec::new());
        let mut outcomes = Vec::with_capacity(batches.len());
        for Work { batch, committer } in batches {
            self.commit_as(committer);
            let mut of_batch = Vec::with_capacity(batch.plans.len());
            let mut obstructed = Vec::new();
            for plan in &batch.plans {
                match self.apply(plan, tip, now, &mut obstructed)? {
                    Some(id) => {
                        tip = Some(id);
                        made.push(Unpushed { id, at: now });
                        of_batch.push(Outcome::Committed(id.into()));
                    }
                    None => of_batch.push(Outcome::Unchanged),
                }
            }
            move_cursors(&mut cursors, batch.cursors.clone());
            outcomes.push(Committed { outcomes: of_batch, obstructed });
        }
        if made.is_empty() && cursors == self.cursors {
            self.objects.discard_added();
            return Ok(outcomes);
        }
        let was_chain = match self.unpushed.back() {
            Some(last) => self.checked == Some(last.id),
            None => self.base == self.tip,
        };
        self.write(tip, self.state(cursors), now)?;
        if was_chain && let Some(last) = made.last() {
            // Each was made from the one before it: reading them back would show nothing else.
            self.checked = Some(last.id);
        }
        self.unpushed.extend(made);
        Ok(outcomes)
    }

    /// Applies a plan to the tree; returns its commit, or `None` when it changes nothing.
    fn apply(
        &mut self,
        plan: &CommitPlan,
        parent: Option<Id>,
        now: Timestamp,
        obstructed: &mut Vec<Obstructed>,
    ) -> Result<Option<Id>, SinkError> {
        for edit in &plan.edits {
            let path = edit.path();
            match edit {
                Edit::Delete { .. } => self.delete(path)?,
                Edit::Put { content, .. } => {
                    if let Some(Blocked { at, obstacle }) = self.put(path, content)? {
                        let at = String::from_utf8_lossy(&at).into_owned();
                        obstructed.push(Obstructed { path: edit.path().clone(), at, obstacle });
                    }
                }
            }
        }
        let author = ident(plan.author.as_ref().unwrap_or(&self.committer), plan.date);
        self.add_commit(parent, author, message(&plan.message), now)
    }

    /// Deletes a file; a symbolic link or a submodule is none.
    fn delete(&mut self, path: &RepoPath) -> Result<(), SinkError> {
        let at = path.as_str().as_bytes();
        match self.tree.get(at, &self.objects)? {
            Some(file) if file.is_regular() => self.tree.remove(at, &self.objects),
            _ => Ok(()),
        }
    }

    /// Puts a file, unless the one that stands there means the same. Returns what is nobody's to replace and in the way.
    fn put(&mut self, path: &RepoPath, content: &[u8]) -> Result<Option<Blocked>, SinkError> {
        let at = path.as_str().as_bytes();
        let standing = self.tree.standing(at, &self.objects)?;
        if let Some(blocked) = self.tree.blocked(at, standing, &self.objects)? {
            return Ok(Some(blocked));
        }
        let standing = match standing {
            Standing::File(file) => Some(file),
            Standing::Folder | Standing::Nothing | Standing::Under(..) => None,
        };
        let id = self.objects.hash(Kind::Blob, content)?;
        if let Some(file) = standing
            && (id == file.id || says_the_same(path, &self.content(path, file.id)?, content))
        {
            return Ok(None);
        }
        self.objects.add_hashed(id, Kind::Blob, content.to_vec())?;
        let mode = standing.map_or(REGULAR, |standing| standing.mode);
        self.tree.put(at, trees::File { id, mode }, &self.objects)?;
        Ok(None)
    }

    /// Reads a file. Those below the root of all edits are here, whatever else was left at the remote.
    pub(super) fn content(&self, path: &RepoPath, id: Id) -> Result<Vec<u8>, SinkError> {
        let failed =
            |source| SinkError::store("read from", &self.name(), UnreadableFile { path: path.clone(), source });
        self.objects.read(id, Kind::Blob).map_err(failed)
    }

    /// Adds a commit of the tree as it is, unless that is its parent's.
    pub(super) fn add_commit(
        &mut self,
        parent: Option<Id>,
        author: Vec<u8>,
        message: Vec<u8>,
        now: Timestamp,
    ) -> Result<Option<Id>, SinkError> {
        let tree = self.tree.write(&mut self.objects)?;
        if tree == self.tree_id {
            return Ok(None);
        }
        let committer = ident(&self.committer, now);
        let commit = Commit { tree, parents: parent.into_iter().collect(), author, committer, message };
        let id = self.objects.add(Kind::Commit, self.sign(commit.encode())?)?;
        self.tree_id = tree;
        Ok(Some(id))
    }

    /// Each writer of the branch has a committer of its own.
    fn commit_as(&mut self, committer: &Signature) {
        self.committer.clone_from(committer);
        if !self.committers.contains(committer) {
            self.committers.push(committer.clone());
        }
    }

    /// Commits by whoever made this commit.
    pub(super) fn commit_as_before(&mut self, commit: &Commit) {
        if let Some(committer) = commit.committed_by() {
            self.commit_as(&committer);
        }
    }
}
