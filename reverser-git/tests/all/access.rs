//! Logging in to real servers, each way that there is.

use std::path::Path;

use reverser_git::{
    BranchName, Files, GitReader, GitWriter, GitWriterBuilder, OpenError, ReadError, RemoteAccess, RemoteError,
    RemoteProbe, RemoteUrl, testing,
};
use reverser_testbed::{BareRepo, LoggedCommit};

use crate::bed::{LIMIT, git, push};

mod http;
mod outcomes;
mod secrets;
mod ssh;

fn builder(url: &str, access: impl Into<RemoteAccess>, state: &Path) -> GitWriterBuilder {
    GitWriter::open(url.parse().unwrap(), access).state_dir(state.to_owned())
}

/// A probe finds that it would work, and it does: pushes, and fetches what somebody else has pushed; a reader reads it.
async fn works(url: &str, repo: &BareRepo, access: impl Into<RemoteAccess>) {
    let (access, parsed): (RemoteAccess, RemoteUrl) = (access.into(), url.parse().unwrap());
    let probe = RemoteProbe::open(parsed, access.clone()).await.unwrap();
    probe.readable(&BranchName::default()).await.unwrap();
    probe.writable(&BranchName::default()).await.unwrap();
    let before = repo.log("main").await.unwrap().len();
    let state = tempfile::tempdir().unwrap();
    let writer = builder(url, access.clone(), state.path()).start().await.unwrap();
    let name = |what: &str| format!("{what}-{before}");
    push(&writer, &name("ours"), "1").await;
    repo.commit_as_other("main", &name("theirs"), "1").await.unwrap();
    push(&writer, &name("again"), "1").await;
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    assert!(!state.path().join("login").exists(), "credentials go with the writer");
    let reader = GitReader::open(url.parse().unwrap(), access).start().await.unwrap();
    assert_eq!(reader.read(&testing::path(&name("theirs"))).await.unwrap().unwrap(), b"1");
    let log = repo.log("main").await.unwrap();
    let subjects: Vec<_> = log[before..].iter().map(LoggedCommit::subject).collect();
    let expected = ["put ours", "Edit theirs", "put again"].map(name);
    assert_eq!(subjects, expected);
    repo.fsck().await.unwrap();
    git(&state.path().join("repository.git"), &["fsck", "--full", "--strict", "--no-dangling"]);
}

/// Neither a probe nor a writer nor a reader gets in; returns why.
async fn fails(url: &str, access: impl Into<RemoteAccess>) -> RemoteError {
    let access = access.into();
    let probed = match RemoteProbe::open(url.parse().unwrap(), access.clone()).await {
        Ok(probe) => probe.readable(&BranchName::default()).await.unwrap_err(),
        Err(error) => error,
    };
    let state = tempfile::tempdir().unwrap();
    let read = match GitReader::open(url.parse().unwrap(), access.clone()).start().await.unwrap_err() {
        ReadError::Remote(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(std::mem::discriminant(&probed), std::mem::discriminant(&read), "{probed} {read}");
    let error = match builder(url, access, state.path()).start_apart().await.unwrap_err() {
        OpenError::Remote(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(std::mem::discriminant(&probed), std::mem::discriminant(&error), "{probed} {error}");
    error
}
