//! `reverser diff`: what differs is told and what doesn't is not, by lines and by the exit code.

use k8s_openapi::api::core::v1::ConfigMap;
use reverser_testbed::{eventually, rule};
use reverser_tests::{Finished, LIMIT};
use serde_json::{Value, json};

use crate::scene::{Scene, config_map, create, delete, home, patch, run};

#[test]
fn git_and_cluster_are_equal_until_somebody_changes_one_of_them() {
    run(async {
        let scene = Scene::shared("compared").await;
        let configs = scene.api::<ConfigMap>();
        for name in ["a", "b", "c", "d"] {
            create(&configs, config_map(name, "1")).await;
        }
        snapshot(&scene, &[]).await;
        let said = diff(&scene, &[]).await.exits_with(0);
        assert!(said.starts_with("no difference: 4 objects compared with main at "), "{said}");

        // Formatted otherwise, and what isn't ours: nobody's business.
        let formatted =
            "# mine\n{kind: ConfigMap, apiVersion: v1, data: {key: '1'}, metadata: {namespace: compared, name: a}}\n";
        scene.repo.commit_as_other("main", &scene.path("v1/configmaps", "a"), formatted).await.unwrap();
        scene.repo.commit_as_other("main", &scene.path("v1/configmaps", "notes"), "# mine\n").await.unwrap();
        scene.repo.commit_as_other("main", "v1/configmaps/elsewhere/web.yaml", formatted).await.unwrap();
        assert!(diff(&scene, &[]).await.exits_with(0).starts_with("no difference"));

        patch(&configs, "b", json!({"data": {"key": "2"}})).await;
        delete(&configs, "c").await;
        scene.repo.remove_as_other("main", &scene.path("v1/configmaps", "d")).await.unwrap();
        let said = diff(&scene, &[]).await.exits_with(1);
        let tip = scene.repo.tip("main").await.unwrap().unwrap();
        insta::assert_snapshot!(said.replace(&tip[..8], "COMMIT"), @r#"
        different  v1 ConfigMap compared/b  (v1/configmaps/compared/b.yaml)
        --- v1/configmaps/compared/b.yaml (Git)
        +++ v1/configmaps/compared/b.yaml (cluster)
        @@ -4,4 +4,4 @@
           name: b
           namespace: compared
         data:
        -  key: "1"
        +  key: "2"
        missing    v1 ConfigMap compared/d  (v1/configmaps/compared/d.yaml)
        extra      v1 ConfigMap compared/c  (v1/configmaps/compared/c.yaml)
        1 missing, 1 extra, 1 different; 3 objects compared with main at COMMIT
        "#);
        let said = diff(&scene, &["-o", "name"]).await.exits_with(1);
        assert_eq!(
            said,
            "different configmap/b -n compared\nmissing configmap/d -n compared\nextra configmap/c -n compared\n"
        );
        assert_eq!(scene.repo.tip("main").await.unwrap().unwrap(), tip, "nothing is written");
        let (home, repo) = (home(), scene.repo.url());
        home.run(&[&["diff", "--repo", &repo], &scene.cluster()[..]].concat()).await.exits_with(1);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nor in the user's folders");
        // Back to where the cluster was when the snapshot was taken.
        assert!(diff(&scene, &["--at", "main~4"]).await.exits_with(1).contains("1 extra, 1 different; 3 objects"));
    });
}

#[test]
fn programs_read_both_sides_of_each_difference_in_one_document() {
    run(async {
        let scene = Scene::shared("documents").await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("a", "1")).await;
        let under = ["--path", "clusters/east"];
        let equal = |said: String| serde_json::from_str::<Value>(&said).unwrap();
        snapshot(&scene, &under).await;
        let document = equal(diff(&scene, &[&under[..], &["-o", "json"]].concat()).await.exits_with(0));
        let tip = scene.repo.tip("main").await.unwrap().unwrap();
        assert_eq!(document["differences"], json!([]));
        assert_eq!((&document["commit"], &document["branch"]), (&json!(tip), &json!("main")));

        patch(&configs, "a", json!({"data": {"key": "2"}})).await;
        create(&configs, config_map("b", "1")).await;
        // What no program could read.
        scene.repo.commit_as_other("main", "clusters/east/v1/configmaps/documents/b.yaml", "- a\n b: [").await.unwrap();
        let said = diff(&scene, &[&under[..], &["-o", "json"]].concat()).await.exits_with(1);
        let document = equal(said);
        let [a, b] = document["differences"].as_array().unwrap().as_slice() else { panic!("{document}") };
        assert_eq!(
            (&a["state"], &a["apiVersion"], &a["kind"]),
            (&json!("different"), &json!("v1"), &json!("ConfigMap"))
        );
        assert_eq!(
            (&a["resource"], &a["namespace"], &a["name"]),
            (&json!("configmaps"), &json!("documents"), &json!("a"))
        );
        assert_eq!(a["path"], "clusters/east/v1/configmaps/documents/a.yaml");
        assert_eq!((&a["git"]["data"]["key"], &a["live"]["data"]["key"]), (&json!("1"), &json!("2")));
        assert!(a["diff"].as_str().unwrap().ends_with(" data:\n-  key: \"1\"\n+  key: \"2\"\n"), "{a}");
        assert_eq!((&b["git"], &b["live"]["kind"]), (&json!("- a\n b: ["), &json!("ConfigMap")));
        let summary =
            json!({"objects": 2, "missing": 0, "extra": 0, "different": 2, "superseded": 0, "notCompared": 0});
        assert_eq!(document["summary"], summary);
    });
}

