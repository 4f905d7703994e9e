//! `reverser restore`: from Git back to a cluster.

use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Secret, Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DynamicObject, ListParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use reverser_testbed::{eventually, rule};
use reverser_tests::LIMIT;
use serde_json::{Value, json};

mod many;
mod order;
mod prune;

use crate::scene::{Scene, config_map, create, delete, object, patch, run};

impl Scene {
    /// Restores the repository, with flags more; returns what is said.
    async fn restore(&self, more: &[&str], code: i32) -> String {
        let repo = self.repo.url();
        let kubeconfig = self.plane.kubeconfig().to_str().unwrap();
        let arguments = [&["restore", "--repo", &repo, "--kubeconfig", kubeconfig], more].concat();
        self.home.run(&arguments).await.exits_with(code)
    }

    async fn commits(&self, files: &[(&str, &str)]) {
        for (path, content) in files {
            self.repo.commit_as_other("main", path, content).await.unwrap();
        }
    }

    fn configs_of(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.plane.client(), namespace)
    }

    fn widgets(&self, group: &str) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", "Widget"));
        Api::namespaced_with(self.plane.client(), &self.namespace, &kind)
    }
}

fn config(namespace: &str, name: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {data}\n")
}

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

fn definition(group: &str) -> String {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let versions = json!([{"name": "v1", "served": true, "storage": true, "schema": schema}]);
    let names = json!({"kind": "Widget", "plural": "widgets", "singular": "widget", "shortNames": ["wd"]});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("widgets.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions},
    })
    .to_string()
}

fn widget(group: &str, namespace: &str, name: &str) -> String {
    json!({
        "apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": name, "namespace": namespace}, "size": 1,
    })
    .to_string()
}

#[track_caller]
fn says(said: &str, texts: &[&str]) {
    let missing: Vec<_> = texts.iter().filter(|text| !said.contains(**text)).collect();
    assert!(missing.is_empty(), "{missing:?} in:\n{said}");
}

#[test]
fn an_earlier_commit_or_time_comes_back_and_a_running_watch_records_just_that() {
    run(async {
        let scene = Scene::shared("go-back").await;
        let audit_log = scene.plane.audit_log().unwrap();
        let _watch = scene.watch(&["-r", "cm", "--audit-log", audit_log.to_str().unwrap()]).await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("web", "1")).await;
        create(&configs, config_map("same", "1")).await;
        let log = scene.history(2).await;
        let (first, time) = (log[1].id.clone(), log[1].committed_at.clone());
        // Commits know seconds.
        let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let before = second();
        let is_over = async || if second() > before { Ok(()) } else { Err("not yet") };
        eventually("the next second", LIMIT, is_over).await;
        patch(&configs, "web", json!({"metadata": {"labels": {"tier": "front"}}, "data": {"key": "2", "more": "x"}}))
            .await;
        scene.history(3).await;
        scene.restore(&[], 0).await;
        let said = scene.restore(&[], 0).await;
        says(&said, &["unchanged  configmap/web -n go-back", "2 unchanged", "Secrets aren't in the repository"]);

        // Without a word about others' fields nothing is taken from them.
        let said = scene.restore(&["--at", &first], 1).await;
        says(
            &said,
            &[
                "failed     configmap/web -n go-back (v1/configmaps/go-back/web.yaml)",
                ".data.key by",
                "--force-conflicts",
            ],
        );
        assert_eq!(configs.get("web").await.unwrap().data.unwrap()["key"], "2");

        let said = scene.restore(&["--at", &first[..8], "--force-conflicts"], 0).await;
        says(
            &said,
            &["changed    configmap/web -n go-back", &format!("restored {} (", &first[..8]), "1 changed, 1 unchanged"],
        );
        let web = configs.get("web").await.unwrap();
        assert_eq!((web.data.unwrap(), web.metadata.labels), ([("key".into(), "1".into())].into(), None));
        let log = scene.history(4).await;
        assert_eq!((log[3].subject(), log[3].author.as_str()), ("[UPDATE] v1/configmaps/web", "admin"));
        assert_eq!(
            scene.repo.read(&first, &scene.path("v1/configmaps", "web")).await.unwrap(),
            scene.file("v1/configmaps", "web").await
        );

        // There and back again, by time; what a restore has written is its own to change.
        scene.restore(&["--at", &log[2].id], 0).await;
        scene.history(5).await;
        let said = scene.restore(&["--at", &time, "--force-conflicts"], 0).await;
        says(&said, &["1 changed, 1 unchanged"]);
        let log = scene.history(6).await;
        assert_eq!(log.len(), 6);
        assert_eq!(configs.get("web").await.unwrap().data.unwrap(), [("key".into(), "1".into())].into());
    });
}

