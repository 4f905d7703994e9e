use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use reverser_git::{
    Files, GitSink, GitWriter, MemorySigner, OpenError, ProgramSigner, PushPhase, Remedy, RemoteError, SignError,
    SignFormat, Signer, SinkError, SshSigner, testing,
};
use reverser_testbed::write_script;

use crate::{
    bed::{Bed, LIMIT, batch, command, commit, failure, git, plan, push, pushed},
    tools::{GPG_KEY, Gpg, allowed_signers, run, ssh_key, ssh_verifies},
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
    write_script(&program, &format!("GNUPGHOME={} exec {name} \"$@\"", gpg.home().display())).unwrap();
    program
}
