//! What is left out by an object's own wish, or since a GitOps tool did it.

use k8s_openapi::api::core::v1::ConfigMap;
use reverser_testbed::eventually;
use reverser_tests::LIMIT;
use serde_json::{Value, json};

use crate::scene::{Scene, apply_as, assert_subjects, config_map, create, delete, patch, run};

const FLUX: &str = "kustomize-controller";

#[test]
fn an_object_that_asks_to_be_ignored_leaves_git_until_it_no_longer_does() {
    run(async {
        let scene = Scene::shared("opted-out").await;
        let watch = scene.watch(&["-r", "cm"]).await;
        let configs = scene.api::<ConfigMap>();
        let asks = |value: Value| json!({"metadata": {"annotations": {"configbutler.ai/ignore": value}}});
        create(&configs, config_map("web", "1")).await;
        create(&configs, config_map("db", "1")).await;
        let (web, db) = (scene.path("v1/configmaps", "web"), scene.path("v1/configmaps", "db"));
        scene.has_files(&[web.clone(), db.clone()]).await;
        scene.kubectl(&["annotate", "configmap", "web", "configbutler.ai/ignore=true"], "").await;
        scene.has_files(std::slice::from_ref(&db)).await;
        patch(&configs, "web", json!({"data": {"key": "2"}})).await;
        patch(&configs, "web", asks(Value::Null)).await;
        scene.has_files(&[web.clone(), db.clone()]).await;
        let log = scene.history(4).await;
        let (created, updated) = ("[CREATE] v1/configmaps/web", "[UPDATE] v1/configmaps/web");
        assert_subjects(&log, &[created, "[CREATE] v1/configmaps/db", updated, updated]);
        assert!(log[2].message.contains("by its annotation configbutler.ai/ignore"), "{}", log[2].message);
        assert!(scene.file("v1/configmaps", "web").await.contains("key: \"2\""));

        // Asked for while nobody watches, and seen in a complete list.
        watch.terminate().await.exits_with(0);
        patch(&configs, "db", asks("true".into())).await;
        let repo = scene.repo.url();
        let snapshot = [&["snapshot", "--repo", &repo, "-r", "cm"][..], &scene.cluster()].concat();
        scene.home.run(&snapshot).await.exits_with(0);
        scene.has_files(&[web]).await;
    });
}

#[test]
fn the_changes_of_an_ignored_manager_come_with_those_of_others() {
    run(async {
        let scene = Scene::shared("ignored-manager").await;
        let configs = scene.api::<ConfigMap>();
        let flags = ["-r", "cm", "--ignore-manager", "kustomize-*"];
        let watch = scene.watch(&flags).await;
        scene.kubectl(&["create", "configmap", "web", "--from-literal=person=1"], "").await;
        scene.history(1).await;
        let flux = async |text: &str| {
            another_second().await;
            apply_as(&configs, FLUX, json!({"data": {"flux": text}}), "web").await;
        };
        flux("1").await;
        apply_as(&configs, FLUX, json!({"data": {"flux": "1"}}), "cache").await;
        flux("2").await;
        create(&configs, config_map("mark-1", "1")).await;
        assert_subjects(&scene.history(2).await, &["[CREATE] v1/configmaps/web", "[CREATE] v1/configmaps/mark-1"]);
        another_second().await;
        scene.kubectl(&["patch", "configmap", "web", "--type=merge", "-p", r#"{"data":{"person":"2"}}"#], "").await;
        assert_subjects(&scene.history(3).await[2..], &["[UPDATE] v1/configmaps/web"]);
        let file = scene.file("v1/configmaps", "web").await;
        assert!(file.contains("flux: \"2\"") && file.contains("person: \"2\""), "{file}");
        // A removal by a person: managed fields show the controller as the last who wrote.
        flux("3").await;
        scene.kubectl(&["patch", "configmap", "web", "--type=merge", "-p", r#"{"data":{"person":null}}"#], "").await;
        scene.history(4).await;
        let file = scene.file("v1/configmaps", "web").await;
        assert!(file.contains("flux: \"3\"") && !file.contains("person"), "{file}");

        // After a restart it goes on as before. The next complete list brings all.
        watch.terminate().await.exits_with(0);
        let watch = scene.watch(&flags).await;
        flux("4").await;
        delete(&configs, "web").await;
        let log = scene.history(5).await;
        assert_eq!((log.len(), log[4].subject()), (5, "[DELETE] v1/configmaps/web"));
        watch.terminate().await.exits_with(0);
        let _watch = scene.watch(&["-r", "cm"]).await;
        scene.has_files(&["cache", "mark-1"].map(|name| scene.path("v1/configmaps", name))).await;
    });
}

#[test]
fn what_a_gitops_tool_applies_from_our_commits_makes_none() {
    run(async {
        for (namespace, flags) in [("loop-ignored", &["--ignore-manager", FLUX][..]), ("loop", &[])] {
            let scene = Scene::shared(namespace).await;
            let configs = scene.api::<ConfigMap>();
            let _watch = scene.watch(&[&["-r", "cm"], flags].concat()).await;
            scene.kubectl(&["create", "configmap", "web", "--from-literal=on=no"], "").await;
            for round in 2..4 {
                scene.history(round - 1).await;
                let manifest = scene.file("v1/configmaps", "web").await;
                another_second().await;
                let tool = ["apply", "--server-side", "--force-conflicts", "--field-manager", FLUX, "-f", "-"];
                scene.kubectl(&tool, &manifest).await;
                // As Flux marks what it applies.
                let mark = json!({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}});
                patch(&configs, "web", mark).await;
                scene
                    .kubectl(
                        &[
                            "patch",
                            "configmap",
                            "web",
                            "--type=merge",
                            "-p",
                            &format!(r#"{{"data":{{"n":"{round}"}}}}"#),
                        ],
                        "",
                    )
                    .await;
            }
            let log = scene.history(3).await;
            let expected = ["[CREATE] v1/configmaps/web", "[UPDATE] v1/configmaps/web", "[UPDATE] v1/configmaps/web"];
            assert_subjects(&log, &expected);
        }
    });
}

/// Waits until the clock shows another second: managed fields have no finer times.
pub(crate) async fn another_second() {
    let second = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let since = second();
    eventually("another second", LIMIT, async || if second() > since { Ok(()) } else { Err(since) }).await;
}
