//! Admission and audit at once: the one answers before the write is stored, the other knows what was stored.

use std::{
    collections::VecDeque,
    fmt::Debug,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reverser_core::{Actor, Attribution, Change, Evidence, ObjectRef, RequestInfo};
use serde_json::Value;

use super::{ActorSource, controllers::acts_for_others};
use crate::report::{LogReporter, Notice, Reporter};

/// How many changes are remembered that both have told different actors of, so that each counts once.
const REMEMBERED: usize = 1024;

/// How often people are told of one; the others are counted.
const NEWS_EVERY: Duration = Duration::from_secs(60);

/// Asks two sources of authors.
///
/// What admission knows stands at once. Where audit knows something else, audit is right: it has seen the answer. That is
/// counted, and told of as [`Notice::Disagreed`]. Where both name the same actor, the answer is admission's with what audit
/// knows of the request beside: its audit id, the program, who impersonated the actor.
///
/// A change that neither knows anything of waits as long as the more patient one says: what audit tells later is for
/// [`correctable`](ActorSource::correctable), so that audit is best given no patience here.
#[derive(Debug)]
pub struct Both<A, B> {
    admission: A,
    audit: B,
    reporter: Arc<dyn Reporter>,
    disagreements: AtomicU64,
    // A `std` mutex: never held across an await.
    told: Mutex<Told>,
}

/// Which disagreements have been told of.
#[derive(Debug, Default)]
struct Told {
    changes: VecDeque<(Option<String>, Option<String>)>,
    last_news: Option<Instant>,
}

impl<A: ActorSource, B: ActorSource> Both<A, B> {
    /// Returns one that asks these two.
    pub fn new(admission: A, audit: B) -> Self {
        let (disagreements, told) = (AtomicU64::new(0), Mutex::default());
        Self { admission, audit, reporter: Arc::new(LogReporter), disagreements, told }
    }

    /// Sets who is told of disagreements. Default: the log.
    #[must_use]
    pub fn reporter(self, reporter: impl Reporter + 'static) -> Self {
        Self { reporter: Arc::new(reporter), ..self }
    }

    /// Returns of how many changes both have told different actors.
    pub fn disagreements(&self) -> u64 {
        self.disagreements.load(Ordering::Relaxed)
    }

    fn disagree(&self, change: &Change, admission: &Attribution, audit: &Attribution) {
        let key = (change.object.uid.clone(), change.resource_version.clone());
        let is_news = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.changes.contains(&key) {
                return;
            }
            told.changes.push_back(key);
            if told.changes.len() > REMEMBERED {
                told.changes.pop_front();
            }
            let is_news = told.last_news.is_none_or(|last| last.elapsed() >= NEWS_EVERY);
            if is_news {
                told.last_news = Some(Instant::now());
            }
            is_news
        };
        self.disagreements.fetch_add(1, Ordering::Relaxed);
        self.reporter.report(Notice::Disagreed { object: &change.object, admission, audit, is_news });
    }
}

#[async_trait::async_trait]
impl<A: ActorSource, B: ActorSource> ActorSource for Both<A, B> {
    fn attribute(&self, change: &Change) -> Attribution {
        let (admission, audit) = (self.admission.attribute(change), self.audit.attribute(change));
        match join(&admission, &audit) {
            Joined::Agreed(attribution) => attribution,
            Joined::Disagreed => {
                self.disagree(change, &admission, &audit);
                audit
            }
        }
    }

    fn patience(&self, change: &Change, attribution: &Attribution) -> Duration {
        match attribution {
            // What admission knows stands, and what audit says beside it needs no better proof.
            Attribution::Known { evidence: Evidence::Admission | Evidence::Cascade | Evidence::Host, .. } => {
                Duration::ZERO
            }
            _ => self.admission.patience(change, attribution).max(self.audit.patience(change, attribution)),
        }
    }

    fn correctable(&self, attribution: &Attribution) -> Duration {
        let audit = match attribution {
            // What admission alone knows of: audit hasn't told of it.
            Attribution::Known { evidence, request, .. }
                if *evidence != Evidence::Audit && request.audit_id.is_none() =>
            {
                self.audit.correctable(&Attribution::Unknown)
            }
            _ => self.audit.correctable(attribution),
        };
        match attribution {
            Attribution::Known { evidence: Evidence::Audit, .. } => audit,
            _ => audit.max(self.admission.correctable(attribution)),
        }
    }

    fn saw(&self, change: &Change) {
        self.admission.saw(change);
        self.audit.saw(change);
    }

