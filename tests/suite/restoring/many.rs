//! Very many objects.

use std::{env, fs, time::Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use reverser_testbed::git;
use reverser_tests::LIMIT;

use super::{config, says};
use crate::scene::{Scene, run};

/// How many, unless `REVERSER_RESTORE_OBJECTS` says otherwise.
const OBJECTS: usize = 1_000;

#[test]
fn very_many_objects_are_restored_and_not_written_again() {
    run(async {
        let objects = env::var("REVERSER_RESTORE_OBJECTS").map_or(OBJECTS, |count| count.parse().unwrap());
        let scene = Scene::shared("very-many").await;
        commit_many(&scene, objects).await;
        let kubeconfig = scene.plane.kubeconfig().to_str().unwrap();
        for word in ["created", "unchanged"] {
            let since = Instant::now();
            let arguments = ["restore", "--repo", "files", "--kubeconfig", kubeconfig];
            let said = scene.home.start(&arguments).end(10 * LIMIT).await.exits_with(0);
            eprintln!("{objects} objects {word} in {:?}", since.elapsed());
            says(&said, &[&format!(": {objects} {word}\n")]);
        }
        let listed = scene.api::<ConfigMap>().list_metadata(&ListParams::default()).await.unwrap();
        assert_eq!(
            listed.items.iter().filter(|item| item.metadata.name.as_ref().unwrap().starts_with("c-")).count(),
            objects
        );
    });
}

#[test]
fn a_restart_of_the_api_server_is_waited_for() {
    run(async {
        let scene = Scene::unwatched("in-between").await;
        commit_many(&scene, 2_000).await;
        let kubeconfig = scene.plane.kubeconfig().to_str().unwrap();
        let restore = scene.home.start(&["restore", "--repo", "files", "--kubeconfig", kubeconfig]);
        restore.says("created ").await;
        scene.plane.restart_api_server().await.unwrap();
        says(&restore.end(LIMIT).await.exits_with(0), &[": 2000 created\n"]);
    });
}

/// Makes a repository `files` in the home, with a ConfigMap in each of so many files.
async fn commit_many(scene: &Scene, objects: usize) {
    let folder = scene.home.path().join("files");
    fs::create_dir(&folder).unwrap();
    for number in 0..objects {
        let text = config(&scene.namespace, &format!("c-{number}"), &format!("{{key: '{number}'}}"));
        fs::write(folder.join(format!("{number}.yaml")), text).unwrap();
    }
    for arguments in [&["init", "--quiet", "-b", "main"][..], &["add", "--all"], &["commit", "--quiet", "-m", "all"]] {
        git(&folder, arguments).await.unwrap();
    }
}
