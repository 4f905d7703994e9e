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
    credentials::{Credentials, write_answer},
    remote::{Pushed, Remote, RemoteError, RemoteTip},
    sink::{CommitId, SinkError},
    url::RemoteUrl,
};

mod classes;
mod command;
mod porcelain;

use classes::Class;
use command::{Failure, READ_LIMIT, SSH_COMMAND, TRANSFER_LIMIT, git, has_ssh_command, run};
use porcelain::{RefUpdate, has_status, parse_id, parse_push, parse_tip, parse_version, server_words};

/// The oldest git that is supported: `init --initial-branch` needs 2.28, `fetch --no-write-fetch-head` 2.29,
/// `repack --geometric` 2.32.
pub const MINIMUM_GIT_VERSION: GitVersion = GitVersion { major: 2, minor: 32 };

/// A remote that the installed `git` talks to, so that the user's credential helpers, ssh configuration and proxies work.
pub struct CliRemote {
    url: RemoteUrl,
    /// The local bare repository: commits are pushed from and fetched into it.
    git_dir: PathBuf,
    /// Options of git that hand over credentials; without secrets.
    login: Vec<String>,
    /// Removed from whatever git says.
    password: Option<String>,
    /// Where the password is for git; gone with this.
    answer_file: Option<PathBuf>,
    /// For `GIT_SSH_COMMAND`; `None`: the user has a command of their own, or ssh isn't used.
    ssh_command: Option<&'static str>,
    /// For what moves commits.
    transfer_limit: Duration,
}

impl Drop for CliRemote {
    fn drop(&mut self) {
        if let Some(file) = &self.answer_file
            && let Err(error) = std::fs::remove_file(file)
        {
            tracing::warn!(file = %file.display(), %error, "a file with a password could not be removed");
        }
    }
}

impl CliRemote {
    /// Returns the remote at `url` for the bare repository `git_dir`; a password goes into `answer_file`, readable by its
    /// owner alone.
    pub async fn open(
        url: RemoteUrl,
        credentials: &Credentials,
        git_dir: &Path,
        answer_file: &Path,
    ) -> Result<Self, RemoteError> {
        let (mut login, mut password) = (Vec::new(), None);
        if let (Credentials::Basic { username, password: secret }, Some(origin)) = (credentials, url.origin()) {
            write_answer(answer_file, username, secret).map_err(|source| RemoteError::Failed {
                action: "store the credentials of",
                url: url.clone(),
                words: source.to_string(),
            })?;
            let file = shell_quoted(&answer_file.to_string_lossy());
            login = vec![
                // An empty value forgets the user's helpers. Only this origin gets the answer, so a redirect to another
                // host doesn't.
                "credential.helper=".to_owned(),
                // Saves the round trip that ends in a 401; unknown before 2.46, and ignored.
                "http.proactiveAuth=basic".to_owned(),
                format!("credential.{origin}.helper=!f() {{ test \"$1\" != get || cat {file}; }}; f"),
            ];
            password = Some(secret.clone()).filter(|secret| !secret.is_empty());
        }
        let ssh_command = if url.is_ssh() && !has_ssh_command(&url, git_dir).await? { Some(SSH_COMMAND) } else { None };
        let answer_file = password.is_some().then(|| answer_file.to_owned());
        let transfer_limit = TRANSFER_LIMIT;
        Ok(Self { url, git_dir: git_dir.to_owned(), login, password, answer_file, ssh_command, transfer_limit })
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

    /// Returns whether the remote would let this user push, without changing anything there: git opens the connection
    /// for a push, logs in, and stops before it sends one. Hooks and branch protection only speak up at a real push.
    pub(crate) async fn try_push(&self, commit: &CommitId) -> Result<(), RemoteError> {
        let mut command = self.command("push");
        // A branch that isn't there, so that the answer doesn't depend on where others are.
        command.args(["--porcelain", "--dry-run", "--no-verify", "--", self.url.as_str()]);
        command.arg(format!("{commit}:refs/heads/reverser-probe"));
        let output = self.run(command, "push to", READ_LIMIT).await?;
        if output.status.success() { Ok(()) } else { Err(self.failed("push to", &output)) }
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = git(Some(&self.git_dir), &self.login);
        if let Some(ssh_command) = self.ssh_command {
            command.env("GIT_SSH_COMMAND", ssh_command);
        }
        command.arg(subcommand);
        command
    }

    async fn run(&self, command: Command, action: &'static str, limit: Duration) -> Result<Output, RemoteError> {
        run(command, limit).await.map_err(|failure| failure.of(action, &self.url))
    }

    /// Classifies a failure by what git and the server said.
    fn failed(&self, action: &'static str, output: &Output) -> RemoteError {
        let url = self.url.clone();
        let words = self.words(&output.stderr);
        match Class::of(&words) {
            Some(Class::Authentication) => RemoteError::Authentication { url, words },
            Some(Class::Network) => RemoteError::Network { url, words },
            Some(Class::NotFound) => RemoteError::NotFound { url, words },
            None => RemoteError::Failed { action, url, words },
        }
    }

    fn unreadable(&self, action: &'static str, output: &[u8]) -> RemoteError {
        RemoteError::Unreadable { action, url: self.url.clone(), output: self.words(output) }
    }

    /// Puts what was said on one line, without the password.
    fn words(&self, said: &[u8]) -> String {
        let said = String::from_utf8_lossy(said);
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let mut words = lines.join("; ");
        if let Some(password) = &self.password {
            words = words.replace(password.as_str(), "***");
        }
        words
    }
}

/// Without the password.
impl fmt::Debug for CliRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CliRemote").field("url", &self.url).field("git_dir", &self.git_dir).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl Remote for CliRemote {
    async fn tip(&self, branch: &BranchName) -> Result<RemoteTip, RemoteError> {
        let mut command = self.command("ls-remote");
        command.args(["--symref", "--", self.url.as_str(), "HEAD", &branch.full()]);
        let output = self.run(command, "read the refs of", self.read_limit()).await?;
        if !output.status.success() {
            return Err(self.failed("read the refs of", &output));
        }
        parse_tip(&output.stdout, branch).ok_or_else(|| self.unreadable("read the refs of", &output.stdout))
    }

