use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use reverser_git::{ClientCertificate, Credentials, GitSink, RemoteAccess, RemoteError, Secret};
use reverser_testbed::{GitHttp, HttpProxy, write_script};

use super::{builder, fails, works};
use crate::bed::{LIMIT, commit, failure, push, pushed};

fn basic(password: &str) -> Credentials {
    Credentials::Basic { username: "bot".into(), password: password.into() }
}

fn bearer(token: &str) -> Credentials {
    Credentials::Bearer { token: token.into() }
}

#[tokio::test]
async fn a_user_name_and_a_password_log_in() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    server.require(Some(("bot", "s3cret \"quoted\" \\ %41 ü")));
    works(&server.url("team.git"), &repo, basic("s3cret \"quoted\" \\ %41 ü")).await;
    let error = fails(&server.url("team.git"), basic("wrong")).await;
    assert!(matches!(error, RemoteError::Authentication { .. }), "{error:?}");
}

#[tokio::test]
async fn a_bearer_token_logs_in() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    server.require_token("t0ken.with-all_of~its+characters/==");
    works(&server.url("team.git"), &repo, bearer("t0ken.with-all_of~its+characters/==")).await;
    let error = fails(&server.url("team.git"), bearer("wrong")).await;
    assert!(matches!(error, RemoteError::Authentication { .. }), "{error:?}");
}

#[tokio::test]
async fn a_redirect_takes_neither_password_nor_token_to_another_host() {
    let (server, elsewhere) = (GitHttp::start().await.unwrap(), GitHttp::start().await.unwrap());
    elsewhere.create("team.git").await.unwrap();
    let root = elsewhere.url("");
    server.redirect(Some(root.trim_end_matches('/')));
    elsewhere.require(Some(("bot", "s3cret")));
    let error = fails(&server.url("team.git"), basic("s3cret")).await;
    assert!(matches!(error, RemoteError::Authentication { .. }), "{error:?}");
    elsewhere.require_token("t0ken");
    let before = elsewhere.requests();
    let error = fails(&server.url("team.git"), bearer("t0ken")).await;
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");
    assert_eq!(elsewhere.requests(), before, "it was not even asked");
}

#[tokio::test]
async fn a_credential_command_is_told_where_and_logs_in() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    server.require(Some(("app", "f0rge-token")));
    let folder = tempfile::tempdir().unwrap();
    let (program, asked) = (folder.path().join("it's a helper"), folder.path().join("asked"));
    let script = "[ \"$2\" = get ] || exit 0\ncat >\"$1\"\necho \"home=$HOME\" >>\"$1\"\n\
                  echo username=app\necho password=f0rge-token";
    write_script(&program, script).unwrap();
    let command = |program: &Path| Credentials::Command {
        program: program.to_owned(),
        arguments: vec![asked.to_str().unwrap().to_owned()],
    };
    works(&server.url("team.git"), &repo, command(&program)).await;
    let asked = fs::read_to_string(&asked).unwrap();
    assert!(asked.contains("protocol=http\n") && asked.contains("path=team.git\n"), "{asked}");
    assert!(asked.contains(&format!("home={}\n", std::env::var("HOME").unwrap())), "the user's own: {asked}");
    for program in [folder.path().join("nowhere"), PathBuf::from("reverser-no-such-helper")] {
        let error = fails(&server.url("team.git"), command(&program)).await;
        assert!(matches!(error, RemoteError::Authentication { .. }), "{error:?}");
        assert!(error.to_string().contains("not found"), "{error}");
    }
}

