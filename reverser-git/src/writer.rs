//! `GitWriter`: one branch of one remote, written durably on this machine and pushed in the background.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use jiff::Timestamp;
use reverser_core::{Edit, RepoPath, Signature};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::Instrument;

use crate::{
    branch::BranchName,
    credentials::RemoteAccess,
    deflate::CompressionLevel,
    remote::{CliRemote, Remote, RemoteError},
    sign::{Signer, sign},
    sink::{Batch, CommitId, GitSink, Receipt, SinkError},
    store::{OpenError, Store, StoreConfig},
    url::{RemoteUrl, default_state_dir},
    writer::owner::{Owner, Request},
};

mod owner;

/// Writes to one branch of one remote; clones share the writer.
///
/// What [`commit`](GitSink::commit) has returned is on this machine's disk and survives a crash; it is pushed in the
/// background, for ever, and somebody else's commits are never taken away. An idle branch pushes at once; while a push is
/// under way, work gathers for the next one. A commit whose caller goes away while it waits is made all the same.
///
/// When the last clone is dropped without [`close`](Self::close), the push under way is given up; the next start goes on
/// with it.
#[derive(Clone, Debug)]
pub struct GitWriter {
    /// To the task that owns the repository; it ends when all senders are gone.
    requests: mpsc::Sender<Request>,
    /// One permit a byte that waits for being committed.
    free_bytes: Arc<Semaphore>,
    queue_bytes: u32,
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
        let access = access.into().of(&url);
        GitWriterBuilder {
            url,
            access,
            branch: BranchName::default(),
            under: None,
            committer: Signature::new("reverser", "reverser@localhost"),
            signer: None,
            state_dir: None,
            queue_bytes: QUEUE_BYTES,
            transfer_limit: None,
            compression: CompressionLevel::default(),
        }
    }

    /// Commits what is queued, pushes for at most `limit`, and ends the writer. What is not pushed then is on disk, and goes
    /// out at the next start.
    pub async fn close(&self, limit: Duration) -> Result<Closed, SinkError> {
        self.ask(|reply| Request::Close { limit, reply }).await
    }

    /// Replaces how to log in, from the next command to the remote on; a writer that waits tries again at once. Secrets in
    /// files need no call: they are read again each time.
    ///
    /// # Errors
    /// When nothing can come of it, such as a file that can't be read; then all stays as it was.
    pub async fn set_access(&self, access: impl Into<RemoteAccess>) -> Result<(), RemoteError> {
        // A writer that has ended logs in no more.
        let Some(cli) = self.cli.upgrade() else { return Ok(()) };
        cli.set_access(access.into()).await?;
        drop(cli);
        let _ = self.requests.send(Request::Retry).await;
        Ok(())
    }

    /// Returns what is not pushed and why, always the latest.
    pub fn push_state(&self) -> watch::Receiver<PushState> {
        self.push_state.clone()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, SinkError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| self.closed())?;
        answer.await.map_err(|_| self.closed())
    }

    fn closed(&self) -> SinkError {
        SinkError::Closed { sink: self.name.to_string() }
    }
}

#[async_trait::async_trait]
impl GitSink for GitWriter {
    async fn commit(&self, batch: Batch) -> Result<Receipt, SinkError> {
        let bytes = waiting_bytes(&batch).min(self.queue_bytes);
        let permit = Arc::clone(&self.free_bytes).acquire_many_owned(bytes).await.map_err(|_| self.closed())?;
        self.ask(|reply| Request::Commit { batch, permit, reply }).await?
    }

    async fn pushed(&self, receipt: &Receipt) -> Result<(), SinkError> {
        let mut pushed = self.pushed.clone();
        pushed.wait_for(|sequence| *sequence >= receipt.sequence).await.map_err(|_| self.closed())?;
        Ok(())
    }

