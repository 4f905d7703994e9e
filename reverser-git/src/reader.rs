//! `GitReader`: the files of a repository as they are, or as they were at a commit or a time.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use reverser_core::{RepoPath, Signature};

use crate::{
    blocking::blocking,
    branch::BranchName,
    commit::Commit,
    credentials::RemoteAccess,
    deflate::CompressionLevel,
    history::GitHistory,
    objects::{Id, Kind, ObjectFormat, Objects},
    remote::{
        CliRemote, Remote, RemoteError,
        cli::{Compared, History},
    },
    scratch::Scratch,
    sink::{CommitId, Files, SinkError},
    store,
    trees::Folder,
    url::RemoteUrl,
};

mod at;
mod error;

pub use at::{At, AtError};
pub use error::ReadError;

/// Reads the files of one commit, which stays the same for as long as this lives, whatever is pushed; clones are the same
/// reader.
///
/// It is no writer: it takes no lock and no state folder, and may read beside any number of writers. A repository on this machine is
/// read where it is. Of another one a copy is made in the folder for temporary files, which goes with the last clone: of the
/// tip its files alone, of an earlier commit the history too, without contents but for those that can be asked for, where the
/// server filters.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let repository = folder.path().join("audit.git");
/// # let writer = reverser_git::GitWriter::local(&repository)?.start().await?;
/// # use reverser_git::GitSink;
/// # let plan = reverser_core::CommitPlan {
/// #     author: None,
/// #     date: jiff::Timestamp::now(),
/// #     message: "Add a greeting".to_owned(),
/// #     edits: vec![reverser_core::Edit::Put { path: "hello.yaml".parse()?, content: b"hello: world\n".to_vec() }],
/// # };
/// # let receipt = writer.commit(reverser_git::Batch { plans: vec![plan], ..Default::default() }).await?;
/// # writer.pushed(&receipt).await?;
/// use reverser_git::{At, Credentials, Files, GitReader};
///
/// let url = repository.to_string_lossy().parse()?;
/// let reader = GitReader::open(url, Credentials::FromGit).at(At::Named("main~0".into())).start().await?;
/// assert_eq!(reader.commit().subject, "Add a greeting");
/// assert_eq!(reader.read(&"hello.yaml".parse()?).await?.as_deref(), Some(&b"hello: world\n"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GitReader {
    tree: Arc<Mutex<Tree>>,
    commit: Arc<ReadCommit>,
    under: Option<RepoPath>,
    name: Arc<str>,
}

impl GitReader {
    /// Returns a builder for a reader of the repository at `url`, which logs in as a [`GitWriter`](crate::GitWriter) does.
    pub fn open(url: RemoteUrl, access: impl Into<RemoteAccess>) -> GitReaderBuilder {
        GitReaderBuilder {
            url,
            access: access.into(),
            branch: BranchName::default(),
            at: At::Tip,
            under: None,
            transfer_limit: None,
            has_history: false,
        }
    }

    /// Returns which commit is read.
    pub fn commit(&self) -> &ReadCommit {
        &self.commit
    }

    pub(crate) fn under(&self) -> Option<&RepoPath> {
        self.under.as_ref()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tree) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let tree = Arc::clone(&self.tree);
        // A panic under the lock leaves nothing half done: what is loaded is only ever more.
        blocking(move || work(&mut tree.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    pub(crate) fn rooted(&self, path: &RepoPath) -> RepoPath {
        self.under.as_ref().map_or_else(|| path.clone(), |under| under.join(path))
    }
}

#[async_trait::async_trait]
impl Files for GitReader {
    async fn list(&self, folder: Option<&RepoPath>) -> Result<Vec<RepoPath>, SinkError> {
        let (folder, under) = (folder.map(|folder| self.rooted(folder)), self.under.clone());
        let folder = folder.or_else(|| under.clone());
        self.blocking(move |tree| tree.root.list(folder.as_ref(), under.as_ref(), &tree.objects)).await
    }

    async fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, SinkError> {
        let path = self.rooted(path);
        self.blocking(move |tree| match tree.root.get(path.as_str().as_bytes(), &tree.objects)? {
            Some(file) if file.is_regular() => tree.objects.read(file.id, Kind::Blob).map(Some),
            _ => Ok(None),
        })
        .await
    }
}

impl std::fmt::Display for GitReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.commit.id.short(), self.name)
    }
}

