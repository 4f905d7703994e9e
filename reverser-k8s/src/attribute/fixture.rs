//! Reviews as an API server sends them, and changes as a watch shows them.

use std::sync::Arc;

use reverser_core::{Change, Fingerprinter, ObjectRef, Operation, Resource};
use serde_json::{Value, json};

/// An object of the tests: `metadata.uid` is made from the number.
pub(super) fn object(uid: u8, version: u64, more: &Value) -> Value {
    let managed = json!([{"manager": "kubectl", "operation": "Update", "time": "2026-11-27T08:00:00Z"}]);
    let mut object = json!({"apiVersion": "v1", "metadata": {
        "name": format!("o{uid}"), "namespace": "shop", "uid": self::uid(uid), "managedFields": managed,
    }});
    if version > 0 {
        object["metadata"]["resourceVersion"] = version.to_string().into();
    }
    merge(&mut object, more);
    object
}

pub(super) fn uid(uid: u8) -> String {
    format!("4f1c0000-0000-4000-8000-0000000000{uid:02x}")
}

fn merge(into: &mut Value, more: &Value) {
    match (into.as_object_mut(), more.as_object()) {
        (Some(into), Some(more)) => {
            more.iter().for_each(|(name, value)| merge(into.entry(name).or_insert(Value::Null), value));
        }
        _ => *into = more.clone(),
    }
}

/// Returns the review of what `user` asks for; of core/v1 ConfigMaps, unless `more` says otherwise.
pub(super) fn review(user: &str, operation: &str, old: Option<Value>, new: Option<Value>, more: &Value) -> Vec<u8> {
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    let mut request = json!({
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "resource": resource,
        "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "requestResource": resource,
        "name": "o1", "namespace": "shop", "operation": operation,
        "userInfo": {"username": user, "uid": "u", "groups": ["system:authenticated"], "extra": {"scopes": ["a", "b"]}},
        "object": new, "oldObject": old, "dryRun": false, "options": {"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1"},
    });
    merge(&mut request, more);
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}).to_string().into_bytes()
}

/// Returns that the review is of a resource.
pub(super) fn of(group: &str, plural: &str) -> Value {
    let resource = json!({"group": group, "version": "v1", "resource": plural});
    json!({"resource": resource, "requestResource": resource})
}

/// Returns the change that shows `object`.
pub(super) fn change(
    fingerprinter: &Fingerprinter,
    (group, plural): (&str, &str),
    operation: Operation,
    object: Value,
    replaced: Option<u64>,
) -> Change {
    let resource = Arc::new(Resource::new(group, "v1", "Any", plural));
    let reference = ObjectRef::of(&resource, &object).expect("it has a name");
    let fingerprint = fingerprinter.of(&object.to_string()).expect("it is an object");
    Change {
        replaced: replaced.map(|version| version.to_string()),
        fingerprint: Some(Arc::new(fingerprint)),
        ..Change::new(reference, operation, Some(object))
    }
}
