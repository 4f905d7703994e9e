//! `GitSink`: where plans become commits, the flow's end, seen from the left; `Files`: what stands there.

use std::{collections::BTreeMap, fmt, fmt::Debug, sync::Arc};

use reverser_core::{CommitPlan, RepoPath, yaml};

use crate::{remedy::Remedy, remote::RemoteError, sign::SignError};

/// Takes plans and makes them durable.
///
/// # Contract
/// - A batch is applied in order and as a whole: all of its plans and its cursors are durable when [`commit`] returns,
///   or none is.
/// - A plan that changes nothing (same bytes, or equal in meaning to the YAML that stands there) makes no commit and is
///   reported as [`Outcome::Unchanged`]; its cursors are durable all the same.
/// - Batches of one caller land in the order of its calls. [`commit`] never drops: it waits while the sink is full.
/// - Paths are below the sink's root; nothing outside of it is touched.
/// - A symbolic link or submodule is never replaced, removed or followed: a put at it, through it, or in the place of a
///   folder that has one is left out and told in [`Receipt::obstructed`], and the rest of its plan is done.
///
/// Not promised: that [`commit`] says anything about the remote; ask [`pushed`] for that.
///
/// [`commit`]: Self::commit
/// [`pushed`]: Self::pushed
#[async_trait::async_trait]
pub trait GitSink: Files {
    /// Commits the batch; returns what became of each plan, durable but not yet pushed.
    async fn commit(&self, batch: Batch) -> Result<Receipt, SinkError>;

    /// Returns once the remote has all that `receipt` promised, also when it had to be replayed onto somebody else's
    /// commits. Waits for ever; callers set the limit. Returns at once where there is no remote.
    async fn pushed(&self, receipt: &Receipt) -> Result<(), SinkError>;

    /// Returns once what others have pushed is taken in, as far as the remote had it when this was called: what is read from
    /// then on shows it. Otherwise that is seen with the next push. Returns at once where there is no remote.
    ///
    /// # Errors
    /// [`SinkError::Remote`] when the remote can't be looked at; what was known before can be read all the same.
    async fn catch_up(&self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Notes a fact about a commit that came after it; durable when this returns, but not yet on the remote.
    ///
    /// It goes to `refs/notes/reverser` as git-notes(1) has it: several facts about a commit are paragraphs of one note, and a text that
    /// is there isn't added again. It follows its commit where that is made again on somebody else's, and is dropped with one that
    /// isn't. A sink that keeps no history has nothing to note it on.
    async fn note(&self, _note: Note) -> Result<(), SinkError> {
        Ok(())
    }

    /// Returns the cursors that were committed last, by source.
    async fn cursors(&self) -> Result<BTreeMap<String, String>, SinkError>;
}

/// Files that can be read: what a sink has committed last, or a repository as it is or was ([`GitReader`](crate::GitReader)).
///
/// # Contract
/// - Paths are below a root of the implementation's; nothing outside of it is seen.
/// - Symbolic links, submodules and names that aren't a [`RepoPath`] are neither listed nor followed.
#[async_trait::async_trait]
pub trait Files: Debug + Send + Sync {
    /// Returns the paths of all files below `folder` (`None`: the root), in byte order.
    async fn list(&self, folder: Option<&RepoPath>) -> Result<Vec<RepoPath>, SinkError>;

    /// Returns a file's content, or `None` when there is none.
    async fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, SinkError>;
}

/// Plans that become durable together, and how far their sources have been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Commits to make, in order.
    pub plans: Vec<CommitPlan>,
    /// Opaque positions by source, such as a watch's resourceVersion. Sources that aren't named keep theirs; an empty
    /// position takes a source's away.
    pub cursors: BTreeMap<String, String>,
}

/// A fact about a commit that came after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The commit, as [`Outcome::Committed`] named it; it may have another id by now.
    pub commit: CommitId,
    /// What is to be known about it: text, in lines, such as trailers.
    pub text: String,
}

/// Takes in what a batch says of positions.
pub(crate) fn move_cursors(cursors: &mut BTreeMap<String, String>, moved: BTreeMap<String, String>) {
    cursors.extend(moved);
    cursors.retain(|_, position| !position.is_empty());
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// One for each plan, in the order of the plans.
    pub outcomes: Vec<Outcome>,
    /// The writer's count of batches up to this one; what [`GitSink::pushed`] waits for.
    pub sequence: u64,
    /// The files that were not written, in the order of the edits. Trying again helps once a person has made place.
    pub obstructed: Vec<Obstructed>,
}

