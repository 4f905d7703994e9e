//! What a commit says.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Write},
};

use crate::{Change, Drifted, Resource};

pub(crate) mod clean;
mod group;
mod recorded;
mod template;
mod trailers;
mod verify;

pub use group::{Grouped, GroupedObject};
pub use recorded::{RecordedVersion, add_trailer, trailers};
pub use template::{MessageTemplateError, TemplateMessage};
pub use trailers::{note, with_group_trailers, with_trailers, without_trailers};

/// Words a commit's message.
///
/// # Contract
/// Pure, and the message is not blank: its first line that isn't blank is the subject, what follows the body. The flow
/// does the rest ([`with_trailers`]): it writes the trailers behind, which tools rely on, and makes safe what names and
/// reasons bring in. `testing::message_conforms` (feature `testing`) checks it.
///
/// ```
/// use reverser_core::{Change, CommitMessage, DefaultMessage, ObjectRef, Operation, Resource, message::Synced};
///
/// /// Only says what, for a log that is read by programs.
/// #[derive(Debug)]
/// struct Terse;
///
/// impl CommitMessage for Terse {
///     fn change(&self, change: &Change) -> String {
///         format!("{} {}", change.operation, change.object.name)
///     }
///
///     fn sync(&self, sync: &Synced) -> String {
///         DefaultMessage.sync(sync)
///     }
/// }
///
/// let resource = Resource::new("", "v1", "Node", "nodes").cluster_scoped().into();
/// let node = ObjectRef { resource, namespace: None, name: "n-1".into(), uid: None };
/// assert_eq!(Terse.change(&Change::new(node, Operation::Delete, None)), "DELETE n-1");
/// # #[cfg(feature = "testing")]
/// reverser_core::testing::message_conforms(&Terse);
/// ```
pub trait CommitMessage: Debug + Send + Sync {
    /// Returns subject and body for one change.
    fn change(&self, change: &Change) -> String;

    /// Returns subject and body for a commit of several changes; not asked for a single one. Default: [`DefaultMessage`]'s.
    fn group(&self, group: &Grouped<'_>) -> String {
        DefaultMessage.group(group)
    }

    /// Returns subject and body for a commit that brings many files in line with a complete list of the objects.
    fn sync(&self, sync: &Synced) -> String;

    /// Returns subject and body for a commit that repairs what a verification has found; never of nothing. Default:
    /// [`DefaultMessage`]'s.
    fn verify(&self, repaired: &[Drifted]) -> String {
        DefaultMessage.verify(repaired)
    }
}

/// What a `[SYNC]` commit did, by resource.
///
/// ```
/// use reverser_core::{CommitMessage, DefaultMessage, Resource, message::Synced};
///
/// let sync = Synced { objects: [(Resource::new("apps", "v1", "Deployment", "deployments"), 2)].into(), removed: 1 };
/// assert_eq!(DefaultMessage.sync(&sync), "[SYNC] 2 objects, 1 removed\n\n- apps/v1/deployments: 2");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// How many objects of each resource were listed.
    pub objects: BTreeMap<Resource, usize>,
    /// How many files of objects that no longer exist were removed.
    pub removed: usize,
}

/// `[CREATE] apps/v1/deployments/web`, with the namespace and the reason in the body; for several objects
/// `[CREATE] 3 objects` or `[CHANGE] 3 objects: 2 created, 1 deleted`, with the first 100 of them in the body,
/// and likewise `[VERIFY] 3 objects: 1 missing, 2 different`.
///
/// ```
/// use reverser_core::{Change, CommitMessage, DefaultMessage, ObjectRef, Operation, Resource};
///
/// let resource = Resource::new("apps", "v1", "Deployment", "deployments").into();
/// let web = ObjectRef { resource, namespace: Some("shop".into()), name: "web".into(), uid: None };
/// let change = Change::new(web, Operation::Create, None).because("Black Friday");
/// assert_eq!(DefaultMessage.change(&change), "[CREATE] apps/v1/deployments/web\n\nNamespace: shop\n\nBlack Friday");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultMessage;

impl CommitMessage for DefaultMessage {
    fn change(&self, change: &Change) -> String {
        let mut message = format!("[{}] {}", change.operation, clean::line(&change.object.to_string()));
        if let Some(namespace) = &change.object.namespace {
            let _infallible = write!(message, "\n\nNamespace: {}", clean::line(namespace));
        }
        if let Some(reason) = change.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty()) {
            let _infallible = write!(message, "\n\n{reason}");
        }
        message
    }

    fn group(&self, group: &Grouped<'_>) -> String {
        group::default(group)
    }

    fn sync(&self, sync: &Synced) -> String {
        let total: usize = sync.objects.values().sum();
        let plural = if total == 1 { "" } else { "s" };
        let mut message = format!("[SYNC] {total} object{plural}");
        if sync.removed > 0 {
            let _infallible = write!(message, ", {} removed", sync.removed);
        }
        let mut lines = sync.objects.iter().filter(|(_, count)| **count > 0).peekable();
        if lines.peek().is_some() {
            message.push('\n');
        }
        for (resource, count) in lines {
            let _infallible = write!(message, "\n- {resource}: {count}");
        }
        message
    }

    fn verify(&self, repaired: &[Drifted]) -> String {
        verify::default(repaired)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Actor, ObjectRef, Operation, testing::message_conforms};

    fn change() -> Change {
        let resource = Resource::new("apps", "v1", "Deployment", "deployments");
        let object = ObjectRef {
            resource: Arc::new(resource),
            namespace: Some("shop".into()),
            name: "web".into(),
            uid: Some("u-1".into()),
        };
        Change { resource_version: Some("42".into()), ..Change::new(object, Operation::Create, None) }
    }

    #[test]
    fn a_change_says_what_where_why_and_who() {
        let change = change().by(Actor::user("alice")).because("black friday\n\nsecond paragraph\u{0}");
        insta::assert_snapshot!(with_trailers(&DefaultMessage.change(&change), &change), @r"
        [CREATE] apps/v1/deployments/web

        Namespace: shop

        black friday

        second paragraph

        Reverser-Actor: alice
        Reverser-Evidence: host
        Reverser-Uid: u-1
        Reverser-Resource-Version: 42
        ");
    }

    #[test]
    fn the_default_conforms() {
        message_conforms(&DefaultMessage);
    }

    #[test]
    fn an_actor_cannot_add_a_trailer_of_its_own() {
        let change = change().by(Actor::user("eve\nReverser-Evidence: audit"));
        let text = with_trailers(&DefaultMessage.change(&change), &change);
        assert!(text.contains("Reverser-Actor: eve Reverser-Evidence: audit\nReverser-Evidence: host\n"), "{text}");
    }

    #[test]
    fn nobody_is_named_without_evidence() {
        let text = with_trailers(&DefaultMessage.change(&change()), &change());
        assert!(text.contains("Reverser-Evidence: unknown\n") && !text.contains("Reverser-Actor"), "{text}");
    }

    #[test]
    fn a_sync_counts_by_resource() {
        let resource = |plural: &str| Resource::new("", "v1", "", plural);
        let sync = Synced {
            objects: [(resource("services"), 2), (resource("configmaps"), 1), (resource("pods"), 0)].into(),
            removed: 3,
        };
        insta::assert_snapshot!(DefaultMessage.sync(&sync), @r"
        [SYNC] 3 objects, 3 removed

        - v1/configmaps: 1
        - v1/services: 2
        ");
    }
}
