//! A real forge: Gitea, with a token, a deploy key and a protected branch.

use std::sync::{Arc, Weak};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use reverser_git::{GitSink, GitWriter, PushPhase, Remedy, RemoteError, RemoteUrl, testing::conforms};
use reverser_testbed::{Gitea, eventually};
use reverser_tests::LIMIT;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::scene::{Scene, assert_subjects, config_map, create, history, run};

/// One forge for all tests that run at the same time, each with a repository of its own.
async fn forge() -> Arc<Gitea> {
    // Weak, since statics are never dropped: it ends with the last test that uses it.
    static FORGE: Mutex<Weak<Gitea>> = Mutex::const_new(Weak::new());
    let mut shared = FORGE.lock().await;
    if let Some(forge) = shared.upgrade() {
        return forge;
    }
    let forge = Arc::new(Gitea::start().await.unwrap());
    *shared = Arc::downgrade(&forge);
    forge
}

fn with_token(forge: &Gitea, repository: &str, token: &str) -> RemoteUrl {
    let (user, _) = forge.login();
    forge.url(repository).replace("http://", &format!("http://{user}:{token}@")).parse().unwrap()
}

async fn start(url: RemoteUrl) -> (GitWriter, TempDir) {
    let state = tempfile::tempdir().unwrap();
    let credentials = url.credentials();
    let writer = GitWriter::open(url, credentials).state_dir(state.path().to_owned()).start().await.unwrap();
    (writer, state)
}

#[test]
fn the_writer_conforms_on_a_forge_with_a_token() {
    run(async {
        let forge = forge().await;
        let repo = forge.create("conforms").await.unwrap();
        let token = forge.token("writer", &["write:repository"]).await.unwrap();
        let (writer, _state) = start(with_token(&forge, "conforms", &token)).await;
        conforms(&writer).await;
        let closed = writer.close(LIMIT).await.unwrap();
        assert_eq!(closed.unpushed, 0, "{:?}", closed.error);
        repo.fsck().await.unwrap();
        assert!(repo.log("main").await.unwrap().len() > 5);
    });
}

#[test]
fn a_token_that_may_only_read_is_said_so_and_nothing_is_lost() {
    run(async {
        let forge = forge().await;
        let repo = forge.create("readable").await.unwrap();
        let token = forge.token("reader", &["read:repository"]).await.unwrap();
        let (writer, _state) = start(with_token(&forge, "readable", &token)).await;
        let plan = reverser_git::testing::plan("one", [reverser_git::testing::put("a", "1")]);
        let batch = reverser_git::Batch { plans: vec![plan], ..Default::default() };
        writer.commit(batch).await.unwrap();
        let error = failure(&writer).await;
        assert!(matches!(error, RemoteError::Authentication { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("check the credentials") && !text.contains(&token), "{text}");
        assert_eq!(error.remedy(), Remedy::FixConfiguration);
        assert_eq!(writer.close(std::time::Duration::ZERO).await.unwrap().unpushed, 1);
        assert!(repo.log("main").await.unwrap().is_empty());
    });
}

#[test]
fn a_protected_branch_holds_pushes_back_until_it_is_allowed() {
    run(async {
        let forge = forge().await;
        let repo = forge.create("protected").await.unwrap();
        let scene = Scene::shared("protected-branch").await;
        let (_, token) = forge.login();
        let configs: Api<ConfigMap> = scene.api();
        let watch = scene.watch_into(&with_login(&forge, "protected", token), &["-r", "configmaps"]).await;
        create(&configs, config_map("first", "1")).await;
        history(&repo, 1).await;
        forge.protect("protected", "main").await.unwrap();
        create(&configs, config_map("second", "1")).await;
        create(&configs, config_map("third", "1")).await;
        watch.says("a push failed").await;
        assert_eq!(repo.log("main").await.unwrap().len(), 1);
        forge.unprotect("protected", "main").await.unwrap();
        let log = history(&repo, 3).await;
        let names = ["first", "second", "third"].map(|name| format!("[CREATE] v1/configmaps/{name}"));
        assert_subjects(&log, &names.each_ref().map(String::as_str));
        let said = watch.terminate().await.exits_with(0);
        assert!(said.contains("protected branch") && said.contains("refs/heads/main"), "{said}");
        repo.fsck().await.unwrap();
    });
}

fn with_login(forge: &Gitea, repository: &str, token: &str) -> String {
    let (user, _) = forge.login();
    forge.url(repository).replace("http://", &format!("http://{user}:{token}@"))
}

/// Waits until a push has failed; returns why.
async fn failure(writer: &GitWriter) -> RemoteError {
    eventually("a push that fails", LIMIT, async || match &writer.push_state().borrow().phase {
        PushPhase::Waiting { error, .. } => Ok(error.clone()),
        other => Err(format!("{other:?}")),
    })
    .await
}
