//! The requests that a watch makes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use kube::{
    Client,
    api::{ListParams, WatchParams},
    core::{Request, Status},
};
use reverser_core::{Operation, Resource, Sanitizer};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::time::timeout;

use super::{
    machine::{End, Input, Page},
    transport::{Break, lines, send},
};
use crate::api_error::ApiError;

/// Objects in one page of a list: what kubectl asks for.
pub(super) const PAGE: u32 = 500;

/// How long a server may take to begin a watch.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// How long it may take to say how far it is.
const CURRENT_LIMIT: Duration = Duration::from_secs(10);

/// How long a request may take before it counts as failed. A list page of 500 large objects takes seconds.
const LIST_LIMIT: Duration = Duration::from_secs(60);

/// A resource in a namespace, or everywhere, and the requests that it takes.
pub(super) struct Scope {
    pub(super) client: Client,
    pub(super) resource: Arc<Resource>,
    pub(super) namespace: Option<String>,
    /// Says what of objects needn't be read.
    pub(super) sanitizer: Option<Sanitizer>,
    /// How long a stream may be without a byte.
    pub(super) idle_limit: Duration,
}

pub(super) type Events = BoxStream<'static, Result<Bytes, Break>>;

impl Scope {
    /// Returns a page of a list, the first one without `next`.
    pub(super) async fn page(&self, next: Option<&str>) -> Result<Page, ApiError> {
        let params = ListParams { limit: Some(PAGE), continue_token: next.map(str::to_owned), ..ListParams::default() };
        let request = self.request().list(&params).map_err(kube::Error::BuildRequest);
        let request = request.map_err(|error| self.error(error, "list"))?;
        let answer = list_page(&self.client, request).await.map_err(|error| self.error(error, "list"))?;
        let objects = answer.items.iter().flatten().map(|object| self.read(object)).collect::<Result<_, _>>();
        Ok(Page {
            objects: objects.map_err(|error| self.error(error, "list"))?,
            next: answer.metadata.next(),
            version: answer.metadata.resource_version,
        })
    }

    /// Returns the version that the server is at, as a read that is consistent with all writes before it says.
    pub(super) async fn current(&self) -> Result<String, ApiError> {
        let params = ListParams { limit: Some(1), ..ListParams::default() };
        let request = self.request().list_metadata(&params).map_err(kube::Error::BuildRequest);
        let request = request.map_err(|error| self.error(error, "list"))?;
        let answer = within(CURRENT_LIMIT, read_page(&self.client, request)).await;
        Ok(answer.map_err(|error| self.error(error, "list"))?.metadata.resource_version)
    }

    /// Opens a stream that the server is to end after `lifetime`: of what came after `from`, or of everything there is and
    /// what comes after that.
    pub(super) async fn open(&self, from: Option<&str>, lifetime: Duration) -> Result<Events, ApiError> {
        let timeout = u32::try_from(lifetime.as_secs()).ok();
        let params =
            WatchParams { bookmarks: true, send_initial_events: from.is_none(), timeout, ..WatchParams::default() };
        // Without a version everything there is is at least as new as this request.
        let request = self.request().watch(&params, from.unwrap_or_default()).map_err(kube::Error::BuildRequest);
        let request = request.map_err(|error| self.error(error, "watch"))?;
        within(CONNECT_LIMIT, lines(&self.client, request, self.idle_limit))
            .await
            .map_err(|error| self.error(error, "watch"))
    }

    /// Waits for the next event of a stream.
    pub(super) async fn read_event(&self, stream: &mut Events) -> Input {
        let failed = |error| Input::Ended(End::Failed(self.error(error, "watch")));
        let line = match stream.next().await {
            Some(Ok(line)) => line,
            Some(Err(Break::Silence)) => return Input::Ended(End::Silent),
            Some(Err(Break::Error(error))) => return failed(error),
            None => return Input::Ended(End::Closed),
        };
        self.read_line(&line).unwrap_or_else(|error| failed(kube::Error::SerdeError(error)))
    }

    fn read_line(&self, line: &[u8]) -> Result<Input, serde_json::Error> {
        let event: Line<'_> = serde_json::from_slice(line)?;
        let operation = match event.kind {
            "ADDED" => Operation::Create,
            "MODIFIED" => Operation::Update,
            "DELETED" => Operation::Delete,
            "BOOKMARK" => {
                let Bookmark { metadata } = serde_json::from_str(event.object.get())?;
                let ends_list = metadata.annotations.is_some_and(|all| all.ends_list.as_deref() == Some("true"));
                return Ok(Input::Bookmark { version: metadata.resource_version, ends_list });
            }
            // `ERROR`, or what is no event at all: a Status says why.
            _ => {
                let status: Status = serde_json::from_str(event.object.get())?;
                return Ok(Input::Ended(End::Failed(self.error(kube::Error::Api(status.boxed()), "watch"))));
            }
        };
        Ok(Input::Object(operation, self.read_json(event.object)?))
    }

    fn request(&self) -> Request {
        Request::new(path(&self.resource, self.namespace.as_deref()))
    }

    pub(super) fn error(&self, error: kube::Error, verbs: &'static str) -> ApiError {
        ApiError::of(error, verbs, &self.resource, self.namespace.as_deref())
    }

    pub(super) fn read(&self, object: &RawValue) -> Result<Value, kube::Error> {
        self.read_json(object).map_err(kube::Error::SerdeError)
    }

    fn read_json(&self, object: &RawValue) -> Result<Value, serde_json::Error> {
        match &self.sanitizer {
            None => serde_json::from_str(object.get()),
            Some(sanitizer) => sanitizer.read(object.get()),
        }
    }
}

/// An event of a watch. <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    resource_version: String,
    annotations: Option<BookmarkAnnotations>,
}

#[derive(Deserialize)]
struct BookmarkAnnotations {
    #[serde(rename = "k8s.io/initial-events-end")]
    ends_list: Option<String>,
}

/// The list types of all resources have this in common.
#[derive(Deserialize)]
pub(super) struct ListPage {
    pub(super) metadata: PageMeta,
    /// Some aggregated servers write `items: null` for none.
    pub(super) items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageMeta {
    pub(super) resource_version: String,
    r#continue: Option<String>,
}

impl PageMeta {
    /// Returns what asks for the page after this one, if there is one.
    pub(super) fn next(&self) -> Option<String> {
        self.r#continue.clone().filter(|token| !token.is_empty())
    }
}

/// Returns the URL's path of a resource in a namespace, or everywhere.
pub(crate) fn path(resource: &Resource, namespace: Option<&str>) -> String {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let place = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    format!("{root}/{}{place}/{}", resource.api_version(), resource.plural)
}

/// Asks for a page of a list.
pub(super) async fn list_page(client: &Client, request: http::Request<Vec<u8>>) -> Result<ListPage, kube::Error> {
    within(LIST_LIMIT, read_page(client, request)).await
}

async fn read_page(client: &Client, request: http::Request<Vec<u8>>) -> Result<ListPage, kube::Error> {
    let text = send(client, request).await?.into_body().collect_bytes().await?;
    serde_json::from_slice(&text).map_err(kube::Error::SerdeError)
}

/// Bounds a request in time.
pub(crate) async fn within<T>(
    limit: Duration,
    ask: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let late = || kube::Error::Service(format!("no answer within {} s", limit.as_secs()).into());
    timeout(limit, ask).await.unwrap_or_else(|_elapsed| Err(late()))
}
