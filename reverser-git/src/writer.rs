//! `GitWriter`: one branch of one remote, written durably on this machine and pushed in the background.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use jiff::Timestamp;
use reverser_core::{Edit, RepoPath, Signature};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::Instrument;

use crate::{
    branch::BranchName,
    conflict::{Conflict, OnConflict, Rewrite},
    credentials::{Credentials, RemoteAccess},
    deflate::CompressionLevel,
    remedy::Remedy,
    remote::{
        CliRemote, Remote, RemoteError,
        cli::{Compared, OwnRepository},
    },
    sign::{Signer, sign},
    sink::{Batch, CommitId, GitSink, Receipt, SinkError},
    store::{self, OpenError, Store, StoreConfig, Work},
    url::{RemoteUrl, RemoteUrlError, default_state_dir},
    writer::{
        handle::{Handle, Line},
        owner::{Owner, Pacing, Request, Target},
        owners::Running,
        queue::Queue,
    },
};

mod handle;
mod owner;
mod owners;
mod queue;

/// Writes to one branch of one remote; clones are the same writer.
///
/// What [`commit`](GitSink::commit) has returned is on this machine's disk and survives a crash; it is pushed in the
/// background, for ever, and somebody else's commits are never taken away. An idle branch pushes at once; while a push is
/// under way, work gathers for the next one. A commit whose caller goes away while it waits is made all the same, once the
/// queue has taken it.
///
/// # One owner for each branch
/// All writers of a process to one branch of a repository share one task and one state folder, however they write its
/// address ([`RemoteUrl::canonical`]): their commits are in one order, and they never race. Each has its own folder
/// ([`under`](GitWriterBuilder::under)), its own committer and its own queue; of the cursors there is one map, so their sources need names
/// of their own. A push takes what all of them have committed, with the address and the credentials of the one that was opened
/// first; when these are refused, or when that one is gone, with those of the next. The task runs on the runtime in which the first of
/// them was started, and needs it for as long as there are others.
///
/// When the last writer is dropped without [`close`](Self::close), the push under way is given up; the next start goes on
/// with it.
#[derive(Clone, Debug)]
pub struct GitWriter {
    /// To the task that owns the repository.
    line: Arc<Line>,
    /// The root of all paths.
    under: Option<RepoPath>,
    committer: Signature,
    queue: Queue,
    push_state: watch::Receiver<PushState>,
    /// The sequence up to which all is on the remote.
    pushed: watch::Receiver<u64>,
    /// The remote and the branch, for errors.
    name: Arc<str>,
    /// What talks to the remote, as long as the task lives: credentials on disk go with it.
    cli: Weak<CliRemote>,
}

impl GitWriter {
    /// Returns a builder for a writer to the repository at `url`. [`Credentials::FromGit`](crate::Credentials::FromGit) takes
    /// the user name and password of the URL when it has them.
    pub fn open(url: RemoteUrl, access: impl Into<RemoteAccess>) -> GitWriterBuilder {
        Self::builder(url, access.into(), Place::Remote)
    }

    /// Returns a builder for a writer that makes its commits in a repository on this machine, without a remote: a bare one,
    /// made when nothing is there, or that of a working tree in which the branch is not checked out.
    ///
    /// The repository holds its own state ([`state_dir`](GitWriterBuilder::state_dir) isn't for it), and others may push to the branch
    /// or move it as they like: what isn't in it yet is made again on their tip, as with a remote. A commit counts from
    /// [`commit`](GitSink::commit) on; the branch moves to it in the next moment, and [`pushed`](GitSink::pushed) waits for that. While
    /// somebody has the branch in a working tree it stays, as git has it for pushes, and
    /// [`push_state`](Self::push_state) says so.
    pub fn local(folder: &Path) -> Result<GitWriterBuilder, RemoteUrlError> {
        Ok(Self::builder(RemoteUrl::from_path(folder)?, Credentials::FromGit.into(), Place::Here))
    }

