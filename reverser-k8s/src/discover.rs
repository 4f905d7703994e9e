//! What an API server serves, and which of it can be watched.
//!
//! Source: aggregated discovery, `apidiscovery.k8s.io/v2` (KEP-3352; stable since Kubernetes 1.30).

mod ask;
mod definition;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kube::{Client, core::discovery::v2::APIGroupDiscoveryList};
use reverser_core::{Resource, Selector};
use serde_json::Value;

pub(crate) use self::{ask::Discovery, definition::defines};

/// How long discovery may take; an API server that aggregates many others asks each of them.
const LIMIT: Duration = Duration::from_secs(30);

/// How many names an error suggests.
const SUGGESTIONS: usize = 5;

/// What an API server served when it was asked.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    served: Vec<Served>,
    stale: Vec<String>,
}

#[derive(Clone, Debug)]
struct Served {
    resource: Arc<Resource>,
    singular: String,
    short_names: Vec<String>,
    is_watchable: bool,
    is_preferred: bool,
}

impl Catalog {
    /// Asks the API server.
    pub async fn read(client: &Client) -> Result<Self, DiscoverError> {
        // It has changed since it wasn't asked yet.
        Ok(Discovery::new(client.clone()).read().await?.unwrap_or_default())
    }

    fn of(served: impl IntoIterator<Item = Served>, stale: impl IntoIterator<Item = String>) -> Self {
        let mut served: Vec<_> = served.into_iter().collect();
        served.sort_by(|a, b| a.resource.cmp(&b.resource));
        Self { served, stale: stale.into_iter().collect() }
    }

    /// Returns what is served, and what `before` says of servers that don't answer.
    pub(crate) fn or_as_before(self, before: &Self) -> Self {
        let is_missing = |old: &&Served| {
            let Resource { group, version, .. } = &*old.resource;
            self.stale.contains(&format!("{group}/{version}")) && !self.serves(&old.resource)
        };
        let missing: Vec<_> = before.served.iter().filter(is_missing).cloned().collect();
        Self::of(self.served.into_iter().chain(missing), self.stale)
    }

    /// Returns what can be listed and watched, each resource in the version that the server prefers.
    pub fn watchable(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.served.iter().filter(|served| served.is_watchable && served.is_preferred).map(|served| &served.resource)
    }

    /// Returns what can be listed and watched, each resource once: in the version that `selector` names, if it is served in
    /// that one, else in the one that the server prefers.
    pub(crate) fn watchable_for(&self, selector: &Selector) -> impl Iterator<Item = &Arc<Resource>> {
        self.watchable().map(|preferred| {
            let name = (preferred.group.clone(), preferred.plural.clone());
            let version = selector.versions.get(&name);
            let is_chosen = |served: &&Served| {
                served.is_watchable
                    && served.resource.is_version_of(preferred)
                    && Some(&served.resource.version) == version
            };
            self.served.iter().find(is_chosen).map_or(preferred, |served| &served.resource)
        })
    }

    /// Returns whether `name`, as [`find`](Self::find) takes it, names a version, too.
    pub fn names_version(name: &str, resource: &Resource) -> bool {
        name.split('.').nth(1) == Some(&*resource.version)
    }

    /// Returns the group versions whose server did not answer: what is known of them may be out of date.
    pub fn stale(&self) -> &[String] {
        &self.stale
    }

    /// Returns whether `resource` is served in that version, watchable or not.
    pub fn serves(&self, resource: &Resource) -> bool {
        self.served.iter().any(|served| *served.resource == *resource)
    }

    /// Returns whether `resource` is served in any version.
    pub(crate) fn knows(&self, resource: &Resource) -> bool {
        self.served.iter().any(|served| served.resource.is_version_of(resource))
    }

    /// Returns whether anything is served in a group version.
    pub(crate) fn serves_version(&self, group: &str, version: &str) -> bool {
        self.served.iter().any(|served| served.resource.group == group && served.resource.version == version)
    }

