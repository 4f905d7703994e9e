//! `git` as a child process: the only module that knows its options and its output.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
    time::Duration,
};

use tokio::process::Command;

use crate::{
    branch::BranchName,
    credentials::RemoteAccess,
    objects::ObjectFormat,
    remote::{NotesPushed, Pushed, Refusal, Remote, RemoteError, RemoteTip, TipMove},
    sink::{CommitId, SinkError},
    url::RemoteUrl,
};

mod classes;
mod command;
mod history;
mod login;
mod notes;
mod own;
pub(crate) mod packs;
mod partial;
mod porcelain;

use classes::Class;
use command::{Configuration, Failure, READ_LIMIT, TRANSFER_LIMIT, git, run};
pub(crate) use history::History;
pub(crate) use login::clear as clear_login;
use login::{Login, Session};
pub(crate) use own::OwnRepository;
pub(crate) use partial::Compared;
use partial::Partial;
use porcelain::{RefUpdate, has_status, parse_format, parse_id, parse_push, parse_tip, parse_version, server_words};

/// The oldest git that is supported: `init --initial-branch` needs 2.28, `fetch --stdin` 2.29, `rev-list --disk-usage`
/// 2.31, `pack-objects --stdin-packs` 2.32.
pub const MINIMUM_GIT_VERSION: GitVersion = GitVersion { major: 2, minor: 32 };

/// A remote that the installed `git` talks to.
pub struct CliRemote {
    url: RemoteUrl,
    /// The local bare repository: commits are pushed from and fetched into it.
    git_dir: PathBuf,
    login: Arc<Login>,
    /// Which contents have to be here.
    partial: Partial,
    /// For what moves commits.
    transfer_limit: Duration,
}

impl CliRemote {
    /// Returns the remote at `url` for the bare repository `git_dir`. What git needs to log in goes into the folder
    /// `login_dir`, readable by its owner alone, and goes with the remote.
    pub async fn open(
        url: RemoteUrl,
        access: impl Into<RemoteAccess>,
        git_dir: &Path,
        login_dir: &Path,
    ) -> Result<Self, RemoteError> {
        // Commands run in a folder of their own.
        let git_dir = std::path::absolute(git_dir).map_err(|source| RemoteError::Spawn { source: Arc::new(source) })?;
        let login = Login::open(url.clone(), access.into().of(&url), login_dir).await?;
        Ok(Self { url, git_dir, login, partial: Partial::default(), transfer_limit: TRANSFER_LIMIT })
    }

    /// Limits how long a fetch or a push may take; 10 minutes otherwise. It is ended then, and counts as failed.
    #[must_use]
    pub fn transfer_limit(mut self, limit: Duration) -> Self {
        self.transfer_limit = limit;
        self
    }

    /// For what is answered with a few lines.
    fn read_limit(&self) -> Duration {
        READ_LIMIT.min(self.transfer_limit)
    }

    /// Replaces how to log in, from the next command on; an error, and the old way stays, when nothing can come of it.
    pub async fn set_access(&self, access: impl Into<RemoteAccess>) -> Result<(), RemoteError> {
        self.login.replace_access(access.into().of(&self.url)).await
    }

    /// Returns whether the remote would let this user push, without changing anything there: git opens the connection
    /// for a push, logs in, and stops before it sends one. Hooks and branch protection only speak up at a real push.
    pub(crate) async fn try_push(&self, commit: &CommitId) -> Result<(), RemoteError> {
        let session = self.login.session().await?;
        let mut command = session.git(&self.git_dir, "push");
        // A branch that isn't there, so that the answer doesn't depend on where others are.
        command.args(["--porcelain", "--dry-run", "--no-verify", "--", self.url.as_str()]);
        command.arg(format!("{commit}:refs/heads/reverser-probe"));
        let output = self.run(command, "push to", READ_LIMIT).await?;
        if output.status.success() { Ok(()) } else { Err(self.failed("push to", &output, &session)) }
    }

    async fn run(&self, command: Command, action: &'static str, limit: Duration) -> Result<Output, RemoteError> {
        run(command, limit).await.map_err(|failure| failure.of(action, &self.url))
    }

    /// Classifies a failure by what git and the server said.
    fn failed(&self, action: &'static str, output: &Output, session: &Session) -> RemoteError {
        let url = self.url.clone();
        let words = session.words(&output.stderr);
        match Class::of(&words) {
            Some(Class::Authentication) => RemoteError::Authentication { url, words },
            Some(Class::Certificate) => RemoteError::Certificate { url, words },
            Some(Class::ChangedHostKey) => RemoteError::HostKey { url, has_changed: true, words },
            Some(Class::Network) => RemoteError::Network { url, words },
            Some(Class::NotFound) => RemoteError::NotFound { url, words },
            Some(Class::OtherFormat) => RemoteError::OtherFormat { url, words },
            Some(Class::UnknownHostKey) => RemoteError::HostKey { url, has_changed: false, words },
            None => RemoteError::Failed { action, url, words },
        }
    }

