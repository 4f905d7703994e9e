//! Which objects never go on in the clear.

use std::fmt::Debug;

use crate::{ObjectRef, Resource};

/// Turns the manifest of a sensitive object into one that may be read by anybody.
///
/// # Contract
/// What [`is_sensitive`] names is written as [`seal`] returns it, or not at all. Neither errors nor `Debug` show any of
/// the plain text. What is sealed keeps `apiVersion`, `kind`, name and namespace readable: by these a file is known as its
/// object's. `testing::seal_conforms` (feature `testing`) checks it.
///
/// [`is_sensitive`]: Self::is_sensitive
/// [`seal`]: Self::seal
///
/// ```
/// use reverser_core::{ObjectRef, RefuseSecrets, Resource, Seal, SealError};
///
/// /// Also knows the custom resources in which a token of ours is written in the clear.
/// #[derive(Debug)]
/// struct RefuseTokens;
///
/// impl Seal for RefuseTokens {
///     fn is_sensitive(&self, resource: &Resource) -> bool {
///         RefuseSecrets.is_sensitive(resource) || resource.qualified() == "tokens.example.com"
///     }
///
///     fn seal(&self, object: &ObjectRef, plain: &str) -> Result<String, SealError> {
///         RefuseSecrets.seal(object, plain)
///     }
/// }
///
/// assert!(RefuseTokens.is_sensitive(&Resource::new("example.com", "v1", "Token", "tokens")));
/// # #[cfg(feature = "testing")]
/// reverser_core::testing::seal_conforms(&RefuseTokens);
/// ```
pub trait Seal: Debug + Send + Sync {
    /// Returns whether objects of this resource may only be written sealed.
    fn is_sensitive(&self, resource: &Resource) -> bool;

    /// Returns the sealed manifest.
    ///
    /// # Errors
    /// It can't be sealed: the object is left out, and a notice shows the error.
    fn seal(&self, object: &ObjectRef, plain: &str) -> Result<String, SealError>;
}

/// Knows that Secrets are sensitive and has no key: they are left out.
///
/// ```
/// use reverser_core::{RefuseSecrets, Resource, Seal};
///
/// assert!(RefuseSecrets.is_sensitive(&Resource::new("", "v1", "Secret", "secrets")));
/// assert!(!RefuseSecrets.is_sensitive(&Resource::new("", "v1", "ConfigMap", "configmaps")));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RefuseSecrets;

impl Seal for RefuseSecrets {
    fn is_sensitive(&self, resource: &Resource) -> bool {
        resource.group.is_empty() && resource.plural == "secrets"
    }

    fn seal(&self, object: &ObjectRef, _plain: &str) -> Result<String, SealError> {
        Err(SealError::NoKey { object: object.to_string() })
    }
}

/// An object can't be written since it can't be sealed.
///
/// ```
/// use reverser_core::{ObjectRef, RefuseSecrets, Resource, Seal};
///
/// let resource = Resource::new("", "v1", "Secret", "secrets").without_status().into();
/// let secret = ObjectRef { resource, namespace: Some("shop".into()), name: "db".into(), uid: None };
/// assert_eq!(
///     RefuseSecrets.seal(&secret, "stringData: {password: hunter2}").unwrap_err().to_string(),
///     "v1/secrets/db is sensitive and there is no key to encrypt it with: left out of Git"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Nothing to seal with is configured.
    #[error("{object} is sensitive and there is no key to encrypt it with: left out of Git")]
    NoKey {
        /// The object, by resource and name.
        object: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusing_conforms() {
        crate::testing::seal_conforms(&RefuseSecrets);
    }
}