    fn builder(url: RemoteUrl, access: RemoteAccess, place: Place) -> GitWriterBuilder {
        GitWriterBuilder {
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
            compression: CompressionLevel::default(),
            pacing: Pacing::default(),
            on_conflict: OnConflict::default(),
            start_at: StartAt::default(),
            unpushed_bytes: UNPUSHED_BYTES,
        }
    }

    /// Tries at once to push what waits for the remote or for a person, such as after a branch's protection was lifted.
    pub async fn retry_now(&self) -> Result<(), SinkError> {
        self.ask(|reply| Request::RetryNow { reply }).await
    }

    /// Commits what is queued, pushes for at most `limit`, and ends the writer, with all of its clones: other calls fail from
    /// here on, also those that wait for room in the queue. What is not pushed then is on disk, and goes out at the next start,
    /// or when others write to the branch.
    ///
    /// It ends earlier at a failure that only a person can mend, which [`Closed`] has then. The last writer of a branch ends the task
    /// that owns it, whose state folder is free when this returns. Two closings at once
    /// are one, with the limit of the first, and both hear how it ended; a closing that nobody waits for is done all the same.
    pub async fn close(&self, limit: Duration) -> Result<Closed, SinkError> {
        let mut outcome = self.line.close(limit, &self.pushed, &self.push_state).ok_or_else(|| self.closed())?;
        let closed = outcome.wait_for(Option::is_some).await.map_err(|_| self.closed())?.clone();
        closed.ok_or_else(|| self.closed())
    }

    /// Replaces how to log in, from the next command to the remote on; a writer that waits tries again at once. Secrets in
    /// files need no call: they are read again each time.
    ///
    /// # Errors
    /// When nothing can come of it, such as a file that can't be read; then all stays as it was.
    pub async fn set_access(&self, access: impl Into<RemoteAccess>) -> Result<(), RemoteError> {
        // A writer that has ended logs in no more.
        let Some(cli) = self.cli.upgrade() else { return Ok(()) };
        cli.set_access(access).await?;
        drop(cli);
        // One that has ended in this moment is the same.
        let _ = self.retry_now().await;
        Ok(())
    }

    /// Returns what of the branch is not pushed and why, always the latest.
    pub fn push_state(&self) -> watch::Receiver<PushState> {
        self.push_state.clone()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, SinkError> {
        let requests = self.line.requests().ok_or_else(|| self.closed())?;
        let (reply, answer) = oneshot::channel();
        requests.send(request(reply)).await.map_err(|_| self.closed())?;
        drop(requests);
        answer.await.map_err(|_| self.closed())
    }

    fn rooted(&self, path: &RepoPath) -> RepoPath {
        self.under.as_ref().map_or_else(|| path.clone(), |under| under.join(path))
    }

    fn closed(&self) -> SinkError {
        SinkError::Closed { sink: self.name.to_string() }
    }
}

#[async_trait::async_trait]
impl GitSink for GitWriter {
    async fn commit(&self, mut batch: Batch) -> Result<Receipt, SinkError> {
        let permit = self.queue.room_for(&batch).await.ok_or_else(|| self.closed())?;
        for edit in batch.plans.iter_mut().flat_map(|plan| &mut plan.edits) {
            let (Edit::Delete { path } | Edit::Put { path, .. }) = edit;
            *path = self.rooted(path);
        }
        let work = Work { batch, committer: self.committer.clone() };
        self.ask(|reply| Request::Commit { work, permit, reply }).await?
    }

    async fn pushed(&self, receipt: &Receipt) -> Result<(), SinkError> {
        let mut pushed = self.pushed.clone();
        if *pushed.borrow() < receipt.sequence {
            // So that it doesn't wait for the next push's turn. A writer that is closing pushes anyway.
            if let Some(requests) = self.line.requests() {
                drop(requests.send(Request::Push { sequence: receipt.sequence }).await);
            }
        }
        pushed.wait_for(|sequence| *sequence >= receipt.sequence).await.map_err(|_| self.closed())?;
        Ok(())
    }

