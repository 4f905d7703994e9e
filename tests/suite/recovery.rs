//! Nothing is lost or doubled: by a crash, by an API server that has forgotten, by a remote that is away.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use reverser_testbed::{BareRepo, GitHttp, Outage, eventually};
use reverser_tests::LIMIT;
use serde_json::json;

use crate::scene::{Scene, assert_subjects, config_map, create, create_many, delete, history, patch, run, subjects};

#[test]
fn after_a_time_away_that_the_api_server_has_forgotten_git_is_as_the_cluster_is() {
    run(async {
        let scene = Scene::unwatched("away").await;
        let watch = scene.watch(&[]).await;
        let configs = scene.api::<ConfigMap>();
        for name in ["gone", "changed", "kept"] {
            create(&configs, config_map(name, "1")).await;
        }
        scene.history(3).await;
        watch.kill().await;
        delete(&configs, "gone").await;
        patch(&configs, "changed", json!({"data": {"key": "2"}})).await;
        create(&configs, config_map("made", "1")).await;
        scene.plane.restart_api_server().await.unwrap();
        scene.plane.compact().await.unwrap();

        let watch = scene.watch(&[]).await;
        scene.has_files(&["changed", "kept", "made"].map(|name| scene.path("v1/configmaps", name))).await;
        assert!(scene.file("v1/configmaps", "changed").await.contains("key: \"2\""));
        create(&configs, config_map("later", "1")).await;
        eventually("the change after", LIMIT, async || {
            let log = scene.repo.log("main").await.unwrap();
            if log.last().unwrap().subject() == "[CREATE] v1/configmaps/later" { Ok(()) } else { Err(log) }
        })
        .await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn history_that_the_api_server_remembers_and_etcd_has_forgotten_is_lost_at_once_and_not_piece_by_piece() {
    run(async {
        let scene = Scene::unwatched("remembered").await;
        let watch = scene.watch(&["-r", "configmaps"]).await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("web", "0")).await;
        scene.history(1).await;
        watch.pause().await;
        // Once so that no connection tells it, once so that it is forgotten.
        scene.plane.restart_api_server().await.unwrap();
        patch(&configs, "web", json!({"data": {"key": "lost"}})).await;
        scene.plane.restart_api_server().await.unwrap();
        // Lists of these versions come from its memory, single objects from etcd.
        for number in 1..=10 {
            patch(&configs, "web", json!({"data": {"key": number.to_string()}})).await;
        }
        scene.plane.compact().await.unwrap();
        patch(&configs, "web", json!({"data": {"key": "last"}})).await;
        watch.resume().await;
        let log = scene.history(3).await;
        assert_subjects(&log, &["[CREATE] v1/configmaps/web", "[SYNC] 1 object", "[UPDATE] v1/configmaps/web"]);
        assert!(scene.file("v1/configmaps", "web").await.contains("key: last"));
        let said = watch.terminate().await.exits_with(0);
        assert_eq!(said.matches("history lost").count(), 1, "{said}");
    });
}

/// What is logged when Git was brought in line with a complete list.
const SYNCED: &str = r#""message":"synced""#;

#[test]
fn a_watch_survives_an_api_server_that_restarts_without_its_history() {
    run(async {
        let scene = Scene::unwatched("restarted").await;
        let watch = scene.watch(&[]).await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("gone", "1")).await;
        create(&configs, config_map("kept", "1")).await;
        scene.history(2).await;
        scene.plane.stop_api_server();
        watch.says("not watched for the moment").await;
        scene.plane.start_api_server().await.unwrap();
        watch.says("watched again").await;

        // Held, so that it asks for what came after the last version that it saw only when that is forgotten.
        let synced = watch.said().matches(SYNCED).count();
        watch.pause().await;
        scene.plane.restart_api_server().await.unwrap();
        delete(&configs, "gone").await;
        create(&configs, config_map("made", "1")).await;
        scene.plane.restart_api_server().await.unwrap();
        scene.plane.compact().await.unwrap();
        watch.resume().await;
        scene.has_files(&["kept", "made"].map(|name| scene.path("v1/configmaps", name))).await;
        // It was told 410, and read everything anew.
        watch.says_times(synced + 1, SYNCED).await;
        watch.terminate().await.exits_with(0);
        scene.repo.fsck().await.unwrap();
    });
}

#[test]
fn while_nobody_watches_changes_wait_and_are_each_a_commit_later() {
    run(async {
        let scene = Scene::shared("resumed").await;
        scene.watch(&[]).await.terminate().await.exits_with(0);
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("web", "1")).await;
        patch(&configs, "web", json!({"data": {"key": "2"}})).await;
        scene.watch(&[]).await.terminate().await.exits_with(0);
        patch(&configs, "web", json!({"data": {"key": "3"}})).await;
        delete(&configs, "web").await;
        let _watch = scene.watch(&[]).await;
        let log = scene.history(4).await;
        let expected =
            ["CREATE", "UPDATE", "UPDATE", "DELETE"].map(|operation| format!("[{operation}] v1/configmaps/web"));
        assert_eq!(subjects(&log).collect::<Vec<_>>(), expected);
    });
}

