//! `MemorySink`: a [`GitSink`] for the tests of programs that embed the writer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reverser_core::{CommitPlan, Edit, RepoPath};

use crate::{
    notes,
    sink::{Batch, CommitId, Files, GitSink, Note, Outcome, Receipt, SinkError, move_cursors, says_the_same},
};

/// Keeps commits in memory; clones share them. Its ids are counts, and nothing is ever pushed.
#[derive(Clone, Debug, Default)]
pub struct MemorySink {
    state: Arc<Mutex<State>>,
}

impl MemorySink {
    /// Returns an empty sink.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns all commits, the oldest first.
    pub fn commits(&self) -> Vec<MemoryCommit> {
        self.state().commits.clone()
    }

    /// Returns what was noted about a commit, or `None` when nothing was.
    pub fn note_of(&self, commit: &CommitId) -> Option<String> {
        self.state().notes.get(commit).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked under the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One commit of a [`MemorySink`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCommit {
    /// Its place in the order of commits, as 40 hexadecimal digits.
    pub id: CommitId,
    /// The plan that it came from, without the edits that changed nothing.
    pub plan: CommitPlan,
}

#[derive(Debug, Default)]
struct State {
    commits: Vec<MemoryCommit>,
    cursors: BTreeMap<String, String>,
    notes: HashMap<CommitId, String>,
    /// By path: no entry's path is a folder of another's.
    files: BTreeMap<String, Vec<u8>>,
    sequence: u64,
}

impl State {
    fn apply(&mut self, mut plan: CommitPlan) -> Outcome {
        plan.edits.retain(|edit| match edit {
            Edit::Delete { path } => self.files.remove(path.as_str()).is_some(),
            Edit::Put { path, content } => self.put(path, content),
        });
        if plan.edits.is_empty() {
            return Outcome::Unchanged;
        }
        let id = CommitId::new(format_args!("{:040x}", self.commits.len() + 1));
        self.commits.push(MemoryCommit { id: id.clone(), plan });
        Outcome::Committed(id)
    }

    fn put(&mut self, path: &RepoPath, content: &[u8]) -> bool {
        if self.files.get(path.as_str()).is_some_and(|standing| says_the_same(path, standing, content)) {
            return false;
        }
        let path = path.as_str();
        // What is in the way goes: files that are folders of this path, and files below it.
        let is_in_the_way = |other: &str| is_below(path, other) || is_below(other, path);
        self.files.retain(|other, _| !is_in_the_way(other));
        self.files.insert(path.to_owned(), content.to_vec());
        true
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[async_trait::async_trait]
impl GitSink for MemorySink {
    async fn commit(&self, batch: Batch) -> Result<Receipt, SinkError> {
        let mut state = self.state();
        let outcomes = batch.plans.into_iter().map(|plan| state.apply(plan)).collect();
        move_cursors(&mut state.cursors, batch.cursors);
        state.sequence += 1;
        Ok(Receipt { outcomes, sequence: state.sequence, obstructed: Vec::new() })
    }

    async fn pushed(&self, _receipt: &Receipt) -> Result<(), SinkError> {
        Ok(())
    }

    async fn note(&self, note: Note) -> Result<(), SinkError> {
        let mut state = self.state();
        if state.commits.iter().any(|commit| commit.id == note.commit) {
            let standing = state.notes.entry(note.commit).or_default();
            if let Some(joined) = notes::join(standing, &note.text) {
                *standing = joined;
            }
        }
        Ok(())
    }

    async fn cursors(&self) -> Result<BTreeMap<String, String>, SinkError> {
        Ok(self.state().cursors.clone())
    }
}

#[async_trait::async_trait]
impl Files for MemorySink {
    async fn list(&self, folder: Option<&RepoPath>) -> Result<Vec<RepoPath>, SinkError> {
        let is_listed = |path: &&String| folder.is_none_or(|folder| is_below(path, folder.as_str()));
        // Only paths that were one have been put.
        Ok(self.state().files.keys().filter(is_listed).filter_map(|path| path.parse().ok()).collect())
    }

    async fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, SinkError> {
        Ok(self.state().files.get(path.as_str()).cloned())
    }
}
