//! What networks do to the command: a TCP proxy between it and the API server, or the remote, fails as they do.

use std::{collections::BTreeSet, env, num::NonZeroU32};

use k8s_openapi::api::core::v1::ConfigMap;
use reverser_testbed::{BareRepo, Ending, Faults, GitHttp, LoggedCommit, TcpProxy, eventually};
use reverser_tests::{LIMIT, Running};
use serde_json::json;

use crate::{
    authors::{text, user},
    scene::{Scene, WATCHING, config_map, create, create_many, delete, history, patch, run, subjects},
};

#[test]
fn a_stream_that_breaks_in_the_middle_of_an_event_loses_and_doubles_nothing() {
    run(async {
        let scene = Scene::shared("broken").await;
        let (_watch, way) = watch_via(&scene, &[]).await;
        let configs = scene.api::<ConfigMap>();
        let mut expected = vec![];
        // An event has some 3,700 bytes: it breaks before, in and behind it.
        let endings = [Ending::Cut, Ending::Reset, Ending::Orphan];
        for (number, bytes) in [1, 60, 1_500, 3_000, 3_700, 6_000].into_iter().enumerate() {
            way.end_after(bytes, endings[number % endings.len()]);
            for part in ["a", "b"] {
                let name = format!("{part}-{number}");
                create(&configs, config_map(&name, &"x".repeat(3_000))).await;
                expected.push(format!("[CREATE] v1/configmaps/{name}"));
            }
            let log = scene.history(expected.len()).await;
            assert_eq!(subjects(&log).collect::<Vec<_>>(), expected);
        }
        assert!(way.broken() >= 6, "{way:?}");
    });
}

