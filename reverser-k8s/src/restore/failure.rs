//! Why an object could not be restored, and what to do about it.

use kube::core::Status;
use reverser_core::{ObjectRef, Resource};

use crate::{api_error::ApiError, discover::Catalog, report::chain};

/// An object could not be restored. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The request failed.
    #[error("{}", chain(.0))]
    Api(#[source] ApiError),
    /// Others have written fields that the file has otherwise.
    #[error("others have changed what Git has otherwise: {}; --force-conflicts takes it back from them", fields(.0))]
    Conflict(Vec<FieldConflict>),
    /// It is on its way out.
    #[error("it is being deleted, and its finalizers aren't done: wait until it is gone, and run this again")]
    Deleting,
    /// The definition was applied, and its kind doesn't come to be served.
    #[error("its kind did not come to be served within {limit:?}: {why}; mend it and run this again")]
    Establish {
        /// How long was waited.
        limit: std::time::Duration,
        /// What the definition says of itself.
        why: String,
    },
    /// A field that can't be changed is to be changed.
    #[error(
        "{words}; a field that can't be changed takes a new object: delete this one (kubectl delete {object}) and run this again"
    )]
    Immutable {
        /// What kubectl calls it.
        object: String,
        /// The server's words.
        words: String,
    },
    /// It keeps being changed by somebody else.
    #[error("it is changed by somebody else all the time: find out by whom, and run this again")]
    Moving,
    /// Its namespace is neither in the cluster nor among what is restored.
    #[error(
        "there is no namespace {namespace}, neither in the cluster nor in what is restored: create it (kubectl create namespace {namespace}) and run this again"
    )]
    NoNamespace {
        /// Its name.
        namespace: String,
    },
    /// Nothing serves its kind.
    #[error("the API server serves no {kind} of {api_version}{hint}")]
    NotServed {
        /// As the file says.
        api_version: String,
        /// As the file says.
        kind: String,
        /// `: …`, what to do.
        hint: String,
    },
    /// It was there for the listing, and isn't what it was.
    #[error("another object of that name is there by now, and stays: run this again to see it")]
    Replaced,
    /// The server refuses the object as it is: validation, admission, a policy.
    #[error("the API server refuses it: {words}; change it in Git, or what forbids it in the cluster")]
    Refused {
        /// The server's words.
        words: String,
    },
    /// The file isn't an object.
    #[error("{0}")]
    Unreadable(String),
}

/// A field, and who else has written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConflict {
    /// Such as `.data.key`.
    pub field: String,
    /// The field manager, as the server describes it.
    pub manager: String,
}

impl Failure {
    /// Tells the refusals of an apply apart.
    pub(super) fn of(error: kube::Error, object: &ObjectRef) -> Self {
        let kube::Error::Api(status) = &error else { return Self::of_request(error, object) };
        let words = status.message.clone();
        let is_by_rbac = words.contains(" cannot patch resource ") || words.contains(" cannot create resource ");
        match status.code {
            400 | 422 if is_immutable(status) => Self::Immutable { object: kubectl_name(object), words },
            400 | 405 | 413 | 422 => Self::Refused { words },
            500 if is_ill_typed(status) => Self::Refused { words },
            403 if !is_by_rbac => Self::Refused { words },
            404 if status.details.as_ref().is_some_and(|details| details.kind == "namespaces") => {
                Self::NoNamespace { namespace: object.namespace.clone().unwrap_or_default() }
            }
            409 if !field_conflicts(status).is_empty() => Self::Conflict(field_conflicts(status)),
            409 => Self::Moving,
            _ => Self::of_request(error, object),
        }
    }

    /// Returns why a request about an object came to nothing.
    pub(super) fn of_request(error: kube::Error, object: &ObjectRef) -> Self {
        Self::Api(ApiError::of(error, VERBS, &object.resource, object.namespace.as_deref()))
    }

    /// Returns why a deletion failed.
    pub(super) fn of_deletion(error: kube::Error, object: &ObjectRef) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 409 => Self::Replaced,
            _ => Self::Api(ApiError::of(error, "delete", &object.resource, object.namespace.as_deref())),
        }
    }

    pub(super) fn not_served(api_version: &str, kind: &str, catalog: &Catalog) -> Self {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let hint = match catalog.watchable().find(|resource| resource.group == group && resource.kind == kind) {
            Some(served) => format!(": it serves {} now, write the file in that version", served.api_version()),
            None => ", and its CRD isn't in what is restored: install that first, or restore it, too".to_owned(),
        };
        Self::NotServed { api_version: api_version.to_owned(), kind: kind.to_owned(), hint }
    }
}

