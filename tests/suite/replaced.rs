//! What joins a change with the request that made it, as watches of a real API server tell it: the version that it
//! replaced, and digests of the object.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::api::Patch;
use reverser_core::{Change, Fingerprint, Fingerprinter, Operation, Pipeline, Resource, Selector};
use reverser_k8s::{Cluster, Event, Source, Watch};
use reverser_tests::LIMIT;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::scene::{Scene, config_map, create, create_many, delete, object, patch, run};

#[test]
fn each_change_tells_the_version_that_it_replaced_and_has_the_digests_of_what_was_written() {
    run(async {
        let scene = Scene::unwatched("replaced").await;
        let deployments = Arc::new(Resource::new("apps", "v1", "Deployment", "deployments"));
        let mut watch =
            Watch::new(scene.plane.client(), "c/s", Arc::clone(&deployments), Some(scene.namespace.clone()))
                .read_with(Pipeline::default().sanitizer_of(&deployments))
                .fingerprint_with(fingerprinter());
        assert!(matches!(next(&mut watch).await, Event::Listed(_)));
        let api = scene.api::<Deployment>();
        let container = json!({"containers": [{"name": "web", "image": "web"}]});
        let labels = json!({"app": "web"});
        let web = json!({"metadata": {"name": "web", "finalizers": ["example.com/hold"]}, "spec": {"selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": container}}});
        create(&api, object(web)).await;
        let mut written = vec![state(&scene, &deployments, "web").await];
        patch(&api, "web", json!({"spec": {"replicas": 3}})).await;
        written.push(state(&scene, &deployments, "web").await);
        let status = json!({"status": {"observedGeneration": 1, "replicas": 3}});
        api.patch_status("web", &Default::default(), &Patch::Merge(status)).await.unwrap();
        written.push(state(&scene, &deployments, "web").await);
        api.patch_scale("web", &Default::default(), &Patch::Merge(json!({"spec": {"replicas": 5}}))).await.unwrap();
        written.push(state(&scene, &deployments, "web").await);
        // Nothing changes, and nothing is told.
        patch(&api, "web", json!({"spec": {"replicas": 5}})).await;
        delete(&api, "web").await;
        written.push(state(&scene, &deployments, "web").await);
        patch(&api, "web", json!({"metadata": {"finalizers": null}})).await;

        let changes = changes(&mut watch, 6).await;
        let before = |change: usize| Some(written[change].0.as_str());
        let expected = [
            (Operation::Create, None),
            (Operation::Update, before(0)),
            (Operation::Update, before(1)),
            (Operation::Update, before(2)),
            (Operation::Update, before(3)),
            (Operation::Delete, before(4)),
        ];
        let told: Vec<_> = changes.iter().map(|change| (change.operation, change.replaced.as_deref())).collect();
        assert_eq!(told, expected);
        for (change, (version, fingerprint)) in changes.iter().zip(&written) {
            assert_eq!(change.resource_version.as_ref(), Some(version));
            assert_eq!(change.fingerprint.as_deref(), Some(fingerprint));
        }
        let digests = |of: fn(&Fingerprint) -> u128| {
            let all: Vec<_> = changes.iter().map(|change| of(change.fingerprint.as_ref().unwrap())).collect();
            all.windows(2).map(|two| two[0] != two[1]).collect::<Vec<_>>()
        };
        // A deletion shows what was there before it, not what the write that took the last finalizer would have made of it.
        assert_eq!(digests(|fingerprint| fingerprint.content), [true, true, true, true, false]);
        assert_eq!(
            changes.iter().map(|change| change.fingerprint.as_ref().unwrap().is_terminating).collect::<Vec<_>>(),
            [false, false, false, false, true, true]
        );
        let replicas: Vec<_> = changes.iter().map(|change| change.fingerprint.as_ref().unwrap().replicas).collect();
        assert!(replicas[1] == replicas[2] && replicas[2] != replicas[3], "the status has others' replicas");
    });
}

