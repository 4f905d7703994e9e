//! Without what API defaulting puts back: kubectl-neat's idea of a manifest, kept applicable.
//!
//! It takes what the faithful profile has left, so what servers and controllers own is gone already. Then
//! - of `metadata`, name, namespace, labels, annotations and finalizers stay (generateName where there is no name);
//! - a value goes that the API server sets itself when the field is absent, by the table at the end of this file.
//!
//! The table has the defaults that the [API reference](https://kubernetes.io/docs/reference/kubernetes-api/) of
//! Kubernetes 1.36 documents, for every built-in kind that has any. A default that only applies at some place stands there
//! alone: `enableServiceLinks` is put back in a Pod and not in a Deployment's template. What admission plugins fill in
//! (a storage class, a service account's name) is no default: another cluster may fill in another one.
//!
//! Like kubectl-neat it doesn't ask whether a default was written out by an author. Unlike it,
//! - it keeps what is empty and says something: `podSelector: {}`, `emptyDir: {}`, `storageClassName: ""`, a label without
//!   a value, the core group in `apiGroups: [""]`, a key of a ConfigMap without content, all of a custom resource. Only
//!   where the table has it, an empty map means the same as none (`resources: {}`);
//! - it knows the defaults of all API groups, not those of core alone, and those outside `spec`;
//! - it keeps finalizers, `generateName` without a name, and a Pod's `nodeName` that an author sent;
//! - it keeps what a schema requires even though the server would fill it in (`roleRef.apiGroup`).
//!
//! ```
//! use reverser_core::Sanitizer;
//! use serde_json::json;
//!
//! let service = json!({
//!     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
//!     "spec": {
//!         "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
//!         "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}, {"port": 81, "protocol": "TCP", "targetPort": "x"}],
//!     },
//! });
//! let neat = Sanitizer::neat().clean(service);
//! assert_eq!(neat["spec"], json!({"ports": [{"port": 80}, {"port": 81, "targetPort": "x"}]}));
//! ```

use serde_json::{Map, Value};

use super::{places::is_empty, type_of};

#[cfg(test)]
mod tests;

/// Returns the object without what API defaulting puts back; see the module's documentation. Expects what the faithful
/// profile has left. Doing it twice is doing it once; what isn't an object
/// comes back as it is.
pub(super) fn neat(mut object: Value) -> Value {
    tidy_metadata(&mut object);
    without_defaults(object)
}

/// Returns the object without the values of the table.
pub(super) fn without_defaults(mut object: Value) -> Value {
    let (group, kind) = type_of(&object);
    let (group, kind) = (group.to_owned(), kind.to_owned());
    for part in DEFAULTS {
        for (_, _, path) in
            part.stands.iter().filter(|(its_group, its_kind, _)| *its_group == group && *its_kind == kind)
        {
            each(&mut object, path, &mut |whole| {
                if whole.as_object().is_some_and(part.when) {
                    each(whole, part.within, &mut |value| part.rows.iter().for_each(|row| row.take_from(value)));
                }
            });
        }
    }
    object
}

fn tidy_metadata(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let is_named = metadata.get("name").is_some_and(|name| name != "");
    metadata.retain(|key, value| match key.as_str() {
        "annotations" | "labels" | "finalizers" => !is_empty(value),
        "generateName" => !is_named,
        "name" | "namespace" => true,
        _ => false,
    });
}

/// Calls `act` with each value at `path`: keys with dots between them, `a|b` is either key, `a[*]` each item of the list.
fn each(value: &mut Value, path: &str, act: &mut dyn FnMut(&mut Value)) {
    if path.is_empty() {
        return act(value);
    }
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let list = step.strip_suffix("[*]");
    for key in list.unwrap_or(step).split('|') {
        match value.as_object_mut().and_then(|map| map.get_mut(key)) {
            Some(Value::Array(items)) if list.is_some() => items.iter_mut().for_each(|item| each(item, rest, act)),
            Some(part) if list.is_none() => each(part, rest, act),
            _ => {}
        }
    }
}

type Fields = Map<String, Value>;

/// The defaults of a part of the API: a type of its reference, and where it stands.
struct Part {
    /// Group, kind, and the path to what `when` looks at.
    stands: &'static [(&'static str, &'static str, &'static str)],
    when: fn(&Fields) -> bool,
    /// From there to the part.
    within: &'static str,
    /// In this order: a map that the rows above it can empty comes after them.
    rows: &'static [Row],
}

