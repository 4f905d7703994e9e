//! From a typed object of a controller to a [`Change`].

use std::sync::Arc;

use reverser_core::{Change, ObjectRef, Operation, Resource};
use serde::Serialize;

/// Returns the change that created `object`. See [`of`].
pub fn created<K>(object: &K) -> Result<Change, ChangeError>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    of(object, &(), Operation::Create)
}

/// Returns the change that updated `object` to what it is. See [`of`].
pub fn updated<K>(object: &K) -> Result<Change, ChangeError>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    of(object, &(), Operation::Update)
}

/// Returns the change that deleted `object`. See [`of`].
pub fn deleted<K>(object: &K) -> Result<Change, ChangeError>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    of(object, &(), Operation::Delete)
}

/// Returns the change that `operation` made of `object`, which the API server returned.
///
/// Git gets what `K` serializes: a field that its type doesn't know is lost. A `DynamicObject` knows all of them.
pub fn of<K>(object: &K, kind: &K::DynamicType, operation: Operation) -> Result<Change, ChangeError>
where
    K: kube::Resource + Serialize,
{
    let name = || K::kind(kind).into_owned();
    let body = serde_json::to_value(object).map_err(|source| ChangeError::Serialize { kind: name(), source })?;
    // Whether there is a status subresource a type doesn't tell; an operator's own API has one as a rule.
    let resource = Resource::new(K::group(kind), K::version(kind), name(), K::plural(kind));
    let resource = Arc::new(Resource { namespaced: object.meta().namespace.is_some(), ..resource });
    let reference = ObjectRef::of(&resource, &body).ok_or_else(|| ChangeError::NoName { kind: name() })?;
    Ok(Change::new(reference, operation, Some(body)))
}

/// An object can't be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// It has no name, so it isn't one that the API server returned.
    #[error("a {kind} without metadata.name can't be recorded: record what the API server returned")]
    NoName {
        /// Its kind.
        kind: String,
    },
    /// It does not become JSON.
    #[error("could not serialize a {kind}")]
    Serialize {
        /// Its kind.
        kind: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_typed_object_becomes_a_change_of_its_resource() {
        let object =
            json!({"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "7"}, "data": {"k": "v"}});
        let object: ConfigMap = serde_json::from_value(object).unwrap();
        let change = updated(&object).unwrap();
        assert_eq!(change.object.to_string(), "v1/configmaps/a");
        assert_eq!((change.operation, change.resource_version.as_deref()), (Operation::Update, Some("7")));
    }

    #[test]
    fn an_object_without_a_name_is_an_error_that_says_what_to_record() {
        let error = created(&ConfigMap::default()).unwrap_err().to_string();
        assert!(error.contains("a ConfigMap without metadata.name"), "{error}");
    }
}
