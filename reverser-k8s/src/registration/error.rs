//! What can't be registered, and what to do about it.

use super::{RESOURCE, command_to_remove};
use crate::report::chain;

/// The API server could not be asked to send requests, or to stop that.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The user may not do all that it takes.
    #[error(
        "not allowed to {} {RESOURCE} {name}: grant a ClusterRole with {{apiGroups: [\"admissionregistration.k8s.io\"], \
         resources: [\"validatingwebhookconfigurations\"], resourceNames: [\"{name}\"], verbs: [{}]}}",
        .missing.join(", "), super::VERBS.join(", ")
    )]
    Forbidden {
        /// The configuration's name.
        name: String,
        /// The verbs that are missing.
        missing: Vec<&'static str>,
    },
    /// Nothing that is captured reaches webhooks: there is nothing to register.
    #[error("nothing that is captured is sent to webhooks: {why}")]
    Nothing {
        /// What leaves nothing, in words.
        why: String,
    },
    /// The configuration could not be removed.
    #[error("could not remove the {RESOURCE} {name}; remove it with `{}`", command_to_remove(.name))]
    Remains {
        /// The configuration's name.
        name: String,
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// A request failed.
    #[error("could not {action} the {RESOURCE} {name}")]
    Request {
        /// What was tried: `apply`, `read`, …
        action: &'static str,
        /// The configuration's name.
        name: String,
        /// Why it failed.
        #[source]
        source: kube::Error,
    },
}

impl RegistrationError {
    /// Returns whether only a person can help: trying again at once is pointless.
    pub fn is_for_a_person(&self) -> bool {
        match self {
            Self::Forbidden { .. } | Self::Nothing { .. } => true,
            Self::Remains { source, .. } | Self::Request { source, .. } => is_refusal(source),
        }
    }

    /// Returns it with all of its causes, in words.
    pub fn words(&self) -> String {
        chain(self)
    }
}

/// Whether the API server has understood the request and won't do it, rather than can't for the moment.
pub(super) fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && !matches!(status.code, 408 | 409 | 429))
}
