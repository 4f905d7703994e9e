//! The requests that a restore makes, each tried again while what stands in its way may pass.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use kube::{
    Client,
    api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::{Request, Status, request::Error as RequestError},
};
use reverser_core::{ObjectRef, Resource};
use reverser_git::Backoff;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    discover::{Catalog, DiscoverError},
    request::{PAGE, path, within},
    restore::failure::is_ill_typed,
};

/// How long one answer may take; admission webhooks have up to 30 s each.
const LIMIT: Duration = Duration::from_secs(60);

/// How long one request is tried again: a webhook whose Pods are starting, a service account that isn't made yet, a server that
/// has too much to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose changes they are, in managedFields and for conflicts.
pub(super) const MANAGER: &str = "reverser";

/// What a request is to do in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The server says what it would do.
    None,
    Real,
}

pub(super) struct Requests {
    pub(super) client: Client,
    /// Whether the server couldn't be reached for so long that nobody waits for it any more: each of thousands of objects would.
    is_away: AtomicBool,
}

impl Requests {
    pub(super) fn new(client: Client) -> Self {
        Self { client, is_away: AtomicBool::new(false) }
    }

    /// Returns what the server serves, asked until it answers.
    pub(super) async fn discover(&self) -> Result<Catalog, DiscoverError> {
        let mut backoff = backoff();
        let since = Instant::now();
        loop {
            match Catalog::read(&self.client).await {
                Err(DiscoverError::TimeOut { .. } | DiscoverError::Unreachable { .. })
                    if since.elapsed() < PATIENCE =>
                {
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                answer => return answer,
            }
        }
    }

    /// Returns the object as it is; `None` when there is none.
    pub(super) async fn get(&self, resource: &Resource, object: &ObjectRef) -> Result<Option<Value>, kube::Error> {
        let (requests, name) = (requests(resource, object.namespace.as_deref()), in_url(&object.name));
        match self.send(|| requests.get(&name, &GetParams::default())).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns what is there of a resource, as far as `is_wanted`.
    pub(super) async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        mut is_wanted: impl FnMut(&Value) -> bool,
    ) -> Result<Vec<Value>, kube::Error> {
        let requests = requests(resource, namespace);
        let mut page = ListParams { limit: Some(PAGE), ..ListParams::default() };
        let mut found = Vec::new();
        loop {
            let mut answer = self.send(|| requests.list(&page)).await?;
            if let Some(items) = answer["items"].as_array_mut() {
                found.extend(items.drain(..).filter(|item| is_wanted(item)).map(|item| named(item, resource)));
            }
            match answer["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token.to_owned()),
                None => return Ok(found),
            }
        }
    }

    /// Returns what is there of a resource, by namespace and name.
    pub(super) async fn list_by_name(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        is_wanted: impl FnMut(&Value) -> bool,
    ) -> Result<HashMap<String, Value>, kube::Error> {
        let found = self.list(resource, namespace, is_wanted).await?;
        Ok(found
            .into_iter()
            .filter_map(|object| Some((object["metadata"]["name"].as_str()?.to_owned(), object)))
            .collect())
    }

    /// Applies a manifest by a server-side apply; returns what it has become.
    pub(super) async fn apply(
        &self,
        object: &ObjectRef,
        manifest: &Value,
        force: bool,
        effect: Effect,
    ) -> Result<Value, kube::Error> {
        let (requests, name) = (requests(&object.resource, object.namespace.as_deref()), in_url(&object.name));
        let mut params = PatchParams::apply(MANAGER);
        params.force = force;
        params.dry_run = effect == Effect::None;
        let body = safe_json(manifest);
        self.send(|| {
            let mut request = requests.patch(&name, &params, &Patch::Apply(&Value::Null))?;
            *request.body_mut() = body.clone();
            Ok(request)
        })
        .await
    }

    /// Changes an object by a merge patch; returns what it has become.
    pub(super) async fn merge(&self, object: &ObjectRef, patch: &Value, effect: Effect) -> Result<Value, kube::Error> {
        let (requests, name) = (requests(&object.resource, object.namespace.as_deref()), in_url(&object.name));
        let params = PatchParams {
            dry_run: effect == Effect::None,
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.send(|| requests.patch(&name, &params, &Patch::Merge(patch))).await
    }

    /// Deletes this very object, with what its controllers have made of it; one that is gone already is as good.
    pub(super) async fn delete(&self, object: &ObjectRef) -> Result<(), kube::Error> {
        let (requests, name) = (requests(&object.resource, object.namespace.as_deref()), in_url(&object.name));
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: object.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.send(|| requests.delete(&name, &params)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Sends a request until it is answered, or until it has been refused for too long. All of these may be sent twice.
    async fn send(
        &self,
        request: impl Fn() -> Result<http::Request<Vec<u8>>, RequestError>,
    ) -> Result<Value, kube::Error> {
        let mut backoff = backoff();
        let since = Instant::now();
        loop {
            let request = request().map_err(kube::Error::BuildRequest)?;
            // As text first: `Client::request` logs the whole text of an answer that it can't parse.
            let error = match within(LIMIT, self.client.request_text(request)).await {
                Ok(text) => {
                    self.is_away.store(false, Ordering::Relaxed);
                    return serde_json::from_str(&text).map_err(kube::Error::SerdeError);
                }
                Err(error) => error,
            };
            let is_answer = matches!(error, kube::Error::Api(_));
            let is_patient = since.elapsed() < PATIENCE && (is_answer || !self.is_away.load(Ordering::Relaxed));
            let Some(least) = may_pass(&error).filter(|_| is_patient) else {
                self.is_away.store(!is_answer, Ordering::Relaxed);
                return Err(error);
            };
            tokio::time::sleep(backoff.next_wait().max(least)).await;
        }
    }
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(5))
}

/// Returns how long to wait at least before the same request may be answered otherwise; `None`: it won't be.
fn may_pass(error: &kube::Error) -> Option<Duration> {
    match error {
        kube::Error::Api(status) if is_ill_typed(status) => None,
        kube::Error::Api(status) if status.code == 429 || status.code >= 500 || waits_for_another(status) => {
            let asked = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            Some(Duration::from_secs(asked.into()).min(Duration::from_secs(10)))
        }
        kube::Error::HyperError(_) | kube::Error::Service(_) => Some(Duration::ZERO),
        _ => None,
    }
}

/// Whether something is missing that controllers make, or that the server has just been told of: the service account of a new
/// namespace, a quota that isn't counted, the handler of a kind whose definition is established.
fn waits_for_another(status: &Status) -> bool {
    let says = |words: &[&str]| words.iter().all(|words| status.message.contains(words));
    match status.code {
        403 => says(&["serviceaccount ", "not found"]) || says(&["status unknown for quota"]),
        // Not an answer of the API's own, which names what it hasn't found.
        404 => says(&["404 page not found"]) || says(&["could not find the requested resource"]),
        _ => false,
    }
}

fn requests(resource: &Resource, namespace: Option<&str>) -> Request {
    Request::new(path(resource, namespace))
}

/// Returns a name as a part of a URL: those of roles may have blanks and any other character (RFC 3986, section 2.1).
fn in_url(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Items of lists come without their kind.
fn named(mut object: Value, resource: &Resource) -> Value {
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.as_str().into();
    object
}

/// Returns JSON that is also YAML for the API server, which takes an apply for that: characters that YAML doesn't allow, or folds as
/// line ends, are escaped. <https://yaml.org/spec/1.1/#id868524>
fn safe_json(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let is_safe =
        |c: char| !matches!(c, '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    if text.chars().all(is_safe) {
        return text.into_bytes();
    }
    let mut safe = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if is_safe(c) {
            safe.push(c);
        } else {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    safe.into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "").with_code(code).boxed())
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for (code, message) in [
            (429, "too many requests"),
            (500, "failed calling webhook"),
            (503, ""),
            (
                403,
                r#"pods "a" is forbidden: error looking up service account n/default: serviceaccount "default" not found"#,
            ),
            (403, r#"pods "a" is forbidden: status unknown for quota: q"#),
            (404, "404 page not found"),
        ] {
            assert!(may_pass(&refusal(code, message)).is_some(), "{code} {message}");
        }
        for (code, message) in [
            (403, r#"pods "a" is forbidden: User "u" cannot patch resource"#),
            (404, r#"namespaces "n" not found"#),
            (409, "conflict"),
            (422, "invalid"),
            (500, "failed to create typed patch object (n/a; /v1, Kind=ConfigMap): .data.a: expected string"),
        ] {
            assert!(may_pass(&refusal(code, message)).is_none(), "{code} {message}");
        }
    }

    #[test]
    fn a_server_says_how_long_to_wait_within_reason() {
        let answer = |seconds: u32| {
            let status = json!({"code": 429, "details": {"retryAfterSeconds": seconds}});
            may_pass(&kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())))
        };
        assert_eq!(answer(2), Some(Duration::from_secs(2)));
        assert_eq!(answer(3600), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_name_with_blanks_is_one_part_of_a_url() {
        assert_eq!(in_url("system:node-a.b"), "system:node-a.b");
        assert_eq!(in_url(" a?b#é"), "%20a%3Fb%23%C3%A9");
    }

    #[test]
    fn what_yaml_does_not_allow_is_escaped() {
        let value = json!({"a": "\u{7f}\u{85}\u{9b}\u{a0}\u{2028}\u{feff}\u{ffff}é😀"});
        let safe = String::from_utf8(safe_json(&value)).unwrap();
        assert_eq!(safe, r#"{"a":"\u007f\u0085\u009b\u00a0\u2028\ufeff\uffffé😀"}"#);
        assert_eq!(serde_json::from_str::<Value>(&safe).unwrap(), value);
    }
}