/// A field and its default.
struct Row {
    path: &'static str,
    default: Default,
    /// Looks at the map that has the field.
    when: fn(&Fields) -> bool,
}

enum Default {
    Bool(bool),
    /// An empty map, and what the server does with it is what it does without.
    Empty,
    /// For each entry of the map, by the fields beside the map and the entry's key.
    Entries(fn(&Fields, &str) -> Option<Value>),
    Int(i64),
    /// Anything else, as JSON.
    Json(&'static str),
    /// By the fields beside it; `None` when the server sets none.
    Like(fn(&Fields) -> Option<Value>),
    Text(&'static str),
}

impl Row {
    /// Removes the field where it has its default.
    fn take_from(&self, value: &mut Value) {
        let (parents, keys) = self.path.rsplit_once('.').unwrap_or(("", self.path));
        each(value, parents, &mut |parent| {
            let Value::Object(fields) = parent else { return };
            for key in keys.split('|') {
                if (self.when)(fields) {
                    self.default.take(fields, key);
                }
            }
        });
    }
}

impl Default {
    fn take(&self, fields: &mut Fields, key: &str) {
        if let Self::Entries(default) = self {
            let Some(mut entries) = fields.get(key).and_then(Value::as_object).cloned() else { return };
            entries.retain(|name, value| default(fields, name).as_ref() != Some(value));
            fields.insert(key.to_owned(), Value::Object(entries));
        } else if fields.get(key).is_some_and(|value| self.is(value, fields)) {
            fields.remove(key);
        }
    }

    fn is(&self, value: &Value, fields: &Fields) -> bool {
        match self {
            Self::Bool(default) => value == default,
            Self::Empty => value.as_object().is_some_and(Map::is_empty),
            Self::Entries(_) => false,
            Self::Int(default) => value == default,
            Self::Json(default) => serde_json::from_str::<Value>(default).is_ok_and(|default| *value == default),
            Self::Like(default) => default(fields).as_ref() == Some(value),
            Self::Text(default) => value == default,
        }
    }
}

/// `Always` for the tag `latest` or none, else `IfNotPresent`; `None` for a name that the server may read in another way.
fn pull_policy(image: &str) -> Option<Value> {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match name[last..].split_once(':') {
        Some((_, tag)) => (&name[..name.len() - tag.len() - 1], Some(tag)),
        None => (name, None),
    };
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let is_read_alike = repository.starts_with(|c: char| c.is_ascii_alphanumeric())
        && repository.ends_with(|c: char| c.is_ascii_alphanumeric())
        && repository.chars().all(is_plain)
        && tag.is_none_or(|tag| !tag.is_empty() && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)));
    let is_latest = tag == Some("latest") || tag.is_none() && digest.is_none();
    is_read_alike.then(|| if is_latest { "Always" } else { "IfNotPresent" }.into())
}

fn text<'a>(fields: &'a Fields, key: &str) -> &'a str {
    fields.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn has(fields: &Fields, key: &str) -> bool {
    fields.get(key).is_some_and(|value| !value.is_null() && !is_empty(value))
}

fn is_rolling(strategy: &Fields) -> bool {
    matches!(text(strategy, "type"), "" | "RollingUpdate")
}

fn is_headless_without_selector(service: &Fields) -> bool {
    text(service, "clusterIP") == "None" && !has(service, "selector")
}

fn takes_outside_traffic(service: &Fields) -> bool {
    match text(service, "type") {
        "LoadBalancer" | "NodePort" => true,
        "" | "ClusterIP" => has(service, "externalIPs"),
        _ => false,
    }
}

/// What defaulting makes of a missing `defaultRequest` of a LimitRange's item, after it has made `default`.
fn default_request(limit: &Fields, resource: &str) -> Option<Value> {
    let of = |field: &str| limit.get(field).and_then(|values| values.get(resource));
    let is_container = text(limit, "type") == "Container";
    of("default").or_else(|| of("max")).or_else(|| of("min")).filter(|_| is_container).cloned()
}

fn policy_types(policy: &Fields) -> Option<Value> {
    Some(if has(policy, "egress") { vec!["Ingress", "Egress"].into() } else { vec!["Ingress"].into() })
}

use Default::{Bool, Empty, Entries, Int, Json, Like, Text};

