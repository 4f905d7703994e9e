//! What is captured, as far as rules of webhooks can say it.

use std::{collections::BTreeSet, sync::Arc};

use reverser_core::{Filter, Glob, Pipeline, Resource, Selector, Test};

use crate::{cluster::choose, discover::Catalog};

/// The resources whose changes are recorded, and the namespaces in which they are.
///
/// It is never less than what is captured; labels, names and all else that rules can't say is left aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Each in the version in which it is watched.
    pub resources: BTreeSet<Arc<Resource>>,
    /// Namespaced ones only in these; `None`: in all.
    pub namespaces: Option<BTreeSet<String>>,
    /// And in none of these.
    pub left_out: BTreeSet<String>,
}

impl Captured {
    /// Returns what `pipeline` captures of what is served. What is sensitive and can't be sealed isn't captured: nobody is to
    /// send it.
    pub fn of(catalog: &Catalog, pipeline: &Pipeline) -> Self {
        let selector = &pipeline.selector;
        Self {
            resources: choose(catalog, pipeline).resources.into_iter().collect(),
            namespaces: namespaces(selector),
            left_out: selector.except.iter().filter_map(says_only).flatten().collect(),
        }
    }

    /// Returns the resources that are in namespaces.
    pub(super) fn namespaced(&self) -> impl Iterator<Item = &Resource> {
        self.sent().filter(|resource| resource.namespaced)
    }

    /// Returns the resources that are in none, but for the namespaces themselves.
    pub(super) fn cluster_scoped(&self) -> impl Iterator<Item = &Resource> {
        self.sent().filter(|resource| !resource.namespaced && !is_namespaces(resource))
    }

    /// Returns the resource of the namespaces themselves.
    pub(super) fn of_namespaces(&self) -> Option<&Resource> {
        self.sent().find(|resource| is_namespaces(resource))
    }

    /// Returns whether this resource is captured, in whichever version.
    pub(super) fn has(&self, group: &str, plural: &str) -> bool {
        self.resources.iter().any(|resource| resource.group == group && resource.plural == plural)
    }

    /// Returns whether any of it may be defined by a CustomResourceDefinition.
    pub(super) fn may_be_custom(&self) -> bool {
        self.sent().any(|resource| !BUILT_IN.contains(&resource.group.as_str()))
    }

    /// Requests for webhook configurations and admission policies never reach a webhook.
    pub(super) fn sent(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().map(AsRef::as_ref).filter(|resource| resource.group != "admissionregistration.k8s.io")
    }
}

fn is_namespaces(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "namespaces"
}

/// Returns the namespaces that are asked for; `None`: all.
fn namespaces(selector: &Selector) -> Option<BTreeSet<String>> {
    let listed = (!selector.namespaces.is_empty()).then(|| selector.namespaces.clone());
    match (listed, said_by_all(&selector.only)) {
        (Some(listed), Some(said)) => Some(listed.intersection(&said).cloned().collect()),
        (listed, said) => listed.or(said),
    }
}

/// Returns the namespaces that filters name, of which one has to hold; `None` when one of them names none.
fn said_by_all(only: &[Filter]) -> Option<BTreeSet<String>> {
    if only.is_empty() {
        return None;
    }
    let said: Option<Vec<_>> = only.iter().map(|filter| filter.terms.iter().find_map(exact)).collect();
    said.map(|said| said.into_iter().flatten().collect())
}

/// Returns the namespaces that a filter names when it says nothing else.
fn says_only(filter: &Filter) -> Option<Vec<String>> {
    match filter.terms.as_slice() {
        [term] => exact(term),
        _ => None,
    }
}

/// Returns the namespaces that a term names, without wildcards.
fn exact(term: &reverser_core::Term) -> Option<Vec<String>> {
    match &term.test {
        Test::Namespace(globs) if !term.negated && globs.iter().all(Glob::is_exact) => {
            Some(globs.iter().map(|glob| glob.as_str().to_owned()).collect())
        }
        _ => None,
    }
}

/// The groups that kube-apiserver serves itself, as of Kubernetes 1.36. Of a group that it lacks no more follows than that
/// removals of CustomResourceDefinitions are listened to.
const BUILT_IN: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(selector: Selector) -> Captured {
        Captured::of(&Catalog::default(), &Pipeline { selector, ..Pipeline::default() })
    }

    #[test]
    fn namespaces_that_are_named_are_the_only_ones() {
        for (listed, only, expected) in [
            (&[][..], &[][..], None),
            (&["shop"], &[], Some(vec!["shop"])),
            (&[], &["namespace=shop|dev"], Some(vec!["dev", "shop"])),
            (&[], &["namespace=shop", "namespace=dev user=alice"], Some(vec!["dev", "shop"])),
            (&["shop", "prod"], &["namespace=shop|dev"], Some(vec!["shop"])),
            (&["prod"], &["namespace=shop"], Some(vec![])),
            // What a selector of labels can't say is left to the one of the flow.
            (&[], &["namespace=shop-*"], None),
            (&[], &["namespace!=shop"], None),
            (&[], &["namespace=shop", "label=app"], None),
        ] {
            let selector = Selector {
                namespaces: listed.iter().map(ToString::to_string).collect(),
                only: only.iter().map(|filter| filter.parse().unwrap()).collect(),
                ..Selector::default()
            };
            let expected = expected.map(|names| names.into_iter().map(str::to_owned).collect());
            assert_eq!(captured(selector).namespaces, expected, "{listed:?} {only:?}");
        }
    }

    #[test]
    fn a_namespace_of_which_nothing_is_captured_is_left_out() {
        for (except, expected) in [
            ("namespace=monitoring|logging", &["logging", "monitoring"][..]),
            ("namespace=monitoring user=alice", &[]),
            ("namespace=mon*", &[]),
            ("namespace!=monitoring", &[]),
        ] {
            let selector = Selector { except: vec![except.parse().unwrap()], ..Selector::default() };
            assert_eq!(
                captured(selector).left_out.iter().map(String::as_str).collect::<Vec<_>>(),
                expected,
                "{except}"
            );
        }
    }
}
