//! Numbers for Prometheus: what was recorded, what is in the way, and whether all of it is on the remote.
//!
//! ```text
//! Reverser ─► Notice ─► Metrics ──► Registry ─► /metrics
//! GitWriter ─► PushState ─┘   └───► readiness ─► /readyz
//! ```
//!
//! [`Metrics`] hears what the flow reports, beside whoever else does ([`Reporter`] for pairs), and is registered in the
//! program's own [`Registry`] or served by [`Server`]. Names begin with `reverser_`. No label names an object, but for the
//! [`CHURNERS`] that are named first; the log names all of them.
//!
//! ```no_run
//! use prometheus_client::registry::Registry;
//! use reverser_k8s::{LogReporter, Metrics, Reverser};
//!
//! # fn example(git: reverser_git::GitWriter) {
//! let mut registry = Registry::default();
//! let metrics = Metrics::register(&mut registry);
//! let reverser = Reverser::new(git.clone()).reporter((LogReporter, metrics.clone())).build();
//! metrics.measure(reverser.load());
//! tokio::spawn(metrics.follow(git.push_state()));
//! # }
//! ```

mod admission;
mod audit;
mod endpoint;
mod labels;
mod pushes;
mod readiness;
mod server;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
};

pub use prometheus_client::registry::Registry;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Unit,
};
use reverser_git::{CommitId, PushState};
use tokio::sync::watch;

#[cfg(feature = "webhook")]
pub(crate) use self::server::listen;
use self::{
    admission::AdmissionFacts,
    audit::AuditFacts,
    endpoint::EndpointMetrics,
    labels::{ByChange, ByCommit, ByFailure, ByObject, ByOutcome, ByResource, ByState, resource_of_source},
    pushes::Measured,
    readiness::Health,
};
pub use self::{
    readiness::{NotReady, PATIENCE},
    server::{ServeError, Server},
};
use crate::{
    attribute::Admission,
    audit::Audit,
    queue::Load,
    registration::RegistrationNews,
    report::{Notice, Reporter},
    reverser::Verified,
    source::Gap,
};

/// How many objects that churn are named in a metric.
pub const CHURNERS: usize = 10;

/// From a few milliseconds, which a commit takes, to minutes, which a remote may be away.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Counts what happens; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    changes: Family<ByChange, Counter>,
    coalesced: Counter,
    commits: Family<ByCommit, Counter>,
    syncs: Counter,
    removed: Counter,
    commit_latency: Histogram,
    push_latency: Histogram,
    watch_failures: Family<ByFailure, Counter>,
    unwatched: Family<ByFailure, Gauge>,
    gaps: Family<ByOutcome, Counter>,
    recovered: Counter,
    held: Family<ByResource, Counter>,
    paused: Counter,
    contradictions: Counter,
    forgotten: Counter,
    noted: Counter,
    unanswered: Counter,
    unserved: Family<ByResource, Gauge>,
    refused: Counter,
    obstructed: Counter,
    sink_failures: Counter,
    disagreements: Counter,
    verifications: Family<ByOutcome, Counter>,
    drift: Family<ByState, Counter>,
    last_verification: Gauge,
    churning: Gauge,
    churners: Family<ByObject, Gauge<f64, AtomicU64>>,
    endpoint: EndpointMetrics,
    registered: Gauge,
    registration_repairs: Counter,
    pushes: OnceLock<watch::Receiver<PushState>>,
    load: OnceLock<Load>,
    admission: OnceLock<Admission>,
    audit: OnceLock<Audit>,
    state: Mutex<State>,
}

/// What has to be remembered to count right.
#[derive(Debug, Default)]
struct State {
    /// What each source that can't be watched is counted under, by id.
    failing: HashMap<String, ByFailure>,
    /// The changes of one commit are told one after the other.
    last_commit: Option<CommitId>,
    churners: HashSet<ByObject>,
    health: Health,
}

