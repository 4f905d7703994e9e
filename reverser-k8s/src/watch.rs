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

use std::{fmt, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{
    Api, Client,
    api::{ListParams, PostParams, VersionMatch, WatchEvent, WatchParams},
    core::Request,
};
use reverser_core::{Change, ObjectRef, Operation, Resource, Sanitizer};
use reverser_git::Backoff;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    api_error::ApiError,
    source::{Event, Listed, Source},
};

/// Objects in one page of a list: what kubectl asks for.
const PAGE: u32 = 500;

/// How long after a refusal that only a person can lift the next try is made.
const REFUSED_WAIT: Duration = Duration::from_secs(15);

/// A stream that ends sooner than this is opened again only after a pause.
const SHORT_STREAM: Duration = Duration::from_secs(1);

/// How long a server may take to begin a watch.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// A server ends each watch after 290 s (`timeoutSeconds`, kube's default); a stream that lasts longer is dead.
const STREAM_LIMIT: Duration = Duration::from_secs(320);

/// How long a request may take before it counts as failed. A list page of 500 large objects takes seconds.
const LIST_LIMIT: Duration = Duration::from_secs(60);

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

/// A resource in a namespace, or everywhere, and the requests that it takes.
struct Scope {
    client: Client,
    resource: Arc<Resource>,
    namespace: Option<String>,
    superseded: Vec<Arc<Resource>>,
    /// Says what of objects needn't be read.
    sanitizer: Option<Sanitizer>,
}

type Events = BoxStream<'static, Result<WatchEvent<Box<RawValue>>, kube::Error>>;

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

impl Scope {
    async fn list(&self) -> Result<Listed, ApiError> {
        let mut objects = Vec::new();
        let mut page = ListParams { limit: Some(PAGE), ..ListParams::default() };
        loop {
            let answer: Page = self.get_page(&page).await?;
            for object in answer.items.into_iter().flatten() {
                objects.push(self.read(&object).map_err(|error| self.error(error, "list"))?);
            }
            match answer.metadata.r#continue.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => {
                    return Ok(Listed {
                        resource: Arc::clone(&self.resource),
                        namespace: self.namespace.clone(),
                        superseded: self.superseded.clone(),
                        objects,
                        cursor: answer.metadata.resource_version,
                    });
                }
            }
        }
    }

    async fn get_page(&self, page: &ListParams) -> Result<Page, ApiError> {
        let request = Request::new(path(&self.resource, self.namespace.as_deref())).list(page);
        let request = request.map_err(kube::Error::BuildRequest).map_err(|error| self.error(error, "list"))?;
        list_page(&self.client, request).await.map_err(|error| self.error(error, "list"))
    }

    async fn connect(&self, version: &str) -> Result<Events, ApiError> {
        let params = WatchParams { bookmarks: true, ..WatchParams::default() };
        let request = Request::new(path(&self.resource, self.namespace.as_deref())).watch(&params, version);
        let request = request.map_err(kube::Error::BuildRequest).map_err(|error| self.error(error, "watch"))?;
        let events = within(CONNECT_LIMIT, self.client.request_events::<Box<RawValue>>(request)).await;
        Ok(events.map_err(|error| self.error(error, "watch"))?.boxed())
    }

    fn error(&self, error: kube::Error, verbs: &'static str) -> ApiError {
        ApiError::of(error, verbs, &self.resource, self.namespace.as_deref())
    }

    fn read(&self, object: &RawValue) -> Result<Value, kube::Error> {
        let read = match &self.sanitizer {
            None => serde_json::from_str(object.get()),
            Some(sanitizer) => sanitizer.read(object.get()),
        };
        read.map_err(kube::Error::SerdeError)
    }

    /// Returns the event without what needn't be read of its object.
    fn read_event(&self, event: WatchEvent<Box<RawValue>>) -> Result<WatchEvent<Value>, kube::Error> {
        Ok(match event {
            WatchEvent::Added(object) => WatchEvent::Added(self.read(&object)?),
            WatchEvent::Modified(object) => WatchEvent::Modified(self.read(&object)?),
            WatchEvent::Deleted(object) => WatchEvent::Deleted(self.read(&object)?),
            WatchEvent::Bookmark(bookmark) => WatchEvent::Bookmark(bookmark),
            WatchEvent::Error(status) => WatchEvent::Error(status),
        })
    }

    fn change(&self, operation: Operation, object: Value) -> Option<Event> {
        let reference = ObjectRef::of(&self.resource, &object)?;
        let change = Change::new(reference, operation, Some(object));
        let cursor = change.resource_version.clone();
        Some(Event::Change { change, cursor })
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

/// Returns whether `resource` may be listed in `namespace`: one object is asked for.
pub async fn may_list(client: &Client, resource: &Resource, namespace: Option<&str>) -> Result<(), ApiError> {
    // Version 0 is answered from the server's cache: nothing is read from etcd.
    let one = ListParams {
        limit: Some(1),
        version_match: Some(VersionMatch::NotOlderThan),
        resource_version: Some("0".into()),
        ..ListParams::default()
    };
    let error = |error| ApiError::of(error, "list", resource, namespace);
    let request = Request::new(path(resource, namespace)).list(&one);
    let request = request.map_err(kube::Error::BuildRequest).map_err(error)?;
    list_page(client, request).await.map_err(error)?;
    Ok(())
}

/// Returns whether `resource` may be watched in `namespace`, as the API server's own authorizer says.
pub async fn may_watch(client: &Client, resource: &Resource, namespace: Option<&str>) -> Result<(), ApiError> {
    may(client, "watch", resource, namespace).await
}

/// Asks the API server's own authorizer; an error when it says no.
pub(crate) async fn may(
    client: &Client,
    verb: &'static str,
    resource: &Resource,
    namespace: Option<&str>,
) -> Result<(), ApiError> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(resource.group.clone()),
                version: Some(resource.version.clone()),
                resource: Some(resource.plural.clone()),
                namespace: namespace.map(str::to_owned),
                verb: Some(verb.into()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    match within(CONNECT_LIMIT, reviews.create(&PostParams::default(), &review)).await {
        Ok(review) if review.status.as_ref().is_some_and(|status| status.allowed) => Ok(()),
        Ok(_) => Err(ApiError::forbidden(verb, resource, namespace)),
        Err(error) => Err(ApiError::of(error, verb, resource, namespace)),
    }
}

/// The list types of all resources have this in common.
#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    /// Some aggregated servers write `items: null` for none.
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    resource_version: String,
    r#continue: Option<String>,
}

/// Returns the URL's path of a resource in a namespace, or everywhere.
pub(crate) fn path(resource: &Resource, namespace: Option<&str>) -> String {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let place = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    format!("{root}/{}{place}/{}", resource.api_version(), resource.plural)
}

/// Reads a page as text first: `Client::request` logs the whole text of an answer that it can't parse.
async fn list_page(client: &Client, request: http::Request<Vec<u8>>) -> Result<Page, kube::Error> {
    let text = within(LIST_LIMIT, client.request_text(request)).await?;
    serde_json::from_str(&text).map_err(kube::Error::SerdeError)
}

/// Bounds a request in time.
pub(crate) async fn within<T>(
    limit: Duration,
    ask: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let late = || kube::Error::Service(format!("no answer within {} s", limit.as_secs()).into());
    timeout(limit, ask).await.unwrap_or_else(|_elapsed| Err(late()))
}
