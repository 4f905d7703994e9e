//! A real forge: Gitea, with a token, a deploy key and a protected branch.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Weak},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use reverser_git::{Credentials, GitSink, GitWriter, KnownHosts, PushPhase, Remedy, RemoteError, RemoteUrl, Secret};
use reverser_testbed::{Access, Gitea, eventually};
use reverser_tests::LIMIT;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::{
    remote::conforms_at,
    scene::{Scene, assert_subjects, config_map, create, history, output_of, run},
};

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
        conforms_at(with_token(&forge, "conforms", &token), &repo).await;
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

/// A key pair's private half and its public line, and a file with the forge's host key, in a folder.
async fn deploy_key(forge: &Gitea, folder: &TempDir) -> (PathBuf, String, PathBuf) {
    let (key, known_hosts) = (folder.path().join("deploy"), folder.path().join("known_hosts"));
    let mut keygen = tokio::process::Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "deploy", "-f"]).arg(&key);
    output_of(keygen, "").await;
    fs::write(&known_hosts, forge.known_host().unwrap()).unwrap();
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    (key, public, known_hosts)
}

#[test]
fn a_deploy_key_pushes_until_it_is_removed_and_again_when_it_is_added() {
    run(async {
        let forge = forge().await;
        let repo = forge.create("deployed").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (key, public, known_hosts) = deploy_key(&forge, &folder).await;
        let number = forge.add_deploy_key("deployed", &public, Access::Write).await.unwrap();
        let scene = Scene::shared("forge-deploy-key").await;
        let configs: Api<ConfigMap> = scene.api();
        let login = ["--ssh-key", key.to_str().unwrap(), "--known-hosts", known_hosts.to_str().unwrap()];
        let watch = scene.watch_into(&forge.ssh_url("deployed"), &login).await;
        create(&configs, config_map("first", "1")).await;
        history(&repo, 1).await;
        forge.remove_deploy_key("deployed", number).await.unwrap();
        create(&configs, config_map("second", "1")).await;
        watch.says("refused access, check the credentials").await;
        assert_eq!(repo.log("main").await.unwrap().len(), 1);
        forge.add_deploy_key("deployed", &public, Access::Write).await.unwrap();
        let log = history(&repo, 2).await;
        assert_subjects(&log, &["[CREATE] v1/configmaps/first", "[CREATE] v1/configmaps/second"]);
        forge.protect("deployed", "main").await.unwrap();
        create(&configs, config_map("third", "1")).await;
        watch.says("allow this user to push there").await;
        forge.unprotect("deployed", "main").await.unwrap();
        history(&repo, 3).await;
        watch.terminate().await.exits_with(0);
        repo.fsck().await.unwrap();
    });
}

#[test]
fn a_deploy_key_that_may_only_read_is_said_so_and_nothing_is_lost() {
    run(async {
        let forge = forge().await;
        let repo = forge.create("read-only").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (key, public, known_hosts) = deploy_key(&forge, &folder).await;
        forge.add_deploy_key("read-only", &public, Access::Read).await.unwrap();
        let access =
            Credentials::Ssh { key: Secret::File(key), passphrase: None, known_hosts: KnownHosts::File(known_hosts) };
        let writer = GitWriter::open(forge.ssh_url("read-only").parse().unwrap(), access);
        let writer = writer.state_dir(folder.path().join("state")).start().await.unwrap();
        let plans = vec![reverser_git::testing::plan("one", [reverser_git::testing::put("a", "1")])];
        writer.commit(reverser_git::Batch { plans, ..Default::default() }).await.unwrap();
        let error = failure(&writer).await;
        assert!(matches!(error, RemoteError::Authentication { .. }), "{error:?}");
        assert_eq!(error.remedy(), Remedy::FixConfiguration);
        assert!(error.to_string().contains("check the credentials and what they allow"), "{error}");
        assert_eq!(writer.close(std::time::Duration::ZERO).await.unwrap().unpushed, 1);
        assert!(repo.log("main").await.unwrap().is_empty());
    });
}

#[test]
fn a_token_in_a_file_may_be_rotated_while_it_is_used() {
    run(async {
        let forge = forge().await;
        let repo = forge.create("rotated").await.unwrap();
        let scene = Scene::shared("rotated-token").await;
        let configs: Api<ConfigMap> = scene.api();
        let file = scene.home.path().join("token");
        let (user, _) = forge.login();
        fs::write(&file, forge.token("rotated-first", &["write:repository"]).await.unwrap()).unwrap();
        let login = ["--username", user, "--password-file", file.to_str().unwrap()];
        let watch = scene.watch_into(&forge.url("rotated"), &login).await;
        create(&configs, config_map("first", "1")).await;
        history(&repo, 1).await;
        fs::write(&file, "revoked").unwrap();
        create(&configs, config_map("second", "1")).await;
        watch.says("refused access, check the credentials").await;
        fs::write(&file, forge.token("rotated-second", &["write:repository"]).await.unwrap()).unwrap();
        history(&repo, 2).await;
        let said = watch.terminate().await.exits_with(0);
        assert!(!said.contains("revoked"), "{said}");
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
