//! What goes because something else went.

use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams},
};
use reverser_testbed::eventually;
use reverser_tests::LIMIT;
use serde_json::{Value, json};

use super::Attributed;
use crate::scene::{Scene, config_map, crd, create, delete, object, run};

#[test]
fn what_a_namespace_held_and_what_an_owner_owned_was_deleted_by_whoever_deleted_these() {
    run(async {
        let watched = Attributed::everywhere(Scene::alone("cascading").await, &["namespaces"]).await;
        let namespaces = |user| Api::<Namespace>::all(user);
        let doomed: Namespace = object(json!({"metadata": {"name": "doomed"}}));
        create(&namespaces(watched.bob.clone()), doomed).await;
        let inside = Api::<ConfigMap>::namespaced(watched.bob.clone(), "doomed");
        create(&inside, config_map("inside", "1")).await;
        create(&inside, config_map("deeper", "1")).await;
        let owner = create(&watched.bobs(), config_map("owner", "1")).await;
        let uid = owner.metadata.uid.unwrap();
        let owned = |name: &str, owner: &str, uid: &str| -> ConfigMap {
            let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid}]);
            object(json!({"metadata": {"name": name, "ownerReferences": reference}, "data": {"key": "1"}}))
        };
        let owned_uid = create(&watched.bobs(), owned("owned", "owner", &uid)).await.metadata.uid.unwrap();
        create(&watched.bobs(), owned("owned-twice", "owned", &owned_uid)).await;

        delete(&namespaces(watched.alice.clone()), "doomed").await;
        delete(&watched.alices(), "owner").await;
        let cascade = ["bob admission [CREATE]", "alice cascade [DELETE]"];
        let asked_for = ["bob admission [CREATE]", "alice admission [DELETE]"];
        watched.tells("doomed", &asked_for).await;
        watched.tells("inside", &cascade).await;
        watched.tells("deeper", &cascade).await;
        watched.tells("owner", &asked_for).await;
        watched.tells("owned", &cascade).await;
        watched.tells("owned-twice", &cascade).await;
        watched.ends().await;
    });
}

#[test]
fn the_objects_of_a_definition_were_deleted_by_whoever_deleted_the_definition() {
    run(async {
        let groups = "group=undefined.example.com|core|apiextensions.k8s.io";
        let watched = Attributed::with(Scene::unwatched("undefined").await, &["--only", groups]).await;
        let definitions = |user| Api::<CustomResourceDefinition>::all(user);
        create(&definitions(watched.bob.clone()), crd("undefined.example.com", "Gadget")).await;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("undefined.example.com", "v1", "Gadget"));
        let gadgets = Api::<DynamicObject>::namespaced_with(watched.bob.clone(), &watched.scene.namespace, &kind);
        for name in ["first", "second"] {
            let gadget: Value =
                json!({"apiVersion": "undefined.example.com/v1", "kind": "Gadget", "metadata": {"name": name}});
            eventually("the kind to be served", LIMIT, async || {
                gadgets.create(&PostParams::default(), &object(gadget.clone())).await
            })
            .await;
        }
        // The kind is watched by now, and its requests are asked for.
        for name in ["first", "second"] {
            eventually("a commit", LIMIT, async || {
                let commits = watched.commits(name).await;
                if commits.is_empty() { Err(commits) } else { Ok(()) }
            })
            .await;
        }
        let alices = definitions(watched.alice.clone());
        alices.delete("gadgets.undefined.example.com", &DeleteParams::default()).await.unwrap();
        for name in ["first", "second"] {
            eventually("the deletion", LIMIT, async || {
                let commits = watched.commits(name).await;
                if commits.len() == 2 { Ok(()) } else { Err(commits) }
            })
            .await;
            let commits = watched.commits(name).await;
            // The first may have been made before its requests were asked for.
            let created = super::summary(&commits[0]);
            assert!(["bob admission [CREATE]", "reverser unknown [CREATE]"].contains(&&*created), "{created}");
            assert_eq!(super::summary(&commits[1]), "alice cascade [DELETE]");
        }
        watched.tells("gadgets.undefined.example.com", &["bob admission [CREATE]", "alice admission [DELETE]"]).await;
        watched.ends().await;
    });
}
