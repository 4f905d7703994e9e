//! One cluster: which one it is, what to watch in it, and what comes and goes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use reverser_core::{LeftOut, Pipeline, Resource};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    discover::{Catalog, DiscoverError},
    hub::{Hub, Open, Reading, Subscription},
    list::List,
    reverser::Arrival,
    source::{Event, Source},
    watch::{Gate, Watch, within},
};

/// How often discovery is read although no CRD has changed: aggregated APIs come and go without one.
const POLL: Duration = Duration::from_secs(60);

/// How long the API server may take to say who it is.
const IDENTITY_LIMIT: Duration = Duration::from_secs(30);

/// How long discovery may take to show a CRD that is established, or to forget one that is deleted.
const SETTLE: Duration = Duration::from_secs(10);

/// A cluster that can be reached, as one target sees it. Clones, and what [`target`](Self::target) returns, share a watch for
/// each resource and namespace.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// Which one it is: the same for all targets.
    uid: String,
    /// With what tells targets apart.
    id: String,
    catalog: Catalog,
    hub: Arc<Hub>,
    /// Shared by all of its watches.
    gate: Gate,
}

/// What to watch in a cluster, and what not.
#[derive(Debug, Default)]
pub struct Choice {
    /// To watch.
    pub resources: Vec<Arc<Resource>>,
    /// Left out since they are sensitive and can't be sealed.
    pub sensitive: Vec<Arc<Resource>>,
}

impl Cluster {
    /// Asks the API server what it serves, and who it is. `address` stands for the cluster where its `kube-system`
    /// namespace may not be read. `scope` tells runs apart that select, render or place differently: how far one of
    /// them has read says nothing about what another one would have written.
    pub async fn connect(client: Client, address: &str, scope: &str) -> Result<Self, DiscoverError> {
        let catalog = Catalog::read(&client).await?;
        let namespaces = Api::<Namespace>::all(client.clone());
        let uid = match within(IDENTITY_LIMIT, namespaces.get_opt("kube-system")).await {
            Ok(system) => system.and_then(|namespace| namespace.metadata.uid),
            // Not allowed to look. Anything else may pass, and must not make it another cluster meanwhile.
            Err(kube::Error::Api(status)) if status.code == 403 => None,
            Err(error) => return Err(DiscoverError::from_api(error)),
        };
        // No slash: it separates the parts of a watch's id.
        let uid = uid.unwrap_or_else(|| address.trim_end_matches('/').replace('/', "_"));
        let id = format!("{uid}/{scope}");
        Ok(Self { client, uid, id, catalog, hub: Arc::default(), gate: Gate::default() })
    }

