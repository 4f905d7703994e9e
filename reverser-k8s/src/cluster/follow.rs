//! What comes and goes in a cluster.
//!
//! Discovery itself can't be watched. What changes it can: CustomResourceDefinitions and APIServices. Each event of these is
//! a reason to look; discovery follows them by some milliseconds, or by seconds where an API service has to answer first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reverser_core::{Pipeline, Resource};
use reverser_git::GitSink;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{Cluster, choose, resume};
use crate::{
    discover::Discovery,
    hub::{Extent, Subscription},
    registration::Captured,
    report::chain,
    reverser::Arrival,
    source::{Event, Source},
    watch::newest,
};

/// How often discovery is read although nothing hints at a change: an API service may serve something else without one.
const POLL: Duration = Duration::from_secs(60);

/// How often it is read where the user may not watch what hints at changes. An unchanged answer is a 304 without a body.
const BLIND_POLL: Duration = Duration::from_secs(1);

/// After a hint discovery is read after this time, then after twice that, …
const FIRST_LOOK: Duration = Duration::from_millis(25);

/// … up to this,
const LOOK: Duration = Duration::from_millis(500);

/// for so long.
const SETTLE: Duration = Duration::from_secs(10);

/// How long after a refusal it is asked again for what hints at changes.
const REFUSED_WAIT: Duration = Duration::from_secs(15);

impl Cluster {
    /// Tells `arrivals` which resources come and go, until nobody listens. Looks for each CustomResourceDefinition and
    /// APIService that changes; once a minute besides, or each second where the user may not watch these. What
    /// comes goes on at the cursor that `git` has of it, if any.
    pub async fn follow(mut self, pipeline: Arc<Pipeline>, git: Arc<dyn GitSink>, arrivals: mpsc::Sender<Arrival>) {
        let mut discovery = Discovery::new(self.client.clone());
        let hints = [
            Hint::new(&self, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"),
            Hint::new(&self, "apiregistration.k8s.io", "v1", "APIService", "apiservices"),
        ];
        let is_heard = hints.each_ref().map(|hint| Arc::clone(&hint.is_heard));
        let bell = Arc::new(Notify::new());
        // Ends when this is dropped.
        let mut listening = JoinSet::new();
        for hint in hints {
            listening.spawn(hint.listen(Arc::clone(&bell)));
        }
        // Beginning with a look: what has come since the cluster was connected to.
        let (mut next, mut pause, mut settles) = (Instant::now(), LOOK, Instant::now());
        loop {
            tokio::select! {
                () = bell.notified() => {
                    let now = Instant::now();
                    (next, pause, settles) = (now + FIRST_LOOK, FIRST_LOOK, now + SETTLE);
                }
                () = sleep_until(next) => {
                    match discovery.read().await {
                        Ok(Some(catalog)) => self.tell(catalog.or_as_before(&self.catalog), &pipeline, &*git, &arrivals).await,
                        Ok(None) => {}
                        Err(error) => tracing::debug!(error = %chain(&error), "could not read discovery; it is read again"),
                    }
                    let is_settling = Instant::now() < settles;
                    pause = match is_heard.iter().all(|is_heard| is_heard.load(Ordering::Relaxed)) {
                        _ if is_settling => LOOK.min(pause * 2),
                        true => POLL,
                        false => BLIND_POLL,
                    };
                    next = Instant::now() + pause;
                }
                () = arrivals.closed() => return,
            }
        }
    }

    /// Tells what differs between what was served and `catalog`.
    async fn tell(
        &mut self,
        catalog: crate::Catalog,
        pipeline: &Pipeline,
        git: &dyn GitSink,
        arrivals: &mpsc::Sender<Arrival>,
    ) {
        // Who attributes hears of it first.
        self.captured.send_if_modified(|captured| {
            let before = std::mem::replace(captured, Captured::of(&catalog, pipeline));
            before != *captured
        });
        let before = choose(&self.catalog, pipeline).resources;
        let after = choose(&catalog, pipeline).resources;
        for gone in before.iter().filter(|resource| !after.contains(resource)) {
            for watch in self.watches_of(gone, pipeline) {
                let gone = Arrival::Gone { source: watch.id().to_owned(), is_served: catalog.serves(gone) };
                let _closed = arrivals.send(gone).await;
            }
        }
        for new in after.iter().filter(|resource| !before.contains(resource)) {
            // A writer that has ended says so elsewhere; without cursors all is listed.
            let cursors = git.cursors().await.unwrap_or_default();
            // The same resource in another version: its objects are not new, they move.
            let has_moved = before.iter().any(|old| old.is_version_of(new));
            for watch in self.watches_of(new, pipeline) {
                let arrival = if has_moved {
                    Arrival::Moved(Box::new(watch))
                } else {
                    Arrival::New(Box::new(resume(watch, &cursors)))
                };
                let _closed = arrivals.send(arrival).await;
            }
        }
        self.catalog = catalog;
    }
}

/// A resource whose changes hint at changes of discovery.
struct Hint {
    cluster: Cluster,
    resource: Arc<Resource>,
    /// Whether it is being watched.
    is_heard: Arc<AtomicBool>,
}

impl Hint {
    fn new(cluster: &Cluster, group: &str, version: &str, kind: &str, plural: &str) -> Self {
        let resource = Resource::new(group, version, kind, plural).cluster_scoped().into();
        Self { cluster: cluster.clone(), resource, is_heard: Arc::default() }
    }

    /// Rings at each change, for ever.
    async fn listen(self, bell: Arc<Notify>) {
        loop {
            // Not what there is, which discovery tells, and which may be large: only what comes from here on.
            match newest(&self.cluster.client, &self.resource, None).await {
                Ok(cursor) => {
                    let watch = self.cluster.watch(&self.resource, None, Extent::Nothing).resume(cursor);
                    self.read(watch, &bell).await;
                }
                Err(error) => tracing::debug!(error = %chain(&error), "discovery is polled instead"),
            }
            sleep(REFUSED_WAIT).await;
        }
    }

    async fn read(&self, mut watch: Subscription, bell: &Notify) {
        while let Some(event) = watch.next().await {
            self.is_heard.store(!matches!(event, Event::Failed(_)), Ordering::Relaxed);
            // When it begins, too: something may have changed since discovery was read.
            if !matches!(event, Event::Cursor(_)) {
                bell.notify_one();
            }
        }
    }
}
