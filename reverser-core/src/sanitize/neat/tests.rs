use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Sanitizer, yaml};

/// The neat manifest of an object in YAML, or of one that a server has stored.
fn tidied(object: &str) -> String {
    let object = yaml::parse(object).unwrap().remove(0);
    yaml::to_string(&neat(Sanitizer::faithful().clean(object)))
}

#[test]
fn a_deployment_is_what_kubectl_create_wants() {
    insta::assert_snapshot!(tidied("
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: web, namespace: shop, uid: u, generation: 1, labels: {}, annotations: {deployment.kubernetes.io/revision: '1'}}
        spec:
          progressDeadlineSeconds: 600
          replicas: 1
          revisionHistoryLimit: 10
          selector: {matchLabels: {app: web}}
          strategy: {rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}, type: RollingUpdate}
          template:
            metadata: {creationTimestamp: null, labels: {app: web}}
            spec:
              containers:
              - image: nginx:1.27
                imagePullPolicy: IfNotPresent
                name: web
                ports: [{containerPort: 80, protocol: TCP}, {containerPort: 53, protocol: UDP}]
                readinessProbe: {failureThreshold: 3, httpGet: {path: /, port: 80, scheme: HTTP}, periodSeconds: 5, successThreshold: 1, timeoutSeconds: 1}
                resources: {}
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
                volumeMounts: [{mountPath: /tmp, name: tmp}]
              dnsPolicy: ClusterFirst
              restartPolicy: Always
              schedulerName: default-scheduler
              securityContext: {}
              serviceAccount: web
              serviceAccountName: web
              terminationGracePeriodSeconds: 30
              volumes: [{emptyDir: {}, name: tmp}, {configMap: {defaultMode: 420, name: c}, name: c}]
        status: {}
    "), @"
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: web
      namespace: shop
    spec:
      selector:
        matchLabels:
          app: web
      template:
        metadata:
          labels:
            app: web
        spec:
          containers:
          - image: nginx:1.27
            name: web
            ports:
            - containerPort: 80
            - containerPort: 53
              protocol: UDP
            readinessProbe:
              httpGet:
                port: 80
              periodSeconds: 5
            volumeMounts:
            - mountPath: /tmp
              name: tmp
          serviceAccountName: web
          volumes:
          - emptyDir: {}
            name: tmp
          - configMap:
              name: c
            name: c
    ");
}

#[test]
fn what_is_empty_and_says_something_stays() {
    for manifest in [
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a"}, "spec": {
            "podSelector": {}, "ingress": [{}], "egress": [{"to": [{"namespaceSelector": {}}]}],
        }}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "a"}, "spec": {"storageClassName": ""}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"a": ""}}, "data": {"a": ""}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "a"}, "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        ]}),
        json!({"apiVersion": "example.com/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"replicas": 1, "a": {}, "b": [], "c": ""}}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {"behavior": {}}}),
    ] {
        assert_eq!(neat(manifest.clone()), manifest);
    }
}

#[test]
fn of_the_metadata_only_what_an_author_writes_stays() {
    let metadata = |metadata: Value| neat(json!({"metadata": metadata}))["metadata"].clone();
    assert_eq!(
        metadata(
            json!({"name": "a", "namespace": "b", "generateName": "a-", "labels": {}, "ownerReferences": [], "finalizers": ["example.com/mine"]})
        ),
        json!({"name": "a", "namespace": "b", "finalizers": ["example.com/mine"]})
    );
    assert_eq!(metadata(json!({"generateName": "a-"})), json!({"generateName": "a-"}));
}

#[test]
fn the_pull_policy_follows_the_tag() {
    for (image, policy) in [
        ("nginx", Some("Always")),
        ("nginx:latest", Some("Always")),
        ("registry.example:5000/a/b", Some("Always")),
        ("registry.example:5000/a/b:v1.2_3", Some("IfNotPresent")),
        ("nginx@sha256:0123", Some("IfNotPresent")),
        ("nginx:latest@sha256:0123", Some("Always")),
        ("Nginx", None), // no valid name, and so without a tag for the server
        ("", None),
        (":latest", None),
    ] {
        assert_eq!(pull_policy(image), policy.map(Value::from), "{image}");
    }
}

#[test]
fn a_job_without_completions_stays_a_work_queue() {
    let spec = |spec: Value| neat(json!({"apiVersion": "batch/v1", "kind": "Job", "spec": spec}))["spec"].clone();
    for kept in [json!({"parallelism": 1}), json!({"parallelism": 2, "completions": 1}), json!({"completions": 3})] {
        assert_eq!(spec(kept.clone()), kept);
    }
    assert_eq!(spec(json!({"parallelism": 1, "completions": 1})), json!({}));
    assert_eq!(spec(json!({"parallelism": 1, "completions": 3})), json!({"completions": 3}));
}

