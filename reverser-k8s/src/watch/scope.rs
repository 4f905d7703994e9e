//! The requests that a watch makes.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use kube::{
    Client,
    api::{ListParams, WatchEvent, WatchParams},
    core::Request,
};
use reverser_core::{Change, ObjectRef, Operation, Resource, Sanitizer};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::time::timeout;

use crate::{
    api_error::ApiError,
    source::{Event, Listed},
};

/// Objects in one page of a list: what kubectl asks for.
const PAGE: u32 = 500;

/// How long a server may take to begin a watch.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// How long a request may take before it counts as failed. A list page of 500 large objects takes seconds.
const LIST_LIMIT: Duration = Duration::from_secs(60);

/// A resource in a namespace, or everywhere, and the requests that it takes.
pub(super) struct Scope {
    pub(super) client: Client,
    pub(super) resource: Arc<Resource>,
    pub(super) namespace: Option<String>,
    pub(super) superseded: Vec<Arc<Resource>>,
    /// Says what of objects needn't be read.
    pub(super) sanitizer: Option<Sanitizer>,
}

pub(super) type Events = BoxStream<'static, Result<WatchEvent<Box<RawValue>>, kube::Error>>;

impl Scope {
    pub(super) async fn list(&self) -> Result<Listed, ApiError> {
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

    pub(super) async fn connect(&self, version: &str) -> Result<Events, ApiError> {
        let params = WatchParams { bookmarks: true, ..WatchParams::default() };
        let request = Request::new(path(&self.resource, self.namespace.as_deref())).watch(&params, version);
        let request = request.map_err(kube::Error::BuildRequest).map_err(|error| self.error(error, "watch"))?;
        let events = within(CONNECT_LIMIT, self.client.request_events::<Box<RawValue>>(request)).await;
        Ok(events.map_err(|error| self.error(error, "watch"))?.boxed())
    }

    pub(super) fn error(&self, error: kube::Error, verbs: &'static str) -> ApiError {
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
    pub(super) fn read_event(&self, event: WatchEvent<Box<RawValue>>) -> Result<WatchEvent<Value>, kube::Error> {
        Ok(match event {
            WatchEvent::Added(object) => WatchEvent::Added(self.read(&object)?),
            WatchEvent::Modified(object) => WatchEvent::Modified(self.read(&object)?),
            WatchEvent::Deleted(object) => WatchEvent::Deleted(self.read(&object)?),
            WatchEvent::Bookmark(bookmark) => WatchEvent::Bookmark(bookmark),
            WatchEvent::Error(status) => WatchEvent::Error(status),
        })
    }

    pub(super) fn change(&self, operation: Operation, object: Value) -> Option<Event> {
        let reference = ObjectRef::of(&self.resource, &object)?;
        let change = Change::new(reference, operation, Some(object));
        let cursor = change.resource_version.clone();
        Some(Event::Change { change, cursor })
    }
}

/// The list types of all resources have this in common.
#[derive(Deserialize)]
pub(super) struct Page {
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
pub(super) async fn list_page(client: &Client, request: http::Request<Vec<u8>>) -> Result<Page, kube::Error> {
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
