//! `reverser watch --attribution admission`, and what `reverser check` says of it.

use kube::runtime::{conditions::is_crd_established, wait::await_condition};
use reverser_testbed::ControlPlaneOptions;
use reverser_tests::free_port;

use super::*;
use crate::{
    authors::{text, user},
    scene::{crd, credits},
};

#[test]
fn authors_are_named_without_an_audit_log_and_nothing_is_left_at_the_end() {
    run(async {
        let scene = Scene::unwatched("admitted").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let watch = scene.watch(&admission(&url())).await;
        create(&ann, config_map("web", "1")).await;
        patch(&ben, "web", json!({"data": {"key": "2"}})).await;
        delete(&ann, "web").await;
        let log = scene.history(4).await;
        assert_eq!(
            credits(&log[1..]),
            ["ann [CREATE] v1/configmaps/web", "ben [UPDATE] v1/configmaps/web", "ann [DELETE] v1/configmaps/web"]
        );
        assert!(log[1..].iter().all(|commit| commit.message.contains("Reverser-Evidence: admission")), "{log:?}");

        // What comes up while it runs has authors, too, as soon as the rules name it.
        create(&Api::all(scene.plane.client()), crd("admitted.example.com", "Widget")).await;
        let definitions = Api::all(scene.plane.client());
        await_condition(definitions, "widgets.admitted.example.com", is_crd_established()).await.unwrap();
        let configurations = configurations(&scene);
        eventually("the rules to grow", LIMIT, async || {
            let found = configurations.list(&Default::default()).await.unwrap().items;
            let text = serde_json::to_string(&found).unwrap();
            if text.contains("widgets/*") { Ok(()) } else { Err(text) }
        })
        .await;
        assert_eq!(configurations.list(&Default::default()).await.unwrap().items.len(), 1);
        watch.terminate().await.exits_with(0);
        assert_eq!(configurations.list(&Default::default()).await.unwrap().items, []);
    });
}

#[test]
fn what_a_killed_run_has_left_does_not_stop_writes_and_the_next_run_takes_it_over() {
    run(async {
        let scene = Scene::unwatched("killed").await;
        let ann = user(&scene, "ann").await;
        let url = url();
        let killed = scene.watch(&admission(&url)).await;
        create(&ann, config_map("before", "1")).await;
        scene.history(2).await;
        killed.kill().await;
        let configurations = configurations(&scene);
        let left = configurations.list(&Default::default()).await.unwrap().items.remove(0);
        // Each asks the endpoint that is gone; a busy machine is slow with some.
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        eventually("a write that is held up for a second at most", LIMIT, async || {
            let begin = Instant::now();
            ann.create(&dry_run, &config_map("tried", "1")).await.unwrap();
            let took = begin.elapsed();
            if took < Duration::from_secs(2) { Ok(()) } else { Err(took) }
        })
        .await;
        create(&ann, config_map("meanwhile", "1")).await;

        let next = scene.watch(&admission(&url)).await;
        next.says("taken over from an earlier run").await;
        let taken_over = configurations.list(&Default::default()).await.unwrap().items.remove(0);
        assert_eq!((taken_over.uid(), taken_over.name_any()), (left.uid(), left.name_any()));
        create(&ann, config_map("after", "1")).await;
        let log = scene.history(4).await;
        let committer = "reverser [CREATE] v1/configmaps/meanwhile";
        assert_eq!(
            credits(&log[1..]),
            ["ann [CREATE] v1/configmaps/before", committer, "ann [CREATE] v1/configmaps/after"]
        );
        next.terminate().await.exits_with(0);
        assert_eq!(configurations.list(&Default::default()).await.unwrap().items, []);
    });
}

#[test]
fn a_registration_that_can_not_be_removed_is_named_with_the_command_that_does() {
    run(async {
        let scene = Scene::unwatched("unreachable").await;
        let watch = scene.watch(&admission(&url())).await;
        let name = configurations(&scene).list(&Default::default()).await.unwrap().items[0].name_any();
        scene.plane.stop_api_server();
        let begin = Instant::now();
        let said = watch.terminate().await.exits_with(0);
        assert!(begin.elapsed() < Duration::from_secs(30), "a Pod has no longer: {:?}", begin.elapsed());
        assert!(
            said.contains(&format!("remove it with `kubectl delete validatingwebhookconfiguration {name}`")),
            "{said}"
        );
    });
}

