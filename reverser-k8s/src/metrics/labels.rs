//! What numbers are told apart by.

use prometheus_client::encoding::EncodeLabelSet;
use reverser_core::{Change, ObjectRef};

use crate::report::resource_parts;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByChange {
    operation: String,
    /// How its author is known.
    evidence: String,
}

impl ByChange {
    pub(super) fn of(change: &Change) -> Self {
        let evidence = change.attribution.evidence().to_owned();
        Self { operation: change.operation.to_string().to_lowercase(), evidence }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByCommit {
    /// `change`, `sync` or `verify`.
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByEndpoint {
    pub(super) endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByAnswer {
    pub(super) endpoint: &'static str,
    /// The HTTP status.
    pub(super) code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByRefusal {
    pub(super) endpoint: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByReason {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByFailure {
    pub(super) resource: String,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByObject {
    resource: String,
    /// Empty for a cluster-scoped object. Not `namespace`, which Prometheus gives to what it scrapes.
    object_namespace: String,
    name: String,
}

impl ByObject {
    pub(super) fn of(object: &ObjectRef) -> Self {
        let ObjectRef { resource, namespace, name, .. } = object;
        Self {
            resource: resource.to_string(),
            object_namespace: namespace.clone().unwrap_or_default(),
            name: name.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByOutcome {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByState {
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByResource {
    pub(super) resource: String,
}

/// Returns the resource of a watch, such as `apps/v1/deployments`, by its id: without the namespace, of which there may be
/// many.
pub(super) fn resource_of_source(source: &str) -> String {
    match resource_parts(source) {
        Some(("", version, plural)) => format!("{version}/{plural}"),
        Some((group, version, plural)) => format!("{group}/{version}/{plural}"),
        None => String::new(),
    }
}
