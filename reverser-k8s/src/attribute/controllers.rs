//! The controllers of a cluster that delete what others ask for: by deleting a namespace, or an owner.

use reverser_core::Actor;

/// Deletes what is in a namespace that is deleted.
pub(crate) const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";

/// Deletes what an owner that is deleted owns.
pub(crate) const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

/// All controllers, where they have no accounts of their own (`--use-service-account-credentials=false`).
pub(crate) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// Who deletes on behalf of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controller {
    /// Any of them, which share one user: of these many delete on their own behalf.
    Any,
    GarbageCollector,
    Namespace,
}

impl Controller {
    /// Returns which one an actor is; `None`: nobody who acts for others.
    pub(crate) fn of(actor: &Actor) -> Option<Self> {
        match &*actor.name {
            CONTROLLER_MANAGER => Some(Self::Any),
            GARBAGE_COLLECTOR => Some(Self::GarbageCollector),
            NAMESPACE_CONTROLLER => Some(Self::Namespace),
            _ => None,
        }
    }
}

/// Returns whether it may still be found out whom this one did it for.
pub(crate) fn acts_for_others(actor: &Actor) -> bool {
    Controller::of(actor).is_some()
}
