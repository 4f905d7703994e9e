//! What was watched in a cluster once, and isn't served any more.

use std::collections::{BTreeMap, BTreeSet};

use reverser_core::Resource;

use super::Cluster;
use crate::report::resource_parts;

impl Cluster {
    /// Returns the resources that earlier runs have watched in this cluster, as `cursors` tell, and that it serves in no version.
    /// A cursor doesn't tell kinds: they are empty.
    pub(crate) fn unserved(&self, cursors: &BTreeMap<String, String>) -> Vec<Resource> {
        let cluster = self.id.split('/').next().unwrap_or_default();
        let own = cursors.keys().filter(|id| id.split('/').next() == Some(cluster));
        let watched: BTreeSet<_> = own.filter_map(|id| resource_parts(id)).collect();
        let resources = watched.into_iter().map(|(group, version, plural)| Resource::new(group, version, "", plural));
        resources.filter(|resource| !self.catalog.knows(resource)).collect()
    }
}