const fn row(path: &'static str, default: Default) -> Row {
    Row { path, default, when: |_| true }
}

impl Row {
    const fn when(self, when: fn(&Fields) -> bool) -> Self {
        Self { path: self.path, default: self.default, when }
    }
}

const fn part(
    stands: &'static [(&'static str, &'static str, &'static str)],
    within: &'static str,
    rows: &'static [Row],
) -> Part {
    Part { stands, when: |_| true, within, rows }
}

const POD: &[(&str, &str, &str)] = &[("", "Pod", "spec")];

/// Where there is a PodSpec.
const POD_SPECS: &[(&str, &str, &str)] = &[
    ("", "Pod", "spec"),
    ("", "PodTemplate", "template.spec"),
    ("", "ReplicationController", "spec.template.spec"),
    ("apps", "DaemonSet", "spec.template.spec"),
    ("apps", "Deployment", "spec.template.spec"),
    ("apps", "ReplicaSet", "spec.template.spec"),
    ("apps", "StatefulSet", "spec.template.spec"),
    ("batch", "CronJob", "spec.jobTemplate.spec.template.spec"),
    ("batch", "Job", "spec.template.spec"),
];

/// Where there is a PersistentVolumeClaimSpec; those of ephemeral volumes are in [`POD_SPECS`].
const CLAIM_SPECS: &[(&str, &str, &str)] =
    &[("", "PersistentVolumeClaim", "spec"), ("apps", "StatefulSet", "spec.volumeClaimTemplates[*].spec")];

const CLAIM: &[Row] = &[row("volumeMode", Text("Filesystem"))];

/// Of the volume types that Pods and PersistentVolumes share.
const VOLUME_TYPES: &[Row] = &[
    row("azureDisk.cachingMode", Text("ReadWrite")),
    row("azureDisk.fsType", Text("ext4")),
    row("azureDisk.kind", Text("Shared")),
    row("azureDisk.readOnly", Bool(false)),
    row("hostPath.type", Text("")),
    row("iscsi.iscsiInterface", Text("default")),
    row("rbd.keyring", Text("/etc/ceph/keyring")),
    row("rbd.pool", Text("rbd")),
    row("rbd.user", Text("admin")),
    row("scaleIO.fsType", Text("xfs")),
    row("scaleIO.storageMode", Text("ThinProvisioned")),
];

