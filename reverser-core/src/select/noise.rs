//! What no user authors: left out unless `include` names the row.

use serde_json::Value;

use crate::{ObjectRef, Resource};

/// One row of [`NOISE`].
///
/// ```
/// use reverser_core::{NOISE, Resource, Selector};
///
/// let leases = Resource::new("coordination.k8s.io", "v1", "Lease", "leases").without_status();
/// let row = NOISE.iter().find(|row| row.name == "leases").unwrap();
/// assert!(Selector::default().resource(&leases).is_err());
/// assert!(Selector { include: [row.name].into(), ..Selector::default() }.resource(&leases).is_ok());
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Noise {
    /// What `--include` calls it.
    pub name: &'static str,
    /// Why nobody misses it in Git.
    pub reason: &'static str,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// Every object of these resources, as (group, plural).
    All(&'static [(&'static str, &'static str)]),
    /// Objects with an owner reference that says `controller: true`.
    Controlled,
    /// Objects of a resource with this in `metadata.annotations` or `metadata.labels`.
    Marked { group: &'static str, plurals: &'static [&'static str], key: &'static str, value: &'static str },
    /// Objects of a resource by namespace (empty: any, or none) and by name; a `*` at an end stands for anything.
    Named { group: &'static str, plural: &'static str, namespace: &'static str, names: &'static [&'static str] },
    /// As [`What::Named`], while nobody has added anything to them.
    Untouched { plural: &'static str, namespace: &'static str, names: &'static [&'static str] },
    /// Webhook configurations whose webhooks are called so: in their domain.
    Webhooks { plural: &'static str, domain: &'static str },
}

use What::{All, Controlled, Marked, Named, Untouched, Webhooks};

/// Everything that a cluster makes for itself. Secrets aren't here: whether they may be written is the business of
/// [`Seal`](crate::Seal).
///
/// ```
/// use reverser_core::{NOISE, Selector};
///
/// // As `--include all` has it.
/// let everything = Selector { include: NOISE.iter().map(|row| row.name).collect(), ..Selector::default() };
/// assert!(everything.include.contains("events") && everything.include.contains("controlled"));
/// ```
pub const NOISE: &[Noise] = &[
    Noise {
        name: "events",
        reason: "what happened, not what is wanted; gone after an hour",
        what: All(&[("", "events"), ("events.k8s.io", "events")]),
    },
    Noise {
        name: "leases",
        reason: "heartbeats of nodes and leaders, renewed every few seconds",
        what: All(&[("coordination.k8s.io", "leases"), ("coordination.k8s.io", "leasecandidates")]),
    },
    Noise {
        name: "endpoints",
        reason: "written by the endpoint controllers from Services and Pods",
        what: All(&[("", "endpoints"), ("discovery.k8s.io", "endpointslices")]),
    },
    Noise {
        name: "controlled",
        reason: "made by a controller from the object that owns it: ReplicaSets of Deployments, Pods, Jobs of CronJobs, …",
        what: Controlled,
    },
    Noise {
        name: "controllerrevisions",
        reason: "history that StatefulSets and DaemonSets keep of themselves",
        what: All(&[("apps", "controllerrevisions")]),
    },
    Noise {
        name: "kube-root-ca",
        reason: "the cluster's CA, published into every namespace by the controller manager",
        what: Named { group: "", plural: "configmaps", namespace: "", names: &["kube-root-ca.crt"] },
    },
    Noise {
        name: "apiserver-configmaps",
        reason: "how the API server tells extension servers whom to trust; written at its start",
        what: Named {
            group: "",
            plural: "configmaps",
            namespace: "kube-system",
            names: &["extension-apiserver-authentication", "kube-apiserver-legacy-service-account-token-tracking"],
        },
    },
    Noise {
        name: "default-serviceaccounts",
        reason: "made in every namespace by the controller manager; captured once something is added to one",
        what: Untouched { plural: "serviceaccounts", namespace: "", names: &["default"] },
    },
    Noise {
        name: "controller-serviceaccounts",
        reason: "identities that the controller manager makes for its own controllers",
        what: Untouched {
            plural: "serviceaccounts",
            namespace: "kube-system",
            names: &["*-controller", "*-autoscaler", "*-publisher", "*-cleaner", "*-signer", "*-collector", "*-binder"],
        },
    },
    Noise {
        name: "system-namespaces",
        reason: "every cluster has them; captured once something is added to one",
        what: Untouched {
            plural: "namespaces",
            namespace: "",
            names: &["default", "kube-system", "kube-public", "kube-node-lease"],
        },
    },
    Noise {
        name: "kubernetes-service",
        reason: "the API server's own address, kept by itself",
        what: Named { group: "", plural: "services", namespace: "default", names: &["kubernetes"] },
    },
    Noise {
        name: "bootstrap-rbac",
        reason: "the API server's own roles, put back at each of its starts",
        what: Marked {
            group: "rbac.authorization.k8s.io",
            plurals: &["clusterroles", "clusterrolebindings", "roles", "rolebindings"],
            key: "rbac.authorization.kubernetes.io/autoupdate",
            value: "true",
        },
    },
    Noise {
        name: "bootstrap-flowcontrol",
        reason: "the API server's own flow schemas, kept up to date by itself",
        what: Marked {
            group: "flowcontrol.apiserver.k8s.io",
            plurals: &["flowschemas", "prioritylevelconfigurations"],
            key: "apf.kubernetes.io/autoupdate-spec",
            value: "true",
        },
    },
    Noise {
        name: "local-apiservices",
        reason: "registered by the API server for each version that it or a CRD serves",
        what: Marked {
            group: "apiregistration.k8s.io",
            plurals: &["apiservices"],
            key: "kube-aggregator.kubernetes.io/automanaged",
            value: "*",
        },
    },
    Noise {
        name: "system-priorityclasses",
        reason: "the two that the API server makes itself",
        what: Named {
            group: "scheduling.k8s.io",
            plural: "priorityclasses",
            namespace: "",
            names: &["system-cluster-critical", "system-node-critical"],
        },
    },
    Noise {
        name: "ipaddresses",
        reason: "the address allocator's book-keeping, from Services and flags",
        what: All(&[("networking.k8s.io", "ipaddresses")]),
    },
    Noise {
        name: "kubernetes-servicecidr",
        reason: "made from the API server's --service-cluster-ip-range",
        what: Named { group: "networking.k8s.io", plural: "servicecidrs", namespace: "", names: &["kubernetes"] },
    },
    Noise {
        name: "node-reports",
        reason: "what kubelets, storage and device drivers say about a node",
        what: All(&[
            ("storage.k8s.io", "csinodes"),
            ("storage.k8s.io", "csistoragecapacities"),
            ("storage.k8s.io", "volumeattachments"),
            ("resource.k8s.io", "resourceslices"),
        ]),
    },
    Noise {
        name: "certificatesigningrequests",
        reason: "requests of kubelets and components, deleted after hours",
        what: All(&[
            ("certificates.k8s.io", "certificatesigningrequests"),
            ("certificates.k8s.io", "podcertificaterequests"),
        ]),
    },
    Noise {
        name: "reverser-registrations",
        reason: "how reverser has the API server ask it, put right by itself; in the URL is a secret",
        // By what nobody has a reason to edit: a label goes more easily.
        what: Webhooks { plural: "validatingwebhookconfigurations", domain: ".reverser.configbutler.ai" },
    },
    Noise {
        name: "storageversions",
        reason: "which API server encodes what, written by the servers themselves",
        what: All(&[("internal.apiserver.k8s.io", "storageversions")]),
    },
    Noise {
        name: "metrics",
        reason: "measurements, computed for each request",
        what: All(&[("metrics.k8s.io", "nodes"), ("metrics.k8s.io", "pods")]),
    },
];

impl Noise {
    /// Returns whether the row is about every object of `resource`.
    pub(super) fn is_resource(&self, resource: &Resource) -> bool {
        matches!(self.what, All(rows) if rows.contains(&(resource.group.as_str(), resource.plural.as_str())))
    }

    /// Returns whether the row is about this object, although not about every object of its resource.
    pub(super) fn is_object(&self, object: &ObjectRef, body: &Value) -> bool {
        let is_in = |namespace: &str| namespace.is_empty() || object.namespace.as_deref() == Some(namespace);
        let is_named = |names: &[&str]| {
            names.iter().any(|name| match name.strip_prefix('*') {
                Some(end) => object.name.ends_with(end),
                None => object.name == *name,
            })
        };
        let resource = &object.resource;
        match self.what {
            All(_) => false,
            Controlled => body["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true)),
            Marked { group, plurals, key, value } => {
                resource.group == group && plurals.contains(&resource.plural.as_str()) && is_marked(body, key, value)
            }
            Named { group, plural, namespace, names } => {
                resource.group == group && resource.plural == plural && is_in(namespace) && is_named(names)
            }
            Untouched { plural, namespace, names } => {
                resource.group.is_empty()
                    && resource.plural == plural
                    && is_in(namespace)
                    && is_named(names)
                    && is_untouched(body)
            }
            Webhooks { plural, domain } => {
                let is_ours = |webhook: &Value| webhook["name"].as_str().is_some_and(|name| name.ends_with(domain));
                resource.group == "admissionregistration.k8s.io"
                    && resource.plural == plural
                    && body["webhooks"].as_array().is_some_and(|webhooks| webhooks.iter().any(is_ours))
            }
        }
    }
}

fn is_marked(body: &Value, key: &str, value: &str) -> bool {
    ["annotations", "labels"]
        .iter()
        .filter_map(|place| body["metadata"][*place][key].as_str())
        .any(|found| value == "*" || found == value)
}

/// Whether a ServiceAccount or Namespace is as the server makes it: nothing in it but what every one has.
fn is_untouched(body: &Value) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.keys().all(|key| key == "kubernetes.io/metadata.name"),
        _ => false,
    };
    is_empty(&body["metadata"]["labels"])
        && is_empty(&body["metadata"]["annotations"])
        && ["imagePullSecrets", "secrets", "automountServiceAccountToken"].iter().all(|field| is_empty(&body[*field]))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use serde_json::json;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_a_reason() {
        let names: BTreeSet<_> = NOISE.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), NOISE.len());
        assert!(NOISE.iter().all(|row| !row.reason.is_empty()));
    }

    #[test]
    fn a_default_serviceaccount_is_captured_once_somebody_adds_to_it() {
        let resource = Arc::new(Resource::new("", "v1", "ServiceAccount", "serviceaccounts"));
        let row = NOISE.iter().find(|row| row.name == "default-serviceaccounts").unwrap();
        let mut body = json!({"metadata": {"name": "default", "namespace": "shop", "uid": "1"}});
        let object = ObjectRef::of(&resource, &body).unwrap();
        assert!(row.is_object(&object, &body));
        body["imagePullSecrets"] = json!([{"name": "registry"}]);
        assert!(!row.is_object(&object, &body));
    }

    #[test]
    fn a_registration_of_ours_is_known_by_its_webhooks_and_those_of_others_are_captured() {
        let group = "admissionregistration.k8s.io";
        let plural = "validatingwebhookconfigurations";
        let resource = Arc::new(Resource::new(group, "v1", "ValidatingWebhookConfiguration", plural));
        let row = NOISE.iter().find(|row| row.name == "reverser-registrations").unwrap();
        for (name, is_ours) in [("namespaced.reverser.configbutler.ai", true), ("policy.example.com", false)] {
            let body = json!({"metadata": {"name": "x", "uid": "1"}, "webhooks": [{"name": name}]});
            assert_eq!(row.is_object(&ObjectRef::of(&resource, &body).unwrap(), &body), is_ours, "{name}");
        }
    }
}
