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
    reverser::Arrival,
    source::{Event, Source},
    watch::Watch,
};

/// How often discovery is read although no CRD has changed: aggregated APIs come and go without one.
const POLL: Duration = Duration::from_secs(60);

/// How long discovery may take to show a CRD that is established, or to forget one that is deleted.
const SETTLE: Duration = Duration::from_secs(10);

/// A cluster that can be reached.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    id: String,
    catalog: Catalog,
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
        let system = Api::<Namespace>::all(client.clone()).get_opt("kube-system").await;
        let uid = system.ok().flatten().and_then(|namespace| namespace.metadata.uid);
        let id = format!("{}/{scope}", uid.as_deref().unwrap_or(address.trim_end_matches('/')));
        Ok(Self { client, id, catalog })
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
    ) -> Vec<Watch> {
        resources
            .iter()
            .flat_map(|resource| self.watches_of(resource, pipeline))
            .map(|watch| match cursors.get(watch.id()) {
                Some(cursor) => watch.resume(cursor.clone()),
                None => watch,
            })
            .collect()
    }

    fn watches_of(&self, resource: &Arc<Resource>, pipeline: &Pipeline) -> Vec<Watch> {
        let watch = |namespace| Watch::new(self.client.clone(), &self.id, Arc::clone(resource), namespace);
        let namespaces = &pipeline.selector.namespaces;
        if !resource.namespaced || namespaces.is_empty() {
            vec![watch(None)]
        } else {
            namespaces.iter().map(|namespace| watch(Some(namespace.clone()))).collect()
        }
    }

    /// Tells `arrivals` which resources come and go, until nobody listens. Wakes up for each CRD that changes, and once
    /// a minute.
    pub async fn follow(mut self, pipeline: Arc<Pipeline>, arrivals: mpsc::Sender<Arrival>) {
        let crds = Arc::new(Resource {
            group: "apiextensions.k8s.io".into(),
            version: "v1".into(),
            kind: "CustomResourceDefinition".into(),
            plural: "customresourcedefinitions".into(),
            namespaced: false,
            has_status: true,
        });
        let mut crds = Watch::new(self.client.clone(), &self.id, crds, None);
        let mut poll = tokio::time::interval(POLL);
        loop {
            let mut expected = Vec::new();
            tokio::select! {
                event = crds.next() => {
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
                for watch in self.watches_of(new, &pipeline) {
                    let _closed = arrivals.send(Arrival::New(Box::new(watch))).await;
                }
            }
            self.catalog = catalog;
        }
    }

    /// Reads discovery until it shows what the CRDs say, or [`SETTLE`] is over: it runs behind them.
    async fn settled(&self, expected: &[Expectation]) -> Option<Catalog> {
        let deadline = tokio::time::Instant::now() + SETTLE;
        let mut again = tokio::time::interval(Duration::from_millis(100));
        loop {
            again.tick().await;
            let is_late = tokio::time::Instant::now() >= deadline;
            match Catalog::read(&self.client).await {
                Ok(catalog) if is_late || expected.iter().all(|expected| expected.holds(&catalog)) => {
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

fn choose(catalog: &Catalog, pipeline: &Pipeline) -> Choice {
    let mut choice = Choice::default();
    for resource in catalog.watchable() {
        match pipeline.selector.resource(resource) {
            Err(LeftOut::NotSelected | LeftOut::Noise(_)) => {}
            Ok(()) if pipeline.seal.is_sensitive(resource) => choice.sensitive.push(Arc::clone(resource)),
            Ok(()) => choice.resources.push(Arc::clone(resource)),
        }
    }
    choice
}

/// What discovery has to show after a CRD changed.
#[derive(Debug)]
struct Expectation {
    group: String,
    plural: String,
    served: bool,
}

impl Expectation {
    fn holds(&self, catalog: &Catalog) -> bool {
        let is_served =
            catalog.watchable().any(|resource| resource.group == self.group && resource.plural == self.plural);
        is_served == self.served
    }
}

/// A CRD that is neither established nor gone leaves discovery as it is.
fn expectation(event: &Event) -> Option<Expectation> {
    let Event::Change { change, .. } = event else { return None };
    let body = change.body.as_ref()?;
    let deleted = change.operation == reverser_core::Operation::Delete;
    let is_established = |conditions: &Vec<Value>| {
        conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True")
    };
    if !deleted && !body["status"]["conditions"].as_array().is_some_and(is_established) {
        return None;
    }
    Some(Expectation {
        group: body["spec"]["group"].as_str()?.to_owned(),
        plural: body["spec"]["names"]["plural"].as_str()?.to_owned(),
        served: !deleted,
    })
}