#[test]
fn files_of_another_version_are_told_as_such() {
    run(async {
        let scene = Scene::shared("versions").await;
        let manifest = |version: &str| {
            format!(
                "apiVersion: autoscaling/{version}\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: web\n  namespace: versions\n\
                 spec:\n  maxReplicas: 3\n  scaleTargetRef:\n    apiVersion: apps/v1\n    kind: Deployment\n    name: web\n"
            )
        };
        scene.kubectl(&["apply", "-f", "-"], &manifest("v1")).await;
        let resource = ["-r", "horizontalpodautoscalers"];
        scene.home.run(&[&["snapshot", "--repo", &scene.repo.url()], &scene.cluster()[..], &resource].concat()).await;
        let older = scene.path("autoscaling/v1/horizontalpodautoscalers", "web");
        scene.repo.commit_as_other("main", &older, &manifest("v1")).await.unwrap();
        let said = compare(&scene, &[&resource[..], &["-o", "name"]].concat()).await.exits_with(1);
        assert_eq!(said, "superseded horizontalpodautoscaler.autoscaling/web -n versions\n");
    });
}

#[test]
fn only_what_is_selected_is_compared() {
    run(async {
        let scene = Scene::shared("compared-in-part").await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("same", "1")).await;
        snapshot(&scene, &[]).await;
        for (name, label) in [("a", "web"), ("b", "api")] {
            create(&configs, config_map(name, "1")).await;
            patch(&configs, name, json!({"metadata": {"labels": {"app": label}}})).await;
        }
        let names = async |flags: &[&str], code| {
            let flags = [flags, &["-o", "name"]].concat();
            diff(&scene, &flags)
                .await
                .exits_with(code)
                .lines()
                .map(|line| line.split(' ').nth(1).unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&[], 1).await, ["configmap/a", "configmap/b"]);
        assert_eq!(names(&["-l", "app=web"], 1).await, ["configmap/a"]);
        assert_eq!(names(&["--only", "name=b"], 1).await, ["configmap/b"]);
        assert_eq!(names(&["--except", "name=a|b"], 0).await, [""; 0]);
        // A label that is misspelt looks like a cluster that is as Git says.
        let said = diff(&scene, &["-l", "app=wbe"]).await.exits_with(0);
        assert!(said.contains("nothing is selected, in the cluster or in Git"), "{said}");
    });
}

#[test]
fn a_diff_is_coloured_when_that_is_asked_for() {
    run(async {
        let scene = Scene::shared("coloured").await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("a", "1")).await;
        snapshot(&scene, &[]).await;
        patch(&configs, "a", json!({"data": {"key": "2"}})).await;
        for plain in [&[][..], &["--color", "auto"], &["--color", "never"]] {
            assert!(!diff(&scene, plain).await.exits_with(1).contains('\x1b'), "{plain:?}");
        }
        let said = diff(&scene, &["--color", "always"]).await.exits_with(1);
        for line in ["\x1b[31m-  key: \"1\"\x1b[0m", "\x1b[32m+  key: \"2\"\x1b[0m"] {
            assert!(said.contains(line), "{said:?}");
        }
    });
}

