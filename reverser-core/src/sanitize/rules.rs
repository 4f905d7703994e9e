//! The deny-list: what servers and controllers write into objects, a row each. Readable as documentation.
//!
//! A row removes the values at its path from the objects that it is about, when its condition holds. Conditions look at
//! the object as it came, so the order of the rows means nothing. Paths are [`FieldPath`](crate::FieldPath)s.

use serde_json::Value;

/// One row: what is removed, from which objects, when, and why.
///
/// ```
/// let rows = reverser_core::Sanitizer::rules();
/// let node = rows.iter().find(|row| row.path() == ".spec.nodeName").unwrap();
/// assert_eq!(node.kinds(), [("", "Pod")]);
/// assert_eq!(node.reason(), "set by the scheduler");
/// assert_eq!(node.condition().unwrap(), "unless a client sent it");
/// assert!(node.source().starts_with("https://kubernetes.io/docs/"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub(super) objects: Objects,
    pub(super) path: &'static str,
    /// What makes the value the server's; [`When::Always`] unless the row says otherwise.
    pub(super) when: When,
    pub(super) sharing: Sharing,
    reason: &'static str,
    source: &'static str,
}

impl Rule {
    const fn new(objects: Objects, path: &'static str, reason: &'static str, source: &'static str) -> Self {
        Self { objects, path, when: When::Always, sharing: Sharing::Never, reason, source }
    }

    const fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    /// Keeps a value that somebody applied.
    const fn unless_applied(self) -> Self {
        Self { sharing: Sharing::Applied, ..self }
    }

    /// Keeps a value that somebody sent.
    const fn unless_sent(self) -> Self {
        Self { sharing: Sharing::Sent, ..self }
    }

    /// Returns the path below the object, as [`FieldPath`](crate::FieldPath) reads it: `.spec.ports[*].nodePort`.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// Returns who writes the value, or what harm it does in a manifest.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// Returns the address of the documentation that says so.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// Returns when the value is removed, in words; `None`: wherever it stands.
    pub fn condition(&self) -> Option<String> {
        let conditions = [self.when.words(), self.sharing.words().map(str::to_owned)];
        let words: Vec<_> = conditions.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Returns group and kind of the objects, or nothing when the row is about all of them.
    pub fn kinds(&self) -> Vec<(&'static str, &'static str)> {
        match self.objects {
            All => vec![],
            One(group, kind) => vec![(group, kind)],
            Several(group, kinds) => kinds.iter().map(|kind| (group, *kind)).collect(),
        }
    }
}

/// Which objects a row is about, by group and kind, whatever version they are served in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Objects {
    /// Every object, also of kinds that nobody has heard of.
    All,
    /// Objects of one kind.
    One(&'static str, &'static str),
    /// Objects of several kinds of one group.
    Several(&'static str, &'static [&'static str]),
}

/// Whether authors write the field too, and what shows that they did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sharing {
    /// The last-applied annotation or an `Apply` entry of managedFields has it. An `Update` entry may be a controller's.
    Applied,
    /// Only servers write it.
    Never,
    /// Besides, an `Update` entry of managedFields names it: the API server makes these from what a client sent, before
    /// it allocates addresses, admits, schedules and generates labels. They do own what API defaulting fills in, so this
    /// is no evidence for fields with a default. Measured with 1.36: create, patch, replace and apply named `nodePort`,
    /// `clusterIP`, `nodeName` and `priority` when the client had sent another value than there was, and else never.
    Sent,
}

impl Sharing {
    fn words(self) -> Option<&'static str> {
        match self {
            Self::Applied => Some("unless somebody applied it"),
            Self::Never => None,
            Self::Sent => Some("unless a client sent it"),
        }
    }
}

