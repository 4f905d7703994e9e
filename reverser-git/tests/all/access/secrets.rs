//! Where secrets are not: in arguments and environments of processes, in logs, in errors.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use reverser_git::{Credentials, GitSink, KnownHosts, RemoteAccess, Secret};
use reverser_testbed::{BareRepo, GitHttp, HttpProxy, Sshd, write_script};

use super::builder;
use crate::{
    bed::{LIMIT, commit, eventually, failure, pushed},
    log::Log,
};

/// A pre-receive hook that waits in the middle of a push.
struct Gate {
    folder: tempfile::TempDir,
}

impl Gate {
    fn close(repo: &BareRepo) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hook = repo.path().join("hooks/pre-receive");
        let path = folder.path().display();
        let script = format!("touch {path}/reached\nwhile [ ! -e {path}/open ]; do sleep 0.02; done");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        write_script(&hook, &script).unwrap();
        Self { folder }
    }

    async fn reached(&self) {
        let reached = self.folder.path().join("reached");
        eventually("the hook", async || reached.exists().then_some(())).await;
    }

    fn open(&self) {
        fs::write(self.folder.path().join("open"), "").unwrap();
    }
}

/// All that another process of this user can see of processes: arguments and environments, of all but this one.
fn visible() -> Vec<(String, String)> {
    let read = |process: &Path, name: &str| {
        let bytes = fs::read(process.join(name)).unwrap_or_default(); // it may have ended
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let others = processes.filter(|process| !process.ends_with(std::process::id().to_string()));
    others.map(|process| (read(&process, "cmdline"), read(&process, "environ"))).collect()
}

/// Pushes, and looks at all processes in the middle of it: git is there, and whom it has log in, and no secret.
#[cfg(target_os = "linux")]
async fn is_not_seen(url: &str, repo: &BareRepo, access: impl Into<RemoteAccess>, client: &str, secrets: &[&str]) {
    let state = tempfile::tempdir().unwrap();
    let writer = builder(url, access, state.path()).start().await.unwrap();
    let gate = Gate::close(repo);
    let receipt = commit(&writer, "a", &state.path().display().to_string()).await;
    gate.reached().await;
    let visible = visible();
    gate.open();
    let ours: Vec<_> =
        visible.iter().filter(|(arguments, _)| arguments.contains(url) || arguments.contains(client)).collect();
    assert!(ours.iter().any(|(arguments, _)| arguments.contains("push --porcelain")), "{ours:?}");
    assert!(ours.iter().any(|(arguments, _)| arguments.contains(client)), "{client}: {ours:?}");
    for (arguments, environment) in visible {
        for secret in secrets {
            assert!(!arguments.contains(secret), "{secret} in {arguments}");
            assert!(!environment.contains(secret), "{secret} in the environment of {arguments}");
        }
    }
    pushed(&writer, &receipt).await;
    for file in files(&state.path().join("login")) {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    assert!(!state.path().join("login").exists());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_process_shows_a_secret_while_git_pushes_over_http() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let url = server.url("team.git");
    let proxy = HttpProxy::start(Some(("out", "pr0xy-visible"))).await.unwrap();
    server.require(Some(("bot", "passw0rd-visible")));
    let basic = Credentials::Basic { username: "bot".into(), password: "passw0rd-visible".into() };
    let access = RemoteAccess { proxy: Some(proxy.url_with("out", "pr0xy-visible").as_str().into()), ..basic.into() };
    is_not_seen(&url, &repo, access, "git-remote-http", &["passw0rd-visible", "pr0xy-visible"]).await;
    server.require_token("t0ken-visible");
    let bearer = Credentials::Bearer { token: "t0ken-visible".into() };
    is_not_seen(&url, &repo, bearer, "git-remote-http", &["t0ken-visible"]).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_process_shows_a_secret_while_git_pushes_over_ssh() {
    let server = Sshd::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let key = server.key("deploy", "passphrase-visible").await.unwrap();
    let access = Credentials::Ssh {
        key: Secret::File(key.clone()),
        passphrase: Some("passphrase-visible".into()),
        known_hosts: KnownHosts::Lines(server.known_hosts().unwrap()),
    };
    let body = fs::read_to_string(&key).unwrap();
    let middle = body.lines().nth(1).unwrap();
    is_not_seen(&server.url("team.git"), &repo, access, "IdentityFile=key", &["passphrase-visible", middle]).await;
}

#[tokio::test]
async fn neither_logs_nor_errors_repeat_a_secret_that_was_refused() {
    let log = Log::begin();
    let (server, ssh) = (GitHttp::start().await.unwrap(), Sshd::start().await.unwrap());
    let proxy = HttpProxy::start(Some(("out", "right"))).await.unwrap();
    let (http, repo) = (server.url("team.git"), server.create("team.git").await.unwrap());
    ssh.create("team.git").await.unwrap();
    let key = ssh.key("deploy", "hush-passphrase").await.unwrap();
    let command = tempfile::tempdir().unwrap();
    let helper = command.path().join("helper");
    write_script(&helper, "echo username=bot\necho password=hush-command").unwrap();
    let basic = Credentials::Basic { username: "bot".into(), password: "hush-password".into() };
    let cases: Vec<(String, RemoteAccess)> = vec![
        (http.clone(), basic.clone().into()),
        (http.clone(), Credentials::Bearer { token: "hush-token".into() }.into()),
        (http.clone(), Credentials::Command { program: helper, arguments: vec![] }.into()),
        (
            http.clone(),
            RemoteAccess { proxy: Some(proxy.url_with("out", "hush-proxy").as_str().into()), ..basic.into() },
        ),
        (server.url_with("team.git", "bot", "hush-url"), RemoteAccess::default()),
        (
            ssh.url("team.git"),
            Credentials::Ssh {
                key: Secret::File(key),
                passphrase: Some("hush-passphrase".into()),
                known_hosts: KnownHosts::Lines(ssh.known_hosts().unwrap()),
            }
            .into(),
        ),
    ];
    let mut said = String::new();
    for (url, access) in cases {
        let state = tempfile::tempdir().unwrap();
        // First it works, since only a writer that has begun pushes: through nothing that asks for a password.
        server.require(None);
        let open = RemoteAccess { proxy: None, ..access.clone() };
        let writer = builder(&url, open, state.path()).start().await.unwrap();
        server.require(Some(("somebody", "else")));
        if url.starts_with("ssh:") {
            ssh.forget_keys().unwrap();
        }
        // The server is as careless as can be.
        repo.refuse_pushes(Some("hush-password hush-token hush-url: no")).unwrap();
        writer.set_access(access).await.unwrap();
        commit(&writer, "a", &url).await;
        let error = failure(&writer).await;
        said += &format!("{error} {error:?} {writer:?} {:?}\n", *writer.push_state().borrow());
        let closed = writer.close(LIMIT).await.unwrap();
        said += &format!("{closed:?}\n");
    }
    let logged = log.text();
    assert!(logged.matches("a push failed").count() >= 6, "{logged}");
    assert!(!said.contains("hush") && !logged.contains("hush"), "{said}\n{logged}");
}

#[tokio::test]
async fn a_server_that_repeats_the_password_is_not_quoted() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    server.require(Some(("bot", "hush-password")));
    let state = tempfile::tempdir().unwrap();
    let access = Credentials::Basic { username: "bot".into(), password: "hush-password".into() };
    let writer = builder(&server.url("team.git"), access, state.path()).start().await.unwrap();
    repo.refuse_pushes(Some("you logged in with hush-password")).unwrap();
    commit(&writer, "a", "1").await;
    let error = failure(&writer).await;
    assert!(error.to_string().contains("you logged in with ***"), "{error}");
    assert!(writer.cursors().await.unwrap().is_empty());
}
