//! Objects that change all the time.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use reverser_testbed::eventually;
use reverser_tests::{LIMIT, Running};
use serde_json::json;

use crate::{
    authors::{text, user},
    scene::{Scene, config_map, create, credits, patch, run},
};

#[test]
fn an_object_that_changes_all_the_time_is_named_once_with_whoever_does_it() {
    run(async {
        let scene = Scene::shared("churning").await;
        let bot = user(&scene, "system:serviceaccount:churning:bot").await;
        let audit_log = scene.plane.audit_log().unwrap();
        let watch = scene.watch(&["-r", "configmaps", "--audit-log", text(&audit_log)]).await;
        create(&bot, config_map("calm", "1")).await;
        create(&bot, config_map("leader", "0")).await;
        count(&bot, "leader", 1..=40).await;
        scene.history(42).await;
        let said = watch.terminate().await.exits_with(0);
        let lines: Vec<_> = said.lines().filter(|line| line.contains("changes all the time")).collect();
        let [line] = lines.as_slice() else { panic!("{lines:#?}") };
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["object"], "v1/configmaps/leader");
        assert_eq!(
            (&line["namespace"], &line["actor"]),
            (&"churning".into(), &"system:serviceaccount:churning:bot".into())
        );
        assert!(line["per_minute"].as_u64().unwrap() > 30, "{line}");
    });
}

#[test]
fn a_service_account_that_is_coalesced_makes_a_commit_per_interval_and_a_person_each() {
    run(async {
        let scene = Scene::shared("coalesced").await;
        let bot = "system:serviceaccount:coalesced:bot";
        let (bots, other) = (user(&scene, bot).await, user(&scene, "system:serviceaccount:coalesced:other").await);
        let ann = user(&scene, "ann").await;
        let watch = coalescing(&scene, &["--coalesce-only", "user=*:bot resource=cm"]).await;
        create(&bots, config_map("leader", "0")).await;
        // Each object waits for its own lines alone: others may go before it.
        scene.history(1).await;
        count(&bots, "leader", 1..=10).await;
        count(&other, "noisy", 1..=3).await;
        scene.history(4).await;
        // What waits comes first, in a commit of its own.
        patch(&ann, "leader", json!({"data": {"ann": "was here"}})).await;
        count(&bots, "leader", 11..=20).await;
        let told = told(&scene, 7).await;
        let update = "[UPDATE] v1/configmaps/leader";
        let others = "system:serviceaccount:coalesced:other [UPDATE] v1/configmaps/noisy";
        let expected = [
            format!("{bot} [CREATE] v1/configmaps/leader"),
            others.replace("UPDATE", "CREATE"),
            others.to_owned(),
            others.to_owned(),
            format!("{bot} {update}"),
            format!("ann {update}"),
            format!("{bot} {update}"),
        ];
        assert_eq!(told, expected);
        let log = scene.history(7).await;
        assert!(
            log[4].message.contains("\n\nThe last of 10 changes that the same service account made"),
            "{}",
            log[4].message
        );
        assert!(!log[6].message.contains("The last of"), "the first one after somebody else's: {}", log[6].message);
        // The rest, which is read by the time of what comes after it, waits for its interval, and goes out at the end.
        create(&ann, config_map("end", "1")).await;
        assert_eq!(credits(&scene.history(8).await)[7], "ann [CREATE] v1/configmaps/end");
        watch.terminate().await.exits_with(0);
        let log = scene.history(9).await;
        assert_eq!((log.len(), log[8].author.as_str()), (9, bot));
        assert!(log[8].message.contains("The last of 9 changes"), "{}", log[8].message);
        assert!(scene.file("v1/configmaps", "leader").await.contains("key: \"20\""));
    });
}

#[test]
fn a_kill_while_something_waits_loses_no_state_and_doubles_nothing() {
    run(async {
        let scene = Scene::shared("waits").await;
        let bot = user(&scene, "system:serviceaccount:waits:bot").await;
        let ann = user(&scene, "ann").await;
        let watch = coalescing(&scene, &[]).await;
        create(&bot, config_map("leader", "0")).await;
        count(&bot, "leader", 1..=5).await;
        count(&ann, "web", 1..=3).await;
        told(&scene, 4).await;
        watch.kill().await;
        count(&ann, "web", 4..=4).await;
        let watch = coalescing(&scene, &[]).await;
        let file = async || {
            let files = scene.file("v1/configmaps", "leader").await + &scene.file("v1/configmaps", "web").await;
            if files.contains("key: \"5\"") && files.contains("key: \"4\"") { Ok(()) } else { Err(files) }
        };
        eventually("the last states", LIMIT, file).await;
        watch.terminate().await.exits_with(0);
        let mut commits = BTreeMap::<_, usize>::new();
        for commit in scene.repo.log("main").await.unwrap() {
            *commits.entry(format!("{} {}", commit.author, commit.subject())).or_default() += 1;
        }
        let bot = "system:serviceaccount:waits:bot";
        let expected = [
            ("ann [CREATE] v1/configmaps/web".to_owned(), 1),
            ("ann [UPDATE] v1/configmaps/web".to_owned(), 3),
            (format!("{bot} [CREATE] v1/configmaps/leader"), 1),
            (format!("{bot} [UPDATE] v1/configmaps/leader"), 1),
        ];
        assert_eq!(commits, expected.into());
        assert!(scene.file("v1/configmaps", "web").await.contains("key: \"4\""));
    });
}

#[test]
fn coalescing_without_a_way_to_know_service_accounts_is_a_usage_error() {
    run(async {
        let scene = Scene::shared("nobody-coalesced").await;
        let repo = scene.repo.url();
        let arguments = [&["watch", "--repo", &repo, "--coalesce", "1m"][..], &scene.cluster()].concat();
        let said = scene.home.run(&arguments).await.exits_with(2);
        assert!(said.contains("--coalesce needs --attribution"), "{said}");
    });
}

/// Watches ConfigMaps, with an interval that doesn't end by itself.
async fn coalescing(scene: &Scene, more: &[&str]) -> Running {
    let audit_log = scene.plane.audit_log().unwrap();
    let flags = ["-r", "configmaps", "--audit-log", text(&audit_log), "--coalesce", "1h"];
    scene.watch(&[&flags[..], more].concat()).await
}

/// Returns author and subject of each commit, once there are so many.
async fn told(scene: &Scene, commits: usize) -> Vec<String> {
    let log = scene.history(commits).await;
    credits(&log)
}

/// Changes an object over and over; makes it where it isn't there.
async fn count(configs: &Api<ConfigMap>, name: &str, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        if number == 1 && configs.get_opt(name).await.unwrap().is_none() {
            create(configs, config_map(name, "1")).await;
        } else {
            patch(configs, name, json!({"data": {"key": number.to_string()}})).await;
        }
    }
}
