//! A page of a list as an API server answers it.

use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::request::{Built, send, within};

/// How long a page may take. One of 500 large objects takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// A page whose objects aren't read. The list types of all resources have this in common.
#[derive(Deserialize)]
pub(crate) struct RawPage {
    metadata: Metadata,
    /// Some aggregated servers write `items: null` for none.
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
    r#continue: Option<String>,
}

impl RawPage {
    /// Asks for a page.
    pub(crate) async fn ask(client: &Client, request: Built) -> Result<Self, kube::Error> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        // By hand: `Client::request` logs the whole text of an answer that it can't parse.
        let read = async {
            let text = send(client, request).await?.into_body().collect_bytes().await?;
            serde_json::from_slice(&text).map_err(kube::Error::SerdeError)
        };
        within(LIMIT, read).await
    }

    /// Returns the version of the whole list.
    pub(crate) fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// Returns what asks for the page after this one, if there is one.
    pub(crate) fn next(&self) -> Option<&str> {
        self.metadata.r#continue.as_deref().filter(|token| !token.is_empty())
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &RawValue> {
        self.items.iter().flatten().map(|object| &**object)
    }

    pub(crate) fn into_objects(self) -> Vec<Box<RawValue>> {
        self.items.unwrap_or_default()
    }
}
