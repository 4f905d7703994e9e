//! Users who change what they like.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{NAMESPACES, kinds, random::Random};
use crate::scene;

/// One user at work.
pub(super) struct Client {
    name: String,
    client: kube::Client,
    random: Random,
    stop: Arc<AtomicBool>,
    /// How many values it has made up; each is another one.
    made: u64,
}

impl Client {
    pub(super) fn new(name: String, client: kube::Client, random: Random, stop: Arc<AtomicBool>) -> Self {
        Self { name, client, random, stop, made: 0 }
    }

    /// Works until it is stopped. What is refused, or answered by nobody, is as good as what is not: the audit log tells.
    pub(super) async fn work(mut self) {
        let kinds = kinds();
        while !self.stop.load(Ordering::Relaxed) {
            let (kind, namespace) = (self.random.one_of(&kinds).clone(), *self.random.one_of(&NAMESPACES));
            let name = format!("object-{}", self.random.below(NAMES));
            let api = Api::namespaced_with(self.client.clone(), namespace, &kind);
            let pause = match timeout(PATIENCE, self.write(&api, &kind, &name)).await {
                Ok(Ok(())) => self.random.millis(20, 150),
                Ok(Err(kube::Error::Api(_))) => self.random.millis(5, 50),
                Ok(Err(_)) | Err(_) => self.random.millis(100, 300),
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn write(&mut self, api: &Api<DynamicObject>, kind: &ApiResource, name: &str) -> Result<(), kube::Error> {
        let value = self.value();
        let merge = |change: Value| async move {
            api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
        };
        match self.random.below(100) {
            0..25 => self.create(api, kind, Some(name), &value).await,
            25..30 => self.create(api, kind, None, &value).await,
            30..55 => merge(content(kind, &value)).await,
            55..65 => {
                let params = PatchParams::apply(&self.name).force();
                api.patch(name, &params, &Patch::Apply(object(kind, name, &value))).await.map(drop)
            }
            65..72 => merge(json!({"metadata": {"labels": {"touched-by": self.name}}})).await,
            // Changes nothing that anybody authored, or nothing at all.
            72..80 => match &*kind.kind {
                "Deployment" => {
                    let replicas = json!({"spec": {"replicas": self.random.below(3)}});
                    api.patch_scale(name, &PatchParams::default(), &Patch::Merge(replicas)).await.map(drop)
                }
                "Widget" => {
                    let status = json!({"status": {"value": value}});
                    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.map(drop)
                }
                _ => merge(json!({"metadata": {"labels": {"tier": "soak"}}})).await,
            },
            80..84 => self.release(api, name).await,
            84..86 => {
                let params = PostParams { dry_run: true, ..PostParams::default() };
                api.create(&params, &scene::object(object(kind, name, &value))).await.map(drop)
            }
            86..87 => {
                let touched = ListParams::default().labels(&format!("touched-by={}", self.name));
                api.delete_collection(&DeleteParams::default(), &touched).await.map(drop)
            }
            _ => api.delete(name, &DeleteParams::default()).await.map(drop),
        }
    }

    async fn create(
        &mut self,
        api: &Api<DynamicObject>,
        kind: &ApiResource,
        name: Option<&str>,
        value: &str,
    ) -> Result<(), kube::Error> {
        let mut made = object(kind, name.unwrap_or_default(), value);
        if name.is_none() {
            made["metadata"] = json!({"generateName": "run-", "labels": {"touched-by": self.name}});
        } else if self.random.below(5) == 0 {
            made["metadata"]["finalizers"] = json!([FINALIZER]);
        }
        api.create(&PostParams::default(), &scene::object(made)).await.map(drop)
    }

    /// Lets an object go that waits for a finalizer.
    async fn release(&self, api: &Api<DynamicObject>, name: &str) -> Result<(), kube::Error> {
        let found = api.get(name).await?.metadata;
        if found.deletion_timestamp.is_none() {
            return Ok(());
        }
        // Of this one alone, not of one that has taken its name.
        let change = json!({"metadata": {
            "uid": found.uid, "resourceVersion": found.resource_version, "finalizers": null}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
    }

    fn value(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.name, self.made)
    }
}

/// Returns an object with this value in it.
pub(super) fn object(kind: &ApiResource, name: &str, value: &str) -> Value {
    let mut object = content(kind, value);
    object["apiVersion"] = json!(kind.api_version);
    object["kind"] = json!(kind.kind);
    object["metadata"] = json!({"name": name, "labels": {"tier": "soak"}});
    if kind.kind == "Deployment" {
        object["spec"]["replicas"] = json!(0);
        object["spec"]["revisionHistoryLimit"] = json!(0);
        object["spec"]["selector"] = json!({"matchLabels": {"app": "soak"}});
        object["spec"]["template"]["metadata"]["labels"] = json!({"app": "soak"});
        object["spec"]["template"]["spec"] =
            json!({"containers": [{"name": "soak", "image": "registry.invalid/soak"}]});
    }
    object
}

/// Returns the part of an object that holds the value.
fn content(kind: &ApiResource, value: &str) -> Value {
    match &*kind.kind {
        "ConfigMap" => json!({"data": {"value": value, "lines": format!("a\n{value}\n")}}),
        "Deployment" => json!({"spec": {"template": {"metadata": {"annotations": {"value": value}}}}}),
        _ => json!({"spec": {"value": value, "empty": {}}}),
    }
}

/// Few, so that users meet at the same objects.
const NAMES: u64 = 6;

/// How long a user waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

const FINALIZER: &str = "soak.example.com/hold";
