//! What is captured, by flags and by what may be read.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMap;
use reverser_testbed::rule;
use serde_json::json;

use crate::scene::{Scene, WATCHING, assert_subjects, config_map, create, object, patch, run};

const READ: [&str; 3] = ["get", "list", "watch"];

#[test]
fn a_kind_that_may_not_be_listed_is_named_once_with_the_rule_it_lacks_and_the_others_go_on() {
    run(async {
        let scene = Scene::shared("forbidden").await;
        let kubeconfig = reader(&scene, "reader", None, &["configmaps"]).await;
        let repo = scene.repo.url();
        let flags =
            ["--kubeconfig", kubeconfig.to_str().unwrap(), "--resource", "configmaps,services", "-l", "app=forbidden"];
        let watch = scene.home.start(&[&["watch", "--log-format", "json", "--repo", &repo], &flags[..]].concat());
        watch.says(WATCHING).await;
        let refusal = "not allowed to list services: grant a ClusterRole with \
            {apiGroups: [\\\"\\\"], resources: [\\\"services\\\"], verbs: [get, list, watch]}";
        watch.says(refusal).await;
        let mut web = config_map("web", "1");
        web.metadata.labels = Some([("app".to_owned(), "forbidden".to_owned())].into());
        create(&scene.api(), web).await;
        scene.history(1).await;

        scene.plane.grant("reader", None, vec![rule(&READ, "", &["services"])]).await.unwrap();
        watch.says("watched again").await;
        let service =
            json!({"metadata": {"name": "web", "labels": {"app": "forbidden"}}, "spec": {"ports": [{"port": 80}]}});
        create(&scene.api::<k8s_openapi::api::core::v1::Service>(), object(service)).await;
        scene.history(2).await;
        let said = watch.terminate().await.exits_with(0);
        assert_eq!(said.matches("not allowed to").count(), 1, "{said}");
    });
}

#[test]
fn a_role_in_one_namespace_is_enough_to_watch_that_namespace() {
    run(async {
        let scene = Scene::shared("narrow").await;
        let kubeconfig = reader(&scene, "narrow-reader", Some("narrow"), &["configmaps"]).await;
        let flags = ["--kubeconfig", kubeconfig.to_str().unwrap(), "-n", "narrow", "-r", "cm"];
        let repo = scene.repo.url();
        let watch = scene.home.start(&[&["watch", "--log-format", "json", "--repo", &repo], &flags[..]].concat());
        watch.says(WATCHING).await;
        create(&scene.api(), config_map("web", "1")).await;
        let log = scene.history(1).await;
        assert_subjects(&log, &["[CREATE] v1/configmaps/web"]);
        let said = watch.terminate().await.exits_with(0);
        assert!(!said.contains("not allowed"), "{said}");
    });
}

#[test]
fn an_object_that_leaves_the_selector_leaves_git_and_one_that_enters_it_is_written() {
    run(async {
        let scene = Scene::shared("labelled").await;
        let _watch = scene.watch(&["-l", "app=web,tier!=test"]).await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("other", "1")).await;
        let mut web = config_map("web", "1");
        web.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
        create(&configs, web).await;
        scene.has_files(&[scene.path("v1/configmaps", "web")]).await;
        patch(&configs, "web", json!({"metadata": {"labels": {"tier": "test"}}})).await;
        scene.has_files(&[]).await;
        patch(&configs, "other", json!({"metadata": {"labels": {"app": "web"}}})).await;
        scene.has_files(&[scene.path("v1/configmaps", "other")]).await;
        let log = scene.history(3).await;
        let expected = ["[CREATE] v1/configmaps/web", "[UPDATE] v1/configmaps/web", "[UPDATE] v1/configmaps/other"];
        assert_subjects(&log, &expected);
        assert!(log[1].message.contains("no longer selected"), "{}", log[1].message);
    });
}

#[test]
fn noise_is_captured_when_it_is_included() {
    run(async {
        let scene = Scene::shared("noise").await;
        let lease = "---\n{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: leader}, spec: {holderIdentity: me}}";
        scene.kubectl(&["create", "-f", "-"], lease).await;
        let mut pod = json!({"metadata": {"name": "owned"}, "data": {"a": "1"}});
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "x", "controller": true}]);
        let owner = create(&scene.api(), config_map("owner", "1")).await;
        pod["metadata"]["ownerReferences"][0]["uid"] = owner.metadata.uid.into();
        create(&scene.api::<ConfigMap>(), object(pod)).await;
        let snapshot = async |folder: &str, more: &[&str]| {
            scene.home.run(&[&["snapshot", "--out", folder], &scene.cluster()[..], more].concat()).await.exits_with(0);
            let is_there = |path: &str| scene.home.path().join(folder).join(path).is_file();
            [
                is_there("v1/configmaps/noise/owner.yaml"),
                is_there("v1/configmaps/noise/owned.yaml"),
                is_there("coordination.k8s.io/v1/leases/noise/leader.yaml"),
            ]
        };
        assert_eq!(snapshot("plain", &[]).await, [true, false, false]);
        assert_eq!(snapshot("leases", &["--include", "leases"]).await, [true, false, true]);
        assert_eq!(snapshot("all", &["--include", "all"]).await, [true, true, true]);
    });
}

#[test]
fn a_folder_of_the_repository_is_kept_to() {
    run(async {
        let scene = Scene::shared("foldered").await;
        scene.repo.commit_as_other("main", "README.md", "not ours\n").await.unwrap();
        let _watch = scene.watch(&["--path", "clusters/one/"]).await;
        create(&scene.api(), config_map("web", "1")).await;
        scene.has_files(&["README.md".into(), format!("clusters/one/{}", scene.path("v1/configmaps", "web"))]).await;
    });
}

async fn reader(scene: &Scene, name: &str, namespace: Option<&str>, resources: &[&str]) -> PathBuf {
    let kubeconfig = scene.plane.user(name, &[]).unwrap();
    scene.plane.grant(name, namespace, vec![rule(&READ, "", resources)]).await.unwrap();
    kubeconfig
}
