//! The API server's audit events: who did what, as the server itself recorded it.
//!
//! ```text
//! POST /audit ──► webhook ─┐
//! a log file  ──► log ─────┴─► AuditEvent ─► fact ─► facts ─► Audit: who did it
//! finished logs ──► replay ──► AuditEvent ─► changes, with authors and dates
//! ```
//!
//! Source: `audit.k8s.io/v1`, <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>. Only what tells who
//! changed which object is read.

mod actors;
mod answer;
mod bounded;
mod fact;
mod facts;
mod log;
mod replay;
mod webhook;

use std::collections::BTreeMap;

use jiff::Timestamp;
use reverser_core::{Actor, RequestInfo};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

pub use self::{
    actors::{Audit, Kept},
    log::AuditLog,
    replay::{Replay, ReplayError, Skipped},
    webhook::{BodyError, Received},
};

/// One audit event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditEvent {
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(rename = "auditID")]
    pub(crate) audit_id: Option<String>,
    #[serde(default)]
    pub(crate) stage: String,
    #[serde(default, rename = "requestURI")]
    pub(crate) request_uri: String,
    #[serde(default)]
    pub(crate) verb: String,
    #[serde(default)]
    pub(crate) user: User,
    pub(crate) impersonated_user: Option<User>,
    pub(crate) user_agent: Option<String>,
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
    pub(crate) groups: Option<Vec<String>>,
    pub(crate) extra: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditRef {
    #[serde(default)]
    pub(crate) resource: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) uid: Option<String>,
    /// That which the request named, not the one in its answer.
    pub(crate) resource_version: Option<String>,
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

    /// Returns who it was: the impersonated user where there is one, as the API server treated the request.
    fn actor(&self) -> Actor {
        let User { username, groups, extra } = self.impersonated_user.as_ref().unwrap_or(&self.user).clone();
        Actor { name: username, groups: groups.unwrap_or_default(), extra: extra.unwrap_or_default() }
    }

    /// Returns the field manager as which the server noted it: as asked for, else the program's name. `None`: the event
    /// doesn't tell, or spells it in a way of its own.
    fn manager(&self) -> Option<&str> {
        let query = self.request_uri.split_once('?').map_or("", |(_, query)| query);
        let asked =
            query.split('&').find_map(|pair| pair.strip_prefix("fieldManager=")).filter(|name| !name.is_empty());
        match asked {
            Some(name) => Some(name).filter(|name| !name.contains(['%', '+'])),
            None => match self.user_agent.as_deref().unwrap_or_default().split('/').next() {
                None | Some("") => Some("unknown"),
                // It is cut after 128 bytes, and what can't be printed is left out.
                Some(name) => Some(name)
                    .filter(|name| name.len() <= 128 && name.bytes().all(|byte| (b' '..=b'~').contains(&byte))),
            },
        }
    }

    /// Returns what else is known of the request.
    fn request_info(&self) -> RequestInfo {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        RequestInfo {
            audit_id: text(&self.audit_id),
            impersonator: self.impersonated_user.as_ref().map(|_| self.user.username.clone()),
            user_agent: text(&self.user_agent),
            ..RequestInfo::default()
        }
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

/// Text of a field that is present and not empty.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}