    /// Returns whether the kind is served in that version, under that name, whatever else is known of it.
    pub(crate) fn serves_kind(&self, resource: &Resource) -> bool {
        let served = self.of_kind(&resource.api_version(), &resource.kind);
        served.is_some_and(|served| served.plural == resource.plural)
    }

    /// Returns what will be served when the CustomResourceDefinitions among these manifests are there, too.
    pub(crate) fn expecting<'a>(&self, manifests: impl Iterator<Item = &'a Value>) -> Self {
        let mut expected = self.clone();
        for (resource, short_names) in manifests.flat_map(defines) {
            if !expected.serves_kind(&resource) {
                let is_preferred = !expected.served.iter().any(|served| served.resource.is_version_of(&resource));
                let resource = Arc::new(resource);
                let singular = String::new();
                expected.served.push(Served { resource, singular, short_names, is_watchable: true, is_preferred });
            }
        }
        expected
    }

    /// Returns the resource that serves objects of this `apiVersion` and `kind`.
    ///
    /// ```no_run
    /// # async fn example(client: kube::Client) -> Result<(), reverser_k8s::DiscoverError> {
    /// let catalog = reverser_k8s::Catalog::read(&client).await?;
    /// let deployments = catalog.of_kind("apps/v1", "Deployment").expect("every cluster serves them");
    /// assert_eq!(deployments.to_string(), "apps/v1/deployments");
    /// # Ok(()) }
    /// ```
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let is_it = |resource: &&Arc<Resource>| resource.kind == kind && resource.api_version() == api_version;
        self.served.iter().map(|served| &served.resource).find(is_it)
    }

    /// Finds what a user means by `name`, as kubectl would: plural, singular, kind or short name, alone, with a group
    /// (`deployments.apps`) or with version and group (`deployments.v1.apps`). A bare name that several groups serve
    /// means all of them; without a version the one that the server prefers is meant.
    pub fn find(&self, name: &str) -> Result<Vec<Arc<Resource>>, UnknownResource> {
        let name = name.to_lowercase();
        let is_it =
            |served: &&Served| served.is_named_in_its_version(&name) || served.is_preferred && served.is_named(&name);
        let found: Vec<_> = self.served.iter().filter(is_it).collect();
        let watchable: Vec<_> =
            found.iter().filter(|served| served.is_watchable).map(|served| Arc::clone(&served.resource)).collect();
        if found.is_empty() {
            Err(UnknownResource::NotServed { near: self.near(&name).into(), name })
        } else if watchable.is_empty() {
            Err(UnknownResource::NotWatchable { name })
        } else {
            Ok(watchable)
        }
    }

    /// The names that are most like `name`, kubectl's way of writing them.
    fn near(&self, name: &str) -> Vec<String> {
        let bare = name.split('.').next().unwrap_or(name);
        let mut near: Vec<(usize, String)> = self
            .served
            .iter()
            .filter(|served| served.is_watchable && served.is_preferred)
            .filter_map(|served| {
                let distance = served.names().map(|candidate| distance(bare, &candidate)).min()?;
                let is_part = served.resource.plural.contains(bare);
                (distance <= bare.len().div_ceil(3) || is_part).then(|| (distance, served.resource.qualified()))
            })
            .collect();
        near.sort();
        near.dedup();
        near.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect()
    }
}

