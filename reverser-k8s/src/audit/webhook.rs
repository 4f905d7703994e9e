//! What an API server posts to an audit webhook (`--audit-webhook-config-file`).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Audit, AuditEvent};

/// What became of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Events in it.
    pub events: usize,
    /// Of these, such as told something that wasn't known: about an accepted write, for the first time.
    pub news: usize,
    /// Items that are no events.
    pub broken: usize,
}

/// A body isn't what an audit webhook is sent: the answer is 400. Sending it again doesn't help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It isn't JSON, or lacks what both have.
    #[error("the body is no audit event")]
    Malformed(#[source] serde_json::Error),
    /// It is something else.
    #[error("expected an EventList or Event of audit.k8s.io/v1, got kind {kind:?} of apiVersion {api_version:?}")]
    OtherKind {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
}

impl Audit {
    /// Takes note of the body of a `POST`: an `EventList`, or one `Event`, in JSON. Stages other than `ResponseComplete`,
    /// reads and refusals tell nothing; fields that aren't known are left alone; what comes again changes nothing, as API servers
    /// send a batch again that wasn't answered.
    ///
    /// # Errors
    /// It is neither of them. Of a list, items that are no events are counted, and the others taken.
    pub fn receive(&self, body: &[u8]) -> Result<Received, BodyError> {
        let Body { api_version, kind, items } = serde_json::from_slice(body).map_err(BodyError::Malformed)?;
        match (&*api_version, &*kind) {
            ("audit.k8s.io/v1", "EventList") => {
                let items = items.unwrap_or_default();
                let events: Vec<AuditEvent> =
                    items.iter().filter_map(|item| serde_json::from_str(item.get()).ok()).collect();
                let broken = items.len() - events.len();
                Ok(Received { events: events.len(), news: self.learn(&events), broken })
            }
            ("audit.k8s.io/v1", "Event") => {
                let event = serde_json::from_slice(body).map_err(BodyError::Malformed)?;
                Ok(Received { events: 1, news: self.learn([&event]), broken: 0 })
            }
            _ => Err(BodyError::OtherKind { api_version, kind }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    api_version: String,
    kind: String,
    /// Of a list; `null` is what Go has for an empty one.
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reverser_core::{Actor, Attribution, Change, Evidence, ObjectRef, Operation};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        attribute::{ActorSource, controllers::GARBAGE_COLLECTOR},
        audit::Kept,
        fixture::configmaps,
    };

    fn object() -> Value {
        json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}})
    }

    fn event(stage: &str) -> Value {
        json!({"level": "RequestResponse", "auditID": "id-1", "stage": stage, "verb": "create", "sourceIPs": ["10.0.0.1"],
            "user": {"username": "alice", "uid": "1", "groups": ["dev"]}, "responseStatus": {"metadata": {}, "code": 201},
            "responseObject": object(), "annotations": {"authorization.k8s.io/decision": "allow"}, "madeUp": [1]})
    }

    fn list(items: &[Value]) -> String {
        json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}).to_string()
    }

    fn creation() -> Change {
        Change::new(ObjectRef::of(&configmaps(), &object()).unwrap(), Operation::Create, Some(object()))
    }

    #[tokio::test]
    async fn a_batch_names_authors_and_wakes_who_waits_for_them() {
        let audit = Audit::default();
        assert_eq!(audit.attribute(&creation()), Attribution::Unknown);
        let body = list(&[event("RequestReceived"), event("ResponseComplete"), json!({"verb": 1}), json!("text")]);
        assert_eq!(audit.receive(body.as_bytes()).unwrap(), Received { events: 2, news: 1, broken: 2 });
        tokio::time::timeout(Duration::from_secs(10), audit.learned()).await.unwrap();
        let Attribution::Known { actor, evidence: Evidence::Audit, .. } = audit.attribute(&creation()) else {
            panic!()
        };
        assert_eq!((actor.name, actor.groups), ("alice".to_owned(), vec!["dev".to_owned()]));
        // The batch comes again.
        assert_eq!(audit.receive(body.as_bytes()).unwrap(), Received { events: 2, news: 0, broken: 2 });
        assert_eq!(audit.kept().facts, 1);
    }

    #[test]
    fn one_event_is_taken_too() {
        let mut event = event("ResponseComplete");
        event["kind"] = "Event".into();
        event["apiVersion"] = "audit.k8s.io/v1".into();
        let audit = Audit::default();
        assert_eq!(audit.receive(event.to_string().as_bytes()).unwrap(), Received { events: 1, news: 1, broken: 0 });
        assert_eq!(audit.attribute(&creation()).actor(), Some(&Actor::user("alice")));
    }

    #[test]
    fn what_is_no_batch_of_events_is_refused_and_tells_nothing() {
        let audit = Audit::default();
        let deep = format!(r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":{}"#, "[".repeat(100_000));
        for body in ["", "[]", "null", "{", "{}", "\u{0}", r#"{"kind":"EventList"}"#, &deep, &list(&[])[1..]] {
            assert!(matches!(audit.receive(body.as_bytes()), Err(BodyError::Malformed(_))), "{body:.40}");
        }
        assert!(matches!(audit.receive(b"\xff\xfe"), Err(BodyError::Malformed(_))));
        let other = list(&[event("ResponseComplete")]).replace("audit.k8s.io/v1", "audit.k8s.io/v1beta1");
        let error = audit.receive(other.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected an EventList or Event of audit.k8s.io/v1, got kind \"EventList\" of apiVersion \"audit.k8s.io/v1beta1\""
        );
        let empty = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":null}"#;
        assert_eq!(audit.receive(empty.as_bytes()).unwrap(), Received::default());
        assert_eq!(audit.kept(), Kept::default());
    }

    #[test]
    fn only_what_may_still_be_told_is_waited_for_and_looked_at_again() {
        let audit = Audit::default();
        let known = |name: &str| Attribution::known(Actor::user(name), Evidence::Audit);
        assert_eq!(audit.patience(&creation(), &Attribution::Unknown), Duration::from_secs(2));
        assert_eq!(audit.patience(&creation(), &known("alice")), Duration::ZERO);
        assert_eq!(audit.correctable(&Attribution::Unknown), Duration::from_secs(600));
        assert_eq!(audit.correctable(&known("alice")), Duration::ZERO);
        // Whom it did it for may come later.
        let collector = known(GARBAGE_COLLECTOR);
        assert_eq!(audit.correctable(&collector), Duration::from_secs(600));
        assert_eq!(audit.waiting(Duration::ZERO).patience(&creation(), &Attribution::Unknown), Duration::ZERO);
    }
}
