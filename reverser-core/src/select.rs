//! Which objects are captured.

mod labels;
mod noise;

use std::collections::BTreeSet;

use serde_json::Value;

pub use self::{
    labels::{LabelSelector, LabelSelectorError},
    noise::{NOISE, Noise},
};
use crate::{ObjectRef, Resource};

/// Chooses among what the API serves. The default takes everything but [`NOISE`].
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Only these, as (group, plural); empty: all. A resource that is named here is captured although a row of
    /// [`NOISE`] is about it; rows about single objects still hold.
    pub resources: BTreeSet<(String, String)>,
    /// Only objects in these namespaces; empty: all, and cluster-scoped ones. Cluster-scoped objects are captured
    /// beside namespaces only when their resource is named.
    pub namespaces: BTreeSet<String>,
    /// Only objects with these labels.
    pub labels: LabelSelector,
    /// Rows of [`NOISE`], by name, that are captured all the same.
    pub include: BTreeSet<&'static str>,
}

/// Why something isn't captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Nobody asked for this resource, namespace or label.
    NotSelected,
    /// No user authors it: the row says why.
    Noise(&'static Noise),
}

impl Selector {
    /// Returns whether objects of `resource` can be captured at all, else why not.
    pub fn resource(&self, resource: &Resource) -> Result<(), LeftOut> {
        let is_named = self.resources.contains(&(resource.group.clone(), resource.plural.clone()));
        if is_named {
            return Ok(());
        }
        if !self.resources.is_empty() || (!resource.namespaced && !self.namespaces.is_empty()) {
            return Err(LeftOut::NotSelected);
        }
        match self.noise().find(|noise| noise.is_resource(resource)) {
            Some(noise) => Err(LeftOut::Noise(noise)),
            None => Ok(()),
        }
    }

    /// Returns whether this object is captured, else why not. `body` is the whole object as the API returned it.
    pub fn object(&self, object: &ObjectRef, body: &Value) -> Result<(), LeftOut> {
        self.resource(&object.resource)?;
        let in_namespace = match &object.namespace {
            Some(namespace) => self.namespaces.is_empty() || self.namespaces.contains(namespace),
            None => true,
        };
        if !in_namespace || !self.labels.matches(body) {
            return Err(LeftOut::NotSelected);
        }
        match self.noise().find(|noise| noise.is_object(object, body)) {
            Some(noise) => Err(LeftOut::Noise(noise)),
            None => Ok(()),
        }
    }

    fn noise(&self) -> impl Iterator<Item = &'static Noise> {
        NOISE.iter().filter(|noise| !self.include.contains(noise.name))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn resource(group: &str, plural: &str, namespaced: bool) -> Resource {
        Resource {
            group: group.into(),
            version: "v1".into(),
            kind: String::new(),
            plural: plural.into(),
            namespaced,
            has_status: true,
        }
    }

    fn object(resource: Resource, body: &Value) -> ObjectRef {
        ObjectRef::of(&Arc::new(resource), body).unwrap()
    }

    #[test]
    fn everything_but_noise_is_captured() {
        let all = Selector::default();
        assert_eq!(all.resource(&resource("apps", "deployments", true)), Ok(()));
        assert!(
            matches!(all.resource(&resource("", "events", true)), Err(LeftOut::Noise(row)) if row.name == "events")
        );
        assert_eq!(all.resource(&resource("examples.com", "events", true)), Ok(()));
    }

    #[test]
    fn naming_or_including_a_resource_overrides_its_row() {
        let lease = resource("coordination.k8s.io", "leases", true);
        let named = Selector {
            resources: [("coordination.k8s.io".to_owned(), "leases".to_owned())].into(),
            ..Selector::default()
        };
        assert_eq!(named.resource(&lease), Ok(()));
        assert_eq!(named.resource(&resource("", "configmaps", true)), Err(LeftOut::NotSelected));
        let included = Selector { include: ["leases"].into(), ..Selector::default() };
        assert_eq!(included.resource(&lease), Ok(()));
        assert_eq!(included.resource(&resource("", "configmaps", true)), Ok(()));
    }

    #[test]
    fn a_controlled_object_is_left_out_and_an_owned_one_is_not() {
        let pod = |controller: bool| {
            json!({"metadata": {"name": "web-1", "namespace": "shop", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": controller}]}})
        };
        let left_out =
            |selector: &Selector, body: &Value| selector.object(&object(resource("", "pods", true), body), body);
        let all = Selector::default();
        assert!(matches!(left_out(&all, &pod(true)), Err(LeftOut::Noise(row)) if row.name == "controlled"));
        assert_eq!(left_out(&all, &pod(false)), Ok(()));
        assert_eq!(left_out(&Selector { include: ["controlled"].into(), ..all }, &pod(true)), Ok(()));
    }

    #[test]
    fn namespaces_leave_cluster_scoped_objects_out_unless_named() {
        let mut selector = Selector { namespaces: ["shop".to_owned()].into(), ..Selector::default() };
        let roles = resource("rbac.authorization.k8s.io", "clusterroles", false);
        assert_eq!(selector.resource(&roles), Err(LeftOut::NotSelected));
        let body = json!({"metadata": {"name": "a", "namespace": "other"}});
        let configmap = object(resource("", "configmaps", true), &body);
        assert_eq!(selector.object(&configmap, &body), Err(LeftOut::NotSelected));
        selector.resources.insert((roles.group.clone(), roles.plural.clone()));
        assert_eq!(selector.resource(&roles), Ok(()));
    }
}