    fn listed(&self, object: &ObjectRef, body: &Value) {
        self.admission.listed(object, body);
        self.audit.listed(object, body);
    }

    async fn learned(&self) {
        tokio::select! {
            () = self.admission.learned() => {}
            () = self.audit.learned() => {}
        }
    }
}

enum Joined {
    Agreed(Attribution),
    Disagreed,
}

/// Returns what follows from what admission and audit say of one change.
fn join(admission: &Attribution, audit: &Attribution) -> Joined {
    use Attribution::{Ambiguous, Known, Manager, Unknown};
    Joined::Agreed(match (admission, audit) {
        (_, Unknown | Manager(_)) => admission.clone(),
        (Unknown | Manager(_), _) => audit.clone(),
        (Known { actor, evidence, request }, Known { actor: audited, request: more, .. }) if actor == audited => {
            let request = Box::new(enriched(request, more));
            Known { actor: actor.clone(), evidence: *evidence, request }
        }
        // One of them knows whom the controller did it for.
        (Known { evidence: Evidence::Cascade, .. }, Known { actor, .. }) if acts_for_others(actor) => admission.clone(),
        (Known { actor, .. }, Known { evidence: Evidence::Cascade, .. }) if acts_for_others(actor) => audit.clone(),
        (Known { actor, .. }, Ambiguous(actors)) if actors.contains(actor) => admission.clone(),
        (Ambiguous(actors), Known { actor, .. }) if actors.contains(actor) => audit.clone(),
        (Ambiguous(actors), Ambiguous(audited)) => {
            let both: Vec<Actor> = audited.iter().filter(|actor| actors.contains(actor)).cloned().collect();
            match both.len() {
                0 => return Joined::Disagreed,
                1 => both.into_iter().next().map_or(Unknown, |actor| Attribution::known(actor, Evidence::Audit)),
                _ => Ambiguous(both),
            }
        }
        (Known { .. }, Known { .. } | Ambiguous(_)) | (Ambiguous(_), Known { .. }) => return Joined::Disagreed,
    })
}

fn enriched(admission: &RequestInfo, audit: &RequestInfo) -> RequestInfo {
    let either = |one: &Option<String>, other: &Option<String>| one.clone().or_else(|| other.clone());
    RequestInfo {
        audit_id: either(&audit.audit_id, &admission.audit_id),
        impersonator: either(&audit.impersonator, &admission.impersonator),
        user_agent: either(&audit.user_agent, &admission.user_agent),
        ..admission.clone()
    }
}

#[cfg(test)]
mod tests {
    use reverser_core::Operation;
    use serde_json::json;
    use tokio::sync::Notify;

    use super::*;
    use crate::{attribute::controllers::GARBAGE_COLLECTOR, fixture::configmaps};

    /// Says always the same.
    #[derive(Debug)]
    struct Says(Attribution, Duration, Notify);

    #[async_trait::async_trait]
    impl ActorSource for Says {
        fn attribute(&self, _change: &Change) -> Attribution {
            self.0.clone()
        }

        fn patience(&self, _change: &Change, _attribution: &Attribution) -> Duration {
            self.1
        }

        fn correctable(&self, attribution: &Attribution) -> Duration {
            if *attribution == Attribution::Unknown { 2 * self.1 } else { Duration::ZERO }
        }

        fn saw(&self, _change: &Change) {
            self.2.notify_one();
        }

        async fn learned(&self) {
            self.2.notified().await;
        }
    }

    fn says(attribution: &Attribution, seconds: u64) -> Says {
        Says(attribution.clone(), Duration::from_secs(seconds), Notify::new())
    }

    fn known(name: &str, evidence: Evidence) -> Attribution {
        Attribution::known(Actor::user(name), evidence)
    }

    fn one_of(names: &[&str]) -> Attribution {
        Attribution::Ambiguous(names.iter().map(|name| Actor::user(*name)).collect())
    }

    fn change(version: &str) -> Change {
        let body = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": version}});
        Change::new(ObjectRef::of(&configmaps(), &body).unwrap(), Operation::Update, Some(body))
    }

    fn audit_of(name: &str) -> Attribution {
        let request = RequestInfo {
            audit_id: Some("id-1".into()),
            impersonator: Some("root".into()),
            user_agent: Some("kubectl".into()),
            is_by_managed_fields: false,
        };
        Attribution::Known { actor: Actor::user(name), evidence: Evidence::Audit, request: request.into() }
    }

