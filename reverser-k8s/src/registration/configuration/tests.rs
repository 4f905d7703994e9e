use std::sync::Arc;

use serde_json::Value;

use super::*;

fn resource(group: &str, version: &str, plural: &str) -> Arc<Resource> {
    Arc::new(Resource::new(group, version, "", plural))
}

fn cluster_wide(group: &str, version: &str, plural: &str) -> Arc<Resource> {
    Arc::new(Resource::new(group, version, "", plural).cluster_scoped())
}

fn captured(resources: impl IntoIterator<Item = Arc<Resource>>, namespaces: &[&str]) -> Captured {
    let namespaces = (!namespaces.is_empty()).then(|| namespaces.iter().map(ToString::to_string).collect());
    Captured { resources: resources.into_iter().collect(), namespaces, ..Captured::default() }
}

/// Made with what a standalone run has.
fn made(captured: &Captured, excluded: &[&str], conditions: MatchConditions) -> Value {
    let endpoint = Endpoint::Url("https://reverser.example.com:9443/admission/1f0a".into());
    let excluded = excluded.iter().map(ToString::to_string).collect();
    let frame = Frame { ca_bundle: Some("PEM"), conditions, ..frame(&endpoint, &excluded) };
    serde_json::to_value(configuration(&frame, captured)).unwrap()
}

fn frame<'a>(endpoint: &'a Endpoint, excluded: &'a BTreeSet<String>) -> Frame<'a> {
    Frame {
        name: "reverser-platform",
        endpoint,
        ca_bundle: None,
        excluded,
        conditions: MatchConditions::Known,
        registered_by: "reverser 1.2.3, into git@example.com:team/platform.git",
        run: "0123456789abcdef",
    }
}

/// Returns what it is called for, a line for each rule: `webhook: group/version resources OPERATIONS scope`.
fn rules(captured: &Captured) -> Vec<String> {
    let made = made(captured, &["kube-system"], MatchConditions::Known);
    let list =
        |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    let webhooks = made["webhooks"].as_array().unwrap().iter();
    let rules = webhooks.flat_map(|webhook| {
        let name = webhook["name"].as_str().unwrap().split('.').next().unwrap();
        webhook["rules"].as_array().unwrap().iter().map(move |rule| (name, rule))
    });
    rules
        .map(|(name, rule)| {
            let (group, version) = (list(&rule["apiGroups"]), list(&rule["apiVersions"]));
            let (resources, operations) = (list(&rule["resources"]), list(&rule["operations"]));
            format!("{name}: {group}/{version} {resources} {operations} {}", rule["scope"].as_str().unwrap())
        })
        .collect()
}

/// Returns the namespaces of each webhook: `webhook: In shop`.
fn namespaces(captured: &Captured, excluded: &[&str]) -> Vec<String> {
    let made = made(captured, excluded, MatchConditions::Known);
    let words = |webhook: &Value| {
        let name = webhook["name"].as_str().unwrap().split('.').next().unwrap().to_owned();
        let selector = &webhook["namespaceSelector"];
        match selector["matchExpressions"].as_array() {
            Some(expressions) => {
                assert_eq!((expressions.len(), &expressions[0]["key"]), (1, &Value::from(NAMESPACE_NAME)));
                let values: Vec<_> = expressions[0]["values"].as_array().unwrap().iter().collect();
                let values: Vec<_> = values.into_iter().filter_map(Value::as_str).collect();
                format!("{name}: {} {}", expressions[0]["operator"].as_str().unwrap(), values.join(","))
            }
            None => {
                assert_eq!(selector, &serde_json::json!({}));
                format!("{name}: all")
            }
        }
    };
    made["webhooks"].as_array().unwrap().iter().map(words).collect()
}

