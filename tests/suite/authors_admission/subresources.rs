//! Writes by other doors: scale, status, eviction, binding.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Client,
    api::{EvictParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::Attributed;
use crate::scene::{Scene, create, object, patch, run};

#[test]
fn who_scales_is_the_author_and_who_writes_a_status_is_not_that_of_the_next_change() {
    run(async {
        let scene = Scene::unwatched("scaling").await;
        let watched = Attributed::namespaced(scene, &["deployments.apps"]).await;
        let (alices, bobs) = (watched.of::<Deployment>(&watched.alice), watched.of::<Deployment>(&watched.bob));
        let labels = json!({"app": "web"});
        let template =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web"}]}});
        let web = json!({"metadata": {"name": "web"}, "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}});
        create(&alices, object(web)).await;
        let merge = |change: Value| Patch::Merge(change);
        bobs.patch_scale("web", &PatchParams::default(), &merge(json!({"spec": {"replicas": 3}}))).await.unwrap();
        alices.patch_scale("web", &PatchParams::default(), &merge(json!({"spec": {"replicas": 4}}))).await.unwrap();
        // Bob would scale it to what it is.
        bobs.patch_scale("web", &PatchParams::default(), &merge(json!({"spec": {"replicas": 4}}))).await.unwrap();
        patch(&alices, "web", json!({"spec": {"replicas": 5}})).await;
        let status = json!({"status": {"observedGeneration": 4, "replicas": 5}});
        bobs.patch_status("web", &PatchParams::default(), &merge(status)).await.unwrap();
        patch(&alices, "web", json!({"metadata": {"labels": {"app": "web"}}})).await;
        watched
            .tells(
                "web",
                &[
                    "alice admission [CREATE]",
                    "bob admission [UPDATE]",
                    "alice admission [UPDATE]",
                    "alice admission [UPDATE]",
                    "alice admission [UPDATE]",
                ],
            )
            .await;
        watched.ends().await;
    });
}

#[test]
fn who_evicts_a_pod_is_the_author_of_its_deletion_and_who_bound_it_of_nothing() {
    run(async {
        let watched = Attributed::namespaced(Scene::unwatched("evicting").await, &["pods"]).await;
        let (alices, bobs) = (watched.of::<Pod>(&watched.alice), watched.of::<Pod>(&watched.bob));
        for name in ["bound", "waiting"] {
            let spec = json!({"containers": [{"name": "web", "image": "web"}]});
            create(&alices, object(json!({"metadata": {"name": name}, "spec": spec}))).await;
        }
        bind(&watched.bob, &watched.scene.namespace, "bound", "node-1").await;
        patch(&alices, "bound", json!({"metadata": {"labels": {"app": "web"}}})).await;
        for name in ["bound", "waiting"] {
            bobs.evict(name, &EvictParams::default()).await.unwrap();
        }
        watched
            .tells("bound", &["alice admission [CREATE]", "alice admission [UPDATE]", "bob admission [DELETE]"])
            .await;
        watched.tells("waiting", &["alice admission [CREATE]", "bob admission [DELETE]"]).await;
        watched.ends().await;
    });
}

/// Binds a pod to a node, as a scheduler does.
async fn bind(user: &Client, namespace: &str, name: &str, node: &str) {
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}});
    let request = http::Request::post(format!("/api/v1/namespaces/{namespace}/pods/{name}/binding"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&binding).unwrap());
    user.request::<Value>(request.unwrap()).await.unwrap();
}
