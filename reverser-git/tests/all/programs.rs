//! Programs that sign, and those that don't.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reverser_git::{ProgramSigner, Remedy, SignError, SignFormat, Signer};
use reverser_testbed::write_script;
use tempfile::TempDir;

use crate::{
    bed::{Bed, LIMIT, eventually},
    tools::{run, ssh_key, ssh_verifies, tool},
};

#[tokio::test]
async fn a_key_in_an_agent_signs_by_its_public_part() {
    let bed = Bed::new().await;
    let (key, agent) = (bed.folder("key"), Agent::start());
    ssh_key(&key, "ed25519", "");
    run(tool("ssh-add", "openssh-client").arg("-q").arg(&key).env("SSH_AUTH_SOCK", agent.socket()));
    fs::remove_file(&key).unwrap();
    let public_file = key.with_extension("pub");
    let public = fs::read_to_string(&public_file).unwrap();
    let program = bed.folder("ssh-keygen");
    write_script(&program, &format!("SSH_AUTH_SOCK={} exec ssh-keygen \"$@\"", agent.socket().display())).unwrap();
    for name in [public_file.to_str().unwrap(), public.trim_end(), &format!("key::{}", public.trim_end())] {
        let signer = ProgramSigner::new(SignFormat::Ssh, name).program(&program);
        let signature = signer.sign(b"payload").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(ssh_verifies(&bed.folder("."), b"payload", &signature), "{name}");
    }
}

#[tokio::test]
async fn a_program_is_not_believed_without_a_signature() {
    let bed = Bed::new().await;
    let broken = [
        ("silent", "exit 0", "exit status: 0"),
        ("unsigned", "cat; echo -----BEGIN PGP SIGNATURE-----; echo -----END PGP SIGNATURE-----", "exit status: 0"),
        ("loud", "echo no card >&2; exit 3", "no card"),
        ("bare", "cat >/dev/null; echo '[GNUPG:] SIG_CREATED D 22' >&2; echo signed", "no armor"),
        ("empty", "cat >/dev/null; echo '[GNUPG:] SIG_CREATED D 22' >&2", "no armor"),
        ("raw", "cat >/dev/null; echo '[GNUPG:] SIG_CREATED D 22' >&2; printf '\\377'", "isn't text"),
    ];
    for (name, lines, expected) in broken {
        let program = bed.folder(name);
        write_script(&program, lines).unwrap();
        for format in [SignFormat::OpenPgp, SignFormat::X509] {
            let error = ProgramSigner::new(format, "key").program(&program).sign(b"payload").unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(program.to_str().unwrap()), "{name}: {error}");
        }
    }
    let silent = ProgramSigner::new(SignFormat::Ssh, "key").program(bed.folder("silent")).sign(b"payload");
    assert!(matches!(silent, Err(SignError::Program { .. })), "{silent:?}");
    let missing = ProgramSigner::new(SignFormat::OpenPgp, "key").program(bed.folder("missing")).sign(b"payload");
    assert!(matches!(missing, Err(SignError::Spawn { .. })), "{missing:?}");
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_with_all_that_it_started() {
    let bed = Bed::new().await;
    let (program, child) = (bed.folder("hangs"), bed.folder("child"));
    write_script(&program, &format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", child.display())).unwrap();
    for format in [SignFormat::OpenPgp, SignFormat::Ssh] {
        let signer = ProgramSigner::new(format, "key").program(&program).limit(Duration::from_secs(3));
        let error = signer.sign(&[0; 1 << 20]).unwrap_err();
        assert!(matches!(error, SignError::TimeOut { .. }), "{error:?}");
        assert_eq!(error.remedy(), Remedy::Retry);
        let child = fs::read_to_string(&child).unwrap();
        let stat = PathBuf::from(format!("/proc/{}/stat", child.trim()));
        eventually("the child's end", async || {
            // Z: it has ended, and nobody has asked for its status yet.
            fs::read_to_string(&stat).map_or(Some(()), |stat| stat.contains(") Z ").then_some(()))
        })
        .await;
    }
}

#[tokio::test]
async fn a_passphrase_is_never_asked_for_on_a_terminal() {
    let bed = Bed::new().await;
    let key = bed.folder("key");
    ssh_key(&key, "ed25519", "a phrase");
    let signer = ProgramSigner::new(SignFormat::Ssh, key.to_str().unwrap()).limit(LIMIT);
    let error = signer.sign(b"payload").unwrap_err();
    assert!(matches!(error, SignError::Program { .. }), "it fails at once: {error:?}");
}

/// An ssh-agent that ends with this.
struct Agent {
    folder: TempDir,
    child: Child,
}

impl Agent {
    fn start() -> Self {
        // Below /tmp, since a socket's path may be 107 bytes long at most.
        let folder = tempfile::Builder::new().prefix("ra").tempdir_in("/tmp").unwrap();
        let mut agent: Command = tool("ssh-agent", "openssh-client");
        let mut child = agent.arg("-D").arg("-a").arg(folder.path().join("s")).stdout(Stdio::piped()).spawn().unwrap();
        // It says where it listens once it does.
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        assert!(line.starts_with("SSH_AUTH_SOCK="), "{line}");
        Self { folder, child }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