/// What is logged when a push fails, and no more for as long as it fails in the same way.
const FAILED: &str = "a push failed;";

#[test]
fn a_remote_that_is_away_holds_up_nobody_and_gets_every_commit_when_it_is_back() {
    run(async {
        let scene = Scene::shared("outage").await;
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        let watch = scene.watch_into(&server.url("team.git"), &[]).await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("before", "1")).await;
        history(&repo, 1).await;
        let mut expected = vec!["[CREATE] v1/configmaps/before".to_owned()];
        for (number, outage) in
            [Outage::Unavailable, Outage::DropConnections, Outage::DropAnswers].into_iter().enumerate()
        {
            let failures = watch.said().matches(FAILED).count();
            server.fail(Some(outage));
            for name in ["a", "b", "c"] {
                let name = format!("{name}{number}");
                create(&configs, config_map(&name, "1")).await;
                expected.push(format!("[CREATE] v1/configmaps/{name}"));
            }
            watch.says_times(failures + 1, FAILED).await;
            server.fail(None);
            let log = history(&repo, expected.len()).await;
            assert_eq!(subjects(&log).collect::<Vec<_>>(), expected);
            watch.says_times(number + 1, "pushed again").await;
        }
        watch.terminate().await.exits_with(0);
        repo.fsck().await.unwrap();
    });
}

#[test]
fn what_could_not_be_pushed_goes_out_at_the_next_start_although_nothing_changes() {
    run(async {
        let scene = Scene::shared("unpushed").await;
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        let watch = scene.watch_into(&server.url("team.git"), &[]).await;
        server.fail(Some(Outage::Unavailable));
        create(&scene.api(), config_map("web", "1")).await;
        watch.says("committed").await;
        watch.kill().await;
        server.fail(None);
        let watch = scene.watch_into(&server.url("team.git"), &[]).await;
        let log = history(&repo, 1).await;
        assert_subjects(&log, &["[CREATE] v1/configmaps/web"]);
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_kill_in_a_burst_loses_nothing_and_doubles_nothing() {
    run(async {
        const OBJECTS: usize = 400;
        let scene = Scene::shared("killed").await;
        create(&scene.api(), config_map("first", "1")).await;
        let watch = scene.watch(&["-r", "configmaps"]).await;
        scene.history(1).await;
        let configs = scene.api::<ConfigMap>();
        let burst = tokio::spawn(async move { create_many(&configs, "burst", OBJECTS, "1").await });
        // Twice, each time when some more are on their way.
        let mut watch = watch;
        for part in [OBJECTS / 10, OBJECTS / 3] {
            eventually("a part of the burst", LIMIT, async || {
                let commits = scene.repo.git(&["rev-list", "--count", "main"]).await.unwrap();
                if commits.parse::<usize>().unwrap() > part { Ok(()) } else { Err(commits) }
            })
            .await;
            watch.kill().await;
            watch = scene.watch(&["-r", "configmaps"]).await;
        }
        burst.await.unwrap();
        let log = scene.history(OBJECTS + 1).await;
        watch.terminate().await.exits_with(0);
        let mut times = BTreeMap::new();
        for subject in subjects(&log) {
            *times.entry(subject).or_insert(0) += 1;
        }
        let wrong: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
        assert!(wrong.is_empty() && times.len() == OBJECTS + 1, "{} subjects, {wrong:?}", times.len());
        assert_eq!(scene.repo.log("main").await.unwrap().len(), OBJECTS + 1, "nothing came after");
        assert_eq!(scene.repo.files("main").await.unwrap().len(), OBJECTS + 1);
        scene.repo.fsck().await.unwrap();
        for state in std::fs::read_dir(scene.home.path().join(".local/state/reverser")).unwrap() {
            BareRepo::existing(state.unwrap().path().join("repository.git")).fsck().await.unwrap();
        }
    });
}
