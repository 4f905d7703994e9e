//! A writer over a connection that loses answers, and what a race costs.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    Batch, BranchName, CommitId, Credentials, GitSink, GitWriter, Remote, RemoteError, RemoteUrl,
    remote::{CliRemote, NotesPushed, Pushed, RemoteTip, cli::Compared, create_bare},
    store::{Store, StoreConfig},
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

    async fn fetch_notes(&self) -> Result<Option<CommitId>, RemoteError> {
        self.remote.fetch_notes().await
    }

    async fn push_notes(&self, commit: &CommitId, expected: Option<&CommitId>) -> Result<NotesPushed, RemoteError> {
        self.remote.push_notes(commit, expected).await
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
        compression: builder.shared.compression(),
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
