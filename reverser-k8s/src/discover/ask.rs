//! Asks an API server what it serves, again and again.

use http::{HeaderValue, Request, StatusCode, header};
use kube::{
    Client,
    client::Body,
    core::{Status, discovery::v2::APIGroupDiscoveryList},
};

use super::{Catalog, DiscoverError, LIMIT, Served};

/// What an API server is asked for in the aggregated form (KEP-3352).
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Knows what an API server served when it was asked last. It is asked with the tag of that answer (RFC 9110, section
/// 13.1.2), so that an unchanged one is a few bytes.
pub(crate) struct Discovery {
    client: Client,
    parts: [Part; 2],
}

struct Part {
    path: &'static str,
    tag: Option<HeaderValue>,
    served: Vec<Served>,
    stale: Vec<String>,
}

impl Discovery {
    pub(crate) fn new(client: Client) -> Self {
        let part = |path| Part { path, tag: None, served: vec![], stale: vec![] };
        Self { client, parts: [part("/api"), part("/apis")] }
    }

    /// Returns what is served when that has changed since it was asked last.
    pub(crate) async fn read(&mut self) -> Result<Option<Catalog>, DiscoverError> {
        let [core, groups] = &mut self.parts;
        let both = async { tokio::try_join!(core.ask(&self.client), groups.ask(&self.client)) };
        let answer = tokio::time::timeout(LIMIT, both).await;
        let changed = answer.map_err(|_elapsed| DiscoverError::TimeOut { limit: LIMIT })?;
        let (core, groups) = changed.map_err(DiscoverError::from_api)?;
        if !core && !groups {
            return Ok(None);
        }
        let parts = || self.parts.iter();
        let (served, stale) = (parts().flat_map(|part| &part.served), parts().flat_map(|part| &part.stale));
        Ok(Some(Catalog::of(served.cloned(), stale.cloned())))
    }
}

impl Part {
    /// Returns whether the answer differs from the last one.
    async fn ask(&mut self, client: &Client) -> Result<bool, kube::Error> {
        let mut request = Request::get(self.path).header(header::ACCEPT, ACCEPT);
        if let Some(tag) = &self.tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let request = request.body(Body::empty()).map_err(kube::Error::HttpError)?;
        let answer = client.send(request).await?;
        let (head, body) = answer.into_parts();
        if head.status == StatusCode::NOT_MODIFIED {
            return Ok(false);
        }
        let body = body.collect_bytes().await?;
        if !head.status.is_success() {
            let text = String::from_utf8_lossy(&body);
            let status = serde_json::from_slice(&body)
                .unwrap_or_else(|_other| Status::failure(text.trim(), "Unknown").with_code(head.status.as_u16()));
            return Err(kube::Error::Api(Box::new(status)));
        }
        let list: APIGroupDiscoveryList = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
        (self.served, self.stale) = Served::of(list);
        self.tag = head.headers.get(header::ETAG).cloned();
        Ok(true)
    }
}