impl Metrics {
    /// Registers all of them, with names that begin with `reverser_`.
    pub fn register(registry: &mut Registry) -> Self {
        let histogram = || Histogram::new(SECONDS);
        let metrics = Self(Arc::new(Inner {
            changes: Family::default(),
            coalesced: Counter::default(),
            commits: Family::default(),
            syncs: Counter::default(),
            removed: Counter::default(),
            commit_latency: histogram(),
            push_latency: histogram(),
            watch_failures: Family::default(),
            unwatched: Family::default(),
            gaps: Family::default(),
            recovered: Counter::default(),
            held: Family::default(),
            paused: Counter::default(),
            contradictions: Counter::default(),
            forgotten: Counter::default(),
            noted: Counter::default(),
            unanswered: Counter::default(),
            unserved: Family::default(),
            refused: Counter::default(),
            obstructed: Counter::default(),
            sink_failures: Counter::default(),
            disagreements: Counter::default(),
            verifications: Family::default(),
            drift: Family::default(),
            last_verification: Gauge::default(),
            churning: Gauge::default(),
            churners: Family::default(),
            endpoint: EndpointMetrics::default(),
            registered: Gauge::default(),
            registration_repairs: Counter::default(),
            pushes: OnceLock::new(),
            load: OnceLock::new(),
            admission: OnceLock::new(),
            audit: OnceLock::new(),
            state: Mutex::default(),
        }));
        metrics.0.register(registry.sub_registry_with_prefix("reverser"));
        let facts = AdmissionFacts(metrics.clone());
        registry.sub_registry_with_prefix("reverser").register_collector(Box::new(facts));
        let facts = AuditFacts(metrics.clone());
        registry.sub_registry_with_prefix("reverser").register_collector(Box::new(facts));
        let measured = Measured(metrics.clone());
        registry.sub_registry_with_prefix("reverser").register_collector(Box::new(measured));
        metrics
    }

