//! `git` as a child process: the only file that knows its options and its output.

use std::{
    ffi::OsStr,
    fmt, io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{process::Command, time::timeout};

use crate::{
    branch::BranchName,
    credentials::{Credentials, write_answer},
    remote::{Pushed, Remote, RemoteError, RemoteTip},
    sink::{CommitId, SinkError},
    store::at_work,
    url::RemoteUrl,
};

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

/// Makes every git command.
fn git(git_dir: Option<&Path>, options: &[String]) -> Command {
    let mut command = Command::new("git");
    for option in [
        "gc.auto=0",                // consolidation is ours
        "maintenance.auto=0",       // and this is its other name
        "core.hooksPath=/dev/null", // the user's hooks are for the user's work
        "fetch.unpackLimit=1",      // packs, not loose objects
        "fetch.prune=false",        // refs are ours to remove
        "push.gpgSign=false",       // a push certificate is a choice that nobody made here
        "core.fsync=all", // what git writes into the queue must last as well; unknown before 2.36, and ignored
    ] {
        command.args(["-c", option]);
    }
    for option in options {
        command.args(["-c", option]);
    }
    if let Some(git_dir) = git_dir {
        command.arg("--git-dir").arg(git_dir);
    }
    // What `git rev-parse --local-env-vars` lists points at a repository of whoever started us.
    for variable in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_SHALLOW_FILE",
        "GIT_GRAFT_FILE",
        "GIT_PREFIX",
        "SSH_ASKPASS",
    ] {
        command.env_remove(variable);
    }
    command
        .env("LC_ALL", "C") // its messages are read
        .env("GIT_TERMINAL_PROMPT", "0") // nobody is there to answer
        .env("GIT_ASKPASS", "")
        .env("GCM_INTERACTIVE", "never")
        .stdin(git_dir.and_then(at_work).map_or_else(Stdio::null, Stdio::from))
        .process_group(0) // Ctrl-C ends us in our own order, not the push under way
        .kill_on_drop(true);
    command
}

/// Runs a command to its end, within a limit. When it is not waited for until then, all that it has started ends with it.
async fn run(mut command: Command, limit: Duration) -> Result<Output, Failure> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(Failure::Spawn)?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let output = timeout(limit, child.wait_with_output()).await;
    match output {
        Ok(output) => {
            group.0 = None;
            output.map_err(Failure::Spawn)
        }
        Err(_elapsed) => Err(Failure::TimeOut(limit)),
    }
}

/// A process group of our own making, ended with this: git leaves the work to children, which a push that is killed would
/// leave behind.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Not SIGKILL: a receive-pack on this machine would leave the branch locked for ever. One that has ended in this
            // moment is as good.
            let _ended = kill_process_group(leader, Signal::TERM);
        }
    }
}

/// A command didn't come to an end of its own.
enum Failure {
    Spawn(io::Error),
    TimeOut(Duration),
}

impl Failure {
    fn of(self, action: &'static str, url: &RemoteUrl) -> RemoteError {
        match self {
            Self::Spawn(source) => RemoteError::Spawn { source: Arc::new(source) },
            Self::TimeOut(limit) => RemoteError::TimeOut { action, url: url.clone(), limit },
        }
    }
}

/// Whether the user has told git which ssh to use, in the environment or in `core.sshCommand`.
async fn has_ssh_command(url: &RemoteUrl, git_dir: &Path) -> Result<bool, RemoteError> {
    let is_set = |variable: &str| std::env::var_os(variable).as_deref().is_some_and(|value| value != OsStr::new(""));
    if is_set("GIT_SSH_COMMAND") || is_set("GIT_SSH") {
        return Ok(true);
    }
    let mut command = git(Some(git_dir), &[]);
    command.args(["config", "--get", "core.sshCommand"]);
    let output = run(command, READ_LIMIT).await.map_err(|failure| failure.of("configure", url))?;
    Ok(output.status.success())
}

