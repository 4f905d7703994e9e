//! What the API server makes of a manifest, asked for by dry run: defaulting, admission and validation as always, and
//! nothing is stored.
//!
//! Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>

use std::{fmt, time::Duration};

use async_trait::async_trait;
use kube::{Client, api::PostParams, core::Request};
use reverser_core::sanitize::{Defaults, DefaultsError};
use reverser_git::Backoff;
use serde_json::Value;

use crate::{
    api_error::ApiError,
    discover::Catalog,
    watch::{may, path, within},
};

/// How long one answer may take; admission webhooks have up to 30 s each.
const LIMIT: Duration = Duration::from_secs(60);

/// How often one question is asked when the server is overloaded or can't be reached.
const TRIES: usize = 4;

/// The field manager of the questions. Nothing is stored, so it shows in the audit log alone.
const MANAGER: &str = "reverser-dry-run";

/// Knows the defaults of a cluster, its admission webhooks' and its CRDs' among them, by asking its API server.
///
/// An object that is there is replaced by dry run, which takes the verb `update`; any other is created by dry run, which
/// takes `create`. A webhook that doesn't say whether it has side effects makes the server refuse every question.
///
/// ```no_run
/// use reverser_core::Sanitizer;
/// use reverser_k8s::{Catalog, DryRun};
///
/// # async fn example(object: serde_json::Value) -> Result<(), Box<dyn std::error::Error>> {
/// let client = kube::Client::try_default().await?;
/// let catalog = Catalog::read(&client).await?;
/// let authored = Sanitizer::minimal().minimize(object, &DryRun::new(client, catalog)).await?;
/// # Ok(()) }
/// ```
pub struct DryRun {
    client: Client,
    catalog: Catalog,
}

impl DryRun {
    /// Returns the defaults of the cluster that `client` talks to; `catalog` is what it serves. Objects of namespaced
    /// resources that name no namespace count as in the client's.
    pub fn new(client: Client, catalog: Catalog) -> Self {
        Self { client, catalog }
    }

    /// Returns what the cluster serves.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    async fn ask(&self, manifest: &Value) -> Result<Option<Value>, DryRunError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&manifest["apiVersion"]), text(&manifest["kind"]));
        let Some(resource) = self.catalog.of_kind(&api_version, &kind) else {
            return Err(DryRunError::NotServed { api_version, kind });
        };
        let name = manifest["metadata"]["name"].as_str().ok_or(DryRunError::Unnamed)?;
        let own = manifest["metadata"]["namespace"].as_str();
        let namespace = resource.namespaced.then(|| own.unwrap_or(self.client.default_namespace()));
        let requests = Request::new(path(resource, namespace));
        let params = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };

        let replace = || requests.replace(name, &params, manifest.to_string().into_bytes());
        let answer = self.send(replace).await;
        let (verb, answer) = match answer {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let unstored = without_version(manifest).to_string().into_bytes();
                ("create", self.send(|| requests.create(&params, unstored.clone())).await)
            }
            answer => ("update", answer),
        };
        let error = match answer {
            Ok(stored) => return Ok(Some(stored)),
            Err(error) => error,
        };
        match &error {
            kube::Error::Api(status) => match status.code {
                // 405: an aggregated API without the verb.
                400 | 405 | 422 => Ok(None),
                // By RBAC, or by an admission plugin, whose no is an answer.
                403 => Ok(may(&self.client, verb, resource, namespace).await.map(|()| None)?),
                404 if status.details.as_ref().is_some_and(|details| details.kind == "namespaces") => {
                    Err(DryRunError::NoNamespace { namespace: namespace.unwrap_or_default().to_owned() })
                }
                409 => Err(DryRunError::Changed),
                _ => Err(ApiError::of(error, verb, resource, namespace).into()),
            },
            _ => Err(ApiError::of(error, verb, resource, namespace).into()),
        }
    }

    /// Sends a question until it is answered: asking twice changes nothing.
    async fn send(
        &self,
        question: impl Fn() -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, kube::Error> {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        let mut left = TRIES;
        loop {
            left -= 1;
            let request = question().map_err(kube::Error::BuildRequest)?;
            // As text first: `Client::request` logs the whole text of an answer that it can't parse.
            let error = match within(LIMIT, self.client.request_text(request)).await {
                Ok(text) => return serde_json::from_str(&text).map_err(kube::Error::SerdeError),
                Err(error) => error,
            };
            if left == 0 || !may_pass(&error) {
                return Err(error);
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}

/// Returns whether the same question may be answered a moment later.
fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

/// A server takes neither from an object that is to be created.
fn without_version(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    if let Some(metadata) = manifest["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("uid");
    }
    manifest
}

#[async_trait]
impl Defaults for DryRun {
    async fn complete(&self, manifest: &Value) -> Result<Option<Value>, DefaultsError> {
        self.ask(manifest).await.map_err(|error| {
            let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
            let object = format!("{}/{}", text(&manifest["kind"]), text(&manifest["metadata"]["name"]));
            DefaultsError { object, source: error.into() }
        })
    }
}

impl fmt::Debug for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DryRun").finish_non_exhaustive()
    }
}

/// The API server could not be asked about an object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DryRunError {
    /// The request failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The cluster's object isn't the one that was given: it has another resourceVersion or uid (409).
    #[error("it was changed meanwhile (409): get it again")]
    Changed,
    /// The namespace isn't there, so nothing can be created in it, not even by dry run.
    #[error("the cluster has no namespace {namespace:?} to ask in: create it, or name another cluster")]
    NoNamespace {
        /// Its name.
        namespace: String,
    },
    /// The cluster serves no such kind.
    #[error("the API server serves no {kind} of {api_version}: is it the right cluster, and is the CRD installed?")]
    NotServed {
        /// As the object says.
        api_version: String,
        /// As the object says.
        kind: String,
    },
    /// The object has no name.
    #[error("it has no metadata.name")]
    Unnamed,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answered(code: u16) -> kube::Error {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code});
        kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        assert!([429, 500, 503, 504].into_iter().all(|code| may_pass(&answered(code))));
        assert!(![400, 401, 403, 404, 409, 422].into_iter().any(|code| may_pass(&answered(code))));
    }
}