    async fn cursors(&self) -> Result<BTreeMap<String, String>, SinkError> {
        self.ask(|reply| Request::Cursors { reply }).await
    }

    async fn list(&self, folder: Option<&RepoPath>) -> Result<Vec<RepoPath>, SinkError> {
        let (folder, under) = (folder.map(|folder| self.rooted(folder)), self.under.clone());
        let folder = folder.or_else(|| under.clone());
        self.ask(|reply| Request::List { folder, under, reply }).await?
    }

    async fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, SinkError> {
        self.ask(|reply| Request::Read { path: self.rooted(path), reply }).await?
    }
}

/// What a [`GitWriter`] is made of.
#[derive(Clone, Debug)]
pub struct GitWriterBuilder {
    url: RemoteUrl,
    access: RemoteAccess,
    place: Place,
    branch: BranchName,
    under: Option<RepoPath>,
    committer: Signature,
    signer: Option<Arc<dyn Signer>>,
    state_dir: Option<PathBuf>,
    queue_bytes: u32,
    transfer_limit: Option<Duration>,
    compression: CompressionLevel,
    pacing: Pacing,
    on_conflict: OnConflict,
    start_at: StartAt,
    unpushed_bytes: u64,
}

/// Where a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the repository that commits are made in.
    Here,
    /// In another one, which commits are pushed to.
    Remote,
}