    async fn fetch(&self, branch: &BranchName) -> Result<CommitId, RemoteError> {
        let incoming = format!("refs/incoming/{}", branch.encoded());
        // A fetch that was killed at its limit may have left its lock; there is never another one at work here.
        let lock = self.git_dir.join(format!("{incoming}.lock"));
        if let Err(source) = std::fs::remove_file(&lock)
            && source.kind() != io::ErrorKind::NotFound
        {
            let store =
                SinkError::store("remove a lock that was left behind in", &self.git_dir.to_string_lossy(), source);
            return Err(RemoteError::Local { source: Arc::new(store) });
        }
        let mut command = self.command("fetch");
        // unpackLimit: a pack, since loose objects would wait for a gc that never comes.
        command.args(["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--"]);
        command.arg(self.url.as_str()).arg(format!("+{}:{incoming}", branch.full()));
        let output = self.run(command, "fetch from", self.transfer_limit).await?;
        if !output.status.success() {
            return Err(self.failed("fetch from", &output));
        }
        let mut command = self.command("rev-parse");
        command.args(["--verify", "--quiet", &format!("{incoming}^{{commit}}")]);
        let output = self.run(command, "fetch from", READ_LIMIT).await?;
        parse_id(String::from_utf8_lossy(&output.stdout).trim_end())
            .ok_or_else(|| self.unreadable("fetch from", &output.stdout))
    }

