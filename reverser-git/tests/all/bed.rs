//! A remote on disk, a state folder, and the git that looks at them.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use reverser_core::{CommitPlan, Edit, Signature};
use reverser_git::{
    Batch, BranchName, CommitId, Credentials, GitSink, GitWriter, GitWriterBuilder, Outcome, PushPhase, Receipt,
    RemoteError, RemoteUrl, remote::create_bare,
};
use reverser_testbed::write_script;
use tempfile::TempDir;

/// All that a test needs; gone with it.
pub(crate) struct Bed {
    folder: PathBuf,
    _owned: Option<TempDir>,
}

impl Bed {
    /// With an empty bare repository as the remote.
    pub(crate) async fn new() -> Self {
        let owned = tempfile::tempdir().unwrap();
        let bed = Self { folder: owned.path().to_owned(), _owned: Some(owned) };
        create_bare(&bed.remote(), &BranchName::default()).await.unwrap();
        bed
    }

    /// That of another process, which keeps it.
    pub(crate) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), _owned: None }
    }

    pub(crate) fn remote(&self) -> PathBuf {
        self.folder.join("remote.git")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(crate) fn local(&self) -> PathBuf {
        self.state_dir().join("repository.git")
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn builder(&self) -> GitWriterBuilder {
        let url: RemoteUrl = self.remote().to_str().unwrap().parse().unwrap();
        GitWriter::open(url, Credentials::FromGit)
            .state_dir(self.state_dir())
            .committer(Signature::new("bot", "bot@example.com"))
    }

    pub(crate) async fn start(&self) -> GitWriter {
        self.builder().start().await.unwrap()
    }

    /// Ends the writer with nothing left to push, and lets git look at both repositories.
    pub(crate) async fn finish(&self, writer: GitWriter) {
        let closed = writer.close(LIMIT).await.unwrap();
        assert_eq!(closed.unpushed, 0, "{:?}", closed.error);
        self.check();
    }

    /// `git fsck` finds nothing to complain about.
    pub(crate) fn check(&self) {
        for repository in [self.local(), self.remote()] {
            git(&repository, &["fsck", "--full", "--strict", "--no-dangling"]);
        }
    }

    /// Somebody else commits a file and pushes it.
    pub(crate) fn others_commit(&self, path: &str, content: &str) {
        self.others_say(&format!("others: {path}"), &[(path, Some(content))]);
    }

    /// Somebody else commits files (`None`: gone) with a message and pushes them, also where pushes are refused. Returns
    /// the commit's id.
    pub(crate) fn others_say(&self, message: &str, files: &[(&str, Option<&str>)]) -> String {
        let clone = self.others_clone();
        for (path, content) in files {
            let file = clone.join(path);
            match content {
                Some(content) => {
                    fs::create_dir_all(file.parent().unwrap()).unwrap();
                    fs::write(file, content).unwrap();
                }
                None => {
                    fs::remove_file(&file).unwrap();
                    // A folder that has more stays.
                    let _ = fs::remove_dir(file.parent().unwrap());
                }
            }
        }
        git(&clone, &["add", "--all"]);
        git(&clone, &["commit", "--quiet", "--allow-empty", "-m", message]);
        self.others_push(&[]);
        git(&clone, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Somebody else's clone, at the tip of the remote's branch.
    pub(crate) fn others_clone(&self) -> PathBuf {
        let clone = self.folder.join("clone");
        if !clone.exists() {
            git(&self.folder, &["clone", "--quiet", "remote.git", "clone"]);
            git(&clone, &["config", "user.name", "Bob"]);
            git(&clone, &["config", "user.email", "bob@example.com"]);
        }
        git(&clone, &["fetch", "--quiet", "origin"]);
        if git_succeeds(&clone, &["rev-parse", "--verify", "--quiet", "origin/main"]) {
            git(&clone, &["reset", "--quiet", "--hard", "origin/main"]);
        }
        clone
    }

    /// Moves the remote's branch to where somebody else's clone is; a hook there isn't asked.
    pub(crate) fn others_push(&self, options: &[&str]) {
        let clone = self.folder.join("clone");
        let arguments = [&["fetch", "--quiet"], options, &[clone.to_str().unwrap(), "HEAD:refs/heads/main"]].concat();
        git(&self.remote(), &arguments);
    }

    /// Ends the writer of a repository without a remote, and lets git look at it.
    pub(crate) async fn finish_local(&self, writer: GitWriter) {
        let closed = writer.close(LIMIT).await.unwrap();
        assert_eq!(closed.unpushed, 0, "{:?}", closed.error);
        git(&self.remote(), &["fsck", "--full", "--strict", "--no-dangling"]);
    }

    /// The remote's subjects, the oldest first.
    pub(crate) fn subjects(&self) -> Vec<String> {
        self.log("main", "%s")
    }

    pub(crate) fn log(&self, branch: &str, format: &str) -> Vec<String> {
        let format = format!("--format={format}");
        let log = git(&self.remote(), &["log", "--first-parent", "--reverse", &format, branch]);
        log.lines().map(str::to_owned).collect()
    }

    /// A file's content on the remote's branch.
    pub(crate) fn show(&self, path: &str) -> String {
        git(&self.remote(), &["cat-file", "blob", &format!("main:{path}")])
    }

    pub(crate) fn packs(&self) -> usize {
        let packs = fs::read_dir(self.local().join("objects/pack")).unwrap();
        packs.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|name| name == "pack")).count()
    }

    /// Makes the remote refuse every push.
    pub(crate) fn refuse_pushes(&self) {
        self.write_hook("echo no pushes on Friday >&2\nexit 1\n");
    }

    /// Makes the remote take no push before they are allowed again.
    pub(crate) fn hold_pushes(&self) {
        self.write_hook("while test -e hooks/pre-receive; do sleep 0.02; done\n");
    }

    pub(crate) fn write_hook(&self, script: &str) {
        let hook = self.hook();
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        write_script(&hook, script).unwrap();
    }

    pub(crate) fn allow_pushes(&self) {
        fs::remove_file(self.hook()).unwrap();
    }

    pub(crate) fn take_remote_away(&self) {
        fs::rename(self.remote(), self.folder.join("away.git")).unwrap();
    }

    pub(crate) fn bring_remote_back(&self) {
        fs::rename(self.folder.join("away.git"), self.remote()).unwrap();
    }

    fn hook(&self) -> PathBuf {
        self.remote().join("hooks/pre-receive")
    }
}

pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = command(folder, arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?} in {}: {output:?}", folder.display());
    String::from_utf8(output.stdout).unwrap()
}

