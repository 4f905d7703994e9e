//! The repository that commits are pushed to, as the writer sees it.

use std::{fmt::Debug, io, sync::Arc, time::Duration};

use crate::{
    branch::BranchName,
    remedy::Remedy,
    sink::{CommitId, SinkError},
    url::RemoteUrl,
};

pub(crate) mod cli;

pub use cli::{CliRemote, GitVersion, MINIMUM_GIT_VERSION, create_bare, git_version};

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

    /// Moves `branch` from `expected` (`None`: it doesn't exist) to `commit`.
    async fn push(
        &self,
        commit: &CommitId,
        branch: &BranchName,
        expected: Option<&CommitId>,
    ) -> Result<Pushed, RemoteError>;
}

/// What a remote says about a branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteTip {
    /// Its commit; `None` when there is no such branch.
    pub branch: Option<CommitId>,
    /// The branch that the remote's HEAD names, with its commit; `None` in an empty repository.
    pub default_branch: Option<(BranchName, CommitId)>,
}

/// How a push succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The branch was moved.
    Moved,
    /// The branch was there already.
    UpToDate,
}

/// A remote, or the git that talks to it, could not do what it was asked to.
///
/// `words` are those of git and of the server, without passwords.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The credentials are missing or wrong, or don't allow this.
    #[error("{url} refused access, check the credentials and what they allow: {words}")]
    Authentication {
        /// The remote.
        url: RemoteUrl,
        /// What was said.
        words: String,
    },
    /// git failed in a way that has no class here.
    #[error("git could not {action} {url}: {words}")]
    Failed {
        /// What was tried, such as `push to`.
        action: &'static str,
        /// The remote.
        url: RemoteUrl,
        /// What was said.
        words: String,
    },
    /// The local repository could not note what the remote did.
    #[error("the local repository could not follow the remote")]
    Local {
        /// Why not.
        #[source]
        source: Arc<SinkError>,
    },
    /// Somebody else moved the branch, or is doing so.
    #[error("{} of {url} was moved by somebody else: {reason}", branch.full())]
    MovedTip {
        /// The remote.
        url: RemoteUrl,
        /// The branch.
        branch: BranchName,
        /// git's word for it, such as `fetch first`.
        reason: String,
    },
    /// The remote can't be reached, or the connection broke.
    #[error("{url} can't be reached: {words}")]
    Network {
        /// The remote.
        url: RemoteUrl,
        /// What was said.
        words: String,
    },
    /// There is no repository, or the credentials may not see it.
    #[error("there is no git repository at {url}, check the address: {words}")]
    NotFound {
        /// The remote.
        url: RemoteUrl,
        /// What was said.
        words: String,
    },
    /// The git that is installed lacks options that are needed.
    #[error("git {found} is too old: install {MINIMUM_GIT_VERSION} or later")]
    OldGit {
        /// What is installed.
        found: GitVersion,
    },
    /// The server refused the push: a hook, a protected branch, a limit.
    #[error("{url} refused the push to {}: {reason}{}", branch.full(), said(words, reason))]
    Refused {
        /// The remote.
        url: RemoteUrl,
        /// The branch.
        branch: BranchName,
        /// git's word for it, such as `pre-receive hook declined`.
        reason: String,
        /// What the server said.
        words: String,
    },
    /// The scratch repository of a probe could not be made.
    #[error("could not make a scratch repository in the folder for temporary files")]
    Scratch {
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// git could not be started.
    #[error("could not run git: install {MINIMUM_GIT_VERSION} or later and put it on PATH")]
    Spawn {
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// No answer came in time; it may have been done all the same.
    #[error("{url} did not answer within {limit:?} to: {action}")]
    TimeOut {
        /// What was tried, such as `push to`.
        action: &'static str,
        /// The remote.
        url: RemoteUrl,
        /// How long was waited.
        limit: Duration,
    },
    /// git printed what is not understood.
    #[error("git's answer to '{action} {url}' can't be understood, report it: {output:?}")]
    Unreadable {
        /// What was tried, such as `push to`.
        action: &'static str,
        /// The remote.
        url: RemoteUrl,
        /// What it printed.
        output: String,
    },
}

impl RemoteError {
    /// Returns what helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Authentication { .. }
            | Self::NotFound { .. }
            | Self::OldGit { .. }
            | Self::Refused { .. }
            | Self::Scratch { .. }
            | Self::Spawn { .. }
            | Self::Unreadable { .. } => Remedy::FixConfiguration,
            Self::MovedTip { .. } => Remedy::RefetchAndReplay,
            Self::Failed { .. } | Self::Local { .. } | Self::Network { .. } | Self::TimeOut { .. } => Remedy::Retry,
        }
    }

    /// Returns whether the branch may have been moved by somebody else. A race that was lost at the server has the same
    /// flag as a hook's refusal, so only the tip tells.
    pub fn may_be_moved_tip(&self) -> bool {
        matches!(self, Self::MovedTip { .. } | Self::Refused { .. })
    }
}

/// The server's words behind git's, with what to do where git's word alone says it.
fn said(words: &str, reason: &str) -> String {
    let advice = if reason.contains("currently checked out") {
        "; push to a bare repository, or check another branch out there"
    } else if reason.contains("protected branch") {
        "; allow this user to push there, or choose another branch"
    } else {
        ""
    };
    let words = if words.is_empty() { String::new() } else { format!(" ({words})") };
    format!("{words}{advice}")
}
