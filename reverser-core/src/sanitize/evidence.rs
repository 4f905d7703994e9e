//! What an object says about who wrote its fields.
//!
//! The last-applied annotation is the manifest that somebody gave to `kubectl apply`; an entry of managedFields lists
//! what somebody sent, with server-side apply (`Apply`) or any other way (`Update`). [`Sharing`] says which of them
//! counts.

use serde_json::Value;

use super::{At, rules::Sharing};

/// The witnesses of one object.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    object: &'a Value,
    last_applied: Option<Value>,
    entries: Vec<&'a Value>,
}

impl<'a> Evidence<'a> {
    /// Reads the witnesses of `object`; one that can't be read says nothing.
    pub(super) fn of(object: &'a Value) -> Self {
        let metadata = &object["metadata"];
        let last_applied = metadata["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok());
        let entries = metadata["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
        // An entry with a subresource is a controller's report.
        let entries =
            entries.iter().filter(|entry| entry["subresource"].as_str().unwrap_or_default().is_empty()).collect();
        Self { object, last_applied, entries }
    }

    /// Returns whether somebody wrote the value at `location`.
    pub(super) fn is_authored(&self, location: &[At], sharing: Sharing) -> bool {
        let counts = |entry: &Value| match sharing {
            Sharing::Applied => entry["operation"] == "Apply",
            Sharing::Never => false,
            Sharing::Sent => true,
        };
        let is_applied = |applied: &Value| sharing != Sharing::Never && is_applied(applied, self.object, location);
        self.last_applied.as_ref().is_some_and(is_applied)
            || self.entries.iter().any(|entry| counts(entry) && is_owned(&entry["fieldsV1"], self.object, location))
    }
}

/// Returns whether the applied manifest has the live value at `location`. Lists are compared by content: the server may
/// have put items of its own between the author's.
fn is_applied(applied: &Value, live: &Value, location: &[At]) -> bool {
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
fn is_owned(fields: &Value, live: &Value, location: &[At]) -> bool {
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
fn names(id: &str, item: &Value) -> bool {
    let parse = |text| serde_json::from_str::<Value>(text).ok();
    if let Some(keys) = id.strip_prefix("k:").and_then(parse) {
        return keys.as_object().is_some_and(|keys| keys.iter().all(|(key, value)| item.get(key) == Some(value)));
    }
    id.strip_prefix("v:").and_then(parse).is_some_and(|value| value == *item)
}
