//! The flags that log in to a remote, from check to watch.

use std::fs;

use reverser_testbed::{BareRepo, GitHttp, Sshd};

use crate::scene::{Scene, config_map, create, history, run};

/// What keeps a check from looking at other tests' CRDs, which come and go on this control plane.
const OWN: [&str; 2] = ["--except", "group=*example.com|*configbutler.ai"];

/// `check` finds that it works, and it does.
async fn works(scene: &Scene, url: &str, repo: &BareRepo, flags: &[&str]) {
    let check = [&["check", "--repo", url], &scene.cluster()[..], &OWN, flags].concat();
    let said = scene.home.run(&check).await.exits_with(0);
    assert!(said.contains("ok    repository: may be pushed to"), "{said}");
    let watch = scene.watch_into(url, flags).await;
    create(&scene.api(), config_map("web", "1")).await;
    history(repo, 1).await;
    watch.terminate().await.exits_with(0);
    repo.fsck().await.unwrap();
}

#[test]
fn a_deploy_key_with_a_passphrase_checks_and_watches() {
    run(async {
        let scene = Scene::shared("deploy-key").await;
        let server = Sshd::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        let key = server.key("deploy", "hush").await.unwrap();
        let file = |name: &str, content: &str| {
            let file = scene.home.path().join(name);
            fs::write(&file, content).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let (passphrase, hosts) = (file("passphrase", "hush\n"), file("hosts", &server.known_hosts().unwrap()));
        let with_key = ["--ssh-key", key.to_str().unwrap(), "--ssh-passphrase-file", &passphrase];
        let url = server.url("team.git");
        let check = [&["check", "--repo", &url], &scene.cluster()[..], &OWN, &with_key].concat();
        let said = scene.home.run(&check).await.exits_with(1);
        for part in ["FAIL  repository: can't log in to ssh://", "`ssh-keyscan -p ", "--known-hosts FILE"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        works(&scene, &url, &repo, &[&with_key[..], &["--known-hosts", &hosts]].concat()).await;
    });
}

#[test]
fn a_token_keeps_the_users_configuration_out() {
    run(async {
        let scene = Scene::shared("token").await;
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        server.require_token("t0ken");
        // Every address leads to a port where nobody listens.
        fs::write(scene.home.path().join(".gitconfig"), "[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = http://\n")
            .unwrap();
        let token = scene.home.path().join("token");
        fs::write(&token, "t0ken").unwrap();
        let url = server.url("team.git");
        let said =
            scene.home.run(&[&["check", "--repo", &url], &scene.cluster()[..], &OWN].concat()).await.exits_with(1);
        assert!(said.contains("can't be reached"), "it is read where nothing else was asked for: {said}");
        works(&scene, &url, &repo, &["--token-file", token.to_str().unwrap()]).await;
    });
}
