//! What the API server filled in, told from what somebody wrote.
//!
//! Every write of a client leaves its mark in managedFields, and defaults leave none with server-side apply: what nobody
//! owns there is a default. Other writes own the defaults too. Of these only `kubectl apply`'s can be told apart, since
//! it keeps the manifest that it was given; fields of every other writer count as written.

use serde_json::Value;

use super::{
    evidence::{Evidence, LAST_APPLIED},
    field_set::FieldSet,
};
use crate::field_path::{At, Location, owned};

/// Returns where the object has values that nobody wrote. None without managedFields: somebody may have edited what
/// `kubectl apply` created, and nothing would show it.
pub(super) fn unwritten(object: &Value, evidence: &Evidence<'_>) -> Vec<Location> {
    if evidence.entries.is_empty() {
        return vec![];
    }
    let is_applier = |entry: &Value| {
        evidence.last_applied.is_some()
            && entry["operation"] == "Update"
            && !entry["fieldsV1"]["f:metadata"]["f:annotations"][format!("f:{LAST_APPLIED}")].is_null()
    };
    Authors::of(evidence, |entry| !is_applier(entry)).missing(object)
}

/// Returns where the object has values that nobody is known to have applied: written some other way, or defaults.
pub(super) fn unapplied(object: &Value, evidence: &Evidence<'_>) -> Vec<Location> {
    Authors::of(evidence, |entry| entry["operation"] == "Apply").missing(object)
}

/// Who wrote something at or below one place, and what.
struct Authors<'e, 'a> {
    /// The same place in manifests.
    manifests: Vec<&'e Value>,
    /// The same place in field sets.
    fields: Vec<&'e FieldSet<'a>>,
}

impl<'e, 'a> Authors<'e, 'a> {
    fn of(evidence: &'e Evidence<'a>, counts: impl Fn(&Value) -> bool) -> Self {
        let entries = evidence.entries.iter().filter(|entry| counts(entry.entry));
        Self { manifests: evidence.last_applied.iter().collect(), fields: entries.map(|entry| &entry.fields).collect() }
    }

    /// Returns the largest parts of `object` that they wrote nothing of.
    fn missing(&self, object: &Value) -> Vec<Location> {
        let mut found = vec![];
        self.walk(object, &mut vec![], &mut found);
        found
    }

    fn is_nobody(&self) -> bool {
        self.manifests.is_empty() && self.fields.is_empty()
    }

    /// Returns whether somebody wrote all of it: a field set that ends here owns what is below.
    fn wrote_whole(&self) -> bool {
        self.fields.iter().any(|fields| fields.is_leaf())
    }

    fn at_key(&self, key: &str) -> Self {
        Self {
            manifests: self.manifests.iter().filter_map(|manifest| manifest.get(key)).collect(),
            fields: self.fields.iter().filter_map(|fields| fields.at_key(key)).collect(),
        }
    }

    /// A field set tells items apart by their keys. A manifest's item is the one at the same place, or the one whose
    /// every value the live item has.
    fn at_item(&self, index: usize, item: &Value, length: usize) -> Self {
        let in_manifest = |manifest: &&'e Value| {
            let items = manifest.as_array()?;
            if items.len() == length {
                return items.get(index);
            }
            items.iter().filter(|_| items.len().saturating_mul(length) <= PAIRS).find(|given| has_all(item, given))
        };
        Self {
            manifests: self.manifests.iter().filter_map(in_manifest).collect(),
            fields: self.fields.iter().filter_map(|fields| fields.at_item(item).next()).collect(),
        }
    }

    fn walk<'v>(&self, value: &'v Value, location: &mut Vec<At<'v>>, found: &mut Vec<Location>) {
        if self.wrote_whole() {
            return;
        }
        match value {
            Value::Object(map) => {
                for (key, part) in map {
                    location.push(At::Key(key.into()));
                    let below = self.at_key(key);
                    if below.is_nobody() && !is_identity(location) {
                        found.push(owned(location));
                    } else {
                        below.walk(part, location, found);
                    }
                    location.pop();
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let below = self.at_item(index, item, items.len());
                    // No default adds an item to an author's list.
                    if !below.is_nobody() {
                        location.push(At::Index(index));
                        below.walk(item, location, found);
                        location.pop();
                    }
                }
            }
            _ => {}
        }
    }
}

/// Pairs of items that are compared when a list has other items than the applied one. Past this, which no list that was
/// written by hand reaches, nothing is said of its items, and they stay as they are.
const PAIRS: usize = 100_000;

/// What names an object: every manifest has it.
pub(super) const IDENTITY: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "generateName"],
    &["metadata", "name"],
    &["metadata", "namespace"],
];

/// Returns whether it is one of [`IDENTITY`].
pub(super) fn is_identity(location: &[At<'_>]) -> bool {
    let is = |names: &&[&str]| {
        location.len() == names.len()
            && location.iter().zip(*names).all(|(at, name)| matches!(at, At::Key(key) if key == name))
    };
    IDENTITY.iter().any(is)
}

/// Returns whether `live` has every value that `given` has.
fn has_all(live: &Value, given: &Value) -> bool {
    match (live, given) {
        (Value::Array(live), Value::Array(given)) => {
            live.len() == given.len() && live.iter().zip(given).all(|(live, given)| has_all(live, given))
        }
        (Value::Object(live), Value::Object(given)) => {
            given.iter().all(|(key, given)| live.get(key).is_some_and(|live| has_all(live, given)))
        }
        (live, given) => live == given,
    }
}
