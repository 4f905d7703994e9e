//! A Git remote over SSH: a real OpenSSH server, and keys to log in with.

use std::{
    env, fs,
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    process::{Child as Process, Command},
};

use crate::{
    binaries::openssh::{OpenSsh, locate_openssh},
    child::Child,
    error::{Error, tail},
    eventually::try_eventually,
    git::BareRepo,
    port::free_port,
};

/// A running OpenSSH server for the user who runs the tests, with repositories; it ends, and its folder goes away, when it
/// is dropped.
///
/// An `sshd` that is installed is used as it is; without one, Debian's package is downloaded and unpacked into the target
/// folder, which takes `apt-get` and no root. As root, sshd insists on a system user `sshd` and on `/run/sshd`, and both
/// are made where they are missing, as the package does it.
#[derive(Debug)]
pub struct Sshd {
    openssh: OpenSsh,
    port: u16,
    user: String,
    folder: TempDir,
    /// `None` only while it is started again.
    server: Option<Child>,
}

impl Sshd {
    /// Starts a server on a free loopback port that lets nobody in yet.
    pub async fn start() -> Result<Self, Error> {
        let openssh = match tokio::task::spawn_blocking(locate_openssh).await {
            Ok(openssh) => openssh?,
            Err(error) => std::panic::resume_unwind(error.into_panic()), // nobody cancels it
        };
        let user = id("-un").await?;
        if id("-u").await? == "0" {
            prepare_for_root().await?;
        }
        let folder = tempfile::Builder::new().prefix("reverser-testbed-").tempdir();
        let folder = folder.map_err(Error::io("create", env::temp_dir()))?;
        let keys = folder.path().join("authorized_keys");
        fs::write(&keys, "").map_err(Error::io("write", &keys))?;
        let mut server = Self { openssh, port: 0, user, folder, server: None };
        make_key(&server.file("host_key"), "").await?;
        let mut attempts = 1;
        loop {
            server.port = free_port()?;
            match server.run().await {
                Err(error) if error.is_port_taken() && attempts < PORT_ATTEMPTS => attempts += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
    }

    /// Makes a repository that can be read and pushed to, such as `team.git`.
    pub async fn create(&self, name: &str) -> Result<BareRepo, Error> {
        BareRepo::create(self.file(name)).await
    }

    /// Returns a repository's `ssh://` URL.
    pub fn url(&self, name: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, self.file(name).display())
    }

    /// Makes a key that may log in, and returns the file with its private half; an empty passphrase is none.
    pub async fn key(&self, name: &str, passphrase: &str) -> Result<PathBuf, Error> {
        let key = self.file(name);
        make_key(&key, passphrase).await?;
        let public = key.with_extension("pub");
        let line = fs::read_to_string(&public).map_err(Error::io("read", &public))?;
        let keys = self.file("authorized_keys");
        let file = fs::File::options().append(true).open(&keys);
        file.and_then(|mut file| write!(file, "restrict {line}")).map_err(Error::io("write", &keys))?;
        Ok(key)
    }

    /// Lets no key in any more.
    pub fn forget_keys(&self) -> Result<(), Error> {
        let keys = self.file("authorized_keys");
        fs::write(&keys, "").map_err(Error::io("write", &keys))
    }

    /// Returns the server's line of a `known_hosts` file.
    pub fn known_hosts(&self) -> Result<String, Error> {
        let public = self.file("host_key.pub");
        let key = fs::read_to_string(&public).map_err(Error::io("read", &public))?;
        Ok(format!("[127.0.0.1]:{} {}\n", self.port, key.trim_end()))
    }

    /// Gives the server another host key, as if it were another machine.
    pub async fn change_host_key(&mut self) -> Result<(), Error> {
        self.server = None;
        for name in ["host_key", "host_key.pub"] {
            let file = self.file(name);
            fs::remove_file(&file).map_err(Error::io("remove", &file))?;
        }
        make_key(&self.file("host_key"), "").await?;
        self.run().await
    }

    /// Starts an agent that holds a key without a passphrase.
    pub async fn agent(&self, key: &Path) -> Result<SshAgent, Error> {
        let socket = self.file("agent");
        let failed = |source| Error::Io { action: "start", what: "ssh-agent".into(), source };
        // With a command it ends when that one does, which ends when its standard input, our pipe, closes.
        let mut agent = Command::new("ssh-agent");
        agent.arg("-a").arg(&socket).args(["sh", "-c", r#"ssh-add -q "$1" </dev/null && echo && read -r _"#, "agent"]);
        agent.arg(key).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = agent.spawn().map_err(failed)?;
        let mut ready = [0];
        let read = match &mut process.stdout {
            Some(stdout) => stdout.read(&mut ready).await.map_err(failed)?,
            None => 0,
        };
        if read == 0 {
            let output = process.wait_with_output().await.map_err(failed)?;
            return Err(failed(std::io::Error::other(tail(&String::from_utf8_lossy(&output.stderr)))));
        }
        Ok(SshAgent { socket, _process: process })
    }

    /// Returns what the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    async fn run(&mut self) -> Result<(), Error> {
        let (config, log) = (self.file("sshd_config"), self.file("log"));
        fs::write(&config, self.config()).map_err(Error::io("write", &config))?;
        let libraries = env::join_paths(self.openssh.libraries()).unwrap_or_default();
        // sshd has to be called by its whole path, which it runs again for each connection.
        let mut arguments = vec![std::ffi::OsString::from(format!("LD_LIBRARY_PATH={}", libraries.display()))];
        arguments.push(self.openssh.sshd.clone().into());
        arguments.extend(["-D", "-e", "-f"].map(Into::into));
        arguments.push(config.into());
        let mut server = Child::start("sshd", Path::new("/usr/bin/env"), arguments, &log)?;
        let port = self.port;
        let ready = try_eventually(START_LIMIT, || {
            let alive = server.alive();
            async move {
                match alive {
                    Ok(()) => greeting(port).await.map(Ok),
                    Err(ended) => Ok(Err(ended)), // no use in waiting
                }
            }
        });
        match ready.await {
            Ok(outcome) => outcome?,
            Err(seen) => {
                let seen = format!("{seen:?}; {}", tail(&self.log()));
                return Err(Error::NotReady { what: "sshd".into(), limit: START_LIMIT, seen });
            }
        }
        self.server = Some(server);
        Ok(())
    }

    fn config(&self) -> String {
        let path = env::var("PATH").unwrap_or_default();
        let folder = self.folder.path().display();
        // Git of the user's session has none of the user's settings.
        format!(
            "ListenAddress 127.0.0.1:{}\nHostKey \"{folder}/host_key\"\nAuthorizedKeysFile \"{folder}/authorized_keys\"\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nLogLevel VERBOSE\nAcceptEnv GIT_PROTOCOL\nMaxStartups 100\n\
             SetEnv \"PATH={path}\" GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1\n{}",
            self.port,
            self.openssh.config()
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A running `ssh-agent`; it ends when it is dropped, or when we end.
#[derive(Debug)]
pub struct SshAgent {
    socket: PathBuf,
    _process: Process,
}

impl SshAgent {
    /// Returns its socket: `SSH_AUTH_SOCK`.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Makes a key pair: `file` and `file.pub`.
async fn make_key(file: &Path, passphrase: &str) -> Result<(), Error> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-C", "reverser test bed", "-N", passphrase, "-f"]).arg(file);
    run(command, "ssh-keygen").await.map(drop)
}

/// What sshd demands of a machine on which it runs as root.
async fn prepare_for_root() -> Result<(), Error> {
    let folder = Path::new("/run/sshd");
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut getent = Command::new("getent");
    getent.args(["passwd", "sshd"]);
    if run(getent, "getent").await.is_ok() {
        return Ok(());
    }
    let mut useradd = Command::new("useradd");
    useradd.args(["--system", "--no-create-home", "--home-dir", "/run/sshd", "--shell", "/usr/sbin/nologin", "sshd"]);
    match run(useradd, "useradd").await {
        // Another test may have been faster.
        Err(Error::Io { source, .. }) if source.to_string().contains("already exists") => Ok(()),
        outcome => outcome.map(drop),
    }
}

async fn id(option: &str) -> Result<String, Error> {
    let mut command = Command::new("id");
    command.arg(option);
    run(command, "id").await
}

/// Returns what a command prints, without the last line's end.
async fn run(mut command: Command, name: &str) -> Result<String, Error> {
    let failed = |source| Error::Io { action: "run", what: name.into(), source };
    let output = command.stdin(Stdio::null()).output().await.map_err(failed)?;
    if !output.status.success() {
        return Err(failed(std::io::Error::other(tail(&String::from_utf8_lossy(&output.stderr)))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Waits for the first bytes that an SSH server says.
async fn greeting(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).await?;
    if &greeting == b"SSH-" { Ok(()) } else { Err(std::io::Error::other("another server")) }
}

/// Ports are found free and then taken by whoever comes first.
const PORT_ATTEMPTS: u32 = 5;

const START_LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git;

    #[tokio::test]
    async fn a_key_that_was_made_may_fetch_until_it_is_forgotten() {
        let server = Sshd::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        let tip = repo.commit_as_other("main", "a", "1").await.unwrap();
        let key = server.key("deploy", "").await.unwrap();
        let known_hosts = server.file("known_hosts");
        fs::write(&known_hosts, server.known_hosts().unwrap()).unwrap();
        let ssh = format!(
            "core.sshCommand=ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile={} -i {}",
            known_hosts.display(),
            key.display()
        );
        let url = server.url("team.git");
        let read = async || git(Path::new("/"), &["-c", &ssh, "ls-remote", &url, "main"]).await;
        assert_eq!(read().await.unwrap(), format!("{tip}\trefs/heads/main"));
        server.forget_keys().unwrap();
        assert!(read().await.unwrap_err().to_string().contains("Permission denied (publickey)"));
    }
}
