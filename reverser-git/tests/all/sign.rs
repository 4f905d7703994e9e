use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use reverser_git::{
    GitSink, GitWriter, MemorySigner, OpenError, ProgramSigner, PushPhase, Remedy, RemoteError, SignError, SignFormat,
    Signer, SinkError, SshSigner, testing,
};

use crate::{
    bed::{Bed, LIMIT, batch, command, commit, eventually, failure, git, plan, push, pushed},
    tools::{GPG_KEY, Gpg, allowed_signers, run, script, ssh_key, ssh_verifies, tool},
};

#[tokio::test]
async fn git_verifies_what_ssh_keys_of_each_kind_have_signed() {
    for (kind, passphrase) in
        [("ed25519", ""), ("ed25519", "a phrase"), ("ecdsa-256", ""), ("ecdsa-384", "a phrase"), ("ecdsa-521", "")]
    {
        let bed = Bed::new().await;
        let key = bed.folder("key");
        ssh_key(&key, kind, passphrase);
        let passphrase_file = (!passphrase.is_empty()).then(|| bed.folder("passphrase"));
        if let Some(file) = &passphrase_file {
            fs::write(file, format!("{passphrase}\n")).unwrap();
        }
        let writer = start(&bed, SshSigner::open(&key, passphrase_file).unwrap()).await;
        let receipt = writer.commit(batch([plan("a", "1"), plan("b", "1"), plan("c", "1")])).await.unwrap();
        pushed(&writer, &receipt).await;
        bed.finish(writer).await;
        assert_eq!(verified_by_ssh(&bed, &[&key]), 3, "{kind}");
    }
}

#[tokio::test]
async fn git_verifies_what_gpg_has_signed() {
    let (bed, gpg) = (Bed::new().await, Gpg::new());
    let writer = start(&bed, gpg_signer(&gpg, &bed)).await;
    push(&writer, "a", "1").await;
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
    assert_eq!(verified(&bed, &[], Some(gpg.home())), 2);
}

#[tokio::test]
async fn git_verifies_what_gpgsm_has_signed() {
    let (bed, gpg) = (Bed::new().await, Gpg::with_certificate());
    let signer = ProgramSigner::new(SignFormat::X509, "bot@example.com").program(wrapper(&gpg, &bed, "gpgsm"));
    let writer = start(&bed, signer).await;
    push(&writer, "a", "1").await;
    bed.finish(writer).await;
    assert_eq!(verified(&bed, &[], Some(gpg.home())), 1);
}

#[tokio::test]
async fn git_verifies_what_ssh_keygen_has_signed() {
    for kind in ["ed25519", "rsa-2048"] {
        let bed = Bed::new().await;
        let key = bed.folder("key");
        ssh_key(&key, kind, "");
        let writer = start(&bed, ProgramSigner::new(SignFormat::Ssh, key.to_str().unwrap())).await;
        push(&writer, "a", "1").await;
        bed.finish(writer).await;
        assert_eq!(verified_by_ssh(&bed, &[&key]), 1, "{kind}");
    }
}

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
    script(&program, &format!("SSH_AUTH_SOCK={} exec ssh-keygen \"$@\"", agent.socket().display()));
    for name in [public_file.to_str().unwrap(), public.trim_end(), &format!("key::{}", public.trim_end())] {
        let signer = ProgramSigner::new(SignFormat::Ssh, name).program(&program);
        let signature = signer.sign(b"payload").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(ssh_verifies(&bed.folder("."), b"payload", &signature), "{name}");
    }
}

#[tokio::test]
async fn all_signers_conform() {
    let (bed, gpg) = (Bed::new().await, Gpg::new());
    let folder = bed.folder(".");
    let key = bed.folder("key");
    ssh_key(&key, "ecdsa-384", "");
    let verifies = |payload: &[u8], signature: &str| ssh_verifies(&folder, payload, signature);
    testing::signs(&SshSigner::open(&key, None).unwrap(), verifies);
    testing::signs(&ProgramSigner::new(SignFormat::Ssh, key.to_str().unwrap()), verifies);
    testing::signs(&gpg_signer(&gpg, &bed), |payload, signature| gpg.verifies(payload, signature));
    let memory = MemorySigner::new();
    testing::signs(&memory, |payload, signature| memory.verifies(payload, signature));
}

