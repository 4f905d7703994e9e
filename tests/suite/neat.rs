//! The table of the neat profile, against the API server that it describes.

use futures::{StreamExt, stream};
use kube::{
    Client, Error,
    api::{Api, DynamicObject, PostParams},
    discovery::{Discovery, Scope},
};
use reverser_core::{Sanitizer, yaml};
use serde_json::Value;

use crate::scene::{Scene, object, run};

#[test]
fn what_is_left_away_is_what_the_server_puts_back_and_nothing_else_is() {
    run(async {
        let scene = Scene::shared("neat").await;
        let server = Server::new(scene.plane.client(), "neat").await;
        let mut wrong = vec![];
        let authored = yaml::parse(include_str!("../fixtures/defaults.yaml")).unwrap();
        assert!(authored.len() > 70, "{}", authored.len());
        for authored in authored {
            let name = format!("{} {}", authored["kind"], authored["metadata"]["name"]);
            let stored = match server.store(authored).await {
                Ok(stored) => stored,
                Err(error) => {
                    wrong.push(format!("{name} of the fixture is refused: {error}"));
                    continue;
                }
            };
            let neat = Sanitizer::neat().clean(stored.clone());
            match server.store(neat.clone()).await {
                Ok(again) if again == stored => {}
                Ok(again) => wrong.push(format!("{name} becomes another\n{neat:#}\n{again:#}\nwas\n{stored:#}")),
                Err(error) => wrong.push(format!("{name} is refused: {error}\n{neat:#}")),
            }
            // Each field in turn, by the server's own answer: is it a default that the table lacks?
            let fields = fields(&neat);
            let kept = stream::iter(fields).map(async |field| {
                let mut without = neat.clone();
                remove(&mut without, &field);
                (server.store(without).await.ok().as_ref() == Some(&stored)).then_some(field)
            });
            for field in kept.buffered(8).filter_map(async |field| field).collect::<Vec<_>>().await {
                if !KEPT.iter().any(|(kind, end)| neat["kind"] == *kind && field.ends_with(end)) {
                    wrong.push(format!("{name} keeps {field}, a default"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// What the server would put back and the profile keeps, by kind and the end of the path.
const KEPT: &[(&str, &str)] = &[
    ("Pod", "/emptyDir"),                   // a volume without a type reads like a mistake
    ("NetworkPolicy", "/spec/podSelector"), // all Pods: nothing should look as if it said nothing
    ("NetworkPolicy", "/spec"),
    ("Service", "/ipFamilies"), // the cluster's choice, not the API's
    // Required by the schema, though the server takes a manifest without.
    ("CSIDriver", "/spec"),
    ("ClusterRoleBinding", "/roleRef/apiGroup"),
    ("Pod", "/iscsi/lun"),
    ("PriorityClass", "/value"),
    ("RoleBinding", "/roleRef/apiGroup"),
];

/// An API server that stores nothing: it says what it would store.
struct Server {
    client: Client,
    discovery: Discovery,
    namespace: &'static str,
}

impl Server {
    async fn new(client: Client, namespace: &'static str) -> Self {
        let discovery = Discovery::new(client.clone()).run().await.unwrap();
        Self { client, discovery, namespace }
    }

    /// Returns what the server would store, without what it owns.
    async fn store(&self, manifest: Value) -> Result<Value, Error> {
        let manifest: DynamicObject = object(manifest);
        let gvk = manifest.types.as_ref().unwrap().try_into().unwrap();
        let (resource, capabilities) = self.discovery.resolve_gvk(&gvk).unwrap_or_else(|| panic!("{gvk:?} is served"));
        let api = match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), self.namespace, &resource),
        };
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let stored = api.create(&dry_run, &manifest).await?;
        Ok(Sanitizer::faithful().clean(serde_json::to_value(stored).unwrap()))
    }
}

/// Returns the JSON pointers of all fields at all depths, but for those that say which object it is.
fn fields(object: &Value) -> Vec<String> {
    fn collect(value: &Value, pointer: &str, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    collect(item, &format!("{pointer}/{index}"), found);
                }
            }
            Value::Object(map) => {
                for (key, part) in map {
                    let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    collect(part, &pointer, found);
                    found.push(pointer);
                }
            }
            _ => {}
        }
    }
    let mut found = vec![];
    collect(object, "", &mut found);
    found.retain(|pointer| !["/apiVersion", "/kind", "/metadata"].iter().any(|field| pointer.starts_with(field)));
    found
}

fn remove(object: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(&key).unwrap();
}