impl GitWriterBuilder {
    /// Names the branch; `main` otherwise. One that the remote doesn't have begins where [`start_at`](Self::start_at) says.
    #[must_use]
    pub fn branch(mut self, branch: BranchName) -> Self {
        self.branch = branch;
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

    /// Names who signs the commits; none are signed otherwise. While it fails nothing is committed: [`GitSink::commit`]
    /// says [`SinkError::Sign`], and what somebody else's push makes necessary to commit again waits. Commits of an earlier run
    /// without a signer that aren't pushed yet are signed, too.
    #[must_use]
    pub fn signer(mut self, signer: Arc<dyn Signer>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Names the folder of the local repository, which is the queue of what is not pushed: keep it on a disk that lasts.
    /// [`default_state_dir`] otherwise. One branch a folder; a writer that joins others needs to name the same, or none.
    #[must_use]
    pub fn state_dir(mut self, folder: PathBuf) -> Self {
        self.state_dir = Some(folder);
        self
    }

    /// Limits what of this writer's waits for being committed, in bytes; 64 MiB otherwise. At the limit `commit` waits. A larger
    /// batch goes alone.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: u32) -> Self {
        self.queue_bytes = bytes.max(1);
        self
    }

    /// Limits how long one fetch or push may take before it is ended and tried again; 10 minutes otherwise. More helps where
    /// a first push is large or slow.
    #[must_use]
    pub fn transfer_limit(mut self, limit: Duration) -> Self {
        self.transfer_limit = Some(limit);
        self
    }

    /// Limits what the state folder holds of commits that aren't pushed, in bytes on disk; 1 GiB otherwise. At the limit
    /// `commit` waits until a push has succeeded, and [`PushState::is_full`] says so: nothing is refused or dropped, and all that
    /// was committed before stays. The last batch that is let in may exceed it; one is always let in when all is pushed.
    #[must_use]
    pub fn unpushed_bytes(mut self, bytes: u64) -> Self {
        self.unpushed_bytes = bytes;
        self
    }

    /// Sets what happens where somebody else has changed the same file; [`OnConflict::Ours`] otherwise.
    #[must_use]
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// Sets where a branch begins that the remote doesn't have; [`StartAt::DefaultBranch`] otherwise.
    #[must_use]
    pub fn start_at(mut self, start_at: StartAt) -> Self {
        self.start_at = start_at;
        self
    }

    /// Sets how long commits wait at most after a push before the next one takes them, for users who want fewer pushes.
    /// Zero otherwise: no longer than the push under way. A branch that has rested for so long pushes at once, and
    /// [`pushed`](GitSink::pushed) and [`close`](GitWriter::close) don't wait. Of writers that share a branch, the first one's
    /// counts.
    #[must_use]
    pub fn push_interval(mut self, interval: Duration) -> Self {
        self.pacing.interval = interval;
        self
    }

    /// Sets how many commits don't wait until [`push_interval`](Self::push_interval) is over; without, that alone counts.
    #[must_use]
    pub fn push_max_commits(mut self, commits: NonZeroUsize) -> Self {
        self.pacing.max_commits = Some(commits);
        self
    }

    /// Sets how hard packs are compressed; 6 otherwise. A lower level takes less time for larger packs, on disk and on the
    /// way to the remote.
    #[must_use]
    pub fn compression(mut self, level: CompressionLevel) -> Self {
        self.compression = level;
        self
    }

    /// Opens the local repository, meets the remote and starts the writer; when this process writes to the branch already,
    /// joins its owner, or waits for the end of one that is ending.
    ///
    /// A remote that can't be reached is an error only at the first start: later ones go on with what is on disk. One that
    /// refuses these credentials is an error for whoever joins, too: nobody writes with the others' alone. Credentials that
    /// can't be used, such as a file that isn't there, are one each time, and so is a signer that
    /// can't sign; a branch is signed once one of its writers has one, by the first.
    pub async fn start(self) -> Result<GitWriter, OpenError> {
        let (url, branch) = (self.url.clone(), self.branch.clone());
        let slot = owner::blocking(move || owners::slot(url.canonical(), branch)).await;
        let mut slot = slot.lock().await;
        if let Some(running) = slot.as_mut() {
            if let Some(writer) = self.join(running).await? {
                return Ok(writer);
            }
            running.ended().await;
        }
        let (config, store, (remote, cli)) = self.open().await?;
        let (writer, requests, task) = self.launch(store, remote).await?;
        let writer = GitWriter { cli, ..writer };
        let (pushed, push_state) = (writer.pushed.clone(), writer.push_state.clone());
        *slot = Some(Running { requests, pushed, push_state, config, writers: 1, task });
        Ok(writer)
    }

    /// Starts a writer that shares its branch with no other one of this process, as another process would: for tests of races.
    /// It needs a state folder of its own.
    #[cfg(feature = "testing")]
    pub async fn start_apart(self) -> Result<GitWriter, OpenError> {
        let (_, store, (remote, cli)) = self.open().await?;
        Ok(GitWriter { cli, ..self.launch(store, remote).await?.0 })
    }

    async fn open(&self) -> Result<(StoreConfig, Store, Opened), OpenError> {
        self.try_signer().await?;
        let builder = self.clone();
        let open = move || {
            let config = builder.store_config()?;
            Ok::<_, OpenError>((config.clone(), Store::open(config)?))
        };
        let (config, mut store) = owner::blocking(open).await?;
        let remote = match &config.repository {
            Some(git_dir) => self.own(git_dir),
            None => {
                let remote = self.cli(&config, 1).await?;
                if !store.has_state() {
                    store.begin_with(remote.tip(&self.branch).await?.object_format)?;
                }
                opened(remote.comparing_below(config.compared.clone())?)
            }
        };
        Ok((config, store, remote))
    }

    fn store_config(&self) -> Result<StoreConfig, OpenError> {
        let here = self.url.is_local_path().filter(|_| self.place == Place::Here);
        let (state_dir, repository) = match (&self.state_dir, here) {
            (Some(folder), Some(_)) => return Err(OpenError::OwnState { folder: folder.clone() }),
            (None, Some(folder)) => {
                let git_dir = store::repository_in(folder)?;
                (git_dir.join("reverser").join(self.branch.encoded()), Some(git_dir))
            }
            (Some(folder), None) => (folder.clone(), None),
            (None, None) => (default_state_dir(&self.url, &self.branch).ok_or(OpenError::NoStateDir)?, None),
        };
        let compared = Compared::default();
        compared.add(self.under.clone());
        Ok(StoreConfig {
            state_dir,
            repository,
            remote: self.url.to_string(),
            branch: self.branch.clone(),
            committer: self.committer.clone(),
            signer: self.signer.clone(),
            compression: self.compression,
            compared,
        })
    }

    /// Returns the remote as the nth writer of a store sees it.
    async fn cli(&self, config: &StoreConfig, writer: u32) -> Result<CliRemote, RemoteError> {
        let (git_dir, login_dir) = (config.git_dir(), config.login_dir(writer));
        let remote = CliRemote::open(self.url.clone(), self.access.clone(), &git_dir, &login_dir).await?;
        Ok(match self.transfer_limit {
            Some(limit) => remote.transfer_limit(limit),
            None => remote,
        })
    }

    /// Returns the repository that commits are made in as its own remote.
    fn own(&self, git_dir: &Path) -> Opened {
        (Arc::new(OwnRepository::new(self.url.clone(), git_dir.to_owned())), Weak::new())
    }

    async fn try_signer(&self) -> Result<(), OpenError> {
        match self.signer.clone() {
            Some(signer) => {
                owner::blocking(move || sign(signer.as_ref(), TRIAL)).await.map(drop).map_err(OpenError::Sign)
            }
            None => Ok(()),
        }
    }

    /// Returns another writer of an owner; `None` when that one is about to end.
    async fn join(&self, running: &mut Running) -> Result<Option<GitWriter>, OpenError> {
        // Holds the owner for the time being.
        let Some(requests) = running.requests.upgrade() else { return Ok(None) };
        if let Some(asked) = self.state_dir.as_ref().filter(|folder| !running.is_in(folder)) {
            return Err(OpenError::SharedBranch {
                branch: self.branch.clone(),
                remote: running.config.remote.clone(),
                folder: running.config.state_dir.clone(),
                asked: asked.clone(),
            });
        }
        self.try_signer().await?;
        running.writers += 1;
        let (remote, cli) = match &running.config.repository {
            Some(git_dir) => self.own(git_dir),
            None => {
                let compared = running.config.compared.clone();
                compared.add(self.under.clone());
                opened(self.cli(&running.config, running.writers).await?.comparing_below(compared)?)
            }
        };
        match remote.tip(&self.branch).await {
            Err(error) if error.remedy() == Remedy::FixConfiguration => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the remote can't be reached, going on with the local repository"),
            Ok(_) => {}
        }
        let handle = Arc::new(Handle::new(remote));
        let (reply, joined) = oneshot::channel();
        let request = Request::Join { handle: Arc::downgrade(&handle), signer: self.signer.clone(), reply };
        if requests.send(request).await.is_err() {
            return Ok(None);
        }
        match joined.await {
            Ok(joined) => joined?,
            Err(_ended) => return Ok(None),
        }
        let line = Line::new(requests, handle);
        let writer = self.writer(line, running.pushed.clone(), running.push_state.clone());
        Ok(Some(GitWriter { cli, ..writer }))
    }

    /// Starts an owner.
    async fn launch(
        &self,
        store: Store,
        remote: Arc<dyn Remote>,
    ) -> Result<(GitWriter, mpsc::WeakSender<Request>, JoinHandle<()>), OpenError> {
        let (requests, received) = mpsc::channel(REQUESTS);
        let (push_state, push_state_seen) = watch::channel(PushState::default());
        let (pushed, pushed_seen) = watch::channel(0);
        let span = tracing::info_span!("git_writer", remote = %self.url, branch = %self.branch);
        let handle = Arc::new(Handle::new(remote));
        let target = Target {
            url: self.url.clone(),
            branch: self.branch.clone(),
            on_conflict: self.on_conflict,
            start_at: self.start_at,
            pacing: self.pacing,
            unpushed_bytes: self.unpushed_bytes,
        };
        let owner = Owner::open(store, &handle, target, push_state, pushed);
        let owner = owner.instrument(span.clone()).await?;
        // Its end is seen by whoever holds a writer: every call says `Closed`.
        let task = tokio::spawn(owner.run(received).instrument(span));
        let weak = requests.downgrade();
        Ok((self.writer(Line::new(requests, handle), pushed_seen, push_state_seen), weak, task))
    }

    fn writer(&self, line: Line, pushed: watch::Receiver<u64>, push_state: watch::Receiver<PushState>) -> GitWriter {
        GitWriter {
            line: Arc::new(line),
            under: self.under.clone(),
            committer: self.committer.clone(),
            queue: Queue::new(self.queue_bytes),
            push_state,
            pushed,
            name: format!("{} of {}", self.branch, self.url).into(),
            cli: Weak::new(),
        }
    }
}

/// A writer's remote, and what of it takes other credentials, where there is such.
type Opened = (Arc<dyn Remote>, Weak<CliRemote>);

fn opened(remote: CliRemote) -> Opened {
    let remote = Arc::new(remote);
    let cli = Arc::downgrade(&remote);
    (remote, cli)
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

/// What is not pushed, and why.
#[derive(Clone, Debug, Default)]
pub struct PushState {
    /// How many commits the remote doesn't have.
    pub unpushed: usize,
    /// What they take in the state folder, in bytes on disk.
    pub unpushed_bytes: u64,
    /// Whether batches wait because that has reached [its limit](GitWriterBuilder::unpushed_bytes). They are committed when
    /// a push has succeeded.
    pub is_full: bool,
    /// When the oldest of them was committed.
    pub unpushed_since: Option<Timestamp>,
    /// The latest push of this run.
    pub last_push: Option<LastPush>,
    /// Branches with what [`OnConflict::Branch`] has put aside, until they are pushed.
    pub aside: Vec<BranchName>,
    /// The latest conflict with somebody else's commits of this run.
    pub last_conflict: Option<Conflict>,
    /// The latest rewrite of the remote's history that this run has met.
    pub last_rewrite: Option<Rewrite>,
    /// What the writer does about it.
    pub phase: PushPhase,
}

/// A push that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastPush {
    /// The branch's tip since then.
    pub commit: CommitId,
    /// When the remote had it.
    pub at: Timestamp,
}

/// What the writer does about its unpushed commits.
#[derive(Clone, Debug, Default)]
pub enum PushPhase {
    /// There are none.
    #[default]
    Idle,
    /// A push is under way.
    Pushing,
    /// The last attempt failed; [`RemoteError::remedy`] says what helps.
    Waiting {
        /// Why.
        error: RemoteError,
        /// When the next attempt begins; sooner when there is new work.
        retry_at: Timestamp,
    },
}

/// How a writer ended.
#[derive(Clone, Debug)]
pub struct Closed {
    /// How many commits of the branch the remote doesn't have, those of the other writers that share it included; none when it has
    /// all that were made before the close. They are on disk; the other writers or the next start push them.
    pub unpushed: usize,
    /// Why, when a push failed.
    pub error: Option<RemoteError>,
}

/// At most so many requests wait; the next caller waits until one is taken.
const REQUESTS: usize = 1024;

/// What is signed at the start, to see whether it can be; it is no commit.
const TRIAL: &[u8] = b"reverser tries its signer\n";

const QUEUE_BYTES: u32 = 64 << 20;

const UNPUSHED_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::{
        Credentials,
        remote::{Pushed, RemoteTip, create_bare},
        testing::{plan, put},
    };

