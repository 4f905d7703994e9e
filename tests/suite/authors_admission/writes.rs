//! Creations and updates.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::Attributed;
use crate::scene::{Scene, apply_as, config_map, create, delete, object, patch, run};

#[test]
fn creations_and_updates_of_each_kind_are_by_whoever_asked_for_them() {
    run(async {
        let watched = Attributed::namespaced(Scene::shared("admitted").await, &[]).await;
        let (alices, bobs) = (watched.alices(), watched.bobs());
        create(&alices, config_map("web", "1")).await;
        let mut web = bobs.get("web").await.unwrap();
        web.data = Some([("key".to_owned(), "2".to_owned())].into());
        bobs.replace("web", &PostParams::default(), &web).await.unwrap();
        patch(&alices, "web", json!({"data": {"key": "3"}})).await;
        apply_as(&bobs, "tool", json!({"data": {"key": "4"}}), "web").await;
        let json_patch = json!([{"op": "replace", "path": "/data/key", "value": "5"}]);
        let json_patch = Patch::<()>::Json(serde_json::from_value(json_patch).unwrap());
        alices.patch("web", &PatchParams::default(), &json_patch).await.unwrap();
        apply_as(&alices, "tool", json!({"data": {"key": "1"}}), "applied").await;
        apply_as(&bobs, "tool", json!({"data": {"key": "2"}}), "applied").await;
        let generated: ConfigMap = object(json!({"metadata": {"generateName": "run-"}, "data": {"key": "1"}}));
        let generated = create(&bobs, generated).await.metadata.name.unwrap();
        watched
            .tells(
                "web",
                &[
                    "alice admission [CREATE]",
                    "bob admission [UPDATE]",
                    "alice admission [UPDATE]",
                    "bob admission [UPDATE]",
                    "alice admission [UPDATE]",
                ],
            )
            .await;
        watched.tells("applied", &["alice admission [CREATE]", "bob admission [UPDATE]"]).await;
        watched.tells(&generated, &["bob admission [CREATE]"]).await;
        watched.ends().await;
    });
}

#[test]
fn nobody_is_named_for_a_request_that_changed_nothing_although_it_asked_for_the_same() {
    run(async {
        let watched = Attributed::namespaced(Scene::shared("in-vain").await, &[]).await;
        let (alices, bobs) = (watched.alices(), watched.bobs());
        let old = create(&alices, config_map("web", "1")).await;
        // It changes nothing.
        patch(&bobs, "web", json!({"data": {"key": "1"}})).await;
        patch(&alices, "web", json!({"data": {"key": "2"}})).await;
        // It is only asked what would be, of the very content that alice writes then over the same version.
        let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
        bobs.patch("web", &dry_run, &Patch::Merge(json!({"data": {"key": "3"}}))).await.unwrap();
        patch(&alices, "web", json!({"data": {"key": "3"}})).await;
        // It is too late.
        let stale = ConfigMap { data: Some([("key".to_owned(), "4".to_owned())].into()), ..old };
        let refused = bobs.replace("web", &PostParams::default(), &stale).await;
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 409));
        patch(&alices, "web", json!({"data": {"key": "4"}})).await;
        // There is one already.
        let refused = bobs.create(&PostParams::default(), &config_map("web", "5")).await;
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 409));
        patch(&alices, "web", json!({"data": {"key": "5"}})).await;
        // The same with a name that is free later.
        delete(&alices, "web").await;
        create(&alices, config_map("web", "5")).await;
        let mut expected = vec!["alice admission [CREATE]"];
        expected.extend(["alice admission [UPDATE]"; 4]);
        expected.extend(["alice admission [DELETE]", "alice admission [CREATE]"]);
        watched.tells("web", &expected).await;
        watched.ends().await;
    });
}

#[test]
fn whoever_acts_for_another_is_not_the_author_but_the_other_is() {
    run(async {
        let watched = Attributed::namespaced(Scene::shared("acting").await, &[]).await;
        let mut kubectl = watched.scene.plane.kubectl(watched.scene.plane.kubeconfig()).await.unwrap();
        kubectl.args(["--namespace", &watched.scene.namespace, "--as", "carol", "--as-group", "system:masters"]);
        kubectl.args(["create", "configmap", "web", "--from-literal", "key=1"]);
        crate::scene::output_of(kubectl, "").await;
        patch(&watched.bobs(), "web", json!({"data": {"key": "2"}})).await;
        watched.tells("web", &["carol admission [CREATE]", "bob admission [UPDATE]"]).await;
        watched.ends().await;
    });
}

#[test]
fn admission_webhooks_and_policies_reach_no_webhook_and_nobody_is_named() {
    run(async {
        let resources = ["validatingadmissionpolicies.admissionregistration.k8s.io"];
        let watched = Attributed::namespaced(Scene::shared("unseen").await, &resources).await;
        let policies = kube::Api::<k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy>::all(
            watched.alice.clone(),
        );
        let policy = json!({"metadata": {"name": "unseen-names"}, "spec": {"failurePolicy": "Ignore",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["nothing"]}]},
            "validations": [{"expression": "true"}]}});
        create(&policies, object(policy)).await;
        delete(&policies, "unseen-names").await;
        watched.tells("unseen-names", &["reverser unknown [CREATE]", "reverser unknown [DELETE]"]).await;
        watched.ends().await;
    });
}

#[test]
fn an_object_that_takes_six_bytes_a_character_to_send_has_its_authors() {
    run(async {
        let watched = Attributed::namespaced(Scene::shared("escaped").await, &[]).await;
        // As HTML has them: one byte each for who writes and for etcd, `\u003c` in a review, which has two such objects.
        create(&watched.alices(), config_map("web", &"<".repeat(1_000_000))).await;
        patch(&watched.bobs(), "web", json!({"metadata": {"labels": {"a": "b"}}})).await;
        watched.tells("web", &["alice admission [CREATE]", "bob admission [UPDATE]"]).await;
        watched.ends().await;
    });
}
