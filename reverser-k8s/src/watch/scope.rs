//! The requests that a watch makes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use kube::{
    api::{ListParams, WatchParams},
    core::Status,
};
use reverser_core::{Fingerprinter, Operation};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    machine::{End, Input},
    transport::{Break, lines},
};
use crate::{
    api_error::ApiError,
    list::{self, List, Page, RawPage},
    request::{once, within},
};

/// How long a server may take to begin a watch.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// How long it may take to say how far it is.
const CURRENT_LIMIT: Duration = Duration::from_secs(10);

/// A resource in a namespace, or everywhere, and the requests that it takes. Who watches decides when to ask again.
pub(super) struct Scope {
    pub(super) list: List,
    /// How long a stream may be without a byte.
    pub(super) idle_limit: Duration,
}

pub(super) type Events = BoxStream<'static, Result<Bytes, Break>>;

impl Scope {
    /// Returns a page of a list, the first one without `next`.
    pub(super) async fn page(&self, next: Option<&str>) -> Result<Page, ApiError> {
        let params = next.map_or_else(|| list::first(None), list::next);
        self.list.page(once(self.list.request().list(&params))).await
    }

    /// Returns the version that the server is at, as a read that is consistent with all writes before it says.
    pub(super) async fn current(&self) -> Result<String, ApiError> {
        let one = ListParams { limit: Some(1), ..ListParams::default() };
        let page = RawPage::ask(&self.list.client, once(self.list.request().list_metadata(&one)));
        let page = within(CURRENT_LIMIT, page).await.map_err(|error| self.list.error(error, "list"))?;
        Ok(page.version().to_owned())
    }

    /// Opens a stream that the server is to end after `lifetime`: of what came after `from`, or of everything there is and
    /// what comes after that.
    pub(super) async fn open(&self, from: Option<&str>, lifetime: Duration) -> Result<Events, ApiError> {
        let timeout = u32::try_from(lifetime.as_secs()).ok();
        let params =
            WatchParams { bookmarks: true, send_initial_events: from.is_none(), timeout, ..WatchParams::default() };
        // Without a version everything there is is at least as new as this request.
        let request = once(self.list.request().watch(&params, from.unwrap_or_default()));
        let request = request.map_err(|error| self.error(kube::Error::BuildRequest(error)))?;
        let lines = lines(&self.list.client, request, self.idle_limit);
        within(CONNECT_LIMIT, lines).await.map_err(|error| self.error(error))
    }

    /// Waits for the next event of a stream. An object comes with what `fingerprinter` makes of it.
    pub(super) async fn read_event(&self, stream: &mut Events, fingerprinter: Option<&Fingerprinter>) -> Input {
        let failed = |error| Input::Ended(End::Failed(self.error(error)));
        let line = match stream.next().await {
            Some(Ok(line)) => line,
            Some(Err(Break::Silence)) => return Input::Ended(End::Silent),
            Some(Err(Break::Error(error))) => return failed(error),
            None => return Input::Ended(End::Closed),
        };
        self.read_line(&line, fingerprinter).unwrap_or_else(|error| failed(kube::Error::SerdeError(error)))
    }

    fn read_line(&self, line: &[u8], fingerprinter: Option<&Fingerprinter>) -> Result<Input, serde_json::Error> {
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
                return Ok(Input::Ended(End::Failed(self.error(kube::Error::Api(status.boxed())))));
            }
        };
        // Of the text: what is read of it leaves out fields.
        let fingerprint = fingerprinter.and_then(|fingerprinter| fingerprinter.of(event.object.get()).ok());
        Ok(Input::Object(operation, self.list.parse(event.object)?, fingerprint.map(Arc::new)))
    }

    fn error(&self, error: kube::Error) -> ApiError {
        self.list.error(error, "watch")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::configmaps;

    #[tokio::test]
    async fn an_event_is_read_whatever_comes_first_in_it() {
        let never = tower::service_fn(|_request| async { Err::<http::Response<kube::client::Body>, _>("unasked") });
        let list = List::new(kube::Client::new(never, "default"), configmaps(), None);
        let scope = Scope { list, idle_limit: Duration::MAX };
        for line in [
            r#"{"type":"MODIFIED","object":{"metadata":{"name":"a"},"data":{"type":"DELETED"}}}"#,
            r#"{"object":{"metadata":{"name":"a"},"data":{"type":"DELETED"}},"type":"MODIFIED"}"#,
        ] {
            let read = scope.read_line(line.as_bytes(), None);
            let Ok(Input::Object(Operation::Update, object, None)) = read else { panic!("{line} is an update") };
            assert_eq!(object, json!({"metadata": {"name": "a"}, "data": {"type": "DELETED"}}));
        }
        let line = r#"{"object":{"metadata":{"annotations":{"k8s.io/initial-events-end":"true"},"resourceVersion":"7"}},"type":"BOOKMARK"}"#;
        assert!(matches!(
            scope.read_line(line.as_bytes(), None),
            Ok(Input::Bookmark { version, ends_list: true }) if version == "7"
        ));
    }
}
