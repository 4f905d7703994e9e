//! What happened to which object, and who did it: the values that flow from a source to a commit.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{Fingerprint, message::clean, reason::Annotated};

/// One change of one object that the API server has accepted.
///
/// ```
/// use std::sync::Arc;
///
/// use reverser_core::{Actor, Change, ObjectRef, Operation, Resource};
/// use serde_json::json;
///
/// let deployments = Arc::new(Resource::new("apps", "v1", "Deployment", "deployments"));
/// let body = json!({
///     "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "42"},
///     "spec": {"replicas": 5},
/// });
/// let web = ObjectRef::of(&deployments, &body).expect("it has a name");
/// let change = Change::new(web, Operation::Update, Some(body))
///     .by(Actor::user("alice"))
///     .because("Black Friday")
///     .at("2026-11-27T08:00:00Z".parse()?);
/// assert_eq!(change.resource_version.as_deref(), Some("42"));
/// assert_eq!(change.attribution.actor(), Some(&Actor::user("alice")));
/// assert!(!format!("{change:?}").contains("replicas"));
/// # Ok::<(), jiff::Error>(())
/// ```
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
    /// The object's `metadata.resourceVersion` before the change; `None` where that isn't known, and of a creation.
    pub replaced: Option<String>,
    /// What joins it with the request that made it; `None`: nobody asked for it.
    pub fingerprint: Option<Arc<Fingerprint>>,
    /// When it happened; becomes the commit's author date. `None`: the time at which the change is recorded.
    pub at: Option<Timestamp>,
    /// Why, in the words of whoever recorded it; becomes a paragraph of the commit's message.
    pub reason: Option<String>,
    /// What its object's annotations say about why, be it of this change or of an earlier one:
    /// [`Reasons`](crate::Reasons) tells. `None`: nobody has looked, or there was no object to look at.
    pub annotated: Option<Annotated>,
}

impl Change {
    /// Returns a change without an actor, a time or a reason.
    pub fn new(object: ObjectRef, operation: Operation, body: Option<Value>) -> Self {
        let resource_version =
            body.as_ref().and_then(|body| body["metadata"]["resourceVersion"].as_str()).map(str::to_owned);
        Self {
            object,
            operation,
            body,
            attribution: Attribution::Unknown,
            resource_version,
            replaced: None,
            fingerprint: None,
            at: None,
            reason: None,
            annotated: None,
        }
    }

