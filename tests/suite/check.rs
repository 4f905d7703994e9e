//! `reverser check`: a line for each thing that has to be right, with the remedy.

use reverser_testbed::{BareRepo, GitHttp, rule};

use crate::scene::{Scene, run};

#[test]
fn a_check_where_all_is_well_exits_with_0_and_changes_nothing() {
    run(async {
        let scene = Scene::shared("checked").await;
        let before = refs(&scene.repo).await;
        // Other tests' CRDs come and go on this control plane.
        let cluster = [&scene.cluster()[..], &["--except", "group=*example.com|*configbutler.ai"]].concat();
        let said =
            scene.home.run(&[&["check", "--repo", &scene.repo.url()], &cluster[..]].concat()).await.exits_with(0);
        for line in
            ["ok    git ", "ok    API server https://", "ok    clock", "resources may be listed", "readable, and empty"]
        {
            assert!(said.contains(line), "{line}: {said}");
        }
        assert!(!said.contains("FAIL"), "{said}");
        assert_eq!(refs(&scene.repo).await, before);
        let said = scene.home.run(&[&["check", "--repo", "./new.git"], &cluster[..]].concat()).await.exits_with(0);
        assert!(said.contains("will be created") && !scene.home.path().join("new.git").exists(), "{said}");
    });
}

#[test]
fn a_check_takes_the_arguments_of_watch_and_looks_at_the_audit_log() {
    run(async {
        let scene = Scene::shared("checked-all").await;
        let log = scene.plane.audit_log().unwrap();
        let check = async |log: &str| {
            let flags = ["--path", "a", "--layout", "{group}/{resource}/{namespace}/{name}.yaml", "--profile", "neat"];
            let more = ["--message", "{{ name }}", "--committer", "c <c@example.com>", "--audit-log", log];
            let repo = ["check", "--repo", &scene.repo.url(), "--except", "group=*example.com|*configbutler.ai"];
            scene.home.run(&[&repo[..], &scene.cluster()[..], &flags, &more].concat()).await
        };
        let said = check(log.to_str().unwrap()).await.exits_with(0);
        assert!(said.contains("ok    audit log"), "{said}");
        let said = check("./no.log").await.exits_with(1);
        assert!(said.contains("FAIL  --audit-log ./no.log: it has to exist"), "{said}");
    });
}

#[test]
fn a_check_names_what_may_not_be_listed_and_what_can_not_be_pushed_to() {
    run(async {
        let scene = Scene::shared("unchecked").await;
        let kubeconfig = scene.plane.user("checker", &[]).unwrap();
        scene
            .plane
            .grant(
                "checker",
                Some("unchecked"),
                vec![rule(&["list", "watch"], "", &["configmaps"]), rule(&["list"], "", &["services"])],
            )
            .await
            .unwrap();
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        repo.commit_as_other("main", "README.md", "hello\n").await.unwrap();
        repo.git(&["config", "http.receivepack", "false"]).await.unwrap();
        let url = server.url("team.git");
        let flags = [
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
            "-n",
            "unchecked",
            "-r",
            "configmaps,services,deployments.apps",
        ];
        let said = scene.home.run(&[&["check", "--repo", &url], &flags[..]].concat()).await.exits_with(1);
        assert!(said.contains("1 of 3 resources may be listed and watched"), "{said}");
        assert!(said.contains("not allowed to watch services in namespace unchecked"), "{said}");
        let rule = r#"a Role with {apiGroups: ["apps"], resources: ["deployments"], verbs: [get, list, watch]}"#;
        assert!(said.contains(rule), "{said}");
        assert!(said.contains("readable, main is at") && said.contains("FAIL  repository"), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("FAIL")).count(), 3, "{said}");
    });
}

async fn refs(repo: &BareRepo) -> String {
    repo.git(&["for-each-ref"]).await.unwrap()
}