/// Quotes for the shell that runs a credential helper.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Reads `git ls-remote --symref URL HEAD refs/heads/main`:
///
/// ```text
/// ref: refs/heads/main\tHEAD
/// 05f8…\tHEAD
/// 05f8…\trefs/heads/main
/// ```
fn parse_tip(output: &[u8], branch: &BranchName) -> Option<RemoteTip> {
    let (mut tip, mut head, mut default_branch) = (None, None, None);
    for line in std::str::from_utf8(output).ok()?.lines() {
        let (value, name) = line.split_once('\t')?;
        if let Some(target) = value.strip_prefix("ref: ") {
            if name == "HEAD" {
                default_branch = target.strip_prefix("refs/heads/").and_then(|name| name.parse::<BranchName>().ok());
            }
            continue;
        }
        let id = parse_id(value)?;
        // A pattern matches the end of a ref's name, so `refs/remotes/x/HEAD` comes too.
        if name == "HEAD" {
            head = Some(id);
        } else if name == branch.full() {
            tip = Some(id);
        }
    }
    Some(RemoteTip { branch: tip, default_branch: default_branch.zip(head) })
}

/// What became of one ref.
#[derive(Debug, PartialEq, Eq)]
enum RefUpdate {
    Accept(Pushed),
    /// Refused here or there because the branch was elsewhere.
    Moved(String),
    Refuse(String),
}

/// Reads the target's line of `git push --porcelain`: `<flag>\t<from>:<to>\t<summary> (<reason>)`; git-push(1).
///
/// ```text
/// To /srv/a.git
///  \t05f8…:refs/heads/main\t1ab2..05f8
/// !\t05f8…:refs/heads/main\t[rejected] (fetch first)
/// !\t05f8…:refs/heads/main\t[remote rejected] (pre-receive hook declined)
/// Done
/// ```
fn parse_push(output: &[u8], target: &str) -> Option<RefUpdate> {
    let output = String::from_utf8_lossy(output);
    let (flag, summary) = output.lines().find_map(|line| {
        let mut fields = line.splitn(3, '\t');
        let (flag, refs, summary) = (fields.next()?, fields.next()?, fields.next()?);
        (refs.split_once(':')?.1 == target).then_some((flag, summary))
    })?;
    let reason = || {
        let reason = summary.split_once(" (").map_or(summary, |(_, reason)| reason.trim_end_matches(')'));
        reason.to_owned()
    };
    match flag {
        " " | "*" => Some(RefUpdate::Accept(Pushed::Moved)),
        "=" => Some(RefUpdate::Accept(Pushed::UpToDate)),
        "!" if MOVED_REASONS.iter().any(|moved| summary.contains(moved)) => Some(RefUpdate::Moved(reason())),
        "!" => Some(RefUpdate::Refuse(reason())),
        // `+` and `-` too: nothing is forced or deleted.
        _ => None,
    }
}

/// Whether git got as far as saying what became of a ref.
fn has_status(output: &[u8]) -> bool {
    output.split(|byte| *byte == b'\n').any(|line| line.contains(&b'\t'))
}

/// The lines that came from the server: `remote: …`.
fn server_words(stderr: &[u8]) -> Vec<u8> {
    let stderr = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = stderr.lines().filter_map(|line| line.strip_prefix("remote:")).map(str::trim).collect();
    lines.join("\n").into_bytes()
}

fn parse_id(text: &str) -> Option<CommitId> {
    let is_id = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| CommitId::new(text))
}

/// Reads `git version 2.39.5 (Apple Git-154)`.
fn parse_version(output: &str) -> Option<GitVersion> {
    let mut numbers = output.strip_prefix("git version ")?.split('.');
    Some(GitVersion { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.trim_end().parse().ok()? })
}

/// Why git failed before it could say anything about a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Authentication,
    Network,
    NotFound,
}

impl Class {
    fn of(words: &str) -> Option<Self> {
        CLASSES.iter().find(|(part, _)| words.contains(part)).map(|(_, class)| *class)
    }
}

