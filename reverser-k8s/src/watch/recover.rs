//! What happened in a gap: after a 410 a watch can't say, but etcd still knows.
//!
//! ```text
//! cursor ──410──► read the past ─┬─► etcd has it:      each version; then watch on from there
//!                                ├─► etcd forgot it:   everything at the oldest revision it has, or at the last one that
//!                                │                     the reader knows, if that is later; then read on from there
//!                                └─► no past to read:  everything as it is
//! ```
//!
//! An API server forgets when it restarts. etcd keeps five to ten minutes (kube-apiserver's
//! `--etcd-compaction-interval`), and lists with `resourceVersionMatch=Exact` are answered from it. What that
//! guarantees, and how it was chosen: docs/decisions/recovering-history.md.

mod requests;
mod walk;

use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};

use reverser_core::{Change, Fingerprinter, ObjectRef, Resource};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use self::{
    requests::Requests,
    walk::{Reading, Step, Unreadable, read},
};
use super::versions::Versions;
use crate::{api_error::ApiError, list::List, request::within};

/// How much of a history is held at once, as text; as values it is about five times as much. What is longer comes in parts.
/// Several watches recover at the same time: when an API server restarts, all of them have a gap.
const BYTES: usize = 2 << 20;

/// What could be found out.
#[derive(Debug)]
pub(super) enum Recovery {
    /// What happened, in order, each with the version that it made.
    Changes {
        changes: Vec<Change>,
        /// Up to where these are all.
        until: String,
        /// Whether that was now; else more is to be recovered from there.
        is_all: bool,
    },
    /// Everything as it was at the oldest revision that etcd has, or where the reader has read to. What came then is to be
    /// recovered from there.
    State { objects: Vec<Value>, version: String },
    /// Nothing: what is there now is to be listed.
    Unavailable { why: &'static str },
}

/// Finds out what happened after `cursor`, up to the next version of `known`, if there is one: who reads this knows what there was
/// then, and needs to be told what became of it. Changes come with what `fingerprinter` makes of them.
pub(super) async fn recover(
    list: &List,
    fingerprinter: Option<&Fingerprinter>,
    cursor: &str,
    known: &BTreeSet<u64>,
) -> Result<Recovery, ApiError> {
    // Versions of one resource compare as integers (KEP-5504).
    let Ok(cursor) = cursor.parse() else { return Ok(Recovery::Unavailable { why: "positions are no integers" }) };
    let requests = Requests { list };
    Ok(match read(&requests, cursor, known, BYTES).await? {
        Reading::Forgotten { until } => match requests.everything_at(until).await {
            Ok(objects) => Recovery::State { objects, version: until.to_string() },
            Err(Unreadable::Failed(error)) => return Err(error),
            // Compacted again meanwhile.
            Err(_) => Recovery::Unavailable { why: COMPACTED },
        },
        Reading::Steps { steps, until, is_all } => {
            let changes = steps.into_iter().filter_map(|step| change(list, fingerprinter, step).transpose());
            Recovery::Changes { changes: changes.collect::<Result<_, _>>()?, until: until.to_string(), is_all }
        }
        Reading::Unsupported(why) => Recovery::Unavailable { why },
    })
}

/// Finds out which version each object had at `cursor`, as far as that can be known.
pub(super) async fn versions_at(list: &List, cursor: &str) -> Result<Versions, ApiError> {
    // Versions of one resource compare as integers (KEP-5504).
    let Ok(cursor) = cursor.parse() else { return Ok(Versions::default()) };
    let read = async { Ok(Requests { list }.versions_at(cursor).await) };
    let late = |error| Unreadable::Failed(list.error(error, "list"));
    match within(VERSIONS_LIMIT, read).await.map_err(late).flatten() {
        Ok(versions) => Ok(versions),
        Err(Unreadable::Failed(error)) => Err(error),
        Err(_) => Ok(Versions::default()),
    }
}

/// Why the older part of a history is gone.
pub(super) const COMPACTED: &str = "etcd was compacted";

/// How long finding out versions may take: what happened since waits for it.
const VERSIONS_LIMIT: Duration = Duration::from_secs(60);

/// Returns a step as a watch would have reported it.
fn change(list: &List, fingerprinter: Option<&Fingerprinter>, step: Step) -> Result<Option<Change>, ApiError> {
    let Step { operation, version, replaced, at, body } = step;
    let fingerprint = fingerprinter.and_then(|fingerprinter| fingerprinter.of(&whole(&list.resource, body.get())).ok());
    let mut object = list.read(&body)?;
    // A deletion has a version of its own there, not that of the last write.
    object["metadata"]["resourceVersion"] = version.to_string().into();
    let reference = ObjectRef::of(&list.resource, &object);
    Ok(reference.map(|reference| Change {
        replaced: replaced.map(|version| version.to_string()),
        fingerprint: fingerprint.map(Arc::new),
        at,
        ..Change::new(reference, operation, Some(object))
    }))
}

/// Returns an object of a list as it comes by itself: the API server leaves out the type of most kinds' there.
fn whole<'a>(resource: &Resource, object: &'a str) -> Cow<'a, str> {
    #[derive(Deserialize)]
    struct Typed {
        kind: Option<IgnoredAny>,
    }
    let is_typed = serde_json::from_str(object).is_ok_and(|Typed { kind }| kind.is_some());
    match object.strip_prefix('{') {
        Some(fields) if !is_typed => {
            let (kind, version) = (json!(resource.kind), json!(resource.api_version()));
            format!(r#"{{"kind":{kind},"apiVersion":{version},{fields}"#).into()
        }
        _ => object.into(),
    }
}

