//! What a writer tells: what is not pushed and why, and how it ended.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    branch::BranchName,
    conflict::{Conflict, Rewrite},
    remote::RemoteError,
    sink::CommitId,
};

/// What is not pushed, and why.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PushState {
    /// How many commits the remote doesn't have.
    pub unpushed: usize,
    /// What they take in the state folder, in bytes on disk.
    pub unpushed_bytes: u64,
    /// Whether batches wait because that has reached [its limit](crate::GitWriterBuilder::unpushed_bytes). They are committed when
    /// a push has succeeded.
    pub is_full: bool,
    /// When the oldest of them was committed.
    pub unpushed_since: Option<Timestamp>,
    /// The latest push of this run.
    pub last_push: Option<LastPush>,
    /// Branches with what [`OnConflict::Branch`](crate::OnConflict::Branch) has put aside, until they are pushed.
    pub aside: Vec<BranchName>,
    /// The latest conflict with somebody else's commits of this run.
    pub last_conflict: Option<Conflict>,
    /// The latest rewrite of the remote's history that this run has met.
    pub last_rewrite: Option<Rewrite>,
    /// About how many commits there are notes that aren't on the remote.
    pub unpushed_notes: usize,
    /// Why not, when the last attempt failed. The branch goes on all the same.
    pub notes_error: Option<RemoteError>,
    /// What the writer does about unpushed commits.
    pub phase: PushPhase,
    /// What has happened in this run.
    pub totals: PushTotals,
}

/// What a run of a writer has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushTotals {
    /// Pushes of the branch that succeeded.
    pub pushes: u64,
    /// Attempts that failed, those to reach the remote at the start included. Not those that only lost a race.
    pub failures: u64,
    /// Conflicts that were met.
    pub conflicts: u64,
    /// Rewrites of the remote's history that were met.
    pub rewrites: u64,
}

/// A push that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastPush {
    /// The branch's tip since then.
    pub commit: CommitId,
    /// When the remote had it.
    pub at: Timestamp,
    /// How long the oldest of the commits that it brought had waited since it was committed.
    pub waited: Duration,
}

/// What the writer does about its unpushed commits.
#[derive(Clone, Debug, Default)]
pub enum PushPhase {
    /// There are none.
    #[default]
    Idle,
    /// A push is under way.
    Pushing,
    /// The last attempt failed; [`RemoteError::remedy`] says what helps.
    Waiting {
        /// Why.
        error: RemoteError,
        /// When the next attempt begins; sooner when there is new work.
        retry_at: Timestamp,
    },
}

/// How a writer ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Closed {
    /// How many commits of the branch the remote doesn't have, those of the other writers that share it included; none when it has
    /// all that were made before the close. They are on disk; the other writers or the next start push them.
    pub unpushed: usize,
    /// Why, when a push failed.
    pub error: Option<RemoteError>,
}
