//! Why a repository could not be read.

use jiff::Timestamp;

use crate::{branch::BranchName, remedy::Remedy, remote::RemoteError, sink::SinkError, url::RemoteUrl};

/// A repository could not be read at the commit that was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The repository has no such branch.
    #[error("{url} has no branch {branch}{}", match head {
        Some(head) => format!(": its own is {head}, name another branch"),
        None => ", and no commit on the one that its HEAD names: look whether it is the right repository".to_owned(),
    })]
    NoBranch {
        /// The repository.
        url: RemoteUrl,
        /// The branch that was asked for.
        branch: BranchName,
        /// The one that the repository's HEAD names, if it has commits.
        head: Option<BranchName>,
    },
    /// No commit has that name, or several have.
    #[error(
        "{url} has no commit {name:?}{}: give the id of one ('git log' shows them; so many digits that it is the only one), a tag, a branch, or a time such as 2026-11-21T10:00:00Z or '2h ago'",
        if words.is_empty() { String::new() } else { format!(" ({words})") }
    )]
    NoCommit {
        /// The repository.
        url: RemoteUrl,
        /// What was asked for.
        name: String,
        /// What git said, such as which commits it may be; or nothing.
        words: String,
    },
    /// The repository can't be read at all.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What was found can't be read.
    #[error(transparent)]
    Store(#[from] SinkError),
    /// The branch's first commit is later.
    #[error("{branch} of {url} begins at {first}, and has nothing of {time}: give a later time")]
    TooEarly {
        /// The repository.
        url: RemoteUrl,
        /// The branch.
        branch: BranchName,
        /// The time that was asked for.
        time: Timestamp,
        /// When the first commit was made.
        first: Timestamp,
    },
}

impl ReadError {
    /// Returns what helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::NoBranch { .. } | Self::NoCommit { .. } | Self::TooEarly { .. } => Remedy::FixConfiguration,
            Self::Remote(error) => error.remedy(),
            Self::Store(error) => error.remedy(),
        }
    }
}
