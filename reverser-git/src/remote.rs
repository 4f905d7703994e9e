//! The repository that commits are pushed to, as the writer sees it.

use std::fmt::Debug;

use crate::{branch::BranchName, objects::ObjectFormat, sink::CommitId};

pub(crate) mod cli;
mod error;

pub use cli::{CliRemote, GitVersion, MINIMUM_GIT_VERSION, create_bare, git_version};
pub use error::{Refusal, RemoteError, TipMove};

/// A remote repository: read a tip, bring commits here, move a branch.
///
/// # Contract
/// - [`push`] moves the branch exactly from `expected` to `commit`, or not at all. The caller has checked that `commit`
///   descends from `expected`; together the two are a compare-and-swap that never takes anybody's commit away.
/// - An error doesn't promise that nothing was done: a push whose answer was lost may have arrived. Read the tip.
/// - Each call has a limit in time of its own.
///
/// [`push`]: Self::push
#[async_trait::async_trait]
pub trait Remote: Debug + Send + Sync {
    /// Returns where `branch` is, and which branch is the default.
    async fn tip(&self, branch: &BranchName) -> Result<RemoteTip, RemoteError>;

    /// Brings the tip of `branch` and all of its history into the local repository; returns its id, which may be later
    /// than one that [`tip`](Self::tip) returned before.
    async fn fetch(&self, branch: &BranchName) -> Result<CommitId, RemoteError>;

    /// Brings the contents of files that a writer compares with, where a fetch leaves contents at the remote and those of
    /// `commit`, which is here, aren't. Does nothing where all is here already.
    async fn fetch_contents(&self, _commit: &CommitId) -> Result<(), RemoteError> {
        Ok(())
    }

    /// Moves `branch` from `expected` (`None`: it doesn't exist) to `commit`.
    async fn push(
        &self,
        commit: &CommitId,
        branch: &BranchName,
        expected: Option<&CommitId>,
    ) -> Result<Pushed, RemoteError>;

    /// Returns where the notes (`refs/notes/reverser`) are, and brings them here with their history; `None`: there are none.
    async fn fetch_notes(&self) -> Result<Option<CommitId>, RemoteError>;

    /// Brings the texts of notes here that a fetch has left at the remote.
    async fn fetch_texts(&self, _texts: &[CommitId]) -> Result<(), RemoteError> {
        Ok(())
    }

    /// Moves the notes from `expected` (`None`: there are none) to `commit`, which descends from it, or not at all.
    async fn push_notes(&self, commit: &CommitId, expected: Option<&CommitId>) -> Result<NotesPushed, RemoteError>;
}

/// How a push of notes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotesPushed {
    /// They are there.
    Done,
    /// Somebody else has moved them: they have to be fetched.
    Moved,
}

/// What a remote says about a branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteTip {
    /// Its commit; `None` when there is no such branch.
    pub branch: Option<CommitId>,
    /// The branch that the remote's HEAD names, with its commit; `None` in an empty repository.
    pub default_branch: Option<(BranchName, CommitId)>,
    /// By what the repository names its objects.
    pub object_format: ObjectFormat,
}

/// How a push succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The branch was moved.
    Moved,
    /// The branch was there already.
    UpToDate,
}
