//! What a writer is made of: its options and their defaults.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use reverser_core::{RepoPath, Signature};

use crate::{
    branch::BranchName, conflict::OnConflict, credentials::RemoteAccess, deflate::CompressionLevel, sign::Signer,
    url::RemoteUrl, writer::shared::Shared,
};

/// What a [`GitWriter`](crate::GitWriter) is made of. Only the remote has to be named; [`start`](Self::start) says what counts
/// where a branch has several writers.
///
/// ```no_run
/// use std::{sync::Arc, time::Duration};
///
/// use reverser_git::{Credentials, GitWriter, OnConflict, Secret, SshSigner};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// // A mounted Secret: read again before each command, so that a new token needs no restart.
/// let access = Credentials::Basic {
///     username: Secret::File("/git/username".into()),
///     password: Secret::File("/git/password".into()),
/// };
/// let writer = GitWriter::open("https://git.example.com/team/platform.git".parse()?, access)
///     .branch("cluster".parse()?)
///     .under("clusters/north".parse()?)
///     .signer(Arc::new(SshSigner::open("/git/signing-key", None)?))
///     .state_dir("/var/lib/reverser/platform".into()) // on a volume: it is the queue
///     .unpushed_bytes(256 << 20) // less than the volume has
///     .on_conflict(OnConflict::Branch) // a person decides, and the rest goes on
///     .push_interval(Duration::from_secs(5))
///     .start()
///     .await?;
/// # drop(writer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GitWriterBuilder {
    pub(super) url: RemoteUrl,
    pub(super) access: RemoteAccess,
    pub(super) place: Place,
    pub(super) branch: BranchName,
    pub(super) under: Option<RepoPath>,
    pub(super) committer: Signature,
    pub(super) signer: Option<Arc<dyn Signer>>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) queue_bytes: u32,
    pub(super) transfer_limit: Option<Duration>,
    pub(super) shared: Shared,
}

/// Where a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the repository that commits are made in.
    Here,
    /// In another one, which commits are pushed to.
    Remote,
}

/// Which branch and folder, and whose commits.
impl GitWriterBuilder {
    pub(super) fn new(url: RemoteUrl, access: RemoteAccess, place: Place) -> Self {
        Self {
            url,
            access,
            place,
            branch: BranchName::default(),
            under: None,
            committer: Signature::new("reverser", "reverser@localhost"),
            signer: None,
            state_dir: None,
            queue_bytes: QUEUE_BYTES,
            transfer_limit: None,
            shared: Shared::default(),
        }
    }

    /// Names the branch; `main` otherwise. One that the remote doesn't have begins where [`start_at`](Self::start_at) says.
    #[must_use]
    pub fn branch(mut self, branch: BranchName) -> Self {
        self.branch = branch;
        self
    }

    /// Sets where a branch begins that the remote doesn't have; [`StartAt::DefaultBranch`] otherwise.
    #[must_use]
    pub fn start_at(mut self, start_at: StartAt) -> Self {
        self.shared.start_at = Some(start_at);
        self
    }

    /// Names the folder that all paths are below; the repository's root otherwise.
    #[must_use]
    pub fn under(mut self, folder: RepoPath) -> Self {
        self.under = Some(folder);
        self
    }

    /// Names who commits, and who the author is where a plan names none; `reverser <reverser@localhost>` otherwise.
    #[must_use]
    pub fn committer(mut self, committer: Signature) -> Self {
        self.committer = committer;
        self
    }

    /// Names who signs the commits; none are signed otherwise. While it fails nothing is committed:
    /// [`commit`](crate::GitSink::commit) says [`SinkError::Sign`](crate::SinkError::Sign), and what somebody else's push makes
    /// necessary to commit again waits. Commits of an earlier run without a signer that aren't pushed yet are signed, too.
    #[must_use]
    pub fn signer(mut self, signer: Arc<dyn Signer>) -> Self {
        self.signer = Some(signer);
        self
    }
}

/// Where it is kept, and how much of it.
impl GitWriterBuilder {
    /// Names the folder of the local repository, which is the queue of what is not pushed: keep it on a disk that lasts.
    /// [`default_state_dir`](crate::default_state_dir) otherwise. One branch a folder; a writer that joins others needs to name
    /// the same, or none.
    #[must_use]
    pub fn state_dir(mut self, folder: PathBuf) -> Self {
        self.state_dir = Some(folder);
        self
    }

    /// Limits what of this writer's waits for being committed, in bytes of memory; 64 MiB otherwise. At the limit `commit` waits.
    /// A larger batch goes alone, and so does each at zero.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: u32) -> Self {
        self.queue_bytes = bytes.max(1);
        self
    }

    /// Limits what the state folder holds of commits that aren't pushed, in bytes on disk; 1 GiB otherwise. At the limit
    /// `commit` waits until a push has succeeded, and [`PushState::is_full`](crate::PushState::is_full) says so: nothing is refused
    /// or dropped, and all that was committed before stays. The last batch that is let in may exceed it; one is always let in
    /// when all is pushed, so that at zero each waits for the push of the one before.
    #[must_use]
    pub fn unpushed_bytes(mut self, bytes: u64) -> Self {
        self.shared.unpushed_bytes = Some(bytes);
        self
    }

    /// Sets how hard packs are compressed; 6 otherwise. A lower level takes less time for larger packs, on disk and on the
    /// way to the remote.
    #[must_use]
    pub fn compression(mut self, level: CompressionLevel) -> Self {
        self.shared.compression = Some(level);
        self
    }
}

/// How it is pushed.
impl GitWriterBuilder {
    /// Sets how long commits wait at most after a push before the next one takes them, for users who want fewer pushes.
    /// Zero otherwise: no longer than the push under way. A branch that has rested for so long pushes at once, and
    /// [`pushed`](crate::GitSink::pushed) and [`close`](crate::GitWriter::close) don't wait.
    #[must_use]
    pub fn push_interval(mut self, interval: Duration) -> Self {
        self.shared.push_interval = Some(interval);
        self
    }

    /// Sets how many commits don't wait until [`push_interval`](Self::push_interval) is over; without, that alone counts.
    #[must_use]
    pub fn push_max_commits(mut self, commits: NonZeroUsize) -> Self {
        self.shared.push_max_commits = Some(commits);
        self
    }

    /// Limits how long one fetch or push may take before it is ended and tried again; 10 minutes otherwise. More helps where
    /// a first push is large or slow; with less than those take, nothing ever gets through.
    #[must_use]
    pub fn transfer_limit(mut self, limit: Duration) -> Self {
        self.transfer_limit = Some(limit);
        self
    }

    /// Sets what happens where somebody else has changed the same file; [`OnConflict::Ours`] otherwise.
    #[must_use]
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.shared.on_conflict = Some(on_conflict);
        self
    }
}

/// Where a branch begins that the remote doesn't have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartAt {
    /// At the tip of the remote's default branch, with all of its files and history. In an empty repository, at nothing.
    #[default]
    DefaultBranch,
    /// At a first commit without a parent, which has only our own files.
    Orphan,
}

const QUEUE_BYTES: u32 = 64 << 20;