#[cfg(test)]
mod tests {
    use kube::{Client, client::Body};
    use reverser_core::Operation;

    use super::*;
    use crate::fixture::configmaps;

    #[test]
    fn an_object_of_a_list_has_the_fingerprint_of_the_same_by_itself() {
        let deployments = Resource::new("apps", "v1", "Deployment", "deployments");
        let of = |object: &str| Fingerprinter::new([7; 16]).of(&whole(&deployments, object)).unwrap();
        let alone =
            r#"{"metadata": {"name": "kind"}, "apiVersion": "apps/v1", "kind": "Deployment", "spec": {"kind": 1}}"#;
        assert_eq!(of(r#"{"metadata": {"name": "kind"}, "spec": {"kind": 1}}"#), of(alone));
        assert_eq!(whole(&deployments, alone), alone);
    }

    /// A server that has `a` at version 5 and `b` at version 9. Of the past it says this.
    fn server(past: (u16, &'static str)) -> List {
        let service = tower::service_fn(move |request: http::Request<Body>| async move {
            let is_exact = request.uri().query().unwrap_or_default().contains("resourceVersionMatch=Exact");
            let now = r#"{"metadata": {"resourceVersion": "12"}, "items": [
                {"metadata": {"name": "a", "uid": "a", "resourceVersion": "5"}},
                {"metadata": {"name": "b", "uid": "b", "resourceVersion": "9"}}]}"#;
            let (code, text) = if is_exact { past } else { (200, now) };
            http::Response::builder().status(code).body(Body::from(text.as_bytes().to_vec()))
        });
        List::new(Client::new(service, "default"), configmaps(), None)
    }

    #[tokio::test]
    async fn versions_at_a_cursor_are_those_that_were_or_of_what_has_not_changed_since() {
        let then = r#"{"metadata": {"resourceVersion": "7"}, "items": [
            {"metadata": {"name": "a", "uid": "a", "resourceVersion": "5"}},
            {"metadata": {"name": "b", "uid": "b", "resourceVersion": "6"}}]}"#;
        let careless = r#"{"metadata": {"resourceVersion": "12"}, "items": []}"#;
        for (past, expected) in [
            ((200, then), [Some(5), Some(6)]),
            ((410, r#"{"code": 410, "reason": "Expired"}"#), [Some(5), None]),
            ((400, "what is that?"), [Some(5), None]),
            // One that answers with what there is now.
            ((200, careless), [Some(5), None]),
        ] {
            let mut versions = versions_at(&server(past), "7").await.unwrap();
            let update = |uid: &str| json!({"metadata": {"uid": uid, "resourceVersion": "20"}});
            let before = ["a", "b"].map(|uid| versions.step(Operation::Update, &update(uid)));
            assert_eq!(before, expected, "{past:?}");
        }
        let mut none = versions_at(&server((200, then)), "v7").await.unwrap();
        let update = json!({"metadata": {"uid": "a", "resourceVersion": "20"}});
        assert_eq!(none.step(Operation::Update, &update), None, "positions that don't compare");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_tells_no_versions() {
        assert!(versions_at(&server((500, "")), "7").await.is_err());
    }
}
