//! Reads an `AdmissionReview` (admission.k8s.io/v1): how to answer it, and what it tells of who writes what. Pure.

use std::{borrow::Cow, collections::BTreeMap};

use reverser_core::{Actor, Fingerprinter};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fact::{Deed, Deletion, Fact, Root, Uid, Write, api_version};

/// Why a body is no review that can be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// It is no JSON, or not that of a review.
    #[error("it is no AdmissionReview: {reason}")]
    Syntax {
        /// What is wrong, and where.
        reason: String,
    },
    /// It is one of another version, which is answered in another form.
    #[error(
        "it is a {kind} of {api_version}, not an AdmissionReview of admission.k8s.io/v1; admissionReviewVersions says which"
    )]
    Version {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
}

/// Which kinds of objects a watch shows otherwise than admission, though nobody wrote them in between.
const DIFFERING: [(&str, &str); 2] = [
    ("", "persistentvolumeclaims"), // status.phase
    ("batch", "jobs"),              // labels of the Pod template, defaults that are set when it is read
];

/// How much of what an authenticator says of a user is kept, in bytes. Of who has more, only the name is.
const USER_BYTES: usize = 32 << 10;

/// A request that awaits an answer; it borrows from the body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Kind<'a>,
    #[serde(borrow, default)]
    resource: Resource<'a>,
    #[serde(borrow)]
    request_resource: Option<Resource<'a>>,
    #[serde(borrow)]
    sub_resource: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    old_object: Option<&'a RawValue>,
    #[serde(borrow)]
    options: Option<&'a RawValue>,
    dry_run: Option<bool>,
}

impl<'a> Request<'a> {
    /// Returns the request that is under review.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ReviewError> {
        let syntax = |reason: String| ReviewError::Syntax { reason };
        let review: Review<'a> = serde_json::from_slice(body).map_err(|error| syntax(error.to_string()))?;
        let (api_version, kind) = (review.api_version, review.kind);
        if (&*api_version, &*kind) != ("admission.k8s.io/v1", "AdmissionReview") {
            return Err(ReviewError::Version { api_version: api_version.into(), kind: kind.into() });
        }
        match review.request {
            None => Err(syntax("it has no request".to_owned())),
            Some(request) if request.uid.is_empty() => Err(syntax("its request has no uid".to_owned())),
            Some(request) => Ok(request),
        }
    }

    /// Returns the answer: whatever it is, it is allowed.
    pub(super) fn allowed(&self) -> Vec<u8> {
        let uid = serde_json::Value::from(&*self.uid);
        let head = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#;
        format!(r#"{head}{uid},"allowed":true}}}}"#).into_bytes()
    }

    /// Returns what it says of who writes what; `None` where nothing is written: a dry run, a connection, a token.
    ///
    /// # Errors
    /// An object can't be read.
    pub(super) fn fact(&self, fingerprinter: &Fingerprinter) -> Result<Option<Fact>, serde_json::Error> {
        if self.is_dry_run() {
            return Ok(None);
        }
        let sub_resource = self.sub_resource.as_deref().filter(|name| !name.is_empty());
        let deed = match (self.operation.as_deref(), sub_resource) {
            (Some("CREATE"), None) => self.create(fingerprinter)?,
            (Some("CREATE"), Some("eviction")) if self.resource.is("", "pods") => self.evict()?,
            (Some("UPDATE"), Some(_)) if self.kind.is("autoscaling", "Scale") => self.scale(fingerprinter)?,
            // All other subresources that are updated are the object itself: status, finalize, resize, approval, …
            (Some("UPDATE"), _) => self.update(fingerprinter)?,
            (Some("DELETE"), None) => self.delete(fingerprinter)?,
            _ => None,
        };
        let (Some(deed), Some(actor)) = (deed, self.actor()?) else { return Ok(None) };
        Ok(Some(Fact { actor, deed }))
    }

    fn create(&self, fingerprinter: &Fingerprinter) -> Result<Option<Deed>, serde_json::Error> {
        let Some(object) = self.object else { return Ok(None) };
        let metadata = Metadata::of(object)?;
        let Some(uid) = metadata.uid(fingerprinter) else { return Ok(None) };
        let definitions = self.resource.is("apiextensions.k8s.io", "customresourcedefinitions");
        let defines = metadata.name.filter(|_| definitions).map(Into::into);
        Ok(Some(Deed::Create(Write { defines, ..self.write(uid, 0, object, fingerprinter)? })))
    }

    fn update(&self, fingerprinter: &Fingerprinter) -> Result<Option<Deed>, serde_json::Error> {
        let Some((uid, replaced, old, object)) = self.replaced(fingerprinter)? else { return Ok(None) };
        let write = self.write(uid, replaced, object, fingerprinter)?;
        let is_noop = object.get() == old.get() || fingerprinter.of(old.get())?.content == write.content;
        Ok(Some(Deed::Update(Write { is_noop, ..write })))
    }

    fn scale(&self, fingerprinter: &Fingerprinter) -> Result<Option<Deed>, serde_json::Error> {
        let Some((uid, replaced, old, object)) = self.replaced(fingerprinter)? else { return Ok(None) };
        // A Scale leaves out replicas that are none.
        let replicas = |scale: &RawValue| {
            let none = || fingerprinter.of(r#"{"spec":{"replicas":0}}"#).map(|scale| scale.replicas);
            let replicas = fingerprinter.of(scale.get())?.replicas;
            Ok::<_, serde_json::Error>(if replicas.is_some() { replicas } else { none()? })
        };
        let (now, before) = (replicas(object)?, replicas(old)?);
        let write = self.write(uid, replaced, object, fingerprinter)?;
        let is_noop = now == before;
        Ok(now.map(|content| Deed::Scale(Write { content, managed: None, may_differ: false, is_noop, ..write })))
    }

    /// Returns which version of which object is replaced, that version, and by what.
    fn replaced(&self, fingerprinter: &Fingerprinter) -> Result<Option<Replaced<'a>>, serde_json::Error> {
        let (Some(old), Some(object)) = (self.old_object, self.object) else { return Ok(None) };
        let metadata = Metadata::of(old)?;
        let uid = metadata.uid(fingerprinter);
        Ok(uid.zip(metadata.version()).map(|(uid, version)| (uid, version, old, object)))
    }

    fn write(
        &self,
        uid: Uid,
        replaced: u64,
        object: &RawValue,
        fingerprinter: &Fingerprinter,
    ) -> Result<Write, serde_json::Error> {
        let fingerprint = fingerprinter.of(object.get())?;
        let requested = self.request_resource.as_ref().unwrap_or(&self.resource);
        let may_differ = DIFFERING.iter().any(|(group, plural)| self.resource.is(group, plural));
        Ok(Write {
            uid,
            replaced,
            content: fingerprint.content,
            managed: fingerprint.managed,
            api_version: api_version(&self.resource.version),
            // One that was converted for us has another version's defaults.
            may_differ: may_differ || requested != &self.resource,
            is_noop: false,
            is_terminating: fingerprint.is_terminating,
            defines: None,
        })
    }

    fn delete(&self, fingerprinter: &Fingerprinter) -> Result<Option<Deed>, serde_json::Error> {
        let Some(old) = self.old_object else { return Ok(None) };
        let metadata = Metadata::of(old)?;
        let (Some(uid), Some(replaced)) = (metadata.uid(fingerprinter), metadata.version()) else { return Ok(None) };
        let name = metadata.name.as_deref().unwrap_or_default().to_owned();
        let takes_along = match (&*self.resource.group, &*self.resource.resource) {
            ("", "namespaces") => Some(Root::Namespace(name)),
            ("apiextensions.k8s.io", "customresourcedefinitions") => Some(Root::Definition(name)),
            _ => None,
        };
        let owners = metadata.owner_references.iter().flatten();
        Ok(Some(Deed::Delete(Deletion {
            uid,
            replaced,
            is_terminating: metadata.deletion_timestamp.is_some(),
            namespace: metadata.namespace.map(Into::into),
            owners: owners.map(|owner| Uid::of(&owner.uid, fingerprinter)).collect(),
            takes_along,
        })))
    }

    fn evict(&self) -> Result<Option<Deed>, serde_json::Error> {
        let (Some(namespace), Some(name), Some(eviction)) = (&self.namespace, &self.name, self.object) else {
            return Ok(None);
        };
        let eviction: Eviction = serde_json::from_str(eviction.get())?;
        let is_dry_run = eviction.delete_options.is_some_and(|options| options.is_dry_run());
        Ok((!is_dry_run).then(|| Deed::Evict { namespace: namespace.to_string(), name: name.to_string() }))
    }

    fn is_dry_run(&self) -> bool {
        let options = self.options.and_then(|options| serde_json::from_str::<Option<Options>>(options.get()).ok());
        self.dry_run == Some(true) || options.flatten().is_some_and(|options| options.is_dry_run())
    }

    fn actor(&self) -> Result<Option<Actor>, serde_json::Error> {
        let Some(user) = self.user_info else { return Ok(None) };
        let is_much = user.get().len() > USER_BYTES;
        let user: User = serde_json::from_str(user.get())?;
        let name = user.username.filter(|name| !name.is_empty());
        Ok(name.map(|name| match is_much {
            true => Actor::user(name),
            false => Actor { name, groups: user.groups.unwrap_or_default(), extra: user.extra.unwrap_or_default() },
        }))
    }
}