/// Parts of messages of git, curl and ssh. The first that is found counts: what is particular stands before what
/// accompanies other failures too.
const CLASSES: [(&str, Class); 36] = [
    ("Authentication failed", Class::Authentication),
    ("could not read Username", Class::Authentication),
    ("could not read Password", Class::Authentication),
    ("terminal prompts disabled", Class::Authentication),
    ("Permission denied (", Class::Authentication), // ssh, with the methods that it tried
    ("Permission to ", Class::Authentication),      // GitHub
    ("Host key verification failed", Class::Authentication),
    ("HTTP Basic: Access denied", Class::Authentication), // GitLab
    ("returned error: 401", Class::Authentication),
    ("returned error: 403", Class::Authentication),
    ("not allowed to push", Class::Authentication), // GitLab
    ("does not appear to be a git repository", Class::NotFound),
    ("Repository not found", Class::NotFound), // GitHub, over ssh
    ("repository not found", Class::NotFound), // Gitea
    ("' not found", Class::NotFound),          // http 404: repository 'https://…' not found
    ("could not be found", Class::NotFound),   // GitLab
    ("returned error: 404", Class::NotFound),
    ("' does not exist", Class::NotFound),
    ("Could not resolve host", Class::Network),
    ("Temporary failure in name resolution", Class::Network),
    ("Failed to connect", Class::Network),
    ("Couldn't connect", Class::Network),
    ("Connection refused", Class::Network),
    ("Connection reset", Class::Network),
    ("Connection timed out", Class::Network),
    ("Connection closed", Class::Network),
    ("Operation timed out", Class::Network),
    ("No route to host", Class::Network),
    ("Network is unreachable", Class::Network),
    ("Empty reply from server", Class::Network),
    ("RPC failed", Class::Network),
    ("early EOF", Class::Network),
    ("hung up unexpectedly", Class::Network),
    ("unexpected disconnect", Class::Network),
    ("returned error: 5", Class::Network),
    ("unable to access", Class::Network),
];

/// Reasons that say that the branch was elsewhere: the first three from the client, the others from the server.
const MOVED_REASONS: [&str; 8] = [
    "(fetch first)",
    "(non-fast-forward)",
    "(stale info)",
    "(failed to update ref)",
    "cannot lock ref",
    "(incorrect old value provided)",
    "reference already exists",
    "(remote ref updated since checkout)",
];

/// Never asks; gives up on a host that doesn't answer, and on a connection that died.
const SSH_COMMAND: &str = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15";