impl Served {
    /// Returns what a list says, and which group versions in it are out of date.
    fn of(list: APIGroupDiscoveryList) -> (Vec<Self>, Vec<String>) {
        let (mut all, mut stale) = (Vec::new(), Vec::new());
        for group in list.items {
            let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
            let mut seen = BTreeSet::new();
            // In the server's order: the preferred version first.
            for version in group.versions {
                let version_name = version.version.unwrap_or_default();
                // `Stale`: the server behind an APIService doesn't answer, and this is what it served before.
                if version.freshness.as_deref() == Some("Stale") {
                    stale.push(format!("{name}/{version_name}"));
                }
                for served in version.resources {
                    let Some(plural) = served.resource else { continue };
                    let has = |verb: &str| served.verbs.iter().any(|v| v == verb);
                    all.push(Self {
                        is_preferred: seen.insert(plural.clone()),
                        is_watchable: has("list") && has("watch"),
                        singular: served.singular_resource.unwrap_or_default(),
                        short_names: served.short_names,
                        resource: Arc::new(Resource {
                            group: name.clone(),
                            version: version_name.clone(),
                            kind: served.response_kind.and_then(|kind| kind.kind).unwrap_or_default(),
                            plural,
                            namespaced: served.scope.as_deref() == Some("Namespaced"),
                            has_status: served
                                .subresources
                                .iter()
                                .any(|sub| sub.subresource.as_deref() == Some("status")),
                        }),
                    });
                }
            }
        }
        (all, stale)
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let Resource { kind, plural, .. } = &*self.resource;
        [plural.clone(), self.singular.clone(), kind.to_lowercase()]
            .into_iter()
            .chain(self.short_names.iter().cloned())
            .filter(|name| !name.is_empty())
    }

    fn is_named(&self, name: &str) -> bool {
        let group = &self.resource.group;
        self.names().any(|own| name == own || name == format!("{own}.{group}"))
    }

    fn is_named_in_its_version(&self, name: &str) -> bool {
        let Resource { group, version, .. } = &*self.resource;
        self.names().any(|own| name == format!("{own}.{version}.{group}").trim_end_matches('.'))
    }
}

/// Levenshtein's distance. <https://en.wikipedia.org/wiki/Levenshtein_distance>
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The API server's offer could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// It does not accept the credentials.
    #[error("the API server does not accept the credentials (401): log in again, or renew the kubeconfig's user")]
    Credentials {
        /// The whole answer.
        #[source]
        source: kube::Error,
    },
    /// It answers and doesn't know aggregated discovery.
    #[error("the API server does not know aggregated discovery: reverser needs Kubernetes 1.27 or later")]
    TooOld {
        /// The whole answer.
        #[source]
        source: kube::Error,
    },
    /// It doesn't answer in time.
    #[error("the API server did not answer within {} s", .limit.as_secs())]
    TimeOut {
        /// How long it had.
        limit: Duration,
    },
    /// It can't be reached, or its answer makes no sense.
    #[error("could not reach the API server")]
    Unreachable {
        /// Why.
        #[source]
        source: kube::Error,
    },
}

impl DiscoverError {
    pub(crate) fn from_api(source: kube::Error) -> Self {
        match &source {
            kube::Error::Api(status) if status.code == 401 => Self::Credentials { source },
            kube::Error::Api(status) if status.code == 406 => Self::TooOld { source },
            kube::Error::SerdeError(_) => Self::TooOld { source },
            _ => Self::Unreachable { source },
        }
    }
}

/// A name stands for nothing that can be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownResource {
    /// Nothing is called so.
    #[error("the API server serves no resource {name:?}{near}")]
    NotServed {
        /// As it was given.
        name: String,
        /// What it serves under similar names.
        near: Near,
    },
    /// It is served, without `list` or `watch`.
    #[error("{name:?} can't be watched: the API server doesn't offer list and watch for it")]
    NotWatchable {
        /// As it was given.
        name: String,
    },
}

/// Names that might have been meant.
#[derive(Debug)]
pub struct Near(Vec<String>);

impl From<Vec<String>> for Near {
    fn from(names: Vec<String>) -> Self {
        Self(names)
    }
}

