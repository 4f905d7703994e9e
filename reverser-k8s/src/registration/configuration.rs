//! From what is captured to a ValidatingWebhookConfiguration. Values in, values out.
//!
//! | webhook | what it is called for | in |
//! |---|---|---|
//! | `namespaced` | captured resources that are in namespaces | captured namespaces |
//! | `cluster-scoped` | captured resources that aren't; removals of CustomResourceDefinitions | |
//! | `namespaces` | namespaces; where these aren't captured, their removals alone | all; else captured namespaces |
//!
//! They are three since a selector of namespaces is heeded for Namespace objects, too.
//!
//! Rules name resource by resource what discovery has, never `*`: that would send TokenReviews and Secrets as well, and
//! requests in the version in which they came, where `matchPolicy: Equivalent` has the API server convert them to the one
//! that is watched. A resource takes about 50 bytes, so that ten thousand of them fit into what etcd takes (1.5 MiB).
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{
        MatchCondition, RuleWithOperations, ServiceReference, ValidatingWebhook, ValidatingWebhookConfiguration,
        WebhookClientConfig,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta},
};
use reverser_core::Resource;

use super::{Captured, Endpoint};

/// How long a write may wait for an answer, in seconds: the least that there is.
pub const TIMEOUT_SECONDS: i32 = 1;

/// What the names of the webhooks end with.
const DOMAIN: &str = "reverser.configbutler.ai";

/// The label of every namespace that holds its name. <https://kubernetes.io/docs/reference/labels-annotations-taints/>
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Who made it, and of which version.
pub(super) const REGISTERED_BY: &str = "configbutler.ai/registered-by";

/// Which run made it.
pub(super) const REGISTRATION: &str = "configbutler.ai/registration";

/// Whether the API server can be told what not to send in CEL: since Kubernetes 1.28.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchConditions {
    /// It can.
    Known,
    /// It doesn't know the field: what it sends in vain is thrown away here.
    Unknown,
}

/// What a configuration says besides what is captured.
#[derive(Clone, Debug)]
pub(super) struct Frame<'a> {
    pub(super) name: &'a str,
    pub(super) endpoint: &'a Endpoint,
    /// PEM; `None`: nothing is said of it.
    pub(super) ca_bundle: Option<&'a str>,
    pub(super) excluded: &'a BTreeSet<String>,
    pub(super) conditions: MatchConditions,
    pub(super) registered_by: &'a str,
    pub(super) run: &'a str,
}

/// Returns the configuration that has the API server send what is captured, and what tells who made it vanish.
pub(super) fn configuration(frame: &Frame<'_>, captured: &Captured) -> ValidatingWebhookConfiguration {
    let webhook = |name: &str, namespaces: LabelSelector, rules: Vec<RuleWithOperations>| {
        (!rules.is_empty()).then(|| ValidatingWebhook {
            admission_review_versions: vec!["v1".into()],
            client_config: client_config(frame),
            failure_policy: Some("Ignore".into()),
            match_conditions: match frame.conditions {
                MatchConditions::Known => Some(conditions(captured)),
                MatchConditions::Unknown => None,
            },
            match_policy: Some("Equivalent".into()),
            name: format!("{name}.{DOMAIN}"),
            namespace_selector: Some(namespaces),
            object_selector: Some(LabelSelector::default()),
            rules: Some(rules),
            side_effects: "None".into(),
            timeout_seconds: Some(TIMEOUT_SECONDS),
        })
    };
    let selector = selector(captured, frame.excluded);
    let namespaces = match captured.of_namespaces() {
        Some(_) => LabelSelector::default(),
        None => selector.clone().unwrap_or_default(),
    };
    let webhooks = [
        webhook("cluster-scoped", LabelSelector::default(), cluster_scoped(captured)),
        webhook("namespaced", selector.clone().unwrap_or_default(), namespaced(captured, selector.is_some())),
        webhook("namespaces", namespaces, of_namespaces(captured, selector.is_some())),
    ];
    ValidatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(frame.name.to_owned()),
            labels: Some(BTreeMap::from([("app.kubernetes.io/managed-by".into(), "reverser".into())])),
            annotations: Some(BTreeMap::from([
                (REGISTERED_BY.into(), frame.registered_by.into()),
                (REGISTRATION.into(), frame.run.into()),
            ])),
            ..ObjectMeta::default()
        },
        webhooks: Some(webhooks.into_iter().flatten().collect()),
    }
}

fn client_config(frame: &Frame<'_>) -> WebhookClientConfig {
    let ca_bundle = frame.ca_bundle.map(|pem| ByteString(pem.as_bytes().to_vec()));
    match frame.endpoint {
        Endpoint::Service { namespace, name, port, path } => WebhookClientConfig {
            ca_bundle,
            service: Some(ServiceReference {
                name: name.clone(),
                namespace: namespace.clone(),
                path: Some(path.clone()),
                port: Some(i32::from(*port)),
            }),
            url: None,
        },
        Endpoint::Url(url) => WebhookClientConfig { ca_bundle, service: None, url: Some(url.clone()) },
    }
}