#[test]
fn behind_a_cursor_the_versions_at_the_cursor_are_known_also_after_a_restart_that_empties_the_history() {
    run(async {
        let scene = Scene::unwatched("cursor").await;
        let configs = scene.api::<ConfigMap>();
        // More than a page of them.
        create_many(&configs, "many", 600, "1").await;
        for name in ["changed", "deleted", "later"] {
            create(&configs, config_map(name, "1")).await;
        }
        let resource = config_maps();
        let watch = || {
            Watch::new(scene.plane.client(), "c/s", config_maps(), Some(scene.namespace.clone()))
                .read_with(Pipeline::default().sanitizer_of(&resource))
                .fingerprint_with(fingerprinter())
        };
        let mut live = watch();
        let Event::Listed(listed) = next(&mut live).await else { panic!("a list comes first") };
        patch(&configs, "changed", json!({"data": {"key": "2"}})).await;
        patch(&configs, "many-7", json!({"data": {"key": "2"}})).await;
        patch(&configs, "changed", json!({"data": {"key": "3"}})).await;
        delete(&configs, "deleted").await;
        let seen = changes(&mut live, 4).await;
        assert!(seen.iter().all(|change| change.replaced.is_some() && change.fingerprint.is_some()), "{seen:?}");

        let mut resumed = watch().resume(&listed.cursor);
        assert!(matches!(next(&mut resumed).await, Event::Resumed));
        assert_same(&changes(&mut resumed, 4).await, &seen);

        scene.plane.restart_api_server().await.unwrap();
        let mut recovered = watch().resume(&listed.cursor);
        assert!(matches!(next(&mut recovered).await, Event::Resumed));
        assert_same(&changes(&mut recovered, 4).await, &seen);
        // What nobody has changed in between is known, too; so is what was recovered.
        let before = configs.get("later").await.unwrap().metadata.resource_version;
        patch(&configs, "later", json!({"data": {"key": "2"}})).await;
        delete(&configs, "changed").await;
        let after = changes(&mut recovered, 2).await;
        let replaced: Vec<_> = after.iter().map(|change| change.replaced.clone()).collect();
        assert_eq!(replaced, [before, seen[2].resource_version.clone()]);
    });
}

#[test]
fn watches_that_targets_share_tell_it_to_each_and_nobody_else_pays() {
    run(async {
        let scene = Scene::shared("joined").await;
        let cluster = Cluster::connect(scene.plane.client(), "c", "one").await.unwrap();
        let selector = Selector { namespaces: [scene.namespace.clone()].into(), ..Selector::default() };
        let pipeline = Pipeline { selector, ..Pipeline::default() };
        let watch = |cluster: &Cluster| cluster.watches(&[config_maps()], &pipeline, &BTreeMap::new()).pop().unwrap();
        let asking = cluster.clone().fingerprint_with(fingerprinter());
        let (mut one, mut other, mut plain) = (watch(&asking), watch(&asking.target("other")), watch(&cluster));
        for watch in [&mut one, &mut other, &mut plain] {
            assert!(matches!(next(watch).await, Event::Listed(_)));
        }
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("web", "1")).await;
        patch(&configs, "web", json!({"data": {"key": "2"}})).await;
        let (ones, others, plains) =
            (changes(&mut one, 2).await, changes(&mut other, 2).await, changes(&mut plain, 2).await);
        assert_same(&ones, &others);
        assert_eq!(ones[1].replaced, ones[0].resource_version);
        assert!(ones.iter().all(|change| change.fingerprint.is_some()));
        assert!(plains.iter().all(|change| change.fingerprint.is_none() && change.replaced.is_none()), "{plains:?}");
    });
}

fn fingerprinter() -> Fingerprinter {
    Fingerprinter::new(*b"the same for all")
}

fn config_maps() -> Arc<Resource> {
    Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps").without_status())
}

/// Returns the version of an object, and its fingerprint, as the API server serves it.
async fn state(scene: &Scene, resource: &Resource, name: &str) -> (String, Fingerprint) {
    let path = format!("/apis/{}/namespaces/{}/{}/{name}", resource.api_version(), scene.namespace, resource.plural);
    let request = http::Request::get(path).body(vec![]).unwrap();
    let text = scene.plane.client().request_text(request).await.unwrap();
    let object: Value = serde_json::from_str(&text).unwrap();
    let version = object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    (version, fingerprinter().of(&text).unwrap())
}

async fn next(source: &mut dyn Source) -> Event {
    timeout(LIMIT, source.next()).await.unwrap().unwrap()
}

/// Returns so many changes that come next.
async fn changes(source: &mut dyn Source, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        match next(source).await {
            Event::Change { change, .. } => changes.push(change),
            Event::Cursor(_) | Event::Gap(_) | Event::Resumed => {}
            other => panic!("{other:?} after {changes:?}"),
        }
    }
    changes
}

/// Checks that both say the same of what they are about, and of what joins it with requests.
#[track_caller]
fn assert_same(told: &[Change], expected: &[Change]) {
    let of = |changes: &[Change]| -> Vec<_> {
        let parts = |change: &Change| {
            let Change { object, operation, resource_version, replaced, fingerprint, .. } = change.clone();
            (object.name, operation, resource_version, replaced, fingerprint)
        };
        changes.iter().map(parts).collect()
    };
    assert_eq!(of(told), of(expected));
}
