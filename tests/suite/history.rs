//! What happened while nobody could see it is in Git all the same: each version a commit, as long as etcd has it.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use reverser_testbed::{LoggedCommit, client_for, eventually, rule};
use reverser_tests::{LIMIT, Running};
use serde_json::{Value, json};

use crate::{
    authors::{text, user},
    scene::{Scene, config_map, crd, create, credits, delete, object, patch, run, subjects},
};

#[test]
fn what_happened_while_nobody_watched_and_the_api_server_restarted_is_a_commit_each_by_whoever_did_it() {
    run(async {
        let scene = Scene::unwatched("gap").await;
        let audit_log = scene.plane.audit_log().unwrap();
        let arguments = ["-r", "configmaps", "--audit-log", text(&audit_log)];
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let watch = scene.watch(&arguments).await;
        for name in ["changed", "gone", "anew", "held", "kept"] {
            create(&ann, config_map(name, "1")).await;
        }
        patch(&ann, "held", json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
        scene.history(6).await;
        watch.kill().await;

        set(&ben, "changed", "2").await;
        let made = create(&ann, config_map("made", "1")).await;
        set(&ann, "changed", "3").await;
        set(&ben, "gone", "2").await;
        delete(&ann, "gone").await;
        delete(&ben, "held").await;
        set(&ben, "made", "2").await;
        delete(&ben, "anew").await;
        create(&ann, config_map("anew", "2")).await;
        patch(&ann, "held", json!({"metadata": {"finalizers": null}})).await;
        create(&ben, config_map("passing", "1")).await;
        delete(&ben, "passing").await;
        set(&ben, "changed", "1").await;
        scene.plane.restart_api_server().await.unwrap();

        let watch = scene.watch(&arguments).await;
        watch.says(r#""message":"history recovered""#).await;
        set(&ann, "changed", "after").await;
        let log = scene.history(17).await;
        // Each object waits for its own lines alone, and for proof of who wrote it: others may go before it.
        let of = |name: &str| -> Vec<_> {
            log[6..].iter().filter(|commit| commit.subject().ends_with(&format!("/{name}"))).cloned().collect()
        };
        for (name, expected) in [
            ("changed", &["ben [UPDATE]", "ann [UPDATE]", "ben [UPDATE]", "ann [UPDATE]"][..]),
            ("made", &["ann [CREATE]", "ben [UPDATE]"]),
            ("gone", &["ben [UPDATE]", "ann [DELETE]"]),
            ("held", &["ben [DELETE]"]),
            ("anew", &["ben [DELETE]", "ann [CREATE]"]),
        ] {
            let expected: Vec<_> = expected.iter().map(|told| format!("{told} v1/configmaps/{name}")).collect();
            assert_eq!(credits(&of(name)), expected);
            assert!(versions(&of(name)).is_sorted(), "{:?}", versions(&log));
        }
        assert_eq!(log.len(), 17, "{:?}", credits(&log));
        let created = serde_json::to_value(made.metadata.creation_timestamp).unwrap();
        let authored_at = &of("made")[0].authored_at;
        assert_eq!(authored_at[..19], created.as_str().unwrap()[..19], "to the second, when it happened");
        for (name, commit, content) in
            [("changed", 0, "2"), ("changed", 1, "3"), ("changed", 2, "1"), ("changed", 3, "after"), ("anew", 1, "2")]
        {
            let text = scene.repo.read(&of(name)[commit].id, &scene.path("v1/configmaps", name)).await.unwrap();
            let value = if content.parse::<u8>().is_ok() { format!("{content:?}") } else { content.to_owned() };
            assert!(text.contains(&format!("key: {value}")), "{name} {commit}: {text}");
        }
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_watch_that_the_api_server_has_left_behind_catches_up_on_all_kinds_of_objects() {
    run(async {
        let scene = Scene::unwatched("behind").await;
        let crds = Api::<CustomResourceDefinition>::all(scene.plane.client());
        create(&crds, crd("example.com", "Widget")).await;
        await_condition(crds, "widgets.example.com", is_crd_established()).await.unwrap();
        let widget = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget"));
        let widgets = Api::<DynamicObject>::namespaced_with(scene.plane.client(), &scene.namespace, &widget);
        let namespaces = Api::<Namespace>::all(scene.plane.client());
        let configs = scene.api::<ConfigMap>();
        let repo = scene.repo.url();
        let resources = "namespaces,widgets.example.com,configmaps";
        let arguments =
            ["watch", "--log-format", "json", "--repo", &repo, "--kubeconfig", text(scene.plane.kubeconfig())];
        let watch = scene.home.start(&[&arguments[..], &["-r", resources]].concat());
        watch.says(crate::scene::WATCHING).await;
        create(&widgets, object(made(&widget, 1))).await;
        create(&configs, config_map("web", "1")).await;
        create(&namespaces, object(json!({"metadata": {"name": "team-a"}}))).await;
        // Those that were there, and these.
        let before = scene.history(1 + 3).await.len();

        // Held while it is forgotten what it hasn't read: no connection of before the restarts tells it.
        watch.pause().await;
        scene.plane.restart_api_server().await.unwrap();
        for size in [2, 3] {
            patch(&widgets, "cog", json!({"spec": {"size": size}})).await;
            patch(&namespaces, "team-a", json!({"metadata": {"labels": {"size": size.to_string()}}})).await;
            set(&configs, "web", &size.to_string()).await;
        }
        delete(&widgets, "cog").await;
        create(&widgets, object(made(&widget, 4))).await;
        scene.plane.restart_api_server().await.unwrap();
        watch.resume().await;
        let log = scene.history(before + 8).await;
        let of = |resource: &str| -> Vec<_> {
            subjects(&log[before..]).filter(|subject| subject.contains(resource)).map(str::to_owned).collect()
        };
        let operations = ["UPDATE", "UPDATE", "DELETE", "CREATE"];
        assert_eq!(of("widgets"), operations.map(|operation| format!("[{operation}] example.com/v1/widgets/cog")));
        assert_eq!(of("namespaces"), ["[UPDATE] v1/namespaces/team-a"; 2]);
        assert_eq!(of("configmaps"), ["[UPDATE] v1/configmaps/web"; 2]);
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn what_etcd_has_forgotten_is_one_commit_and_what_came_then_is_one_each() {
    run(async {
        let scene = Scene::unwatched("compacted").await;
        let watch = scene.watch(&["-r", "configmaps"]).await;
        let configs = scene.api::<ConfigMap>();
        for name in ["changed", "gone", "kept"] {
            create(&configs, config_map(name, "1")).await;
        }
        let before = scene.history(3).await.len();
        watch.kill().await;
        set(&configs, "changed", "2").await;
        delete(&configs, "gone").await;
        create(&configs, config_map("made", "1")).await;
        set(&configs, "changed", "3").await;
        scene.plane.compact().await.unwrap();
        set(&configs, "changed", "4").await;
        delete(&configs, "made").await;
        set(&configs, "changed", "5").await;
        scene.plane.restart_api_server().await.unwrap();

        let watch = scene.watch(&["-r", "configmaps"]).await;
        let log = scene.history(before + 4).await;
        let told: Vec<_> = subjects(&log[before..]).collect();
        let expected = [
            "[SYNC] 3 objects, 1 removed",
            "[UPDATE] v1/configmaps/changed",
            "[DELETE] v1/configmaps/made",
            "[UPDATE] v1/configmaps/changed",
        ];
        assert_eq!(told, expected);
        let state = scene.repo.read(&log[before].id, &scene.path("v1/configmaps", "changed")).await.unwrap();
        assert!(state.contains(r#"key: "3""#), "{state}");
        scene.has_files(&["changed", "kept"].map(|name| scene.path("v1/configmaps", name))).await;
        let said = watch.terminate().await.exits_with(0);
        assert!(said.contains("history lost") && said.contains("etcd was compacted"), "{said}");
    });
}

#[test]
fn killed_in_the_middle_of_a_recovery_it_goes_on_and_doubles_nothing() {
    run(async {
        // In all more than one batch takes.
        const OBJECTS: usize = 8;
        const UPDATES: usize = 150;
        let scene = Scene::unwatched("interrupted").await;
        let configs = scene.api::<ConfigMap>();
        let watch = scene.watch(&["-r", "configmaps"]).await;
        let names: Vec<_> = (0..OBJECTS).map(|number| format!("web-{number}")).collect();
        for name in &names {
            create(&configs, config_map(name, "0")).await;
        }
        let before = scene.history(OBJECTS).await.len();
        watch.kill().await;
        for update in 1..=UPDATES {
            // To and fro: a version that came twice would be seen as a commit.
            let value = (update % 2).to_string();
            futures::future::join_all(names.iter().map(|name| set(&configs, name, &value))).await;
        }
        scene.plane.restart_api_server().await.unwrap();
        let url = scene.repo.url();
        let arguments = ["watch", "--log-format", "json", "--repo", &url, "-r", "configmaps"];
        for moment in ["state-written:1", "batch-durable:1"] {
            let mut command = scene.home.command(&[&arguments[..], &scene.cluster()].concat());
            command.env("REVERSER_FAULT", moment);
            let died = Running::spawn(command).end(LIMIT).await;
            assert_eq!(died.status.code(), None, "{}", died.said);
        }
        let watch = scene.watch(&["-r", "configmaps"]).await;
        watch.says(r#""message":"history recovered""#).await;
        create(&configs, config_map("last", "1")).await;
        let log = until_last(&scene, "[CREATE] v1/configmaps/last", 0).await;
        assert!(subjects(&log).all(|subject| !subject.starts_with("[SYNC]")));
        let versions = versions(&log);
        assert_eq!(versions.len(), versions.iter().collect::<BTreeSet<_>>().len(), "each once");
        assert_eq!(log.len(), before + OBJECTS * UPDATES + 1);
        assert!(versions.is_sorted());
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn who_may_read_one_namespace_alone_gets_its_history() {
    run(async {
        let scene = Scene::unwatched("narrow").await;
        let kubeconfig = scene.plane.user("narrow-reader", &[]).unwrap();
        let rules = vec![rule(&["get", "list", "watch"], "", &["configmaps"])];
        scene.plane.grant("narrow-reader", Some(&scene.namespace), rules).await.unwrap();
        assert!(Api::<ConfigMap>::all(client_for(&kubeconfig).await.unwrap()).list(&Default::default()).await.is_err());
        let repo = scene.repo.url();
        let arguments = ["watch", "--log-format", "json", "--repo", &repo, "--kubeconfig", text(&kubeconfig)];
        let arguments = [&arguments[..], &["-n", &scene.namespace, "-r", "configmaps"]].concat();
        let start = async || {
            let watch = scene.home.start(&arguments);
            watch.says(crate::scene::WATCHING).await;
            watch
        };
        let watch = start().await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("web", "1")).await;
        scene.history(1).await;
        watch.kill().await;
        set(&configs, "web", "2").await;
        set(&configs, "web", "3").await;
        delete(&configs, "web").await;
        scene.plane.restart_api_server().await.unwrap();
        let watch = start().await;
        let log = scene.history(4).await;
        let operations = ["CREATE", "UPDATE", "UPDATE", "DELETE"];
        let expected = operations.map(|operation| format!("[{operation}] v1/configmaps/web"));
        assert_eq!(subjects(&log).collect::<Vec<_>>(), expected);
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_history_that_is_too_long_for_memory_comes_in_parts() {
    run(async {
        const UPDATES: usize = 20;
        let scene = Scene::unwatched("parts").await;
        let configs = scene.api::<ConfigMap>();
        let watch = scene.watch(&["-r", "configmaps"]).await;
        create(&configs, config_map("large", "1")).await;
        create(&configs, config_map("small", "1")).await;
        let before = scene.history(2).await.len();
        watch.kill().await;
        for update in 0..UPDATES {
            let text = format!("{update} {}", "x".repeat(400_000));
            set(&configs, "large", &text).await;
            if update % 5 == 0 {
                set(&configs, "small", &update.to_string()).await;
            }
        }
        delete(&configs, "small").await;
        scene.plane.restart_api_server().await.unwrap();
        let watch = scene.watch(&["-r", "configmaps"]).await;
        let log = until_last(&scene, "[DELETE] v1/configmaps/small", 0).await;
        let of = |name: &str| subjects(&log[before..]).filter(|subject| subject.ends_with(name)).count();
        assert_eq!((of("/large"), of("/small"), log.len()), (UPDATES, 5, before + UPDATES + 5));
        assert!(versions(&log).is_sorted(), "{:?}", versions(&log));
        let said = watch.terminate().await.exits_with(0);
        let parts = said.matches(r#""message":"history recovered""#).count();
        assert!(parts > 2, "{parts} parts for 8 MB");
    });
}

async fn set(configs: &Api<ConfigMap>, name: &str, value: &str) {
    patch(configs, name, json!({"data": {"key": value}})).await;
}

/// Waits until the last commit is this one, and there are so many, and returns all.
async fn until_last(scene: &Scene, subject: &str, commits: usize) -> Vec<LoggedCommit> {
    eventually(subject, LIMIT, async || {
        let log = scene.repo.log("main").await.unwrap();
        let is_last = log.last().is_some_and(|commit| commit.subject() == subject);
        if is_last && log.len() >= commits {
            Ok(log)
        } else {
            Err(subjects(&log).map(str::to_owned).collect::<Vec<_>>())
        }
    })
    .await
}

/// Returns the resourceVersions that commits tell of.
fn versions(log: &[LoggedCommit]) -> Vec<u64> {
    let version = |commit: &LoggedCommit| {
        let trailer = commit.message.lines().find_map(|line| line.strip_prefix("Reverser-Resource-Version: "))?;
        Some(trailer.parse().expect("a number"))
    };
    log.iter().filter_map(version).collect()
}

fn made(widget: &ApiResource, size: u8) -> Value {
    json!({"apiVersion": widget.api_version, "kind": widget.kind, "metadata": {"name": "cog"}, "spec": {"size": size}})
}