/// Returns the labels of the namespaces in which something is captured; `None`: there are none.
fn selector(captured: &Captured, excluded: &BTreeSet<String>) -> Option<LabelSelector> {
    let left_out: BTreeSet<_> = captured.left_out.union(excluded).collect();
    let (operator, values): (_, Vec<_>) = match &captured.namespaces {
        Some(names) => ("In", names.iter().filter(|name| !left_out.contains(name)).cloned().collect()),
        None if left_out.is_empty() => return Some(LabelSelector::default()),
        None => ("NotIn", left_out.into_iter().cloned().collect()),
    };
    let requirement = |values| LabelSelectorRequirement {
        key: NAMESPACE_NAME.into(),
        operator: operator.into(),
        values: Some(values),
    };
    (!values.is_empty())
        .then(|| LabelSelector { match_expressions: Some(vec![requirement(values)]), ..LabelSelector::default() })
}

fn namespaced(captured: &Captured, has_namespaces: bool) -> Vec<RuleWithOperations> {
    if has_namespaces { rules(captured.namespaced(), "Namespaced") } else { vec![] }
}

fn cluster_scoped(captured: &Captured) -> Vec<RuleWithOperations> {
    let mut rules = rules(captured.cluster_scoped(), "Cluster");
    // With a definition its objects go, and no request says so.
    let definitions = ("apiextensions.k8s.io", "customresourcedefinitions");
    if captured.may_be_custom() && !captured.has(definitions.0, definitions.1) {
        rules.push(rule(definitions.0, "v1", "Cluster", &["DELETE"], vec![definitions.1.into()]));
    }
    rules
}

fn of_namespaces(captured: &Captured, has_namespaces: bool) -> Vec<RuleWithOperations> {
    match captured.of_namespaces() {
        Some(namespaces) => rules([namespaces].into_iter(), "Cluster"),
        // With a namespace its objects go, by requests of a controller.
        None if has_namespaces && captured.namespaced().next().is_some() => {
            vec![rule("", "v1", "Cluster", &["DELETE"], vec!["namespaces".into()])]
        }
        None => vec![],
    }
}

/// Returns a rule for each group and version, with its resources and all of their subresources.
fn rules<'a>(resources: impl Iterator<Item = &'a Resource>, scope: &str) -> Vec<RuleWithOperations> {
    let mut versions = BTreeMap::<_, Vec<String>>::new();
    for Resource { group, version, plural, .. } in resources {
        let named = versions.entry((group, version)).or_default();
        named.extend([plural.clone(), format!("{plural}/*")]);
    }
    let rule = |((group, version), named): ((&String, &String), _)| {
        rule(group, version, scope, &["CREATE", "UPDATE", "DELETE"], named)
    };
    versions.into_iter().map(rule).collect()
}

fn rule(group: &str, version: &str, scope: &str, operations: &[&str], resources: Vec<String>) -> RuleWithOperations {
    RuleWithOperations {
        api_groups: Some(vec![group.into()]),
        api_versions: Some(vec![version.into()]),
        operations: Some(operations.iter().map(ToString::to_string).collect()),
        resources: Some(resources),
        scope: Some(scope.into()),
    }
}

/// Returns what has to hold for a request to be sent. Fields that are empty aren't there, and an expression that fails counts
/// as one that doesn't hold.
fn conditions(captured: &Captured) -> Vec<MatchCondition> {
    let is_not = |group: &str, plural: &str| {
        format!("!(request.resource.group == '{group}' && request.resource.resource == '{plural}')")
    };
    let mut conditions = vec![
        // What it would leave joins with nothing.
        ("not-a-dry-run", "!has(request.dryRun) || !request.dryRun".to_owned()),
        // A status isn't recorded, and the request of a token changes nothing.
        ("not-a-status", "!has(request.subResource) || !(request.subResource in ['status', 'token'])".to_owned()),
    ];
    // No rule names them; but what counts as equivalent to a resource that one does name is up to the API server.
    if !captured.has("coordination.k8s.io", "leases") {
        conditions.push(("not-a-lease", is_not("coordination.k8s.io", "leases")));
    }
    if !captured.has("", "events") && !captured.has("events.k8s.io", "events") {
        conditions.push(("not-an-event", format!("{} && {}", is_not("", "events"), is_not("events.k8s.io", "events"))));
    }
    conditions.into_iter().map(|(name, expression)| MatchCondition { expression, name: name.into() }).collect()
}

#[cfg(test)]
mod tests;
