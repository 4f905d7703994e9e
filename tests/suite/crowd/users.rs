//! Users who get in each other's way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{scene::object, soak::Random};

pub(super) struct User {
    name: String,
    configs: Api<ConfigMap>,
    deployments: Api<Deployment>,
    random: Random,
    stop: Arc<AtomicBool>,
    /// How many values it has made up.
    made: u64,
}

impl User {
    pub(super) fn new(name: String, client: Client, namespace: &str, random: Random, stop: Arc<AtomicBool>) -> Self {
        let configs = Api::namespaced(client.clone(), namespace);
        let deployments = Api::namespaced(client, namespace);
        Self { name, configs, deployments, random, stop, made: 0 }
    }

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
        let data = |value: &str| json!({"data": {"value": value}});
        let (params, dry) = (PatchParams::default(), PatchParams { dry_run: true, ..PatchParams::default() });
        let configs = &self.configs;
        match self.random.below(100) {
            0..20 => configs.create(&PostParams::default(), &of(&name, &value)).await.map(drop),
            20..50 => configs.patch(&name, &params, &Patch::Merge(data(&value))).await.map(drop),
            // What another one may write at the same time, too.
            50..54 => configs.patch(&name, &params, &Patch::Merge(data("the same"))).await.map(drop),
            54..62 => {
                let apply = PatchParams::apply(&self.name).force();
                configs.patch(&name, &apply, &Patch::Apply(of(&name, &value))).await.map(drop)
            }
            // Read, changed, and refused when somebody was quicker.
            62..72 => {
                let mut read = configs.get(&name).await?;
                read.data.get_or_insert_default().insert("value".into(), value);
                configs.replace(&name, &PostParams::default(), &read).await.map(drop)
            }
            72..75 => configs.patch(&name, &dry, &Patch::Merge(data(&value))).await.map(drop),
            // Changes nothing: it is there from the beginning.
            75..79 => configs.patch(&name, &params, &Patch::Merge(json!({"data": {"kind": "crowd"}}))).await.map(drop),
            79..82 => configs.patch(&name, &params, &Patch::Merge(json!({"data": {"bad key": value}}))).await.map(drop),
            82..85 => {
                let made = json!({"metadata": {"generateName": "made-"}, "data": {"value": value}});
                configs.create(&PostParams::default(), &object(made)).await.map(drop)
            }
            85..90 => self.scale().await,
            90..93 => self.release(&name).await,
            _ => configs.delete(&name, &DeleteParams::default()).await.map(drop),
        }
    }

    async fn scale(&mut self) -> Result<(), kube::Error> {
        let name = format!("web-{}", self.random.below(3));
        if self.random.below(4) == 0 {
            let made = self.deployments.create(&PostParams::default(), &object(deployment(&name))).await;
            return made.map(drop);
        }
        let replicas = json!({"spec": {"replicas": self.random.below(50)}});
        self.deployments.patch_scale(&name, &PatchParams::default(), &Patch::Merge(replicas)).await.map(drop)
    }

    /// Lets an object go that waits for a finalizer.
    async fn release(&self, name: &str) -> Result<(), kube::Error> {
        let found = self.configs.get(name).await?.metadata;
        let finalizers = match found.deletion_timestamp {
            Some(_) => Value::Null,
            None => json!(["crowd.example.com/hold"]),
        };
        // Of this one alone, not of one that has taken its name.
        let change = json!({"metadata": {"uid": found.uid, "finalizers": finalizers}});
        self.configs.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
    }
}

fn of(name: &str, value: &str) -> ConfigMap {
    object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"value": value, "kind": "crowd"}}))
}

fn deployment(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "registry.invalid/web"}]}}}})
}

const OBJECTS: u64 = 50;