/// The commit that a reader reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadCommit {
    /// Its id.
    pub id: CommitId,
    /// When it was committed, as it says itself.
    pub committed_at: Timestamp,
    /// Whose change it is; `None` when that isn't `Name <mail>`.
    pub author: Option<Signature>,
    /// The first line of its message.
    pub subject: String,
    /// It was chosen by [`At::Time`], and commits before it say that they are later: some clock was wrong, and this may be another
    /// commit than the one that was the branch's tip then.
    pub clock_was_wrong: bool,
}

/// What a [`GitReader`] is made of. Only the repository has to be named.
#[derive(Clone, Debug)]
pub struct GitReaderBuilder {
    url: RemoteUrl,
    access: RemoteAccess,
    branch: BranchName,
    at: At,
    under: Option<RepoPath>,
    transfer_limit: Option<Duration>,
    /// Whether what led to the commit is read, too.
    has_history: bool,
}

impl GitReaderBuilder {
    /// Names the branch whose tip, or whose commit at a time, is read; `main` otherwise.
    #[must_use]
    pub fn branch(mut self, branch: BranchName) -> Self {
        self.branch = branch;
        self
    }

    /// Says which commit is read; the branch's tip otherwise.
    #[must_use]
    pub fn at(mut self, at: At) -> Self {
        self.at = at;
        self
    }

    /// Names the folder that all paths are below; the repository's root otherwise. Where the server filters, contents of other
    /// folders don't come here.
    #[must_use]
    pub fn under(mut self, folder: RepoPath) -> Self {
        self.under = Some(folder);
        self
    }

    /// Limits how long a fetch may take; 10 minutes otherwise.
    #[must_use]
    pub fn transfer_limit(mut self, limit: Duration) -> Self {
        self.transfer_limit = Some(limit);
        self
    }

    /// Finds the commit, and brings what of it isn't on this machine.
    pub async fn start(self) -> Result<GitReader, ReadError> {
        // The remote goes before the folder.
        let (reader, _git_dir, _remote) = self.open().await?;
        Ok(reader)
    }

    /// Finds the commit, and brings what led to it as well.
    pub async fn history(mut self) -> Result<GitHistory, ReadError> {
        self.has_history = true;
        let refspec = format!("+{0}:{0}", self.branch.full());
        let (reader, git_dir, remote) = self.open().await?;
        let notes = match &remote {
            Some(remote) => remote.fetch_notes().await?,
            None => None,
        };
        Ok(GitHistory::open(reader, git_dir, remote.map(|remote| (remote, refspec)), notes).await?)
    }

    async fn open(self) -> Result<(GitReader, PathBuf, Option<CliRemote>), ReadError> {
        let (git_dir, copy) = match self.url.is_local_path() {
            Some(folder) => (self.repository_in(folder)?, None),
            None => {
                let copy = self.copy().await?;
                (copy.git_dir.clone(), Some(copy))
            }
        };
        let history = History::new(self.url.clone(), git_dir.clone());
        let (id, clock_was_wrong) = self.find(&history, copy.as_ref()).await?;
        if let Some(copy) = &copy {
            copy.remote.fetch_contents(&id).await?;
        }
        let name = format!("{} of {}", self.branch, self.url).into();
        let (remote, scratch) = copy.map(|copy| (copy.remote, copy.scratch)).unzip();
        let folder = git_dir.clone();
        let (tree, commit) = blocking(move || Tree::open(&folder, &id, scratch)).await?;
        let commit = Arc::new(ReadCommit { clock_was_wrong, ..commit });
        Ok((GitReader { tree: Arc::new(Mutex::new(tree)), commit, under: self.under, name }, git_dir, remote))
    }

    /// Returns the repository in a folder of this machine: itself, or what `.git` there is or names (gitrepository-layout(5)).
    fn repository_in(&self, folder: &Path) -> Result<PathBuf, ReadError> {
        let inside = folder.join(".git");
        let git_dir = match std::fs::read_to_string(&inside) {
            Ok(text) => folder.join(text.trim_end().strip_prefix("gitdir: ").unwrap_or_default()),
            Err(_) if inside.is_dir() => inside,
            Err(_) => folder.to_owned(),
        };
        // Otherwise git looks for one in the folders above.
        if git_dir.join("HEAD").is_file() {
            return Ok(git_dir);
        }
        let words = "the folder holds no HEAD".to_owned();
        Err(RemoteError::NotFound { url: self.url.clone(), words }.into())
    }

