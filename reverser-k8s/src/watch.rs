//! One resource of one cluster, watched without a gap: list, watch from there, resume from a cursor.
//!
//! kube's `watcher` always lists when it starts; a cursor that survives a restart needs the requests themselves.
//!
//! ```text
//!            ┌────────── 410 ───────────┐
//!            ▼                          │
//! start ──► List ──► Connect{version} ──┴──► Stream{version} ──► end of the connection: Connect
//!   └── with a cursor ──► Resume ──► Connect
//! ```

mod may;
mod scope;

use std::{fmt, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{Client, api::WatchEvent};
use reverser_core::{Operation, Resource, Sanitizer};
use reverser_git::Backoff;
use tokio::time::{Instant, timeout_at};

pub use self::may::{may_list, may_watch};
use self::scope::{Events, Scope};
pub(crate) use self::{
    may::may,
    scope::{path, within},
};
use crate::{
    api_error::ApiError,
    source::{Event, Source},
};

/// How long after a refusal that only a person can lift the next try is made.
const REFUSED_WAIT: Duration = Duration::from_secs(15);

/// A stream that ends sooner than this is opened again only after a pause.
const SHORT_STREAM: Duration = Duration::from_secs(1);

/// A server ends each watch after 290 s (`timeoutSeconds`, kube's default); a stream that lasts longer is dead.
const STREAM_LIMIT: Duration = Duration::from_secs(320);

/// Watches one resource in one namespace or everywhere. No selector goes to the server: an object that leaves one
/// would look deleted.
pub struct Watch {
    api: Scope,
    id: String,
    state: State,
    backoff: Backoff,
    /// A failure was reported and no success since.
    has_failed: bool,
}

enum State {
    /// Read everything.
    List,
    /// Say that nothing was missed, and go on from here.
    Resume { version: String },
    /// Open a stream of what comes after `version`.
    Connect { version: String },
    /// Read the stream; `version` is the last one seen.
    Stream { version: String, events: Events, opened: Instant },
    /// Try again later.
    Wait { until: Instant, then: Box<Self> },
}

impl Watch {
    /// Returns a watch that begins with a complete list. `cluster` tells this cluster from every other, such as the
    /// uid of its `kube-system` namespace: positions of one cluster mean nothing in another.
    pub fn new(client: Client, cluster: &str, resource: Arc<Resource>, namespace: Option<String>) -> Self {
        let scope = namespace.as_ref().map(|namespace| format!("/{namespace}")).unwrap_or_default();
        let id = format!("{cluster}/{resource}{scope}");
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
        Self {
            api: Scope { client, resource, namespace, superseded: vec![], sanitizer: None },
            id,
            state: State::List,
            backoff,
            has_failed: false,
        }
    }

    /// Goes on behind `cursor` instead, as an earlier run left it.
    #[must_use]
    pub fn resume(mut self, cursor: impl Into<String>) -> Self {
        self.state = State::Resume { version: cursor.into() };
        self
    }

    /// Takes the place of the same resource in other versions: their files go when this one is listed.
    #[must_use]
    pub fn superseding(mut self, others: Vec<Arc<Resource>>) -> Self {
        self.api.superseded = others;
        self
    }

    /// Reads objects without what `sanitizer` removes anyway; otherwise they are read whole.
    #[must_use]
    pub fn read_with(mut self, sanitizer: Sanitizer) -> Self {
        self.api.sanitizer = Some(sanitizer);
        self
    }

    /// Returns what is watched.
    pub fn resource(&self) -> &Arc<Resource> {
        &self.api.resource
    }

    /// Returns the namespace that it is watched in; `None`: everywhere.
    pub fn namespace(&self) -> Option<&str> {
        self.api.namespace.as_deref()
    }

    /// Waits before `then`, so that a server that says no at once is not asked in a tight loop.
    fn pause(&mut self, then: State) {
        self.state = State::Wait { until: Instant::now() + self.backoff.next_wait(), then: Box::new(then) };
    }

    /// Waits before `then` is tried again; returns what to report.
    fn fail(&mut self, error: ApiError, then: State) -> Event {
        let wait = if error.is_for_a_person() { REFUSED_WAIT } else { self.backoff.next_wait() };
        self.state = State::Wait { until: Instant::now() + wait, then: Box::new(then) };
        self.has_failed = true;
        Event::Failed(error)
    }
}

#[async_trait::async_trait]
impl Source for Watch {
    fn id(&self) -> &str {
        &self.id
    }

    async fn next(&mut self) -> Option<Event> {
        // Each arm awaits before it changes the state, so that a dropped future leaves the machine where it was.
        loop {
            match &mut self.state {
                State::List => match self.api.list().await {
                    Ok(listed) => {
                        self.backoff.reset();
                        self.has_failed = false;
                        self.state = State::Connect { version: listed.cursor.clone() };
                        return Some(Event::Listed(listed));
                    }
                    // The pages of a list share one version, and it grew too old between two of them: begin again.
                    Err(ApiError::Expired) => self.pause(State::List),
                    Err(error) => return Some(self.fail(error, State::List)),
                },
                State::Resume { version } => {
                    self.state = State::Connect { version: std::mem::take(version) };
                    return Some(Event::Resumed);
                }
                State::Connect { version } => {
                    let version = version.clone();
                    match self.api.connect(&version).await {
                        Ok(events) => {
                            self.state = State::Stream { version, events, opened: Instant::now() };
                            if std::mem::take(&mut self.has_failed) {
                                return Some(Event::Resumed);
                            }
                        }
                        Err(ApiError::Expired) => self.pause(State::List),
                        Err(error) => return Some(self.fail(error, State::Connect { version })),
                    }
                }
                State::Stream { version, events, opened } => {
                    // A connection that was cut silently says nothing more; the server would have ended the stream.
                    let event = timeout_at(*opened + STREAM_LIMIT, events.next()).await.unwrap_or(None);
                    let event = event.map(|event| event.and_then(|event| self.api.read_event(event)));
                    if let Some(Ok(
                        WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object),
                    )) = &event
                        && let Some(seen) = object["metadata"]["resourceVersion"].as_str()
                    {
                        *version = seen.to_owned();
                        self.backoff.reset();
                    }
                    let (version, opened) = (version.clone(), *opened);
                    let reported = match event {
                        Some(Ok(WatchEvent::Added(object))) => self.api.change(Operation::Create, object),
                        Some(Ok(WatchEvent::Modified(object))) => self.api.change(Operation::Update, object),
                        Some(Ok(WatchEvent::Deleted(object))) => self.api.change(Operation::Delete, object),
                        Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                            let cursor = bookmark.metadata.resource_version;
                            if let State::Stream { version, .. } = &mut self.state {
                                version.clone_from(&cursor);
                            }
                            Some(Event::Cursor(cursor))
                        }
                        Some(Ok(WatchEvent::Error(status))) if status.code == 410 => {
                            self.pause(State::List);
                            None
                        }
                        Some(Ok(WatchEvent::Error(status))) => {
                            let error = self.api.error(kube::Error::Api(status), "watch");
                            Some(self.fail(error, State::Connect { version }))
                        }
                        Some(Err(error)) => {
                            let error = self.api.error(error, "watch");
                            Some(self.fail(error, State::Connect { version }))
                        }
                        // The server ends every watch after some minutes; one that ends at once is in trouble.
                        None => {
                            let then = State::Connect { version };
                            if opened.elapsed() < SHORT_STREAM {
                                self.pause(then);
                            } else {
                                self.state = then;
                            }
                            None
                        }
                    };
                    if reported.is_some() {
                        return reported;
                    }
                }
                State::Wait { until, .. } => {
                    tokio::time::sleep_until(*until).await;
                    if let State::Wait { then, .. } = std::mem::replace(&mut self.state, State::List) {
                        self.state = *then;
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).finish_non_exhaustive()
    }
}
