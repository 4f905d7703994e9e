//! Complete lists of one resource, page by page, as it is or was: for whoever compares.

mod page;

use std::{fmt::Debug, sync::Arc};

use kube::{
    Client,
    api::{ListParams, VersionMatch},
    core::Request,
};
use reverser_core::{Resource, Sanitizer};
use serde_json::{Value, value::RawValue};

pub(crate) use self::page::RawPage;
use crate::{
    api_error::ApiError,
    request::{Built, PAGE, path},
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
    pub(crate) client: Client,
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: Option<String>,
    /// Says what of objects needn't be read.
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

    /// Returns what requests are made of.
    pub(crate) fn request(&self) -> Request {
        Request::new(path(&self.resource, self.namespace.as_deref()))
    }

    /// Asks for a page, and leaves its objects unread.
    pub(crate) async fn ask(&self, request: Built) -> Result<RawPage, ApiError> {
        RawPage::ask(&self.client, request).await.map_err(|error| self.error(error, "list"))
    }

    /// Asks for a page.
    pub(crate) async fn page(&self, request: Built) -> Result<Page, ApiError> {
        let page = self.ask(request).await?;
        Ok(Page {
            objects: page.objects().map(|object| self.read(object)).collect::<Result<_, _>>()?,
            version: page.version().to_owned(),
            next: page.next().map(str::to_owned),
        })
    }

    /// Reads an object of a page.
    pub(crate) fn read(&self, object: &RawValue) -> Result<Value, ApiError> {
        self.parse(object).map_err(|error| self.error(kube::Error::SerdeError(error), "list"))
    }

    /// Reads an object, as far as it is needed.
    pub(crate) fn parse(&self, object: &RawValue) -> Result<Value, serde_json::Error> {
        match &self.sanitizer {
            None => serde_json::from_str(object.get()),
            Some(sanitizer) => sanitizer.read(object.get()),
        }
    }

    pub(crate) fn error(&self, error: kube::Error, verbs: &'static str) -> ApiError {
        ApiError::of(error, verbs, &self.resource, self.namespace.as_deref())
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
        self.page(self.request().list(&first(version))).await
    }

    async fn next(&self, page: &str) -> Result<Page, ApiError> {
        self.page(self.request().list(&next(page))).await
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

/// Returns what asks for the first page of a list as it was at `version`, or as it is.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resourceversion-in-list>
pub(crate) fn first(version: Option<&str>) -> ListParams {
    ListParams {
        limit: Some(PAGE),
        resource_version: version.map(str::to_owned),
        version_match: version.map(|_| VersionMatch::Exact),
        ..ListParams::default()
    }
}

/// Returns what asks for the page that another one names as its next.
pub(crate) fn next(page: &str) -> ListParams {
    ListParams { limit: Some(PAGE), continue_token: Some(page.to_owned()), ..ListParams::default() }
}

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
