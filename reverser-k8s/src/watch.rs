//! One resource of one cluster, watched without a gap: list, watch from there, resume from a cursor.
//!
//! kube's `watcher` always lists when it starts; a cursor that survives a restart needs the requests themselves. What comes
//! next is decided in `watch/machine.rs`, without a request; here they are made, and nothing is decided.

mod gate;
mod machine;
mod may;
mod recover;
mod scope;
mod transport;
mod versions;

use std::{
    collections::VecDeque,
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use kube::Client;
use reverser_core::{Fingerprinter, Resource, Sanitizer};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until, timeout_at},
};

pub use self::may::{may_list, may_watch};
pub(crate) use self::{
    gate::Gate,
    may::{may, newest},
};
use self::{
    machine::{End, Input, Machine, Request, Subject},
    scope::{Events, Scope},
    transport::IDLE_LIMIT,
};
use crate::{
    list::{List, Lister},
    source::{Event, Source},
};

/// Watches one resource in one namespace or everywhere. No selector goes to the server: an object that leaves one
/// would look deleted.
pub struct Watch {
    api: Scope,
    id: String,
    machine: Machine,
    /// While the machine reads it.
    stream: Option<Events>,
    /// Told by the machine, and not asked for yet.
    told: VecDeque<Event>,
    gate: Gate,
    /// While objects gather for a list.
    listing: Option<OwnedSemaphorePermit>,
    /// Makes what joins changes with their requests, where somebody asks who made them.
    fingerprinter: Option<Fingerprinter>,
}

impl Watch {
    /// Returns a watch that begins with a complete list. `cluster` tells this cluster from every other, such as the
    /// uid of its `kube-system` namespace: positions of one cluster mean nothing in another.
    pub fn new(client: Client, cluster: &str, resource: Arc<Resource>, namespace: Option<String>) -> Self {
        let scope = namespace.as_ref().map(|namespace| format!("/{namespace}")).unwrap_or_default();
        let id = format!("{cluster}/{resource}{scope}");
        let subject = Subject { resource: Arc::clone(&resource), namespace: namespace.clone() };
        Self {
            api: Scope { list: List::new(client, resource, namespace), idle_limit: IDLE_LIMIT },
            id,
            machine: Machine::new(subject),
            stream: None,
            told: VecDeque::new(),
            gate: Gate::default(),
            listing: None,
            fingerprinter: None,
        }
    }

    /// Goes on behind `cursor` instead, as an earlier run left it.
    #[must_use]
    pub fn resume(mut self, cursor: impl Into<String>) -> Self {
        self.machine.resume(cursor.into());
        self
    }

    /// Reads objects without what `sanitizer` removes anyway; otherwise they are read whole.
    #[must_use]
    pub fn read_with(mut self, sanitizer: Sanitizer) -> Self {
        self.api.list = self.api.list.read_with(Some(sanitizer));
        self
    }

    /// Says of each change what joins it with the request that made it: its [`fingerprint`](reverser_core::Change::fingerprint), and
    /// the version that it [`replaced`](reverser_core::Change::replaced). For that the version of each object is kept, some
    /// 30 to 60 bytes; where the watch goes on at a cursor, a list of all metadata at that cursor tells them. Where nobody
    /// knows any more, the first change of an object doesn't say what it replaced. Objects of lists have neither.
    #[must_use]
    pub fn fingerprint_with(mut self, fingerprinter: Fingerprinter) -> Self {
        self.fingerprinter = Some(fingerprinter);
        self.machine.keep_versions();
        self
    }

    /// Sets how long a stream may be without a byte until its connection counts as dead, and another one is opened. Default:
    /// 150 s, since an API server sends a bookmark each minute.
    #[must_use]
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.api.idle_limit = limit;
        self
    }

    /// Asks only as many requests at a time as all that share `gate`.
    #[must_use]
    pub(crate) fn through(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }

    /// Returns what is watched.
    pub fn resource(&self) -> &Arc<Resource> {
        &self.api.list.resource
    }

    /// Returns the namespace that it is watched in; `None`: everywhere.
    pub fn namespace(&self) -> Option<&str> {
        self.api.list.namespace.as_deref()
    }

    /// Returns what lists the same, whenever it is asked.
    pub fn list(&self) -> List {
        self.api.list.clone()
    }

    /// Does what the machine wants next. Dropping the future leaves the machine where it was, and the stream at the event
    /// after the last one that was returned.
    async fn ask(&mut self) -> Input {
        if self.machine.is_listing() && self.listing.is_none() {
            self.listing = Some(self.gate.list().await);
        }
        match self.machine.request() {
            Request::Current => {
                let _turn = self.gate.ask().await;
                Input::Current(self.api.current().await)
            }
            Request::Open { from, lifetime } => {
                let _turn = self.gate.ask().await;
                Input::Opened(self.api.open(from, lifetime).await.map(|stream| self.stream = Some(stream)))
            }
            Request::Page(page) => Input::Page(self.api.page(page).await),
            Request::Read { until } => {
                let Some(stream) = &mut self.stream else { return Input::Ended(End::Closed) };
                match until {
                    Some(until) => timeout_at(until, self.api.read_event(stream, None)).await.unwrap_or(Input::Late),
                    None => self.api.read_event(stream, self.fingerprinter.as_ref()).await,
                }
            }
            Request::Recover { from, read } => {
                let _turn = self.gate.list().await;
                Input::Recovered(recover::recover(&self.api.list, self.fingerprinter.as_ref(), from, read).await)
            }
            Request::Sleep(until) => {
                sleep_until(until).await;
                Input::Waited
            }
            Request::Versions { at } => {
                let _turn = self.gate.ask().await;
                Input::Versions(recover::versions_at(&self.api.list, at).await)
            }
        }
    }
}

#[async_trait::async_trait]
impl Source for Watch {
    fn id(&self) -> &str {
        &self.id
    }

    fn lister(&self) -> Option<Arc<dyn Lister>> {
        Some(Arc::new(self.list()))
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.told.pop_front() {
                return Some(event);
            }
            let input = self.ask().await;
            // Nothing waits between an answer and what it leads to, so that a dropped future loses neither.
            self.told.extend(self.machine.step(input, Instant::now(), random()));
            if !matches!(self.machine.request(), Request::Read { .. }) {
                self.stream = None;
            }
            if !self.machine.is_listing() {
                self.listing = None;
            }
        }
    }

    fn pause(&mut self) {
        self.machine.pause();
        self.stream = None;
    }

    fn was_read(&mut self, version: u64) {
        self.machine.was_read(version);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Returns a number that nobody can foretell well enough to matter here. Every `RandomState` has keys of its own.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
