//! Objects as large as the API takes them, made of very many small parts. What looks at each part for each other one
//! makes these tests take minutes, in place of a second.

use reverser_core::Sanitizer;
use serde_json::{Map, Value, json};

/// The parts of one list or map; with some 100 bytes each, an object of a megabyte.
const PARTS: usize = 10_000;

fn service(operation: &str) -> Value {
    let port = |n| json!({"port": n, "protocol": "TCP", "nodePort": n});
    let owned = |n| (format!("k:{{\"port\":{n},\"protocol\":\"TCP\"}}"), json!({".": {}, "f:port": {}}));
    let owned: Map<_, _> = (0..PARTS).map(owned).collect();
    let applied: Vec<_> = (0..2_000).map(|n| json!({"port": n, "nodePort": 0})).collect();
    let applied = json!({"spec": {"ports": applied}}).to_string();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "web", "uid": "u", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied},
            "managedFields": [{"manager": "kubectl", "operation": operation, "fieldsV1": {"f:spec": {"f:ports": owned}}}],
        },
        "spec": {"ports": (1..=PARTS).map(port).collect::<Vec<_>>()},
    })
}

#[test]
fn evidence_is_found_for_very_many_items() {
    let ports = |sanitizer: Sanitizer, operation| sanitizer.clean(service(operation))["spec"]["ports"].clone();
    let kept: Vec<_> = (1..=PARTS).map(|n| json!({"port": n, "protocol": "TCP"})).collect();
    assert_eq!(ports(Sanitizer::faithful(), "Update"), json!(kept));
    // The last one has no owner, and no default adds an item.
    assert_eq!(ports(Sanitizer::minimal(), "Apply")[PARTS - 1], json!({"port": PARTS, "protocol": "TCP"}));
    assert_eq!(ports(Sanitizer::minimal(), "Apply")[0], json!({"port": 1}));
    assert_eq!(ports(Sanitizer::neat(), "Update")[0], json!({"port": 1}));
}

#[test]
fn rules_may_mean_very_many_values() {
    let data: Map<_, _> = (0..5 * PARTS).map(|n| (format!("k{n:05}"), json!(""))).collect();
    let items: Vec<_> = (0..5 * PARTS).map(|n| json!({"n": n % 2})).collect();
    let object = json!({"apiVersion": "v1", "kind": "Any", "metadata": {"name": "a"}, "data": data, "items": items});
    let sanitizer = Sanitizer::faithful()
        .drop(".data".parse().unwrap())
        .and_then(|sanitizer| sanitizer.drop(".data[*]".parse().unwrap()))
        .and_then(|sanitizer| sanitizer.drop(".items[?(@.n==1)]".parse().unwrap()))
        .unwrap()
        .keep(".data[\"k1\"*]".parse().unwrap());
    let cleaned = sanitizer.clean(object);
    assert_eq!(cleaned["data"].as_object().map(Map::len), Some(PARTS));
    assert_eq!(cleaned["items"].as_array().map(Vec::len), Some(5 * PARTS / 2));
    assert!(cleaned["items"].as_array().unwrap().iter().all(|item| item["n"] == 0));
}

#[test]
fn very_many_webhooks_may_have_very_many_annotations() {
    let annotations: Map<_, _> = (0..2 * PARTS).map(|n| (format!("example.com/{n:05}"), json!(""))).collect();
    let webhooks: Vec<_> = (0..2 * PARTS).map(|_| json!({"clientConfig": {"caBundle": "Q0E="}})).collect();
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "a", "annotations": annotations}, "webhooks": webhooks,
    });
    assert_eq!(Sanitizer::faithful().clean(object.clone()), object);
}