    /// Names who did it. In-process recorders know their user, so the evidence is [`Evidence::Host`].
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.attribution = Attribution::known(actor, Evidence::Host);
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
///
/// ```
/// use reverser_core::Resource;
///
/// let deployments = Resource::new("apps", "v1", "Deployment", "deployments");
/// assert_eq!(deployments.api_version(), "apps/v1");
/// assert_eq!(deployments.qualified(), "deployments.apps");
/// assert_eq!(deployments.to_string(), "apps/v1/deployments");
///
/// let nodes = Resource::new("", "v1", "Node", "nodes").cluster_scoped();
/// assert_eq!(nodes.api_version(), "v1");
/// assert_eq!(nodes.qualified(), "nodes");
/// assert_eq!(nodes.to_string(), "v1/nodes");
/// ```
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
    /// Returns a namespaced resource with a status subresource, as most have it.
    ///
    /// ```
    /// use reverser_core::Resource;
    ///
    /// let deployments = Resource::new("apps", "v1", "Deployment", "deployments");
    /// assert!(deployments.namespaced && deployments.has_status);
    /// ```
    pub fn new(
        group: impl Into<String>,
        version: impl Into<String>,
        kind: impl Into<String>,
        plural: impl Into<String>,
    ) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            namespaced: true,
            has_status: true,
        }
    }

    /// Returns the same for objects that live in no namespace.
    ///
    /// ```
    /// use reverser_core::Resource;
    ///
    /// assert!(!Resource::new("", "v1", "Node", "nodes").cluster_scoped().namespaced);
    /// ```
    #[must_use]
    pub fn cluster_scoped(self) -> Self {
        Self { namespaced: false, ..self }
    }

    /// Returns the same without a status subresource: a `status` is its author's.
    ///
    /// ```
    /// use reverser_core::Resource;
    ///
    /// assert!(!Resource::new("", "v1", "ConfigMap", "configmaps").without_status().has_status);
    /// ```
    #[must_use]
    pub fn without_status(self) -> Self {
        Self { has_status: false, ..self }
    }

    /// Returns what stands in an object's `apiVersion`: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Returns whether both are the same resource, in the same or in another version.
    ///
    /// ```
    /// use reverser_core::Resource;
    ///
    /// let cronjobs = |version| Resource::new("batch", version, "CronJob", "cronjobs");
    /// assert!(cronjobs("v1").is_version_of(&cronjobs("v1beta1")));
    ///
    /// let events = |group| Resource::new(group, "v1", "Event", "events");
    /// assert!(!events("").is_version_of(&events("events.k8s.io")));
    /// ```
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
///
/// ```
/// use reverser_core::{ObjectRef, Resource};
///
/// let resource = Resource::new("apps", "v1", "Deployment", "deployments").into();
/// let web = ObjectRef { resource, namespace: Some("shop".into()), name: "web".into(), uid: None };
/// assert_eq!(web.to_string(), "apps/v1/deployments/web");
/// ```
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
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use reverser_core::{ObjectRef, Resource};
    /// use serde_json::json;
    ///
    /// let configmaps = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps").without_status());
    /// let object = ObjectRef::of(&configmaps, &json!({"metadata": {"name": "web", "namespace": "shop", "uid": "4f1c"}}));
    /// let object = object.expect("it has a name");
    /// assert_eq!((object.namespace.as_deref(), object.name.as_str()), (Some("shop"), "web"));
    ///
    /// // What generateName is for has no name before the server gives it one.
    /// assert_eq!(ObjectRef::of(&configmaps, &json!({"metadata": {"generateName": "web-"}})), None);
    /// ```
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
    ///
    /// ```
    /// use reverser_core::{ObjectRef, Resource};
    ///
    /// let web = |version: &str, uid: &str| ObjectRef {
    ///     resource: Resource::new("apps", version, "Deployment", "deployments").into(),
    ///     namespace: Some("shop".into()),
    ///     name: "web".into(),
    ///     uid: Some(uid.into()),
    /// };
    /// let (before, after) = (web("v1beta2", "4f1c"), web("v1", "9b7e"));
    /// assert!(before.is_same_place(&after) && before != after);
    /// ```
    pub fn is_same_place(&self, other: &Self) -> bool {
        (&self.resource.group, &self.resource.plural, &self.namespace, &self.name)
            == (&other.resource.group, &other.resource.plural, &other.namespace, &other.name)
    }

    /// Returns what stands for the object in memory, whatever version serves it: another uid is another object.
    pub(crate) fn digest(&self, hasher: &RandomState) -> u64 {
        let Self { resource, namespace, name, uid } = self;
        hasher.hash_one((&resource.group, &resource.plural, namespace, name, uid))
    }
}

/// `[group/]version/plural/name`, as in a commit's subject.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.resource, self.name)
    }
}

/// What was done to an object.
///
/// ```
/// use reverser_core::Operation;
///
/// assert_eq!(format!("[{}]", Operation::Create), "[CREATE]");
/// ```
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
///
/// Two of the same name are equal: the rest is what one request's credentials said of them.
///
/// ```
/// use reverser_core::{Actor, identity};
///
/// let bot = Actor::user("system:serviceaccount:shop:bot");
/// assert_eq!(identity::author(&bot).email(), "system.serviceaccount.shop.bot@cluster.local");
/// assert_eq!(bot, Actor { groups: vec!["system:authenticated".into()], ..bot.clone() });
/// ```
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user name as the API server authenticated it: `alice`, `system:serviceaccount:ns:name`.
    pub name: String,
    /// The groups that the API server saw the user in; empty where they aren't known.
    pub groups: Vec<String>,
    /// What the authenticator said beside that, such as claims of an OIDC token.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Actor {
    /// Returns the user of that name.
    pub fn user(name: impl Into<String>) -> Self {
        Self { name: name.into(), groups: vec![], extra: BTreeMap::new() }
    }
}

