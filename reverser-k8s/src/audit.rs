//! The API server's audit events: who did what, as the server itself recorded it.
//!
//! Source: `audit.k8s.io/v1`, <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>. Only what tells who
//! changed which object is read.

mod log;
mod replay;

use jiff::Timestamp;
use reverser_core::Actor;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

pub use self::{
    log::AuditLog,
    replay::{Replay, ReplayError, Skipped},
};

/// One audit event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditEvent {
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) stage: String,
    #[serde(default, rename = "requestURI")]
    pub(crate) request_uri: String,
    #[serde(default)]
    pub(crate) verb: String,
    #[serde(default)]
    pub(crate) user: User,
    pub(crate) impersonated_user: Option<User>,
    pub(crate) object_ref: Option<AuditRef>,
    pub(crate) response_status: Option<ResponseStatus>,
    /// As it stands in the log: most events are no accepted writes, and nobody reads their objects.
    pub(crate) request_object: Option<Box<RawValue>>,
    pub(crate) response_object: Option<Box<RawValue>>,
    pub(crate) request_received_timestamp: Option<Timestamp>,
    pub(crate) stage_timestamp: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct User {
    #[serde(default)]
    pub(crate) username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditRef {
    #[serde(default)]
    pub(crate) resource: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) uid: Option<String>,
    #[serde(default)]
    pub(crate) api_group: String,
    #[serde(default)]
    pub(crate) api_version: String,
    #[serde(default)]
    pub(crate) subresource: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ResponseStatus {
    #[serde(default)]
    pub(crate) code: u16,
}

impl AuditRef {
    /// Returns whether it is a review, which is answered and not stored.
    fn is_question(&self) -> bool {
        matches!(self.api_group.as_str(), "authentication.k8s.io" | "authorization.k8s.io")
    }
}

impl AuditEvent {
    /// Returns whether this is the last word on a write that was carried out: not a read, a refusal or a dry run.
    fn is_accepted_write(&self) -> bool {
        let is_write = matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
        let succeeded = self.response_status.as_ref().is_some_and(|status| (200..300).contains(&status.code));
        is_write && succeeded && self.stage == "ResponseComplete" && !self.is_dry_run()
    }

    fn is_dry_run(&self) -> bool {
        let query = self.request_uri.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|pair| pair.starts_with("dryRun=") && pair != "dryRun=")
            || self.verb.starts_with("delete") && self.request_object.as_deref().is_some_and(asks_for_dry_run)
    }

    /// Returns whether the object came into being by this: also an update or a server-side apply can create one.
    fn is_creation(&self) -> bool {
        self.verb == "create" || self.response_status.as_ref().is_some_and(|status| status.code == 201)
    }

    /// Returns whether the answer proves that this request changed the object: a manager's fields were touched since it was
    /// received. The server notes that in whole seconds; a change that only removes something leaves no such note.
    fn has_touched(&self, answer: &Answer) -> bool {
        let Some(received) = self.request_received_timestamp else { return false };
        let mut times = answer.metadata.managed_fields.iter().flatten().filter_map(|manager| manager.time);
        times.any(|touched| touched.as_second() >= received.as_second())
    }

    /// Returns who it was: the impersonated user where there is one, as the API server treated the request.
    fn actor(&self) -> Actor {
        Actor::user(self.impersonated_user.as_ref().unwrap_or(&self.user).username.clone())
    }

    fn at(&self) -> Option<Timestamp> {
        self.stage_timestamp.or(self.request_received_timestamp)
    }
}

fn asks_for_dry_run(request: &RawValue) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct DeleteOptions {
        kind: String,
        dry_run: Vec<String>,
    }
    serde_json::from_str::<DeleteOptions>(request.get())
        .is_ok_and(|options| options.kind == "DeleteOptions" && !options.dry_run.is_empty())
}

/// What an answer says of which object it is about.
#[derive(Clone, Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    metadata: AnswerMeta,
    /// Of a Status; a custom resource may have anything there, as in `items`.
    #[serde(default, deserialize_with = "if_such")]
    details: Option<Details>,
    /// Of a list.
    #[serde(default, deserialize_with = "if_such")]
    items: Option<Vec<Self>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerMeta {
    uid: Option<String>,
    resource_version: Option<String>,
    managed_fields: Option<Vec<Manager>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Manager {
    time: Option<Timestamp>,
}

#[derive(Clone, Debug, Deserialize)]
struct Details {
    uid: Option<String>,
}

/// Reads what is of that shape, and takes anything else for nothing.
fn if_such<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(text.get()).ok())
}

impl Answer {
    fn uid(&self) -> Option<&str> {
        let uid = self.metadata.uid.as_deref().or_else(|| self.details.as_ref()?.uid.as_deref());
        uid.filter(|uid| !uid.is_empty())
    }

    fn version(&self) -> Option<u64> {
        self.metadata.resource_version.as_ref()?.parse().ok()
    }
}

/// Text of a field that is present and not empty.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}
