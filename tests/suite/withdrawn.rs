//! What can no longer be listed: files stay, the log and a metric say so, and the others go on.

use std::path::{Path, PathBuf};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
};
use reverser_testbed::{Ending, TcpProxy, eventually, rule};
use reverser_tests::LIMIT;
use serde_json::{Value, json};

use crate::{
    authors::text,
    metrics::Endpoint,
    scene::{Scene, WATCHING, assert_subjects, config_map, crd, create, create_many, delete, object, patch, run},
};

#[test]
fn a_permission_that_is_taken_away_leaves_files_and_the_others_go_on() {
    run(async {
        let scene = Scene::shared("withdrawn").await;
        let (reader, reads) = ("withdrawn-reader", |resource| vec![rule(&["get", "list", "watch"], "", &[resource])]);
        let kubeconfig = scene.plane.user(reader, &[]).unwrap();
        for resource in ["services", "configmaps"] {
            scene.plane.grant(reader, None, reads(resource)).await.unwrap();
        }
        let service =
            |name: &str| object::<Service>(json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}));
        create(&scene.api(), service("web")).await;
        let proxy = TcpProxy::start(scene.plane.address()).await.unwrap();
        let kubeconfig = through(&scene, &proxy, &kubeconfig);
        let flags = ["--kubeconfig", text(&kubeconfig), "-r", "configmaps,services", "--only", "namespace=withdrawn"];
        let repo = scene.repo.url();
        let begin = ["watch", "--log-format", "json", "--metrics-listen", "0", "--repo", &repo];
        let watch = scene.home.start(&[&begin[..], &flags].concat());
        watch.says(WATCHING).await;
        let endpoint = Endpoint::of(&watch).await;
        create(&scene.api(), config_map("web", "1")).await;
        scene.history(2).await;

        scene.plane.revoke(reader).await.unwrap();
        scene.plane.grant(reader, None, reads("configmaps")).await.unwrap();
        // A watch goes on until it ends.
        proxy.end(Ending::Cut);
        watch.says("not allowed to list services: grant a ClusterRole with").await;
        let unwatched = r#"reverser_unwatched{resource="v1/services",reason="forbidden"}"#;
        endpoint.has(unwatched, |value| value == Some(1.0)).await;
        patch(&scene.api::<ConfigMap>(), "web", json!({"data": {"key": "2"}})).await;
        delete(&scene.api::<Service>(), "web").await;
        create(&scene.api(), service("db")).await;
        scene.history(3).await;
        let (web, file) = (scene.path("v1/services", "web"), scene.path("v1/configmaps", "web"));
        scene.has_files(&[file.clone(), web]).await;
        assert!(endpoint.get("/readyz").await.contains("200 OK"), "the others go on");

        scene.plane.grant(reader, None, reads("services")).await.unwrap();
        scene.has_files(&[file, scene.path("v1/services", "db")]).await;
        let (deleted, created) = ("[DELETE] v1/services/web", "[CREATE] v1/services/db");
        assert_subjects(&scene.history(5).await[3..], &[deleted, created]);
        endpoint.has(unwatched, |value| value.is_none()).await;
        let said = watch.terminate().await.exits_with(0);
        assert_eq!(said.matches("not allowed to").count(), 1, "{said}");
    });
}