#[test]
fn what_can_not_be_compared_is_not_called_equal() {
    run(async {
        let scene = Scene::shared("not-compared").await;
        create(&scene.api::<ConfigMap>(), config_map("a", "1")).await;
        snapshot(&scene, &[]).await;
        let reader = scene.plane.user("half-blind", &[]).unwrap();
        let rules = vec![rule(&["get", "list"], "", &["configmaps"])];
        scene.plane.grant("half-blind", Some(&scene.namespace), rules).await.unwrap();
        let repo = scene.repo.url();
        let as_reader = ["diff", "--repo", &repo, "--kubeconfig", reader.to_str().unwrap(), "-n", &scene.namespace];
        let run = async |flags: &[&str]| scene.home.run(&[&as_reader, flags].concat()).await;
        run(&["-r", "configmaps"]).await.exits_with(0);
        let said = run(&["-r", "configmaps,services"]).await.exits_with(2);
        assert!(
            said.contains("not compared: not allowed to list services in namespace not-compared: grant a Role"),
            "{said}"
        );
        let said = run(&["-r", "configmaps,services", "--allow-forbidden"]).await.exits_with(0);
        assert!(said.contains("left out: not allowed to list services"), "{said}");
        let said = run(&["-r", "services", "--allow-forbidden"]).await.exits_with(2);
        assert!(said.contains("nothing could be listed"), "{said}");

        // No repository, no branch, no cluster, no such flag: an error, never a difference.
        let kubeconfig = scene.plane.kubeconfig().to_str().unwrap();
        for (flags, text) in [
            (&["--repo", "./absent.git", "--kubeconfig", kubeconfig][..], "absent.git"),
            (&["--repo", &repo, "--branch", "absent", "--kubeconfig", kubeconfig], "error: --branch: "),
            (&["--repo", &repo, "--at", "absent", "--kubeconfig", kubeconfig], "error: --at: "),
            (&["--repo", &repo, "--kubeconfig", "absent"], "--kubeconfig absent"),
            (&["--repo", &repo, "--committer", "A <a@b>"], "--committer"),
            (&["--repo", &repo, "--state-dir", "x"], "--state-dir"),
        ] {
            let said = scene.home.run(&[&["diff"], flags].concat()).await.exits_with(2);
            assert!(said.contains(text), "{flags:?}: {said}");
        }
        assert!(!scene.home.path().join("absent.git").exists());
    });
}

#[test]
fn an_api_service_that_does_not_answer_is_not_called_equal_unless_it_is_left_out() {
    run(async {
        let scene = Scene::alone("aggregated").await;
        create(&scene.api::<ConfigMap>(), config_map("a", "1")).await;
        snapshot(&scene, &[]).await;
        let service = "---\n{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.absent.example.com}, \
            spec: {group: absent.example.com, version: v1, groupPriorityMinimum: 1000, versionPriority: 15, \
            service: {namespace: aggregated, name: nobody}}}";
        scene.kubectl(&["apply", "-f", "-"], service).await;
        let named = "not compared: absent.example.com/v1: the server behind this APIService doesn't answer";
        let except = "resource=serviceaccounts|roles|rolebindings";
        let said = eventually("discovery to show it", LIMIT, async || {
            let said = compare(&scene, &["--except", except]).await.said;
            if said.contains(named) { Ok(said) } else { Err(said) }
        })
        .await;
        assert!(said.contains("1 not compared; 1 object compared"), "{said}");
        compare(&scene, &["--except", except]).await.exits_with(2);
        compare(&scene, &["--except", except, "--except", "group=absent.example.com"]).await.exits_with(0);
        diff(&scene, &[]).await.exits_with(0);
    });
}

#[test]
fn beside_a_watch_only_what_the_watch_does_not_write_differs() {
    run(async {
        let scene = Scene::shared("beside").await;
        let watch = scene.watch(&[]).await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("lost", "1")).await;
        scene.history(1).await;
        let busy = async {
            for count in 0.. {
                create(&configs, config_map(&format!("c-{count}"), "1")).await;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let compare = async {
            for _ in 0..3 {
                diff(&scene, &["--settle", "3s"]).await.exits_with(0);
            }
            // Fails when a push of ours comes in between: then again, as anybody would.
            let path = scene.path("v1/configmaps", "lost");
            eventually("a turn", LIMIT, || scene.repo.remove_as_other("main", &path)).await;
            diff(&scene, &["--settle", "3s", "-o", "name"]).await.exits_with(1)
        };
        tokio::select! {
            () = busy => unreachable!("it goes on"),
            said = compare => assert_eq!(said, "missing configmap/lost -n beside\n"),
        }
        watch.terminate().await.exits_with(0);
    });
}

async fn snapshot(scene: &Scene, flags: &[&str]) {
    let repo = scene.repo.url();
    let arguments = [&["snapshot", "--repo", &repo, "-r", "configmaps"], &scene.cluster()[..], flags].concat();
    scene.home.run(&arguments).await.exits_with(0);
}

/// Compares the namespace's ConfigMaps, in one look.
async fn diff(scene: &Scene, flags: &[&str]) -> Finished {
    compare(scene, &[&["-r", "configmaps"], flags].concat()).await
}

async fn compare(scene: &Scene, flags: &[&str]) -> Finished {
    let repo = scene.repo.url();
    let settle = if flags.contains(&"--settle") { &[][..] } else { &["--settle", "0"] };
    scene.home.run(&[&["diff", "--repo", &repo], &scene.cluster()[..], settle, flags].concat()).await
}
