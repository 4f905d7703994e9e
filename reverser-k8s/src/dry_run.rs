//! What the API server makes of a manifest, asked for by dry run: defaulting, admission and validation as always, and
//! nothing is stored.
//!
//! Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>

use std::{fmt, time::Duration};

use async_trait::async_trait;
use kube::{Client, api::PostParams, core::Request};
use reverser_core::{
    Resource,
    sanitize::{Defaults, DefaultsError},
};
use reverser_git::Backoff;
use serde_json::{Map, Value};

use crate::{
    api_error::ApiError,
    discover::Catalog,
    request::{path, within},
    watch::may,
};

/// How long one answer may take; admission webhooks have up to 30 s each.
const LIMIT: Duration = Duration::from_secs(60);

/// How often one question is asked when the server is overloaded or can't be reached.
const TRIES: usize = 4;

/// The field manager of the questions. Nothing is stored, so it shows in the audit log alone.
const MANAGER: &str = "reverser-dry-run";

/// Knows the defaults of a cluster, its admission webhooks' and its CRDs' among them, by asking its API server.
///
/// A manifest is created by dry run, under a name that the server makes up; that takes the verb `create`. It isn't
/// sent as an update of the object that is there: that would take over from it what the manifest leaves out, such as a
/// Service's `ipFamilyPolicy` and nodePorts, and Pods, Jobs and claims can't be updated. The kinds whose name follows from
/// what is in them, such as CustomResourceDefinitions, are updated all the same, with the verb `update`.
///
/// The server refuses all questions when a webhook doesn't say that it has no side effects, and when a policy or a quota
/// forbids such an object.
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

    /// Returns what the server would store if it were given `manifest`, or why it refuses it.
    ///
    /// ```no_run
    /// use reverser_k8s::{Answer, DryRun};
    ///
    /// # async fn example(cluster: DryRun) -> Result<(), reverser_k8s::DryRunError> {
    /// let manifest = serde_json::json!({
    ///     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]},
    /// });
    /// match cluster.ask(&manifest).await? {
    ///     Answer::Refused(why) => assert!(why.contains("exceeded quota")),
    ///     Answer::Stored(service) => assert_eq!(service["spec"]["ports"][0]["protocol"], "TCP"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// It could not be asked: it can't be reached, doesn't serve the kind, or the user may not.
    pub async fn ask(&self, manifest: &Value) -> Result<Answer, DryRunError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&manifest["apiVersion"]), text(&manifest["kind"]));
        let Some(resource) = self.catalog.of_kind(&api_version, &kind) else {
            return Err(DryRunError::NotServed { api_version, kind });
        };
        let own = manifest["metadata"]["namespace"].as_str();
        let namespace = resource.namespaced.then(|| own.unwrap_or(self.client.default_namespace()));
        let requests = Request::new(path(resource, namespace));
        let params = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };

        let is_named_by_content = NAMED_BY_CONTENT.contains(&(resource.group.as_str(), resource.kind.as_str()));
        let create = async || {
            let question = unstored(manifest, is_named_by_content).to_string();
            ("create", self.send(|| requests.create(&params, question.clone().into_bytes())).await)
        };
        let (verb, answer) = if is_named_by_content {
            let name = manifest["metadata"]["name"].as_str().ok_or(DryRunError::Unnamed)?;
            match self.send(|| requests.replace(name, &params, manifest.to_string().into_bytes())).await {
                Err(kube::Error::Api(status)) if status.code == 404 => create().await,
                answer => ("update", answer),
            }
        } else {
            create().await
        };
        match answer {
            Ok(stored) => Ok(Answer::Stored(restored(stored, manifest))),
            Err(error) => self.unanswered(error, verb, resource, namespace).await,
        }
    }

    /// Tells a refusal from a failure.
    async fn unanswered(
        &self,
        error: kube::Error,
        verb: &'static str,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Answer, DryRunError> {
        let kube::Error::Api(status) = &error else {
            return Err(ApiError::of(error, verb, resource, namespace).into());
        };
        match status.code {
            // 405: an aggregated API without the verb.
            400 | 405 | 422 => Ok(Answer::Refused(status.message.clone())),
            403 => {
                // By RBAC, or by an admission plugin, whose no is an answer.
                may(&self.client, verb, resource, namespace).await?;
                Ok(Answer::Refused(status.message.clone()))
            }
            404 if status.details.as_ref().is_some_and(|details| details.kind == "namespaces") => {
                Err(DryRunError::NoNamespace { namespace: namespace.unwrap_or_default().to_owned() })
            }
            409 => Err(DryRunError::Changed),
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

/// What the API server said to a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It refuses it; this is why, in its words.
    Refused(String),
    /// It would store this.
    Stored(Value),
}

/// Group and kind of objects whose name is validated against their spec.
const NAMED_BY_CONTENT: [(&str, &str); 3] = [
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("certificates.k8s.io", "ClusterTrustBundle"),
];

/// What a Service asks for is taken: by itself.
const ALLOCATED: [&str; 3] = ["clusterIP", "clusterIPs", "healthCheckNodePort"];

/// Returns the manifest as it can be created beside the object that it is about.
fn unstored(manifest: &Value, is_named_by_content: bool) -> Value {
    let mut question = manifest.clone();
    if let Some(metadata) = question.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        metadata.remove("uid");
        if !is_named_by_content {
            metadata.remove("name");
            metadata.insert("generateName".into(), "reverser-".into());
        }
    }
    if is_service(manifest)
        && let Some(spec) = question.get_mut("spec").and_then(Value::as_object_mut)
    {
        if spec.get("clusterIP").is_none_or(|address| address != "None") {
            ALLOCATED.iter().for_each(|field| drop(spec.remove(*field)));
        }
        for port in ports(spec) {
            port.remove("nodePort");
        }
    }
    question
}

