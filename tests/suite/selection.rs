//! What is captured, by flags and by what may be read.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMap;
use reverser_testbed::rule;
use serde_json::json;

use crate::{
    authors::{text, user},
    scene::{Scene, WATCHING, apply_as, assert_subjects, config_map, create, credits, delete, object, patch, run},
};

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
fn filters_take_and_leave_objects_by_all_that_is_known_of_them() {
    run(async {
        let scene = Scene::shared("filtered").await;
        let configs = scene.api::<ConfigMap>();
        let owner = create(&configs, config_map("web-1", "1")).await;
        let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "web-1", "uid": owner.metadata.uid}]);
        for (name, metadata) in [
            ("web-2", json!({"annotations": {"example.com/owner": "team-a"}})),
            ("web-10", json!({"labels": {"app": "web"}, "annotations": {"example.com/owner": "team-b"}})),
            ("child", json!({"ownerReferences": reference})),
        ] {
            apply_as(&configs, "portal", json!({"metadata": metadata}), name).await;
        }
        scene.kubectl(&["create", "service", "clusterip", "web-1", "--tcp=80"], "").await;
        let snapshot = async |filters: &[&str]| {
            let out = ["snapshot", "--out", "out"];
            let said = scene.home.run(&[&out, &scene.cluster()[..], filters].concat()).await.exits_with(0);
            let is_about_changes = filters.iter().any(|filter| filter.contains("user="));
            assert_eq!(said.contains("a snapshot shows objects, not changes"), is_about_changes, "{said}");
            let folder = scene.home.path().join("out");
            let mut found: Vec<_> = ["configmaps/filtered", "services/filtered"]
                .iter()
                .flat_map(|resource| std::fs::read_dir(folder.join("v1").join(resource)).into_iter().flatten())
                .map(|file| file.unwrap().path().strip_prefix(folder.join("v1")).unwrap().display().to_string())
                .map(|path| path.replace("/filtered", "").replace(".yaml", ""))
                .collect();
            found.sort();
            std::fs::remove_dir_all(folder).unwrap();
            found.join(" ")
        };
        let (a, b, ten, child) = ("configmaps/web-1", "configmaps/web-2", "configmaps/web-10", "configmaps/child");
        let service = "services/web-1";
        for (filters, expected) in [
            (&["--only", "name=web-?"][..], vec![a, b, service]),
            (&["--only", "name=web-? resource!=svc"], vec![a, b]),
            (&["--only", "resource=cm name=web-1|child", "--only", "kind=service"], vec![child, a, service]),
            (&["--only", "group=core", "--except", "kind=Service"], vec![child, a, ten, b]),
            (&["--only", "version=v2*", "--only", "name=child version=v1"], vec![child]),
            (&["--only", "annotation=example.com/owner"], vec![ten, b]),
            (&["--only", "annotation=example.com/owner=*-a"], vec![b]),
            (&["--only", "label=\"app in (web, api)\"", "--only", "annotation=example.com/owner=*-a"], vec![ten, b]),
            (&["--only", "owner=configmap/web-*"], vec![child]),
            (&["--only", "resource=cm", "--except", "owner=*"], vec![a, ten, b]),
            (&["--only", "manager=portal", "--except", "annotation=example.com/owner=team-b"], vec![child, b]),
            (&["--only", "manager=kubectl*"], vec![service]),
            // Of changes alone, of which a list has none.
            (&["-r", "cm", "--only", "user=nobody operation=delete"], vec![child, a, ten, b]),
        ] {
            assert_eq!(snapshot(filters).await, expected.join(" "), "{filters:?}");
        }
    });
}

#[test]
fn what_no_filter_takes_is_not_watched_and_needs_no_permission() {
    run(async {
        let scene = Scene::shared("unwatched").await;
        let kubeconfig = reader(&scene, "unwatched-reader", Some("unwatched"), &["configmaps"]).await;
        let flags =
            ["--kubeconfig", kubeconfig.to_str().unwrap(), "-n", "unwatched", "--only", "resource=cm name=web*"];
        let repo = scene.repo.url();
        let watch = scene.home.start(&[&["watch", "--log-format", "json", "--repo", &repo], &flags[..]].concat());
        watch.says(WATCHING).await;
        create(&scene.api(), config_map("other", "1")).await;
        create(&scene.api(), config_map("web", "1")).await;
        assert_subjects(&scene.history(1).await, &["[CREATE] v1/configmaps/web"]);
        let said = watch.terminate().await.exits_with(0);
        assert!(!said.contains("not allowed"), "{said}");
    });
}