    async fn push(
        &self,
        commit: &CommitId,
        branch: &BranchName,
        expected: Option<&CommitId>,
    ) -> Result<Pushed, RemoteError> {
        let target = branch.full();
        let expected = expected.map(CommitId::as_str).unwrap_or_default();
        let mut command = self.command("push");
        command.args(["--porcelain", "--no-verify", "--no-follow-tags", "--no-recurse-submodules"]);
        // The lease makes the swap exact. It forces nothing: our commit descends from the leased one.
        command.arg(format!("--force-with-lease={target}:{expected}"));
        command.args(["--", self.url.as_str(), &format!("{commit}:{target}")]);
        let output = self.run(command, "push to", self.transfer_limit).await?;
        match parse_push(&output.stdout, &target) {
            Some(RefUpdate::Accept(pushed)) if output.status.success() => Ok(pushed),
            Some(RefUpdate::Moved(reason)) => {
                Err(RemoteError::MovedTip { url: self.url.clone(), branch: branch.clone(), reason })
            }
            Some(RefUpdate::Refuse(reason)) => Err(RemoteError::Refused {
                url: self.url.clone(),
                branch: branch.clone(),
                reason,
                words: self.words(&server_words(&output.stderr)),
            }),
            None if !output.status.success() && !has_status(&output.stdout) => Err(self.failed("push to", &output)),
            _ => Err(self.unreadable("push to", &output.stdout)),
        }
    }
}

/// Creates an empty bare repository whose HEAD names `branch`, with the folders that lead to it.
pub async fn create_bare(folder: &Path, branch: &BranchName) -> Result<(), RemoteError> {
    let url = folder.to_string_lossy().parse().map_err(|error: crate::RemoteUrlError| RemoteError::Spawn {
        source: Arc::new(io::Error::new(io::ErrorKind::InvalidInput, error)),
    })?;
    let mut command = git(None, &[]);
    command.args(["init", "--quiet", "--bare", "--template="]);
    command.arg(format!("--initial-branch={branch}")).arg("--").arg(folder);
    let output = run(command, READ_LIMIT).await.map_err(|failure| failure.of("create", &url))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RemoteError::Failed { action: "create", url, words })
}

/// Joins small packs, so that each is at least twice as large as the next smaller one.
pub(crate) async fn consolidate(git_dir: &Path) -> io::Result<()> {
    let mut command = git(Some(git_dir), &[]);
    command.args(["repack", "-q", "-d", "--geometric=2"]);
    match run(command, TRANSFER_LIMIT).await {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(Failure::Spawn(source)) => Err(source),
        Err(Failure::TimeOut(limit)) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("git repack took longer than {limit:?}")))
        }
    }
}

/// Writes a commit without files into a bare repository; for [`CliRemote::try_push`].
pub(crate) async fn empty_commit(git_dir: &Path) -> io::Result<CommitId> {
    let mut id = None;
    for arguments in [&["mktree"][..], &["commit-tree", "-m", "probe"]] {
        let mut command = git(Some(git_dir), &[]);
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
    let mut command = git(None, &[]);
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

/// Quotes for the shell that runs a credential helper.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_for_its_origin_alone_and_on_no_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let answer_file = folder.path().join("it's a file");
        let url: RemoteUrl = "https://host:8443/a.git".parse().unwrap();
        let credentials = Credentials::Basic { username: "bot".into(), password: "s3cret".into() };
        let remote = CliRemote::open(url, &credentials, folder.path(), &answer_file).await.unwrap();
        assert!(!format!("{remote:?} {:?}", remote.command("push")).contains("s3cret"));
        assert_eq!(remote.words(b"fatal: s3cret\n  is wrong\n"), "fatal: ***; is wrong");

        let fill = async |host: &str| {
            let request = folder.path().join("request");
            std::fs::write(&request, format!("protocol=https\nhost={host}\n\n")).unwrap();
            let mut command = git(None, &remote.login);
            command.args(["credential", "fill"]).stdin(std::fs::File::open(request).unwrap());
            String::from_utf8(command.output().await.unwrap().stdout).unwrap()
        };
        assert_eq!(fill("host:8443").await, "protocol=https\nhost=host:8443\nusername=bot\npassword=s3cret\n");
        assert!(!fill("elsewhere").await.contains("s3cret"));
    }

    #[test]
    fn a_path_with_quotes_stays_one_word_of_the_shell() {
        assert_eq!(shell_quoted("/a b/c'd"), r"'/a b/c'\''d'");
    }
}