/// What a restore has to be allowed to do.
pub(super) const VERBS: &str = "get, create, patch";

/// Returns the fields of a refused apply, and whose they are. The causes are those of
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts>.
pub(super) fn field_conflicts(status: &Status) -> Vec<FieldConflict> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let causes = causes.filter(|cause| cause.reason == "FieldManagerConflict");
    let conflict = |cause: &kube::core::response::StatusCause| FieldConflict {
        field: cause.field.clone(),
        manager: cause.message.strip_prefix("conflict with ").unwrap_or(&cause.message).to_owned(),
    };
    causes.map(conflict).collect()
}

/// Returns whether a field has another type than the kind's: text where a number belongs. To a server-side apply the API server
/// says 500 then, from `k8s.io/apimachinery/pkg/util/managedfields`.
pub(super) fn is_ill_typed(status: &Status) -> bool {
    status.message.starts_with("failed to create typed patch object")
}

/// Validation has no code of its own for it, but says so in the words that `k8s.io/apimachinery` has for all kinds, or in those
/// that single kinds have.
fn is_immutable(status: &Status) -> bool {
    IMMUTABLE.iter().any(|words| status.message.contains(words))
}

const IMMUTABLE: [&str; 5] = [
    "immutable",
    "may not change",
    "may not be changed",
    "are forbidden", // "pod updates may not …", "updates to statefulset spec for fields other than … are forbidden"
    "can't be changed",
];

/// Returns what kubectl takes for the object.
fn kubectl_name(object: &ObjectRef) -> String {
    let place = object.namespace.as_ref().map(|namespace| format!("-n {namespace} ")).unwrap_or_default();
    format!("{place}{}/{}", Resource::qualified(&object.resource), object.name)
}

/// Names a few, and says how many more there are.
fn fields(conflicts: &[FieldConflict]) -> String {
    let named: Vec<_> =
        conflicts.iter().take(SHOWN).map(|conflict| format!("{} by {}", conflict.field, conflict.manager)).collect();
    let more = conflicts.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    named.join(", ") + &more
}

/// In one line for people.
const SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failure(status: serde_json::Value) -> Failure {
        let resource = Resource::new("apps", "v1", "Deployment", "deployments").into();
        let web = ObjectRef { resource, namespace: Some("shop".into()), name: "web".into(), uid: None };
        Failure::of(kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())), &web)
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let causes = json!([
            {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\" using apps/v1", "field": ".spec.replicas"},
        ]);
        for (status, said) in [
            (
                json!({"code": 409, "details": {"causes": causes}}),
                r#".spec.replicas by "kubectl-edit" using apps/v1; --force-conflicts"#,
            ),
            (json!({"code": 409, "message": "the object has been modified"}), "changed by somebody else all the time"),
            (
                json!({"code": 422, "message": "spec.selector: Invalid value: x: field is immutable"}),
                "kubectl delete -n shop deployments.apps/web",
            ),
            (json!({"code": 422, "message": "spec.replicas: Invalid value: -1"}), "refuses it: spec.replicas"),
            (json!({"code": 403, "message": "exceeded quota: q"}), "refuses it: exceeded quota"),
            (
                json!({"code": 500, "message": "failed to create typed patch object (a/b): .data.a: expected string"}),
                ".data.a: expected string; change it in Git",
            ),
            (
                json!({"code": 403, "message": "deployments.apps \"web\" is forbidden: User \"bob\" cannot patch resource \"deployments\""}),
                "grant a Role with {apiGroups: [\"apps\"], resources: [\"deployments\"], verbs: [get, create, patch]}",
            ),
            (
                json!({"code": 404, "message": "namespaces \"shop\" not found", "details": {"kind": "namespaces"}}),
                "kubectl create namespace shop",
            ),
        ] {
            let message = failure(status).to_string();
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn of_many_fields_a_few_are_named() {
        let conflict = |n: usize| FieldConflict { field: format!(".data.{n}"), manager: "\"x\"".into() };
        let message = Failure::Conflict((0..7).map(conflict).collect()).to_string();
        assert!(message.contains(".data.4 by \"x\" and 2 more;"), "{message}");
    }
}