    async fn cursors(&self) -> Result<BTreeMap<String, String>, SinkError> {
        self.ask(|reply| Request::Cursors { reply }).await
    }

    async fn list(&self, folder: Option<&RepoPath>) -> Result<Vec<RepoPath>, SinkError> {
        self.ask(|reply| Request::List { folder: folder.cloned(), reply }).await?
    }

    async fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, SinkError> {
        self.ask(|reply| Request::Read { path: path.clone(), reply }).await?
    }
}

/// What a [`GitWriter`] is made of.
#[derive(Clone, Debug)]
pub struct GitWriterBuilder {
    url: RemoteUrl,
    access: RemoteAccess,
    branch: BranchName,
    under: Option<RepoPath>,
    committer: Signature,
    signer: Option<Arc<dyn Signer>>,
    state_dir: Option<PathBuf>,
    queue_bytes: u32,
    transfer_limit: Option<Duration>,
    compression: CompressionLevel,
}

impl GitWriterBuilder {
    /// Names the branch; `main` otherwise. One that the remote doesn't have begins at its default branch's tip.
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
    /// [`default_state_dir`] otherwise. One writer a folder.
    #[must_use]
    pub fn state_dir(mut self, folder: PathBuf) -> Self {
        self.state_dir = Some(folder);
        self
    }

    /// Limits what waits for being committed, in bytes; 64 MiB otherwise. At the limit `commit` waits. A larger batch goes
    /// alone.
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

    /// Sets how hard packs are compressed; 6 otherwise. A lower level takes less time for larger packs, on disk and on the
    /// way to the remote.
    #[must_use]
    pub fn compression(mut self, level: CompressionLevel) -> Self {
        self.compression = level;
        self
    }

    /// Opens the local repository, meets the remote and starts the writer.
    ///
    /// A remote that can't be reached is an error only at the first start: later ones go on with what is on disk. A signer that
    /// can't sign is one each time.
    pub async fn start(self) -> Result<GitWriter, OpenError> {
        let state_dir = match &self.state_dir {
            Some(folder) => folder.clone(),
            None => default_state_dir(&self.url, &self.branch).ok_or(OpenError::NoStateDir)?,
        };
        let config = StoreConfig {
            state_dir,
            remote: self.url.to_string(),
            branch: self.branch.clone(),
            under: self.under.clone(),
            committer: self.committer.clone(),
            signer: self.signer.clone(),
            compression: self.compression,
        };
        if let Some(signer) = self.signer.clone() {
            owner::blocking(move || sign(signer.as_ref(), TRIAL)).await.map_err(OpenError::Sign)?;
        }
        let (git_dir, login_dir) = (config.git_dir(), config.login_dir());
        let store = owner::blocking(move || Store::open(config)).await?;
        let mut remote = CliRemote::open(self.url.clone(), self.access.clone(), &git_dir, &login_dir).await?;
        if let Some(limit) = self.transfer_limit {
            remote = remote.transfer_limit(limit);
        }
        let remote = Arc::new(remote);
        let cli = Arc::downgrade(&remote);
        Ok(GitWriter { cli, ..self.start_with(store, remote).await? })
    }

    async fn start_with(self, store: Store, remote: Arc<dyn Remote>) -> Result<GitWriter, OpenError> {
        let (requests, received) = mpsc::channel(REQUESTS);
        let (push_state, push_state_seen) = watch::channel(PushState::default());
        let (pushed, pushed_seen) = watch::channel(0);
        let span = tracing::info_span!("git_writer", remote = %self.url, branch = %self.branch);
        let owner =
            Owner::open(store, remote, self.branch.clone(), push_state, pushed).instrument(span.clone()).await?;
        // Its end is seen by whoever holds a writer: every call says `Closed`.
        tokio::spawn(owner.run(received).instrument(span));
        Ok(GitWriter {
            requests,
            free_bytes: Arc::new(Semaphore::new(self.queue_bytes as usize)),
            queue_bytes: self.queue_bytes,
            push_state: push_state_seen,
            pushed: pushed_seen,
            name: format!("{} of {}", self.branch, self.url).into(),
            cli: Weak::new(),
        })
    }
}