#[test]
fn definitions_namespaces_and_what_needs_them_come_in_one_go_whatever_their_files_are_called() {
    run(async {
        let scene = Scene::shared("in-one-go").await;
        let group = "one-go.example.com";
        let both = format!("{}---\n{}", config("new-space", "a", "{a: '1'}"), config("new-space", "b", "{b: '2'}"));
        scene
            .commits(&[
                ("a/widget.yaml", &widget(group, "in-one-go", "w")),
                ("b/both.yaml", &both),
                ("z/definition.json", &definition(group)),
                ("z/space.yml", &namespace("new-space")),
                ("README.md", "# kind: ConfigMap\n"),
                ("kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"),
                ("values.yaml", "kind: none\n"),
            ])
            .await;
        let said = scene.restore(&["--dry-run"], 0).await;
        says(
            &said,
            &[
                "created    widget.one-go.example.com/w -n in-one-go (dry run)",
                "created    configmap/b -n new-space (dry run)",
            ],
        );
        says(&said, &["would restore", "5 created", "3 files are no manifests"]);
        let namespaces = Api::<Namespace>::all(scene.plane.client());
        assert!(namespaces.get_opt("new-space").await.unwrap().is_none());
        let definitions = Api::<CustomResourceDefinition>::all(scene.plane.client());
        assert!(definitions.get_opt("widgets.one-go.example.com").await.unwrap().is_none());

        let said = scene.restore(&[], 0).await;
        says(&said, &["created    namespace/new-space", "5 created", "3 files are no manifests"]);
        assert_eq!(scene.widgets(group).get("w").await.unwrap().data["size"], 1);
        assert_eq!(scene.configs_of("new-space").get("b").await.unwrap().data.unwrap()["b"], "2");
        let said = scene.restore(&["--path", "b", "-o", "name"], 0).await;
        assert_eq!(said.lines().collect::<Vec<_>>().len(), 2, "{said}");
        says(&said, &["configmap/a -n new-space\n"]);
        says(&scene.restore(&[], 0).await, &["5 unchanged"]);

        // By names that only the definition in Git makes known, too.
        definitions.delete("widgets.one-go.example.com", &Default::default()).await.unwrap();
        eventually("the definition to be gone", LIMIT, async || {
            if definitions.get_opt("widgets.one-go.example.com").await.unwrap().is_none() {
                Ok(())
            } else {
                Err("there")
            }
        })
        .await;
        let said = scene.restore(&["-r", "crd", "-r", "wd"], 0).await;
        says(&said, &["2 created", "3 in Git not selected"]);
    });
}

#[test]
fn what_is_as_git_says_is_not_written_whoever_made_it_and_however_much_the_files_leave_out() {
    run(async {
        let scene = Scene::shared("untouched").await;
        scene.kubectl(&["apply", "-f", "-"], &crate::snapshot::MANIFESTS.replace("original", "untouched")).await;
        let repo = scene.repo.url();
        for profile in ["faithful", "minimal", "neat"] {
            let snapshot = ["snapshot", "--repo", &repo, "--path", profile, "--profile", profile];
            scene.home.run(&[&snapshot[..], &scene.cluster()].concat()).await.exits_with(0);
            // Controllers write to some of them for a moment.
            eventually("a restore that writes nothing", LIMIT, async || {
                let said = scene.restore(&["--path", profile, "--profile", profile], 0).await;
                if said.contains(": 10 unchanged") { Ok(()) } else { Err(said) }
            })
            .await;
        }
        let configs = scene.api::<ConfigMap>().get("words").await.unwrap();
        let managers: Vec<_> =
            configs.metadata.managed_fields.unwrap().into_iter().filter_map(|entry| entry.manager).collect();
        assert_eq!(managers, ["kubectl-client-side-apply"]);
    });
}

