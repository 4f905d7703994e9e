//! From a typed object of a controller to a [`Change`].

use std::sync::Arc;

use reverser_core::{Change, ObjectRef, Operation, Resource};
use serde::Serialize;

/// Returns the change that created `object`.
pub fn created<K>(object: &K) -> Result<Change, ChangeError>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    change(object, Operation::Create)
}

/// Returns the change that updated `object` to what it is.
pub fn updated<K>(object: &K) -> Result<Change, ChangeError>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    change(object, Operation::Update)
}

/// Returns the change that deleted `object`.
pub fn deleted<K>(object: &K) -> Result<Change, ChangeError>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    change(object, Operation::Delete)
}

/// Returns the resource that objects of type `K` belong to. Whether it has a namespace is read off an object.
fn resource<K: kube::Resource<DynamicType = ()>>(namespaced: bool) -> Resource {
    Resource {
        group: K::group(&()).into(),
        version: K::version(&()).into(),
        kind: K::kind(&()).into(),
        plural: K::plural(&()).into(),
        namespaced,
    }
}

fn change<K>(object: &K, operation: Operation) -> Result<Change, ChangeError>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    let body = serde_json::to_value(object).map_err(|source| ChangeError::Serialize { kind: K::kind(&()).into(), source })?;
    let resource = Arc::new(resource::<K>(object.meta().namespace.is_some()));
    let reference = ObjectRef::of(&resource, &body).ok_or_else(|| ChangeError::NoName { kind: K::kind(&()).into() })?;
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