#[test]
fn a_pod_loses_requests_that_repeat_its_limits_and_a_template_does_not() {
    let containers = json!([{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Mi"}}}]);
    let pod = neat(json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers}}));
    assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"], json!({"memory": "1Mi"}));
    let template = json!({"apiVersion": "v1", "kind": "PodTemplate", "template": {"spec": {"containers": containers}}});
    assert_eq!(neat(template.clone()), template);
}

#[test]
fn no_row_of_the_table_stands_twice() {
    let mut rows = HashSet::new();
    for part in DEFAULTS {
        for (stand, row) in part.stands.iter().flat_map(|stand| part.rows.iter().map(move |row| (stand, row))) {
            let default = match row.default {
                Int(default) => default.to_string(), // one field can have two, by a condition
                Text(default) => default.to_owned(),
                Empty => "{}".to_owned(),
                _ => String::new(),
            };
            assert!(rows.insert((stand, part.within, row.path, default)), "{stand:?} {} {}", part.within, row.path);
            if let Json(default) = row.default {
                assert!(serde_json::from_str::<Value>(default).is_ok(), "{default}");
            }
        }
    }
}

proptest! {
    #[test]
    fn twice_is_once_and_it_only_removes(object in object()) {
        let once = neat(object.clone());
        prop_assert!(is_part_of(&once, &object), "{}", once);
        prop_assert_eq!(neat(once.clone()), once);
    }
}

#[test]
fn what_is_no_object_comes_back_as_it_is() {
    for value in [
        json!(null),
        json!([{"metadata": {"uid": 1}}]),
        json!("text"),
        json!({}),
        json!({"metadata": "odd", "kind": 1}),
    ] {
        assert_eq!(neat(value.clone()), value);
    }
}

fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| is_part_of(part, whole)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_part_of(part, whole))
        }
        (part, whole) => part == whole,
    }
}

/// Objects of the kinds of the table, with its fields, their defaults and other values in them.
fn object() -> impl Strategy<Value = Value> {
    let kinds: HashSet<_> =
        DEFAULTS.iter().flat_map(|part| part.stands).map(|(group, kind, _)| (*group, *kind)).collect();
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_unstable();
    prop::sample::select(kinds).prop_flat_map(|(group, kind)| {
        let rows: Vec<_> = DEFAULTS
            .iter()
            .flat_map(|part| part.stands.iter().map(move |stand| (part, stand)))
            .filter(|(_, stand)| (stand.0, stand.1) == (group, kind))
            .flat_map(|(part, stand)| part.rows.iter().map(move |row| (format!("{}.{}.{}", stand.2, part.within, row.path), row)))
            .map(|(path, row)| (path, default_of(row)))
            .collect();
        prop::collection::vec((prop::sample::select(rows), any::<bool>(), odd(), any::<prop::sample::Index>()), 0..30).prop_map(
            move |fields| {
                let mut object = json!({"apiVersion": format!("{group}/v1").trim_start_matches('/'), "kind": kind, "metadata": {"name": "a"}});
                for ((path, default), is_default, other, choice) in fields {
                    put(&mut object, path.trim_start_matches('.'), if is_default { default } else { other }, choice);
                }
                object
            },
        )
    })
}

fn default_of(row: &Row) -> Value {
    match row.default {
        Bool(default) => default.into(),
        Empty | Entries(_) => json!({}),
        Int(default) => default.into(),
        Json(default) => serde_json::from_str(default).unwrap(),
        Like(_) => json!(80),
        Text(default) => default.into(),
    }
}

fn odd() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!({}),
        json!([]),
        json!(""),
        json!(80),
        json!("OnDelete"),
        json!({"cpu": "1"}),
        json!({"cpu": "1", "memory": "2"}),
        json!([{"port": 80, "targetPort": 80}]),
    ])
}

fn put(value: &mut Value, path: &str, leaf: Value, choice: prop::sample::Index) {
    let (step, rest) = path.trim_start_matches('.').split_once('.').unwrap_or((path.trim_start_matches('.'), ""));
    let (keys, is_list) = step.strip_suffix("[*]").map_or((step, false), |keys| (keys, true));
    let keys: Vec<_> = keys.split('|').collect();
    let Value::Object(map) = value else { return };
    let part = map.entry(*choice.get(&keys)).or_insert_with(|| if is_list { json!([{}]) } else { json!({}) });
    match part {
        Value::Array(items) if is_list => items.iter_mut().for_each(|item| put(item, rest, leaf.clone(), choice)),
        _ if rest.is_empty() => *part = leaf,
        _ => put(part, rest, leaf, choice),
    }
}
