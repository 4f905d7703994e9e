//! What comes, goes and changes its version while reverser runs, and while it doesn't.

use k8s_openapi::{
    api::core::v1::ConfigMap, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use reverser_testbed::{ExtensionServer, eventually, rule};
use reverser_tests::LIMIT;
use serde_json::{Value, json};

use crate::scene::{Scene, WATCHING, config_map, create, delete, object, patch, run, subjects};

#[test]
fn a_version_that_is_added_preferred_and_dropped_moves_the_files_once_each_time() {
    run(async {
        let scene = Scene::unwatched("moved").await;
        let widgets = Widgets::define(&scene, [("v1beta1", true)]).await;
        let watch = scene.watch(&[]).await;
        widgets.make(MANY).await;
        scene.has_files(&widgets.files("v1beta1")).await;

        widgets.serve(json!([version("v1beta1", true, false), version("v1", true, true)])).await;
        scene.has_files(&widgets.files("v1")).await;
        widgets.migrate().await;
        widgets.serve(json!([version("v1beta1", false, false), version("v1", true, true)])).await;
        widgets.forget("v1").await;
        widgets.serve(json!([version("v1", true, true)])).await;
        widgets.patch_first(json!({"spec": {"size": 2}})).await;
        let first = widgets.files("v1")[0].clone();
        contains(&scene, &first, "size: 2").await;
        scene.has_files(&widgets.files("v1")).await;

        let log = scene.repo.log("main").await.unwrap();
        let created = format!("[CREATE] {}/", widgets.group);
        // A server that begins anew with a kind, as one does when its CRD changes, has forgotten what came before: the last
        // change may be seen by a list.
        assert_eq!(subjects(&log).filter(|subject| subject.starts_with(&created)).count(), MANY);
        assert_eq!(
            log.len(),
            MANY + 2,
            "each created, all moved, one changed: {:?}",
            subjects(&log).collect::<Vec<_>>()
        );
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_version_that_changes_while_reverser_is_away_moves_the_files_once() {
    run(async {
        let scene = Scene::unwatched("away").await;
        let widgets = Widgets::define(&scene, [("v1alpha1", true)]).await;
        let watch = scene.watch(&[]).await;
        widgets.make(MANY).await;
        scene.has_files(&widgets.files("v1alpha1")).await;
        watch.terminate().await.exits_with(0);

        widgets.serve(json!([version("v1alpha1", true, false), version("v1", true, true)])).await;
        widgets.migrate().await;
        widgets.serve(json!([version("v1alpha1", false, false), version("v1", true, true)])).await;
        widgets.forget("v1").await;
        // The version that stands in the files is known to nobody any more.
        widgets.serve(json!([version("v1", true, true)])).await;
        let watch = scene.watch(&[]).await;
        scene.has_files(&widgets.files("v1")).await;
        watch.terminate().await.exits_with(0);
        assert_eq!(scene.repo.log("main").await.unwrap().len(), MANY + 1);
        // And the next start has nothing to do.
        scene.watch(&[]).await.terminate().await.exits_with(0);
        assert_eq!(scene.repo.log("main").await.unwrap().len(), MANY + 1);
    });
}

#[test]
fn a_version_that_is_asked_for_stays_until_it_is_not_served() {
    run(async {
        let scene = Scene::unwatched("asked-for").await;
        let widgets = Widgets::define(&scene, [("v1beta1", true), ("v1", false)]).await;
        let name = format!("widgets.v1beta1.{}", widgets.group);
        let watch = scene.watch(&["-r", &name]).await;
        widgets.make(1).await;
        scene.has_files(&widgets.files("v1beta1")).await;
        watch.terminate().await.exits_with(0);
        let watch = scene.watch(&["-r", &name]).await;
        widgets
            .serve(json!([version("v1beta1", true, false), version("v1", true, true), version("v2", true, false)]))
            .await;
        widgets.patch_first(json!({"spec": {"size": 2}})).await;
        contains(&scene, &widgets.files("v1beta1")[0], "size: 2").await;
        scene.has_files(&widgets.files("v1beta1")).await;
        widgets
            .serve(json!([version("v1beta1", false, false), version("v1", true, true), version("v2", true, false)]))
            .await;
        scene.has_files(&widgets.files("v2")).await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_kind_that_was_removed_while_reverser_was_away_keeps_its_files() {
    run(async {
        let scene = Scene::unwatched("removed").await;
        let widgets = Widgets::define(&scene, [("v1", true)]).await;
        let watch = scene.watch(&[]).await;
        widgets.make(2).await;
        scene.has_files(&widgets.files("v1")).await;
        watch.terminate().await.exits_with(0);
        delete(&widgets.crds, &widgets.name()).await;
        await_gone(&widgets.crds, &widgets.name()).await;
        let watch = scene.watch(&[]).await;
        create(&scene.api::<ConfigMap>(), config_map("after", "1")).await;
        let mut files = widgets.files("v1");
        files.push(scene.path("v1/configmaps", "after"));
        scene.has_files(&files).await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_kind_that_is_defined_and_not_served_at_a_start_goes_on_where_it_stopped() {
    run(async {
        let scene = Scene::unwatched("interrupted").await;
        let widgets = Widgets::define(&scene, [("v1", true)]).await;
        let watch = scene.watch(&[]).await;
        widgets.make(3).await;
        scene.has_files(&widgets.files("v1")).await;
        watch.terminate().await.exits_with(0);
        for size in [2, 3] {
            widgets.patch_first(json!({"spec": {"size": size}})).await;
        }
        delete(&widgets.api("v1"), "w-01").await;
        // As for a moment after each start of an API server.
        patch(&widgets.crds, &widgets.name(), json!({"spec": {"versions": [version("v1", false, true)]}})).await;
        let api = widgets.api("v1");
        eventually("it to be served no more", LIMIT, async || match api.list(&ListParams::default()).await {
            Err(error) if matches!(&error, kube::Error::Api(status) if status.code == 404) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let watch = scene.watch(&[]).await;
        create(&scene.api::<ConfigMap>(), config_map("meanwhile", "1")).await;
        let config = scene.path("v1/configmaps", "meanwhile");
        scene.has_files(&[widgets.files("v1"), vec![config.clone()]].concat()).await;
        widgets.serve(json!([version("v1", true, true)])).await;
        scene.has_files(&[widgets.files("v1")[0].clone(), widgets.files("v1")[2].clone(), config]).await;
        watch.terminate().await.exits_with(0);

        let log = scene.repo.log("main").await.unwrap();
        let name = |operation: &str, name: &str| format!("[{operation}] {}/v1/widgets/{name}", widgets.group);
        let expected = [name("UPDATE", "w-00"), name("UPDATE", "w-00"), name("DELETE", "w-01")];
        let made = 1 + widgets.count.get(); // and the ConfigMap
        assert_eq!(subjects(&log).skip(made).collect::<Vec<_>>(), expected);
    });
}

#[test]
fn who_starts_together_with_the_api_server_finds_the_kinds_of_crds() {
    run(async {
        let scene = Scene::unwatched("together").await;
        let widgets = Widgets::define(&scene, [("v1", true)]).await;
        widgets.make(1).await;
        let (name, url) = (widgets.name(), scene.repo.url());
        let arguments = [&["snapshot", "--repo", &url, "-r", &name][..], &scene.cluster()].concat();
        for _restart in 0..3 {
            scene.plane.stop_api_server();
            let snapshot = async {
                loop {
                    let snapshot = scene.home.run(&arguments).await;
                    if !snapshot.said.contains("could not reach") {
                        return snapshot.exits_with(0);
                    }
                }
            };
            let (started, _taken) = tokio::join!(scene.plane.start_api_server(), snapshot);
            started.unwrap();
        }
        assert_eq!(scene.repo.files("main").await.unwrap(), widgets.files("v1"));
    });
}

#[test]
fn who_may_not_watch_crds_sees_new_kinds_all_the_same() {
    run(async {
        let scene = Scene::unwatched("blind").await;
        let kubeconfig = scene.plane.user("blind", &[]).unwrap();
        let verbs = ["get", "list", "watch"];
        let rules = vec![rule(&verbs, "", &["configmaps"]), rule(&verbs, "blind.example.com", &["*"])];
        scene.plane.grant("blind", Some(&scene.namespace), rules).await.unwrap();
        let (config, url) = (kubeconfig.to_str().unwrap(), scene.repo.url());
        let arguments =
            ["watch", "--log-format", "json", "--repo", &url, "--kubeconfig", config, "--namespace", &scene.namespace];
        let watch = scene.home.start(&arguments);
        watch.says(WATCHING).await;
        let widgets = Widgets::define(&scene, [("v1", true)]).await;
        widgets.make(1).await;
        scene.has_files(&widgets.files("v1")).await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn an_api_service_that_is_away_keeps_its_files_and_goes_on_when_it_is_back() {
    run(async {
        let scene = Scene::unwatched("notes").await;
        let group = "notes.example.com";
        let (namespace, configs) = (scene.namespace.as_str(), scene.api::<ConfigMap>());
        let watch = scene.watch(&[]).await;
        let mut server = ExtensionServer::start(&scene.plane, group).await.unwrap();
        server.put(namespace, "a", "one");
        let note = |name: &str| scene.path(&format!("{group}/v1/notes"), name);
        let config = |name: &str| scene.path("v1/configmaps", name);
        scene.has_files(&[note("a")]).await;

        // It is away: its files stay, and the others go on.
        server.stop().await.unwrap();
        server.put(namespace, "b", "one");
        create(&configs, config_map("meanwhile", "1")).await;
        scene.has_files(&[note("a"), config("meanwhile")]).await;
        server.resume().await.unwrap();
        scene.has_files(&[note("a"), note("b"), config("meanwhile")]).await;

        // It is away while reverser starts, and while the API server does, which then knows nothing of it.
        server.stop().await.unwrap();
        watch.terminate().await.exits_with(0);
        scene.plane.restart_api_server().await.unwrap();
        server.put(namespace, "a", "two");
        server.delete(namespace, "b");
        let watch = scene.watch(&[]).await;
        create(&configs, config_map("started", "1")).await;
        scene.has_files(&[note("a"), note("b"), config("meanwhile"), config("started")]).await;
        server.resume().await.unwrap();
        contains(&scene, &note("a"), "text: two").await;
        scene.has_files(&[note("a"), config("meanwhile"), config("started")]).await;

        // It is taken away, and comes again.
        server.unregister().await.unwrap();
        create(&configs, config_map("without", "1")).await;
        let all = [note("a"), config("meanwhile"), config("started"), config("without")];
        scene.has_files(&all).await;
        server.register_again(&scene.plane).await.unwrap();
        server.put(namespace, "a", "three");
        contains(&scene, &note("a"), "text: three").await;
        scene.has_files(&all).await;
        watch.terminate().await.exits_with(0);
        let log = scene.repo.log("main").await.unwrap();
        let of_notes: Vec<_> = subjects(&log).filter(|subject| subject.contains("notes.example.com")).collect();
        let one = |operation: &str, name: &str| format!("[{operation}] {group}/v1/notes/{name}");
        let expected =
            [one("CREATE", "a"), one("CREATE", "b"), one("UPDATE", "a"), one("DELETE", "b"), one("UPDATE", "a")];
        assert_eq!(of_notes, expected);
    });
}

/// More than a sweep may delete.
const MANY: usize = 25;

/// A kind of this test alone, in a group that is called like its namespace.
struct Widgets<'a> {
    scene: &'a Scene,
    crds: Api<CustomResourceDefinition>,
    group: String,
    count: std::cell::Cell<usize>,
}

impl<'a> Widgets<'a> {
    /// Defines it in these versions, of which one is stored.
    async fn define<const N: usize>(scene: &'a Scene, versions: [(&str, bool); N]) -> Self {
        let group = format!("{}.example.com", scene.namespace);
        let crds = Api::<CustomResourceDefinition>::all(scene.plane.client());
        let widgets = Self { scene, crds, group, count: 0.into() };
        let versions: Vec<_> = versions.iter().map(|(name, is_stored)| version(name, true, *is_stored)).collect();
        let names = json!({"kind": "Widget", "plural": "widgets", "singular": "widget"});
        let crd = json!({"metadata": {"name": widgets.name()}, "spec": {"group": widgets.group, "scope": "Namespaced",
            "names": names, "versions": versions}});
        create(&widgets.crds, object(crd)).await;
        await_condition(widgets.crds.clone(), &widgets.name(), is_crd_established()).await.unwrap();
        widgets
    }

    fn name(&self) -> String {
        format!("widgets.{}", self.group)
    }

    /// Serves these versions instead.
    async fn serve(&self, versions: Value) {
        let first = versions[0]["name"].clone();
        patch(&self.crds, &self.name(), json!({"spec": {"versions": versions.clone()}})).await;
        let version = versions.as_array().unwrap().iter().find(|one| one["served"] == true).unwrap()["name"].clone();
        let kind = self.kind(version.as_str().unwrap());
        let all = Api::<DynamicObject>::all_with(self.scene.plane.client(), &kind);
        eventually(&format!("{version} to be served, {first} as it is to be"), LIMIT, async || {
            all.list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Says that objects are stored in this version alone.
    async fn forget(&self, version: &str) {
        let status = json!({"status": {"storedVersions": [version]}});
        let patch = kube::api::Patch::Merge(status);
        self.crds.patch_status(&self.name(), &kube::api::PatchParams::default(), &patch).await.unwrap();
    }

    /// Makes so many.
    async fn make(&self, count: usize) {
        self.count.set(count);
        let stored = self.crds.get(&self.name()).await.unwrap().spec.versions;
        let version = stored.iter().find(|version| version.storage).unwrap().name.clone();
        let widgets = self.api(&version);
        for number in 0..count {
            let widget = json!({"apiVersion": format!("{}/{version}", self.group), "kind": "Widget",
                "metadata": {"name": format!("w-{number:02}")}, "spec": {"size": 1}});
            eventually("a widget to be taken", LIMIT, async || {
                let taken = widgets.create(&PostParams::default(), &object(widget.clone())).await;
                taken.map(drop).map_err(|error| error.to_string())
            })
            .await;
        }
    }

    /// Writes each once more as it is, as a migration of the storage does.
    async fn migrate(&self) {
        let widgets = self.api("v1");
        for widget in widgets.list(&ListParams::default()).await.unwrap() {
            let name = widget.metadata.name.clone().unwrap();
            let version = widget.metadata.resource_version.clone();
            let stored = widgets.replace(&name, &PostParams::default(), &widget).await.unwrap();
            assert_ne!(stored.metadata.resource_version, version, "it was stored in another version before");
        }
    }

    async fn patch_first(&self, change: Value) {
        patch(&self.api("v1"), "w-00", change).await;
    }

    /// Returns where they all stand, with their files in this version.
    fn files(&self, version: &str) -> Vec<String> {
        let folder = format!("{}/{version}/widgets", self.group);
        (0..self.count.get()).map(|number| self.scene.path(&folder, &format!("w-{number:02}"))).collect()
    }

    fn kind(&self, version: &str) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(&self.group, version, "Widget"))
    }

    fn api(&self, version: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.scene.plane.client(), &self.scene.namespace, &self.kind(version))
    }
}

fn version(name: &str, is_served: bool, is_stored: bool) -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({"name": name, "served": is_served, "storage": is_stored, "schema": {"openAPIV3Schema": anything}})
}

/// Waits until a file of the branch contains this.
async fn contains(scene: &Scene, path: &str, text: &str) {
    eventually(&format!("{text:?} in {path}"), LIMIT, async || {
        let file = scene.repo.read("main", path).await.map_err(|error| error.to_string())?;
        if file.contains(text) { Ok(()) } else { Err(file) }
    })
    .await;
}

async fn await_gone(crds: &Api<CustomResourceDefinition>, name: &str) {
    eventually("the CRD to be gone", LIMIT, async || match crds.get_opt(name).await.unwrap() {
        None => Ok(()),
        Some(crd) => Err(crd.status),
    })
    .await;
}