    /// Returns the same cluster for another target: a branch, path or selection of its own. `scope` is what it would have
    /// been connected to with. Both share watches, and what one is behind with doesn't hold up the other.
    ///
    /// ```no_run
    /// # async fn example(client: kube::Client) -> Result<(), reverser_k8s::DiscoverError> {
    /// use reverser_k8s::Cluster;
    ///
    /// let platform = Cluster::connect(client, "https://10.0.0.1", "platform").await?;
    /// let audit = platform.target("audit");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn target(&self, scope: &str) -> Self {
        Self { id: format!("{}/{scope}", self.uid), ..self.clone() }
    }

    /// Returns what the API server served when the cluster was connected to.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Returns what `pipeline` selects of what is served.
    pub fn choose(&self, pipeline: &Pipeline) -> Choice {
        choose(&self.catalog, pipeline)
    }

    /// Returns a watch for each of `resources` and each selected namespace; those that `cursors` know go on there.
    pub fn watches(
        &self,
        resources: &[Arc<Resource>],
        pipeline: &Pipeline,
        cursors: &BTreeMap<String, String>,
    ) -> Vec<Subscription> {
        let watches = resources.iter().flat_map(|resource| self.watches_of(resource, pipeline));
        let resume = |watch: Subscription| match resumable(&watch, cursors) {
            Some(cursor) => watch.resume(cursor),
            None => watch,
        };
        watches.map(resume).collect()
    }

    /// Returns what lists each of `resources` in each selected namespace, to compare it with Git.
    pub fn lists(&self, resources: &[Arc<Resource>], pipeline: &Pipeline) -> Vec<List> {
        let lists = resources.iter().flat_map(|resource| {
            namespaces(resource, pipeline).into_iter().map(|namespace| {
                List::new(self.client.clone(), Arc::clone(resource), namespace)
                    .read_with(Some(pipeline.sanitizer_of(resource)))
            })
        });
        lists.collect()
    }

    fn watches_of(&self, resource: &Arc<Resource>, pipeline: &Pipeline) -> Vec<Subscription> {
        let watch = |namespace| self.watch(resource, namespace, Reading::Without(pipeline.sanitizer_of(resource)));
        namespaces(resource, pipeline).into_iter().map(watch).collect()
    }

    fn watch(&self, resource: &Arc<Resource>, namespace: Option<String>, reading: Reading) -> Subscription {
        let (client, uid) = (self.client.clone(), self.uid.clone());
        let (of, place, gate) = (Arc::clone(resource), namespace.clone(), self.gate.clone());
        let open: Open = Arc::new(move |cursor, reading| {
            let watch = Watch::new(client.clone(), &uid, Arc::clone(&of), place.clone()).through(gate.clone());
            let watch = match cursor {
                Some(cursor) => watch.resume(cursor),
                None => watch,
            };
            match reading {
                Reading::Without(sanitizer) => Box::new(watch.read_with(sanitizer.clone())),
                Reading::Nothing | Reading::Whole => Box::new(watch),
            }
        });
        let scope = namespace.as_ref().map(|namespace| format!("/{namespace}")).unwrap_or_default();
        let id = format!("{}/{resource}{scope}", self.id);
        Subscription::new(id, Arc::clone(resource), namespace, Arc::clone(&self.hub), open, reading)
    }

    /// Tells `arrivals` which resources come and go, until nobody listens. Wakes up for each CRD that changes, and once
    /// a minute.
    pub async fn follow(mut self, pipeline: Arc<Pipeline>, arrivals: mpsc::Sender<Arrival>) {
        let (group, kind) = ("apiextensions.k8s.io", "CustomResourceDefinition");
        let crds = Resource::new(group, "v1", kind, "customresourcedefinitions").cluster_scoped();
        let mut crds = Watch::new(self.client.clone(), &self.id, crds.into(), None);
        let mut poll = tokio::time::interval(POLL);
        loop {
            // The last word on each CRD counts.
            let mut expected = BTreeMap::new();
            tokio::select! {
                event = crds.next() => {
                    if let Some(Event::Failed(_)) = event {
                        // Told where the CRDs themselves are recorded; the poll goes on without them.
                        continue;
                    }
                    expected.extend(event.as_ref().and_then(expectation));
                    // What else is there already needs no discovery of its own.
                    while let Some(Some(event)) = crds.next().now_or_never() {
                        expected.extend(expectation(&event));
                    }
                }
                _ = poll.tick() => {}
                () = arrivals.closed() => return,
            }
            let Some(catalog) = self.settled(&expected).await else { continue };
            let before = choose(&self.catalog, &pipeline).resources;
            let after = choose(&catalog, &pipeline).resources;
            for gone in before.iter().filter(|resource| !after.contains(resource)) {
                for watch in self.watches_of(gone, &pipeline) {
                    let gone = Arrival::Gone { source: watch.id().to_owned(), is_served: catalog.serves(gone) };
                    let _closed = arrivals.send(gone).await;
                }
            }
            for new in after.iter().filter(|resource| !before.contains(resource)) {
                // The same resource in another version: its objects are not new, they move.
                let has_moved = before.iter().any(|old| old.is_version_of(new));
                for watch in self.watches_of(new, &pipeline) {
                    let watch = Box::new(watch);
                    let arrival = if has_moved { Arrival::Moved(watch) } else { Arrival::New(watch) };
                    let _closed = arrivals.send(arrival).await;
                }
            }
            self.catalog = catalog;
        }
    }

    /// Reads discovery until it shows what the CRDs say, or [`SETTLE`] is over: it runs behind them.
    async fn settled(&self, expected: &BTreeMap<(String, String), bool>) -> Option<Catalog> {
        let deadline = tokio::time::Instant::now() + SETTLE;
        let mut again = tokio::time::interval(Duration::from_millis(100));
        loop {
            again.tick().await;
            let is_late = tokio::time::Instant::now() >= deadline;
            match Catalog::read(&self.client).await {
                Ok(catalog) if is_late || expected.iter().all(|expected| holds(&catalog, expected)) => {
                    return Some(catalog);
                }
                Ok(_) => {}
                Err(error) if is_late => {
                    tracing::warn!(error = %crate::report::chain(&error), "could not read discovery; CRDs that come now are picked up later");
                    return None;
                }
                Err(_) => {}
            }
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Returns where `watch` may go on. Not where it stopped when a run with another selection has read further since: that
/// one has recorded some of what lies between, and reading it again would turn back time. Versions of one resource
/// compare as integers (KEP-5504).
fn resumable(watch: &Subscription, cursors: &BTreeMap<String, String>) -> Option<String> {
    let own = cursors.get(watch.id())?;
    let (cluster, _) = watch.id().split_once('/')?;
    let resource = watch.resource().to_string();
    // Namespaces of one run stand at different versions, and none of them has read what another one reads.
    let has_read_this = |id: &str| {
        let mut parts = id.splitn(3, '/');
        let (other_cluster, rest) = (parts.next(), parts.nth(1));
        let scope = rest.and_then(|rest| rest.strip_prefix(&resource));
        other_cluster == Some(cluster)
            && match (scope.map(|scope| scope.strip_prefix('/').unwrap_or(scope)), watch.namespace()) {
                (None, _) => false,
                (Some(""), _) | (Some(_), None) => true,
                (Some(other), Some(namespace)) => other == namespace,
            }
    };
    let version = |cursor: &String| cursor.parse::<u64>().ok();
    let latest = cursors.iter().filter(|(id, _)| has_read_this(id)).filter_map(|(_, cursor)| version(cursor)).max();
    let is_latest = version(own) >= latest;
    is_latest.then(|| own.clone())
}

/// Returns where `resource` is watched; `None`: everywhere.
fn namespaces(resource: &Resource, pipeline: &Pipeline) -> Vec<Option<String>> {
    let namespaces = &pipeline.selector.namespaces;
    if !resource.namespaced || namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().cloned().map(Some).collect()
    }
}

fn choose(catalog: &Catalog, pipeline: &Pipeline) -> Choice {
    let mut choice = Choice::default();
    for resource in catalog.watchable_for(&pipeline.selector) {
        match pipeline.selector.resource(resource) {
            Err(LeftOut::Noise(_) | LeftOut::NotSelected | LeftOut::NotThisChange) => {}
            Ok(()) if pipeline.seal.is_sensitive(resource) => choice.sensitive.push(Arc::clone(resource)),
            Ok(()) => choice.resources.push(Arc::clone(resource)),
        }
    }
    choice
}

/// Returns what discovery has to show after a CRD changed, as ((group, plural), served). One that is neither established
/// nor gone leaves discovery as it is.
fn expectation(event: &Event) -> Option<((String, String), bool)> {
    let Event::Change { change, .. } = event else { return None };
    let body = change.body.as_ref()?;
    let deleted = change.operation == reverser_core::Operation::Delete;
    let is_established = |conditions: &Vec<Value>| {
        conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True")
    };
    if !deleted && !body["status"]["conditions"].as_array().is_some_and(is_established) {
        return None;
    }
    let group = body["spec"]["group"].as_str()?.to_owned();
    let plural = body["spec"]["names"]["plural"].as_str()?.to_owned();
    Some(((group, plural), !deleted))
}

/// Returns whether discovery shows what a CRD said: its resource is served, or no longer.
fn holds(catalog: &Catalog, (name, is_served): (&(String, String), &bool)) -> bool {
    let (group, plural) = name;
    catalog.watchable().any(|resource| resource.group == *group && resource.plural == *plural) == *is_served
}
