//! What was watched in a cluster once, and isn't served any more.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::Api;
use reverser_core::Resource;

use super::Cluster;
use crate::{
    report::{chain, resource_parts},
    request::within,
};

/// How long the API server may take to say whether something defines a resource.
const LIMIT: Duration = Duration::from_secs(10);

impl Cluster {
    /// Returns the resources that earlier runs have watched in this cluster, as ids of cursors tell, and that it serves in no
    /// version. Ids don't tell kinds: they are empty.
    pub(crate) fn unserved<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> Vec<Resource> {
        let cluster = self.id.split('/').next().unwrap_or_default();
        let own = ids.into_iter().filter(|id| id.split('/').next() == Some(cluster));
        let watched: BTreeSet<_> = own.filter_map(|id| resource_parts(id)).collect();
        let resources = watched.into_iter().map(|(group, version, plural)| Resource::new(group, version, "", plural));
        resources.filter(|resource| !self.catalog.knows(resource)).collect()
    }

    /// Returns those of these resources, which aren't served, that something still defines: a CustomResourceDefinition, or an
    /// APIService of a server that is away. What can't be found out counts as defined.
    pub(super) async fn defined(&self, unserved: Vec<Resource>) -> Vec<Resource> {
        let mut defined = Vec::new();
        for resource in unserved {
            let is_defined = within(LIMIT, self.is_defined(&resource)).await.unwrap_or_else(|error| {
                tracing::debug!(%resource, error = %chain(&error), "may be defined: its position is kept");
                true
            });
            if is_defined {
                defined.push(resource);
            }
        }
        defined
    }

    async fn is_defined(&self, resource: &Resource) -> Result<bool, kube::Error> {
        let Resource { group, version, plural, .. } = resource;
        if self.catalog.stale().contains(&resource.api_version()) {
            return Ok(true);
        }
        let definitions = Api::<CustomResourceDefinition>::all(self.client.clone());
        if definitions.get_metadata_opt(&format!("{plural}.{group}")).await?.is_some() {
            return Ok(true);
        }
        // Who answers for the group doesn't have it any more.
        if self.catalog.serves_version(group, version) {
            return Ok(false);
        }
        let services = Api::<APIService>::all(self.client.clone());
        let service = services.get_opt(&format!("{version}.{group}")).await?;
        // That of a CRD names no server, and may outlive it for a moment.
        Ok(service.and_then(|service| service.spec).is_some_and(|spec| spec.service.is_some()))
    }
}
