//! A real forge on loopback: Gitea, with tokens, deploy keys and protected branches.

use std::{fs, path::Path, process::Stdio, time::Duration};

use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{Instant, interval, timeout, timeout_at},
};

use self::build::{Built, build};
use crate::{
    child::Child,
    error::{Error, tail},
    eventually::POLL,
    git::BareRepo,
    port::free_port,
};

mod build;

/// A running Gitea with one user, `team`; dropping it ends it and removes its folder.
///
/// It listens on loopback, over HTTP and with an SSH server of its own, and keeps its data in a temporary folder.
#[derive(Debug)]
pub struct Gitea {
    // Before the folder, so that nothing writes into it when it is removed.
    server: Child,
    folder: TempDir,
    built: Built,
    http_port: u16,
    ssh_port: u16,
    token: String,
}

impl Gitea {
    /// Starts a forge, building it first where there is none, and returns when it answers.
    pub async fn start() -> Result<Self, Error> {
        let built = match tokio::task::spawn_blocking(build).await {
            Ok(built) => built?,
            Err(error) => std::panic::resume_unwind(error.into_panic()), // nobody cancels it
        };
        let mut attempts = 1;
        loop {
            match Self::start_on_free_ports(&built).await {
                Err(error) if error.is_port_taken() && attempts < PORT_ATTEMPTS => attempts += 1,
                other => return other,
            }
        }
    }

