//! Complete lists of one resource, page by page, as it is or was: for whoever compares.

use std::{fmt::Debug, sync::Arc, time::Duration};

use kube::{
    Client,
    api::{ListParams, VersionMatch},
    core::Request,
};
use reverser_core::{Resource, Sanitizer};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    api_error::ApiError,
    watch::{path, within},
};

/// Lists one resource, whenever it is asked.
///
/// # Contract
/// - The pages of one list are one state: that of the first page's `version`.
/// - Objects come as the API server returns them, each once.
#[async_trait::async_trait]
pub trait Lister: Debug + Send + Sync {
    /// Returns what is listed.
    fn resource(&self) -> &Arc<Resource>;

    /// Returns the namespace that it is listed in; `None`: everywhere.
    fn namespace(&self) -> Option<&str>;

    /// Returns the first page as it was at `version`, or as it is.
    ///
    /// # Errors
    /// [`ApiError::Expired`] when nobody knows any more how it was.
    async fn first(&self, version: Option<&str>) -> Result<Page, ApiError>;

    /// Returns the page behind another one, which named it.
    async fn next(&self, page: &str) -> Result<Page, ApiError>;
}

/// A part of a list.
#[derive(Default)]
pub struct Page {
    /// The objects as the API server returned them.
    pub objects: Vec<Value>,
    /// The state of the whole list.
    pub version: String,
    /// What the next page is called; `None`: this is the last.
    pub next: Option<String>,
}

/// Never shows the objects: a page may end up in a log.
impl Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { objects, version, next } = self;
        f.debug_struct("Page").field("objects", &objects.len()).field("version", version).field("next", next).finish()
    }
}

/// Lists a resource of an API server, in one namespace or everywhere.
#[derive(Clone)]
pub struct List {
    client: Client,
    resource: Arc<Resource>,
    namespace: Option<String>,
    sanitizer: Option<Sanitizer>,
}

impl List {
    /// Returns what lists `resource`.
    pub fn new(client: Client, resource: Arc<Resource>, namespace: Option<String>) -> Self {
        Self { client, resource, namespace, sanitizer: None }
    }

    /// Reads objects without what `sanitizer` removes anyway; otherwise they are read whole.
    #[must_use]
    pub fn read_with(mut self, sanitizer: Option<Sanitizer>) -> Self {
        self.sanitizer = sanitizer;
        self
    }

    async fn page(&self, params: &ListParams) -> Result<Page, ApiError> {
        let error = |error| ApiError::of(error, "list", &self.resource, self.namespace.as_deref());
        let request = Request::new(path(&self.resource, self.namespace.as_deref())).list(params);
        let request = request.map_err(kube::Error::BuildRequest).map_err(error)?;
        // As text first: `Client::request` logs the whole text of an answer that it can't parse.
        let text = within(LIMIT, self.client.request_text(request)).await.map_err(error)?;
        let answer: Answer<'_> = serde_json::from_str(&text).map_err(kube::Error::SerdeError).map_err(error)?;
        let read = |object: &RawValue| match &self.sanitizer {
            None => serde_json::from_str(object.get()),
            Some(sanitizer) => sanitizer.read(object.get()),
        };
        let objects = answer.items.into_iter().flatten().map(read).collect::<Result<_, _>>();
        Ok(Page {
            objects: objects.map_err(kube::Error::SerdeError).map_err(error)?,
            version: answer.metadata.resource_version,
            next: answer.metadata.r#continue.filter(|next| !next.is_empty()),
        })
    }
}

#[async_trait::async_trait]
impl Lister for List {
    fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    async fn first(&self, version: Option<&str>) -> Result<Page, ApiError> {
        let params = ListParams {
            limit: Some(PAGE),
            resource_version: version.map(str::to_owned),
            version_match: version.map(|_| VersionMatch::Exact),
            ..ListParams::default()
        };
        self.page(&params).await
    }

    async fn next(&self, page: &str) -> Result<Page, ApiError> {
        let next = Some(page.to_owned());
        self.page(&ListParams { limit: Some(PAGE), continue_token: next, ..ListParams::default() }).await
    }
}

impl Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List")
            .field("resource", &self.resource)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// The list types of all resources have this in common.
#[derive(Deserialize)]
struct Answer<'a> {
    metadata: Metadata,
    /// Some aggregated servers write `items: null` for none.
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
    r#continue: Option<String>,
}

/// Objects in one page: what kubectl asks for.
const PAGE: u32 = 500;

/// How long a page may take. One of 500 large objects takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Knows what there was at some versions, in pages of two objects: a lister for tests.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Remembered {
    resource: Arc<Resource>,
    states: std::sync::Mutex<std::collections::BTreeMap<u64, Vec<Value>>>,
}

#[cfg(test)]
impl Remembered {
    pub(crate) fn new(resource: Arc<Resource>) -> Self {
        Self { resource, states: std::sync::Mutex::default() }
    }

    pub(crate) fn at(self, version: u64, objects: impl IntoIterator<Item = Value>) -> Self {
        self.remember(version, objects);
        self
    }

    pub(crate) fn remember(&self, version: u64, objects: impl IntoIterator<Item = Value>) {
        self.states().insert(version, objects.into_iter().collect());
    }

    fn states(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<u64, Vec<Value>>> {
        self.states.lock().expect("nothing panics under the lock")
    }

    fn page(&self, version: &str, from: usize) -> Result<Page, ApiError> {
        let states = self.states();
        let state = version.parse().ok().and_then(|version: u64| states.get(&version)).ok_or(ApiError::Expired)?;
        let objects: Vec<_> = state.iter().skip(from).take(2).cloned().collect();
        let next = (from + objects.len() < state.len()).then(|| format!("{version} {}", from + objects.len()));
        Ok(Page { objects, version: version.to_owned(), next })
    }
}

#[cfg(test)]
#[async_trait::async_trait]
impl Lister for Remembered {
    fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    fn namespace(&self) -> Option<&str> {
        None
    }

    async fn first(&self, version: Option<&str>) -> Result<Page, ApiError> {
        let latest = self.states().keys().next_back().copied().unwrap_or_default();
        self.page(&version.map_or_else(|| latest.to_string(), str::to_owned), 0)
    }

    async fn next(&self, page: &str) -> Result<Page, ApiError> {
        let (version, from) = page.split_once(' ').ok_or(ApiError::Expired)?;
        self.page(version, from.parse().expect("it is as `page` writes it"))
    }
}
