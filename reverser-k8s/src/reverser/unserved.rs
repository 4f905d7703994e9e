//! Files of kinds that a cluster doesn't serve any more.

use std::collections::{BTreeMap, BTreeSet};

use reverser_core::{RepoPath, Resource};
use reverser_git::SinkError;

use super::Reverser;
use crate::{
    cluster::Cluster,
    report::{Notice, is_version, split_resource},
};

impl Reverser {
    /// Tells of files whose kind `cluster` serves in no version: its CRD was removed, or its API service is gone or down. They
    /// stay, as nobody knows what became of their objects. `cursors` say what was watched once; where the layout has a folder
    /// for each resource, as the default has, the folders tell, too. Layouts that place by kind tell none.
    pub async fn tell_unserved(&self, cluster: &Cluster, cursors: &BTreeMap<String, String>) -> Result<(), SinkError> {
        let mut resources: BTreeSet<Resource> = cluster.unserved(cursors.keys()).into_iter().collect();
        let by_path = self.resources_of_folders().await?;
        resources.extend(by_path.into_iter().filter(|resource| !cluster.catalog().knows(resource)));
        for resource in &resources {
            let Some(folder) = self.pipeline.layout.folder(resource) else { continue };
            let mut files = Vec::new();
            for path in self.persist(|| self.sink.list(Some(&folder))).await? {
                let Some(content) = self.persist(|| self.sink.read(&path)).await? else { continue };
                if self.pipeline.owns_unknown(&path, &content, resource) {
                    files.push(path);
                }
            }
            if let Some(example) = files.first() {
                self.reporter.report(Notice::Unserved { resource, files: files.len(), example });
            }
        }
        Ok(())
    }

    /// Returns the resources whose folders there are, where the layout has folders such as `apps/v1/deployments`.
    async fn resources_of_folders(&self) -> Result<Vec<Resource>, SinkError> {
        let paths = self.persist(|| self.sink.list(None)).await?;
        // One file of each is enough to see whether the layout would put it there. What doesn't look like a version is a
        // folder of somebody's.
        let named = paths.iter().filter_map(|path| Some((split_resource(path.as_str())?, path)));
        let folders: BTreeMap<_, _> = named.filter(|((_, version, _), _)| is_version(version)).collect();
        let has_folder = |resource: &Resource, path: &RepoPath| {
            self.pipeline.layout.folder(resource).is_some_and(|folder| path.starts_with_folder(&folder))
        };
        let resources = folders
            .into_iter()
            .map(|((group, version, plural), path)| (Resource::new(group, version, "", plural), path));
        Ok(resources.filter(|(resource, path)| has_folder(resource, path)).map(|(resource, _)| resource).collect())
    }
}