#[test]
fn an_object_leaves_git_with_its_annotation_its_manager_or_when_it_gets_an_owner() {
    run(async {
        let scene = Scene::shared("leaving").await;
        let configs = scene.api::<ConfigMap>();
        let owner = create(&configs, config_map("owner", "1")).await;
        let only = ["--only", "annotation=team=a manager=portal owner!=*"];
        let watch = scene.watch(&[&["-r", "cm"], &only[..]].concat()).await;
        let annotated = || json!({"metadata": {"annotations": {"team": "a"}}, "data": {"key": "1"}});
        let (one, two, three) = ("one", "two", "three");
        for name in [one, two, three] {
            apply_as(&configs, "portal", annotated(), name).await;
        }
        let file = |name| scene.path("v1/configmaps", name);
        scene.has_files(&[file(one), file(two), file(three)]).await;
        patch(&configs, one, json!({"metadata": {"annotations": {"team": "b"}}})).await;
        scene.has_files(&[file(two), file(three)]).await;
        // Somebody else takes all of it over, and the portal lets go.
        apply_as(&configs, "other", annotated(), two).await;
        apply_as(&configs, "portal", json!({}), two).await;
        scene.has_files(&[file(three)]).await;
        let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}]);
        patch(&configs, three, json!({"metadata": {"ownerReferences": reference}})).await;
        scene.has_files(&[]).await;
        patch(&configs, one, json!({"metadata": {"annotations": {"team": "a"}}})).await;
        patch(&configs, three, json!({"metadata": {"ownerReferences": null}})).await;
        scene.has_files(&[file(one), file(three)]).await;
        // What vanishes while nobody watches goes with the next complete list, also where the file can't tell all.
        watch.terminate().await.exits_with(0);
        delete(&configs, one).await;
        let _watch = scene.watch(&[&["-r", "cm"], &only[..], &["--except", "name=none"]].concat()).await;
        scene.has_files(&[file(three)]).await;
    });
}

#[test]
fn a_user_who_is_left_out_makes_no_commit_and_the_next_change_of_the_object_brings_theirs() {
    run(async {
        let scene = Scene::shared("left-out").await;
        let (eve, bot) = (user(&scene, "eve").await, user(&scene, "robot-7").await);
        let audit_log = scene.plane.audit_log().unwrap();
        let flags = ["-r", "cm", "--audit-log", text(&audit_log)];
        let watch = scene.watch(&[&flags[..], &["--except", "user=robot-*"]].concat()).await;
        create(&eve, config_map("web", "eve's")).await;
        scene.history(1).await;
        create(&bot, config_map("cache", "1")).await;
        patch(&bot, "web", json!({"data": {"bot": "1"}})).await;
        create(&eve, config_map("db", "1")).await;
        assert_subjects(&scene.history(2).await, &["[CREATE] v1/configmaps/web", "[CREATE] v1/configmaps/db"]);
        assert!(!scene.file("v1/configmaps", "web").await.contains("bot"));
        // Nothing that stands in a file: what the bot did doesn't become Eve's.
        patch(&eve, "web", json!({"metadata": {"annotations": {"control-plane.alpha.kubernetes.io/leader": "x"}}}))
            .await;
        patch(&eve, "web", json!({"data": {"key": "2"}})).await;
        let log = scene.history(3).await;
        let told = credits(&log);
        assert_eq!(told[2], "eve [UPDATE] v1/configmaps/web");
        assert!(scene.file("v1/configmaps", "web").await.contains("bot: \"1\""));
        // Another selection begins with a complete list, which knows nothing of users.
        watch.terminate().await.exits_with(0);
        let _watch = scene.watch(&[&flags[..], &["--only", "user=robot-*"]].concat()).await;
        let path = |name| scene.path("v1/configmaps", name);
        scene.has_files(&[path("cache"), path("db"), path("web")]).await;
        patch(&eve, "web", json!({"data": {"key": "3"}})).await;
        delete(&bot, "cache").await;
        let log = scene.history(5).await;
        assert_eq!((log[4].subject(), log[4].author.as_str()), ("[DELETE] v1/configmaps/cache", "robot-7"));
        assert_eq!(log.len(), 5);
    });
}

#[test]
fn operations_that_are_left_out_leave_the_file_as_it_is() {
    run(async {
        let scene = Scene::shared("archive").await;
        let configs = scene.api::<ConfigMap>();
        let flags = ["-r", "cm", "--except", "operation=delete"];
        let watch = scene.watch(&flags).await;
        create(&configs, config_map("web", "1")).await;
        patch(&configs, "web", json!({"data": {"key": "2"}})).await;
        scene.history(2).await;
        delete(&configs, "web").await;
        create(&configs, config_map("db", "1")).await;
        let expected = ["[CREATE] v1/configmaps/web", "[UPDATE] v1/configmaps/web", "[CREATE] v1/configmaps/db"];
        assert_subjects(&scene.history(3).await, &expected);
        let files = [scene.path("v1/configmaps", "db"), scene.path("v1/configmaps", "web")];
        scene.has_files(&files).await;
        // It goes on where it stopped: the deletion has been read, and isn't read again.
        watch.terminate().await.exits_with(0);
        let _watch = scene.watch(&flags).await;
        patch(&configs, "db", json!({"data": {"key": "2"}})).await;
        assert_subjects(&scene.history(4).await[3..], &["[UPDATE] v1/configmaps/db"]);
        scene.has_files(&files).await;
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
