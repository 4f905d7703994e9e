//! Deletions, of one and of many, at once and in steps.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::Attributed;
use crate::scene::{Scene, config_map, create, delete, object, patch, run};

#[test]
fn a_deletion_is_by_whoever_asked_for_it_also_when_another_takes_the_last_finalizer() {
    run(async {
        let watched = Attributed::namespaced(Scene::shared("deleting").await, &[]).await;
        let (alices, bobs) = (watched.alices(), watched.bobs());
        create(&alices, config_map("plain", "1")).await;
        delete(&bobs, "plain").await;
        let held = |name: &str| -> ConfigMap {
            object(json!({"metadata": {"name": name, "finalizers": ["example.com/hold"]}, "data": {"key": "1"}}))
        };
        create(&bobs, held("held")).await;
        delete(&alices, "held").await;
        patch(&bobs, "held", json!({"metadata": {"finalizers": null}})).await;
        // It is there again, and it is bob who deletes it this time.
        create(&alices, held("held")).await;
        patch(&alices, "held", json!({"metadata": {"finalizers": null}})).await;
        delete(&bobs, "held").await;
        watched.tells("plain", &["alice admission [CREATE]", "bob admission [DELETE]"]).await;
        watched
            .tells(
                "held",
                &[
                    "bob admission [CREATE]",
                    "alice admission [DELETE]",
                    "alice admission [CREATE]",
                    "alice admission [UPDATE]",
                    "bob admission [DELETE]",
                ],
            )
            .await;
        watched.ends().await;
    });
}

#[test]
fn of_a_deletion_that_was_only_tried_nobody_is_the_author() {
    run(async {
        let watched = Attributed::namespaced(Scene::shared("trying").await, &[]).await;
        let (alices, bobs) = (watched.alices(), watched.bobs());
        create(&alices, config_map("web", "1")).await;
        let dry_run = DeleteParams { dry_run: true, ..DeleteParams::default() };
        bobs.delete("web", &dry_run).await.unwrap();
        // A precondition that doesn't hold.
        let preconditions = kube::api::Preconditions { resource_version: Some("1".into()), uid: None };
        let stale = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let refused = bobs.delete("web", &stale).await;
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 409));
        patch(&alices, "web", json!({"data": {"key": "2"}})).await;
        delete(&alices, "web").await;
        watched
            .tells("web", &["alice admission [CREATE]", "alice admission [UPDATE]", "alice admission [DELETE]"])
            .await;
        watched.ends().await;
    });
}

#[test]
fn each_object_of_a_collection_is_deleted_by_whoever_deleted_the_collection() {
    run(async {
        let watched = Attributed::namespaced(Scene::shared("collected").await, &[]).await;
        for name in ["one", "two", "kept"] {
            let labels = json!({"collect": (name != "kept").to_string()});
            let config = json!({"metadata": {"name": name, "labels": labels}});
            create(&watched.bobs(), object::<ConfigMap>(config)).await;
        }
        let labelled = ListParams::default().labels("collect=true");
        watched.alices().delete_collection(&DeleteParams::default(), &labelled).await.unwrap();
        delete(&watched.bobs(), "kept").await;
        for name in ["one", "two"] {
            watched.tells(name, &["bob admission [CREATE]", "alice admission [DELETE]"]).await;
        }
        watched.tells("kept", &["bob admission [CREATE]", "bob admission [DELETE]"]).await;
        watched.ends().await;
    });
}
