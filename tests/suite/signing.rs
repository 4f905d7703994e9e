//! Signed commits, as git verifies them.

use std::{fs, path::Path};

use reverser_testbed::BareRepo;
use reverser_tests::Home;
use tokio::process::Command;

use crate::scene::{Scene, assert_subjects, config_map, create, history, home, run};

#[test]
fn every_commit_is_signed_and_none_goes_out_without_a_signature() {
    run(async {
        let scene = Scene::shared("signing").await;
        let key = ssh_key(&scene.home, "").await;
        let watch = scene.watch(&["--sign-key", &key]).await;
        create(&scene.api(), config_map("web", "1")).await;
        history(&scene.repo, 1).await;
        let away = format!("{key}.away");
        fs::rename(&key, &away).unwrap();
        create(&scene.api(), config_map("db", "1")).await;
        watch.says(&format!("can't read {key}")).await;
        assert_eq!(scene.repo.log("main").await.unwrap().len(), 1);
        fs::rename(&away, &key).unwrap();
        let log = history(&scene.repo, 2).await;
        assert_subjects(&log, &["[CREATE] v1/configmaps/web", "[CREATE] v1/configmaps/db"]);
        watch.terminate().await.exits_with(0);
        verify(&scene.home, &scene.repo).await;
        scene.repo.fsck().await.unwrap();
    });
}

#[test]
fn a_replayed_log_is_signed_with_a_key_that_has_a_passphrase() {
    run(async {
        let home = home();
        fs::write(home.path().join("recorded.log"), include_str!("../../reverser-bin/demo/recording.audit.log"))
            .unwrap();
        fs::write(home.path().join("passphrase"), "a phrase\n").unwrap();
        ssh_key(&home, "a phrase").await;
        let replay = ["replay", "recorded.log", "--repo", "./replayed.git", "--sign-key", "key"];
        let said = home.run(&replay).await.exits_with(1);
        assert!(said.contains("--sign-key") && said.contains("key has a passphrase"), "{said}");
        home.run(&[&replay[..], &["--sign-passphrase-file", "passphrase"]].concat()).await.exits_with(0);
        let repo = BareRepo::existing(home.path().join("replayed.git"));
        assert!(repo.log("main").await.unwrap().len() > 10);
        verify(&home, &repo).await;
    });
}

#[test]
fn check_tries_the_signature_and_says_what_is_wrong_with_it() {
    run(async {
        let scene = Scene::shared("signing-check").await;
        let key = ssh_key(&scene.home, "a phrase").await;
        let passphrase = scene.home.path().join("passphrase");
        let passphrase = passphrase.to_str().unwrap();
        let repo = scene.repo.url();
        let check = [&["check", "--repo", &repo][..], &scene.cluster()].concat();
        let with_key = [&check[..], &["--sign-key", &key, "--sign-passphrase-file", passphrase]].concat();
        fs::write(passphrase, "a phrase").unwrap();
        let said = scene.home.run(&with_key).await.exits_with(0);
        assert!(said.contains(&format!("ok    signing: with {key}, which is ssh-ed25519 AAAA")), "{said}");
        fs::write(passphrase, "hunter2").unwrap();
        let said = scene.home.run(&with_key).await.exits_with(1);
        assert!(said.contains(&format!("the passphrase that was given doesn't open {key}")), "{said}");
        assert!(!said.contains("hunter2"), "{said}");

        let by_program = |program| [&check[..], &["--sign-key-id", "k", "--sign-program", program]].concat();
        let said = scene.home.run(&by_program("false")).await.exits_with(1);
        assert!(said.contains("FAIL  signing: false did not sign"), "{said}");
        let said = scene.home.run(&by_program("no-such-gpg")).await.exits_with(1);
        assert!(said.contains("can't run no-such-gpg; is it installed?"), "{said}");
    });
}

#[test]
fn flags_that_do_not_go_together_are_wrong_usage() {
    run(async {
        for wrong in [
            &["--sign-key", "key", "--sign-key-id", "ABCD"][..],
            &["--sign-passphrase-file", "passphrase"],
            &["--sign-format", "ssh"],
            &["--sign-program", "gpg2"],
            &["--sign-key-id", "ABCD", "--sign-format", "pgp"],
        ] {
            let said = home().run(&[&["watch", "--repo", "./cluster.git"], wrong].concat()).await.exits_with(2);
            assert!(said.contains("--sign-"), "{wrong:?}: {said}");
        }
    });
}

/// Makes an ed25519 key in the home; returns its file.
async fn ssh_key(home: &Home, passphrase: &str) -> String {
    let file = home.path().join("key");
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f"]).arg(&file);
    let made = command.status().await.expect("ssh-keygen is there (Debian's package openssh-client)");
    assert!(made.success(), "{made}");
    file.to_str().unwrap().to_owned()
}

/// Lets git verify each commit, as the documentation says.
async fn verify(home: &Home, repo: &BareRepo) {
    let public = fs::read_to_string(home.path().join("key.pub")).unwrap();
    let signers = home.path().join("allowed_signers");
    fs::write(&signers, format!("reverser@cluster.local namespaces=\"git\" {public}")).unwrap();
    let option = format!("gpg.ssh.allowedSignersFile={}", Path::display(&signers));
    for id in repo.git(&["rev-list", "main"]).await.unwrap().lines() {
        repo.git(&["-c", &option, "verify-commit", id]).await.unwrap_or_else(|error| panic!("{id}: {error}"));
    }
}
