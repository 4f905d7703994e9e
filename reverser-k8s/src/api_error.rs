//! What the API server answered instead, in words that say what to do about it.

use std::time::Duration;

use reverser_core::Resource;

/// A request to the API server failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The credentials are missing, wrong or expired (401).
    #[error("the API server does not accept the credentials (401): log in again, or renew the kubeconfig's user")]
    Credentials {
        /// The whole answer.
        #[source]
        source: kube::Error,
    },
    /// The position is older than what the server remembers (410).
    #[error("the API server no longer knows this resourceVersion (410)")]
    Expired,
    /// The user may not do this (403).
    #[error("not allowed to {verbs} {resource}{place}: grant {rule}")]
    Forbidden {
        /// `list`, `watch`, `update`, …
        verbs: &'static str,
        /// As kubectl names it, `deployments.apps`.
        resource: String,
        /// ` in namespace x`, or nothing.
        place: String,
        /// The RBAC rule that is missing.
        rule: String,
    },
    /// The server doesn't serve this (404): its CRD or API service is gone.
    #[error("the API server does not serve {resource} (404)")]
    NotServed {
        /// `group/version/plural`.
        resource: String,
    },
    /// The server's versions are lower than one that it gave out before: it was restored from a backup.
    #[error(
        "the API server is at resourceVersion {current} of {resource}, and was at {cursor} before: etcd was restored from a \
         backup; everything is listed anew"
    )]
    Restored {
        /// As kubectl names it, `deployments.apps`.
        resource: String,
        /// The position that means nothing any more.
        cursor: String,
        /// Where the server is.
        current: String,
    },
    /// Anything else: a network that is down, a server that is overloaded.
    #[error("could not {action}")]
    Request {
        /// What was tried, such as `watch apps/v1/deployments`.
        action: String,
        /// Why it failed.
        #[source]
        source: kube::Error,
    },
}

impl ApiError {
    /// Tells the cases of one request apart. `verbs` and `resource` name what was tried.
    pub(crate) fn of(source: kube::Error, verbs: &'static str, resource: &Resource, namespace: Option<&str>) -> Self {
        let code = match &source {
            kube::Error::Api(status) => status.code,
            _ => 0,
        };
        match code {
            401 => Self::Credentials { source },
            403 => Self::forbidden(verbs, resource, namespace),
            404 => Self::NotServed { resource: resource.to_string() },
            410 => Self::Expired,
            _ => Self::Request { action: format!("{verbs} {resource}"), source },
        }
    }

    pub(crate) fn forbidden(verbs: &'static str, resource: &Resource, namespace: Option<&str>) -> Self {
        Self::Forbidden {
            verbs,
            resource: resource.qualified(),
            place: namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default(),
            rule: missing_rule(verbs, resource, namespace),
        }
    }

    /// Copies it for somebody else who has to know. The causes' texts stay, and what an API server answered; the rest of a
    /// cause can't be copied.
    pub(crate) fn copy(&self) -> Self {
        let cause = |source: &kube::Error| match source {
            kube::Error::Api(status) => kube::Error::Api(status.clone()),
            other => kube::Error::Service(crate::report::chain(other).into()),
        };
        match self {
            Self::Credentials { source } => Self::Credentials { source: cause(source) },
            Self::Expired => Self::Expired,
            Self::Forbidden { verbs, resource, place, rule } => {
                let (resource, place, rule) = (resource.clone(), place.clone(), rule.clone());
                Self::Forbidden { verbs, resource, place, rule }
            }
            Self::NotServed { resource } => Self::NotServed { resource: resource.clone() },
            Self::Request { action, source } => Self::Request { action: action.clone(), source: cause(source) },
            Self::Restored { resource, cursor, current } => {
                let (resource, cursor, current) = (resource.clone(), cursor.clone(), current.clone());
                Self::Restored { resource, cursor, current }
            }
        }
    }

    /// Returns its kind in one word, for those who count: `credentials`, `expired`, `forbidden`, `not_served`, `restored`,
    /// `throttled` (429), `server` (5xx), `refused` (another answer) or `unreachable`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Credentials { .. } => "credentials",
            Self::Expired => "expired",
            Self::Forbidden { .. } => "forbidden",
            Self::NotServed { .. } => "not_served",
            Self::Restored { .. } => "restored",
            Self::Request { source: kube::Error::Api(status), .. } => match status.code {
                429 => "throttled",
                500.. => "server",
                _ => "refused",
            },
            Self::Request { .. } => "unreachable",
        }
    }

    /// Returns whether only a person can help: trying again at once is pointless.
    pub fn is_for_a_person(&self) -> bool {
        matches!(self, Self::Credentials { .. } | Self::Forbidden { .. } | Self::NotServed { .. })
    }

    /// Returns for how long the server wants to be left alone: its `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let Self::Request { source: kube::Error::Api(status), .. } = self else { return None };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// Returns whether another request for the same might be answered: this one wasn't understood (400, 405, 422), or this
    /// verb isn't allowed (403).
    pub(crate) fn is_refused_as_such(&self) -> bool {
        match self {
            Self::Forbidden { .. } => true,
            Self::Request { source: kube::Error::Api(status), .. } => matches!(status.code, 400 | 405 | 422),
            _ => false,
        }
    }

    /// Returns whether the server says that it can't answer for the moment (429, 5xx).
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::Request { source: kube::Error::Api(status), .. } => matches!(status.code, 429 | 500..),
            _ => false,
        }
    }

    /// Returns whether the API server was restored from a backup.
    pub(crate) fn is_restored(&self) -> bool {
        matches!(self, Self::Restored { .. })
    }

    /// Returns whether the user may not do this.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }
}

/// The rule as it stands in a Role or ClusterRole. <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>
fn missing_rule(verbs: &str, resource: &Resource, namespace: Option<&str>) -> String {
    // Who may list but not watch lacks one of three that belong together.
    let verbs = if matches!(verbs, "list" | "watch") { "get, list, watch" } else { verbs };
    let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
    format!(
        "a {kind} with {{apiGroups: [\"{}\"], resources: [\"{}\"], verbs: [{verbs}]}}",
        resource.group, resource.plural
    )
}