fn git_succeeds(folder: &Path, arguments: &[&str]) -> bool {
    command(folder, arguments).output().unwrap().status.success()
}

/// git without any configuration of the machine's.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").env("LC_ALL", "C");
    command
}

/// A plan of Ann's that puts one file, at a date of its own.
pub(crate) fn plan(path: &str, content: &str) -> CommitPlan {
    CommitPlan {
        author: Some(Signature::new("Ann", "ann@example.com")),
        date: Timestamp::from_second(1_700_000_000).unwrap(),
        message: format!("put {path}\n\nbody of {path}\n"),
        edits: vec![Edit::Put { path: path.parse().unwrap(), content: content.into() }],
    }
}

pub(crate) fn batch(plans: impl IntoIterator<Item = CommitPlan>) -> Batch {
    Batch { plans: plans.into_iter().collect(), cursors: BTreeMap::new() }
}

pub(crate) async fn commit(writer: &GitWriter, path: &str, content: &str) -> Receipt {
    writer.commit(batch([plan(path, content)])).await.unwrap()
}

/// Commits a file and waits until it is on the remote.
pub(crate) async fn push(writer: &GitWriter, path: &str, content: &str) {
    let receipt = commit(writer, path, content).await;
    pushed(writer, &receipt).await;
}

pub(crate) async fn pushed(writer: &GitWriter, receipt: &Receipt) {
    let pushed = tokio::time::timeout(LIMIT, writer.pushed(receipt)).await;
    pushed.unwrap_or_else(|_| panic!("not pushed: {:?}", *writer.push_state().borrow())).unwrap();
}

/// Waits until a push has failed; returns why.
pub(crate) async fn failure(writer: &GitWriter) -> RemoteError {
    let mut state = writer.push_state();
    let waiting = state.wait_for(|state| matches!(state.phase, PushPhase::Waiting { .. }));
    let state = tokio::time::timeout(LIMIT, waiting).await.expect("no push failed").unwrap().clone();
    match state.phase {
        PushPhase::Waiting { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn id(receipt: &Receipt) -> CommitId {
    match &receipt.outcomes[..] {
        [Outcome::Committed(id)] => id.clone(),
        other => panic!("not one commit: {other:?}"),
    }
}

/// Asks over and over until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Long enough for a busy machine; nothing waits for it to pass.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