/// A file that was not written, since something that is nobody's to replace is in the way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Obstructed {
    /// The file, below the sink's root.
    pub path: RepoPath,
    /// Where the obstacle stands, from the repository's root: there, at a folder that leads there, or below.
    pub at: String,
    /// What it is.
    pub obstacle: Obstacle,
}

impl fmt::Display for Obstructed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let obstacle = match self.obstacle {
            Obstacle::Submodule => "submodule",
            Obstacle::SymbolicLink => "symbolic link",
        };
        write!(
            f,
            "{} is not written: {} is a {obstacle}; remove it, or choose another path or layout",
            self.path, self.at
        )
    }
}

/// What is left where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// Another repository.
    Submodule,
    /// A link to another place.
    SymbolicLink,
}

/// What became of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is this commit. A replay onto somebody else's push gives it another id.
    Committed(CommitId),
    /// Nothing differed from what stands there.
    Unchanged,
    /// Its files are written, and the sink keeps no history.
    Written,
}

/// A commit's object id in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommitId(Arc<str>);

impl CommitId {
    /// Takes 40 (SHA-1) or 64 (SHA-256) hexadecimal digits as git prints them.
    pub(crate) fn new(hex: impl fmt::Display) -> Self {
        Self(hex.to_string().into())
    }

    /// Returns all of its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first eight digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sink could not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The task that owns the repository has ended.
    #[error("the writer of {sink} has ended")]
    Closed {
        /// The repository or folder.
        sink: String,
    },
    /// There is no room for the local repository or folder; nothing of the batch counts. Once there is, the next batch is
    /// committed as ever.
    #[error("{action} {sink}: the disk or the quota there is full; free space, and it goes on by itself")]
    Full {
        /// What was tried, such as `write a pack into`.
        action: &'static str,
        /// The repository or folder.
        sink: String,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Whoever records changes came to its end, and what was read last could not be committed within this time.
    #[error("what was read last could not be committed within {limit:?}; the next start reads it again")]
    Late {
        /// How long it was tried.
        limit: std::time::Duration,
    },
    /// What others have pushed could not be looked at.
    #[error("could not look at what others have pushed")]
    Remote {
        /// Why not.
        #[source]
        source: RemoteError,
    },
    /// A commit could not be signed; nothing of the batch counts, and nothing is committed without a signature.
    #[error("can't sign a commit of {sink}; none is made without a signature")]
    Sign {
        /// The repository.
        sink: String,
        /// Why not.
        #[source]
        source: SignError,
    },
    /// Reading or writing the local repository or folder failed; nothing of the batch counts.
    #[error("{action} {sink}")]
    Store {
        /// What was tried, such as `write a pack into`.
        action: &'static str,
        /// The repository or folder.
        sink: String,
        /// Why it failed.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl SinkError {
    /// A constructor, not `From`: the action and the place can't be forgotten.
    pub(crate) fn store(
        action: &'static str,
        sink: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Store { action, sink: sink.to_owned(), source: Arc::from(source.into()) }
    }

    /// Returns what helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Closed { .. } | Self::Late { .. } => Remedy::Restart,
            Self::Full { .. } | Self::Store { .. } => Remedy::FixConfiguration,
            Self::Remote { source } => source.remedy(),
            Self::Sign { source, .. } => source.remedy(),
        }
    }
}

/// Returns whether a file need not be written: the one that stands there has the same bytes, or is YAML of the same
/// meaning, which stays as its author formatted it.
///
/// ```
/// use reverser_git::says_the_same;
///
/// let path = "v1/configmaps/shop/web.yaml".parse()?;
/// assert!(says_the_same(&path, b"# by hand\na: 'b'\n", b"a: b\n"));
/// assert!(!says_the_same(&path, b"a: 1\n", b"a: '1'\n"));
/// # Ok::<(), reverser_core::RepoPathError>(())
/// ```
pub fn says_the_same(path: &RepoPath, standing: &[u8], content: &[u8]) -> bool {
    let is_yaml = [".yaml", ".yml"].iter().any(|extension| path.as_str().ends_with(extension));
    standing == content || is_yaml && yaml::same_meaning(standing, content)
}
