//! What an object says about who wrote its fields.
//!
//! The last-applied annotation is the manifest that somebody gave to `kubectl apply`; an entry of managedFields lists
//! what somebody sent, with server-side apply (`Apply`) or any other way (`Update`). [`Sharing`] says which of them
//! counts.

use serde_json::Value;

use super::rules::Sharing;
use crate::field_path::At;

/// Where `kubectl apply` keeps the manifest that it was given.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The witnesses of one object.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    object: &'a Value,
    /// The manifest that was given to `kubectl apply`.
    pub(super) last_applied: Option<Value>,
    /// The entries of managedFields.
    pub(super) entries: &'a [Value],
}

impl<'a> Evidence<'a> {
    /// Reads the witnesses of `object`; one that can't be read says nothing.
    pub(super) fn of(object: &'a Value) -> Self {
        let metadata = &object["metadata"];
        let last_applied =
            metadata["annotations"][LAST_APPLIED].as_str().and_then(|text| serde_json::from_str(text).ok());
        let entries = metadata["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self { object, last_applied, entries }
    }

    /// Takes a manifest for the only witness.
    pub(super) fn of_manifest(object: &'a Value, applied: Value) -> Self {
        Self { object, last_applied: Some(applied), entries: &[] }
    }

    /// Returns whether somebody wrote the value at `location`.
    pub(super) fn is_authored(&self, location: &[At<'_>], sharing: Sharing) -> bool {
        // An entry with a subresource is a controller's report.
        let counts = |entry: &Value| match sharing {
            Sharing::Applied => is_plain(entry) && entry["operation"] == "Apply",
            Sharing::Never => false,
            Sharing::Sent => is_plain(entry),
        };
        let is_applied = |applied: &Value| sharing != Sharing::Never && is_applied(applied, self.object, location);
        self.last_applied.as_ref().is_some_and(is_applied)
            || self.entries.iter().any(|entry| counts(entry) && is_owned(&entry["fieldsV1"], self.object, location))
    }
}

fn is_plain(entry: &Value) -> bool {
    entry["subresource"].as_str().unwrap_or_default().is_empty()
}

/// Returns whether the applied manifest has the live value at `location`. Lists are compared by content: the server may
/// have put items of its own between the author's.
fn is_applied(applied: &Value, live: &Value, location: &[At<'_>]) -> bool {
    match location {
        [] => applied == live,
        [At::Key(key), rest @ ..] => match (applied.get(key.as_ref()), live.get(key.as_ref())) {
            (Some(applied), Some(live)) => is_applied(applied, live, rest),
            _ => false,
        },
        [At::Index(index), rest @ ..] => match (applied.as_array(), live.get(*index)) {
            (Some(items), Some(live)) => items.iter().any(|item| is_applied(item, live, rest)),
            _ => false,
        },
    }
}

/// Returns whether the field set (`fieldsV1`) names the value at `location`: `f:NAME` is a field, `k:{…}` the list item
/// with these key fields, `v:…` the item with that value. A list without items is owned as a whole, which says nothing
/// about one item.
fn is_owned(fields: &Value, live: &Value, location: &[At<'_>]) -> bool {
    match location {
        [] => true,
        [At::Key(key), rest @ ..] => match (fields.get(format!("f:{key}")), live.get(key.as_ref())) {
            (Some(fields), Some(live)) => is_owned(fields, live, rest),
            _ => false,
        },
        [At::Index(index), rest @ ..] => match (fields.as_object(), live.get(*index)) {
            (Some(items), Some(live)) => {
                items.iter().any(|(id, fields)| names(id, live) && is_owned(fields, live, rest))
            }
            _ => false,
        },
    }
}

/// Returns whether a list item's path element means this item.
pub(super) fn names(id: &str, item: &Value) -> bool {
    let parse = |text| serde_json::from_str::<Value>(text).ok();
    if let Some(keys) = id.strip_prefix("k:").and_then(parse) {
        return keys.as_object().is_some_and(|keys| keys.iter().all(|(key, value)| item.get(key) == Some(value)));
    }
    id.strip_prefix("v:").and_then(parse).is_some_and(|value| value == *item)
}