#[test]
fn a_dry_run_tells_changes_and_writes_nothing() {
    run(async {
        let scene = Scene::shared("only-asked").await;
        let configs = scene.api::<ConfigMap>();
        for (name, value) in [("same", "1"), ("other", "2"), ("extra", "3")] {
            create(&configs, config_map(name, value)).await;
        }
        for name in ["same", "other", "missing"] {
            scene.commits(&[(&format!("{name}.yaml"), &config("only-asked", name, "{key: '1'}"))]).await;
        }
        let look = async || {
            let listed = configs.list(&ListParams::default()).await.unwrap().items;
            listed
                .iter()
                .map(|config| (config.metadata.name.clone(), config.metadata.resource_version.clone()))
                .collect::<Vec<_>>()
        };
        let before = look().await;
        let flags = ["--dry-run", "--force-conflicts", "--prune", "-n", "only-asked", "-r", "cm"];
        let said = scene.restore(&flags, 0).await;
        says(&said, &["changed    configmap/other", "unchanged  configmap/same", "created    configmap/missing"]);
        says(
            &said,
            &[
                "Git doesn't have 1 of 3 objects",
                "deleted    configmap/extra -n only-asked (dry run)",
                "1 created, 1 changed, 1 unchanged, 1 deleted",
            ],
        );
        assert_eq!(look().await, before);

        let said = scene.restore(&[&flags[..], &["-o", "json"]].concat(), 0).await;
        let document: Value = serde_json::from_str(&said[said.find('{').unwrap()..=said.rfind('}').unwrap()]).unwrap();
        assert_eq!(document["counts"], json!({"created": 1, "changed": 1, "unchanged": 1, "deleted": 1, "failed": 0}));
        assert_eq!(document["dryRun"], true);
        let objects = document["objects"].as_array().unwrap();
        let missing = objects.iter().find(|object| object["name"] == "missing").unwrap();
        let expected = json!({
            "outcome": "created", "apiVersion": "v1", "kind": "ConfigMap", "namespace": "only-asked", "name": "missing", "file": "missing.yaml",
        });
        assert_eq!(*missing, expected);
    });
}