#[test]
fn without_the_permission_to_register_it_does_not_start_and_says_what_to_grant() {
    run(async {
        let scene = Scene::shared("not-admitted").await;
        let kubeconfig = scene.plane.user("watcher", &[]).unwrap();
        let may = rule(&["get", "list", "watch"], "", &["configmaps"]);
        scene.plane.grant("watcher", None, vec![may]).await.unwrap();
        let url = url();
        let arguments = |command| {
            let more = ["-r", "configmaps", "--admission-name", "narrow", "--kubeconfig", text(&kubeconfig)];
            [&[command, "--repo", "./new.git"][..], &admission(&url), &more]
                .concat()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        for command in ["watch", "check"] {
            let typed = arguments(command);
            let typed: Vec<_> = typed.iter().map(String::as_str).collect();
            let said = scene.home.run(&typed).await.exits_with(1);
            let verbs =
                "not allowed to get, list, watch, create, patch, delete ValidatingWebhookConfiguration narrow: grant";
            assert!(said.contains(verbs), "{command}: {said}");
            assert!(said.contains("resourceNames: [\"narrow\"]"), "{command}: {said}");
        }
        assert!(!scene.home.path().join("new.git").exists(), "nothing is made for what can't start");
    });
}

#[test]
fn a_check_tells_what_the_api_server_would_take_and_what_is_in_the_way() {
    run(async {
        let scene = Scene::shared("admission-checked").await;
        let check = async |flags: &[&str]| {
            let repo = ["check", "--repo", "./new.git", "-r", "configmaps"];
            scene.home.run(&[&repo[..], &scene.cluster(), flags].concat()).await
        };
        let url = url();
        let said = check(&admission(&url)).await.exits_with(0);
        for line in
            ["ok    endpoint: 127.0.0.1:", "ok    certificate: will be made", "ok    admission: the API server takes"]
        {
            assert!(said.contains(line), "{line}: {said}");
        }
        let found = configurations(&scene).list(&Default::default()).await.unwrap().items;
        assert!(!found.iter().any(|one| said.contains(&one.name_any())), "a check changes nothing: {said}");

        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let elsewhere = ["--attribution", "admission", "--admission-url", "https://no-such-host.invalid:9443"];
        let said = check(&[&elsewhere[..], &["--admission-listen", &address]].concat()).await.exits_with(1);
        assert!(said.contains("FAIL  --admission-listen: could not listen at"), "{said}");
        assert!(said.contains("hint  admission: no-such-host.invalid can't be resolved here"), "{said}");

        let system = [&admission(&url)[..], &["-n", "kube-system"]].concat();
        let said = check(&system).await.exits_with(0);
        assert!(said.contains("--admission-include-namespace kube-system has them sent"), "{said}");
    });
}

#[test]
fn audit_events_that_an_api_server_sends_name_authors_beside_admission_and_alone() {
    run(async {
        let (listen, folder) = (address(), tempfile::tempdir().unwrap());
        let (token, webhook) = (folder.path().join("token"), folder.path().join("webhook.kubeconfig"));
        std::fs::write(&token, "a-secret-of-the-test").unwrap();
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "reverser",
            "clusters": [{"name": "reverser", "cluster": {
                "server": format!("https://{listen}/audit"), "insecure-skip-tls-verify": true}}],
            "users": [{"name": "reverser", "user": {"tokenFile": token}}],
            "contexts": [{"name": "reverser", "context": {"cluster": "reverser", "user": "reverser"}}]});
        std::fs::write(&webhook, config.to_string()).unwrap();
        let flags =
            [format!("--audit-webhook-config-file={}", text(&webhook)), "--audit-webhook-batch-max-wait=1s".into()];
        let options = ControlPlaneOptions { api_server_flags: flags.into(), ..ControlPlaneOptions::default() };
        let scene = Scene::with("audited", options).await;
        let ann = user(&scene, "ann").await;
        let audit = ["--audit-listen", &listen, "--audit-token-file", text(&token)];
        let alone = scene.watch(&audit).await;
        create(&ann, config_map("alone", "1")).await;
        let log = scene.history(2).await;
        assert_eq!(credits(&log[1..]), ["ann [CREATE] v1/configmaps/alone"]);
        assert!(log[1].message.contains("Reverser-Evidence: audit"), "{}", log[1].message);
        let said = alone.terminate().await.exits_with(0);
        assert!(said.contains("webhook/ca.crt"), "{said}");

        let url = url();
        let both = ["--attribution", "admission,audit", "--admission-url", &url];
        let watch = scene.watch(&[&both[..], &audit].concat()).await;
        create(&ann, config_map("both", "1")).await;
        let log = scene.history(3).await;
        assert_eq!(credits(&log[2..]), ["ann [CREATE] v1/configmaps/both"]);
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn flags_that_do_not_go_together_are_wrong_usage() {
    run(async {
        let scene = Scene::shared("admission-usage").await;
        for (flags, why) in [
            (&["--attribution", "admission"][..], "needs --admission-url https://HOST:PORT"),
            (&["--attribution", "admission", "--admission-url", "http://127.0.0.1:9443"], "by https:// alone"),
            (&["--coalesce", "1m"], "--coalesce needs --attribution"),
        ] {
            let said = scene
                .home
                .run(&[&["watch", "--repo", "./new.git"], &scene.cluster()[..], flags].concat())
                .await
                .exits_with(2);
            assert!(said.contains(why), "{flags:?}: {said}");
        }
    });
}

fn url() -> String {
    format!("https://{}", address())
}

/// Returns an address of this machine that nobody listens at.
fn address() -> String {
    format!("127.0.0.1:{}", free_port().unwrap())
}

fn admission(url: &str) -> [&str; 4] {
    ["--attribution", "admission", "--admission-url", url]
}