    /// Measures how much of what was read isn't committed. The first one counts.
    pub fn measure(&self, load: Load) {
        // There is one flow.
        let _measured_already = self.0.load.set(load);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are right whoever panicked.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_commit(&self, kind: &'static str, commit: Option<&CommitId>) {
        let mut state = self.state();
        if commit.is_none() || state.last_commit.as_ref() != commit {
            state.last_commit = commit.cloned();
            self.0.commits.get_or_create(&ByCommit { kind }).inc();
        }
    }

    /// Notes what a source fails of; `None`: it goes on, or is gone.
    fn note_failure(&self, source: &str, failure: Option<ByFailure>) {
        let mut state = self.state();
        let before = match &failure {
            Some(failure) => state.failing.insert(source.to_owned(), failure.clone()),
            None => state.failing.remove(source),
        };
        if before == failure {
            return;
        }
        if let Some(before) = before
            && self.0.unwatched.get_or_create(&before).dec() <= 1
        {
            self.0.unwatched.remove(&before);
        }
        if let Some(failure) = failure {
            self.0.unwatched.get_or_create(&failure).inc();
        }
    }
}

impl Inner {
    fn register(&self, registry: &mut Registry) {
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of reverser", version);
        registry.register("changes", "Changes that were committed", self.changes.clone());
        registry.register(
            "coalesced_changes",
            "Changes in whose place a later one was committed",
            self.coalesced.clone(),
        );
        // From zero on, so that the first one is an increase.
        for kind in ["change", "sync", "verify"] {
            drop(self.commits.get_or_create(&ByCommit { kind }));
        }
        registry.register("commits", "Commits that were made", self.commits.clone());
        registry.register("syncs", "Times that Git was brought in line with complete lists", self.syncs.clone());
        registry.register("sync_removed_files", "Files that such a sync removed", self.removed.clone());
        let name = "commit_latency";
        let help = "From the reading of a change to its durable commit";
        registry.register_with_unit(name, help, Unit::Seconds, self.commit_latency.clone());
        let help = "Of each push, how long its oldest commit had waited: none waited longer";
        registry.register_with_unit("push_latency", help, Unit::Seconds, self.push_latency.clone());
        registry.register("watch_failures", "Requests of watches that failed", self.watch_failures.clone());
        registry.register("unwatched", "Watches that can't go on at present", self.unwatched.clone());
        for outcome in ["recovered", "lost"] {
            drop(self.gaps.get_or_create(&ByOutcome { outcome }));
        }
        registry.register("gaps", "Times that the API server had forgotten where a watch stood", self.gaps.clone());
        registry.register("recovered_changes", "Changes that were recovered after a gap", self.recovered.clone());
        registry.register("pauses", "Times that a watch wasn't read until Git had taken more", self.paused.clone());
        registry.register("sweeps_held", "Sweeps that were held as a mistake is likely", self.held.clone());
        let help = "Changes that were committed without their author, although they had waited for one";
        registry.register("attribution_unanswered", help, self.unanswered.clone());
        let help = "Changes of which it became known after their commit who made them, as a note on it says";
        registry.register("attribution_noted", help, self.noted.clone());
        let help = "Changes of which that is no longer asked, as too many came after them";
        registry.register("attribution_forgotten", help, self.forgotten.clone());
        let help = "Commits that name somebody else than whom it was by as became known later";
        registry.register("attribution_contradictions", help, self.contradictions.clone());
        let help = "Files that stay although nothing of their kind is served, as seen at the start";
        registry.register("unserved_files", help, self.unserved.clone());
        registry.register("refused", "Times that a sensitive object was left out", self.refused.clone());
        registry.register(
            "obstructed",
            "Files not written as a link or submodule is in the way",
            self.obstructed.clone(),
        );
        let help = "Changes for which admission and audit named different users";
        registry.register("attribution_disagreements", help, self.disagreements.clone());
        registry.register("commit_failures", "Times that nothing could be committed", self.sink_failures.clone());
        for outcome in ["equal", "different", "failed"] {
            drop(self.verifications.get_or_create(&ByOutcome { outcome }));
        }
        registry.register("verifications", "Comparisons of a resource with Git", self.verifications.clone());
        for state in ["missing", "extra", "different", "superseded", "left_out"] {
            drop(self.drift.get_or_create(&ByState { state }));
        }
        let help = "Objects in which Git differed from the cluster; of the first three there should be none";
        registry.register("drift", help, self.drift.clone());
        let help = "When a resource was last compared with Git, in Unix time";
        registry.register_with_unit("last_verification_timestamp", help, Unit::Seconds, self.last_verification.clone());
        registry.register("churning_objects", "Objects that change more than 30 times a minute", self.churning.clone());
        registry.register(
            "churning_object_changes_per_second",
            "How often the first of these changed when they began",
            self.churners.clone(),
        );
        self.endpoint.register(registry);
        let help = "Whether the API server is told to send what is captured, as far as is known (1), or that is out of date (0)";
        registry.register("registered", help, self.registered.clone());
        let help = "Episodes in which somebody edited or deleted the webhook configuration, and it was put right";
        registry.register("registration_repairs", help, self.registration_repairs.clone());
    }
}

impl Inner {
    fn verified(&self, verified: &Verified) {
        let outcome = if verified.drifted() == 0 { "equal" } else { "different" };
        self.verifications.get_or_create(&ByOutcome { outcome }).inc();
        let found = [
            ("missing", verified.missing),
            ("extra", verified.extra),
            ("different", verified.different),
            ("superseded", verified.superseded),
            ("left_out", verified.left_out),
        ];
        for (state, count) in found {
            self.drift.get_or_create(&ByState { state }).inc_by(count as u64);
        }
        self.last_verification.set(verified.at.as_second());
    }
}

impl Inner {
    fn registration(&self, news: &RegistrationNews<'_>) {
        match news {
            RegistrationNews::Failing { .. } => {
                self.registered.set(0);
            }
            RegistrationNews::PutRight { .. } => {
                self.registration_repairs.inc();
            }
            RegistrationNews::Recovered { .. } | RegistrationNews::Registered { .. } => {
                self.registered.set(1);
            }
            RegistrationNews::Remains { .. } => {}
        }
    }
}

impl Reporter for Metrics {
    fn report(&self, notice: Notice<'_>) {
        let inner = &self.0;
        match notice {
            Notice::Calmed { object, .. } => {
                inner.churning.dec();
                let object = ByObject::of(object);
                self.state().churners.remove(&object);
                inner.churners.remove(&object);
            }
            Notice::Churning { object, per_minute, .. } => {
                inner.churning.inc();
                let object = ByObject::of(object);
                let mut state = self.state();
                if state.churners.len() < CHURNERS {
                    inner.churners.get_or_create(&object).set(f64::from(per_minute) / 60.0);
                    state.churners.insert(object);
                }
            }
            Notice::Committed { change, commit, took, stands_for } => {
                inner.changes.get_or_create(&ByChange::of(change)).inc();
                inner.coalesced.inc_by(stands_for.saturating_sub(1));
                inner.commit_latency.observe(took.as_secs_f64());
                self.count_commit("change", commit);
            }
            Notice::Disagreed { .. } => {
                inner.disagreements.inc();
            }
            Notice::Contradicted { .. } => {
                inner.contradictions.inc();
            }
            Notice::Forgotten { changes } => {
                inner.forgotten.inc_by(changes as u64);
            }
            Notice::Noted { .. } => {
                inner.noted.inc();
            }
            Notice::Endpoint(notice) => inner.endpoint.count(&notice),
            Notice::Failed { source, error, .. } => {
                let failure = ByFailure { resource: resource_of_source(source), reason: error.reason() };
                inner.watch_failures.get_or_create(&failure).inc();
                self.note_failure(source, Some(failure));
            }
            Notice::Gap { gap, .. } => {
                let outcome = match gap {
                    Gap::Lost { .. } => "lost",
                    Gap::Recovered { changes, .. } => {
                        inner.recovered.inc_by(*changes as u64);
                        "recovered"
                    }
                };
                inner.gaps.get_or_create(&ByOutcome { outcome }).inc();
            }
            Notice::Held { resource, .. } => {
                inner.held.get_or_create(&ByResource { resource: resource.to_string() }).inc();
            }
            Notice::Obstructed(_) => {
                inner.obstructed.inc();
            }
            Notice::Paused { .. } => {
                inner.paused.inc();
            }
            Notice::Recovered { source, .. } | Notice::Unwatched { source } => self.note_failure(source, None),
            Notice::Refused(_) => {
                inner.refused.inc();
            }
            Notice::Registration(news) => inner.registration(&news),
            Notice::SinkFailed(error) => {
                inner.sink_failures.inc();
                self.state().health.sink_failed(error);
            }
            Notice::SinkRecovered => self.state().health.sink_recovered(),
            Notice::Started { .. } => self.state().health.started(),
            Notice::Synced { sync, commit } => {
                inner.syncs.inc();
                inner.removed.inc_by(sync.removed as u64);
                if let Some(commit) = commit {
                    self.count_commit("sync", Some(commit));
                }
            }
            Notice::Unanswered { .. } => {
                inner.unanswered.inc();
            }
            Notice::Unserved { resource, files, .. } => {
                let files = i64::try_from(files).unwrap_or(i64::MAX);
                inner.unserved.get_or_create(&ByResource { resource: resource.to_string() }).set(files);
            }
            Notice::NotVerified { .. } => {
                inner.verifications.get_or_create(&ByOutcome { outcome: "failed" }).inc();
            }
            Notice::Verified { verified, commit } => {
                inner.verified(verified);
                if let Some(commit) = commit {
                    self.count_commit("verify", Some(commit));
                }
            }
            Notice::IdentitiesRead { .. }
            | Notice::IdentitiesRefused { .. }
            | Notice::Listed { .. }
            | Notice::Watching { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