/// Returns the answer as if the object had been created under its name, with what it asks for.
fn restored(mut stored: Value, manifest: &Value) -> Value {
    if let Some(metadata) = stored.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["generateName", "name"] {
            match manifest["metadata"].get(field) {
                Some(own) => metadata.insert(field.into(), own.clone()),
                None => metadata.remove(field),
            };
        }
    }
    if is_service(manifest)
        && let Some(spec) = stored.get_mut("spec").and_then(Value::as_object_mut)
    {
        let asked = &manifest["spec"];
        for (field, value) in ALLOCATED.iter().filter_map(|field| Some((field, asked.get(field)?))) {
            spec.insert((*field).into(), value.clone());
        }
        for (index, port) in ports(spec).enumerate() {
            if let Some(asked) = asked["ports"][index].get("nodePort") {
                port.insert("nodePort".into(), asked.clone());
            }
        }
    }
    stored
}

fn is_service(manifest: &Value) -> bool {
    manifest["apiVersion"] == "v1" && manifest["kind"] == "Service"
}

fn ports(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    ports.into_iter().flatten().filter_map(Value::as_object_mut)
}

#[async_trait]
impl Defaults for DryRun {
    async fn complete(&self, manifest: &Value) -> Result<Option<Value>, DefaultsError> {
        match self.ask(manifest).await {
            Ok(Answer::Refused(_)) => Ok(None),
            Ok(Answer::Stored(stored)) => Ok(Some(stored)),
            Err(error) => Err(error.about(manifest)),
        }
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
    /// The cluster's object has another resourceVersion or uid than the one that was given (409).
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
    /// The object has no name, and its kind needs a certain one.
    #[error("it has no metadata.name")]
    Unnamed,
}

impl DryRunError {
    /// Returns the error as that of [`Defaults`].
    pub fn about(self, manifest: &Value) -> DefaultsError {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let object = format!("{}/{}", text(&manifest["kind"]), text(&manifest["metadata"]["name"]));
        DefaultsError { object, source: self.into() }
    }
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
    fn a_service_is_asked_about_without_what_is_taken_and_answered_with_it() {
        let asked = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "uid": "u", "resourceVersion": "7"},
            "spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 80, "nodePort": 30080}, {"port": 81}]},
        });
        let question = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"generateName": "reverser-"},
            "spec": {"ports": [{"port": 80}, {"port": 81}]},
        });
        assert_eq!(unstored(&asked, false), question);
        let mut stored = question;
        stored["metadata"]["name"] = json!("reverser-x1y2z");
        stored["spec"] = json!({"clusterIP": "10.0.0.7", "ports": [{"port": 80, "nodePort": 30001}, {"port": 81, "nodePort": 30002}]});
        let restored = restored(stored, &asked);
        assert_eq!(restored["metadata"], json!({"name": "a"}));
        let ports = json!([{"port": 80, "nodePort": 30080}, {"port": 81, "nodePort": 30002}]);
        assert_eq!(restored["spec"], json!({"clusterIP": "10.0.0.9", "ports": ports}));
        // What is behind an aggregated API may answer anything.
        assert_eq!(super::restored(json!("text"), &asked), "text");
    }

    #[test]
    fn a_headless_service_is_asked_about_as_one() {
        let headless =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"clusterIP": "None"}});
        assert_eq!(unstored(&headless, false)["spec"], headless["spec"]);
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        assert!([429, 500, 503, 504].into_iter().all(|code| may_pass(&answered(code))));
        assert!(![400, 401, 403, 404, 409, 422].into_iter().any(|code| may_pass(&answered(code))));
    }
}