#[test]
fn a_list_that_breaks_half_way_deletes_nothing_and_is_right_later() {
    run(async {
        let scene = Scene::shared("half-lists").await;
        let configs = scene.api::<ConfigMap>();
        // More than a page.
        create_many(&configs, "kept", 800, "1").await;
        create(&configs, config_map("gone", "1")).await;
        let (watch, way) = watch_via(&scene, &["-r", "configmaps", "--state-dir", "first"]).await;
        let listed = way.received();
        watch.terminate().await.exits_with(0);
        delete(&configs, "gone").await;

        // Without the state of before it lists, too; most of what it reads is that.
        way.end_after(listed * 7 / 10, Ending::Reset);
        let watch = start_via(&scene, &way, &["-r", "configmaps", "--state-dir", "second"]);
        watch.says(WATCHING).await;
        let log = scene.history(2).await;
        assert_eq!(way.broken(), 1);
        let diff = scene.repo.git(&["show", "--format=", "--name-status", &log[1].id]).await.unwrap();
        assert_eq!(diff, format!("D\t{}", scene.path("v1/configmaps", "gone")));
        assert_eq!(log.len(), 2);
        assert_eq!(scene.repo.files("main").await.unwrap().len(), 800);
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_slow_connection_brings_everything_in_the_end() {
    run(async {
        let scene = Scene::shared("slow").await;
        let (_watch, way) = watch_via(&scene, &["-r", "configmaps"]).await;
        way.set(Faults { bytes_per_second: NonZeroU32::new(150_000), ..Faults::default() });
        create_many(&scene.api(), "made", 1_000, "1").await;
        patch(&scene.api::<ConfigMap>(), "made-0", json!({"data": {"key": "2"}})).await;
        let log = scene.history(1_001).await;
        assert_eq!(subjects(&log).collect::<BTreeSet<_>>().len(), 1_001);
        assert_eq!(log[1_000].subject(), "[UPDATE] v1/configmaps/made-0");
    });
}

#[test]
fn a_way_that_is_closed_for_a_while_is_no_gap() {
    run(async {
        let scene = Scene::shared("closed").await;
        let (watch, way) = watch_via(&scene, &["-r", "configmaps"]).await;
        let configs = scene.api::<ConfigMap>();
        let mut expected = vec![];
        let closed = Faults { refuses: true, ..Faults::default() };
        let stalled = Faults { stalls: true, ..Faults::default() };
        let full = Faults { limit: Some(0), ..Faults::default() };
        for (number, faults) in [closed, stalled, full].into_iter().enumerate() {
            way.set(faults);
            if !faults.stalls {
                way.end(Ending::Cut);
                watch.says_times(number.div_ceil(2) + 1, "not watched for the moment").await;
            }
            create(&configs, config_map(&format!("web-{number}"), "1")).await;
            patch(&configs, &format!("web-{number}"), json!({"data": {"key": "2"}})).await;
            way.heal();
            expected.extend(["CREATE", "UPDATE"].map(|op| format!("[{op}] v1/configmaps/web-{number}")));
            let log = scene.history(expected.len()).await;
            assert_eq!(subjects(&log).collect::<Vec<_>>(), expected);
        }
    });
}

#[test]
fn a_push_that_reaches_the_server_twice_doubles_nothing() {
    run(async {
        let scene = Scene::shared("twice").await;
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        let url = server.url("team.git");
        let address = url.trim_start_matches("http://").trim_end_matches("/team.git");
        let way = TcpProxy::start(address.parse().unwrap()).await.unwrap();
        way.set(Faults { doubles: true, ..Faults::default() });
        let watch = scene.watch_into(&format!("http://{}/team.git", way.address()), &["-r", "configmaps"]).await;
        let mut expected = vec![];
        for number in 0..10 {
            let name = format!("web-{number}");
            create(&scene.api(), config_map(&name, "1")).await;
            expected.push(format!("[CREATE] v1/configmaps/{name}"));
            let log = history(&repo, expected.len()).await;
            assert_eq!(subjects(&log).collect::<Vec<_>>(), expected);
        }
        assert!(server.pushes() > 10, "{} pushes, none of them doubled", server.pushes());
        watch.terminate().await.exits_with(0);
        repo.fsck().await.unwrap();
    });
}

/// `REVERSER_CREATES` says how many; 10,000 take a minute.
#[test]
fn what_two_users_create_as_fast_as_they_can_is_a_commit_each_by_the_right_one() {
    run(async {
        let creates = env::var("REVERSER_CREATES").ok().map_or(1_000, |creates| creates.parse().expect("a number"));
        let scene = Scene::shared("many").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let audit_log = scene.plane.audit_log().unwrap();
        let watch = scene.watch(&["-r", "configmaps", "--audit-log", text(&audit_log)]).await;
        let begun = tokio::time::Instant::now();
        tokio::join!(create_many(&ann, "ann", creates / 2, "1"), create_many(&ben, "ben", creates / 2, "1"));
        let made = begun.elapsed();
        let log = all(&scene.repo, creates).await;
        eprintln!("{creates} creates in {made:?}, on the remote {:?} later", begun.elapsed() - made);
        let told: BTreeSet<_> = subjects(&log).collect();
        assert_eq!((log.len(), told.len()), (creates, creates));
        let is_right = |commit: &LoggedCommit| commit.subject().contains(&format!("/{}-", commit.author));
        let wrong: Vec<_> = log.iter().filter(|commit| !is_right(commit)).collect();
        assert!(wrong.is_empty(), "{} by somebody else, such as {:?}", wrong.len(), wrong[0]);
        assert_eq!(scene.repo.files("main").await.unwrap().len(), creates);
        let said = watch.terminate().await.exits_with(0);
        assert!(!said.contains("not watched for the moment"), "{said}");
        scene.repo.fsck().await.unwrap();
    });
}

/// Waits for so many commits, without reading all of them again and again.
async fn all(repo: &BareRepo, commits: usize) -> Vec<LoggedCommit> {
    eventually("all commits", LIMIT * 5, async || {
        let counted = repo.git(&["rev-list", "--count", "--all"]).await.unwrap();
        if counted.parse().is_ok_and(|counted: usize| counted >= commits) { Ok(()) } else { Err(counted) }
    })
    .await;
    repo.log("main").await.unwrap()
}

/// Starts to watch the namespace through a proxy, and returns both once it is watched.
async fn watch_via(scene: &Scene, more: &[&str]) -> (Running, TcpProxy) {
    let way = TcpProxy::start(scene.plane.address()).await.unwrap();
    let watch = start_via(scene, &way, more);
    watch.says(WATCHING).await;
    (watch, way)
}

fn start_via(scene: &Scene, way: &TcpProxy, more: &[&str]) -> Running {
    let kubeconfig = scene.plane.kubeconfig_via(way).unwrap();
    let repo = scene.repo.url();
    let arguments = ["watch", "--log-format", "json", "--repo", &repo, "--kubeconfig", text(&kubeconfig)];
    scene.home.start(&[&arguments[..], &["--namespace", &scene.namespace], more].concat())
}