/// The name on one line, as commits have it: none of it is another line of a log, or an order to a terminal.
///
/// ```
/// use reverser_core::Actor;
///
/// assert_eq!(Actor::user("eve\n\x1b[31mall is well").to_string(), "eve  [31mall is well");
/// ```
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&clean::name(&self.name))
    }
}

impl PartialEq for Actor {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Actor {}

impl Hash for Actor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Who made a change, never without how that is known.
///
/// ```
/// use reverser_core::{Actor, Attribution, Evidence};
///
/// let known = Attribution::known(Actor::user("alice"), Evidence::Audit);
/// assert_eq!(known.actor().map(|actor| actor.name.as_str()), Some("alice"));
/// assert_eq!(Attribution::Ambiguous(vec![Actor::user("alice"), Actor::user("bob")]).actor(), None);
/// assert_eq!(Attribution::Unknown.actor(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// It was one of these, and nothing tells which.
    Ambiguous(Vec<Actor>),
    /// There is evidence.
    Known {
        /// Who it was.
        actor: Actor,
        /// How that is known.
        evidence: Evidence,
        /// What else is known of the request.
        request: Box<RequestInfo>,
    },
    /// Only the field manager is known, which is a program's name for itself and no user: `kubectl-edit`.
    Manager(String),
    /// There is none: the commit's author is the configured committer. A guess is never written as a fact.
    Unknown,
}

impl Attribution {
    /// Returns that `evidence` names `actor`, and nothing else of the request.
    pub fn known(actor: Actor, evidence: Evidence) -> Self {
        Self::Known { actor, evidence, request: Box::default() }
    }

    /// Returns who it was, when there is evidence.
    pub fn actor(&self) -> Option<&Actor> {
        match self {
            Self::Known { actor, .. } => Some(actor),
            Self::Ambiguous(_) | Self::Manager(_) | Self::Unknown => None,
        }
    }

    /// Returns how it is known, as in the trailer: `audit`, `ambiguous`, `managedFields`, `unknown`.
    pub fn evidence(&self) -> &'static str {
        match self {
            Self::Ambiguous(_) => "ambiguous",
            Self::Known { evidence, .. } => evidence.as_str(),
            Self::Manager(_) => "managedFields",
            Self::Unknown => "unknown",
        }
    }
}

/// For people, in few words: `alice`, `alice or bob`, a field manager as `(kubectl-edit)`, `unknown`.
///
/// ```
/// use reverser_core::{Actor, Attribution};
///
/// assert_eq!(Attribution::Manager("kubectl-edit".into()).to_string(), "(kubectl-edit)");
/// assert_eq!(Attribution::Ambiguous(vec![Actor::user("alice"), Actor::user("bob")]).to_string(), "alice or bob");
/// ```
impl fmt::Display for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous(actors) => {
                let names: Vec<_> = actors.iter().map(Actor::to_string).collect();
                f.write_str(&names.join(" or "))
            }
            Self::Known { actor, .. } => write!(f, "{actor}"),
            Self::Manager(manager) => write!(f, "({})", clean::line(manager)),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// What is known of a request beside who made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// The API server's id of the request, as in its audit log.
    pub audit_id: Option<String>,
    /// Who impersonated the actor.
    pub impersonator: Option<String>,
    /// Whether the object in the request and the object in the watch differed, and only its managed fields and generation
    /// joined them.
    pub is_by_managed_fields: bool,
    /// The program that made it, as it called itself.
    pub user_agent: Option<String>,
}

/// How the actor of a change is known; a commit says so in a trailer.
///
/// ```
/// use reverser_core::Evidence;
///
/// assert_eq!(format!("Reverser-Evidence: {}", Evidence::Audit), "Reverser-Evidence: audit");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// An admission review of the request: the same object over the same resourceVersion.
    Admission,
    /// The API server's audit log: the response with this uid and resourceVersion.
    Audit,
    /// A controller did it since the actor deleted what it belonged to: its namespace, its owner, its definition.
    Cascade,
    /// The program that records in-process said so.
    Host,
}

impl Evidence {
    fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Audit => "audit",
            Self::Cascade => "cascade",
            Self::Host => "host",
        }
    }
}

/// `audit`, `host`, as in the trailer.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns the group of an `apiVersion`: empty for `v1`, the core group's.
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _version)| group)
}