    async fn start_on_free_ports(built: &Built) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("reverser-testbed-").tempdir();
        let folder = folder.map_err(Error::io("create", std::env::temp_dir()))?;
        let (http_port, ssh_port) = (free_port()?, free_port()?);
        let user = whoami(folder.path()).await?;
        let ini = folder.path().join("app.ini");
        let text = configuration(folder.path(), &built.static_root, &user, [http_port, ssh_port]);
        fs::write(&ini, text).map_err(Error::io("write", &ini))?;
        gitea(built, folder.path(), &["migrate"]).await?;
        let password = format!("{:x}", std::process::id()).repeat(4);
        let create = ["admin", "user", "create", "--admin", "--username", USER, "--email", "team@example.invalid"];
        let password = ["--password", &password, "--must-change-password=false"];
        gitea(built, folder.path(), &[&create[..], &password].concat()).await?;
        let generate = ["admin", "user", "generate-access-token", "--username", USER, "--scopes", "all", "--raw"];
        let token = last_line(&gitea(built, folder.path(), &generate).await?);
        let server = start(built, folder.path())?;
        let mut forge = Self { server, folder, built: built.clone(), http_port, ssh_port, token };
        forge.until_it_answers().await?;
        Ok(forge)
    }

    /// Returns a user's name and an access token that may do everything; git takes it as a password.
    pub fn login(&self) -> (&str, &str) {
        (USER, &self.token)
    }

    /// Returns a repository's URL over HTTP, without user and token.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{USER}/{name}.git", self.http_port)
    }

    /// Returns a repository's URL over SSH.
    pub fn ssh_url(&self, name: &str) -> String {
        format!("ssh://git@127.0.0.1:{}/{USER}/{name}.git", self.ssh_port)
    }

    /// Returns the line for a `known_hosts` file that names the SSH server's key.
    pub fn known_host(&self) -> Result<String, Error> {
        let path = self.folder.path().join("data/ssh/gitea.rsa.pub");
        let key = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        Ok(format!("[127.0.0.1]:{} {}\n", self.ssh_port, key.trim_end()))
    }

    /// Makes a private, empty repository whose default branch is `main`; returns a look at it on disk.
    pub async fn create(&self, name: &str) -> Result<BareRepo, Error> {
        self.ask("POST", "user/repos", json!({"name": name, "private": true, "default_branch": "main"})).await?;
        Ok(BareRepo::existing(self.folder.path().join("repositories").join(USER).join(format!("{name}.git"))))
    }

    /// Makes an access token with these scopes, such as `write:repository`.
    pub async fn token(&self, name: &str, scopes: &[&str]) -> Result<String, Error> {
        // The API wants the password for this, and nothing less; the command doesn't.
        let arguments = ["admin", "user", "generate-access-token", "--username", USER, "--raw"];
        let more = ["--token-name", name, "--scopes", &scopes.join(",")];
        let said = gitea(&self.built, self.folder.path(), &[&arguments[..], &more].concat()).await?;
        Ok(last_line(&said))
    }

    /// Lets whoever has this public key read the repository, and write it if asked; returns the key's number.
    pub async fn add_deploy_key(&self, name: &str, public_key: &str, access: Access) -> Result<u64, Error> {
        let body = json!({"title": "deploy", "key": public_key, "read_only": access == Access::Read});
        let key = self.ask("POST", &format!("repos/{USER}/{name}/keys"), body).await?;
        Ok(key["id"].as_u64().unwrap_or_default())
    }

    /// Takes a deploy key back.
    pub async fn remove_deploy_key(&self, name: &str, key: u64) -> Result<(), Error> {
        self.ask("DELETE", &format!("repos/{USER}/{name}/keys/{key}"), Value::Null).await.map(drop)
    }

    /// Protects a branch: nobody may push to it.
    pub async fn protect(&self, name: &str, branch: &str) -> Result<(), Error> {
        let body = json!({"rule_name": branch, "enable_push": false});
        self.ask("POST", &format!("repos/{USER}/{name}/branch_protections"), body).await.map(drop)
    }

    /// Lets everybody who may write push to the branch again.
    pub async fn unprotect(&self, name: &str, branch: &str) -> Result<(), Error> {
        let path = format!("repos/{USER}/{name}/branch_protections/{branch}");
        self.ask("DELETE", &path, Value::Null).await.map(drop)
    }

    /// Asks its API, as the user `team`; the path is below `/api/v1/`. Returns what it answers, null for nothing.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Result<Value, Error> {
        let action = format!("ask gitea for {method} {path}");
        let body = if body.is_null() { vec![] } else { body.to_string().into_bytes() };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header("Authorization", format!("token {}", self.token))
            .header("Content-Type", "application/json")
            .body(body)
            .map_err(|error| Error::kube(&action)(kube::Error::HttpError(error)))?;
        let url = format!("http://127.0.0.1:{}", self.http_port);
        let url = url.parse().expect("a loopback address and a port make a URL");
        let client = Client::try_from(Config::new(url)).map_err(Error::kube(&action))?;
        let text = client.request_text(request).await.map_err(Error::kube(&action))?;
        Ok(serde_json::from_str(&text).unwrap_or_default()) // a deletion answers nothing
    }

    /// Polls until it answers; notices at once when it ends instead.
    async fn until_it_answers(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + READY_WITHIN;
        let mut ticks = interval(POLL);
        let mut seen = "no answer".to_owned();
        while timeout_at(deadline, ticks.tick()).await.is_ok() {
            self.server.alive()?;
            match timeout_at(deadline, self.ask("GET", "version", Value::Null)).await {
                Ok(Ok(_version)) => return Ok(()),
                Ok(Err(error)) => seen = format!("{error:?}"),
                Err(_elapsed) => break,
            }
        }
        Err(Error::NotReady { what: "gitea to answer".into(), limit: READY_WITHIN, seen })
    }
}

/// What a deploy key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To fetch.
    Read,
    /// To fetch and to push.
    Write,
}

/// Starts the server. `env` sets what a Child can't: its home, which has no settings of the user's.
fn start(built: &Built, folder: &Path) -> Result<Child, Error> {
    let arguments = [
        format!("HOME={}", folder.display()),
        built.program.display().to_string(),
        "web".to_owned(),
        "--config".to_owned(),
        folder.join("app.ini").display().to_string(),
    ];
    Child::start("gitea", Path::new("env"), arguments, &folder.join("gitea.log"))
}

