//! One cluster: which one it is, what to watch in it, and what comes and goes.

mod cursors;
mod follow;
mod unserved;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, client::Body};
use reverser_core::{Fingerprinter, LeftOut, Pipeline, Resource};
use reverser_git::{Batch, GitSink, SinkError};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    discover::{Catalog, DiscoverError},
    hub::{Extent, Hub, Open, Subscription},
    list::List,
    registration::Captured,
    report::is_about,
    request::within,
    reverser::{mark_of, source_of_mark, version_of},
    source::Source,
    watch::{Gate, Watch},
};

/// How long the API server may take to say who it is.
const IDENTITY_LIMIT: Duration = Duration::from_secs(30);

/// How long it may take to become ready, which is about two seconds after its start. One that isn't for longer has a
/// trouble that may not concern us.
const READY_LIMIT: Duration = Duration::from_secs(15);

/// How often it is asked whether it is.
const READY_LOOK: Duration = Duration::from_millis(100);

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
    /// Of this target; those who ask for it hold the other ends.
    captured: Arc<watch::Sender<Captured>>,
    /// Where somebody asks who made changes.
    fingerprinter: Option<Fingerprinter>,
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
    /// them has read says nothing about what another one would have written. What stands before its first dash is the place
    /// that it writes to: where another run with the same place has read further, this one begins with a list.
    ///
    /// An API server that is starting has up to 15 s to become ready: until then discovery may lack kinds.
    pub async fn connect(client: Client, address: &str, scope: &str) -> Result<Self, DiscoverError> {
        let catalog = catalog_when_ready(&client).await?;
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
        Ok(Self {
            client,
            uid,
            id,
            catalog,
            hub: Arc::default(),
            gate: Gate::default(),
            captured: Arc::default(),
            fingerprinter: None,
        })
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
        Self { id: format!("{}/{scope}", self.uid), captured: Arc::default(), ..self.clone() }
    }

    /// Returns the same cluster, whose watches say of each change what joins it with the request that made it, as
    /// [`Watch::fingerprint_with`] says. It shares no watches with those that don't.
    #[must_use]
    pub fn fingerprint_with(self, fingerprinter: Fingerprinter) -> Self {
        Self { fingerprinter: Some(fingerprinter), hub: Arc::default(), ..self }
    }

    /// Returns what the API server served when the cluster was connected to.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Returns what `pipeline` selects of what is served.
    pub fn choose(&self, pipeline: &Pipeline) -> Choice {
        choose(&self.catalog, pipeline)
    }

    /// Returns what `pipeline` captures of what is served, for as long as [`follow`](Self::follow) runs with it.
    pub fn captured(&self, pipeline: &Pipeline) -> watch::Receiver<Captured> {
        self.captured.send_replace(Captured::of(&self.catalog, pipeline));
        self.captured.subscribe()
    }

    /// Returns a watch for each of `resources` and each selected namespace; those that `cursors` know go on there.
    pub fn watches(
        &self,
        resources: &[Arc<Resource>],
        pipeline: &Pipeline,
        cursors: &BTreeMap<String, String>,
    ) -> Vec<Subscription> {
        let watches = resources.iter().flat_map(|resource| self.watches_of(resource, pipeline));
        watches.map(|watch| resume(watch, cursors)).collect()
    }

    /// Returns a watch for all that `pipeline` selects, each going on where `git` says that it stopped, if that is known.
    /// Positions that nothing will go on at any more are taken out of `git`: of resources that are no longer selected or
    /// defined, and of other selections that this one has overtaken.
    pub async fn resume(&self, pipeline: &Pipeline, git: &dyn GitSink) -> Result<Vec<Subscription>, SinkError> {
        let cursors = git.cursors().await?;
        let watches = self.watches(&self.choose(pipeline).resources, pipeline, &cursors);
        let watched = watches.iter().map(Source::id).collect();
        let mut unused = cursors::unused(&self.id, &watched, &cursors);
        // What is defined and isn't served may be served in a moment, and goes on there then.
        let defined = self.defined(self.unserved(&unused)).await;
        unused.retain(|id| {
            let source = source_of_mark(id).unwrap_or(id);
            !defined.iter().any(|resource| is_about(source, resource))
        });
        if !unused.is_empty() {
            let cursors = unused.into_iter().map(|id| (id, String::new())).collect();
            git.commit(Batch { plans: vec![], cursors }).await?;
        }
        Ok(watches)
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
        let watch = |namespace| self.watch(resource, namespace, Extent::Without(pipeline.sanitizer_of(resource)));
        namespaces(resource, pipeline).into_iter().map(watch).collect()
    }

    fn watch(&self, resource: &Arc<Resource>, namespace: Option<String>, extent: Extent) -> Subscription {
        let (client, uid) = (self.client.clone(), self.uid.clone());
        let (of, place, gate) = (Arc::clone(resource), namespace.clone(), self.gate.clone());
        let fingerprinter = self.fingerprinter.clone();
        let open: Open = Arc::new(move |cursor, extent| {
            let watch = Watch::new(client.clone(), &uid, Arc::clone(&of), place.clone()).through(gate.clone());
            let watch = match cursor {
                Some(cursor) => watch.resume(cursor),
                None => watch,
            };
            let watch = match (&fingerprinter, extent) {
                (Some(fingerprinter), Extent::Whole | Extent::Without(_)) => {
                    watch.fingerprint_with(fingerprinter.clone())
                }
                (None, _) | (Some(_), Extent::Nothing) => watch,
            };
            match extent {
                Extent::Without(sanitizer) => Box::new(watch.read_with(sanitizer.clone())),
                Extent::Nothing | Extent::Whole => Box::new(watch),
            }
        });
        let scope = namespace.as_ref().map(|namespace| format!("/{namespace}")).unwrap_or_default();
        let id = format!("{}/{resource}{scope}", self.id);
        Subscription::new(id, Arc::clone(resource), namespace, Arc::clone(&self.hub), open, extent)
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Returns what the API server serves once it says that it is ready.
async fn catalog_when_ready(client: &Client) -> Result<Catalog, DiscoverError> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let ready = http::Request::get("/readyz").body(Body::empty()).map_err(kube::Error::HttpError);
        let asked = async { client.send(ready?).await };
        match within(READY_LIMIT, asked).await {
            // Who may not ask, or asks something that doesn't know it, takes what there is.
            Ok(answer) if !answer.status().is_server_error() => return Catalog::read(client).await,
            _ if Instant::now() >= deadline => {
                tracing::warn!("the API server is not ready: what it does not serve yet is watched when it does");
                return Catalog::read(client).await;
            }
            Ok(_not_ready) => {}
            // This tells why. It may have come up in between, and be starting.
            Err(_unreachable) => drop(Catalog::read(client).await?),
        }
        sleep(READY_LOOK).await;
    }
}

/// Returns the watch, going on where it stopped if that is known.
fn resume(watch: Subscription, cursors: &BTreeMap<String, String>) -> Subscription {
    match cursors::resumable(watch.id(), &watch.resource().to_string(), watch.namespace(), cursors) {
        Some(cursor) => {
            let read = cursors.get(&mark_of(watch.id())).and_then(|mark| version_of(mark));
            let mut watch = watch.resume(cursor);
            // After a crash some of it is read again.
            read.into_iter().for_each(|read| watch.was_read(read));
            watch
        }
        None => watch,
    }
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

pub(crate) fn choose(catalog: &Catalog, pipeline: &Pipeline) -> Choice {
    let mut choice = Choice::default();
    for resource in catalog.watchable_for(&pipeline.selector) {
        match pipeline.selector.resource(resource) {
            Err(LeftOut::Noise(_) | LeftOut::NotSelected | LeftOut::NotThisChange | LeftOut::OptedOut) => {}
            Ok(()) if pipeline.seal.is_sensitive(resource) => choice.sensitive.push(Arc::clone(resource)),
            Ok(()) => choice.resources.push(Arc::clone(resource)),
        }
    }
    choice
}