/// OpenSSH leaves out leading zeros, which half of the nistp521 keys have, and Go breaks lines after 64 characters.
#[tokio::test]
async fn ecdsa_keys_are_read_however_short_and_however_they_are_wrapped() {
    let bed = Bed::new().await;
    for n in 0..8 {
        let key = bed.folder(&format!("key-{n}"));
        let passphrase = if n % 2 == 0 { "" } else { "a phrase" };
        ssh_key(&key, "ecdsa-521", passphrase);
        let text = fs::read_to_string(&key).unwrap();
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        for text in [text.trim_end().to_owned(), text.replace('\n', "\r\n"), wrapped(&text, 64)] {
            let signer = SshSigner::from_openssh(&text, Some(passphrase)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(public, format!("{} bot@example.com\n", signer.public_key()));
        }
        let signature = SshSigner::from_openssh(&text, Some(passphrase)).unwrap().sign(b"payload").unwrap();
        assert!(ssh_verifies(&bed.folder("."), b"payload", &signature), "{text}");
    }
}

#[tokio::test]
async fn every_cipher_of_openssh_is_decrypted() {
    let bed = Bed::new().await;
    let ciphers = ["aes128-cbc", "aes256-cbc", "aes256-ctr", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"];
    for (n, cipher) in ciphers.into_iter().enumerate() {
        let key = bed.folder(&format!("key-{n}"));
        ssh_key(&key, "ed25519", "");
        let mut change = tool("ssh-keygen", "openssh-client");
        run(change.args(["-q", "-p", "-a", "1", "-P", "", "-N", "a phrase", "-Z", cipher, "-f"]).arg(&key));
        let text = fs::read_to_string(&key).unwrap();
        let signer =
            SshSigner::from_openssh(&text, Some("a phrase")).unwrap_or_else(|error| panic!("{cipher}: {error}"));
        assert!(ssh_verifies(&bed.folder("."), b"payload", &signer.sign(b"payload").unwrap()), "{cipher}");
        let error = SshSigner::from_openssh(&text, Some("wrong")).unwrap_err();
        assert!(matches!(error, SignError::Passphrase { .. }), "{cipher}: {error:?}");
    }
}

#[tokio::test]
async fn a_key_that_does_not_open_is_named_and_nothing_of_it_is_shown() {
    let bed = Bed::new().await;
    let (key, rsa, passphrase) = (bed.folder("key"), bed.folder("rsa"), bed.folder("passphrase"));
    ssh_key(&key, "ed25519", "right phrase");
    ssh_key(&rsa, "rsa-2048", "");
    fs::write(&passphrase, "s3cret").unwrap();
    let pem = bed.folder("pem");
    ssh_key(&pem, "ecdsa-256", "");
    run(tool("ssh-keygen", "openssh-client").args(["-q", "-p", "-m", "PEM", "-P", "", "-N", "", "-f"]).arg(&pem));

    let wrong = SshSigner::open(&key, Some(passphrase.clone())).unwrap_err();
    assert!(matches!(wrong, SignError::Passphrase { .. }), "{wrong:?}");
    let none = SshSigner::open(&key, None).unwrap_err();
    assert!(matches!(none, SignError::Encrypted { .. }), "{none:?}");
    let algorithm = SshSigner::open(&rsa, None).unwrap_err();
    assert_eq!(
        algorithm.to_string(),
        format!("{} is for ssh-rsa: take an ed25519 or ecdsa key, or let ssh-keygen sign", rsa.display())
    );
    let public = SshSigner::open(key.with_extension("pub"), None).unwrap_err();
    let other_format = SshSigner::open(&pem, None).unwrap_err();
    let missing = SshSigner::open(bed.folder("missing"), None).unwrap_err();
    let no_passphrase = SshSigner::open(&key, Some(bed.folder("missing"))).unwrap_err();
    for error in [&public, &other_format] {
        assert!(matches!(error, SignError::Key { .. }), "{error:?}");
        assert!(error.to_string().contains("ssh-keygen -p -f FILE"), "{error}");
    }
    assert!(matches!(missing, SignError::Read { .. }) && matches!(no_passphrase, SignError::Read { .. }));
    let folder = bed.folder(".");
    for error in [wrong, none, algorithm, public, other_format, missing, no_passphrase] {
        assert!(error.to_string().contains(folder.parent().unwrap().to_str().unwrap()), "{error}");
        assert_eq!(error.remedy(), Remedy::FixConfiguration);
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }

    // What the advice says helps.
    run(tool("ssh-keygen", "openssh-client").args(["-q", "-p", "-P", "", "-N", "", "-f"]).arg(&pem));
    SshSigner::open(&pem, None).unwrap();
    fs::write(&passphrase, "right phrase\r\n").unwrap();
    let signer = SshSigner::open(&key, Some(passphrase)).unwrap();
    let shown = format!("{signer:?}");
    assert!(shown.contains("ssh-ed25519 AAAA") && !shown.contains("right phrase"), "{shown}");
}

#[tokio::test]
async fn a_key_that_vanishes_stops_commits_and_the_next_one_signs() {
    let bed = Bed::new().await;
    let (key, passphrase, next) = (bed.folder("key"), bed.folder("passphrase"), bed.folder("next"));
    ssh_key(&key, "ed25519", "");
    ssh_key(&next, "ecdsa-256", "another phrase");
    fs::write(&passphrase, "").unwrap();
    let writer = start(&bed, SshSigner::open(&key, Some(passphrase.clone())).unwrap()).await;
    push(&writer, "a", "1").await;

    fs::rename(&key, bed.folder("old")).unwrap();
    let error = writer.commit(batch([plan("b", "1")])).await.unwrap_err();
    assert!(
        matches!(&error, SinkError::Sign { source: SignError::Read { file, .. }, .. } if *file == key),
        "{error:?}"
    );
    assert_eq!(error.remedy(), Remedy::FixConfiguration);
    assert_eq!(writer.read(&testing::path("b")).await.unwrap(), None);

    // As a mounted Secret: both change, and for a moment they don't fit.
    fs::copy(&next, &key).unwrap();
    let error = writer.commit(batch([plan("b", "1")])).await.unwrap_err();
    assert!(matches!(&error, SinkError::Sign { source: SignError::Passphrase { .. }, .. }), "{error:?}");
    fs::write(&passphrase, "another phrase").unwrap();
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b"]);
    fs::rename(bed.folder("key.pub"), bed.folder("old.pub")).unwrap();
    assert_eq!(verified_by_ssh(&bed, &[&bed.folder("old"), &next]), 2);
}

#[tokio::test]
async fn a_batch_that_cannot_be_signed_is_not_kept_and_goes_in_later() {
    let bed = Bed::new().await;
    let signer = Arc::new(MemorySigner::new());
    let writer = bed.builder().signer(Arc::<MemorySigner>::clone(&signer)).start().await.unwrap();
    push(&writer, "a", "1").await;
    signer.refuse();
    let mut late = batch([plan("b", "1"), plan("c", "1")]);
    late.cursors.insert("watch".to_owned(), "2".to_owned());
    for _ in 0..3 {
        let error = writer.commit(late.clone()).await.unwrap_err();
        assert!(matches!(&error, SinkError::Sign { source: SignError::Other { .. }, .. }), "{error:?}");
        assert_eq!(error.remedy(), Remedy::Retry);
        assert_eq!(writer.list(None).await.unwrap(), [testing::path("a")]);
        assert!(writer.cursors().await.unwrap().is_empty());
    }
    assert_eq!(writer.push_state().borrow().unpushed, 0);
    signer.allow();
    let receipt = writer.commit(late).await.unwrap();
    pushed(&writer, &receipt).await;
    assert_eq!(writer.cursors().await.unwrap()["watch"], "2");
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b", "put c"]);
    assert_eq!(signed_by(&bed, &signer), 3);
}

#[tokio::test]
async fn replayed_commits_verify() {
    let bed = Bed::new().await;
    let key = bed.folder("key");
    ssh_key(&key, "ed25519", "");
    let writer = start(&bed, SshSigner::open(&key, None).unwrap()).await;
    push(&writer, "a", "1").await;
    bed.others_commit("theirs", "1");
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "others: theirs", "put b"]);
    let signers = allowed(&bed, &[&key]);
    let verify = |commit: &str| {
        let mut verify = command(&bed.remote(), &["-c", &signers, "verify-commit", commit]);
        verify.output().unwrap().status.success()
    };
    assert!(verify("main") && verify("main~2"));
    assert!(!verify("main~1"), "nobody signs for others");
}

