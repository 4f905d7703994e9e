//! From an object as the API serves it to the manifest that its author would have written.
//!
//! A deny-list, one table in `sanitize/rules.rs`: what isn't named there is kept, also `{}`, `[]`, `""`, `null` and the
//! fields of kinds that nobody has heard of. Some fields are written by authors and by servers (`clusterIP`,
//! `nodePort`, a Pod's `nodeName`); these are kept when the object shows that somebody sent them, by `kubectl apply`'s
//! annotation or its managedFields. An object that no server has stored (it has neither uid nor resourceVersion) is a
//! manifest already, and keeps them all.
//!
//! ```
//! use serde_json::json;
//!
//! let live = json!({
//!     "apiVersion": "v1", "kind": "Service",
//!     "metadata": {"name": "web", "uid": "4f1c", "resourceVersion": "812"},
//!     "spec": {"clusterIP": "10.96.0.17", "clusterIPs": ["10.96.0.17"], "ports": [{"port": 80}]},
//!     "status": {"loadBalancer": {}},
//! });
//! let authored = json!({
//!     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]},
//! });
//! assert_eq!(reverser_core::Sanitizer::faithful().clean(live), authored);
//! ```

use std::{borrow::Cow, cell::LazyCell};

use serde_json::Value;

use self::{
    evidence::Evidence,
    rules::{RULES, Sharing},
};

mod evidence;
mod rules;
#[cfg(test)]
mod tests;

pub use rules::Rule;

/// Removes from objects what the API server and controllers own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sanitizer {
    keeps_status: bool,
}

impl Sanitizer {
    /// Removes what servers own and keeps the defaults that they filled in: the manifest says what the cluster runs.
    pub fn faithful() -> Self {
        Self { keeps_status: false }
    }

    /// Keeps the top-level `status`: for custom resources without a status subresource, whose `status` is the author's
    /// field like any other. The object doesn't show which it is; API discovery does (`RESOURCE/status`).
    #[must_use]
    pub fn keep_status(self) -> Self {
        Self { keeps_status: true }
    }

    /// Returns the deny-list, a row each, in the order in which one would read it.
    pub fn rules() -> &'static [Rule] {
        RULES
    }

    /// Returns the object without what servers own. A map or list that this empties goes too; one that was empty stays.
    /// Cleaning twice is cleaning once. What isn't an object comes back as it is.
    #[must_use]
    pub fn clean(&self, mut object: Value) -> Value {
        let mut locations = self.locations(&object);
        // From the back and once each, so that removing a list's item moves none that is still to be removed.
        locations.sort_unstable();
        locations.dedup();
        for location in locations.iter().rev() {
            remove(&mut object, location);
        }
        object
    }

    /// Finds all before removing any: conditions and evidence see the object as it came.
    fn locations(&self, object: &Value) -> Vec<Vec<At>> {
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = object["kind"].as_str().unwrap_or_default();
        let is_stored = ["uid", "resourceVersion"].iter().any(|key| !object["metadata"][key].is_null());
        // Read for few objects: most have nothing that a shared row is about.
        let evidence = LazyCell::new(|| Evidence::of(object));
        let mut locations = vec![];
        for rule in RULES.iter().filter(|rule| rule.objects.has(group, kind)) {
            if self.keeps_status && rule.path == "status" {
                continue;
            }
            find(object, rule.path, &mut vec![], &mut |value, location| {
                let is_authored =
                    || rule.sharing != Sharing::Never && (!is_stored || evidence.is_authored(location, rule.sharing));
                if rule.when.holds(object, value) && !is_authored() {
                    locations.push(location.to_vec());
                }
            });
        }
        locations
    }
}

/// One step down from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Index(usize),
    Key(Cow<'static, str>),
}

/// Calls `found` with each value that stands at `path` below `value`, and with its location.
fn find(value: &Value, path: &'static str, location: &mut Vec<At>, found: &mut dyn FnMut(&Value, &[At])) {
    let mut descend = |part: &Value, at: At, rest| {
        location.push(at);
        find(part, rest, location, found);
        location.pop();
    };
    match Step::first(path) {
        None => found(value, location),
        Some((Step::Each, rest)) => {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                descend(item, At::Index(index), rest);
            }
        }
        Some((Step::Key(key), rest)) => {
            if let Some(part) = value.get(key) {
                descend(part, At::Key(key.into()), rest);
            }
        }
        Some((Step::Prefix(prefix), rest)) => {
            for (key, part) in value.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with(prefix)) {
                descend(part, At::Key(key.clone().into()), rest);
            }
        }
    }
}

/// One step of a rule's path, which says the syntax.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Each,
    Key(&'static str),
    Prefix(&'static str),
}

impl Step {
    /// Returns the first step of a path and the rest, or `None` at its end.
    fn first(path: &'static str) -> Option<(Self, &'static str)> {
        let path = path.strip_prefix('.').unwrap_or(path);
        if let Some((bracketed, rest)) = path.strip_prefix('[').and_then(|path| path.split_once(']')) {
            let step = match bracketed.strip_suffix('*') {
                None => Self::Key(bracketed),
                Some("") => Self::Each,
                Some(prefix) => Self::Prefix(prefix),
            };
            return Some((step, rest));
        }
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (key, rest) = path.split_at(end);
        (!key.is_empty()).then_some((Self::Key(key), rest))
    }
}

/// Removes the value at `location`, then what that leaves empty above it, up to the next list's item or the object.
/// Returns whether there was such a value.
fn remove(value: &mut Value, location: &[At]) -> bool {
    match (value, location) {
        (Value::Object(map), [At::Key(key)]) => map.remove(key.as_ref()).is_some(),
        (Value::Array(items), [At::Index(index)]) if *index < items.len() => {
            items.remove(*index);
            true
        }
        (Value::Object(map), [At::Key(key), rest @ ..]) => {
            let Some(part) = map.get_mut(key.as_ref()) else { return false };
            let is_removed = remove(part, rest);
            if is_removed && is_empty(part) {
                map.remove(key.as_ref());
            }
            is_removed
        }
        (Value::Array(items), [At::Index(index), rest @ ..]) => {
            items.get_mut(*index).is_some_and(|item| remove(item, rest))
        }
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