#[test]
fn the_files_of_a_kind_that_was_removed_meanwhile_stay_and_are_told_of() {
    run(async {
        let scene = Scene::unwatched("removed-kind").await;
        let crds = Api::<CustomResourceDefinition>::all(scene.plane.client());
        let widgets = ApiResource {
            group: "example.com".into(),
            version: "v1".into(),
            api_version: "example.com/v1".into(),
            kind: "Widget".into(),
            plural: "widgets".into(),
        };
        let widgets = Api::<DynamicObject>::namespaced_with(scene.plane.client(), "removed-kind", &widgets);
        let widget = |name: &str| {
            object::<DynamicObject>(
                json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}}),
            )
        };
        let establish = async || {
            create(&crds, crd("example.com", "Widget")).await;
            let is_there =
                async || widgets.list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string());
            eventually("the kind to be served", LIMIT, is_there).await;
        };
        establish().await;
        let watch = scene.watch(&["--only", "group=example.com", "--only", "resource=cm"]).await;
        create(&widgets, widget("a")).await;
        create(&widgets, widget("b")).await;
        scene.history(2).await;
        watch.terminate().await.exits_with(0);

        delete(&crds, "widgets.example.com").await;
        let is_gone = async || match crds.get_opt("widgets.example.com").await.unwrap() {
            None => Ok(()),
            Some(crd) => Err(crd.status),
        };
        eventually("the kind to be gone", LIMIT, is_gone).await;
        let flags = ["--only", "group=example.com", "--only", "resource=cm", "--metrics-listen", "0"];
        // Also with another state folder, which knows nothing of what was watched once.
        let state = scene.home.path().join("other");
        let watch = scene.watch(&[&flags[..], &["--state-dir", text(&state)]].concat()).await;
        said(&watch, "no longer served: its files stay");
        watch.terminate().await.exits_with(0);
        let watch = scene.watch(&flags).await;
        let endpoint = Endpoint::of(&watch).await;
        let line = said(&watch, "no longer served: its files stay");
        assert_eq!((&line["resource"], &line["files"]), (&json!("example.com/v1/widgets"), &json!(2)), "{line}");
        endpoint.has(r#"reverser_unserved_files{resource="example.com/v1/widgets"}"#, |value| value == Some(2.0)).await;
        create(&scene.api(), config_map("web", "1")).await;
        assert_subjects(&scene.history(3).await[2..], &["[CREATE] v1/configmaps/web"]);
        let file = |name: &str| format!("example.com/v1/widgets/removed-kind/{name}.yaml");
        let web = scene.path("v1/configmaps", "web");
        scene.has_files(&[file("a"), file("b"), web.clone()]).await;

        // Served again, it is listed: only what is there now is left.
        establish().await;
        create(&widgets, widget("b")).await;
        scene.has_files(&[file("b"), web]).await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn the_files_of_a_namespace_that_was_deleted_meanwhile_go_unless_they_are_very_many() {
    run(async {
        let scene = Scene::alone("deleted").await;
        create_many(&scene.api(), "n", 30, "x").await;
        let flags = ["-r", "configmaps"];
        let watch = scene.watch(&flags).await;
        scene.history(1).await;
        let files = scene.repo.files("main").await.unwrap();
        watch.terminate().await.exits_with(0);
        let namespaces = Api::<Namespace>::all(scene.plane.client());
        delete(&namespaces, "deleted").await;
        let is_gone = async || match namespaces.get_opt("deleted").await.unwrap() {
            None => Ok(()),
            Some(namespace) => Err(namespace.status),
        };
        eventually("the namespace to be gone", LIMIT, is_gone).await;
        // Nobody remembers what happened: there is a list alone.
        scene.plane.restart_api_server().await.unwrap();
        scene.plane.compact().await.unwrap();
        let watch = scene.watch(&flags).await;
        watch.says("sweep held").await;
        scene.has_files(&files).await;
        watch.terminate().await.exits_with(0);
        let watch = scene.watch(&[&flags[..], &["--allow-mass-delete"]].concat()).await;
        scene.has_files(&[]).await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_list_that_breaks_off_half_way_deletes_nothing() {
    run(async {
        // Two pages, of about 500 objects and the rest.
        const OBJECTS: usize = 560;
        const PAGE_BYTES: u64 = 500 * 4_000;
        let scene = Scene::shared("half-way").await;
        create_many(&scene.api(), "n", OBJECTS, &"x".repeat(4_000)).await;
        let snapshot = async |kubeconfig: &str| {
            let repo = scene.repo.url();
            let flags = ["snapshot", "--repo", &repo, "-n", "half-way", "-r", "configmaps", "--kubeconfig", kubeconfig];
            scene.home.run(&flags).await
        };
        snapshot(text(scene.plane.kubeconfig())).await.exits_with(0);
        let files = scene.repo.files("main").await.unwrap();
        assert!(files.len() >= OBJECTS, "{}", files.len());

        let proxy = TcpProxy::start(scene.plane.address()).await.unwrap();
        let kubeconfig = through(&scene, &proxy, scene.plane.kubeconfig());
        proxy.end_after(PAGE_BYTES + PAGE_BYTES / 20, Ending::Cut);
        let (mut again, ended) =
            (tokio::time::interval(std::time::Duration::from_millis(5)), snapshot(text(&kubeconfig)));
        tokio::pin!(ended);
        let mut broken = 0;
        let ended = loop {
            tokio::select! {
                ended = &mut ended => break ended,
                // Each try breaks off.
                _ = again.tick() => if proxy.broken() > broken {
                    broken = proxy.broken();
                    proxy.end_after(PAGE_BYTES + PAGE_BYTES / 20, Ending::Reset);
                },
            }
        };
        ended.exits_with(1);
        assert!(proxy.broken() >= 2, "{} tries", proxy.broken());
        assert_eq!(scene.repo.files("main").await.unwrap(), files);
        assert_eq!(scene.repo.log("main").await.unwrap().len(), 1);
    });
}

/// Returns a copy of a kubeconfig that leads through the proxy.
fn through(scene: &Scene, proxy: &TcpProxy, kubeconfig: &Path) -> PathBuf {
    let direct = std::fs::read_to_string(kubeconfig).unwrap();
    let proxied = direct.replace(&scene.plane.url(), &format!("https://{}", proxy.address()));
    assert_ne!(direct, proxied);
    let path = scene.home.path().join("proxied.kubeconfig");
    std::fs::write(&path, proxied).unwrap();
    path
}

/// Returns the line of the log that says this.
fn said(watch: &reverser_tests::Running, text: &str) -> Value {
    let said = watch.said();
    let line = said.lines().find(|line| line.contains(text));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{text}: {said}"))).unwrap()
}
