//! Audit events as a source of authors.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reverser_core::{Attribution, Change, ObjectRef};
use serde_json::Value;
use tokio::sync::Notify;

use super::{
    AuditEvent,
    facts::{BEHIND, Facts},
};
use crate::attribute::{ActorSource, controllers::acts_for_others};

/// How long a change waits for its event: an API server gathers for one second (`--audit-webhook-batch-max-wait=1s`), and
/// sending takes a moment. A log on the same machine has its line as early as the watch has its event, or a moment later.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a change waits for other events where the one that has come doesn't prove who wrote it.
const PROOF: Duration = BEHIND.unsigned_abs();

/// How long an event may be late: after the server's default of 30 s for a batch, and a few tries to send it again.
const CORRECTABLE: Duration = Duration::from_secs(10 * 60);

/// Names authors from audit events, however they come; clones share what they know.
///
/// It keeps 64 MiB of facts, for an hour: the oldest go first. What an event proves is in `docs/AUDIT.md`.
///
/// ```
/// use reverser_core::{Attribution, Change, ObjectRef, Operation, Resource};
/// use reverser_k8s::{ActorSource, audit::Audit};
/// use serde_json::json;
///
/// let audit = Audit::default();
/// let object = json!({"metadata": {"name": "web", "uid": "4f1c", "resourceVersion": "7"}});
/// let events = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [{
///     "stage": "ResponseComplete", "verb": "create", "user": {"username": "alice"},
///     "responseStatus": {"code": 201}, "responseObject": object,
/// }]});
/// audit.receive(events.to_string().as_bytes())?;
///
/// let configmaps = Resource::new("", "v1", "ConfigMap", "configmaps").into();
/// let change = Change::new(ObjectRef::of(&configmaps, &object).expect("a name"), Operation::Create, Some(object));
/// assert_eq!(audit.attribute(&change).actor().expect("alice").name, "alice");
/// # Ok::<(), reverser_k8s::audit::BodyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Audit {
    shared: Arc<Shared>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    // A `std` mutex: held for what is in memory, never across an await.
    facts: Mutex<Facts>,
    /// That there are more facts than before.
    learned: Notify,
    /// That somebody asked in vain.
    wanted: Notify,
}

/// How much of what events have told is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Facts that changes may ask for.
    pub facts: usize,
    /// About how many bytes of memory they take, with what is remembered of watched objects.
    pub bytes: usize,
    /// Facts that went for want of room, whether or not a change had asked for them.
    pub dropped: u64,
}

impl Default for Audit {
    /// Returns one for events that an API server sends: a change waits for them for 2 s.
    fn default() -> Self {
        Self { shared: Arc::default(), patience: PATIENCE }
    }
}

impl Audit {
    /// Sets how long a change that nobody is known for waits for an event. Beside another source that answers at once this is
    /// best zero.
    #[must_use]
    pub fn waiting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Returns how much is kept.
    pub fn kept(&self) -> Kept {
        let facts = self.facts();
        Kept { facts: facts.len(), bytes: facts.bytes(), dropped: facts.dropped() }
    }

    /// Takes note of events; returns how many told something that wasn't known.
    pub(super) fn learn<'a>(&self, events: impl IntoIterator<Item = &'a AuditEvent>) -> usize {
        let now = Instant::now();
        let mut facts = self.facts();
        let news = events.into_iter().filter(|event| facts.learn(event, now)).count();
        drop(facts);
        if news > 0 {
            self.shared.learned.notify_one();
        }
        news
    }

    /// Returns when somebody has asked in vain since this returned last.
    pub(super) async fn wanted(&self) {
        self.shared.wanted.notified().await;
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.shared.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl ActorSource for Audit {
    fn attribute(&self, change: &Change) -> Attribution {
        let attribution = self.facts().attribute(change);
        if attribution == Attribution::Unknown {
            self.shared.wanted.notify_one();
        }
        attribution
    }

    fn patience(&self, change: &Change, attribution: &Attribution) -> Duration {
        match attribution {
            Attribution::Unknown => self.patience,
            Attribution::Known { .. } if self.facts().is_unproven(change) => PROOF,
            Attribution::Known { .. } | Attribution::Ambiguous(_) | Attribution::Manager(_) => Duration::ZERO,
        }
    }

    fn correctable(&self, attribution: &Attribution) -> Duration {
        match attribution {
            Attribution::Known { actor, .. } if !acts_for_others(actor) => Duration::ZERO,
            _ => CORRECTABLE,
        }
    }

    fn saw(&self, change: &Change) {
        self.facts().saw(change, Instant::now());
    }

    fn listed(&self, object: &ObjectRef, body: &Value) {
        if let Some(uid) = &object.uid {
            self.facts().listed(uid, body);
        }
    }

    async fn learned(&self) {
        self.shared.learned.notified().await;
    }
}