#[tokio::test]
async fn a_replay_that_cannot_be_signed_waits_and_pushes_nothing_unsigned() {
    let bed = Bed::new().await;
    let signer = Arc::new(MemorySigner::new());
    let writer = bed.builder().signer(Arc::<MemorySigner>::clone(&signer)).start().await.unwrap();
    push(&writer, "a", "1").await;
    bed.refuse_pushes();
    let receipt = commit(&writer, "b", "1").await;
    failure(&writer).await;
    signer.refuse();
    bed.allow_pushes();
    bed.others_commit("theirs", "1");
    // A commit that fails wakes the push all the same.
    writer.commit(batch([plan("c", "1")])).await.unwrap_err();
    let mut state = writer.push_state();
    let waits = state.wait_for(|state| {
        matches!(&state.phase, PushPhase::Waiting { error: RemoteError::Local { source }, .. }
            if matches!(**source, SinkError::Sign { .. }))
    });
    assert_eq!(tokio::time::timeout(LIMIT, waits).await.expect("the replay failed").unwrap().unpushed, 1);
    assert_eq!(bed.subjects(), ["put a", "others: theirs"]);
    signer.allow();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "others: theirs", "put b"]);
    assert_eq!(signed_by(&bed, &signer), 2);
}

#[tokio::test]
async fn unpushed_commits_of_a_run_without_a_signer_are_signed_before_they_go_out() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.refuse_pushes();
    commit(&writer, "b", "1").await;
    commit(&writer, "c", "1").await;
    assert_eq!(writer.close(Duration::ZERO).await.unwrap().unpushed, 2);
    let before = git(&bed.local(), &["log", "--format=%T %an %at %cn %ct %B", "main"]);
    bed.allow_pushes();

    let signer = Arc::new(MemorySigner::new());
    let writer = bed.builder().signer(Arc::<MemorySigner>::clone(&signer)).start().await.unwrap();
    let receipt = writer.commit(batch([])).await.unwrap();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
    assert_eq!(git(&bed.remote(), &["log", "--format=%T %an %at %cn %ct %B", "main"]), before);
    assert_eq!(signed_by(&bed, &signer), 2);
}

