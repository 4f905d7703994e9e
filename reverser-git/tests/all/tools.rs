//! Keys and the programs that make, use and verify them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;

/// Returns a command for a program of a Debian package, which is installed when it is missing and that is ours to do.
pub(crate) fn tool(program: &str, package: &str) -> Command {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let is_there =
        || std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|path| path.join(program).is_file());
    let is_root = || Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_there() && is_root() && Path::new("/etc/debian_version").exists() {
        for arguments in [&["update"][..], &["install", "--no-install-recommends", package]] {
            // Another process may be installing; what fails here is missing below.
            let mut apt = Command::new("apt-get");
            apt.args(["-y", "-o", "DPkg::Lock::Timeout=300"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
            drop(apt.stdin(Stdio::null()).output());
        }
    }
    assert!(is_there(), "there is no {program} on PATH: install it (Debian's package {package})");
    Command::new(program)
}

/// Runs a command; panics when it fails.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// Makes an SSH key; `kind` is `ed25519` or `ecdsa-521` and the like. The public key is in `<file>.pub`.
pub(crate) fn ssh_key(file: &Path, kind: &str, passphrase: &str) {
    let mut command = tool("ssh-keygen", "openssh-client");
    let (algorithm, bits) = kind.split_once('-').unwrap_or((kind, ""));
    // One round of bcrypt: many make a debug build slow, and nothing else.
    command.args(["-q", "-a", "1", "-t", algorithm, "-N", passphrase, "-C", "bot@example.com", "-f"]).arg(file);
    if !bits.is_empty() {
        command.args(["-b", bits]);
    }
    run(&mut command);
}

/// Writes an allowed signers file, ssh-keygen(1), for these public key files.
pub(crate) fn allowed_signers(file: &Path, keys: &[&Path]) {
    let line = |key: &&Path| {
        let public = fs::read_to_string(format!("{}.pub", key.display())).unwrap();
        format!("bot@example.com namespaces=\"git\" {public}")
    };
    fs::write(file, keys.iter().map(line).collect::<String>()).unwrap();
}

/// Whether an SSH signature is one of the payload, as ssh-keygen sees it.
pub(crate) fn ssh_verifies(folder: &Path, payload: &[u8], signature: &str) -> bool {
    let (payload_file, signature_file) = (folder.join("payload"), folder.join("payload.sig"));
    fs::write(&payload_file, payload).unwrap();
    fs::write(&signature_file, signature).unwrap();
    let mut command = tool("ssh-keygen", "openssh-client");
    command.args(["-Y", "check-novalidate", "-n", "git", "-s"]).arg(&signature_file);
    command.stdin(fs::File::open(payload_file).unwrap()).output().unwrap().status.success()
}

/// A GnuPG home with one key, without a passphrase; its agent ends with this.
pub(crate) struct Gpg {
    home: TempDir,
}

impl Gpg {
    /// With an OpenPGP key.
    pub(crate) fn new() -> Self {
        let gpg = Self::empty();
        run(gpg.command("gpg").args([
            "--batch",
            "--passphrase",
            "",
            "--quick-generate-key",
            GPG_KEY,
            "ed25519",
            "sign",
        ]));
        gpg
    }

    /// With an X.509 certificate that is trusted since it says so itself.
    pub(crate) fn with_certificate() -> Self {
        let gpg = Self::empty();
        let (parameters, certificate) = (gpg.home().join("parameters"), gpg.home().join("certificate"));
        fs::write(&parameters, CERTIFICATE).unwrap();
        // There is no list of revocations to be had from anybody.
        fs::write(gpg.home().join("gpgsm.conf"), "disable-crl-checks\n").unwrap();
        let mut make = gpg.command("gpgsm");
        make.args(["--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0", "--gen-key"]).arg(&parameters);
        fs::write(&certificate, run(&mut make).stdout).unwrap();
        run(gpg.command("gpgsm").args(["--batch", "--import"]).arg(&certificate));
        let listed = run(gpg.command("gpgsm").args(["--batch", "--with-colons", "--list-keys"])).stdout;
        let listed = String::from_utf8_lossy(&listed);
        let fingerprint = listed.lines().find(|line| line.starts_with("fpr:")).unwrap().split(':').nth(9).unwrap();
        fs::write(gpg.home().join("trustlist.txt"), format!("{fingerprint} S relax\n")).unwrap();
        run(gpg.command("gpgconf").args(["--reload", "gpg-agent"]));
        gpg
    }

    fn empty() -> Self {
        // Below /tmp, since the path of the agent's socket may be 107 bytes long at most.
        let gpg = Self { home: tempfile::Builder::new().prefix("rg").tempdir_in("/tmp").unwrap() };
        fs::set_permissions(gpg.home(), fs::Permissions::from_mode(0o700)).unwrap();
        gpg
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = tool(program, if program == "gpgsm" { "gpgsm" } else { "gnupg" });
        command.env("GNUPGHOME", self.home()).env("LC_ALL", "C");
        command
    }

    pub(crate) fn verifies(&self, payload: &[u8], signature: &str) -> bool {
        let (payload_file, signature_file) = (self.home().join("payload"), self.home().join("payload.asc"));
        fs::write(&payload_file, payload).unwrap();
        fs::write(&signature_file, signature).unwrap();
        self.command("gpg").arg("--verify").args([signature_file, payload_file]).output().unwrap().status.success()
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // Of this home alone. Not by `command`: a panic while another one unwinds ends all tests, and says nothing of gpg.
        drop(Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", self.home()).output());
    }
}

const CERTIFICATE: &str = "\
Key-Type: RSA
Key-Length: 2048
Key-Usage: sign
Serial: random
Name-DN: CN=bot
Name-Email: bot@example.com
";

pub(crate) const GPG_KEY: &str = "bot <bot@example.com>";