#[test]
fn a_configuration_asks_for_what_is_captured_and_never_stands_in_the_way() {
    let captured = captured(
        [
            resource("apps", "v1", "deployments"),
            resource("", "v1", "configmaps"),
            resource("example.com", "v1beta1", "widgets"),
            cluster_wide("", "v1", "nodes"),
        ],
        &["shop"],
    );
    insta::assert_json_snapshot!(made(&captured, &["kube-system"], MatchConditions::Known), @r#"
    {
      "apiVersion": "admissionregistration.k8s.io/v1",
      "kind": "ValidatingWebhookConfiguration",
      "metadata": {
        "annotations": {
          "configbutler.ai/registered-by": "reverser 1.2.3, into git@example.com:team/platform.git",
          "configbutler.ai/registration": "0123456789abcdef"
        },
        "labels": {
          "app.kubernetes.io/managed-by": "reverser"
        },
        "name": "reverser-platform"
      },
      "webhooks": [
        {
          "admissionReviewVersions": [
            "v1"
          ],
          "clientConfig": {
            "caBundle": "UEVN",
            "url": "https://reverser.example.com:9443/admission/1f0a"
          },
          "failurePolicy": "Ignore",
          "matchConditions": [
            {
              "expression": "!has(request.dryRun) || !request.dryRun",
              "name": "not-a-dry-run"
            },
            {
              "expression": "!has(request.subResource) || !(request.subResource in ['status', 'token'])",
              "name": "not-a-status"
            },
            {
              "expression": "!(request.resource.group == 'coordination.k8s.io' && request.resource.resource == 'leases')",
              "name": "not-a-lease"
            },
            {
              "expression": "!(request.resource.group == '' && request.resource.resource == 'events') && !(request.resource.group == 'events.k8s.io' && request.resource.resource == 'events')",
              "name": "not-an-event"
            }
          ],
          "matchPolicy": "Equivalent",
          "name": "cluster-scoped.reverser.configbutler.ai",
          "namespaceSelector": {},
          "objectSelector": {},
          "rules": [
            {
              "apiGroups": [
                ""
              ],
              "apiVersions": [
                "v1"
              ],
              "operations": [
                "CREATE",
                "UPDATE",
                "DELETE"
              ],
              "resources": [
                "nodes",
                "nodes/*"
              ],
              "scope": "Cluster"
            },
            {
              "apiGroups": [
                "apiextensions.k8s.io"
              ],
              "apiVersions": [
                "v1"
              ],
              "operations": [
                "DELETE"
              ],
              "resources": [
                "customresourcedefinitions"
              ],
              "scope": "Cluster"
            }
          ],
          "sideEffects": "None",
          "timeoutSeconds": 1
        },
        {
          "admissionReviewVersions": [
            "v1"
          ],
          "clientConfig": {
            "caBundle": "UEVN",
            "url": "https://reverser.example.com:9443/admission/1f0a"
          },
          "failurePolicy": "Ignore",
          "matchConditions": [
            {
              "expression": "!has(request.dryRun) || !request.dryRun",
              "name": "not-a-dry-run"
            },
            {
              "expression": "!has(request.subResource) || !(request.subResource in ['status', 'token'])",
              "name": "not-a-status"
            },
            {
              "expression": "!(request.resource.group == 'coordination.k8s.io' && request.resource.resource == 'leases')",
              "name": "not-a-lease"
            },
            {
              "expression": "!(request.resource.group == '' && request.resource.resource == 'events') && !(request.resource.group == 'events.k8s.io' && request.resource.resource == 'events')",
              "name": "not-an-event"
            }
          ],
          "matchPolicy": "Equivalent",
          "name": "namespaced.reverser.configbutler.ai",
          "namespaceSelector": {
            "matchExpressions": [
              {
                "key": "kubernetes.io/metadata.name",
                "operator": "In",
                "values": [
                  "shop"
                ]
              }
            ]
          },
          "objectSelector": {},
          "rules": [
            {
              "apiGroups": [
                ""
              ],
              "apiVersions": [
                "v1"
              ],
              "operations": [
                "CREATE",
                "UPDATE",
                "DELETE"
              ],
              "resources": [
                "configmaps",
                "configmaps/*"
              ],
              "scope": "Namespaced"
            },
            {
              "apiGroups": [
                "apps"
              ],
              "apiVersions": [
                "v1"
              ],
              "operations": [
                "CREATE",
                "UPDATE",
                "DELETE"
              ],
              "resources": [
                "deployments",
                "deployments/*"
              ],
              "scope": "Namespaced"
            },
            {
              "apiGroups": [
                "example.com"
              ],
              "apiVersions": [
                "v1beta1"
              ],
              "operations": [
                "CREATE",
                "UPDATE",
                "DELETE"
              ],
              "resources": [
                "widgets",
                "widgets/*"
              ],
              "scope": "Namespaced"
            }
          ],
          "sideEffects": "None",
          "timeoutSeconds": 1
        },
        {
          "admissionReviewVersions": [
            "v1"
          ],
          "clientConfig": {
            "caBundle": "UEVN",
            "url": "https://reverser.example.com:9443/admission/1f0a"
          },
          "failurePolicy": "Ignore",
          "matchConditions": [
            {
              "expression": "!has(request.dryRun) || !request.dryRun",
              "name": "not-a-dry-run"
            },
            {
              "expression": "!has(request.subResource) || !(request.subResource in ['status', 'token'])",
              "name": "not-a-status"
            },
            {
              "expression": "!(request.resource.group == 'coordination.k8s.io' && request.resource.resource == 'leases')",
              "name": "not-a-lease"
            },
            {
              "expression": "!(request.resource.group == '' && request.resource.resource == 'events') && !(request.resource.group == 'events.k8s.io' && request.resource.resource == 'events')",
              "name": "not-an-event"
            }
          ],
          "matchPolicy": "Equivalent",
          "name": "namespaces.reverser.configbutler.ai",
          "namespaceSelector": {
            "matchExpressions": [
              {
                "key": "kubernetes.io/metadata.name",
                "operator": "In",
                "values": [
                  "shop"
                ]
              }
            ]
          },
          "objectSelector": {},
          "rules": [
            {
              "apiGroups": [
                ""
              ],
              "apiVersions": [
                "v1"
              ],
              "operations": [
                "DELETE"
              ],
              "resources": [
                "namespaces"
              ],
              "scope": "Cluster"
            }
          ],
          "sideEffects": "None",
          "timeoutSeconds": 1
        }
      ]
    }
    "#);
}

#[test]
fn rules_name_exactly_what_is_captured() {
    let all = "CREATE,UPDATE,DELETE";
    let (configmaps, nodes) = (resource("", "v1", "configmaps"), cluster_wide("", "v1", "nodes"));
    for (resources, listed, expected) in [
        // A removal of its namespace says who removes an object.
        (
            vec![configmaps.clone()],
            &[][..],
            vec![
                format!("namespaced: /v1 configmaps,configmaps/* {all} Namespaced"),
                "namespaces: /v1 namespaces DELETE Cluster".into(),
            ],
        ),
        (vec![nodes.clone()], &[], vec![format!("cluster-scoped: /v1 nodes,nodes/* {all} Cluster")]),
        (
            vec![nodes.clone(), configmaps.clone(), cluster_wide("", "v1", "namespaces"), resource("", "v1", "pods")],
            &[],
            vec![
                format!("cluster-scoped: /v1 nodes,nodes/* {all} Cluster"),
                format!("namespaced: /v1 configmaps,configmaps/*,pods,pods/* {all} Namespaced"),
                format!("namespaces: /v1 namespaces,namespaces/* {all} Cluster"),
            ],
        ),
        // One of its definition, too.
        (
            vec![cluster_wide("example.com", "v2", "clusters"), resource("example.com", "v1", "widgets")],
            &["shop"],
            vec![
                format!("cluster-scoped: example.com/v2 clusters,clusters/* {all} Cluster"),
                "cluster-scoped: apiextensions.k8s.io/v1 customresourcedefinitions DELETE Cluster".into(),
                format!("namespaced: example.com/v1 widgets,widgets/* {all} Namespaced"),
                "namespaces: /v1 namespaces DELETE Cluster".into(),
            ],
        ),
        (
            vec![
                cluster_wide("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
                cluster_wide("example.com", "v2", "clusters"),
            ],
            &[],
            vec![
                format!(
                    "cluster-scoped: apiextensions.k8s.io/v1 customresourcedefinitions,customresourcedefinitions/* {all} Cluster"
                ),
                format!("cluster-scoped: example.com/v2 clusters,clusters/* {all} Cluster"),
            ],
        ),
        // Requests for these never reach a webhook.
        (vec![cluster_wide("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")], &[], vec![]),
        // All of its namespaces are excluded; what is in none is not.
        (vec![configmaps.clone()], &["kube-system"], vec![]),
        (vec![configmaps, nodes], &["kube-system"], vec![format!("cluster-scoped: /v1 nodes,nodes/* {all} Cluster")]),
    ] {
        assert_eq!(rules(&captured(resources, listed)), expected);
    }
}

#[test]
fn nothing_is_ever_asked_for_by_a_wildcard_but_subresources() {
    let everything = captured((0..50).map(|number| resource("example.com", "v1", &format!("kind{number}s"))), &[]);
    let made = made(&everything, &[], MatchConditions::Known).to_string();
    assert_eq!(made.matches('*').count(), 50);
    assert!(made.contains(r#""kind7s","kind7s/*""#));
}

#[test]
fn namespaces_are_narrowed_without_losing_what_is_in_none() {
    let resources = || [resource("", "v1", "configmaps"), cluster_wide("", "v1", "nodes")];
    for (listed, excluded, expected) in [
        (&[][..], &[][..], ["cluster-scoped: all", "namespaced: all", "namespaces: all"]),
        (
            &[],
            &["kube-system", "reverser"],
            ["cluster-scoped: all", "namespaced: NotIn kube-system,reverser", "namespaces: NotIn kube-system,reverser"],
        ),
        (
            &["shop", "dev", "kube-system"],
            &["kube-system"],
            ["cluster-scoped: all", "namespaced: In dev,shop", "namespaces: In dev,shop"],
        ),
    ] {
        assert_eq!(namespaces(&captured(resources(), listed), excluded), expected);
    }
    let left_out = Captured { left_out: BTreeSet::from(["dev".into()]), ..captured(resources(), &[]) };
    let expected = ["cluster-scoped: all", "namespaced: NotIn dev,kube-system", "namespaces: NotIn dev,kube-system"];
    assert_eq!(namespaces(&left_out, &["kube-system"]), expected);
}

#[test]
fn captured_namespaces_are_told_of_wherever_they_are() {
    let captured = captured([resource("", "v1", "configmaps"), cluster_wide("", "v1", "namespaces")], &["shop"]);
    assert_eq!(namespaces(&captured, &["kube-system"]), ["namespaced: In shop", "namespaces: all"]);
}

#[test]
fn noise_is_dropped_unless_it_is_captured() {
    let names = |resources: Vec<Arc<Resource>>| {
        let (endpoint, excluded) = (Endpoint::Url(String::new()), BTreeSet::new());
        let made = configuration(&frame(&endpoint, &excluded), &captured(resources, &[]));
        let webhook = made.webhooks.unwrap().remove(0);
        webhook.match_conditions.unwrap().into_iter().map(|condition| condition.name).collect::<Vec<_>>()
    };
    let all = ["not-a-dry-run", "not-a-status", "not-a-lease", "not-an-event"];
    assert_eq!(names(vec![resource("", "v1", "configmaps")]), all);
    assert_eq!(names(vec![resource("coordination.k8s.io", "v1", "leases")]), [all[0], all[1], all[3]]);
    assert_eq!(names(vec![resource("", "v1", "events")]), all[..3]);
    assert_eq!(names(vec![resource("events.k8s.io", "v1", "events")]), all[..3]);
}

#[test]
fn an_older_server_is_not_told_conditions() {
    let made = made(&captured([resource("", "v1", "configmaps")], &[]), &[], MatchConditions::Unknown);
    assert!(!made.to_string().contains("matchConditions"));
}

#[test]
fn a_service_stands_in_the_place_of_an_address() {
    let endpoint = Endpoint::Service {
        namespace: "reverser".into(),
        name: "webhook".into(),
        port: 9443,
        path: "/admission/1f0a".into(),
    };
    let excluded = BTreeSet::new();
    let made = configuration(&frame(&endpoint, &excluded), &captured([resource("", "v1", "configmaps")], &[]));
    let made = serde_json::to_value(&made.webhooks.unwrap()[0].client_config).unwrap();
    let service =
        serde_json::json!({"namespace": "reverser", "name": "webhook", "port": 9443, "path": "/admission/1f0a"});
    assert_eq!(made, serde_json::json!({"service": service}), "without a bundle the system's certificates count");
}

#[test]
fn ten_thousand_custom_resources_fit_into_what_etcd_takes() {
    let resources = (0..10_000).map(|number| {
        resource(
            &format!("group-{}.long.example.com", number % 500),
            "v1alpha1",
            &format!("rather-long-kinds-{number}"),
        )
    });
    let size = made(&captured(resources, &[]), &["kube-system"], MatchConditions::Known).to_string().len();
    assert!(size < 1 << 20, "{size} bytes");
}
