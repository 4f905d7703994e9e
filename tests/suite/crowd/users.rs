//! Users who get in each other's way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use crate::{scene, soak::Random};

pub(super) struct User {
    pub(super) name: String,
    /// It is told apart by it in the replicas that it sets, below [`OF_USER`].
    pub(super) number: u64,
    pub(super) client: Client,
    pub(super) namespaces: Vec<String>,
    pub(super) random: Random,
    pub(super) stop: Arc<AtomicBool>,
    /// How many values it has made up.
    pub(super) made: u64,
}

impl User {
    /// Works until it is stopped. What is refused is as good as what is not: the audit log tells.
    pub(super) async fn work(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            if let Err(error) = self.write().await {
                assert!(matches!(error, kube::Error::Api(_)), "{}: {error}", self.name);
            }
            tokio::time::sleep(self.random.millis(1, 60)).await;
        }
    }

    async fn write(&mut self) -> Result<(), kube::Error> {
        self.made += 1;
        let name = format!("object-{}", self.random.below(OBJECTS));
        // Nobody else writes this value.
        let value = format!("{}/{}", self.name, self.made);
        let namespace = self.random.one_of(&self.namespaces).clone();
        let [configs, widgets, deployments] =
            kinds().map(|kind| Api::<DynamicObject>::namespaced_with(self.client.clone(), &namespace, &kind));
        let is_widget = self.random.below(4) == 0;
        let (kind, objects) = if is_widget { (&kinds()[1], &widgets) } else { (&kinds()[0], &configs) };
        let (params, dry) = (PatchParams::default(), PatchParams { dry_run: true, ..PatchParams::default() });
        let merge = async |params: &PatchParams, change: Value| {
            objects.patch(&name, params, &Patch::Merge(change)).await.map(drop)
        };
        match self.random.below(100) {
            0..17 => create(objects, of(kind, &json!({"name": name}), &value)).await,
            17..40 => merge(&params, content(kind, &value)).await,
            // What another one may write at the same time, too.
            40..46 => merge(&params, content(kind, SAME)).await,
            46..53 => {
                let apply = PatchParams::apply(&self.name).force();
                let patch = Patch::Apply(of(kind, &json!({"name": name}), &value));
                objects.patch(&name, &apply, &patch).await.map(drop)
            }
            // Read, changed, and refused when somebody was quicker.
            53..61 => replace(objects, &name, content(kind, &value)).await,
            61..65 => replace(objects, &name, content(kind, SAME)).await,
            65..67 => merge(&dry, content(kind, &value)).await,
            // Changes nothing: it is there from the beginning.
            67..70 => merge(&params, json!({"metadata": {"labels": {"kind": "crowd"}}})).await,
            70..72 => merge(&params, json!({"metadata": {"labels": {"bad key": value}}})).await,
            72..75 => {
                create(objects, of(kind, &json!({"generateName": "made-", "labels": {"made": "yes"}}), &value)).await
            }
            75..77 => self.adopt(objects, kind, &name, &value).await,
            77..82 => self.scale(&deployments).await,
            82..86 => {
                // Nobody else sets this number.
                let replicas = self.made * OF_USER + self.number;
                widgets
                    .patch_scale(&name, &params, &Patch::Merge(json!({"spec": {"replicas": replicas}})))
                    .await
                    .map(drop)
            }
            86..87 => {
                widgets.patch_status(&name, &params, &Patch::Merge(json!({"status": {"value": value}}))).await.map(drop)
            }
            87..91 => release(objects, &name).await,
            91..92 => {
                let made = ListParams::default().labels("made=yes");
                objects.delete_collection(&DeleteParams::default(), &made).await.map(drop)
            }
            92..94 => objects.delete(&name, &DeleteParams::foreground()).await.map(drop),
            _ => objects.delete(&name, &DeleteParams::default()).await.map(drop),
        }
    }

    /// Makes an object that goes with another one.
    async fn adopt(
        &self,
        objects: &Api<DynamicObject>,
        kind: &ApiResource,
        owner: &str,
        value: &str,
    ) -> Result<(), kube::Error> {
        let uid = objects.get(owner).await?.metadata.uid;
        let owner = json!({"apiVersion": kind.api_version, "kind": kind.kind, "name": owner, "uid": uid});
        let metadata = json!({"generateName": "child-", "ownerReferences": [owner]});
        create(objects, of(kind, &metadata, value)).await
    }

    async fn scale(&mut self, deployments: &Api<DynamicObject>) -> Result<(), kube::Error> {
        let name = format!("web-{}", self.random.below(3));
        if self.random.below(4) == 0 {
            return create(deployments, deployment(&name)).await;
        }
        let replicas = json!({"spec": {"replicas": self.random.below(3)}});
        deployments.patch_scale(&name, &PatchParams::default(), &Patch::Merge(replicas)).await.map(drop)
    }
}

/// Creates so many objects as fast as it can, in all namespaces by turns.
pub(super) async fn create_many(name: String, client: Client, namespaces: Vec<String>, creates: usize) {
    let kind = &kinds()[0];
    let creating = stream::iter(0..creates).for_each_concurrent(8, async |number| {
        let namespace = &namespaces[number % namespaces.len()];
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, kind);
        let metadata = json!({"name": format!("{name}-{number}")});
        create(&api, of(kind, &metadata, &format!("{name}/{number}"))).await.unwrap();
    });
    creating.await;
}

/// Returns what is changed.
pub(super) fn kinds() -> [ApiResource; 3] {
    [("", "v1", "ConfigMap"), ("crowd.example.com", "v1", "Widget"), ("apps", "v1", "Deployment")]
        .map(|(group, version, kind)| ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
}

/// Returns an object of a kind.
pub(super) fn of(kind: &ApiResource, metadata: &Value, value: &str) -> Value {
    let mut object = if kind.kind == "Deployment" { deployment("") } else { content(kind, value) };
    object["apiVersion"] = json!(kind.api_version);
    object["kind"] = json!(kind.kind);
    object["metadata"] = metadata.clone();
    if object["metadata"]["labels"].is_null() {
        object["metadata"]["labels"] = json!({"kind": "crowd"});
    }
    object
}

/// Returns the part of an object that holds a value.
fn content(kind: &ApiResource, value: &str) -> Value {
    let field = if kind.kind == "ConfigMap" { "data" } else { "spec" };
    json!({field: {"value": value}})
}

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "registry.invalid/web"}]}}}})
}

async fn create(objects: &Api<DynamicObject>, made: Value) -> Result<(), kube::Error> {
    objects.create(&PostParams::default(), &scene::object(made)).await.map(drop)
}

async fn replace(objects: &Api<DynamicObject>, name: &str, content: Value) -> Result<(), kube::Error> {
    let mut read = objects.get(name).await?;
    for (field, value) in content.as_object().into_iter().flatten() {
        read.data[field]["value"] = value["value"].clone();
    }
    objects.replace(name, &PostParams::default(), &read).await.map(drop)
}

/// Lets an object go that waits for a finalizer; or gives it one.
async fn release(objects: &Api<DynamicObject>, name: &str) -> Result<(), kube::Error> {
    let found = objects.get(name).await?.metadata;
    let finalizers = match found.deletion_timestamp {
        Some(_) => Value::Null,
        None => json!(["crowd.example.com/hold"]),
    };
    // Of this one alone, not of one that has taken its name.
    let change = json!({"metadata": {"uid": found.uid, "finalizers": finalizers}});
    objects.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
}

const OBJECTS: u64 = 25;

/// More than there are users.
pub(super) const OF_USER: u64 = 16;

const SAME: &str = "the same";