    /// Makes the repository in which a copy of what is read comes to stand, and what brings it there.
    async fn copy(&self) -> Result<Copied, ReadError> {
        let failed = |source| RemoteError::Scratch { source: Arc::new(source) };
        let scratch = Scratch::create("read").map_err(failed)?;
        let git_dir = scratch.path().join("repository.git");
        store::create(&git_dir, &self.branch).map_err(failed)?;
        let login = scratch.path().join("login");
        let remote = CliRemote::open(self.url.clone(), self.access.clone(), &git_dir, &login).await?;
        let remote = match self.transfer_limit {
            Some(limit) => remote.transfer_limit(limit),
            None => remote,
        };
        let tip = remote.tip(&self.branch).await?;
        if tip.branch.is_none() && !matches!(self.at, At::Named(_)) {
            return Err(self.no_branch(tip.default_branch.map(|(name, _)| name)));
        }
        if tip.object_format != ObjectFormat::Sha1 {
            store::create_again(&git_dir, &self.branch, tip.object_format).map_err(failed)?;
        }
        // All contents of one commit come in one request without a filter.
        if self.at == At::Tip && self.under.is_none() && !self.has_history {
            return Ok(Copied { remote, git_dir, scratch });
        }
        let compared = Compared::default();
        compared.add(self.under.clone());
        Ok(Copied { remote: remote.comparing_below(compared)?, git_dir, scratch })
    }

    /// Returns the commit, and whether a clock was wrong about it.
    async fn find(&self, history: &History, copy: Option<&Copied>) -> Result<(CommitId, bool), ReadError> {
        let branch = self.branch.full();
        match &self.at {
            At::Tip => {
                if let Some(Copied { remote, .. }) = copy {
                    if self.has_history {
                        remote.fetch_history(&self.branch).await?;
                    } else {
                        remote.fetch_tip_alone(&self.branch).await?;
                    }
                }
                Ok((self.tip(history).await?, false))
            }
            At::Named(name) => {
                if let Some(Copied { remote, .. }) = copy {
                    remote.fetch_all_refs().await?;
                }
                let mut found = history.commit(name).await?;
                if let (Err(_), Some(Copied { remote, .. })) = (&found, copy)
                    && remote.fetch_unnamed(name).await?
                {
                    found = history.commit(name).await?;
                }
                let no_commit = |words| ReadError::NoCommit { url: self.url.clone(), name: name.clone(), words };
                Ok((found.map_err(no_commit)?, false))
            }
            At::Time(time) => {
                if let Some(Copied { remote, .. }) = copy {
                    remote.fetch_history(&self.branch).await?;
                }
                self.tip(history).await?;
                let commits = history.first_parents(&branch).await?;
                let (place, clock_was_wrong) =
                    at::at_time(&commits, *time).ok_or_else(|| self.too_early(*time, &commits))?;
                Ok((commits[place].0.clone(), clock_was_wrong))
            }
        }
    }

    async fn tip(&self, history: &History) -> Result<CommitId, ReadError> {
        match history.commit(&self.branch.full()).await? {
            Ok(tip) => Ok(tip),
            Err(_) => Err(self.no_branch(history.head().await?)),
        }
    }

    fn no_branch(&self, head: Option<BranchName>) -> ReadError {
        ReadError::NoBranch { url: self.url.clone(), branch: self.branch.clone(), head }
    }

    fn too_early(&self, time: Timestamp, commits: &[(CommitId, Timestamp)]) -> ReadError {
        let first = commits.last().map_or(Timestamp::UNIX_EPOCH, |(_, first)| *first);
        ReadError::TooEarly { url: self.url.clone(), branch: self.branch.clone(), time, first }
    }
}

/// A copy of a remote repository. It goes first, with the credentials, and its folder after it.
struct Copied {
    remote: CliRemote,
    git_dir: PathBuf,
    scratch: Scratch,
}

/// The files of a commit.
#[derive(Debug)]
struct Tree {
    root: Folder,
    objects: Objects,
    /// Where the objects are, unless they are the user's own.
    _scratch: Option<Scratch>,
}

impl Tree {
    fn open(git_dir: &Path, id: &CommitId, scratch: Option<Scratch>) -> Result<(Self, ReadCommit), SinkError> {
        let objects = Objects::open(git_dir, CompressionLevel::default())?;
        let object = Id::try_from(id)?;
        let commit = Commit::parse(&objects.read(object, Kind::Commit)?).ok_or_else(|| objects.malformed(object))?;
        let read = ReadCommit {
            id: id.clone(),
            committed_at: commit.committed_at().ok_or_else(|| objects.malformed(object))?,
            author: commit.authored_by(),
            subject: String::from_utf8_lossy(&commit.message).lines().next().unwrap_or_default().to_owned(),
            clock_was_wrong: false,
        };
        Ok((Self { root: Folder::of(commit.tree), objects, _scratch: scratch }, read))
    }
}