    /// A remote over a connection that breaks after the server has done its work.
    #[derive(Debug)]
    struct Deaf {
        remote: CliRemote,
        url: RemoteUrl,
        /// So many answers to pushes are lost.
        lost: AtomicUsize,
        pushes: AtomicUsize,
        /// All others.
        reads: AtomicUsize,
    }

    #[async_trait::async_trait]
    impl Remote for Deaf {
        async fn tip(&self, branch: &BranchName) -> Result<RemoteTip, RemoteError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.remote.tip(branch).await
        }

        async fn fetch(&self, branch: &BranchName) -> Result<CommitId, RemoteError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.remote.fetch(branch).await
        }

        async fn push(
            &self,
            commit: &CommitId,
            branch: &BranchName,
            expected: Option<&CommitId>,
        ) -> Result<Pushed, RemoteError> {
            self.pushes.fetch_add(1, Ordering::Relaxed);
            let pushed = self.remote.push(commit, branch, expected).await?;
            let lost = self.lost.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lost| lost.checked_sub(1));
            let (action, url) = ("push to", self.url.clone());
            lost.map_or(Ok(pushed), |_| Err(RemoteError::TimeOut { action, url, limit: Duration::ZERO }))
        }
    }

    /// A writer to an empty repository in `folder`; so many answers to pushes are lost.
    async fn start(folder: &Path, lost: usize) -> (GitWriter, Arc<Deaf>) {
        let (state, remote) = (folder.join("state"), folder.join("remote.git"));
        create_bare(&remote, &BranchName::default()).await.unwrap();
        let url: RemoteUrl = remote.to_str().unwrap().parse().unwrap();
        let builder = GitWriter::open(url.clone(), Credentials::FromGit);
        let config = StoreConfig {
            state_dir: state,
            repository: None,
            remote: url.to_string(),
            branch: BranchName::default(),
            committer: builder.committer.clone(),
            signer: None,
            compression: builder.compression,
            compared: Compared::default(),
        };
        let (git_dir, login_dir) = (config.git_dir(), config.login_dir(1));
        let store = Store::open(config).unwrap();
        let remote = CliRemote::open(url.clone(), Credentials::FromGit, &git_dir, &login_dir).await.unwrap();
        let (pushes, reads) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let deaf = Arc::new(Deaf { remote, url, lost: AtomicUsize::new(lost), pushes, reads });
        let writer = builder.launch(store, Arc::<Deaf>::clone(&deaf)).await.unwrap().0;
        (writer, deaf)
    }

    async fn push(writer: &GitWriter, path: &str, content: &str) {
        let plans = vec![plan("put", [put(path, content)])];
        let receipt = writer.commit(Batch { plans, cursors: BTreeMap::new() }).await.unwrap();
        writer.pushed(&receipt).await.unwrap();
    }

    #[tokio::test]
    async fn a_push_whose_answer_is_lost_is_found_to_have_arrived() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, deaf) = start(folder.path(), 2).await;
        for n in 0..3 {
            push(&writer, "file", &n.to_string()).await;
            let tip = deaf.tip(&BranchName::default()).await.unwrap();
            assert_eq!(writer.push_state().borrow().last_push.as_ref().map(|push| &push.commit), tip.branch.as_ref());
        }
        assert_eq!(deaf.pushes.load(Ordering::Relaxed), 5);
        assert_eq!(writer.close(Duration::from_secs(60)).await.unwrap().unpushed, 0);
    }

    #[tokio::test]
    async fn a_foreign_push_costs_one_refused_push_one_fetch_and_one_push() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (writer, counted) = start(ours.path(), 0).await;
        push(&writer, "ours", "1").await;
        let other = GitWriter::open(counted.url.clone(), Credentials::FromGit).state_dir(theirs.path().join("state"));
        let other = other.start().await.unwrap();
        for n in 0..3 {
            push(&other, "theirs", &n.to_string()).await;
            let before = (counted.pushes.load(Ordering::Relaxed), counted.reads.load(Ordering::Relaxed));
            push(&writer, "ours", &format!("after {n}")).await;
            let after = (counted.pushes.load(Ordering::Relaxed), counted.reads.load(Ordering::Relaxed));
            assert_eq!((after.0 - before.0, after.1 - before.1), (2, 1), "pushes and reads");
            push(&other, "theirs", &format!("on top of {n}")).await;
            push(&writer, "ours", &format!("on top of that {n}")).await;
        }
        for writer in [writer, other] {
            assert_eq!(writer.close(Duration::from_secs(60)).await.unwrap().unpushed, 0);
        }
    }
}
