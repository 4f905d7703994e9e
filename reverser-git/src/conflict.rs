//! What happens to our changes when somebody else has changed the same files, and what is told of it.

use std::fmt;

use jiff::Timestamp;

use crate::{branch::BranchName, sink::CommitId};

/// What happens to a change of ours that isn't pushed yet when somebody else has pushed a change of the same file.
///
/// What another writer of ours has written isn't meant: there the later resourceVersion wins. Files are taken whole,
/// nothing is merged inside of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnConflict {
    /// Theirs stays on the branch. Ours goes to a branch of its own, `<branch>-reverser-<commit>`, which is pushed and
    /// reported; what is in no conflict goes to the branch as always.
    Branch,
    /// Ours is committed on top of theirs, with a trailer `Reverser-Replaces: <commit>` that names theirs.
    #[default]
    Ours,
    /// Nothing is pushed any more until theirs is taken back, or the writer is started with another choice. What is
    /// committed meanwhile is kept on disk.
    Stop,
}

/// A conflict that was met: files that somebody else and unpushed commits of ours have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// When it was met.
    pub at: Timestamp,
    /// The first of the files, from the repository's root.
    pub path: String,
    /// How many files there are.
    pub files: usize,
    /// Somebody else's commit that changed the first one last.
    pub theirs: CommitId,
    /// What was done about it.
    pub outcome: ConflictOutcome,
}

/// What was done about a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictOutcome {
    /// Ours are on this branch.
    Aside(BranchName),
    /// Ours were committed on top.
    Replaced,
    /// Nothing is pushed.
    Stopped,
}

/// For people: `a.yaml and 2 other files, which 05f8c9d1 changed too`.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = match self.files.saturating_sub(1) {
            0 => String::new(),
            1 => " and another file".to_owned(),
            others => format!(" and {others} other files"),
        };
        write!(f, "{}{others}, which {} changed too", self.path, self.theirs.short())
    }
}

/// A rewritten history that was met: the branch was moved to where it doesn't have all that it had, or is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// When it was met.
    pub at: Timestamp,
    /// Where the branch was.
    pub was: CommitId,
    /// Where it is; `None`: it is gone, and is pushed again with all of its history.
    pub is: Option<CommitId>,
    /// How many files of ours the new history lacked or had otherwise, and were written again.
    pub restored: usize,
}