/// Runs a command of gitea's that ends by itself; returns what it prints.
async fn gitea(built: &Built, folder: &Path, arguments: &[&str]) -> Result<String, Error> {
    let mut command = Command::new(&built.program);
    command.args(arguments).arg("--config").arg(folder.join("app.ini")).env("HOME", folder);
    run(command, "gitea", arguments.first().unwrap_or(&"")).await
}

/// Behind what gitea logs on its stdout, such as a warning about root.
fn last_line(said: &str) -> String {
    said.trim_end().lines().next_back().unwrap_or_default().to_owned()
}

/// Returns the name of the user who runs this: gitea refuses to run as another.
async fn whoami(folder: &Path) -> Result<String, Error> {
    let mut command = Command::new("id");
    command.arg("-un").current_dir(folder);
    Ok(run(command, "id", "-un").await?.trim().to_owned())
}

async fn run(mut command: Command, program: &'static str, what: &str) -> Result<String, Error> {
    let failed = |source| Error::Io { action: "run", what: format!("{program} {what}"), source };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().map_err(failed)?;
    let Ok(output) = timeout(READY_WITHIN, child.wait_with_output()).await else {
        return Err(Error::NotReady { what: format!("{program} {what}"), limit: READY_WITHIN, seen: "no end".into() });
    };
    let output = output.map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let said = said + &String::from_utf8_lossy(&output.stderr);
    Err(failed(std::io::Error::other(tail(said.trim_end()))))
}

/// Gitea's "Configuration Cheat Sheet": nothing that calls out, sends mail or asks a person.
fn configuration(folder: &Path, static_root: &Path, user: &str, [http_port, ssh_port]: [u16; 2]) -> String {
    let (folder, static_root) = (folder.display(), static_root.display());
    format!(
        "\
RUN_USER = {user}
RUN_MODE = prod
WORK_PATH = {folder}
; A container's test run has no other user.
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {http_port}
ROOT_URL = http://127.0.0.1:{http_port}/
STATIC_ROOT_PATH = {static_root}
APP_DATA_PATH = {folder}/data
OFFLINE_MODE = true
START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_DOMAIN = 127.0.0.1
SSH_LISTEN_HOST = 127.0.0.1
SSH_PORT = {ssh_port}
SSH_LISTEN_PORT = {ssh_port}
[database]
DB_TYPE = sqlite3
PATH = {folder}/gitea.db
[repository]
ROOT = {folder}/repositories
[security]
INSTALL_LOCK = true
SECRET_KEY = testbed
PASSWORD_HASH_ALGO = pbkdf2_v1
[service]
DISABLE_REGISTRATION = true
[indexer]
REPO_INDEXER_ENABLED = false
ISSUE_INDEXER_TYPE = db
[actions]
ENABLED = false
[packages]
ENABLED = false
[cron.update_checker]
ENABLED = false
[log]
MODE = console
LEVEL = Info
"
    )
}

/// Owns all repositories.
const USER: &str = "team";

/// It answers after about two seconds; this is for a machine that runs many.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A lost race for a port is rare already once.
const PORT_ATTEMPTS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_forge_keeps_repositories_behind_a_token() {
        let forge = Gitea::start().await.unwrap();
        let repo = forge.create("first").await.unwrap();
        assert!(repo.path().join("HEAD").is_file());
        let (user, token) = forge.login();
        let with_login = forge.url("first").replace("http://", &format!("http://{user}:{token}@"));
        let folder = tempfile::tempdir().unwrap();
        crate::git(folder.path(), &["ls-remote", &with_login]).await.unwrap();
        let refused = crate::git(folder.path(), &["ls-remote", &forge.url("first")]).await.unwrap_err();
        assert!(refused.to_string().contains("could not read Username"), "{refused}");
        assert!(forge.known_host().unwrap().contains("ssh-rsa "));
    }
}