/// The whole table.
#[rustfmt::skip]
static DEFAULTS: &[Part] = &[
    // Pods, and their templates in workloads.
    Part {
        stands: POD,
        when: |spec| spec.get("hostNetwork") == Some(&Value::Bool(true)),
        within: "containers|initContainers[*]",
        rows: &[row("ports[*].hostPort", Like(|port| port.get("containerPort").cloned()))],
    },
    part(POD, "containers|initContainers[*]", &[
        row("resources.requests", Entries(|resources, name| resources.get("limits")?.get(name).cloned())),
        row("resources.requests", Empty),
    ]),
    part(POD, "", &[
        row("enableServiceLinks", Bool(true)),
    ]),
    part(POD_SPECS, "containers|initContainers|ephemeralContainers[*]", &[
        row("env[*].valueFrom.fieldRef.apiVersion", Text("v1")),
        row("env[*].valueFrom.fileKeyRef.optional", Bool(false)),
        row("imagePullPolicy", Like(|container| pull_policy(text(container, "image")))),
        row("lifecycle.postStart|preStop.httpGet.path", Text("/")),
        row("lifecycle.postStart|preStop.httpGet.scheme", Text("HTTP")),
        row("livenessProbe|readinessProbe|startupProbe.failureThreshold", Int(3)),
        row("livenessProbe|readinessProbe|startupProbe.grpc.service", Text("")),
        row("livenessProbe|readinessProbe|startupProbe.httpGet.path", Text("/")),
        row("livenessProbe|readinessProbe|startupProbe.httpGet.scheme", Text("HTTP")),
        row("livenessProbe|readinessProbe|startupProbe.periodSeconds", Int(10)),
        row("livenessProbe|readinessProbe|startupProbe.successThreshold", Int(1)),
        row("livenessProbe|readinessProbe|startupProbe.timeoutSeconds", Int(1)),
        row("ports[*].protocol", Text("TCP")),
        row("resources", Empty),
        row("terminationMessagePath", Text("/dev/termination-log")),
        row("terminationMessagePolicy", Text("File")),
    ]),
    part(POD_SPECS, "volumes[*]", &[
        row("configMap|downwardAPI|projected|secret.defaultMode", Int(0o644)),
        row("downwardAPI.items[*].fieldRef.apiVersion", Text("v1")),
        row("image.pullPolicy", Like(|image| pull_policy(text(image, "reference")))),
        row("projected.sources[*].downwardAPI.items[*].fieldRef.apiVersion", Text("v1")),
        row("projected.sources[*].serviceAccountToken.expirationSeconds", Int(3600)),
    ]),
    part(POD_SPECS, "volumes[*]", VOLUME_TYPES),
    part(POD_SPECS, "volumes[*].ephemeral.volumeClaimTemplate.spec", CLAIM),
    part(POD_SPECS, "volumes[*].ephemeral.volumeClaimTemplate", &[row("metadata", Empty)]),
    part(POD_SPECS, "", &[
        row("dnsPolicy", Text("ClusterFirst")),
        row("restartPolicy", Text("Always")),
        row("schedulerName", Text("default-scheduler")),
        row("securityContext", Empty),
        // The old name of serviceAccountName: the server keeps both the same.
        row("serviceAccount", Like(|spec| spec.get("serviceAccountName").cloned())),
        row("terminationGracePeriodSeconds", Int(30)),
    ]),

    // Workloads.
    part(&[("", "PodTemplate", "")], "template", &[row("metadata", Empty)]),
    part(&[("", "ReplicationController", "spec")], "", &[
        row("selector", Like(|spec| spec.get("template")?.get("metadata")?.get("labels").cloned())),
        row("replicas", Int(1)),
    ]),
    part(&[("apps", "DaemonSet", "spec")], "", &[
        row("updateStrategy.rollingUpdate.maxSurge", Int(0)),
        row("updateStrategy.rollingUpdate.maxUnavailable", Int(1)),
        row("updateStrategy.rollingUpdate", Empty).when(is_rolling),
        row("updateStrategy.type", Text("RollingUpdate")),
        row("updateStrategy", Empty),
        row("revisionHistoryLimit", Int(10)),
    ]),
    part(&[("apps", "Deployment", "spec")], "", &[
        row("strategy.rollingUpdate.maxSurge", Text("25%")),
        row("strategy.rollingUpdate.maxUnavailable", Text("25%")),
        row("strategy.rollingUpdate", Empty).when(is_rolling),
        row("strategy.type", Text("RollingUpdate")),
        row("strategy", Empty),
        row("progressDeadlineSeconds", Int(600)),
        row("replicas", Int(1)),
        row("revisionHistoryLimit", Int(10)),
    ]),
    part(&[("apps", "ReplicaSet", "spec")], "", &[row("replicas", Int(1))]),
    part(&[("apps", "StatefulSet", "spec")], "", &[
        row("volumeClaimTemplates[*].apiVersion", Text("v1")),
        row("volumeClaimTemplates[*].kind", Text("PersistentVolumeClaim")),
        row("persistentVolumeClaimRetentionPolicy.whenDeleted", Text("Retain")),
        row("persistentVolumeClaimRetentionPolicy.whenScaled", Text("Retain")),
        row("persistentVolumeClaimRetentionPolicy", Empty),
        row("podManagementPolicy", Text("OrderedReady")),
        row("replicas", Int(1)),
        row("revisionHistoryLimit", Int(10)),
        // As a whole first: with a type and without `rollingUpdate`, the server leaves it away.
        row("updateStrategy", Json(r#"{"rollingUpdate": {"partition": 0}, "type": "RollingUpdate"}"#)),
        row("updateStrategy.rollingUpdate.partition", Int(0)).when(|rolling| rolling.len() > 1),
        row("updateStrategy.type", Text("RollingUpdate")).when(|strategy| has(strategy, "rollingUpdate")),
    ]),

    // Jobs. One completion is the default only when neither field is there; without completions, it is a work queue.
    part(&[("batch", "CronJob", "spec.jobTemplate.spec"), ("batch", "Job", "spec")], "", &[
        row("template.metadata", Empty),
        row("podFailurePolicy.rules[*].onPodConditions[*].status", Text("True")),
    ]),
    part(&[("batch", "CronJob", "spec")], "", &[
        row("concurrencyPolicy", Text("Allow")),
        row("failedJobsHistoryLimit", Int(1)),
        row("jobTemplate.metadata", Empty),
        row("successfulJobsHistoryLimit", Int(3)),
        row("suspend", Bool(false)),
    ]),
    part(&[("batch", "Job", "spec")], "", &[
        row("parallelism", Int(1)).when(|spec| has(spec, "completions")),
        row("completions", Int(1)).when(|spec| !has(spec, "parallelism")),
        row("backoffLimit", Int(6)).when(|spec| !has(spec, "backoffLimitPerIndex")),
        row("backoffLimit", Int(i32::MAX as i64)).when(|spec| has(spec, "backoffLimitPerIndex")),
        row("completionMode", Text("NonIndexed")),
        row("manualSelector", Bool(false)),
        row("podReplacementPolicy", Text("Failed")).when(|spec| spec.contains_key("podFailurePolicy")),
        row("podReplacementPolicy", Text("TerminatingOrFailed")).when(|spec| !spec.contains_key("podFailurePolicy")),
        row("suspend", Bool(false)),
    ]),
    part(&[("autoscaling", "HorizontalPodAutoscaler", "spec")], "", &[
        row("behavior.scaleDown.policies", Json(r#"[{"type": "Percent", "value": 100, "periodSeconds": 15}]"#)),
        row("behavior.scaleUp.policies", Json(r#"[{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]"#)),
        row("behavior.scaleUp.stabilizationWindowSeconds", Int(0)),
        row("behavior.scaleDown|scaleUp.selectPolicy", Text("Max")),
        row("behavior.scaleDown|scaleUp", Empty),
        row("metrics", Json(r#"[{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]"#)),
        row("minReplicas", Int(1)),
    ]),

    // Services and networks.
    part(&[("", "Service", "spec")], "", &[
        row("clusterIPs", Like(|spec| Some(vec![spec.get("clusterIP")?.clone()].into()))),
        row("allocateLoadBalancerNodePorts", Bool(true)).when(|spec| text(spec, "type") == "LoadBalancer"),
        row("externalTrafficPolicy", Text("Cluster")).when(takes_outside_traffic),
        row("internalTrafficPolicy", Text("Cluster")).when(|spec| text(spec, "type") != "ExternalName"),
        row("ipFamilyPolicy", Text("SingleStack")).when(|spec| !is_headless_without_selector(spec)),
        row("ports[*].protocol", Text("TCP")),
        row("ports[*].targetPort", Like(|port| port.get("port").cloned())),
        row("sessionAffinity", Text("None")),
        row("sessionAffinityConfig.clientIP.timeoutSeconds", Int(10_800)),
        row("sessionAffinityConfig.clientIP", Empty),
        row("sessionAffinityConfig", Empty).when(|spec| text(spec, "sessionAffinity") == "ClientIP"),
        row("type", Text("ClusterIP")),
    ]),
    part(&[("", "Endpoints", "")], "", &[row("subsets[*].ports[*].protocol", Text("TCP"))]),
    part(&[("discovery.k8s.io", "EndpointSlice", "")], "", &[
        row("endpoints[*].conditions", Empty),
        row("ports[*].name", Text("")),
        row("ports[*].protocol", Text("TCP")),
    ]),
    part(&[("networking.k8s.io", "IngressClass", "spec")], "", &[row("parameters.scope", Text("Cluster"))]),
    part(&[("networking.k8s.io", "NetworkPolicy", "spec")], "", &[
        row("egress|ingress[*].ports[*].protocol", Text("TCP")),
        row("policyTypes", Like(policy_types)),
    ]),

    // Storage and configuration.
    part(CLAIM_SPECS, "", CLAIM),
    part(&[("", "PersistentVolume", "spec")], "", VOLUME_TYPES),
    part(&[("", "PersistentVolume", "spec")], "", &[
        row("persistentVolumeReclaimPolicy", Text("Retain")),
        row("volumeMode", Text("Filesystem")),
    ]),
    part(&[("", "Secret", "")], "", &[row("type", Text("Opaque"))]),
    part(&[("", "LimitRange", "spec")], "limits[*]", &[
        row("defaultRequest", Entries(default_request)),
        row("default", Entries(|limit, name| limit.get("max")?.get(name).filter(|_| text(limit, "type") == "Container").cloned())),
        row("default|defaultRequest", Empty),
    ]),
    part(&[("", "Node", ""), ("", "ResourceQuota", "")], "", &[row("spec", Empty)]),
    part(&[("storage.k8s.io", "CSIDriver", "spec")], "", &[
        row("attachRequired", Bool(true)),
        row("fsGroupPolicy", Text("ReadWriteOnceWithFSType")),
        row("podInfoOnMount", Bool(false)),
        row("requiresRepublish", Bool(false)),
        row("seLinuxMount", Bool(false)),
        row("storageCapacity", Bool(false)),
        row("volumeLifecycleModes", Json(r#"["Persistent"]"#)),
    ]),
    part(&[("storage.k8s.io", "StorageClass", "")], "", &[
        row("reclaimPolicy", Text("Delete")),
        row("volumeBindingMode", Text("Immediate")),
    ]),

    // Access. Kept: roleRef.apiGroup, which the schema requires.
    part(&[("rbac.authorization.k8s.io", "ClusterRoleBinding", ""), ("rbac.authorization.k8s.io", "RoleBinding", "")], "", &[
        row("subjects[*].apiGroup", Text("rbac.authorization.k8s.io")).when(|subject| matches!(text(subject, "kind"), "Group" | "User")),
    ]),

    // Scheduling and devices.
    part(&[("scheduling.k8s.io", "PriorityClass", "")], "", &[row("preemptionPolicy", Text("PreemptLowerPriority"))]),
    part(&[("resource.k8s.io", "ResourceClaim", "spec"), ("resource.k8s.io", "ResourceClaimTemplate", "spec.spec")], "devices.requests[*]", &[
        row("exactly.count", Int(1)).when(|request| matches!(text(request, "allocationMode"), "" | "ExactCount")),
        row("exactly.allocationMode", Text("ExactCount")),
        row("exactly.tolerations[*].operator", Text("Equal")),
        row("firstAvailable[*].count", Int(1)).when(|request| matches!(text(request, "allocationMode"), "" | "ExactCount")),
        row("firstAvailable[*].allocationMode", Text("ExactCount")),
        row("firstAvailable[*].tolerations[*].operator", Text("Equal")),
    ]),
    part(&[("resource.k8s.io", "ResourceClaimTemplate", "spec")], "", &[row("metadata", Empty)]),

    // The API server's own configuration.
    part(&[("admissionregistration.k8s.io", "MutatingWebhookConfiguration", ""), ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "")], "webhooks[*]", &[
        row("clientConfig.service.port", Int(443)),
        row("failurePolicy", Text("Fail")),
        row("matchPolicy", Text("Equivalent")),
        row("namespaceSelector|objectSelector", Empty),
        row("rules[*].scope", Text("*")),
        row("timeoutSeconds", Int(10)),
    ]),
    part(&[("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "")], "webhooks[*]", &[row("reinvocationPolicy", Text("Never"))]),
    part(&[("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "spec"), ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "spec")], "", &[
        row("failurePolicy", Text("Fail")),
    ]),
    part(&[
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "spec.matchConstraints"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", "spec.matchResources"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "spec.matchConstraints"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", "spec.matchResources"),
    ], "", &[
        row("excludeResourceRules|resourceRules[*].scope", Text("*")),
        row("matchPolicy", Text("Equivalent")),
        row("namespaceSelector|objectSelector", Empty),
    ]),
    part(&[("apiextensions.k8s.io", "CustomResourceDefinition", "spec")], "", &[
        row("conversion.webhook.clientConfig.service.port", Int(443)),
        row("conversion", Json(r#"{"strategy": "None"}"#)),
        row("names.listKind", Like(|names| Some(format!("{}List", text(names, "kind")).into()))),
        row("names.singular", Like(|names| Some(text(names, "kind").to_lowercase().into()))),
    ]),
    part(&[("apiregistration.k8s.io", "APIService", "spec")], "", &[row("service.port", Int(443))]),
    part(&[("flowcontrol.apiserver.k8s.io", "FlowSchema", "spec")], "", &[row("matchingPrecedence", Int(1000))]),
    part(&[("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", "spec")], "", &[
        row("exempt.nominalConcurrencyShares", Int(0)),
        row("exempt|limited.lendablePercent", Int(0)),
        row("limited.limitResponse.queuing.handSize", Int(8)),
        row("limited.limitResponse.queuing.queueLengthLimit", Int(50)),
        row("limited.limitResponse.queuing.queues", Int(64)),
        row("limited.nominalConcurrencyShares", Int(30)),
    ]),
];