/// When a value is the server's.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// It is an address or a port: `None`, `""` and 0 are an author's.
    Allocated,
    /// Wherever it stands.
    Always,
    /// The object has an annotation that begins with this.
    Annotated(&'static str),
    /// It is a taint that tells of a node's condition. `out-of-service` isn't: an administrator adds that one.
    ConditionTaint,
    /// It is what the DefaultTolerationSeconds admission plugin adds, where it adds it.
    DefaultToleration,
    /// It names the token or pull secret that a controller made for this service account.
    GeneratedSecret,
    /// The Job's selector is generated: it doesn't say `manualSelector: true`.
    GeneratedSelector,
    /// It has a non-empty field of that name.
    Has(&'static str),
    /// It is null, as Go writes an unset time.
    Null,
    /// The object has this top-level field, and it isn't null.
    ObjectHas(&'static str),
    /// It is the volume mount of the service account's token.
    TokenMount,
    /// It is the volume of the service account's token.
    TokenVolume,
}

impl When {
    fn words(self) -> Option<String> {
        let words = match self {
            Self::Allocated => "when it is an address or a port, not `None`, empty or 0",
            Self::Always => return None,
            Self::Annotated(prefix) => return Some(format!("when an annotation `{prefix}…` says so")),
            Self::ConditionTaint => {
                "when its key is `node.kubernetes.io/not-ready`, `…/unreachable`, `…/unschedulable`, `…/network-unavailable` or a pressure's"
            }
            Self::DefaultToleration => {
                "when it is the plugin's: not ready or unreachable, for 300 seconds, at the end of the list"
            }
            Self::GeneratedSecret => "when it is named after the account: `…-token-x7k2p`, `…-dockercfg-x7k2p`",
            Self::GeneratedSelector => "unless the Job says `manualSelector: true`",
            Self::Has(field) => return Some(format!("when it has a `{field}`")),
            Self::Null => "when it is null",
            Self::ObjectHas(field) => return Some(format!("when the object has `{field}`")),
            Self::TokenMount => "when it mounts the token volume where tokens are mounted",
            Self::TokenVolume => "when it is a generated volume with a token: `kube-api-access-x7k2p`, `…-token-x7k2p`",
        };
        Some(words.to_owned())
    }

    /// Returns whether `value`, which stands somewhere in `object`, is the server's.
    pub(super) fn holds(self, object: &Value, value: &Value) -> bool {
        match self {
            Self::Allocated => is_allocated(value),
            Self::Always => true,
            Self::Annotated(prefix) => object["metadata"]["annotations"]
                .as_object()
                .is_some_and(|annotations| annotations.keys().any(|key| key.starts_with(prefix))),
            Self::ConditionTaint => {
                text(value, "key").strip_prefix("node.kubernetes.io/").is_some_and(|key| NODE_CONDITIONS.contains(&key))
            }
            Self::DefaultToleration => is_default_toleration(object, value),
            Self::GeneratedSecret => {
                let account = text(&object["metadata"], "name");
                let secret = text(value, "name");
                is_generated(secret, account, "-token-") || is_generated(secret, account, "-dockercfg-")
            }
            Self::GeneratedSelector => object["spec"]["manualSelector"] != true,
            Self::Has(field) => !text(value, field).is_empty(),
            Self::Null => value.is_null(),
            Self::ObjectHas(field) => !object[field].is_null(),
            Self::TokenMount => {
                let volumes = object["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
                text(value, "mountPath") == "/var/run/secrets/kubernetes.io/serviceaccount"
                    && volumes.iter().any(|volume| volume["name"] == value["name"] && is_token_volume(object, volume))
            }
            Self::TokenVolume => is_token_volume(object, value),
        }
    }
}

/// The ends of the keys of taints that the node lifecycle controller keeps.
const NODE_CONDITIONS: &[&str] = &[
    "disk-pressure",
    "memory-pressure",
    "network-unavailable",
    "not-ready",
    "pid-pressure",
    "unreachable",
    "unschedulable",
];

fn is_allocated(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.first().is_some_and(is_allocated),
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.is_empty() && text != "None",
        _ => false,
    }
}

/// The plugin appends, not ready before unreachable. One that stands elsewhere stays: put back at the end it would be a
/// change of the Pod.
fn is_default_toleration(pod: &Value, toleration: &Value) -> bool {
    let mut last = pod["spec"]["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default().iter().rev().peekable();
    ["unreachable", "not-ready"].iter().any(|key| {
        let its = last.next_if(|last| {
            // The plugin's default. Clusters with another one keep theirs in the manifest.
            text(last, "key").strip_prefix("node.kubernetes.io/") == Some(key)
                && text(last, "operator") == "Exists"
                && text(last, "effect") == "NoExecute"
                && last["tolerationSeconds"] == 300
                && last.get("value").is_none()
        });
        its.is_some_and(|its| std::ptr::eq(its, toleration))
    })
}

/// `kube-api-access-x7k2p` of the ServiceAccount admission plugin, or the `NAME-token-x7k2p` of clusters before 1.22.
fn is_token_volume(object: &Value, volume: &Value) -> bool {
    let name = text(volume, "name");
    let has_token = volume["projected"]["sources"]
        .as_array()
        .is_some_and(|sources| sources.iter().any(|source| source.get("serviceAccountToken").is_some()));
    (has_token && is_generated(name, "kube-api-access", "-"))
        || (text(&volume["secret"], "secretName") == name
            && is_generated(name, text(&object["spec"], "serviceAccountName"), "-token-"))
}

/// Returns whether `name` is `base`, `infix` and what `generateName` appends: five characters without vowels and
/// without what looks like one (k8s.io/apimachinery/pkg/util/rand).
fn is_generated(name: &str, base: &str, infix: &str) -> bool {
    let suffix = name.strip_prefix(base).and_then(|rest| rest.strip_prefix(infix));
    !base.is_empty()
        && suffix.is_some_and(|suffix| {
            suffix.len() == 5 && suffix.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c))
        })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

use Objects::{All, One, Several};
use When::{
    Allocated, Annotated, ConditionTaint, DefaultToleration, GeneratedSecret, GeneratedSelector, Has, Null, ObjectHas,
    TokenMount, TokenVolume,
};

/// Kinds whose `spec.template` is a Pod's, in apps.
const WORKLOADS: Objects = Several("apps", &["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]);
const WEBHOOKS: Objects =
    Several("admissionregistration.k8s.io", &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]);
const CERT_MANAGER: &str = "cert-manager.io/inject-";
const OPENSHIFT_CA: &str = "service.beta.openshift.io/inject-cabundle";

// Where it is documented.
const ADMISSION: &str = "https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/";
const ANNOTATIONS: &str = "https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/";
const ARGO_CD: &str = "https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/";
const AUTOSCALER: &str = "https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/";
const CALICO: &str = "https://docs.tigera.io/calico/latest/reference/";
const CERT_MANAGER_DOCS: &str = "https://cert-manager.io/docs/concepts/ca-injector/";
const CLAIM: &str =
    "https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-claim-v1/";
const CLI_UTILS: &str = "https://github.com/kubernetes-sigs/cli-utils/blob/master/README.md";
const CONVENTIONS: &str = "https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#spec-and-status";
const CSR: &str =
    "https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/certificate-signing-request-v1/";
const DEVICES: &str = "https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/";
const FINALIZERS: &str = "https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/";
const FLUX: &str = "https://fluxcd.io/flux/components/";
const GARBAGE_COLLECTION: &str = "https://kubernetes.io/docs/concepts/architecture/garbage-collection/";
const JOBS: &str = "https://kubernetes.io/docs/concepts/workloads/controllers/job/";
const KRO: &str = "https://kro.run/docs/overview";
const MULTUS: &str = "https://github.com/k8snetworkplumbingwg/multi-net-spec";
const NAMESPACE: &str = "https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/namespace-v1/";
const NODE: &str = "https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/";
const OBJECT_META: &str = "https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/";
const OPENSHIFT_DOCS: &str =
    "https://docs.openshift.com/container-platform/latest/security/certificates/service-serving-certificate.html";
const POD: &str = "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/";
const RANCHER: &str = "https://fleet.rancher.io/";
const RBAC: &str = "https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles";
const SERVICE: &str = "https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/";
const SERVICE_ACCOUNT: &str = "https://kubernetes.io/docs/concepts/security/service-accounts/";
const STATEFUL_SET: &str = "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/stateful-set-v1/";
const TAINTS: &str =
    "https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions";
const VOLUME: &str = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding";
const WELL_KNOWN: &str = "https://kubernetes.io/docs/reference/labels-annotations-taints/";

/// The whole deny-list.
#[rustfmt::skip]
pub(super) static RULES: &[Rule] = &[
    // Object metadata. Kept: generateName. It is the author's, and with a name beside it nobody acts on it.
    Rule::new(All, ".metadata.creationTimestamp", "set by the API server when it stores the object", OBJECT_META),
    Rule::new(All, ".metadata.deletionGracePeriodSeconds", "set by the API server when deletion is asked for", OBJECT_META),
    Rule::new(All, ".metadata.deletionTimestamp", "set by the API server when deletion is asked for", OBJECT_META),
    Rule::new(All, ".metadata.generation", "counted by the API server", OBJECT_META),
    Rule::new(All, ".metadata.managedFields", "kept by the API server, different after each apply", OBJECT_META),
    Rule::new(All, ".metadata.ownerReferences[*]", "bound to the uid of an owner that a restored object doesn't have: it would be garbage-collected at once", GARBAGE_COLLECTION).when(Has("uid")),
    Rule::new(All, ".metadata.resourceVersion", "a stale one makes the next apply a conflict", OBJECT_META),
    Rule::new(All, ".metadata.selfLink", "set by API servers before 1.20", OBJECT_META),
    Rule::new(All, ".metadata.uid", "set by the API server; a stale one makes the next apply a conflict", OBJECT_META),
    Rule::new(All, ".status", "what the cluster observes, written through the status subresource", CONVENTIONS),

    // Finalizers that API server and controllers add to ask for their own work. Others' are kept: some are authored.
    Rule::new(All, ".metadata.finalizers[?(@=='orphan')]", "a pending background deletion's", GARBAGE_COLLECTION),
    Rule::new(All, ".metadata.finalizers[?(@=='foregroundDeletion')]", "a pending foreground deletion's", GARBAGE_COLLECTION),
    Rule::new(All, ".metadata.finalizers[?(@=='finalizers.fluxcd.io')]", "added by Flux's controllers to the objects that they apply for", FLUX),
    Rule::new(All, ".metadata.finalizers[?(@=='kro.run/finalizer')]", "added by kro to the instances that it serves", KRO),
    Rule::new(One("", "PersistentVolume"), ".metadata.finalizers[?(@=='kubernetes.io/pv-protection')]", "added by admission (StorageObjectInUseProtection)", ADMISSION),
    Rule::new(One("", "PersistentVolumeClaim"), ".metadata.finalizers[?(@=='kubernetes.io/pvc-protection')]", "added by admission (StorageObjectInUseProtection)", ADMISSION),
    Rule::new(One("", "Pod"), ".metadata.finalizers[?(@=='batch.kubernetes.io/job-tracking')]", "added by the job controller; a restored Pod would wait for it for ever", JOBS),
    Rule::new(One("", "Service"), ".metadata.finalizers[?(@=='service.kubernetes.io/load-balancer-cleanup')]", "added by the cloud provider's service controller", SERVICE),
    Rule::new(One("apiextensions.k8s.io", "CustomResourceDefinition"), ".metadata.finalizers[?(@=='customresourcecleanup.apiextensions.k8s.io')]", "added by the API server when deletion is asked for", FINALIZERS),
    Rule::new(One("networking.k8s.io", "ServiceCIDR"), ".metadata.finalizers[?(@=='networking.k8s.io/service-cidr-finalizer')]", "added by the service CIDR controller", FINALIZERS),
    Rule::new(One("scheduling.k8s.io", "PodGroup"), ".metadata.finalizers[?(@=='scheduling.k8s.io/podgroup-protection')]", "added by admission when it is created", FINALIZERS),
    Rule::new(One("resource.k8s.io", "ResourceClaim"), ".metadata.finalizers[?(@=='resource.kubernetes.io/delete-protection')]", "added by the scheduler with the allocation", FINALIZERS),
    Rule::new(One("storage.k8s.io", "VolumeAttributesClass"), ".metadata.finalizers[?(@=='kubernetes.io/vac-protection')]", "added by the protection controller", FINALIZERS),

    // Bookkeeping of the tools that apply manifests, by exact key: their other keys carry intent (prune, ssa, sync
    // waves, hooks) and stay, as do app.kubernetes.io/* and meta.helm.sh/*, without which helm disowns the object.
    Rule::new(All, ".metadata.annotations['kubectl.kubernetes.io/last-applied-configuration']", "kubectl apply's copy of the manifest", WELL_KNOWN),
    Rule::new(All, ".metadata.annotations['applyset.kubernetes.io/contains-group-kinds']", "kubectl apply --applyset's inventory", WELL_KNOWN),
    Rule::new(All, ".metadata.annotations['applyset.kubernetes.io/contains-group-resources']", "kubectl apply --applyset's inventory", WELL_KNOWN),
    Rule::new(All, ".metadata.annotations['applyset.kubernetes.io/additional-namespaces']", "kubectl apply --applyset's inventory", WELL_KNOWN),
    Rule::new(All, ".metadata.annotations['applyset.kubernetes.io/tooling']", "kubectl apply --applyset's name and version", WELL_KNOWN),
    Rule::new(All, ".metadata.annotations['argocd.argoproj.io/installation-id']", "Argo CD's mark of what it applied", ARGO_CD),
    Rule::new(All, ".metadata.annotations['argocd.argoproj.io/tracking-id']", "Argo CD's mark of what it applied", ARGO_CD),
    Rule::new(All, ".metadata.annotations['configbutler.ai/reason']", "why the object was changed: its commit says it", ANNOTATIONS),
    Rule::new(All, ".metadata.annotations['config.k8s.io/owning-inventory']", "cli-utils' mark of what it applied", CLI_UTILS),
    Rule::new(All, ".metadata.annotations['control-plane.alpha.kubernetes.io/leader']", "a leader election's record, renewed every few seconds", WELL_KNOWN),
    Rule::new(All, ".metadata.annotations['kustomize.toolkit.fluxcd.io/checksum']", "written by old versions of Flux for pruning", FLUX),
    Rule::new(All, ".metadata.annotations['objectset.rio.cattle.io/applied']", "Rancher's and Fleet's copy of the manifest", RANCHER),
    Rule::new(All, ".metadata.labels['applyset.kubernetes.io/id']", "kubectl apply --applyset's mark of the parent object", WELL_KNOWN),
    Rule::new(All, ".metadata.labels['applyset.kubernetes.io/part-of']", "kubectl apply --applyset's mark of what it applied", WELL_KNOWN),
    Rule::new(All, ".metadata.labels['argocd.argoproj.io/instance']", "Argo CD's mark of what it applied", ARGO_CD),
    Rule::new(All, ".metadata.labels['helm.toolkit.fluxcd.io/name']", "Flux's mark of what it applied", FLUX),
    Rule::new(All, ".metadata.labels['helm.toolkit.fluxcd.io/namespace']", "Flux's mark of what it applied", FLUX),
    Rule::new(All, ".metadata.labels['kro.run/'*]", "kro's marks of owner, instance and version; its settings are annotations", KRO),
    Rule::new(All, ".metadata.labels['kustomize.toolkit.fluxcd.io/name']", "Flux's mark of what it applied", FLUX),
    Rule::new(All, ".metadata.labels['kustomize.toolkit.fluxcd.io/namespace']", "Flux's mark of what it applied", FLUX),
    Rule::new(All, ".metadata.labels['objectset.rio.cattle.io/hash']", "Rancher's and Fleet's mark of what they applied", RANCHER),

    // Namespaces.
    Rule::new(One("", "Namespace"), ".metadata.labels['kubernetes.io/metadata.name']", "set to the name by API defaulting", NAMESPACE),
    Rule::new(One("", "Namespace"), ".spec.finalizers[?(@=='kubernetes')]", "set by the API server", NAMESPACE),

    // Services.
    Rule::new(One("", "Service"), ".spec.clusterIP", "allocated; in another cluster it is taken or out of range", SERVICE).when(Allocated).unless_sent(),
    Rule::new(One("", "Service"), ".spec.clusterIPs", "allocated; in another cluster they are taken or out of range", SERVICE).when(Allocated).unless_sent(),
    Rule::new(One("", "Service"), ".spec.healthCheckNodePort", "allocated", SERVICE).when(Allocated).unless_sent(),
    Rule::new(One("", "Service"), ".spec.ports[*].nodePort", "allocated", SERVICE).when(Allocated).unless_sent(),

    // Pods.
    Rule::new(One("", "Pod"), ".metadata.annotations['cni.projectcalico.org/containerID']", "written by Calico", CALICO),
    Rule::new(One("", "Pod"), ".metadata.annotations['cni.projectcalico.org/podIP']", "written by Calico", CALICO),
    Rule::new(One("", "Pod"), ".metadata.annotations['cni.projectcalico.org/podIPs']", "written by Calico", CALICO),
    Rule::new(One("", "Pod"), ".metadata.annotations['k8s.v1.cni.cncf.io/network-status']", "written by Multus", MULTUS),
    Rule::new(One("", "Pod"), ".metadata.annotations['kubernetes.io/limit-ranger']", "written by admission (LimitRanger)", ADMISSION),
    Rule::new(One("", "Pod"), ".spec.containers[*].volumeMounts[*]", "added by admission (ServiceAccount)", ADMISSION).when(TokenMount).unless_sent(),
    Rule::new(One("", "Pod"), ".spec.ephemeralContainers[*].volumeMounts[*]", "added by admission (ServiceAccount)", ADMISSION).when(TokenMount).unless_sent(),
    Rule::new(One("", "Pod"), ".spec.initContainers[*].volumeMounts[*]", "added by admission (ServiceAccount)", ADMISSION).when(TokenMount).unless_sent(),
    Rule::new(One("", "Pod"), ".spec.nodeName", "set by the scheduler", POD).unless_sent(),
    Rule::new(One("", "Pod"), ".spec.priority", "computed by admission from priorityClassName, which refuses another value", ADMISSION).unless_sent(),
    Rule::new(One("", "Pod"), ".spec.tolerations[*]", "added by admission (DefaultTolerationSeconds)", ADMISSION).when(DefaultToleration).unless_sent(),
    Rule::new(One("", "Pod"), ".spec.volumes[*]", "added by admission (ServiceAccount); names a token that another cluster doesn't have", ADMISSION).when(TokenVolume).unless_sent(),

    Rule::new(One("", "Pod"), ".metadata.labels['topology.kubernetes.io/region']", "copied from the Node by admission (PodTopologyLabels); wrong on another one", ADMISSION).unless_sent(),
    Rule::new(One("", "Pod"), ".metadata.labels['topology.kubernetes.io/zone']", "copied from the Node by admission (PodTopologyLabels); wrong on another one", ADMISSION).unless_sent(),
    Rule::new(One("", "Pod"), ".spec.overhead", "computed by admission (RuntimeClass) from runtimeClassName, which refuses another value", ADMISSION).unless_sent(),
    Rule::new(One("", "Pod"), ".spec.preemptionPolicy", "computed by admission (Priority) from priorityClassName, which refuses another value", ADMISSION).unless_sent(),

    // Nodes. Other taints and labels are an administrator's.
    Rule::new(One("", "Node"), ".metadata.annotations['node.alpha.kubernetes.io/ttl']", "written by the ttl controller, from how many nodes there are", WELL_KNOWN),
    Rule::new(One("", "Node"), ".metadata.annotations['volumes.kubernetes.io/controller-managed-attach-detach']", "written by the kubelet", WELL_KNOWN),
    Rule::new(One("", "Node"), ".metadata.labels['beta.kubernetes.io/arch']", "kept equal to kubernetes.io/arch by the node lifecycle controller", WELL_KNOWN).unless_sent(),
    Rule::new(One("", "Node"), ".metadata.labels['beta.kubernetes.io/os']", "kept equal to kubernetes.io/os by the node lifecycle controller", WELL_KNOWN).unless_sent(),
    Rule::new(One("", "Node"), ".spec.podCIDR", "allocated by the node IPAM controller", NODE).unless_sent(),
    Rule::new(One("", "Node"), ".spec.podCIDRs", "allocated by the node IPAM controller", NODE).unless_sent(),
    Rule::new(One("", "Node"), ".spec.providerID", "set by the kubelet or the cloud controller manager; names a machine", NODE).unless_sent(),
    Rule::new(One("", "Node"), ".spec.taints[*]", "added and removed by admission and the node lifecycle controller as the node's conditions change", TAINTS).when(ConditionTaint).unless_sent(),

    // Service accounts. Secrets with other names are an author's list of mountable ones.
    Rule::new(One("", "ServiceAccount"), ".imagePullSecrets[*]", "added by OpenShift, for a Secret that it generates", OPENSHIFT_DOCS).when(GeneratedSecret).unless_applied(),
    Rule::new(One("", "ServiceAccount"), ".secrets[*]", "added by the token controller before 1.24, for a Secret that it generates", SERVICE_ACCOUNT).when(GeneratedSecret).unless_applied(),

    // Volumes. The binder marks what it wrote itself; a binding without the mark is authored.
    Rule::new(One("", "PersistentVolume"), ".metadata.annotations['pv.kubernetes.io/bound-by-controller']", "the binder's mark of its own work", VOLUME),
    Rule::new(One("", "PersistentVolume"), ".metadata.annotations['pv.kubernetes.io/migrated-to']", "written by the CSI migration", VOLUME),
    Rule::new(One("", "PersistentVolume"), ".spec.claimRef", "written by the binder", VOLUME).when(Annotated("pv.kubernetes.io/bound-by-controller")),
    Rule::new(One("", "PersistentVolume"), ".spec.claimRef.resourceVersion", "a version of a claim that a restored volume doesn't have", VOLUME),
    Rule::new(One("", "PersistentVolume"), ".spec.claimRef.uid", "bound to a claim that a restored volume doesn't have: it would be Released", VOLUME),
    Rule::new(One("", "PersistentVolumeClaim"), ".metadata.annotations['pv.kubernetes.io/bind-completed']", "the binder's mark of its own work", CLAIM),
    Rule::new(One("", "PersistentVolumeClaim"), ".metadata.annotations['pv.kubernetes.io/bound-by-controller']", "the binder's mark of its own work", CLAIM),
    Rule::new(One("", "PersistentVolumeClaim"), ".metadata.annotations['pv.kubernetes.io/migrated-to']", "written by the CSI migration", CLAIM),
    Rule::new(One("", "PersistentVolumeClaim"), ".metadata.annotations['volume.beta.kubernetes.io/storage-provisioner']", "written by the volume controller", CLAIM),
    Rule::new(One("", "PersistentVolumeClaim"), ".metadata.annotations['volume.kubernetes.io/selected-node']", "written by the scheduler", CLAIM),
    Rule::new(One("", "PersistentVolumeClaim"), ".metadata.annotations['volume.kubernetes.io/storage-provisioner']", "written by the volume controller", CLAIM),
    Rule::new(One("", "PersistentVolumeClaim"), ".metadata.annotations['volume.kubernetes.io/storage-resizer']", "written by the volume controller", CLAIM),
    Rule::new(One("", "PersistentVolumeClaim"), ".spec.volumeName", "written by the binder", CLAIM).when(Annotated("pv.kubernetes.io/bound-by-controller")),

    // Workloads.
    Rule::new(One("apps", "DaemonSet"), ".metadata.annotations['deprecated.daemonset.template.generation']", "counted by the API server", WELL_KNOWN),
    Rule::new(One("apps", "Deployment"), ".metadata.annotations['deployment.kubernetes.io/revision']", "counted by the deployment controller", WELL_KNOWN),
    Rule::new(One("apps", "ReplicaSet"), ".metadata.annotations['deployment.kubernetes.io/desired-replicas']", "written by the deployment controller", WELL_KNOWN),
    Rule::new(One("apps", "ReplicaSet"), ".metadata.annotations['deployment.kubernetes.io/max-replicas']", "written by the deployment controller", WELL_KNOWN),
    Rule::new(One("apps", "ReplicaSet"), ".metadata.annotations['deployment.kubernetes.io/revision']", "counted by the deployment controller", WELL_KNOWN),
    Rule::new(One("apps", "ReplicaSet"), ".metadata.annotations['deployment.kubernetes.io/revision-history']", "written by the deployment controller", WELL_KNOWN),
    Rule::new(One("apps", "StatefulSet"), ".spec.volumeClaimTemplates[*].metadata.creationTimestamp", "an unset time as Go writes it", OBJECT_META).when(Null),
    Rule::new(One("apps", "StatefulSet"), ".spec.volumeClaimTemplates[*].status", "set by API defaulting", STATEFUL_SET),
    Rule::new(WORKLOADS, ".spec.template.metadata.creationTimestamp", "an unset time as Go writes it", OBJECT_META).when(Null),
    Rule::new(One("", "PodTemplate"), ".template.metadata.creationTimestamp", "an unset time as Go writes it", OBJECT_META).when(Null),
    Rule::new(One("", "ReplicationController"), ".spec.template.metadata.creationTimestamp", "an unset time as Go writes it", OBJECT_META).when(Null),

    // Jobs. With a stale controller-uid the API server refuses them (422).
    Rule::new(One("batch", "CronJob"), ".spec.jobTemplate.metadata.creationTimestamp", "an unset time as Go writes it", OBJECT_META).when(Null),
    Rule::new(One("batch", "CronJob"), ".spec.jobTemplate.spec.template.metadata.creationTimestamp", "an unset time as Go writes it", OBJECT_META).when(Null),
    Rule::new(One("batch", "Job"), ".metadata.annotations['batch.kubernetes.io/cronjob-scheduled-timestamp']", "written by the cronjob controller", WELL_KNOWN),
    Rule::new(One("batch", "Job"), ".metadata.annotations['batch.kubernetes.io/job-tracking']", "written by old job controllers", WELL_KNOWN),
    Rule::new(One("batch", "Job"), ".metadata.labels['batch.kubernetes.io/controller-uid']", "generated, copied from the template by API defaulting", JOBS).when(GeneratedSelector),
    Rule::new(One("batch", "Job"), ".metadata.labels['batch.kubernetes.io/job-name']", "generated, copied from the template by API defaulting", JOBS).when(GeneratedSelector).unless_sent(),
    Rule::new(One("batch", "Job"), ".metadata.labels.controller-uid", "generated, copied from the template by API defaulting", JOBS).when(GeneratedSelector),
    Rule::new(One("batch", "Job"), ".metadata.labels.job-name", "generated, copied from the template by API defaulting", JOBS).when(GeneratedSelector).unless_sent(),
    Rule::new(One("batch", "Job"), ".spec.selector.matchLabels['batch.kubernetes.io/controller-uid']", "generated by the API server", JOBS).when(GeneratedSelector),
    Rule::new(One("batch", "Job"), ".spec.selector.matchLabels.controller-uid", "generated by old API servers", JOBS).when(GeneratedSelector),
    Rule::new(One("batch", "Job"), ".spec.template.metadata.creationTimestamp", "an unset time as Go writes it", OBJECT_META).when(Null),
    Rule::new(One("batch", "Job"), ".spec.template.metadata.labels['batch.kubernetes.io/controller-uid']", "generated by the API server", JOBS).when(GeneratedSelector),
    Rule::new(One("batch", "Job"), ".spec.template.metadata.labels['batch.kubernetes.io/job-name']", "generated by the API server", JOBS).when(GeneratedSelector).unless_sent(),
    Rule::new(One("batch", "Job"), ".spec.template.metadata.labels.controller-uid", "generated by the API server", JOBS).when(GeneratedSelector),
    Rule::new(One("batch", "Job"), ".spec.template.metadata.labels.job-name", "generated by the API server", JOBS).when(GeneratedSelector).unless_sent(),

    // Autoscaling: what autoscaling/v1 shows of v2's status. Metrics and behavior are the author's.
    Rule::new(One("autoscaling", "HorizontalPodAutoscaler"), ".metadata.annotations['autoscaling.alpha.kubernetes.io/conditions']", "the status of v2, shown in v1", AUTOSCALER),
    Rule::new(One("autoscaling", "HorizontalPodAutoscaler"), ".metadata.annotations['autoscaling.alpha.kubernetes.io/current-metrics']", "the status of v2, shown in v1", AUTOSCALER),

    // Endpoints.
    Rule::new(One("", "Endpoints"), ".metadata.annotations['endpoints.kubernetes.io/last-change-trigger-time']", "written by the endpoints controller", WELL_KNOWN),

    // Devices.
    Rule::new(One("resource.k8s.io", "DeviceTaintRule"), ".spec.taint.timeAdded", "set by the API server to when it was created", DEVICES).unless_applied(),

    // Aggregated roles. Also an authored `rules: []`: the controller fills it, so it can't be told apart.
    Rule::new(One("rbac.authorization.k8s.io", "ClusterRole"), ".rules", "filled in by the controller from the roles that aggregationRule selects", RBAC).when(ObjectHas("aggregationRule")),

    // Certificates. The API server overwrites who asks.
    Rule::new(One("certificates.k8s.io", "CertificateSigningRequest"), ".spec.extra", "set by the API server to the requesting user's", CSR),
    Rule::new(One("certificates.k8s.io", "CertificateSigningRequest"), ".spec.groups", "set by the API server to the requesting user's", CSR),
    Rule::new(One("certificates.k8s.io", "CertificateSigningRequest"), ".spec.uid", "set by the API server to the requesting user's", CSR),
    Rule::new(One("certificates.k8s.io", "CertificateSigningRequest"), ".spec.username", "set by the API server to the requesting user's", CSR),

    // CA bundles that an annotation asks somebody to inject.
    Rule::new(One("apiextensions.k8s.io", "CustomResourceDefinition"), ".spec.conversion.webhook.clientConfig.caBundle", "injected by cert-manager", CERT_MANAGER_DOCS).when(Annotated(CERT_MANAGER)),
    Rule::new(One("apiextensions.k8s.io", "CustomResourceDefinition"), ".spec.conversion.webhook.clientConfig.caBundle", "injected by OpenShift", OPENSHIFT_DOCS).when(Annotated(OPENSHIFT_CA)),
    Rule::new(One("apiregistration.k8s.io", "APIService"), ".spec.caBundle", "injected by cert-manager", CERT_MANAGER_DOCS).when(Annotated(CERT_MANAGER)),
    Rule::new(One("apiregistration.k8s.io", "APIService"), ".spec.caBundle", "injected by OpenShift", OPENSHIFT_DOCS).when(Annotated(OPENSHIFT_CA)),
    Rule::new(WEBHOOKS, ".webhooks[*].clientConfig.caBundle", "injected by cert-manager", CERT_MANAGER_DOCS).when(Annotated(CERT_MANAGER)),
    Rule::new(WEBHOOKS, ".webhooks[*].clientConfig.caBundle", "injected by OpenShift", OPENSHIFT_DOCS).when(Annotated(OPENSHIFT_CA)),
];
