//! Why a writer could not start.

use std::{io, path::PathBuf, sync::Arc};

use crate::{branch::BranchName, remedy::Remedy, remote::RemoteError, sign::SignError, sink::SinkError};

/// A writer could not start.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The state folder can't be written.
    #[error("can't use the state folder {}", folder.display())]
    Folder {
        /// The state folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another writer has the state folder; give each its own.
    #[error("another reverser ({holder}) uses the state folder {}", folder.display())]
    Locked {
        /// The state folder.
        folder: PathBuf,
        /// Who it is, such as `process 4711`.
        holder: String,
    },
    /// The folder that is to be a repository without a remote holds something else.
    #[error("{} holds files and no git repository: name an empty folder, or run 'git init' there", folder.display())]
    NoRepository {
        /// The folder.
        folder: PathBuf,
    },
    /// No state folder was given, and there is no home to put one in.
    #[error("no state folder was given, and neither XDG_STATE_HOME nor HOME is set")]
    NoStateDir,
    /// The state folder belongs to another remote.
    #[error("the state folder {} belongs to {was}, not to {is}: give each repository a state folder of its own", folder.display())]
    OtherRemote {
        /// The state folder.
        folder: PathBuf,
        /// The remote that it was made for.
        was: String,
        /// The one that was asked for.
        is: String,
    },
    /// A state folder was named for a repository without a remote, which holds its state itself.
    #[error("a repository without a remote holds its state itself: leave the state folder {} out", folder.display())]
    OwnState {
        /// The state folder.
        folder: PathBuf,
    },
    /// The remote can't be read, and nothing is known from an earlier run.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// This process writes to the branch already, with another state folder.
    #[error("this process writes to {branch} of {remote} already, with the state folder {}: leave {} out, or name the same", folder.display(), asked.display())]
    SharedBranch {
        /// The branch.
        branch: BranchName,
        /// The repository, as the first writer names it.
        remote: String,
        /// The state folder that is in use.
        folder: PathBuf,
        /// The one that was asked for.
        asked: PathBuf,
    },
    /// The signer can't sign, which is tried at each start.
    #[error("commits can't be signed")]
    Sign(#[source] SignError),
    /// The local repository can't be read.
    #[error(transparent)]
    Store(#[from] SinkError),
}

impl OpenError {
    /// Returns what helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Folder { .. }
            | Self::Locked { .. }
            | Self::NoRepository { .. }
            | Self::NoStateDir
            | Self::OtherRemote { .. }
            | Self::OwnState { .. }
            | Self::SharedBranch { .. } => Remedy::FixConfiguration,
            Self::Remote(error) => error.remedy(),
            Self::Sign(error) => error.remedy(),
            Self::Store(error) => error.remedy(),
        }
    }
}
