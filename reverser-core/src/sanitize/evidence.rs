//! What an object says about who wrote its fields.
//!
//! The last-applied annotation is the manifest that somebody gave to `kubectl apply`; an entry of managedFields lists
//! what somebody sent, with server-side apply (`Apply`) or any other way (`Update`). [`Sharing`] says which of them
//! counts.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use serde_json::Value;

use super::{field_set::FieldSet, rules::Sharing};
use crate::field_path::At;

/// Where `kubectl apply` keeps the manifest that it was given.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The witnesses of one object.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    object: &'a Value,
    /// The manifest that was given to `kubectl apply`.
    pub(super) last_applied: Option<Value>,
    /// The values that it has, by where they stand, as far as somebody asked.
    applied: RefCell<HashMap<Vec<Place>, HashSet<Value>>>,
    /// The entries of managedFields.
    pub(super) entries: Vec<Entry<'a>>,
}

/// What one manager wrote in one way.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) entry: &'a Value,
    pub(super) fields: FieldSet<'a>,
}

/// A step down, to a field or to any item of a list.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Place {
    Item,
    Key(String),
}

impl<'a> Evidence<'a> {
    /// Reads the witnesses of `object`; one that can't be read says nothing.
    pub(super) fn of(object: &'a Value) -> Self {
        let metadata = &object["metadata"];
        let last_applied =
            metadata["annotations"][LAST_APPLIED].as_str().and_then(|text| serde_json::from_str(text).ok());
        let entries = metadata["managedFields"].as_array().into_iter().flatten();
        let entries = entries.map(|entry| Entry { entry, fields: FieldSet::new(&entry["fieldsV1"]) }).collect();
        Self { object, last_applied, applied: RefCell::default(), entries }
    }

    /// Takes a manifest for the only witness.
    pub(super) fn of_manifest(object: &'a Value, applied: Value) -> Self {
        Self { object, last_applied: Some(applied), applied: RefCell::default(), entries: vec![] }
    }

    /// Returns whether somebody wrote the value, which stands at `location`.
    pub(super) fn is_authored(&self, value: &Value, location: &[At<'_>], sharing: Sharing) -> bool {
        // An entry with a subresource is a controller's report.
        let counts = |entry: &Value| match sharing {
            Sharing::Applied => is_plain(entry) && entry["operation"] == "Apply",
            Sharing::Never => false,
            Sharing::Sent => is_plain(entry) && !is_component(entry),
        };
        let is_sent = |Entry { entry, fields }: &Entry<'_>| counts(entry) && is_owned(fields, self.object, location);
        sharing != Sharing::Never && self.is_applied(value, location) || self.entries.iter().any(is_sent)
    }

    /// Returns whether the applied manifest has the value there. Lists are compared by content: the server may have put
    /// items of its own between the author's.
    fn is_applied(&self, value: &Value, location: &[At<'_>]) -> bool {
        let Some(manifest) = &self.last_applied else { return false };
        let place = |at: &At<'_>| match at {
            At::Index(_) => Place::Item,
            At::Key(key) => Place::Key(key.to_string()),
        };
        let mut applied = self.applied.borrow_mut();
        let values = applied.entry(location.iter().map(place).collect()).or_insert_with_key(|places| {
            let mut values = HashSet::new();
            gather(manifest, places, &mut values);
            values
        });
        values.contains(value)
    }
}

/// Returns whether the writer is a part of Kubernetes that writes what authors may write, too: a Node's `podCIDR`, its
/// condition taints. Each is called like its program.
fn is_component(entry: &Value) -> bool {
    let manager = entry["manager"].as_str().unwrap_or_default();
    matches!(manager, "cloud-controller-manager" | "kube-controller-manager" | "kube-scheduler" | "kubelet")
}

fn is_plain(entry: &Value) -> bool {
    entry["subresource"].as_str().unwrap_or_default().is_empty()
}

fn gather(value: &Value, places: &[Place], values: &mut HashSet<Value>) {
    match places {
        [] => {
            values.insert(value.clone());
        }
        [Place::Item, rest @ ..] => {
            value.as_array().into_iter().flatten().for_each(|item| gather(item, rest, values));
        }
        [Place::Key(key), rest @ ..] => {
            if let Some(part) = value.get(key) {
                gather(part, rest, values);
            }
        }
    }
}

/// Returns whether the field set names the value at `location`. A list without items is owned as a whole, which says
/// nothing about one item.
fn is_owned(fields: &FieldSet<'_>, live: &Value, location: &[At<'_>]) -> bool {
    match location {
        [] => true,
        [At::Key(key), rest @ ..] => match (fields.at_key(key), live.get(key.as_ref())) {
            (Some(fields), Some(live)) => is_owned(fields, live, rest),
            _ => false,
        },
        [At::Index(index), rest @ ..] => {
            live.get(*index).is_some_and(|live| fields.at_item(live).any(|fields| is_owned(fields, live, rest)))
        }
    }
}
