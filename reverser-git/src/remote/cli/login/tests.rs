use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::credentials::{Credentials, Secret};

fn url() -> RemoteUrl {
    "https://host:8443/a.git".parse().unwrap()
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_password_is_for_its_origin_alone_and_in_no_argument_or_variable() {
    let folder = tempfile::tempdir().unwrap();
    let login_dir = folder.path().join("it's a folder");
    let access = Credentials::Basic { username: "bot".into(), password: "s3\"cr\\et".into() }.into();
    let login = Login::open(url(), access, &login_dir).await.unwrap();
    let session = login.session().await.unwrap();
    assert!(!format!("{login:?} {:?}", session.git(folder.path(), "push")).contains("cr\\et"));
    assert_eq!(session.words(b"fatal: s3\"cr\\et\n  is wrong\n"), "fatal: ***; is wrong");

    let fill = async |host: &str| {
        let request = folder.path().join("request");
        std::fs::write(&request, format!("protocol=https\nhost={host}\n\n")).unwrap();
        let mut command = session.git(folder.path(), "credential");
        command.arg("fill").stdin(std::fs::File::open(request).unwrap());
        String::from_utf8(command.output().await.unwrap().stdout).unwrap()
    };
    assert_eq!(fill("host:8443").await, "protocol=https\nhost=host:8443\nusername=bot\npassword=s3\"cr\\et\n");
    assert!(!fill("elsewhere").await.contains("s3"));
}

#[tokio::test]
async fn files_are_their_owners_alone_follow_their_sources_and_go_with_the_login() {
    let folder = tempfile::tempdir().unwrap();
    let (login_dir, password) = (folder.path().join("login"), folder.path().join("password"));
    // What one that was killed has left, open to all.
    fs::create_dir(&login_dir).unwrap();
    fs::write(login_dir.join("credentials"), "old").unwrap();
    fs::write(&password, "one\n").unwrap();
    let access = Credentials::Basic { username: "bot".into(), password: Secret::File(password.clone()) };
    let login = Login::open(url(), access.into(), &login_dir).await.unwrap();
    let answer = || fs::read_to_string(login_dir.join("credentials")).unwrap();
    assert_eq!(answer(), "username=bot\npassword=one\n");
    assert_eq!((mode(&login_dir), mode(&login_dir.join("credentials"))), (0o700, 0o600));
    fs::write(&password, "two").unwrap();
    login.session().await.unwrap();
    assert_eq!(answer(), "username=bot\npassword=two\n");

    login.replace_access(Credentials::Bearer { token: "t0ken".into() }.into()).await.unwrap();
    login.session().await.unwrap();
    let files: Vec<_> = fs::read_dir(&login_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["config"]);
    drop(login);
    assert!(!login_dir.exists());
}

#[tokio::test]
async fn what_else_is_in_the_folder_stays() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes"), "mine").unwrap();
    let access = Credentials::Bearer { token: "t0ken".into() };
    drop(Login::open(url(), access.into(), folder.path()).await.unwrap());
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["notes"]);
}

#[tokio::test]
async fn git_reads_no_configuration_but_ours_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let git_dir = folder.path().join("repository.git");
    crate::store::create(&git_dir, &crate::BranchName::default()).unwrap();
    let files = async |credentials: Credentials| {
        let login = Login::open(url(), credentials.into(), &folder.path().join("login")).await.unwrap();
        let mut command = login.session().await.unwrap().git(&git_dir, "config");
        let output = command.args(["--list", "--show-origin", "--show-scope"]).output().await.unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        assert!(listed.contains("core.hookspath=/dev/null"), "{listed}");
        listed.lines().filter(|line| line.starts_with("global") || line.starts_with("system")).count()
    };
    assert_eq!(files(Credentials::Bearer { token: "t0ken".into() }).await, 0);
    let users = std::process::Command::new("git").args(["config", "--list", "--show-scope"]).output().unwrap();
    let users = String::from_utf8(users.stdout).unwrap();
    let users = users.lines().filter(|line| line.starts_with("global") || line.starts_with("system")).count();
    assert_eq!(files(Credentials::FromGit).await, users);
}

#[tokio::test]
async fn what_can_not_be_used_is_refused_before_anybody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    fs::write(&text, "no PEM").unwrap();
    let ssh = |key: &str| Credentials::Ssh {
        key: key.into(),
        passphrase: None,
        known_hosts: crate::KnownHosts::Lines("host ssh-ed25519 AAAA".into()),
    };
    let (https, ssh_url) = ("https://host/a.git", "ssh://git@host:2222/a.git");
    let basic = |password: &str| Credentials::Basic { username: "bot".into(), password: password.into() };
    let cases: Vec<(&str, RemoteAccess, &str)> = vec![
        (https, basic("s3cret\nurl=https://elsewhere").into(), "line break"),
        (https, Credentials::Bearer { token: "".into() }.into(), "the bearer token is empty"),
        (
            https,
            Credentials::Bearer { token: Secret::File("/nowhere/token".into()) }.into(),
            "/nowhere/token can't be read",
        ),
        (https, ssh("s3cret").into(), "an ssh key is for ssh alone"),
        (ssh_url, basic("s3cret").into(), "a user name and password is for http and https alone"),
        ("/srv/a.git", Credentials::Bearer { token: "s3cret".into() }.into(), "for http and https alone"),
        (ssh_url, ssh("s3cret").into(), "no private key in PEM"),
        (ssh_url, ssh("-----BEGIN OPENSSH PRIVATE KEY-----\ns3cret").into(), "the private key can't be used"),
        (
            ssh_url,
            Credentials::SshAgent { socket: None, known_hosts: crate::KnownHosts::None }.into(),
            "no host key of host is known: get the lines with `ssh-keyscan -p 2222 host`",
        ),
        (
            ssh_url,
            Credentials::SshAgent {
                socket: Some("/nowhere/agent".into()),
                known_hosts: crate::KnownHosts::TrustOnFirstUse,
            }
            .into(),
            "/nowhere/agent can't be read",
        ),
        (
            https,
            RemoteAccess { ca_file: Some(text.clone()), ..Default::default() },
            "it has no CERTIFICATE block in PEM",
        ),
        (
            ssh_url,
            RemoteAccess { proxy: Some("http://u:s3cret@p".into()), ..Default::default() },
            "a proxy is for http",
        ),
    ];
    for (url, access, part) in cases {
        let error = Login::open(url.parse().unwrap(), access, &folder.path().join("login")).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(part) && text.contains("can't log in to") && !text.contains("s3cret"), "{text}");
        assert_eq!(error.remedy(), crate::Remedy::FixConfiguration);
        assert!(!folder.path().join("login").exists(), "{text}");
    }
}

#[test]
fn files_that_change_together_are_read_together() {
    // A swap between the reads of two files: the pair that never was is read once.
    let reads = std::cell::RefCell::new(vec![("new", "new"), ("new", "new"), ("old", "new")]);
    let read = || Ok::<_, ()>(reads.borrow_mut().pop().unwrap());
    assert_eq!(consistently(read), Ok(("new", "new")));
}

#[test]
fn user_and_password_in_a_url_are_not_repeated() {
    let words = "fatal: unable to access 'https://bot:s3cret@host/a@b/': Could not resolve proxy: http://u:p@q@proxy:1";
    let clean = "fatal: unable to access 'https://***@host/a@b/': Could not resolve proxy: http://***@proxy:1";
    assert_eq!(without_userinfo(words), clean);
    let harmless = "fatal: https://bot@host/a and ssh://git@host:22/a: see https://example.com/a:b@c";
    assert_eq!(without_userinfo(harmless), harmless);
}
