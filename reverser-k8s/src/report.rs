//! What the flow has to tell while it runs, for people and for logs.

use std::{fmt::Debug, time::Duration};

use kube::core::Status;
use reverser_core::{Actor, Attribution, Change, ObjectRef, RepoPath, Resource, SealError, message::Synced};
use reverser_git::{CommitId, Obstructed, SinkError};

pub use self::endpoint::{Endpoint, EndpointNotice};
use crate::{
    api_error::ApiError,
    compare::CompareError,
    identities::{IdentitySource, IdentitySourceError},
    registration::RegistrationNews,
    reverser::Verified,
    source::Gap,
};

mod endpoint;

/// Hears what happens.
///
/// # Contract
/// Called from the flow itself: it must not block. It never sees the content of an object.
pub trait Reporter: Debug + Send + Sync {
    /// Takes note.
    fn report(&self, notice: Notice<'_>);
}

/// Tells both, the first one first; pairs of pairs tell more.
impl<A: Reporter, B: Reporter> Reporter for (A, B) {
    fn report(&self, notice: Notice<'_>) {
        self.0.report(notice.clone());
        self.1.report(notice);
    }
}

/// Something worth telling.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// An object that churned doesn't any more: it has changed at most 15 times within a minute.
    Calmed {
        /// Which one.
        object: &'a ObjectRef,
        /// How often it has changed meanwhile.
        changes: u64,
        /// How long it churned.
        lasted: Duration,
    },
    /// An object's content has changed more than 30 times within a minute. Told once, until it has calmed down.
    Churning {
        /// Which one.
        object: &'a ObjectRef,
        /// How often it changes.
        per_minute: u32,
        /// Who does it; `None`: several, or nobody knows.
        actor: Option<&'a Actor>,
    },
    /// A change is committed.
    Committed {
        /// What happened; its body is gone.
        change: &'a Change,
        /// The commit; `None` where the sink keeps no history.
        commit: Option<&'a CommitId>,
        /// How long after it was read it is durable.
        took: Duration,
        /// How many changes it stands for, itself included: more than one where changes are coalesced.
        stands_for: u64,
    },
    /// Two sources of authors name different ones for one change.
    Disagreed {
        /// Whose change.
        object: &'a ObjectRef,
        /// Who it was by admission.
        admission: &'a Attribution,
        /// Who it was by the audit events, which are right.
        audit: &'a Attribution,
        /// Whether people should hear of it: of one a minute. Otherwise it is one more for those who count.
        is_news: bool,
    },
    /// A change was committed as somebody's, and what came to be known later names somebody else. A note on the commit says so.
    Contradicted {
        /// What happened, by whom it is known to have been.
        change: &'a Change,
        /// Whom its commit names.
        committed: &'a Actor,
        /// Its commit.
        commit: &'a CommitId,
    },
    /// What the endpoint that API servers call has to tell.
    Endpoint(EndpointNotice<'a>),
    /// A source can't go on for the moment.
    Failed {
        /// The source's id.
        source: &'a str,
        /// Why.
        error: &'a ApiError,
        /// Whether people should hear of it: of a failure that waits for a person once for each source, of one that will pass
        /// only of the first source. Otherwise it is one more for those who count.
        is_news: bool,
    },
    /// Who made some changes is no longer asked, although it might still become known, since too many came after them.
    Forgotten {
        /// How many.
        changes: usize,
    },
    /// A source had a gap behind it, since the API server had forgotten its position.
    Gap {
        /// The source's id.
        source: &'a str,
        /// What became of it.
        gap: &'a Gap,
    },
    /// A sweep would delete so many files that a mistake is more likely: they stay.
    Held {
        /// What was listed.
        resource: &'a Resource,
        /// How many of its files have no object any more.
        files: usize,
        /// Out of how many.
        of: usize,
    },
    /// The rules that name users have changed.
    IdentitiesRead {
        /// Where they are.
        source: &'a IdentitySource,
        /// How many there are.
        rules: usize,
    },
    /// The rules that name users have changed, and aren't followed: they can't be read, or are wrong. The former ones stay.
    IdentitiesRefused {
        /// Where, and why.
        error: &'a IdentitySourceError,
    },
    /// A complete list was read at the start.
    Listed {
        /// What was listed.
        resource: &'a Resource,
        /// How many objects there are.
        objects: usize,
    },
    /// It has become known who made a change after it was committed, and a note on the commit says it.
    Noted {
        /// What happened, by whom it is known to have been.
        change: &'a Change,
        /// Its commit, as it was made.
        commit: &'a CommitId,
    },
    /// What a source tells of could not be compared with Git. It is tried again in its turn.
    NotVerified {
        /// The source's id.
        source: &'a str,
        /// Why.
        error: &'a CompareError,
    },
    /// A file is not written, since somebody's symbolic link or submodule is in the way. Its next change, or the next
    /// complete list, tries again.
    Obstructed(&'a Obstructed),
    /// A source isn't read for the moment, as what was read takes all the room that there is until Git has taken it. It goes on
    /// from there.
    Paused {
        /// The source's id.
        source: &'a str,
    },
    /// A source that had failed goes on.
    Recovered {
        /// The source's id.
        source: &'a str,
        /// Whether people should hear of it: they heard of its failure, or it is the last of those that failed.
        is_news: bool,
    },
    /// The requests that say who made changes are sent, or aren't for the moment.
    Registration(RegistrationNews<'a>),
    /// An object is not written, since it is sensitive.
    Refused(&'a SealError),
    /// Nothing can be committed for the moment; it is tried again.
    SinkFailed(&'a SinkError),
    /// What could not be committed is.
    SinkRecovered,
    /// The first sync is over, and changes are being followed.
    Started {
        /// How many resources are watched.
        sources: usize,
    },
    /// Git was brought in line with complete lists.
    Synced {
        /// What was done.
        sync: &'a Synced,
        /// The commit; `None` when nothing differed, or where the sink keeps no history.
        commit: Option<&'a CommitId>,
    },
    /// A change is committed without its author, although it has waited for one.
    Unanswered {
        /// What happened.
        change: &'a Change,
        /// How long it has waited.
        waited: Duration,
    },
    /// Files stay although nothing of their kind is served any more: nobody knows whether their objects are gone.
    Unserved {
        /// Of what, as `group/version/plural`.
        resource: &'a Resource,
        /// How many files.
        files: usize,
        /// One of them.
        example: &'a RepoPath,
    },
    /// A resource that has gone is no longer watched.
    Unwatched {
        /// The source's id.
        source: &'a str,
    },
    /// A resource was compared with Git, and what differed repaired. Told of each, also when all was right.
    Verified {
        /// What was found.
        verified: &'a Verified,
        /// The repair; `None` when there was nothing to repair, or where the sink keeps no history.
        commit: Option<&'a CommitId>,
    },
    /// A resource that has come up is watched.
    Watching {
        /// The source's id.
        source: &'a str,
    },
}

/// Reports to `tracing`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogReporter;

impl Reporter for LogReporter {
    fn report(&self, notice: Notice<'_>) {
        match notice {
            Notice::Calmed { object, changes, lasted } => tracing::info!(
                %object,
                namespace = object.namespace.as_deref(),
                changes,
                seconds = lasted.as_secs(),
                "no longer changes all the time"
            ),
            Notice::Churning { object, per_minute, actor } => tracing::warn!(
                %object,
                namespace = object.namespace.as_deref(),
                per_minute,
                actor = actor.map_or("several or unknown", |actor| &actor.name),
                "changes all the time: stop whoever does it, leave the object out, or coalesce its changes"
            ),
            Notice::Committed { change, commit, .. } => tracing::info!(
                operation = %change.operation,
                object = %change.object,
                namespace = change.object.namespace.as_deref(),
                actor = %change.attribution,
                evidence = change.attribution.evidence(),
                resource_version = change.resource_version.as_deref(),
                commit = commit.map(tracing::field::display),
                "committed"
            ),
            Notice::Disagreed { object, admission, audit, is_news: true } => tracing::warn!(
                %object,
                namespace = object.namespace.as_deref(),
                admission = names(admission),
                audit = names(audit),
                "admission and audit name different users: audit counts"
            ),
            Notice::Disagreed { is_news: false, .. }
            | Notice::Failed { is_news: false, .. }
            | Notice::Recovered { is_news: false, .. } => {}
            Notice::Contradicted { change, committed, commit } => tracing::warn!(
                object = %change.object,
                namespace = change.object.namespace.as_deref(),
                actor = change.attribution.actor().map(|actor| &*actor.name),
                committed = &*committed.name,
                %commit,
                "committed as somebody else's; a note on the commit says whose it is"
            ),
            Notice::Forgotten { changes } => {
                tracing::debug!(changes, "no longer asked who made them: too many came after them");
            }
            Notice::Endpoint(notice) => notice.log(),
            Notice::Failed { source, error, .. } => {
                tracing::warn!(source = resource_of(source), error = %chain(error), "not watched for the moment");
            }
            Notice::Gap { source, gap } => report_gap(resource_of(source), gap),
            Notice::Held { resource, files, of } => tracing::error!(
                %resource, files, of,
                "sweep held: so many files without an object look like a mistake; check, then allow mass deletion"
            ),
            Notice::Obstructed(obstructed) => tracing::error!("{obstructed}"),
            Notice::IdentitiesRead { source, rules } => tracing::info!(%source, rules, "identities read again"),
            Notice::IdentitiesRefused { error } => {
                tracing::error!(error = %chain(error), "identities not read: the former ones stay");
            }
            Notice::Listed { resource, objects } => tracing::debug!(%resource, objects, "listed"),
            Notice::Paused { source } => {
                tracing::info!(source = resource_of(source), "not read until Git has taken what was read");
            }
            Notice::Recovered { source, .. } => tracing::info!(source = resource_of(source), "watched again"),
            Notice::Noted { change, commit } => tracing::info!(
                object = %change.object,
                namespace = change.object.namespace.as_deref(),
                actor = change.attribution.actor().map(|actor| &*actor.name),
                %commit,
                "noted who made it, as that became known after the commit"
            ),
            Notice::Registration(news) => log_registration(&news),
            Notice::NotVerified { source, error } => {
                tracing::warn!(source = resource_of(source), error = %chain(error), "not verified");
            }
            Notice::Refused(error) => tracing::warn!(%error, "left out"),
            Notice::SinkFailed(error) => tracing::error!(error = %chain(error), "could not commit; trying again"),
            Notice::SinkRecovered => tracing::info!("committing again"),
            Notice::Started { sources } => tracing::info!(sources, "watching"),
            Notice::Synced { sync, commit } => tracing::info!(
                objects = sync.objects.values().sum::<usize>(),
                removed = sync.removed,
                commit = commit.map(tracing::field::display),
                "synced"
            ),
            Notice::Unanswered { change, waited } => tracing::debug!(
                object = %change.object,
                namespace = change.object.namespace.as_deref(),
                resource_version = change.resource_version.as_deref(),
                waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
                "waited for its author in vain"
            ),
            Notice::Unserved { resource, files, example } => tracing::warn!(
                %resource, files, %example,
                "no longer served: its files stay; if they are to go, delete them in Git"
            ),
            Notice::Unwatched { source } => {
                tracing::info!(source = resource_of(source), "no longer served, or replaced")
            }
            Notice::Verified { verified, commit } => log_verified(verified, commit),
            Notice::Watching { source } => tracing::info!(source = resource_of(source), "watching what has come up"),
        }
    }
}

/// Returns who is named.
pub fn names(attribution: &Attribution) -> String {
    match attribution {
        Attribution::Manager(manager) => manager.clone(),
        Attribution::Ambiguous(_) | Attribution::Known { .. } | Attribution::Unknown => attribution.to_string(),
    }
}

fn report_gap(source: &str, gap: &Gap) {
    match gap {
        Gap::Lost { from, until, why } => {
            tracing::warn!(source, from, until, why, "history lost: what happened meanwhile becomes one commit")
        }
        // After each restart of an API server all of its watches have one, and mostly nothing is in it.
        Gap::Recovered { changes: 0, from, until } => tracing::debug!(source, from, until, "nothing missed"),
        Gap::Recovered { changes, from, until } => tracing::info!(source, changes, from, until, "history recovered"),
    }
}

fn log_registration(news: &RegistrationNews<'_>) {
    match news {
        RegistrationNews::Failing { .. } | RegistrationNews::PutRight { .. } => tracing::warn!("{news}"),
        RegistrationNews::Remains { .. } => tracing::error!("{news}"),
        RegistrationNews::Recovered { .. } | RegistrationNews::Registered { .. } => tracing::info!("{news}"),
    }
}

/// At warning when Git was wrong.
fn log_verified(verified: &Verified, commit: Option<&CommitId>) {
    macro_rules! log {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                resource = %verified.resource,
                namespace = verified.namespace.as_deref(),
                objects = verified.objects,
                missing = verified.missing,
                extra = verified.extra,
                different = verified.different,
                superseded = verified.superseded,
                left_out = verified.left_out,
                took_ms = u64::try_from(verified.took.as_millis()).unwrap_or(u64::MAX),
                commit = commit.map(tracing::field::display),
                $message
            )
        };
    }
    match (verified.drifted(), commit) {
        (0, _) => log!(info, "verified"),
        (_, Some(_)) => log!(warn, "verified: Git was not as the cluster is, and is repaired"),
        (_, None) => log!(warn, "verified: Git is not as the cluster is"),
    }
}

/// Returns the part of a source's id that means something to people: it begins with the cluster and what tells runs
/// apart.
pub fn resource_of(source: &str) -> &str {
    source.splitn(3, '/').nth(2).unwrap_or(source)
}

/// Returns group, version and plural of a watch's resource, by the watch's id.
pub(crate) fn resource_parts(source: &str) -> Option<(&str, &str, &str)> {
    split_resource(resource_of(source))
}

/// Returns whether a source, as its id tells, is about this resource.
pub(crate) fn is_about(source: &str, resource: &Resource) -> bool {
    resource_parts(source) == Some((&resource.group, &resource.version, &resource.plural))
}

/// Takes apart what begins with `[group/]version/plural`.
pub(crate) fn split_resource(text: &str) -> Option<(&str, &str, &str)> {
    let mut parts = text.split('/');
    let first = parts.next()?;
    let (group, version) = if is_version(first) { ("", first) } else { (first, parts.next()?) };
    Some((group, version, parts.next()?))
}

/// Returns whether this looks like a version, as those of Kubernetes' own APIs do: `v1`, `v1beta2`.
pub(crate) fn is_version(text: &str) -> bool {
    text.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Returns an error's message with all of its causes.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = words(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = words(error);
        // Some libraries repeat their source in their own message.
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

/// An answer of the API server prints all of its fields, twice; its message is what says something.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(kube::Error::Api(status)) = error.downcast_ref() {
        return status.message.clone();
    }
    // As the cause of a `kube::Error` it is in its box.
    let status = error.downcast_ref::<Box<Status>>().map(AsRef::as_ref).or_else(|| error.downcast_ref::<Status>());
    status.map_or_else(|| error.to_string(), |status| status.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchs_id_tells_its_resource() {
        for (source, parts) in [
            ("uid/0123/v1/configmaps", Some(("", "v1", "configmaps"))),
            ("uid/0123/v1/configmaps/shop", Some(("", "v1", "configmaps"))),
            ("uid/0123/apps/v1/deployments", Some(("apps", "v1", "deployments"))),
            ("uid/0123/vpn.example.com/v1beta1/tunnels/shop", Some(("vpn.example.com", "v1beta1", "tunnels"))),
            ("audit.log", None),
            ("uid/0123/example.com/stable/tunnels", Some(("example.com", "stable", "tunnels"))),
        ] {
            assert_eq!(resource_parts(source), parts);
        }
    }

    #[test]
    fn an_answer_of_the_api_server_is_said_once() {
        for reason in ["", "ServiceUnavailable"] {
            let status = Status::failure("the server is going down", reason).with_code(503);
            let source = kube::Error::Api(status.boxed());
            let error = ApiError::Request { action: "list v1/configmaps".into(), source };
            assert_eq!(chain(&error), "could not list v1/configmaps: the server is going down");
        }
    }
}