#[tokio::test]
async fn only_commits_of_the_branch_are_signed() {
    let bed = Bed::new().await;
    let signer = Arc::new(MemorySigner::new());
    let writer = bed.builder().signer(Arc::<MemorySigner>::clone(&signer)).start().await.unwrap();
    push(&writer, "a", "1").await;
    bed.finish(writer).await;
    let state = git(&bed.local(), &["cat-file", "commit", "refs/reverser/main"]);
    assert!(!state.contains("gpgsig"), "it is never pushed:\n{state}");
    assert_eq!(signed_by(&bed, &signer), 1);
}

#[tokio::test]
async fn a_signer_that_cannot_sign_is_an_error_at_the_start() {
    let bed = Bed::new().await;
    let (signer, key) = (MemorySigner::new(), bed.folder("no-key"));
    signer.refuse();
    let error = bed.builder().signer(Arc::new(signer)).start().await.unwrap_err();
    assert!(matches!(error, OpenError::Sign(SignError::Other { .. })), "{error:?}");
    assert!(!bed.state_dir().exists(), "nothing was begun");

    let gpg = Gpg::new();
    let signer = ProgramSigner::new(SignFormat::OpenPgp, "nobody@example.com").program(wrapper(&gpg, &bed, "gpg"));
    let error = bed.builder().signer(Arc::new(signer)).start().await.unwrap_err();
    let OpenError::Sign(SignError::Program { words, .. }) = &error else { panic!("{error:?}") };
    assert!(words.contains("nobody@example.com"), "{words}");
    assert_eq!(error.remedy(), Remedy::FixConfiguration);

    let signer = ProgramSigner::new(SignFormat::Ssh, key.to_str().unwrap());
    let error = bed.builder().signer(Arc::new(signer)).start().await.unwrap_err();
    let OpenError::Sign(SignError::Program { words, .. }) = &error else { panic!("{error:?}") };
    assert!(words.contains(key.to_str().unwrap()), "{words}");
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
        script(&program, lines);
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
    script(&program, &format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", child.display()));
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

async fn start(bed: &Bed, signer: impl Signer + 'static) -> GitWriter {
    bed.builder().signer(Arc::new(signer)).start().await.unwrap()
}

/// Returns how many commits the remote has, after git has verified each of them.
fn verified_by_ssh(bed: &Bed, keys: &[&Path]) -> usize {
    let keys: Vec<_> = keys.iter().map(AsRef::as_ref).collect();
    verified(bed, &["-c", &allowed(bed, &keys)], None)
}

fn verified(bed: &Bed, options: &[&str], gpg_home: Option<&Path>) -> usize {
    let commits = git(&bed.remote(), &["rev-list", "main"]);
    for id in commits.lines() {
        let mut verify = command(&bed.remote(), &[options, &["verify-commit", id]].concat());
        if let Some(home) = gpg_home {
            verify.env("GNUPGHOME", home);
        }
        run(&mut verify);
    }
    commits.lines().count()
}

/// Writes an allowed signers file; returns the option of git that names it.
fn allowed(bed: &Bed, keys: &[&Path]) -> String {
    let file = bed.folder("allowed_signers");
    allowed_signers(&file, keys);
    format!("gpg.ssh.allowedSignersFile={}", file.display())
}

/// Returns how many of the remote's commits by the bot there are, after the signer has verified each.
fn signed_by(bed: &Bed, signer: &MemorySigner) -> usize {
    let mut signed = 0;
    for id in git(&bed.remote(), &["rev-list", "--committer=bot", "main"]).lines() {
        let object = git(&bed.remote(), &["cat-file", "commit", id]);
        let Some((before, rest)) = object.split_once("gpgsig ") else { continue };
        let (signature, message) = rest.split_once("\n\n").unwrap();
        let payload = format!("{before}\n{message}");
        assert!(signer.verifies(payload.as_bytes(), &signature.replace("\n ", "\n")), "{object}");
        signed += 1;
    }
    signed
}

fn gpg_signer(gpg: &Gpg, bed: &Bed) -> ProgramSigner {
    ProgramSigner::new(SignFormat::OpenPgp, GPG_KEY).program(wrapper(gpg, bed, "gpg"))
}

/// A program that is gpg or gpgsm with another home; the environment of the tests isn't theirs to change.
fn wrapper(gpg: &Gpg, bed: &Bed, name: &str) -> PathBuf {
    let program = bed.folder(name);
    script(&program, &format!("GNUPGHOME={} exec {name} \"$@\"", gpg.home().display()));
    program
}

/// Breaks the lines of armor elsewhere.
fn wrapped(armored: &str, width: usize) -> String {
    let lines: Vec<_> = armored.lines().collect();
    let body: Vec<_> = lines[1..lines.len() - 1].concat().into_bytes();
    let body: Vec<_> = body.chunks(width).map(String::from_utf8_lossy).collect();
    format!("{}\n{}\n{}\n", lines[0], body.join("\n"), lines[lines.len() - 1])
}

/// An ssh-agent that ends with this.
struct Agent {
    folder: tempfile::TempDir,
    child: std::process::Child,
}

impl Agent {
    fn start() -> Self {
        // Below /tmp, since a socket's path may be 107 bytes long at most.
        let folder = tempfile::Builder::new().prefix("ra").tempdir_in("/tmp").unwrap();
        let mut agent: Command = tool("ssh-agent", "openssh-client");
        let mut child = agent
            .arg("-D")
            .arg("-a")
            .arg(folder.path().join("s"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
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
