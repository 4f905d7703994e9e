//! What can't work says so: which flag, file or URL it is, and what to do about it.

use std::time::{Duration, SystemTime};

use reverser_testbed::GitHttp;
use reverser_tests::free_port;
use serde_json::{Value, json};

use crate::scene::{Scene, home, run};

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_right() {
    run(async {
        let scene = Scene::shared("usage").await;
        let repo = scene.repo.url();
        for (wrong, helpful) in [
            (&["--path", "../elsewhere"][..], &["--path"][..]),
            (&["--path", "/etc"], &["--path"]),
            (&["--selector", "app in (web"], &["--selector"]),
            (&["--resource", "deploymnets"], &["--resource", "\"deploymnets\"", "deployments.apps"]),
            (&["--include", "nosie"], &["--include"]),
            (&["--only", "name=a opration=read"], &["--only", "\n  name=a opration=read\n         ^ ", "operation"]),
            (&["--except", "resource=deploymnets"], &["--except", "\"deploymnets\"", "deployments.apps"]),
            (&["--only", "group=absent.example.com"], &["--only", "nothing is left"]),
            (&["--only", "resource=secrets"], &["--only", "Secrets are left out"]),
            (&["--context", "elsewhere"], &["--context", "elsewhere", "testbed"]),
            (&["--branch", "a..b"], &["--branch"]),
            (&["--committer", "nobody"], &["--committer"]),
            (&["--on-conflict", "theirs"], &["--on-conflict", "ours, branch, stop"]),
            (&["--log-format", "xml"], &["--log-format", "json"]),
        ] {
            let arguments = [&["watch", "--repo", &repo][..], &scene.cluster(), wrong].concat();
            let said = scene.home.run(&arguments).await.exits_with(2);
            assert!(helpful.iter().all(|text| said.contains(text)), "{wrong:?}: {said}");
        }
        assert!(scene.repo.log("main").await.unwrap().is_empty());
        let said = home().run(&["watch"]).await.exits_with(2);
        assert!(said.contains("--repo"), "{said}");
        let said = home().run(&["snapshot"]).await.exits_with(2);
        assert!(said.contains("--out"), "{said}");
    });
}

#[test]
fn without_a_kubeconfig_it_says_where_one_is_looked_for() {
    run(async {
        let home = home();
        for command in ["watch", "snapshot", "check"] {
            let said = home.run(&[command, "--repo", "./cluster.git"]).await.exits_with(1);
            assert!(said.contains("KUBECONFIG") && said.contains("--kubeconfig"), "{command}: {said}");
        }
        let said =
            home.run(&["watch", "--repo", "./cluster.git", "--kubeconfig", "no/such.config"]).await.exits_with(2);
        assert!(said.contains("--kubeconfig no/such.config"), "{said}");
        assert!(!home.path().join("cluster.git").exists(), "no repository is made for a cluster that can't be reached");
    });
}

#[test]
fn an_api_server_that_cannot_be_reached_is_named() {
    run(async {
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let home = home();
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://{address}")}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}]});
        std::fs::write(home.path().join("config"), kubeconfig.to_string()).unwrap();
        let said = home.run(&["watch", "--repo", "./cluster.git", "--kubeconfig", "config"]).await.exits_with(1);
        assert!(said.contains(&address) && said.contains("could not reach the API server"), "{said}");
    });
}

#[test]
fn credentials_that_are_not_accepted_are_told_from_an_api_server_that_is_down() {
    run(async {
        let scene = Scene::shared("credentials").await;
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let expired = scene.plane.user_until("late", &[], an_hour_ago).unwrap();
        let mut config: Value = serde_json::from_slice(&std::fs::read(scene.plane.kubeconfig()).unwrap()).unwrap();
        config["users"][0]["user"] = json!({"token": "not-a-token"});
        let token = scene.home.path().join("token.config");
        std::fs::write(&token, config.to_string()).unwrap();
        for kubeconfig in [expired, token] {
            let flags = ["--repo", "./cluster.git", "--kubeconfig", kubeconfig.to_str().unwrap()];
            for command in ["watch", "check"] {
                let said = scene.home.run(&[&[command], &flags[..]].concat()).await.exits_with(1);
                assert!(said.contains("credentials") && said.contains("log in again"), "{command}: {said}");
                assert!(!said.contains("not-a-token"), "{said}");
            }
        }
    });
}

#[test]
fn a_repository_that_cannot_be_written_is_named_with_the_remedy() {
    run(async {
        let scene = Scene::shared("unwritable").await;
        let server = GitHttp::start().await.unwrap();
        server.create("team.git").await.unwrap();
        let watch = async |repo: &str| {
            let arguments = [&["watch", "--repo", repo][..], &scene.cluster()].concat();
            scene.home.run(&arguments).await.exits_with(1)
        };
        server.require(Some(("bot", "right")));
        for url in [server.url("team.git"), server.url_with("team.git", "bot", "wrong")] {
            let said = watch(&url).await;
            assert!(said.contains(&server.url("team.git")[7..]) && said.contains("--repo"), "{said}");
        }
        server.require(None);
        let said = watch(&server.url("absent.git")).await;
        assert!(said.contains("absent.git"), "{said}");

        std::fs::create_dir(scene.home.path().join("folder")).unwrap();
        std::fs::write(scene.home.path().join("folder/file"), "mine").unwrap();
        let said = watch("./folder").await;
        assert!(said.contains("folder"), "{said}");
        let said = watch("./folder/file").await;
        assert!(said.contains("folder/file"), "{said}");
    });
}
