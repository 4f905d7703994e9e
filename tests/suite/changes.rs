//! Each change of an object is one commit; what nobody changed is none.

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use reverser_testbed::eventually;
use reverser_tests::LIMIT;
use serde_json::json;

use crate::scene::{Scene, assert_subjects, config_map, crd, create, delete, object, patch, run, subjects};

#[test]
fn a_creation_an_update_and_a_deletion_are_a_commit_each() {
    run(async {
        let scene = Scene::shared("orders").await;
        let _watch = scene.watch(&[]).await;
        scene
            .kubectl(&["create", "configmap", "web", "--from-literal=color=on", "--from-literal=motd=a\nb\n"], "")
            .await;
        let log = scene.history(1).await;
        assert_subjects(&log, &["[CREATE] v1/configmaps/web"]);
        insta::assert_snapshot!(scene.file("v1/configmaps", "web").await, @r#"
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: web
          namespace: orders
        data:
          color: "on"
          motd: |
            a
            b
        "#);

        let manifest = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: web, labels: {tier: front}}, data: {color: 'off'}}";
        scene.kubectl(&["replace", "-f", "-"], manifest).await;
        scene.history(2).await;
        insta::assert_snapshot!(scene.file("v1/configmaps", "web").await, @r#"
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: web
          namespace: orders
          labels:
            tier: front
        data:
          color: "off"
        "#);

        scene.kubectl(&["delete", "configmap", "web"], "").await;
        let log = scene.history(3).await;
        assert_subjects(&log[1..], &["[UPDATE] v1/configmaps/web", "[DELETE] v1/configmaps/web"]);
        assert_eq!(scene.repo.files("main").await.unwrap(), [""; 0]);
    });
}

#[test]
fn a_commit_says_which_version_of_which_object_it_is() {
    run(async {
        let scene = Scene::shared("trailers").await;
        let _watch = scene.watch(&[]).await;
        let made = create(&scene.api(), config_map("web", "1")).await.metadata;
        let log = scene.history(1).await;
        let (uid, version) = (made.uid.unwrap(), made.resource_version.unwrap());
        let message = log[0].message.replace(&uid, "UID").replace(&version, "VERSION");
        insta::assert_snapshot!(message, @r"
        [CREATE] v1/configmaps/web

        Namespace: trailers

        Reverser-Evidence: unknown
        Reverser-Uid: UID
        Reverser-Resource-Version: VERSION
        ");
        assert_eq!((log[0].author.as_str(), log[0].author_email.as_str()), ("reverser", "reverser@cluster.local"));
        let trailers = scene.repo.git(&["log", "-1", "--format=%(trailers:key=Reverser-Uid,valueonly)", "main"]).await;
        assert_eq!(trailers.unwrap().trim(), uid);
    });
}

#[test]
fn the_name_that_the_server_generates_is_the_files_name() {
    run(async {
        let scene = Scene::shared("generated").await;
        let _watch = scene.watch(&[]).await;
        let manifest = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {generateName: run-}, data: {n: '1'}}";
        let name = scene.kubectl(&["create", "-f", "-", "-o", "jsonpath={.metadata.name}"], manifest).await;
        let log = scene.history(1).await;
        assert_subjects(&log, &[&format!("[CREATE] v1/configmaps/{name}")]);
        let file = scene.file("v1/configmaps", &name).await;
        assert!(file.contains(&format!("name: {name}\n")), "{file}");
    });
}

