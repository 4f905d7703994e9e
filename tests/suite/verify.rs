//! Verification: what somebody did to Git, or nobody told of, is found and repaired, and nothing else ever is.

use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use reverser_git::{Batch, Credentials, GitSink, GitWriter};
use reverser_testbed::eventually;
use reverser_tests::{LIMIT, Running};
use serde_json::{Value, json};

use crate::scene::{Scene, assert_subjects, config_map, create, run, subjects};

#[test]
fn what_somebody_did_to_our_files_by_hand_is_repaired_by_one_commit_that_says_so() {
    run(async {
        let scene = Scene::shared("tampered").await;
        for name in ["a", "b", "c"] {
            create(&scene.api(), config_map(name, "1")).await;
        }
        let watch = scene.watch(&["-r", "configmaps", "--verify-interval", "2s"]).await;
        scene.history(1).await;
        let path = |name: &str| scene.path("v1/configmaps", name);
        let right = scene.file("v1/configmaps", "b").await;
        let remarked =
            "{kind: ConfigMap, apiVersion: v1, metadata: {name: c, namespace: tampered}, data: {key: '1'}} # mine\n";
        let others = [
            ("b", right.replace('1', "2")),
            ("x", right.replace("name: b", "name: x")),
            ("notes", "# mine\n".to_owned()),
            ("c", remarked.to_owned()),
        ];
        // Fails when a push of ours comes in between: then again, as anybody would.
        eventually("a turn", LIMIT, async || scene.repo.remove_as_other("main", &path("a")).await).await;
        for (name, text) in &others {
            eventually("a turn", LIMIT, async || scene.repo.commit_as_other("main", &path(name), text).await).await;
        }
        eventually("all of it to be repaired", LIMIT, async || {
            let repaired =
                [scene.repo.read("main", &path("a")).await.is_ok(), scene.file("v1/configmaps", "b").await == right];
            let is_extra = scene.repo.read("main", &path("x")).await.is_ok();
            if repaired == [true; 2] && !is_extra { Ok(()) } else { Err(scene.repo.log("main").await) }
        })
        .await;
        let log = scene.repo.log("main").await.unwrap();
        let repairs: Vec<_> = log.iter().filter(|commit| commit.subject().starts_with("[VERIFY]")).collect();
        let told: String = repairs.iter().map(|commit| commit.message.as_str()).collect();
        for line in [
            "- missing v1/configmaps/tampered/a",
            "- different v1/configmaps/tampered/b",
            "- extra v1/configmaps/tampered/x",
        ] {
            assert_eq!(told.matches(line).count(), 1, "{told}");
        }
        assert!(!told.contains("tampered/c"), "formatting is its author's: {told}");
        assert_eq!(repairs[0].author, "reverser");
        // Then all is right, and notes are still there.
        let commits = log.len();
        let zero = verified(&watch).len() + 2;
        eventually("two more verifications", LIMIT, async || {
            let now = verified(&watch).len();
            if now >= zero { Ok(()) } else { Err(now) }
        })
        .await;
        assert_eq!(verified(&watch).last().unwrap(), &json!([0, 0, 0]));
        assert_eq!(scene.repo.log("main").await.unwrap().len(), commits);
        assert_eq!(scene.repo.read("main", &path("notes")).await.unwrap(), "# mine\n");
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn on_a_busy_cluster_a_verification_finds_nothing() {
    run(async {
        let scene = Scene::shared("busy").await;
        let watch = scene.watch(&["-r", "configmaps", "--verify-interval", "200ms"]).await;
        let is_over = AtomicBool::new(false);
        let writers = (0..8).map(|writer| write_until(&scene, writer, &is_over));
        let verifications = async {
            eventually("six verifications", LIMIT, async || {
                let found = verified(&watch);
                if found.len() >= 6 { Ok(()) } else { Err(found) }
            })
            .await;
            is_over.store(true, Ordering::Relaxed);
        };
        let (written, ()) = tokio::join!(futures::future::join_all(writers), verifications);
        let written: usize = written.into_iter().sum();
        eventually("Git to be as the cluster is", LIMIT, async || {
            let repo = scene.repo.url();
            let arguments =
                [&["diff", "--repo", &repo, "-r", "configmaps", "--settle", "0"], &scene.cluster()[..]].concat();
            let compared = scene.home.run(&arguments).await;
            if compared.status.success() { Ok(()) } else { Err(compared.said) }
        })
        .await;
        let found = verified(&watch);
        assert!(found.iter().all(|found| *found == json!([0, 0, 0])), "{found:?}");
        let log = scene.repo.log("main").await.unwrap();
        assert!(log.len() > written / 2, "{} commits of {written} writes", log.len());
        assert!(!subjects(&log).any(|subject| subject.starts_with("[VERIFY]")));
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_change_that_was_lost_and_a_branch_that_was_rewound_are_found() {
    run(async {
        let scene = Scene::shared("lost").await;
        let state = scene.home.path().join("state");
        let flags = ["-r", "configmaps", "--state-dir", "state", "--verify-interval", "2s"];
        let watch = scene.watch(&flags).await;
        create(&scene.api(), config_map("a", "1")).await;
        scene.history(1).await;
        watch.terminate().await.exits_with(0);
        // As a watch would leave it that had missed an event.
        create(&scene.api(), config_map("lost", "1")).await;
        let later = create(&scene.api(), config_map("later", "1")).await.metadata.resource_version.unwrap();
        let writer = GitWriter::open(scene.repo.url().parse().unwrap(), Credentials::FromGit)
            .state_dir(state)
            .start()
            .await
            .unwrap();
        let cursors = writer.cursors().await.unwrap().into_keys().map(|source| (source, later.clone())).collect();
        writer.commit(Batch { plans: vec![], cursors }).await.unwrap();
        writer.close(LIMIT).await.unwrap();
        let watch = scene.watch(&flags).await;
        create(&scene.api(), config_map("next", "1")).await;
        let log = scene.history(3).await;
        // On a busy machine the verification may come first.
        let mut told: Vec<_> = subjects(&log[1..]).collect();
        told.sort_unstable();
        assert_eq!(told, ["[CREATE] v1/configmaps/next", "[VERIFY] 2 objects: 2 missing"]);

        // Somebody takes a pushed commit away, and there is nothing to push.
        scene.repo.git(&["update-ref", "refs/heads/main", "main~1"]).await.unwrap();
        let files = ["a", "later", "lost", "next"].map(|name| scene.path("v1/configmaps", name));
        scene.has_files(&files).await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_repair_that_would_delete_most_files_is_held() {
    run(async {
        let scene = Scene::shared("held-repair").await;
        create(&scene.api(), config_map("a", "1")).await;
        let watch = scene.watch(&["-r", "configmaps", "--verify-interval", "2s"]).await;
        scene.history(1).await;
        let right = scene.file("v1/configmaps", "a").await;
        // All of them at once.
        scene.repo.git(&["branch", "theirs", "main"]).await.unwrap();
        for number in 0..25 {
            let (name, text) = (format!("x-{number}"), right.replace("name: a", &format!("name: x-{number}")));
            scene.repo.commit_as_other("theirs", &scene.path("v1/configmaps", &name), &text).await.unwrap();
        }
        scene.repo.git(&["update-ref", "refs/heads/main", "theirs"]).await.unwrap();
        watch.says("sweep held").await;
        watch.says(r#""extra":25"#).await;
        watch.terminate().await.exits_with(0);
        assert_eq!(scene.repo.files("main").await.unwrap().len(), 26);
        let watch = scene.watch(&["-r", "configmaps", "--verify-interval", "2s", "--allow-mass-delete"]).await;
        scene.has_files(&[scene.path("v1/configmaps", "a")]).await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn nothing_is_verified_when_that_is_switched_off() {
    run(async {
        let scene = Scene::shared("unverified").await;
        create(&scene.api(), config_map("a", "1")).await;
        let watch = scene.watch(&["-r", "configmaps", "--verify-interval", "0"]).await;
        scene.history(1).await;
        scene.repo.remove_as_other("main", &scene.path("v1/configmaps", "a")).await.unwrap();
        create(&scene.api(), config_map("b", "1")).await;
        let log = scene.history(3).await;
        assert_subjects(&log[2..], &["[CREATE] v1/configmaps/b"]);
        assert_eq!(verified(&watch).len(), 0);
        watch.terminate().await.exits_with(0);
    });
}

/// Returns what was missing, extra and different at each verification.
fn verified(watch: &Running) -> Vec<Value> {
    let said = watch.said();
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = lines.filter(|line| line["message"].as_str().is_some_and(|message| message.starts_with("verified")));
    lines.map(|line| json!([line["missing"], line["extra"], line["different"]])).collect()
}

/// Creates, changes and deletes ConfigMaps, some of them those of others; returns how many writes there were.
async fn write_until(scene: &Scene, writer: usize, is_over: &AtomicBool) -> usize {
    let configs = scene.api::<ConfigMap>();
    let mut writes = 0;
    for round in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("c-{}", (writer * 7 + round * 3) % 20);
        let written = match (writer + round) % 5 {
            0 => configs.delete(&name, &DeleteParams::default()).await.is_ok(),
            1 => configs.create(&PostParams::default(), &config_map(&name, "1")).await.is_ok(),
            2 if round % 40 == 0 => {
                let some = ListParams::default().fields(&format!("metadata.name={name}"));
                configs.delete_collection(&DeleteParams::default(), &some).await.is_ok()
            }
            _ => {
                let change = json!({"data": {"key": round.to_string(), "writer": writer.to_string()}});
                configs.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await.is_ok()
            }
        };
        writes += usize::from(written);
    }
    writes
}
