//! The requests that read the past.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use kube::{api::ListParams, core::Request};
use reverser_git::Backoff;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    super::versions::Versions,
    walk::{Entry, History, Place, Snapshot, Unreadable, Version},
};
use crate::{
    api_error::ApiError,
    list::{List, RawPage, first, next},
    request::{once, path},
};

/// How often a request is made before it counts as failed: one reset connection mustn't cost thousands of reads. With
/// the waits between them these take up to some ten seconds.
const TRIES: usize = 5;

/// How long a server can ask for patience between two tries (`Retry-After`).
const RETRY_LIMIT: Duration = Duration::from_secs(30);

/// Reads the past of a resource from its API server.
pub(super) struct Requests<'a> {
    pub(super) list: &'a List,
}

/// What of a request's answer is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Metadata,
    Whole,
}

impl Requests<'_> {
    /// Returns all objects as they were at a revision.
    pub(super) async fn everything_at(&self, revision: u64) -> Result<Vec<Value>, Unreadable> {
        let mut objects = Vec::new();
        self.pages(Part::Whole, Some(revision), |object| {
            objects.push(self.list.read(object).map_err(Unreadable::Failed)?);
            Ok(())
        })
        .await?;
        Ok(objects)
    }

    /// Returns the versions that objects had at a revision. Where that can't be read any more, those of the objects that
    /// haven't changed since: their version is what it was.
    pub(super) async fn versions_at(&self, revision: u64) -> Result<Versions, Unreadable> {
        match self.versions(Some(revision), revision).await {
            Err(Unreadable::Forgotten | Unreadable::TooMuch | Unreadable::Unsupported(_)) => {
                self.versions(None, revision).await
            }
            answer => answer,
        }
    }

    /// Returns the versions of objects at a revision, or now, up to `latest`.
    async fn versions(&self, revision: Option<u64>, latest: u64) -> Result<Versions, Unreadable> {
        let mut versions = Versions::default();
        self.pages(Part::Metadata, revision, |object| {
            let (_, Entry { uid, version }) = identity(object)?;
            if version <= latest {
                versions.note(&uid, version);
            }
            Ok(())
        })
        .await?;
        Ok(versions)
    }

    /// Hands on the objects at a revision, or now; returns the revision.
    async fn pages(
        &self,
        part: Part,
        revision: Option<u64>,
        mut take: impl FnMut(&RawValue) -> Result<(), Unreadable> + Send,
    ) -> Result<u64, Unreadable> {
        let mut page = first(revision.map(|revision| revision.to_string()).as_deref());
        loop {
            let answer = self.ask(part, self.list.namespace.as_deref(), &page).await?;
            let answered = revision_of(&answer, revision)?;
            answer.objects().try_for_each(&mut take)?;
            match answer.next() {
                Some(token) => page = next(token),
                None => return Ok(answered),
            }
        }
    }

    /// Makes a request, and again where that may help.
    async fn ask(&self, part: Part, namespace: Option<&str>, params: &ListParams) -> Result<RawPage, Unreadable> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut tried = 1;
        loop {
            let request = Request::new(path(&self.list.resource, namespace));
            let request = match part {
                Part::Metadata => request.list_metadata(params),
                Part::Whole => request.list(params),
            };
            match self.list.ask(once(request)).await {
                Ok(page) => return Ok(page),
                Err(error) if tried < TRIES && may_pass(&error) => {
                    tried += 1;
                    let asked = error.retry_after().unwrap_or_default().min(RETRY_LIMIT);
                    tokio::time::sleep(backoff.next_wait().max(asked)).await;
                }
                Err(error) => return Err(unreadable(error)),
            }
        }
    }
}