type Replaced<'a> = (Uid, u64, &'a RawValue, &'a RawValue);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct Kind<'a> {
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
}

impl Kind<'_> {
    fn is(&self, group: &str, kind: &str) -> bool {
        (&*self.group, &*self.kind) == (group, kind)
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Resource<'a> {
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow, default)]
    version: Cow<'a, str>,
    #[serde(borrow, default)]
    resource: Cow<'a, str>,
}

impl Resource<'_> {
    fn is(&self, group: &str, resource: &str) -> bool {
        (&*self.group, &*self.resource) == (group, resource)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    deletion_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    owner_references: Option<Vec<Owner<'a>>>,
}

impl<'a> Metadata<'a> {
    fn of(object: &'a RawValue) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow)]
            metadata: Metadata<'a>,
        }
        serde_json::from_str::<Object<'a>>(object.get()).map(|object| object.metadata)
    }

    fn uid(&self, fingerprinter: &Fingerprinter) -> Option<Uid> {
        self.uid.as_deref().filter(|uid| !uid.is_empty()).map(|uid| Uid::of(uid, fingerprinter))
    }

    fn version(&self) -> Option<u64> {
        self.resource_version.as_deref()?.parse().ok()
    }
}

#[derive(Deserialize)]
struct Owner<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Eviction {
    delete_options: Option<Options>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    dry_run: Option<Vec<String>>,
}

impl Options {
    fn is_dry_run(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|stages| !stages.is_empty())
    }
}

#[derive(Deserialize)]
struct User {
    username: Option<String>,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Vec<String>>>,
}

#[cfg(test)]
mod tests;