#[test]
fn what_fails_says_why_and_what_to_do_and_the_rest_is_restored() {
    run(async {
        let scene = Scene::shared("failing").await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, object(json!({"metadata": {"name": "fixed"}, "data": {"a": "1"}, "immutable": true}))).await;
        create(&configs, config_map("theirs", "theirs")).await;
        let claim = |mode: &str| json!({"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}});
        let theirs = object(json!({"metadata": {"name": "claim"}, "spec": claim("ReadWriteMany")}));
        create(&scene.api::<PersistentVolumeClaim>(), theirs).await;
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": claim("ReadWriteOnce"),
            "metadata": {"name": "claim", "namespace": "failing"},
        });
        scene
            .commits(&[
                ("broken.yaml", "apiVersion: v1\nkind: ConfigMap\n  metadata: {}\n"),
                ("claim.yaml", &claim.to_string()),
                ("fixed.yaml", &format!("{}immutable: true\n", config("failing", "fixed", "{a: '2'}"))),
                ("good.yaml", &config("failing", "good", "{key: '1'}")),
                ("nameless.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: failing}\n"),
                ("nowhere.yaml", &config("no-such-space", "a", "{}")),
                ("theirs.yaml", &config("failing", "theirs", "{key: ours}")),
                ("twice.yaml", &config("failing", "good", "{key: '2'}")),
                ("typed.yaml", &config("failing", "typed", "{key: 1}")),
                ("unknown.yaml", "apiVersion: nobody.example.com/v1\nkind: Gadget\nmetadata: {name: a, namespace: failing}\n"),
                ("version.yaml", "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: a, namespace: failing}\n"),
                ("wrong.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: failing}\nspec: {ports: [{port: 99999}]}\n"),
            ])
            .await;
        let said = scene.restore(&["--prune", "--yes", "-n", "failing"], 1).await;
        says(
            &said,
            &[
                "created    configmap/good -n failing",
                "failed     broken.yaml: line 3",
                "failed     nameless.yaml: line 1: the ConfigMap has no metadata.name",
                "failed     twice.yaml: line 1: ConfigMap good stands in good.yaml as well",
                "others have changed what Git has otherwise: .data.key by",
                "no Gadget of nobody.example.com/v1, and its CRD isn't in what is restored",
                "no Deployment of apps/v1beta1: it serves apps/v1 now",
                "service/a -n failing (wrong.yaml): the API server refuses it",
                "configmap/typed -n failing (typed.yaml): the API server refuses it: failed to create typed patch object",
                ".data.key: expected string, got &value.valueUnstructured{Value:1}; change it in Git",
                "nothing will be deleted",
                "1 created, 10 failed",
                "1 in Git not selected",
            ],
        );
        let said = scene.restore(&["--only", "name=fixed", "--force-conflicts"], 1).await;
        says(
            &said,
            &["configmap/fixed -n failing (fixed.yaml): ", "immutable", "kubectl delete -n failing configmaps/fixed"],
        );
        // However many lines the API server takes to explain it.
        let said = scene.restore(&["--only", "name=claim", "--force-conflicts"], 1).await;
        let line = said.lines().find(|line| line.starts_with("failed     persistentvolumeclaim/claim"));
        says(
            line.unwrap_or(&said),
            &["immutable", "\"ReadWriteMany\"", "(kubectl delete -n failing persistentvolumeclaims/claim)"],
        );
        let said = scene.restore(&["--only", "name=good user=nobody", "--dry-run"], 1).await;
        says(
            &said,
            &["user=, operation=, --ignore-user and --ignore-manager leave nothing out", "unchanged  configmap/good"],
        );
        let said = scene.restore(&["--path", "nothing"], 2).await;
        says(&said, &["--path: there are no manifests below nothing"]);
        let said = scene.restore(&["-n", "no-such-space"], 1).await;
        says(&said, &["there is no namespace no-such-space", "kubectl create namespace no-such-space"]);
        assert_eq!(configs.get("theirs").await.unwrap().data.unwrap()["key"], "theirs");
        assert_eq!(configs.get("good").await.unwrap().data.unwrap()["key"], "1");
    });
}

#[test]
fn one_kind_that_may_not_be_written_keeps_no_other_from_being_restored() {
    run(async {
        let scene = Scene::shared("half-allowed").await;
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: half-allowed}\nspec: {ports: [{port: 80}]}\n";
        scene.commits(&[("service.yaml", service), ("config.yaml", &config("half-allowed", "a", "{key: '1'}"))]).await;
        let kubeconfig = scene.plane.user("half-allowed-writer", &[]).unwrap();
        let rules = vec![rule(&["get", "create", "patch"], "", &["configmaps"])];
        scene.plane.grant("half-allowed-writer", Some("half-allowed"), rules).await.unwrap();
        let repo = scene.repo.url();
        let arguments = ["restore", "--repo", &repo, "--kubeconfig", kubeconfig.to_str().unwrap(), "--force-conflicts"];
        for word in ["created", "unchanged"] {
            let said = scene.home.run(&arguments).await.exits_with(1);
            says(
                &said,
                &[
                    &format!("{word:<10} configmap/a"),
                    "not allowed to get, create, patch services in namespace half-allowed",
                ],
            );
            says(
                &said,
                &["grant a Role with {apiGroups: [\"\"], resources: [\"services\"], verbs: [get, create, patch]}"],
            );
        }
        assert!(scene.api::<Service>().get_opt("a").await.unwrap().is_none());
    });
}

#[test]
fn text_that_yaml_does_not_allow_is_restored_as_it_was() {
    run(async {
        let scene = Scene::shared("odd-text").await;
        let configs = scene.api::<ConfigMap>();
        let text = "a\u{7f}\u{85}\u{9b}\u{a0}\u{2028}\u{2029}\u{feff}\u{ffff}\u{1f980}\tb\r\n \n";
        let odd = json!({"metadata": {"name": "odd"}, "data": {"text": text, "empty": "", "on": "no"}});
        let odd: ConfigMap = create(&configs, object(odd)).await;
        let repo = scene.repo.url();
        let snapshot = [&["snapshot", "--repo", &repo, "-r", "cm"], &scene.cluster()[..]].concat();
        scene.home.run(&snapshot).await.exits_with(0);
        delete(&configs, "odd").await;
        says(&scene.restore(&[], 0).await, &["1 created"]);
        assert_eq!(configs.get("odd").await.unwrap().data, odd.data);
        says(&scene.restore(&[], 0).await, &["1 unchanged"]);
        // And changed where it is there.
        patch(&configs, "odd", json!({"data": {"text": "x"}})).await;
        says(&scene.restore(&["--force-conflicts"], 0).await, &["1 changed"]);
        assert_eq!(configs.get("odd").await.unwrap().data, odd.data);
    });
}