#[async_trait::async_trait]
impl History for Requests<'_> {
    async fn list_at(&self, revision: Option<u64>) -> Result<Snapshot, Unreadable> {
        let mut entries = HashMap::new();
        let revision = self
            .pages(Part::Metadata, revision, |object| {
                let (place, entry) = identity(object)?;
                entries.insert(place, entry);
                Ok(())
            })
            .await?;
        Ok(Snapshot { revision, entries })
    }

    async fn get_at(&self, place: &Place, revision: u64) -> Result<Option<Version>, Unreadable> {
        // In its own namespace's path: there the API server reads one key of etcd, else it reads all and compares names.
        let answer = self.ask(Part::Whole, place.namespace.as_deref(), &named(&place.name, revision)).await?;
        revision_of(&answer, Some(revision))?;
        let mut objects = answer.into_objects();
        let Some(body) = objects.pop() else { return Ok(None) };
        let (answered, entry) = identity(&body)?;
        if answered != *place || !objects.is_empty() {
            return Err(Unreadable::Unsupported("the server doesn't heed field selectors"));
        }
        let (created, written) = times(&body);
        Ok(Some(Version { entry, created, written, body }))
    }

    async fn reaches(&self, revision: u64) -> Result<bool, Unreadable> {
        // By a name, whether there is such an object or not: that is read from etcd, as what is walked is. A list may come from
        // the API server's memory, which goes further back than an etcd that was compacted meanwhile.
        let any_namespace = self.list.resource.namespaced.then_some("default");
        let namespace = self.list.namespace.as_deref().or(any_namespace);
        match self.ask(Part::Metadata, namespace, &named("any", revision)).await {
            Ok(_) => Ok(true),
            Err(Unreadable::Forgotten) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns what asks for the object of one name, as it was.
fn named(name: &str, revision: u64) -> ListParams {
    ListParams { limit: None, field_selector: Some(selector(name)), ..first(Some(&revision.to_string())) }
}

/// Returns the field selector for one name. Names of RBAC's kinds may hold any character but `/` and `%`; apimachinery's
/// `fields.EscapeValue` has these three.
fn selector(name: &str) -> String {
    let mut selector = "metadata.name=".to_owned();
    for character in name.chars() {
        if matches!(character, '\\' | ',' | '=') {
            selector.push('\\');
        }
        selector.push(character);
    }
    selector
}

/// Returns the revision of a list, if it is the one that was asked for.
fn revision_of(page: &RawPage, asked: Option<u64>) -> Result<u64, Unreadable> {
    let revision = page.version().parse();
    match (revision, asked) {
        (Ok(revision), None) => Ok(revision),
        (Ok(revision), Some(asked)) if revision == asked => Ok(revision),
        (Ok(_), Some(_)) => Err(Unreadable::Unsupported("the server answers with another revision")),
        (Err(_), _) => Err(Unreadable::Unsupported("positions are no integers")),
    }
}

/// What of an object's metadata tells where it stands, and which version of which object it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    namespace: Option<Box<str>>,
    name: Box<str>,
    uid: Box<str>,
    resource_version: Box<str>,
}

/// What of it tells when it was written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    managed_fields: Vec<Managed>,
}

#[derive(Deserialize)]
struct Managed {
    time: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Object<M> {
    metadata: M,
}

fn identity(object: &RawValue) -> Result<(Place, Entry), Unreadable> {
    let unnamed = Unreadable::Unsupported("objects lack name, uid or resourceVersion");
    let Ok(Object::<Metadata> { metadata }) = serde_json::from_str(object.get()) else { return Err(unnamed) };
    let Ok(version) = metadata.resource_version.parse() else { return Err(unnamed) };
    Ok((Place { namespace: metadata.namespace, name: metadata.name }, Entry { uid: metadata.uid, version }))
}

/// Returns when an object was created and when it was written last, as far as it tells.
fn times(object: &RawValue) -> (Option<Timestamp>, Option<Timestamp>) {
    let Ok(Object::<Times> { metadata }) = serde_json::from_str(object.get()) else { return (None, None) };
    (metadata.creation_timestamp, metadata.managed_fields.iter().filter_map(|managed| managed.time).max())
}

/// Returns whether the same request may succeed a moment later.
fn may_pass(error: &ApiError) -> bool {
    match error {
        ApiError::Request { source: kube::Error::Api(status), .. } => status.code == 429 || status.code > 501,
        ApiError::Request { source: kube::Error::SerdeError(_) | kube::Error::BuildRequest(_), .. } => false,
        ApiError::Request { .. } => true,
        _ => false,
    }
}

/// Tells a server that doesn't read the past from one that fails.
fn unreadable(error: ApiError) -> Unreadable {
    match error {
        ApiError::Expired => Unreadable::Forgotten,
        ApiError::Request { source: kube::Error::SerdeError(_), .. } => {
            Unreadable::Unsupported("lists are of another form")
        }
        // A field selector that isn't known, a parameter that isn't, or both together.
        ApiError::Request { source: kube::Error::Api(status), .. } if matches!(status.code, 400 | 405 | 422 | 501) => {
            Unreadable::Unsupported("the server doesn't read the past")
        }
        error => Unreadable::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_tells_when_it_was_created_and_written_last() {
        let times = |json: &str| super::times(&RawValue::from_string(json.into()).unwrap());
        let fields = r#"[{"time": "2026-11-27T08:00:07Z"}, {"time": "2026-11-27T08:00:05Z"}, {"manager": "old"}]"#;
        let both = times(&format!(
            r#"{{"metadata": {{"creationTimestamp": "2026-11-27T08:00:00Z", "managedFields": {fields}}}}}"#
        ));
        assert_eq!(both, ("2026-11-27T08:00:00Z".parse().ok(), "2026-11-27T08:00:07Z".parse().ok()));
        assert_eq!(times(r#"{"metadata": {"creationTimestamp": null}}"#), (None, None));
    }

    #[test]
    fn a_name_in_a_selector_is_only_a_name() {
        assert_eq!(selector("system:node"), "metadata.name=system:node");
        assert_eq!(selector(r"a,b=c\d"), r"metadata.name=a\,b\=c\\d");
    }
}