#[test]
fn a_server_side_apply_is_one_commit_whether_it_creates_or_changes() {
    run(async {
        let scene = Scene::shared("applied").await;
        let _watch = scene.watch(&[]).await;
        let apply =
            |data: &str| format!("---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: web}}, data: {{{data}}}}}");
        let server_side = ["apply", "--server-side", "-f", "-"];
        scene.kubectl(&server_side, &apply("a: '1'")).await;
        scene.history(1).await;
        scene.kubectl(&server_side, &apply("a: '1', b: '2'")).await;
        let log = scene.history(2).await;
        assert_subjects(&log, &["[CREATE] v1/configmaps/web", "[UPDATE] v1/configmaps/web"]);
        insta::assert_snapshot!(scene.file("v1/configmaps", "web").await, @r#"
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: web
          namespace: applied
        data:
          a: "1"
          b: "2"
        "#);
    });
}

#[test]
fn a_client_side_apply_leaves_no_last_applied_annotation() {
    run(async {
        let scene = Scene::shared("client-side").await;
        let _watch = scene.watch(&[]).await;
        let manifest = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: web}, data: {a: '1'}}";
        scene.kubectl(&["apply", "-f", "-"], manifest).await;
        scene.history(1).await;
        let file = scene.file("v1/configmaps", "web").await;
        assert!(!file.contains("last-applied") && file.contains("a: \"1\""), "{file}");
    });
}

