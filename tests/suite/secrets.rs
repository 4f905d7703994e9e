//! No Secret is ever written, by no command.

use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use reverser_testbed::BareRepo;
use serde_json::json;

use crate::scene::{Scene, config_map, create, delete, object, patch, run};

/// In clear, and as the API shows it.
const VALUES: [&str; 4] = ["xyzzy-plugh", "eHl6enktcGx1Z2g=", "xyzzy-later", "eHl6enktbGF0ZXI="];

#[test]
fn a_secret_is_in_no_repository_no_folder_and_no_log() {
    run(async {
        let scene = Scene::shared("secrets").await;
        let secrets = scene.api::<Secret>();
        create(&secrets, secret("before", VALUES[0])).await;
        create(&scene.api(), config_map("before", "1")).await;
        let watch = scene.watch(&[]).await;
        create(&secrets, secret("while", VALUES[0])).await;
        patch(&secrets, "before", json!({"stringData": {"password": VALUES[2]}})).await;
        scene.kubectl(&["apply", "-f", "-"], &serde_json::to_string(&applied()).unwrap()).await;
        delete(&secrets, "while").await;
        create(&scene.api(), config_map("after", "1")).await;
        scene.history(2).await;
        let mut said = watch.terminate().await.exits_with(0);
        assert!(said.contains("Secrets are left out"), "{said}");

        let named = ["snapshot", "--out", "folder", "--resource", "secrets,configmaps"];
        said += &scene.home.run(&[&named[..], &scene.cluster()].concat()).await.exits_with(0);
        let everything = ["snapshot", "--repo", "./snapshot.git", "--include", "all"];
        said += &scene.home.run(&[&everything[..], &scene.cluster()].concat()).await.exits_with(0);
        let audit_log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(audit_log.path(), [applied(), config()].map(|object| format!("{}\n", audited(object))).concat())
            .unwrap();
        let replay = ["replay", audit_log.path().to_str().unwrap(), "--repo", "./replay.git"];
        said += &scene.home.run(&replay).await.exits_with(0);

        assert_clean("what was said", &said);
        let repos = [
            scene.repo.path().to_owned(),
            scene.home.path().join("snapshot.git"),
            scene.home.path().join("replay.git"),
        ];
        for repo in repos.into_iter().chain(bare_repositories(&scene.home.path().join(".local/state/reverser"))) {
            let (objects, name) = (objects(&BareRepo::existing(&repo)).await, repo.display());
            assert!(objects.contains("kind: ConfigMap"), "{name} is not what was to be searched");
            assert_clean(&name.to_string(), &objects);
        }
        let mut files = 0;
        for_each_file(scene.home.path(), &mut |path, text| {
            files += 1;
            assert_clean(&path.display().to_string(), text);
        });
        assert!(files > 10, "{files} files are not all that was to be searched");
    });
}

fn secret(name: &str, value: &str) -> Secret {
    object(json!({"metadata": {"name": name}, "stringData": {"password": value}}))
}

/// kubectl leaves a copy of the value in an annotation.
fn applied() -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "applied"}, "data": {"password": VALUES[1]}})
}

fn config() -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"}, "data": {"key": "value"}})
}

/// Returns the audit event of its creation, with the bodies that a careless audit policy logs.
fn audited(mut object: serde_json::Value) -> serde_json::Value {
    object["metadata"]["namespace"] = "secrets".into();
    let (name, plural) =
        (object["metadata"]["name"].clone(), format!("{}s", object["kind"].as_str().unwrap().to_lowercase()));
    json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "stage": "ResponseComplete",
        "verb": "create", "user": {"username": "ann"}, "responseStatus": {"code": 201}, "requestObject": object,
        "objectRef": {"resource": plural, "namespace": "secrets", "name": name, "apiVersion": "v1"},
        "responseObject": object, "stageTimestamp": "2026-01-01T00:00:00.000000Z"})
}

#[track_caller]
fn assert_clean(name: &str, text: &str) {
    for value in VALUES {
        assert!(!text.contains(value), "{value} is in {name}");
    }
}

/// Returns all objects of a repository, those included that no ref leads to.
async fn objects(repo: &BareRepo) -> String {
    repo.git(&["cat-file", "--batch-all-objects", "--batch", "--unordered"]).await.unwrap()
}

fn bare_repositories(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for_each_file(folder, &mut |path, _| {
        if path.ends_with("HEAD") && path.with_file_name("objects").is_dir() {
            found.push(path.parent().unwrap().to_owned());
        }
    });
    assert!(!found.is_empty(), "no state in {}", folder.display());
    found
}

fn for_each_file(folder: &Path, look: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_file(&path, look);
        } else {
            look(&path, &String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }
}
