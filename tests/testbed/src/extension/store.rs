//! Objects in memory, and all that happened to them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Store {
    state: Mutex<Objects>,
    /// Rings when something happens.
    news: Notify,
}

#[derive(Debug, Default)]
struct Objects {
    /// By namespace and name.
    living: BTreeMap<(String, String), Value>,
    /// In order; the version of each is one more than its index.
    events: Vec<(&'static str, Value)>,
}

impl Store {
    pub(super) fn put(&self, group: &str, namespace: &str, name: &str, text: &str) -> u64 {
        let mut state = self.lock();
        let key = (namespace.to_owned(), name.to_owned());
        let kind = if state.living.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        let version = state.events.len() as u64 + 1;
        let uid = format!("00000000-0000-4000-8000-{version:012}");
        let uid = state.living.get(&key).map_or(uid.into(), |old| old["metadata"]["uid"].clone());
        let object = json!({"apiVersion": format!("{group}/v1"), "kind": "Note", "spec": {"text": text},
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": version.to_string()}});
        state.living.insert(key, object.clone());
        state.events.push((kind, object));
        drop(state);
        self.news.notify_waiters();
        version
    }

    pub(super) fn delete(&self, namespace: &str, name: &str) {
        let mut state = self.lock();
        let Some(mut object) = state.living.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        object["metadata"]["resourceVersion"] = (state.events.len() + 1).to_string().into();
        state.events.push(("DELETED", object));
        drop(state);
        self.news.notify_waiters();
    }

    /// Returns the version, and the objects in a namespace or all of them.
    pub(super) fn list(&self, namespace: Option<&str>) -> (u64, Vec<Value>) {
        let state = self.lock();
        let is_in = |object: &&Value| namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace);
        (state.events.len() as u64, state.living.values().filter(is_in).cloned().collect())
    }

    /// Waits for what comes after a version; returns its version and the event as servers write it, its type first.
    pub(super) async fn next(&self, from: u64, namespace: Option<&str>) -> (u64, String) {
        loop {
            // Before the look, so that nothing comes between.
            let news = self.news.notified();
            let found = {
                let state = self.lock();
                let skipped = usize::try_from(from).unwrap_or(usize::MAX);
                let after = state.events.iter().enumerate().skip(skipped);
                let mut after = after.filter(|(_, (_, object))| {
                    namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace)
                });
                after.next().map(|(index, (kind, object))| {
                    (index as u64 + 1, format!(r#"{{"type":"{kind}","object":{object}}}"#))
                })
            };
            match found {
                Some(event) => return event,
                None => news.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        // Each change of it is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