/// What is not pushed, and why.
#[derive(Clone, Debug, Default)]
pub struct PushState {
    /// How many commits the remote doesn't have.
    pub unpushed: usize,
    /// When the oldest of them was committed.
    pub unpushed_since: Option<Timestamp>,
    /// The latest push of this run.
    pub last_push: Option<LastPush>,
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
    /// How many commits the remote doesn't have. They are on disk, and the next start pushes them.
    pub unpushed: usize,
    /// Why, when a push failed.
    pub error: Option<RemoteError>,
}

/// What a batch takes of the queue: contents, paths, messages, and a little for each plan.
fn waiting_bytes(batch: &Batch) -> u32 {
    let of_edit = |edit: &Edit| {
        let content = match edit {
            Edit::Put { content, .. } => content.len(),
            Edit::Delete { .. } => 0,
        };
        edit.path().as_str().len() + content
    };
    let plans = batch.plans.iter().map(|plan| 256 + plan.message.len() + plan.edits.iter().map(of_edit).sum::<usize>());
    let cursors = batch.cursors.iter().map(|(source, position)| source.len() + position.len());
    u32::try_from(plans.chain(cursors).sum::<usize>()).unwrap_or(u32::MAX)
}

/// At most so many requests wait; the next caller waits until one is taken.
const REQUESTS: usize = 1024;

/// What is signed at the start, to see whether it can be; it is no commit.
const TRIAL: &[u8] = b"reverser tries its signer\n";

const QUEUE_BYTES: u32 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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
    }

    #[async_trait::async_trait]
    impl Remote for Deaf {
        async fn tip(&self, branch: &BranchName) -> Result<RemoteTip, RemoteError> {
            self.remote.tip(branch).await
        }

        async fn fetch(&self, branch: &BranchName) -> Result<CommitId, RemoteError> {
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

    #[tokio::test]
    async fn a_push_whose_answer_is_lost_is_found_to_have_arrived() {
        let folder = tempfile::tempdir().unwrap();
        let (state, remote) = (folder.path().join("state"), folder.path().join("remote.git"));
        create_bare(&remote, &BranchName::default()).await.unwrap();
        let url: RemoteUrl = remote.to_str().unwrap().parse().unwrap();
        let builder = GitWriter::open(url.clone(), Credentials::FromGit);
        let config = StoreConfig {
            state_dir: state,
            remote: url.to_string(),
            branch: BranchName::default(),
            under: None,
            committer: builder.committer.clone(),
            signer: None,
            compression: builder.compression,
        };
        let (git_dir, login_dir) = (config.git_dir(), config.login_dir());
        let store = Store::open(config).unwrap();
        let remote = CliRemote::open(url.clone(), Credentials::FromGit, &git_dir, &login_dir).await.unwrap();
        let deaf = Arc::new(Deaf { remote, url, lost: AtomicUsize::new(2), pushes: AtomicUsize::new(0) });
        let writer = builder.start_with(store, Arc::<Deaf>::clone(&deaf)).await.unwrap();

        for n in 0..3 {
            let plans = vec![plan("put", [put("file", &n.to_string())])];
            let receipt = writer.commit(Batch { plans, cursors: BTreeMap::new() }).await.unwrap();
            writer.pushed(&receipt).await.unwrap();
            let tip = deaf.tip(&BranchName::default()).await.unwrap();
            assert_eq!(writer.push_state().borrow().last_push.as_ref().map(|push| &push.commit), tip.branch.as_ref());
        }
        assert_eq!(deaf.pushes.load(Ordering::Relaxed), 5);
        assert_eq!(writer.close(Duration::from_secs(60)).await.unwrap().unpushed, 0);
    }
}
