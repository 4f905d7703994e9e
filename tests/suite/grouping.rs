//! Fewer commits, and fewer pushes: what gathers is neither lost nor anybody else's.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use reverser_testbed::{BareRepo, LoggedCommit, eventually};
use reverser_tests::LIMIT;
use serde_json::json;

use crate::{
    authors::{text, user},
    scene::{Scene, assert_subjects, config_map, create, delete, patch, run},
};

#[test]
fn the_bursts_of_two_users_are_few_commits_each_by_its_user_with_all_that_they_did() {
    run(async {
        const OBJECTS: usize = 60;
        let scene = Scene::shared("grouped").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let audit_log = scene.plane.audit_log().unwrap();
        let watch = scene.watch(&["-r", "configmaps", "--audit-log", text(&audit_log), "--group", "actor"]).await;
        tokio::join!(burst(&ann, "ann", OBJECTS), burst(&ben, "ben", OBJECTS));
        let shared = ["shared"].map(str::to_owned);
        create(&ann, config_map(&shared[0], "ann")).await;
        patch(&ben, &shared[0], json!({"data": {"key": "ben"}})).await;
        let names =
            ["ann", "ben"].into_iter().flat_map(|user| (0..OBJECTS).map(move |number| format!("{user}-{number}")));
        let paths: Vec<_> = names.chain(shared).map(|name| scene.path("v1/configmaps", &name)).collect();
        scene.has_files(&paths).await;
        eventually("the last change", LIMIT, async || {
            let file = scene.file("v1/configmaps", "shared").await;
            if file.contains("key: ben") { Ok(()) } else { Err(file) }
        })
        .await;
        watch.terminate().await.exits_with(0);

        let log = scene.repo.log("main").await.unwrap();
        assert!(log.len() <= OBJECTS, "{} commits for {} changes", log.len(), 4 * OBJECTS + 2);
        for user in ["ann", "ben"] {
            assert!(scene.file("v1/configmaps", &format!("{user}-0")).await.contains("key: \"2\""));
            // Whatever a commit says, its files are its author's.
            let changed = scene.repo.git(&["log", "--author", user, "--name-only", "--format=", "main"]).await.unwrap();
            let others = changed
                .lines()
                .filter(|line| !line.is_empty())
                .filter(|line| !line.contains(&format!("/{user}-")) && !line.ends_with("/shared.yaml"));
            assert_eq!(others.collect::<Vec<_>>(), [""; 0], "{user}");
        }
        let authors: BTreeMap<_, usize> = log.iter().fold(BTreeMap::new(), |mut authors, commit| {
            *authors.entry(commit.author.as_str()).or_default() += changes(commit);
            authors
        });
        assert_eq!(authors, [("ann", 2 * OBJECTS + 1), ("ben", 2 * OBJECTS + 1)].into());
        scene.repo.fsck().await.unwrap();
    });
}

#[test]
fn an_interval_is_one_commit_that_names_all_users() {
    run(async {
        let scene = Scene::shared("interval").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let audit_log = scene.plane.audit_log().unwrap();
        // Long enough for all of it, and ended by the last change.
        let until_full = ["--group", "interval", "--group-max-age", "1h", "--group-max-changes", "4"];
        let flags = [&["-r", "configmaps", "--audit-log", text(&audit_log)][..], &until_full].concat();
        let watch = scene.watch(&flags).await;
        create(&ann, config_map("web", "1")).await;
        patch(&ben, "web", json!({"data": {"key": "2"}})).await;
        create(&ben, config_map("db", "1")).await;
        create(&ann, config_map("last", "1")).await;
        let log = scene.history(1).await;
        let message = &log[0].message;
        for line in ["Reverser-Actor: ann", "Reverser-Actor: ben", "Co-authored-by: ben <ben@cluster.local>"] {
            assert!(message.contains(line), "{message}");
        }
        assert_eq!(log[0].author, "reverser");
        assert_subjects(&log, &["[CREATE] 3 objects"]);
        assert_eq!(changes(&log[0]), 4);
        assert!(scene.file("v1/configmaps", "web").await.contains("key: \"2\""));
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_kill_while_changes_gather_loses_and_doubles_nothing() {
    run(async {
        let scene = Scene::shared("gathering").await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("first", "1")).await;
        let forever = ["-r", "configmaps", "--group", "actor", "--group-quiet", "1h", "--group-max-changes", "10"];
        let watch = scene.watch(&forever).await;
        scene.history(1).await;
        // One window that is full, and most of another one.
        for number in 0..16 {
            create(&configs, config_map(&format!("n-{number:02}"), "1")).await;
        }
        delete(&configs, "first").await;
        let log = scene.history(2).await;
        assert_subjects(&log, &["[SYNC] 1 object", "[CREATE] 10 objects"]);
        watch.kill().await;
        patch(&configs, "n-15", json!({"data": {"key": "2"}})).await;
        assert_eq!(scene.repo.log("main").await.unwrap().len(), 2, "what gathered was in memory alone");

        let watch = scene.watch(&["-r", "configmaps", "--group", "actor"]).await;
        let paths: Vec<_> = (0..16).map(|number| scene.path("v1/configmaps", &format!("n-{number:02}"))).collect();
        scene.has_files(&paths).await;
        watch.terminate().await.exits_with(0);
        let log = scene.repo.log("main").await.unwrap();
        assert_eq!(
            log[1..].iter().map(changes).sum::<usize>(),
            18,
            "16 creations, a deletion and an update, each once"
        );
        assert!(scene.file("v1/configmaps", "n-15").await.contains("key: \"2\""));
        scene.repo.fsck().await.unwrap();
        for state in std::fs::read_dir(scene.home.path().join(".local/state/reverser")).unwrap() {
            BareRepo::existing(state.unwrap().path().join("repository.git")).fsck().await.unwrap();
        }
    });
}

#[test]
fn commits_that_rest_go_out_at_the_end() {
    run(async {
        let scene = Scene::shared("rests").await;
        let watch = scene.watch(&["-r", "configmaps", "--push-interval", "1h", "--push-max-commits", "3"]).await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("a", "1")).await;
        scene.history(1).await;
        for name in ["b", "c", "d"] {
            create(&configs, config_map(name, "1")).await;
        }
        scene.history(4).await;
        create(&configs, config_map("e", "1")).await;
        watch.says_times(5, r#""message":"committed""#).await;
        watch.terminate().await.exits_with(0);
        assert_eq!(scene.history(5).await.len(), 5);
    });
}

/// How many changes a commit stands for.
fn changes(commit: &LoggedCommit) -> usize {
    let trailer = commit.message.lines().find_map(|line| line.strip_prefix("Reverser-Changes: "));
    trailer.map_or(1, |changes| changes.parse().unwrap())
}

/// Creates so many ConfigMaps over four connections, each of which is then changed.
async fn burst(configs: &Api<ConfigMap>, user: &str, count: usize) {
    stream::iter(0..count)
        .map(async |number| {
            let name = format!("{user}-{number}");
            create(configs, config_map(&name, "1")).await;
            patch(configs, &name, json!({"data": {"key": "2"}})).await;
            Ok::<_, ()>(())
        })
        .buffer_unordered(4)
        .try_collect::<()>()
        .await
        .unwrap();
}
