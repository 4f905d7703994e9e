//! `GitWriter`: one branch of one remote, written durably on this machine and pushed in the background.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use reverser_core::{Edit, RepoPath, Signature};
use tokio::sync::{oneshot, watch};

use crate::{
    credentials::{Credentials, RemoteAccess},
    remote::{CliRemote, RemoteError},
    sink::{Batch, Files, GitSink, Note, Receipt, SinkError},
    store::Work,
    url::{RemoteUrl, RemoteUrlError},
    writer::{builder::Place, handle::Line, owner::Request, queue::Queue},
};

mod builder;
mod handle;
mod owner;
mod owners;
mod queue;
mod shared;
mod start;
mod state;

pub use builder::{GitWriterBuilder, StartAt};
pub use state::{Closed, LastPush, PushPhase, PushState, PushTotals};

/// Writes to one branch of one remote; clones are the same writer.
///
/// What [`commit`](GitSink::commit) has returned is on this machine's disk and survives a crash; it is pushed in the
/// background, for ever, and somebody else's commits are never taken away. An idle branch pushes at once; while a push is
/// under way, work gathers for the next one. A commit whose caller goes away while it waits is made all the same, once the
/// queue has taken it.
///
/// # One owner for each branch
/// All writers of a process to one branch of a repository share one task and one state folder, however they write its
/// address ([`RemoteUrl::canonical`]): their commits are in one order, and they never race. Each has its own folder, committer and
/// queue, and [`start`](GitWriterBuilder::start) says of each option whose counts; of the cursors there is one map, so their sources
/// need names of their own. A push takes what all of them have committed, with the address and the credentials of the one that was
/// opened first; when these are refused, or when that one is gone, with those of the next. The task runs on the runtime in which the
/// first of them was started, and needs it for as long as there are others.
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
        GitWriterBuilder::new(url, access.into(), Place::Remote)
    }

    /// Returns a builder for a writer that makes its commits in a repository on this machine, without a remote: a bare one,
    /// made when nothing is there, or that of a working tree in which the branch is not checked out.
    ///
    /// The repository holds its own state ([`state_dir`](GitWriterBuilder::state_dir) isn't for it), and others may push to the branch
    /// or move it as they like: what isn't in it yet is made again on their tip, as with a remote. A commit counts from
    /// [`commit`](GitSink::commit) on; the branch moves to it in the next moment, and [`pushed`](GitSink::pushed) waits for that. While
    /// somebody has the branch in a working tree it stays, as git has it for pushes, and
    /// [`push_state`](Self::push_state) says so.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let repository = folder.path().join("audit.git");
    /// use std::time::Duration;
    ///
    /// use reverser_git::{Files, GitWriter};
    ///
    /// let writer = GitWriter::local(&repository)?.under("cluster".parse()?).start().await?;
    /// assert!(writer.list(None).await?.is_empty());
    /// writer.close(Duration::from_secs(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn local(folder: &Path) -> Result<GitWriterBuilder, RemoteUrlError> {
        Ok(GitWriterBuilder::new(RemoteUrl::from_path(folder)?, Credentials::FromGit.into(), Place::Here))
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
    /// that owns it, whose state folder is free when this returns. Two closings at once are one, with the limit of the first, and
    /// both hear how it ended; a closing that nobody waits for is done all the same.
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

    async fn catch_up(&self) -> Result<(), SinkError> {
        self.ask(|reply| Request::CatchUp { reply }).await?
    }

    async fn note(&self, note: Note) -> Result<(), SinkError> {
        let permit = self.queue.room_for_note(&note).await.ok_or_else(|| self.closed())?;
        self.ask(|reply| Request::Note { note, permit, reply }).await?
    }

    async fn cursors(&self) -> Result<BTreeMap<String, String>, SinkError> {
        self.ask(|reply| Request::Cursors { reply }).await
    }
}

#[async_trait::async_trait]
impl Files for GitWriter {
    async fn list(&self, folder: Option<&RepoPath>) -> Result<Vec<RepoPath>, SinkError> {
        let (folder, under) = (folder.map(|folder| self.rooted(folder)), self.under.clone());
        let folder = folder.or_else(|| under.clone());
        self.ask(|reply| Request::List { folder, under, reply }).await?
    }

    async fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, SinkError> {
        self.ask(|reply| Request::Read { path: self.rooted(path), reply }).await?
    }
}

#[cfg(test)]
mod tests;
