//! What real servers say when they refuse a push.

use reverser_git::{Credentials, GitWriter, Refusal, Remedy, RemoteError};
use reverser_testbed::{GitHttp, Outage};
use tempfile::TempDir;

use super::builder;
use crate::bed::{LIMIT, commit, failure, push, pushed};

async fn writer(server: &GitHttp) -> (GitWriter, TempDir) {
    let state = tempfile::tempdir().unwrap();
    let writer = builder(&server.url("team.git"), Credentials::FromGit, state.path()).start().await.unwrap();
    (writer, state)
}

/// Commits something that is refused; returns by which rule.
async fn refused(writer: &GitWriter, content: &str) -> Refusal {
    commit(writer, "refused", content).await;
    let error = failure(writer).await;
    assert_eq!(error.remedy(), Remedy::FixConfiguration);
    match error {
        RemoteError::Refused { by, .. } => by,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_names_the_rule_and_the_push_goes_out_when_it_is_lifted() {
    for (words, by) in [
        ("no pushes on Friday", Refusal::Hook),
        ("GitLab: You are not allowed to push code to protected branches on this project.", Refusal::ProtectedBranch),
        ("error: GH001: Large files detected.", Refusal::TooLarge),
        ("Gitea: Quota exceeded", Refusal::Quota),
    ] {
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        let (writer, _state) = writer(&server).await;
        repo.refuse_pushes(Some(words)).unwrap();
        assert_eq!(refused(&writer, "1").await, by, "{words}");
        repo.refuse_pushes(None).unwrap();
        assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
        repo.fsck().await.unwrap();
    }
}

#[tokio::test]
async fn a_push_that_is_larger_than_git_takes_is_too_large() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let (writer, _state) = writer(&server).await;
    push(&writer, "small", "1").await;
    repo.git(&["config", "receive.maxInputSize", "1000"]).await.unwrap();
    let noise: String = (0..5_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    assert_eq!(refused(&writer, &noise).await, Refusal::TooLarge);
    repo.git(&["config", "--unset", "receive.maxInputSize"]).await.unwrap();
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    repo.fsck().await.unwrap();
}

#[tokio::test]
async fn a_transfer_that_a_web_server_cuts_off_is_too_large_or_over_quota() {
    let server = GitHttp::start().await.unwrap();
    server.create("team.git").await.unwrap();
    for (status, by) in [(413, Refusal::TooLarge), (507, Refusal::Quota)] {
        let (writer, _state) = writer(&server).await;
        server.refuse_transfers(Some(status));
        assert_eq!(refused(&writer, &status.to_string()).await, by, "{status}");
        server.refuse_transfers(None);
        assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    }
}

#[tokio::test]
async fn a_status_that_a_web_server_answers_a_push_with_has_its_remedy_and_loses_nothing() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let (writer, _state) = writer(&server).await;
    let expected = [
        (401, Remedy::FixConfiguration),
        (403, Remedy::FixConfiguration),
        (404, Remedy::FixConfiguration),
        (429, Remedy::Retry),
        (500, Remedy::Retry),
        (502, Remedy::Retry),
        (503, Remedy::Retry),
    ];
    for (status, remedy) in expected {
        server.refuse_transfers(Some(status));
        let receipt = commit(&writer, "file", &status.to_string()).await;
        let error = failure(&writer).await;
        assert_eq!(error.remedy(), remedy, "{status}: {error:?}");
        assert!(!matches!(error, RemoteError::Failed { .. } | RemoteError::Unreadable { .. }), "{status}: {error:?}");
        server.refuse_transfers(None);
        writer.retry_now().await.unwrap();
        pushed(&writer, &receipt).await;
    }
    server.fail(Some(Outage::Unavailable));
    commit(&writer, "file", "later").await;
    let error = failure(&writer).await;
    assert!(matches!(error, RemoteError::Network { .. }), "{error:?}");
    server.fail(None);
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    repo.fsck().await.unwrap();
    assert_eq!(repo.log("main").await.unwrap().len(), expected.len() + 1);
}