/// For what is answered with a few lines.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// For what moves commits; a first fetch may be large.
const TRANSFER_LIMIT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "05f8e0a7b2f5f5e0a1c8b3d4e5f60718293a4b5c";

    fn main() -> BranchName {
        BranchName::default()
    }

    fn line(flag: &str, summary: &str) -> Option<RefUpdate> {
        let output = format!("To /srv/a.git\n{flag}\t{ID}:refs/heads/main\t{summary}\nDone\n");
        parse_push(output.as_bytes(), "refs/heads/main")
    }

    #[test]
    fn tips_are_read_by_their_exact_names() {
        let output = format!(
            "ref: refs/heads/trunk\tHEAD\n{ID}\tHEAD\n{ID}\trefs/heads/main\nref: refs/remotes/o/x\trefs/remotes/o/HEAD\n\
             {ID}\trefs/remotes/o/HEAD\n"
        );
        let tip = parse_tip(output.as_bytes(), &main()).unwrap();
        assert_eq!(tip.branch, Some(CommitId::new(ID)));
        assert_eq!(tip.default_branch, Some(("trunk".parse().unwrap(), CommitId::new(ID))));
    }

    #[test]
    fn an_empty_repository_has_no_tips() {
        assert_eq!(parse_tip(b"", &main()), Some(RemoteTip::default()));
        // A HEAD that names a branch without commits.
        assert_eq!(parse_tip(b"ref: refs/heads/main\tHEAD\n", &main()), Some(RemoteTip::default()));
    }

    #[test]
    fn malformed_refs_are_an_error() {
        for output in ["nonsense", "05f8\trefs/heads/main\n", "warning: x\n", "\tHEAD\n"] {
            assert_eq!(parse_tip(output.as_bytes(), &main()), None, "{output:?}");
        }
        assert_eq!(parse_tip(b"\xff\tHEAD\n", &main()), None);
    }

    #[test]
    fn an_accepted_push_is_told_from_one_that_was_there() {
        assert_eq!(line(" ", "1ab2c3d..05f8e0a"), Some(RefUpdate::Accept(Pushed::Moved)));
        assert_eq!(line("*", "[new branch]"), Some(RefUpdate::Accept(Pushed::Moved)));
        assert_eq!(line("=", "[up to date]"), Some(RefUpdate::Accept(Pushed::UpToDate)));
    }

    #[test]
    fn a_moved_tip_is_told_from_a_refusal() {
        let moved = |summary, reason: &str| {
            assert_eq!(line("!", summary), Some(RefUpdate::Moved(reason.to_owned())), "{summary}");
        };
        moved("[rejected] (fetch first)", "fetch first");
        moved("[rejected] (stale info)", "stale info");
        moved("[remote rejected] (failed to update ref)", "failed to update ref");
        moved("[remote rejected] (incorrect old value provided)", "incorrect old value provided");
        let refused = |summary, reason: &str| {
            assert_eq!(line("!", summary), Some(RefUpdate::Refuse(reason.to_owned())), "{summary}");
        };
        refused("[remote rejected] (pre-receive hook declined)", "pre-receive hook declined");
        refused("[remote rejected] (branch is currently checked out)", "branch is currently checked out");
        refused("[remote failure] (remote failed to report status)", "remote failed to report status");
    }

    #[test]
    fn malformed_or_forced_push_output_is_an_error() {
        assert_eq!(line("+", "1ab2...05f8 (forced update)"), None);
        assert_eq!(line("-", "[deleted]"), None);
        assert_eq!(line("?", "[new]"), None);
        assert_eq!(parse_push(b"To /srv/a.git\nDone\n", "refs/heads/main"), None);
        assert_eq!(parse_push(b"*\tno-colon\t[new branch]\n", "refs/heads/main"), None);
        let other = format!("*\t{ID}:refs/heads/other\t[new branch]\n");
        assert_eq!(parse_push(other.as_bytes(), "refs/heads/main"), None);
    }

    #[test]
    fn failures_are_classified_by_their_most_particular_words() {
        let class = |words: &str| Class::of(words);
        assert_eq!(
            class("git@h: Permission denied (publickey).; fatal: Could not read from remote repository."),
            Some(Class::Authentication)
        );
        assert_eq!(
            class("fatal: unable to access 'https://h/a/': The requested URL returned error: 403"),
            Some(Class::Authentication)
        );
        assert_eq!(class("fatal: repository 'https://h/a/' not found"), Some(Class::NotFound));
        assert_eq!(class("fatal: unable to access 'http://h/a/': Could not resolve host: h"), Some(Class::Network));
        assert_eq!(
            class("fatal: unable to access 'http://h/a/': The requested URL returned error: 503"),
            Some(Class::Network)
        );
        assert_eq!(class("fatal: something else"), None);
    }

    #[test]
    fn the_servers_words_are_kept() {
        let stderr = b"Enumerating\nremote: no pushes on Friday        \nremote:\nerror: failed to push some refs\n";
        assert_eq!(server_words(stderr), b"no pushes on Friday\n");
    }

    #[test]
    fn versions_compare_as_numbers() {
        let version = |text| parse_version(text).unwrap();
        assert_eq!(version("git version 2.39.5 (Apple Git-154)\n"), GitVersion { major: 2, minor: 39 });
        assert!(version("git version 2.9.1") < MINIMUM_GIT_VERSION);
        assert!(version("git version 2.100") > MINIMUM_GIT_VERSION);
        assert_eq!(parse_version("hub version 2.14"), None);
    }

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
