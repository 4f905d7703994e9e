//! `reverser snapshot`: what is there, once; and it can be applied again.

use std::{collections::BTreeMap, fs, path::Path, time::SystemTime};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;

use crate::scene::{Scene, assert_subjects, config_map, create, delete, object, output_of, run};

#[test]
fn a_second_snapshot_writes_only_what_has_changed_and_removes_what_is_gone() {
    run(async {
        let scene = Scene::shared("twice").await;
        let configs = scene.api::<ConfigMap>();
        for name in ["a", "b"] {
            create(&configs, config_map(name, "1")).await;
        }
        let arguments = [&["snapshot", "--out", "out"], &scene.cluster()[..]].concat();
        let said = scene.home.run(&arguments).await.exits_with(0);
        assert!(said.contains("written to out"), "{said}");
        let out = scene.home.path().join("out");
        fs::write(out.join("notes.txt"), "mine\n").unwrap();
        fs::write(out.join("v1/configmaps/twice/hand-written.yaml"), "# mine\n").unwrap();
        let first = files(&out);
        scene.home.run(&arguments).await.exits_with(0);
        assert_eq!(files(&out), first, "nothing differed, and nothing is written");
        delete(&configs, "b").await;
        scene.home.run(&arguments).await.exits_with(0);
        let mut expected = first;
        expected.remove("v1/configmaps/twice/b.yaml");
        assert_eq!(files(&out), expected);
    });
}

#[test]
fn a_snapshot_into_a_repository_is_one_commit_and_none_when_nothing_differs() {
    run(async {
        let scene = Scene::shared("committed").await;
        let configs = scene.api::<ConfigMap>();
        for name in ["a", "b"] {
            create(&configs, config_map(name, "1")).await;
        }
        let repo = scene.repo.url();
        let arguments = [&["snapshot", "--repo", &repo], &scene.cluster()[..]].concat();
        scene.home.run(&arguments).await.exits_with(0);
        scene.home.run(&arguments).await.exits_with(0);
        delete(&configs, "b").await;
        scene.home.run(&arguments).await.exits_with(0);
        let log = scene.repo.log("main").await.unwrap();
        assert_subjects(&log, &["[SYNC] 2 objects", "[SYNC] 1 object, 1 removed"]);
        assert_eq!(scene.repo.files("main").await.unwrap(), [scene.path("v1/configmaps", "a")]);
    });
}

#[test]
fn a_sweep_that_would_delete_most_files_is_held_until_it_is_allowed() {
    run(async {
        let scene = Scene::shared("swept").await;
        let configs = scene.api::<ConfigMap>();
        for number in 0..25 {
            create(&configs, config_map(&format!("c-{number}"), "1")).await;
        }
        let repo = scene.repo.url();
        let arguments = [&["snapshot", "--repo", &repo, "-r", "configmaps"], &scene.cluster()[..]].concat();
        scene.home.run(&arguments).await.exits_with(0);
        configs
            .delete_collection(&DeleteParams::default(), &ListParams::default().fields("metadata.name!=c-0"))
            .await
            .unwrap();
        let said = scene.home.run(&arguments).await.exits_with(1);
        assert!(said.contains("sweep held") && said.contains("--allow-mass-delete"), "{said}");
        assert_eq!(scene.repo.files("main").await.unwrap().len(), 25);
        scene.home.run(&[&arguments[..], &["--allow-mass-delete"]].concat()).await.exits_with(0);
        assert_eq!(scene.repo.files("main").await.unwrap(), [scene.path("v1/configmaps", "c-0")]);
    });
}

#[test]
fn what_a_snapshot_writes_can_be_applied_elsewhere_and_gives_the_same_files() {
    run(async {
        let scene = Scene::shared("original").await;
        scene.kubectl(&["apply", "-f", "-"], MANIFESTS).await;
        let snapshot = async |out: &str, namespace: &str| {
            let cluster = ["--kubeconfig", scene.plane.kubeconfig().to_str().unwrap(), "-n", namespace];
            scene.home.run(&[&["snapshot", "--out", out], &cluster[..]].concat()).await.exits_with(0);
            let texts = files(&scene.home.path().join(out)).into_iter();
            texts.map(|(path, (text, _))| (path, text)).collect::<BTreeMap<_, _>>()
        };
        let original = snapshot("original", "original").await;
        assert_eq!(original.len(), 10, "{:?}", original.keys());

        let namespaces = Api::<Namespace>::all(scene.plane.client());
        create(&namespaces, object(json!({"metadata": {"name": "the-copy"}}))).await;
        let rename = |text: &str| text.replace("original", "the-copy");
        let copy = scene.home.path().join("to-apply");
        for (path, text) in &original {
            let path = copy.join(rename(path));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, rename(text)).unwrap();
        }
        for dry_run in ["--dry-run=server", "--dry-run=none"] {
            let mut kubectl = scene.plane.kubectl(scene.plane.kubeconfig()).await.unwrap();
            kubectl.args(["create", dry_run, "--recursive", "-f"]).arg(&copy);
            output_of(kubectl, "").await;
        }
        let renamed = original.iter().map(|(path, text)| (rename(path), rename(text))).collect();
        assert_eq!(snapshot("again", "the-copy").await, renamed);
    });
}

/// Returns the texts of all files below, by path, and when they were written.
fn files(folder: &Path) -> BTreeMap<String, (String, SystemTime)> {
    fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, (String, SystemTime)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                let written = fs::metadata(&path).unwrap().modified().unwrap();
                found.insert(name, (fs::read_to_string(&path).unwrap(), written));
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(folder, folder, &mut found);
    found
}

/// One of each kind whose fields a server fills in.
pub(crate) const MANIFESTS: &str = r##"
apiVersion: v1
kind: ConfigMap
metadata: {name: words, annotations: {note: "", "yes": "no"}}
immutable: true
data: {country: "no", empty: "", number: "0x1F", script: "#!/bin/sh\nexit 0\n"}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
automountServiceAccountToken: false
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: robot, containers: [{name: web, image: "registry.invalid/web:1", ports: [{name: http, containerPort: 80}]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: once, image: "registry.invalid/once:1"}]}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: robot, namespace: original}]
"##;
