//! Several at the same time.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use reverser_testbed::eventually;
use reverser_tests::LIMIT;
use serde_json::json;

use super::{Attributed, summary, trailers};
use crate::scene::{Scene, config_map, create, run};

#[test]
fn of_twelve_patches_that_race_each_is_by_whoever_made_it() {
    run(async {
        let watched = Attributed::namespaced(Scene::shared("racing").await, &[]).await;
        let users = [("alice", watched.alices()), ("bob", watched.bobs())];
        create(&users[0].1, config_map("web", "1")).await;
        let racers = users.iter().flat_map(|(name, configs)| (0..6).map(move |number| (*name, configs, number)));
        join_all(racers.map(|(name, configs, number)| add(configs, format!("{name}-{number}")))).await;
        let commits = eventually("all of them", LIMIT, async || {
            let commits = watched.commits("web").await;
            if commits.len() == 13 { Ok(commits) } else { Err(commits) }
        })
        .await;
        let mut before = BTreeMap::new();
        for commit in &commits {
            let file = watched.scene.path("v1/configmaps", "web");
            let text = watched.scene.repo.read(&commit.id, &file).await.unwrap();
            let now: ConfigMap = serde_yaml::from_str(&text).unwrap();
            let now = now.data.unwrap();
            let added: Vec<_> = now.keys().filter(|key| !before.contains_key(*key)).collect();
            let [added] = added[..] else { panic!("one key each, not {added:?}") };
            let author = added.split('-').next().unwrap();
            if author != "key" {
                assert_eq!(summary(commit), format!("{author} admission [UPDATE]"), "added {added}");
            }
            before = now.clone();
        }
        watched.ends().await;
    });
}

#[test]
fn of_two_who_write_the_same_at_the_same_time_one_is_named_or_both_are() {
    run(async {
        let watched = Attributed::namespaced(Scene::shared("same").await, &[]).await;
        let (alices, bobs) = (watched.alices(), watched.bobs());
        create(&alices, config_map("web", "0")).await;
        for round in 1..=10 {
            let both = PatchParams { field_manager: Some("both".into()), ..PatchParams::default() };
            let change = Patch::Merge(json!({"data": {"key": round.to_string()}}));
            let (one, other) = tokio::join!(alices.patch("web", &both, &change), bobs.patch("web", &both, &change));
            let versions = [one, other].map(|answer| answer.unwrap().metadata.resource_version.unwrap());
            // Whoever came second changed nothing, at the version of the other.
            assert_eq!(versions[0], versions[1]);
        }
        let commits = eventually("all of them", LIMIT, async || {
            let commits = watched.commits("web").await;
            if commits.len() == 11 { Ok(commits) } else { Err(commits) }
        })
        .await;
        for commit in &commits[1..] {
            match &*summary(commit) {
                "alice admission [UPDATE]" | "bob admission [UPDATE]" => {}
                "reverser ambiguous [UPDATE]" => {
                    assert!(commit.message.contains("alice") && commit.message.contains("bob"), "{}", commit.message);
                    assert!(trailers(commit, "Reverser-Actor").is_empty(), "{}", commit.message);
                }
                other => panic!("{other}: {}", commit.message),
            }
        }
        watched.ends().await;
    });
}

/// Adds a key to `web`.
async fn add(configs: &Api<ConfigMap>, key: String) {
    configs.patch("web", &PatchParams::default(), &Patch::Merge(json!({"data": {key: "1"}}))).await.unwrap();
}