#[test]
fn a_deployment_is_recorded_as_its_users_change_it_and_not_what_controllers_make_of_it() {
    run(async {
        let scene = Scene::shared("scaled").await;
        let _watch = scene.watch(&[]).await;
        scene.kubectl(&["create", "deployment", "web", "--image=registry.invalid/web:1"], "").await;
        scene.history(1).await;
        // From here on its controller has made a ReplicaSet and Pods, and written annotations and its status.
        seen_by_its_controller(&scene.api(), "web", 1).await;
        scene.kubectl(&["scale", "deployment", "web", "--replicas=3"], "").await;
        scene.history(2).await;
        seen_by_its_controller(&scene.api(), "web", 2).await;
        let image =
            r#"{"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "registry.invalid/web:2"}]}}}}"#;
        scene.kubectl(&["patch", "deployment", "web", "--patch", image], "").await;
        scene.history(3).await;
        seen_by_its_controller(&scene.api(), "web", 3).await;
        delete(&scene.api::<Deployment>(), "web").await;
        let log = scene.history(4).await;
        assert_subjects(
            &log,
            &[
                "[CREATE] apps/v1/deployments/web",
                "[UPDATE] apps/v1/deployments/web",
                "[UPDATE] apps/v1/deployments/web",
                "[DELETE] apps/v1/deployments/web",
            ],
        );
        let path = scene.path("apps/v1/deployments", "web");
        let diff = async |commit: &str| {
            scene.repo.git(&["show", "--format=", "--unified=0", commit, "--", &path]).await.unwrap()
        };
        let changed = |diff: String| {
            let is_change =
                |line: &&str| line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---");
            diff.lines().filter(is_change).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(changed(diff(&log[1].id).await), ["-  replicas: 1", "+  replicas: 3"]);
        let images = ["-      - image: registry.invalid/web:1", "+      - image: registry.invalid/web:2"];
        assert_eq!(changed(diff(&log[2].id).await), images);
    });
}

#[test]
fn writes_that_change_nothing_a_user_authored_make_no_commit() {
    run(async {
        let scene = Scene::shared("no-ops").await;
        let _watch = scene.watch(&[]).await;
        let deployments = scene.api::<Deployment>();
        let web = json!({"metadata": {"name": "web"}, "spec": {"replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}}});
        create(&deployments, object(web)).await;
        scene.history(1).await;
        // Another status, another owner of the same field, the same value again.
        let status = json!({"status": {"conditions": [{"type": "Checked", "status": "True"}]}});
        deployments.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        let same = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 0}});
        deployments.patch("web", &PatchParams::apply("another"), &Patch::Apply(same)).await.unwrap();
        patch(&deployments, "web", json!({"spec": {"replicas": 0}})).await;
        // Changes of one resource land in their order: what comes last shows that nothing came between.
        patch(&deployments, "web", json!({"metadata": {"labels": {"last": "yes"}}})).await;
        let log = scene.history(2).await;
        assert_subjects(&log, &["[CREATE] apps/v1/deployments/web", "[UPDATE] apps/v1/deployments/web"]);
        let file = scene.file("apps/v1/deployments", "web").await;
        assert!(file.contains("last: \"yes\"") && !file.contains("Checked"), "{file}");
    });
}

#[test]
fn deletions_that_a_list_shows_first_count_as_seen_and_a_later_object_of_that_name_is_another() {
    run(async {
        // More than a sweep removes of what is only missing.
        const HELD: usize = 25;
        let scene = Scene::shared("dying").await;
        let configs = scene.api::<ConfigMap>();
        let mut config = config_map("kept", "1");
        create(&configs, config.clone()).await;
        config.metadata.finalizers = Some(vec!["example.com/hold".into()]);
        let name = |number: usize| format!("held-{number}");
        for number in 0..HELD {
            config.metadata.name = Some(name(number));
            create(&configs, config.clone()).await;
        }
        let path = |name: &str| scene.path("v1/configmaps", name);
        let all: Vec<_> = (0..HELD).map(|number| path(&name(number))).chain([path("kept")]).collect();
        // Each with a state folder of its own, so that it lists.
        let listing = async |state: &str| scene.watch(&["-r", "configmaps", "--state-dir", state]).await;
        let watch = listing("first").await;
        scene.has_files(&all).await;
        watch.terminate().await.exits_with(0);

        for number in 0..HELD {
            delete(&configs, &name(number)).await;
        }
        let watch = listing("second").await;
        scene.has_files(&[path("kept")]).await;
        assert!(!watch.said().contains("sweep held"), "{}", watch.said());
        let commits = scene.repo.log("main").await.unwrap().len();
        let let_go = async |name: &str| patch(&configs, name, json!({"metadata": {"finalizers": null}})).await;
        let_go(&name(0)).await;
        create(&configs, config_map(&name(0), "again")).await;
        let log = scene.history(commits + 1).await;
        assert_subjects(&log[commits..], &["[CREATE] v1/configmaps/held-0"]);
        watch.terminate().await.exits_with(0);

        // Its end and its successor's beginning, both unseen.
        let_go(&name(1)).await;
        create(&configs, config_map(&name(1), "again")).await;
        let watch = listing("third").await;
        scene.has_files(&[path("kept"), path(&name(0)), path(&name(1))]).await;
        patch(&configs, &name(1), json!({"data": {"key": "changed"}})).await;
        let log = scene.history(commits + 3).await;
        assert_eq!(log[commits + 2].subject(), "[UPDATE] v1/configmaps/held-1");
        watch.terminate().await.exits_with(0);
        for number in 2..HELD {
            let_go(&name(number)).await;
        }
    });
}

#[test]
fn a_deletion_is_one_commit_when_it_is_accepted_whatever_finalizers_still_do() {
    run(async {
        let scene = Scene::shared("finalized").await;
        let _watch = scene.watch(&[]).await;
        let configs = scene.api::<ConfigMap>();
        let mut held = config_map("held", "1");
        held.metadata.finalizers = Some(vec!["example.com/hold".into()]);
        create(&configs, held).await;
        delete(&configs, "held").await;
        scene.history(2).await;
        assert!(configs.get("held").await.unwrap().metadata.deletion_timestamp.is_some());
        patch(&configs, "held", json!({"metadata": {"finalizers": null}})).await;
        create(&configs, config_map("last", "1")).await;
        let log = scene.history(3).await;
        let expected = ["[CREATE] v1/configmaps/held", "[DELETE] v1/configmaps/held", "[CREATE] v1/configmaps/last"];
        assert_subjects(&log, &expected);
    });
}

#[test]
fn what_goes_in_one_request_is_a_commit_each() {
    run(async {
        let scene = Scene::shared("collected").await;
        let _watch = scene.watch(&[]).await;
        let configs = scene.api::<ConfigMap>();
        for name in ["a", "b", "c"] {
            create(&configs, config_map(name, "1")).await;
        }
        scene.history(3).await;
        configs.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        let log = scene.history(6).await;
        let mut gone: Vec<_> = subjects(&log[3..]).collect();
        gone.sort_unstable();
        assert_eq!(gone, ["a", "b", "c"].map(|name| format!("[DELETE] v1/configmaps/{name}")));
    });
}

#[test]
fn what_is_there_already_becomes_one_commit() {
    run(async {
        let scene = Scene::shared("first-sync").await;
        for name in ["a", "b", "c"] {
            create(&scene.api(), config_map(name, "1")).await;
        }
        scene.kubectl(&["create", "serviceaccount", "robot"], "").await;
        let _watch = scene.watch(&[]).await;
        let log = scene.history(1).await;
        assert_subjects(&log, &["[SYNC] 4 objects"]);
        create(&scene.api(), config_map("d", "1")).await;
        let log = scene.history(2).await;
        assert_subjects(&log[1..], &["[CREATE] v1/configmaps/d"]);
        let mut files = ["a", "b", "c", "d"].map(|name| scene.path("v1/configmaps", name)).to_vec();
        files.push(scene.path("v1/serviceaccounts", "robot"));
        assert_eq!(scene.repo.files("main").await.unwrap(), files);
    });
}

#[test]
fn a_resource_that_comes_up_while_watching_is_recorded_change_by_change() {
    run(async {
        let scene = Scene::shared("new-kind").await;
        let watch = scene.watch(&[]).await;
        let crds = Api::<CustomResourceDefinition>::all(scene.plane.client());
        let (name, group) = ("teapots.new-kind.example.com", "new-kind.example.com");
        create(&crds, crd(group, "Teapot")).await;
        await_condition(crds.clone(), name, is_crd_established()).await.unwrap();
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", "Teapot"));
        let teapots = Api::<DynamicObject>::namespaced_with(scene.plane.client(), &scene.namespace, &kind);
        let teapot = |name: &str| {
            object(json!({"apiVersion": format!("{group}/v1"), "kind": "Teapot",
            "metadata": {"name": name}, "spec": {"litres": 1, "empty": {}}}))
        };
        // Some before it is watched, some after.
        create(&teapots, teapot("brown")).await;
        create(&teapots, teapot("white")).await;
        watch.says("teapots").await;
        patch(&teapots, "white", json!({"spec": {"litres": 2}})).await;
        let subject = |operation: &str, name: &str| format!("[{operation}] {group}/v1/teapots/{name}");
        eventually("the last change", LIMIT, async || {
            let log = scene.repo.log("main").await.unwrap();
            let file = scene.repo.read("main", &scene.path(&format!("{group}/v1/teapots"), "white")).await;
            if file.is_ok_and(|file| file.contains("litres: 2")) { Ok(()) } else { Err(log) }
        })
        .await;
        let log = scene.repo.log("main").await.unwrap();
        let count = |wanted: &str| log.iter().filter(|commit| commit.subject() == wanted).count();
        assert_eq!((count(&subject("CREATE", "brown")), count(&subject("CREATE", "white"))), (1, 1), "{log:?}");
        insta::assert_snapshot!(scene.file(&format!("{group}/v1/teapots"), "white").await, @r"
        apiVersion: new-kind.example.com/v1
        kind: Teapot
        metadata:
          name: white
          namespace: new-kind
        spec:
          empty: {}
          litres: 2
        ");

        delete(&crds, name).await;
        scene.has_files(&[]).await;
        let log = scene.repo.log("main").await.unwrap();
        let count = |wanted: &str| log.iter().filter(|commit| commit.subject() == wanted).count();
        assert_eq!((count(&subject("DELETE", "brown")), count(&subject("DELETE", "white"))), (1, 1), "{log:?}");
        // And the watch is none the worse for it.
        create(&scene.api::<ConfigMap>(), config_map("after", "1")).await;
        scene.has_files(&[scene.path("v1/configmaps", "after")]).await;
    });
}

/// Waits until the Deployment's controller has taken note of this generation and made its ReplicaSet.
async fn seen_by_its_controller(deployments: &Api<Deployment>, name: &str, generation: i64) {
    eventually("the controller", LIMIT, async || {
        let status = deployments.get(name).await.unwrap().status.unwrap_or_default();
        let is_done = status.observed_generation >= Some(generation) && status.updated_replicas > Some(0);
        if is_done { Ok(()) } else { Err(status) }
    })
    .await;
}