#[tokio::test]
async fn a_password_that_changes_counts_without_a_restart() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    server.require(Some(("one", "first")));
    // As kubelet mounts a Secret: files are links through a link that is swapped.
    let mount = tempfile::tempdir().unwrap();
    let swap = |version: &str, username: &str, password: &str| {
        let data = mount.path().join(version);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("username"), username).unwrap();
        fs::write(data.join("password"), password).unwrap();
        symlink(version, mount.path().join("..draft")).unwrap();
        fs::rename(mount.path().join("..draft"), mount.path().join("..data")).unwrap();
    };
    swap("..1", "one", "first");
    for name in ["username", "password"] {
        symlink(Path::new("..data").join(name), mount.path().join(name)).unwrap();
    }
    let file = |name: &str| Secret::File(mount.path().join(name));
    let access = Credentials::Basic { username: file("username"), password: file("password") };
    let state = tempfile::tempdir().unwrap();
    let writer = builder(&server.url("team.git"), access, state.path()).start().await.unwrap();
    push(&writer, "a", "1").await;

    server.require(Some(("two", "second")));
    let receipt = commit(&writer, "b", "1").await;
    let error = failure(&writer).await;
    assert!(matches!(error, RemoteError::Authentication { .. }), "{error:?}");
    swap("..2", "two", "second");
    pushed(&writer, &receipt).await;
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    assert_eq!(repo.log("main").await.unwrap().len(), 2);
}

#[tokio::test]
async fn credentials_can_be_replaced_while_a_writer_runs() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    server.require(Some(("bot", "first")));
    let state = tempfile::tempdir().unwrap();
    let writer = builder(&server.url("team.git"), basic("first"), state.path()).start().await.unwrap();
    push(&writer, "a", "1").await;
    server.require_token("second");
    let receipt = commit(&writer, "b", "1").await;
    failure(&writer).await;
    let refused = writer.set_access(Credentials::Bearer { token: Secret::File("/nowhere".into()) }).await.unwrap_err();
    assert!(matches!(refused, RemoteError::Access { .. }), "{refused:?}");
    writer.set_access(bearer("second")).await.unwrap();
    pushed(&writer, &receipt).await;
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    assert_eq!(repo.log("main").await.unwrap().len(), 2);
    assert!(writer.cursors().await.is_err(), "it has ended");
    writer.set_access(bearer("third")).await.unwrap();
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_it_is_named() {
    let server = GitHttp::start_tls().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    server.require(Some(("bot", "s3cret")));
    let url = server.url("team.git");
    let access = |ca_file: &Path| RemoteAccess { ca_file: Some(ca_file.to_owned()), ..basic("s3cret").into() };
    works(&url, &repo, access(&server.certificates().unwrap().ca_file)).await;
    let others = GitHttp::start_tls().await.unwrap();
    for access in [access(&others.certificates().unwrap().ca_file), basic("s3cret").into()] {
        let error = fails(&url, access).await;
        assert!(matches!(error, RemoteError::Certificate { .. }), "{error:?}");
        assert!(error.to_string().contains("CA file"), "{error}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_servers_that_want_one() {
    let server = GitHttp::start_mutual_tls().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let certificates = server.certificates().unwrap();
    let with = |client_certificate: Option<ClientCertificate>| RemoteAccess {
        ca_file: Some(certificates.ca_file.clone()),
        client_certificate,
        ..RemoteAccess::default()
    };
    let client = ClientCertificate { certificate: certificates.client.clone(), key: certificates.client_key.clone() };
    works(&server.url("team.git"), &repo, with(Some(client))).await;
    let error = fails(&server.url("team.git"), with(None)).await;
    assert!(matches!(error, RemoteError::Certificate { .. } | RemoteError::Network { .. }), "{error:?}");
}

#[tokio::test]
async fn a_proxy_is_gone_through_with_its_own_password() {
    let (plain, tls) = (GitHttp::start().await.unwrap(), GitHttp::start_tls().await.unwrap());
    for server in [&plain, &tls] {
        let repo = server.create("team.git").await.unwrap();
        server.require(Some(("bot", "s3cret")));
        let url = server.url("team.git");
        let open = HttpProxy::start(None).await.unwrap();
        let closed = HttpProxy::start(Some(("out", "pr0xy@pass"))).await.unwrap();
        let ca_file = server.certificates().map(|certificates| certificates.ca_file.clone());
        let through = |proxy: String| RemoteAccess {
            ca_file: ca_file.clone(),
            proxy: Some(proxy.as_str().into()),
            ..basic("s3cret").into()
        };
        works(&url, &repo, through(open.url())).await;
        works(&url, &repo, through(closed.url_with("out", "pr0xy%40pass"))).await;
        assert!(open.passed() > 0 && closed.passed() > 0);
        let error = fails(&url, through(closed.url_with("out", "wr0ng"))).await;
        assert!(matches!(error, RemoteError::Authentication { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error:?}");
    }
}