    #[test]
    fn audit_is_right_and_what_it_does_not_know_admission_does() {
        use Evidence::{Admission, Cascade};
        let (alice, bob, unknown) = (known("alice", Admission), audit_of("bob"), Attribution::Unknown);
        let by_collector = known(GARBAGE_COLLECTOR, Evidence::Audit);
        let for_alice = known("alice", Cascade);
        for (admission, audit, expected, disagreements) in [
            (&unknown, &unknown, &unknown, 0),
            (&alice, &unknown, &alice, 0),
            (&unknown, &bob, &bob, 0),
            (&alice, &bob, &bob, 1),
            (&for_alice, &by_collector, &for_alice, 0),
            (&known(GARBAGE_COLLECTOR, Admission), &for_alice, &for_alice, 0),
            (&by_collector, &bob, &bob, 1),
            (&alice, &one_of(&["alice", "bob"]), &alice, 0),
            (&alice, &one_of(&["carol", "bob"]), &one_of(&["carol", "bob"]), 1),
            (&one_of(&["alice", "bob"]), &bob, &bob, 0),
            (&one_of(&["alice", "carol"]), &bob, &bob, 1),
            (&one_of(&["alice", "bob", "carol"]), &one_of(&["bob", "carol", "eve"]), &one_of(&["bob", "carol"]), 0),
            (&one_of(&["alice", "bob"]), &one_of(&["bob", "carol"]), &known("bob", Evidence::Audit), 0),
            (&one_of(&["alice", "bob"]), &one_of(&["carol", "dan"]), &one_of(&["carol", "dan"]), 1),
        ] {
            let both = Both::new(says(admission, 0), says(audit, 0));
            assert_eq!(both.attribute(&change("1")), *expected, "{admission:?} {audit:?}");
            assert_eq!(both.disagreements(), disagreements, "{admission:?} {audit:?}");
        }
    }

    #[test]
    fn where_both_agree_audit_tells_more_of_the_request() {
        let both = Both::new(says(&known("alice", Evidence::Admission), 0), says(&audit_of("alice"), 0));
        let Attribution::Known { evidence, request, .. } = both.attribute(&change("1")) else { panic!("an actor") };
        assert_eq!(evidence, Evidence::Admission);
        assert_eq!(request.audit_id.as_deref(), Some("id-1"));
        assert_eq!((request.impersonator.as_deref(), request.user_agent.as_deref()), (Some("root"), Some("kubectl")));
    }

    #[test]
    fn each_disagreement_is_counted_once_and_people_hear_of_it_once_in_a_while() {
        #[derive(Clone, Debug, Default)]
        struct Heard(Arc<Mutex<Vec<bool>>>);
        impl Reporter for Heard {
            fn report(&self, notice: Notice<'_>) {
                let Notice::Disagreed { is_news, .. } = notice else { panic!("another notice") };
                self.0.lock().unwrap().push(is_news);
            }
        }
        let heard = Heard::default();
        let both = Both::new(says(&known("alice", Evidence::Admission), 0), says(&audit_of("bob"), 0));
        let both = both.reporter(heard.clone());
        for version in ["1", "2", "1", "3", "2"] {
            both.attribute(&change(version));
        }
        assert_eq!(both.disagreements(), 3);
        assert_eq!(*heard.0.lock().unwrap(), [true, false, false]);
    }

    #[test]
    fn an_answer_is_not_waited_for_but_looked_at_again_until_audit_has_confirmed_it() {
        let both = Both::new(says(&Attribution::Unknown, 1), says(&Attribution::Unknown, 5));
        let seconds = Duration::from_secs;
        let admitted = known("alice", Evidence::Admission);
        assert_eq!((both.patience(&change("1"), &admitted), both.correctable(&admitted)), (seconds(0), seconds(10)));
        assert_eq!(both.correctable(&known("alice", Evidence::Cascade)), seconds(10));
        assert_eq!(both.patience(&change("1"), &Attribution::Unknown), seconds(5));
        assert_eq!(both.correctable(&Attribution::Unknown), seconds(10));
        assert_eq!(both.correctable(&audit_of("alice")), seconds(0));
        let mut confirmed = audit_of("alice");
        if let Attribution::Known { evidence, .. } = &mut confirmed {
            *evidence = Evidence::Admission;
        }
        assert_eq!(both.correctable(&confirmed), seconds(0));
    }

    #[tokio::test]
    async fn both_see_what_happens_and_either_may_learn() {
        let both = Both::new(says(&Attribution::Unknown, 0), says(&Attribution::Unknown, 0));
        both.saw(&change("1"));
        for _ in 0..2 {
            tokio::time::timeout(Duration::from_secs(10), both.learned()).await.unwrap();
        }
    }
}