#[test]
fn a_file_made_of_a_live_object_is_applied_and_an_encrypted_one_never() {
    run(async {
        let scene = Scene::shared("by-hand").await;
        let raw = scene.kubectl(&["create", "service", "clusterip", "web", "--tcp=80", "-o", "yaml"], "").await;
        assert!(raw.contains("uid:") && raw.contains("resourceVersion:"), "{raw}");
        let sealed = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: by-hand}\nstringData: {a: 'ENC[x]'}\nsops: {mac: 'ENC[y]'}\n";
        scene.commits(&[("web.yaml", &raw), ("db.sops.yaml", sealed)]).await;
        delete(&scene.api::<Service>(), "web").await;
        let said = scene.restore(&[], 0).await;
        says(&said, &["created    service/web", "1 encrypted, and left out"]);
        assert!(scene.api::<Secret>().get_opt("db").await.unwrap().is_none());
        // Later fields of others go, the cluster's own stay.
        let services = scene.api::<Service>();
        let before = services.get("web").await.unwrap().spec.unwrap().cluster_ip;
        patch(&services, "web", json!({"spec": {"sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.1"]}})).await;
        scene.restore(&["--force-conflicts"], 0).await;
        let after = services.get("web").await.unwrap().spec.unwrap();
        assert_eq!((after.cluster_ip, after.external_ips), (before, None));
        assert_eq!(after.session_affinity.as_deref(), Some("None"));
    });
}

#[test]
fn what_was_asked_wrongly_exits_with_2_and_says_what_to_do() {
    run(async {
        let scene = Scene::shared("asked-wrongly").await;
        scene.commits(&[("a.yaml", &config("asked-wrongly", "a", "{key: '1'}"))]).await;
        for (flags, said) in [
            (&["--at", "deadbeef"][..], "--at: "),
            (&["--at", "deadbeef"], "has no commit \"deadbeef\""),
            (&["--at", "2020-01-01T00:00:00Z"], "give a later time"),
            (&["--at", "2020-13-01T00:00:00Z"], "write a time like 2026-11-21T10:00:00Z"),
            (&["--branch", "mian"], "--branch: "),
            (&["--yes"], "--prune"),
            (&["-r", "svc"], "none of the 1 objects"),
            (&["-r", "gadgets"], "serves no resource \"gadgets\""),
            (&["--path", "../x"], "--path"),
        ] {
            let all = scene.restore(flags, 2).await;
            assert!(all.contains(said), "{flags:?}: {all}");
        }
        assert!(scene.api::<ConfigMap>().get_opt("a").await.unwrap().is_none());
        let said = scene
            .home
            .run(&["restore", "--repo", "nowhere.git", "--kubeconfig", scene.plane.kubeconfig().to_str().unwrap()])
            .await;
        says(&said.exits_with(1), &["there is no git repository at"]);
    });
}

#[test]
fn an_object_on_its_way_out_and_one_of_a_kind_without_a_definition_are_told() {
    run(async {
        let scene = Scene::shared("on-its-way").await;
        let configs = scene.api::<ConfigMap>();
        let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
        configs.create(&PostParams::default(), &object(held)).await.unwrap();
        delete(&configs, "held").await;
        scene.commits(&[("held.yaml", &config("on-its-way", "held", "{key: '1'}"))]).await;
        says(&scene.restore(&[], 1).await, &["it is being deleted", "run this again"]);
        patch(&configs, "held", json!({"metadata": {"finalizers": null}})).await;
        says(&scene.restore(&[], 0).await, &["1 created"]);
    });
}