    /// Brings a ref with its history here, under another name; returns what it names.
    async fn fetch_into(&self, name: &str, incoming: &str) -> Result<CommitId, RemoteError> {
        // A fetch that was killed at its limit may have left its lock; there is never another one at work here.
        let lock = self.git_dir.join(format!("{incoming}.lock"));
        if let Err(source) = std::fs::remove_file(&lock)
            && source.kind() != io::ErrorKind::NotFound
        {
            let store =
                SinkError::store("remove a lock that was left behind in", &self.git_dir.to_string_lossy(), source);
            return Err(RemoteError::Local { source: Arc::new(store) });
        }
        let session = self.login.session().await?;
        let mut command = self.fetch_command(&session);
        command.arg(format!("+{name}:{incoming}"));
        let output = self.run(command, "fetch from", self.transfer_limit).await?;
        if !output.status.success() {
            return Err(self.failed("fetch from", &output, &session));
        }
        // A warning, and success.
        if String::from_utf8_lossy(&output.stderr).contains("shallow roots are not allowed") {
            return Err(RemoteError::Shallow { url: self.url.clone() });
        }
        // The file, not `git rev-parse`: while others push, each process more is a chance less. A branch has nothing but commits.
        let written = std::fs::read(self.git_dir.join(incoming)).unwrap_or_default();
        parse_id(String::from_utf8_lossy(&written).trim_end())
            .ok_or_else(|| self.unreadable("fetch from", &written, &session))
    }

    /// Moves a ref from `expected` to `commit`, or not at all.
    async fn push_to(
        &self,
        commit: &CommitId,
        target: &str,
        expected: Option<&CommitId>,
    ) -> Result<Update, RemoteError> {
        let expected = expected.map(CommitId::as_str).unwrap_or_default();
        let session = self.login.session().await?;
        let push = async || {
            let mut command = session.git(&self.git_dir, "push");
            command.args(["--porcelain", "--no-verify", "--no-follow-tags", "--no-recurse-submodules"]);
            // The lease makes the swap exact. It forces nothing: our commit descends from the leased one.
            command.arg(format!("--force-with-lease={target}:{expected}"));
            command.args(["--", self.url.as_str(), &format!("{commit}:{target}")]);
            self.run(command, "push to", self.transfer_limit).await
        };
        let mut output = push().await?;
        if self.lacks_contents(&output) {
            self.fetch_all_missing(commit).await?;
            output = push().await?;
        }
        let server_words = || session.words(&server_words(&output.stderr));
        match parse_push(&output.stdout, target) {
            Some(RefUpdate::Accept(pushed)) if output.status.success() => Ok(Update::Accepted(pushed)),
            Some(RefUpdate::Lose(reason)) => {
                let words = format!("{reason}; {}", session.words(&output.stderr));
                Err(RemoteError::Network { url: self.url.clone(), words })
            }
            Some(RefUpdate::Move(how, reason)) => Ok(Update::Moved { how, reason, words: server_words() }),
            Some(RefUpdate::Refuse(reason)) => {
                let words = server_words();
                Ok(Update::Refused { by: Refusal::of(&reason, &words), reason, words })
            }
            None if !output.status.success() && !has_status(&output.stdout) => {
                let words = session.words(&output.stderr);
                match Refusal::of_transfer(&words) {
                    Some(by) => Ok(Update::Refused { by, reason: by.to_string(), words }),
                    None => Err(self.failed("push to", &output, &session)),
                }
            }
            _ => Err(self.unreadable("push to", &output.stdout, &session)),
        }
    }

    /// Asks for the object format where no id tells: only the protocol says it of an empty repository, and since version 2.
    async fn object_format(&self, session: &Session) -> Result<ObjectFormat, RemoteError> {
        // Whatever the user's configuration says of the version.
        let mut command = session.git(&self.git_dir, "-c");
        command.args(["protocol.version=2", "ls-remote"]);
        // The trace has no headers, and thus no credentials. It comes on stderr, between whatever else is said there.
        command.env("GIT_TRACE_PACKET", "1").args(["--", self.url.as_str(), "HEAD"]);
        let output = self.run(command, "read the refs of", self.read_limit()).await?;
        if output.status.success() {
            Ok(parse_format(&output.stderr))
        } else {
            Err(self.failed("read the refs of", &output, session))
        }
    }

    fn unreadable(&self, action: &'static str, output: &[u8], session: &Session) -> RemoteError {
        RemoteError::Unreadable { action, url: self.url.clone(), output: session.words(output) }
    }
}

impl fmt::Debug for CliRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CliRemote").field("login", &self.login).field("git_dir", &self.git_dir).finish()
    }
}

#[async_trait::async_trait]
impl Remote for CliRemote {
    async fn tip(&self, branch: &BranchName) -> Result<RemoteTip, RemoteError> {
        let session = self.login.session().await?;
        let mut command = session.git(&self.git_dir, "ls-remote");
        command.args(["--symref", "--", self.url.as_str(), "HEAD", &branch.full()]);
        let output = self.run(command, "read the refs of", self.read_limit()).await?;
        if !output.status.success() {
            return Err(self.failed("read the refs of", &output, &session));
        }
        let unreadable = || self.unreadable("read the refs of", &output.stdout, &session);
        let tip = parse_tip(&output.stdout, branch).ok_or_else(unreadable)?;
        if tip.branch.is_some() || tip.default_branch.is_some() {
            return Ok(tip);
        }
        Ok(RemoteTip { object_format: self.object_format(&session).await?, ..tip })
    }

