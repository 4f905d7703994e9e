//! What happened to which object, and who did it: the values that flow from a source to a commit.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

/// One change of one object that the API server has accepted.
#[derive(Clone, PartialEq)]
pub struct Change {
    /// The object that changed.
    pub object: ObjectRef,
    /// What was done to it.
    pub operation: Operation,
    /// The object after the change, as the API server returned it; not needed for a deletion.
    pub body: Option<Value>,
    /// Who did it, and how that is known.
    pub attribution: Attribution,
    /// The object's `metadata.resourceVersion` after the change. For a watch's DELETED event this is the version of
    /// the deletion itself, later than the one that the last writer saw.
    pub resource_version: Option<String>,
    /// When it happened; becomes the commit's author date. `None`: the time at which the change is recorded.
    pub at: Option<Timestamp>,
    /// Why, in the words of whoever recorded it; becomes a paragraph of the commit's message.
    pub reason: Option<String>,
}

impl Change {
    /// Returns a change without an actor, a time or a reason.
    pub fn new(object: ObjectRef, operation: Operation, body: Option<Value>) -> Self {
        let resource_version =
            body.as_ref().and_then(|body| body["metadata"]["resourceVersion"].as_str()).map(str::to_owned);
        Self { object, operation, body, attribution: Attribution::Unknown, resource_version, at: None, reason: None }
    }

    /// Names who did it. In-process recorders know their user, so the evidence is [`Evidence::Host`].
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.attribution = Attribution::Known { actor, evidence: Evidence::Host };
        self
    }

    /// Says why it was done.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Says when it was done.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }
}

/// Never shows the body: a change may end up in a log.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("operation", &self.operation)
            .field("object", &self.object)
            .field("attribution", &self.attribution)
            .field("resource_version", &self.resource_version)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// One kind of object as the API serves it: the "resource" of API discovery.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// The API group, empty for the core group.
    pub group: String,
    /// The version in the URL, such as `v1`.
    pub version: String,
    /// The `kind` of its objects, such as `Deployment`.
    pub kind: String,
    /// The plural in the URL, such as `deployments`.
    pub plural: String,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    /// Whether it has a status subresource: then `status` is what controllers observe, else a field like any other,
    /// which users author.
    pub has_status: bool,
}

impl Resource {
    /// Returns what stands in an object's `apiVersion`: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Returns whether both are the same resource, in the same or in another version.
    pub fn is_version_of(&self, other: &Self) -> bool {
        (&self.group, &self.plural) == (&other.group, &other.plural)
    }

    /// Returns kubectl's name for it: `configmaps`, `deployments.apps`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// `[group/]version/plural`, as in a commit's subject: `v1/configmaps`, `apps/v1/deployments`.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.plural)
    }
}

/// Names one object of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// What kind of object it is; shared, since a watch makes thousands of references to one resource.
    pub resource: Arc<Resource>,
    /// `None` for cluster-scoped objects.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: tells an object from a later one of the same name.
    pub uid: Option<String>,
}

impl ObjectRef {
    /// Returns the reference of the object in `body`, or `None` when it has no name.
    pub fn of(resource: &Arc<Resource>, body: &Value) -> Option<Self> {
        let metadata = &body["metadata"];
        let text = |key: &str| metadata[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self {
            resource: Arc::clone(resource),
            namespace: text("namespace").filter(|_| resource.namespaced),
            name: text("name")?,
            uid: text("uid"),
        })
    }

    /// Returns whether both name the same object by resource, namespace and name, whatever version serves it and
    /// whichever uid it has.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (&self.resource.group, &self.resource.plural, &self.namespace, &self.name)
            == (&other.resource.group, &other.resource.plural, &other.namespace, &other.name)
    }
}

/// `[group/]version/plural/name`, as in a commit's subject.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.resource, self.name)
    }
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// It did not exist before.
    Create,
    /// It was deleted, or its deletion was accepted and waits for finalizers.
    Delete,
    /// It existed and was changed.
    Update,
}

/// `CREATE`, `UPDATE`, `DELETE`, as admission review spells them.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::Update => "UPDATE",
        })
    }
}

/// A user of the API: a person, a service account, a component.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The user name as the API server authenticated it: `alice`, `system:serviceaccount:ns:name`.
    pub name: String,
}

impl Actor {
    /// Returns the user of that name.
    pub fn user(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// Who made a change, never without how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// There is evidence.
    Known {
        /// Who it was.
        actor: Actor,
        /// How that is known.
        evidence: Evidence,
    },
    /// There is none: the commit's author is the configured committer. A guess is never written as a fact.
    Unknown,
}

impl Attribution {
    /// Returns who it was, when there is evidence.
    pub fn actor(&self) -> Option<&Actor> {
        match self {
            Self::Known { actor, .. } => Some(actor),
            Self::Unknown => None,
        }
    }
}

/// How the actor of a change is known; a commit says so in a trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// The API server's audit log: the response with this uid and resourceVersion.
    Audit,
    /// The program that records in-process said so.
    Host,
}

/// `audit`, `host`, as in the trailer.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audit => "audit",
            Self::Host => "host",
        })
    }
}