/// `; did you mean a, b?`, or where to look.
impl std::fmt::Display for Near {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            f.write_str("; `kubectl api-resources` lists what it serves")
        } else {
            write!(f, "; did you mean {}?", self.0.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn catalog() -> Catalog {
        let resource = |plural: &str, kind: &str, short: &[&str], verbs: &[&str]| {
            json!({"resource": plural, "responseKind": {"kind": kind}, "scope": "Namespaced",
                "singularResource": kind.to_lowercase(), "verbs": verbs, "shortNames": short})
        };
        let all = ["get", "list", "watch"];
        let list = json!({"items": [
            {"metadata": {"name": "apps"}, "versions": [
                {"version": "v1", "resources": [resource("deployments", "Deployment", &["deploy"], &all)]},
                {"version": "v1beta1", "freshness": "Stale", "resources": [
                    resource("deployments", "Deployment", &["deploy"], &all),
                    resource("scalers", "Scaler", &[], &all)]}]},
            {"metadata": {"name": "batch"}, "versions": [
                {"version": "v1", "resources": [
                    resource("jobs", "Job", &[], &all), resource("bindings", "Binding", &[], &["create"])]}]}]});
        let (served, stale) = Served::of(serde_json::from_value(list).unwrap());
        Catalog::of(served, stale)
    }

    #[test]
    fn what_a_server_served_that_does_not_answer_stays() {
        let now = Catalog { served: vec![], stale: vec!["apps/v1beta1".into()] };
        let known: Vec<_> = now.or_as_before(&catalog()).served.iter().map(|one| one.resource.to_string()).collect();
        assert_eq!(known, ["apps/v1beta1/deployments", "apps/v1beta1/scalers"]);
    }

    #[test]
    fn each_resource_is_watched_in_the_preferred_version() {
        let names: Vec<_> = catalog().watchable().map(|resource| resource.to_string()).collect();
        assert_eq!(names, ["apps/v1/deployments", "apps/v1beta1/scalers", "batch/v1/jobs"]);
        assert_eq!(catalog().stale(), ["apps/v1beta1"]);
    }

    #[test]
    fn a_version_that_is_named_is_kept_for_as_long_as_it_is_served() {
        let named = catalog().find("deployments.v1beta1.apps").unwrap();
        assert_eq!(named[0].to_string(), "apps/v1beta1/deployments");
        let in_version = |version: &str| {
            let versions = [(("apps".into(), "deployments".into()), version.into())].into();
            let selector = Selector { versions, ..Selector::default() };
            catalog().watchable_for(&selector).map(|resource| resource.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(in_version("v1beta1"), ["apps/v1beta1/deployments", "apps/v1beta1/scalers", "batch/v1/jobs"]);
        assert_eq!(in_version("v0"), ["apps/v1/deployments", "apps/v1beta1/scalers", "batch/v1/jobs"]);
    }

    #[test]
    fn a_resource_is_known_in_each_version_and_one_that_is_gone_is_not() {
        let deployments = |version| Resource::new("apps", version, "", "deployments");
        assert!(catalog().knows(&deployments("v1beta2")) && !catalog().serves(&deployments("v1beta2")));
        assert!(!catalog().knows(&Resource::new("example.com", "v1", "", "deployments")));
    }

    #[test]
    fn kubectls_ways_to_name_a_resource_are_understood() {
        for name in ["deployments", "deployment", "Deployment", "deploy", "deployments.apps", "deployments.v1.apps"] {
            assert_eq!(catalog().find(name).unwrap()[0].to_string(), "apps/v1/deployments", "{name}");
        }
    }

    #[test]
    fn an_objects_resource_is_found_in_the_version_that_it_names() {
        let name = |api_version, kind| catalog().of_kind(api_version, kind).map(ToString::to_string);
        assert_eq!(name("apps/v1beta1", "Deployment").as_deref(), Some("apps/v1beta1/deployments"));
        assert_eq!(name("batch/v1", "Deployment"), None);
    }

    #[test]
    fn an_unknown_name_is_answered_with_near_ones() {
        let error = |name: &str| catalog().find(name).unwrap_err().to_string();
        assert_eq!(
            error("deploymnts.apps"),
            "the API server serves no resource \"deploymnts.apps\"; did you mean deployments.apps?"
        );
        assert!(error("zzz").ends_with("`kubectl api-resources` lists what it serves"));
        assert!(error("bindings").contains("can't be watched"));
    }
}