    async fn fetch(&self, branch: &BranchName) -> Result<CommitId, RemoteError> {
        let tip = self.fetch_into(&branch.full(), &format!("refs/incoming/{}", branch.encoded())).await?;
        self.fetch_contents(&tip).await?;
        Ok(tip)
    }

    async fn fetch_contents(&self, commit: &CommitId) -> Result<(), RemoteError> {
        self.fetch_missing(commit).await
    }

    async fn push(
        &self,
        commit: &CommitId,
        branch: &BranchName,
        expected: Option<&CommitId>,
    ) -> Result<Pushed, RemoteError> {
        let (url, branch) = (self.url.clone(), branch.clone());
        match self.push_to(commit, &branch.full(), expected).await? {
            Update::Accepted(pushed) => Ok(pushed),
            Update::Moved { how, reason, words } => {
                let reason = if words.is_empty() { reason } else { format!("{reason} ({words})") };
                Err(RemoteError::MovedTip { url, branch, how, reason })
            }
            Update::Refused { by, reason, words } => Err(RemoteError::Refused { url, branch, by, reason, words }),
        }
    }

    async fn fetch_notes(&self) -> Result<Option<CommitId>, RemoteError> {
        self.notes().await
    }

    async fn fetch_texts(&self, texts: &[CommitId]) -> Result<(), RemoteError> {
        self.texts(texts).await
    }

    async fn push_notes(&self, commit: &CommitId, expected: Option<&CommitId>) -> Result<NotesPushed, RemoteError> {
        match self.push_to(commit, crate::notes::REF, expected).await? {
            Update::Accepted(_) => Ok(NotesPushed::Done),
            Update::Moved { .. } => Ok(NotesPushed::Moved),
            Update::Refused { reason, words, .. } => {
                Err(RemoteError::NotesRefused { url: self.url.clone(), reason, words })
            }
        }
    }
}

/// What a server has made of a push.
enum Update {
    Accepted(Pushed),
    Moved { how: TipMove, reason: String, words: String },
    Refused { by: Refusal, reason: String, words: String },
}

/// Creates an empty bare repository whose HEAD names `branch`, with the folders that lead to it.
pub async fn create_bare(folder: &Path, branch: &BranchName) -> Result<(), RemoteError> {
    let url = folder.to_string_lossy().parse().map_err(|error: crate::RemoteUrlError| RemoteError::Spawn {
        source: Arc::new(io::Error::new(io::ErrorKind::InvalidInput, error)),
    })?;
    let mut command = git(None, Configuration::Ours, None);
    command.args(["init", "--quiet", "--bare", "--template="]);
    command.arg(format!("--initial-branch={branch}")).arg("--").arg(folder);
    let output = run(command, READ_LIMIT).await.map_err(|failure| failure.of("create", &url))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RemoteError::Failed { action: "create", url, words })
}

/// Writes a commit without files into a bare repository; for [`CliRemote::try_push`].
pub(crate) async fn empty_commit(git_dir: &Path) -> io::Result<CommitId> {
    let mut id = None;
    for arguments in [&["mktree"][..], &["commit-tree", "-m", "probe"]] {
        let mut command = git(Some(git_dir), Configuration::Ours, None);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "reverser").env(format!("GIT_{role}_EMAIL"), "reverser@localhost");
        }
        command.args(arguments).args(id.as_ref().map(CommitId::as_str));
        let output = match run(command, READ_LIMIT).await {
            Ok(output) => output,
            Err(Failure::Spawn(source)) => return Err(source),
            Err(Failure::TimeOut(_)) => return Err(io::ErrorKind::TimedOut.into()),
        };
        id = parse_id(String::from_utf8_lossy(&output.stdout).trim_end());
    }
    id.ok_or_else(|| io::Error::other("git commit-tree printed no commit"))
}

/// The version of git that is installed; an error when there is none or it is older than [`MINIMUM_GIT_VERSION`].
pub async fn git_version() -> Result<GitVersion, RemoteError> {
    let mut command = git(None, Configuration::Ours, None);
    command.arg("version");
    let spawn = |source| RemoteError::Spawn { source: Arc::new(source) };
    let output = match run(command, READ_LIMIT).await {
        Ok(output) => output,
        Err(Failure::Spawn(source)) => return Err(spawn(source)),
        Err(Failure::TimeOut(_)) => return Err(spawn(io::ErrorKind::TimedOut.into())),
    };
    let found = parse_version(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| spawn(io::Error::other("'git version' printed no version")))?;
    if found < MINIMUM_GIT_VERSION { Err(RemoteError::OldGit { found }) } else { Ok(found) }
}

/// A version of git, as far as options depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitVersion {
    /// The 2 of 2.39.5.
    pub major: u32,
    /// The 39 of 2.39.5.
    pub minor: u32,
}

impl fmt::Display for GitVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
