use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use reverser_git::{AccessError, Credentials, KnownHosts, Remedy, RemoteError, Secret};
use reverser_testbed::Sshd;

use super::{builder, fails, works};
use crate::bed::{LIMIT, commit, failure, push};

fn key(file: &Path, passphrase: Option<&str>, known_hosts: KnownHosts) -> Credentials {
    Credentials::Ssh { key: Secret::File(file.to_owned()), passphrase: passphrase.map(Secret::from), known_hosts }
}

fn known(server: &Sshd) -> KnownHosts {
    KnownHosts::Lines(server.known_hosts().unwrap())
}

#[tokio::test]
async fn a_key_logs_in_whatever_the_permissions_of_its_file() {
    let server = Sshd::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let file = server.key("deploy", "").await.unwrap();
    let mount = tempfile::tempdir().unwrap();
    let (link, known_hosts) = (mount.path().join("ssh-privatekey"), mount.path().join("known_hosts"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    symlink(&file, &link).unwrap();
    fs::write(&known_hosts, server.known_hosts().unwrap()).unwrap();
    works(&server.url("team.git"), &repo, key(&link, None, KnownHosts::File(known_hosts))).await;
    // Pasted somewhere, it has lost its last line's end and got others.
    let pasted = fs::read_to_string(&file).unwrap().trim_end().replace('\n', "\r\n");
    let access = Credentials::Ssh { key: pasted.into(), passphrase: None, known_hosts: known(&server) };
    works(&server.url("team.git"), &repo, access).await;
}

#[tokio::test]
async fn a_passphrase_opens_the_key_and_a_wrong_one_is_told() {
    let server = Sshd::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let file = server.key("deploy", "pass phrase's").await.unwrap();
    let url = server.url("team.git");
    works(&url, &repo, key(&file, Some("pass phrase's"), known(&server))).await;
    for passphrase in [Some("wr0ng"), None] {
        let error = fails(&url, key(&file, passphrase, known(&server))).await;
        assert!(matches!(error, RemoteError::Access { reason: AccessError::Key { .. }, .. }), "{error:?}");
        assert!(error.to_string().contains("incorrect passphrase"), "{error}");
        assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error:?}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_known_is_refused_with_advice() {
    let server = Sshd::start().await.unwrap();
    server.create("team.git").await.unwrap();
    let (file, url) = (server.key("deploy", "").await.unwrap(), server.url("team.git"));
    for none in [KnownHosts::None, KnownHosts::Lines("# nothing\n".into())] {
        let error = fails(&url, key(&file, None, none)).await;
        assert!(matches!(error, RemoteError::Access { reason: AccessError::NoHostKey { .. }, .. }), "{error:?}");
        assert!(error.to_string().contains("ssh-keyscan -p "), "{error}");
    }
    let other = server.known_hosts().unwrap().replace("127.0.0.1", "127.0.0.2");
    let error = fails(&url, key(&file, None, KnownHosts::Lines(other))).await;
    assert!(matches!(error, RemoteError::HostKey { has_changed: false, .. }), "{error:?}");
    assert_eq!(error.remedy(), Remedy::FixConfiguration);
    assert!(error.to_string().contains("ssh-keyscan"), "{error}");
}

#[tokio::test]
async fn a_host_is_trusted_on_first_use_when_asked_and_not_after_its_key_has_changed() {
    let mut server = Sshd::start().await.unwrap();
    server.create("team.git").await.unwrap();
    let (file, url) = (server.key("deploy", "").await.unwrap(), server.url("team.git"));
    let before = server.known_hosts().unwrap();
    let state = tempfile::tempdir().unwrap();
    let start = || builder(&url, key(&file, None, KnownHosts::TrustOnFirstUse), state.path()).start();
    let writer = start().await.unwrap();
    push(&writer, "a", "1").await;
    writer.close(LIMIT).await.unwrap();
    // Kept from one run to the next.
    let writer = start().await.unwrap();
    push(&writer, "b", "1").await;
    server.change_host_key().await.unwrap();
    commit(&writer, "c", "1").await;
    let error = failure(&writer).await;
    assert!(matches!(error, RemoteError::HostKey { has_changed: true, .. }), "{error:?}");
    assert!(error.to_string().contains("has changed: somebody may be in between"), "{error}");
    assert_eq!(error.remedy(), Remedy::FixConfiguration);
    let error = fails(&url, key(&file, None, KnownHosts::Lines(before))).await;
    assert!(matches!(error, RemoteError::HostKey { has_changed: true, .. }), "{error:?}");
}

#[tokio::test]
async fn the_keys_of_an_agent_log_in() {
    let server = Sshd::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let file = server.key("deploy", "").await.unwrap();
    let agent = server.agent(&file).await.unwrap();
    let access = |known_hosts| Credentials::SshAgent { socket: Some(agent.socket().to_owned()), known_hosts };
    works(&server.url("team.git"), &repo, access(known(&server))).await;
    let error = fails(&server.url("team.git"), access(KnownHosts::None)).await;
    assert!(matches!(error, RemoteError::Access { reason: AccessError::NoHostKey { .. }, .. }), "{error:?}");
}

#[tokio::test]
async fn a_deploy_key_that_was_removed_is_no_outage() {
    let server = Sshd::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let (file, url) = (server.key("deploy", "").await.unwrap(), server.url("team.git"));
    let state = tempfile::tempdir().unwrap();
    let writer = builder(&url, key(&file, None, known(&server)), state.path()).start().await.unwrap();
    push(&writer, "a", "1").await;
    server.forget_keys().unwrap();
    commit(&writer, "b", "1").await;
    let error = failure(&writer).await;
    assert!(matches!(error, RemoteError::Authentication { .. }), "{error:?}");
    assert_eq!(error.remedy(), Remedy::FixConfiguration);
    // Another key takes its place, without a restart.
    let fresh = server.key("fresh", "").await.unwrap();
    fs::rename(&fresh, &file).unwrap();
    writer.set_access(key(&file, None, known(&server))).await.unwrap();
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    repo.fsck().await.unwrap();
    assert_eq!(repo.log("main").await.unwrap().len(), 2);
    let error = fails(&server.url("nowhere.git"), key(&file, None, known(&server))).await;
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");
}
