//! Signatures by a program, run as git runs `gpg.program`: gpg, gpgsm, ssh-keygen, or what takes their place.

use std::{
    env,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use crate::{
    process_group::{ProcessGroup, Signal},
    scratch::Scratch,
    sign::{SignError, Signer},
};

/// Which kind of signature a program makes; git-config(1), `gpg.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignFormat {
    /// OpenPGP, by `gpg`.
    OpenPgp,
    /// SSH, by `ssh-keygen`, which can ask an agent: for RSA keys, security keys, and keys that never leave the agent.
    Ssh,
    /// X.509, by `gpgsm`; also what `gitsign` makes.
    X509,
}

impl SignFormat {
    /// Returns the program that git takes by default.
    pub fn program(self) -> &'static str {
        match self {
            Self::OpenPgp => "gpg",
            Self::Ssh => "ssh-keygen",
            Self::X509 => "gpgsm",
        }
    }
}

/// Signs by a program, with the arguments that git gives it.
///
/// The program has no terminal to ask for a passphrase: give it a key without one, an agent that holds it, or a pinentry or
/// askpass with a window of its own. git's own configuration isn't looked at.
#[derive(Clone, Debug)]
pub struct ProgramSigner {
    format: SignFormat,
    program: PathBuf,
    key: String,
    limit: Duration,
}

impl ProgramSigner {
    /// Returns a signer with a key named as for git's `user.signingKey`: for gpg and gpgsm whatever `--local-user` takes, for
    /// ssh-keygen a file with the private key, or with the public key of one that is in the agent, or `key::ssh-ed25519
    /// AAAA…`, that public key itself.
    pub fn new(format: SignFormat, key: impl Into<String>) -> Self {
        Self { format, program: format.program().into(), key: key.into(), limit: LIMIT }
    }

    /// Names the program, as `gpg.program`, `gpg.x509.program` and `gpg.ssh.program` do; [`SignFormat::program`] otherwise.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Limits how long the program may take for a signature, 30 s otherwise: somebody may have to touch a card. After it, the
    /// program and all that it has started in its process group is ended.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// `gpg --status-fd=2 -bsau KEY`: the payload comes in, the signature goes out, and a line of status says so.
    fn sign_by_gpg(&self, payload: &[u8]) -> Result<String, SignError> {
        let mut command = Command::new(&self.program);
        command.args(["--status-fd=2", "-bsau", &self.key]);
        let output = self.run(command, payload)?;
        // git asks for that line, too: gpg may end well without a signature.
        if !output.stderr.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"[GNUPG:] SIG_CREATED ")) {
            return Err(self.refused(&output));
        }
        self.text(output.stdout)
    }

    /// `ssh-keygen -Y sign -n git -f KEY FILE`, which writes `FILE.sig`. Not by way of stdin and stdout: what takes
    /// ssh-keygen's place for git knows just this.
    fn sign_by_ssh_keygen(&self, payload: &[u8]) -> Result<String, SignError> {
        let failed = |source| SignError::Scratch { source: Arc::new(source) };
        let scratch = Scratch::create("sign").map_err(failed)?;
        let mut command = Command::new(&self.program);
        command.args(["-Y", "sign", "-n", "git", "-f"]);
        match literal_key(&self.key) {
            // -U: the private part is in the agent.
            Some(key) => {
                command.arg(write(&scratch, "key.pub", format!("{key}\n").as_bytes()).map_err(failed)?).arg("-U")
            }
            None => command.arg(&self.key),
        };
        command.arg(write(&scratch, "commit", payload).map_err(failed)?);
        let output = self.run(command, b"")?;
        match fs::read(scratch.path().join("commit.sig")) {
            Ok(signature) => self.text(signature),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.refused(&output)),
            Err(error) => Err(failed(error)),
        }
    }

    /// Runs the program to its end, within the limit; an error when it fails.
    fn run(&self, mut command: Command, input: &[u8]) -> Result<Output, SignError> {
        command
            .env("LC_ALL", "C") // what it says goes into errors
            // Never the terminal of whoever started us, neither ssh-keygen nor gpg-agent's pinentry.
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env_remove("GPG_TTY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if env::var_os("SSH_ASKPASS").is_none() {
            command.env("SSH_ASKPASS", "false");
        }
        let spawned = command.spawn();
        let mut child =
            spawned.map_err(|source| SignError::Spawn { program: self.program.clone(), source: Arc::new(source) })?;
        let group = ProcessGroup::of(child.id());
        // A thread each, since either may wait for ever; they end with the program.
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            // A program that doesn't read it to the end says why by how it ends.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let (ended, end) = mpsc::channel();
        thread::spawn(move || drop(ended.send(child.wait_with_output())));
        match end.recv_timeout(self.limit) {
            Ok(Ok(output)) if output.status.success() => Ok(output),
            Ok(Ok(output)) => Err(self.refused(&output)),
            Ok(Err(source)) => Err(SignError::Spawn { program: self.program.clone(), source: Arc::new(source) }),
            Err(_elapsed) => {
                if let Some(group) = group {
                    group.end(Signal::KILL);
                }
                Err(SignError::TimeOut { program: self.program.clone(), limit: self.limit })
            }
        }
    }

    fn text(&self, signature: Vec<u8>) -> Result<String, SignError> {
        // gpg for Windows ends lines so, and git takes that out as well.
        let text = String::from_utf8(signature).map(|text| text.replace("\r\n", "\n"));
        text.map_err(|_| self.malformed("it isn't text")).and_then(|text| {
            if ARMORS.iter().any(|armor| text.starts_with(armor)) {
                Ok(text)
            } else {
                Err(self.malformed("it has no armor that git knows"))
            }
        })
    }

    fn malformed(&self, reason: &'static str) -> SignError {
        SignError::Malformed { signer: self.program.display().to_string(), reason }
    }

    fn refused(&self, output: &Output) -> SignError {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        // The last ones say why.
        let lines = &lines[lines.len().saturating_sub(WORDS_LINES)..];
        let words = if lines.is_empty() { output.status.to_string() } else { lines.join("; ") };
        SignError::Program { program: self.program.clone(), words }
    }
}

impl Signer for ProgramSigner {
    fn sign(&self, payload: &[u8]) -> Result<String, SignError> {
        match self.format {
            SignFormat::OpenPgp | SignFormat::X509 => self.sign_by_gpg(payload),
            SignFormat::Ssh => self.sign_by_ssh_keygen(payload),
        }
    }
}

/// Returns the public key of a `user.signingKey` that is one itself; git-config(1).
fn literal_key(key: &str) -> Option<&str> {
    key.strip_prefix("key::").or_else(|| key.starts_with("ssh-").then_some(key))
}

/// Writes a file that is read by a program.
fn write(scratch: &Scratch, name: &str, content: &[u8]) -> io::Result<PathBuf> {
    let path = scratch.path().join(name);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(content)?;
    Ok(path)
}

/// What git takes for the beginning of a signature, `gpg-interface.c`.
const ARMORS: [&str; 4] = [
    "-----BEGIN PGP MESSAGE-----",
    "-----BEGIN PGP SIGNATURE-----",
    "-----BEGIN SIGNED MESSAGE-----",
    "-----BEGIN SSH SIGNATURE-----",
];

/// Somebody may have to find the card, or type a PIN.
const LIMIT: Duration = Duration::from_secs(30);

/// So many lines of what a program said go into an error.
const WORDS_LINES: usize = 8;
