//! select ─► sanitize ─► place ─► render ─► seal: from a change to one file's edit, and on to a commit's plan.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Change, CommitMessage, CommitPlan, DefaultLayout, DefaultMessage, Drifted, Edit, Layout, LeftOut, ObjectRef,
    Operation, RefuseSecrets, RepoPath, Resource, Sanitizer, Seal, SealError, Selector, Users, Wanted,
    identity::Identities,
    message::{self, Grouped, Synced, with_group_trailers, with_trailers, without_trailers},
    reason::Annotated,
    yaml,
};

/// The pure stages between a source and a Git writer; every source goes through the same ones.
///
/// ```
/// use std::sync::Arc;
///
/// use reverser_core::{ObjectRef, Pipeline, Resource, Sanitizer, Selector, TemplateLayout};
///
/// let layout: TemplateLayout = "{namespace}/{kind|lower}.{group}/{name}.yaml".parse()?;
/// let pipeline = Pipeline {
///     selector: Selector { only: vec!["group=apps namespace=shop-*".parse()?], ..Selector::default() },
///     sanitizer: Sanitizer::minimal(),
///     layout: Arc::new(layout),
///     ..Pipeline::default()
/// };
/// let resource = Resource::new("apps", "v1", "Deployment", "deployments").into();
/// let web = ObjectRef { resource, namespace: Some("shop-1".into()), name: "web".into(), uid: None };
/// assert_eq!(pipeline.place(&web).as_str(), "shop-1/deployment.apps/web.yaml");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// What is captured.
    pub selector: Selector,
    /// What the server owns and Git doesn't get.
    pub sanitizer: Sanitizer,
    /// Where files stand.
    pub layout: Arc<dyn Layout>,
    /// What commits say.
    pub message: Arc<dyn CommitMessage>,
    /// Who is called how.
    pub identities: Identities,
    /// What may only be written encrypted.
    pub seal: Arc<dyn Seal>,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            selector: Selector::default(),
            sanitizer: Sanitizer::faithful(),
            layout: Arc::new(DefaultLayout),
            message: Arc::new(DefaultMessage),
            identities: Identities::default(),
            seal: Arc::new(RefuseSecrets),
        }
    }
}

/// What the pure stages make of a change.
///
/// ```
/// use reverser_core::{Change, ObjectRef, Operation, Pipeline, Rendered, Resource};
///
/// let says = |plural: &str, kind: &str, except: &str| -> Result<String, reverser_core::FilterError> {
///     let mut pipeline = Pipeline::default();
///     pipeline.selector.except.push(except.parse()?);
///     let resource = Resource::new("", "v1", kind, plural).into();
///     let web = ObjectRef { resource, namespace: Some("shop".into()), name: "web".into(), uid: None };
///     let body = serde_json::json!({"metadata": {"name": "web", "namespace": "shop"}});
///     Ok(match pipeline.render(&mut Change::new(web, Operation::Update, Some(body))) {
///         Rendered::Leave(why) => format!("{why:?}"),
///         Rendered::Refuse(error) => error.to_string(),
///         Rendered::Skip(edit) => format!("skipped: {edit:?}"),
///         Rendered::Write(edit) => format!("{edit:?}"),
///         Rendered::WriteIfBy(_users, edit) => format!("it depends: {edit:?}"),
///     })
/// };
/// assert_eq!(says("services", "Service", "name=db")?, "Put(v1/services/shop/web.yaml, 69 bytes)");
/// assert_eq!(says("services", "Service", "name=web")?, "NotSelected");
/// assert_eq!(says("services", "Service", "operation=update")?, "skipped: Put(v1/services/shop/web.yaml, 69 bytes)");
/// assert_eq!(says("services", "Service", "user=bob")?, "it depends: Put(v1/services/shop/web.yaml, 69 bytes)");
/// assert!(says("secrets", "Secret", "name=db")?.contains("is sensitive"));
/// # Ok::<(), reverser_core::FilterError>(())
/// ```
#[derive(Debug)]
pub enum Rendered {
    /// Nothing is written: it isn't selected. An object that was selected before has left the selection; whether it
    /// was can be told from the file that stands at [`Pipeline::place`].
    Leave(LeftOut),
    /// Nothing is written: it is sensitive and can't be sealed.
    Refuse(SealError),
    /// This would be written, but isn't: the object is captured, and changes of this kind, or by this user, aren't
    /// recorded. Its file, if there is one, stays as it is.
    Skip(Edit),
    /// This is written.
    Write(Edit),
    /// This is written if one of these users made the change.
    WriteIfBy(Users, Edit),
}

impl Pipeline {
    /// Returns what to write for `change`, takes its body, and notes what the body says about why it was changed. An object whose deletion was accepted (it has a
    /// `deletionTimestamp`) counts as deleted, whatever its finalizers still do: the change becomes a
    /// [`Operation::Delete`].
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use reverser_core::{Change, Edit, ObjectRef, Operation, Pipeline, Rendered, Resource};
    /// use serde_json::json;
    ///
    /// let configmaps = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps").without_status());
    /// let dying = json!({"metadata": {
    ///     "name": "web", "namespace": "shop",
    ///     "deletionTimestamp": "2026-11-27T08:00:00Z", "finalizers": ["example.com/backup"],
    /// }});
    /// let web = ObjectRef::of(&configmaps, &dying).expect("it has a name");
    /// let mut change = Change::new(web, Operation::Update, Some(dying));
    /// let Rendered::Write(edit) = Pipeline::default().render(&mut change) else { unreachable!("it is selected") };
    /// assert_eq!(edit, Edit::Delete { path: "v1/configmaps/shop/web.yaml".parse()? });
    /// assert_eq!((change.operation, change.body), (Operation::Delete, None));
    /// # Ok::<(), reverser_core::RepoPathError>(())
    /// ```
    pub fn render(&self, change: &mut Change) -> Rendered {
        let selected = self.selector.object(&change.object, change.body.as_ref());
        if selected.is_ok() && change.body.as_ref().is_some_and(is_terminating) {
            change.operation = Operation::Delete;
        }
        let wanted = self.selector.change(change);
        change.annotated = change.body.as_ref().map(Annotated::of);
        let body = change.body.take();
        if let Err(why) = selected {
            return Rendered::Leave(why);
        }
        match (self.write(&change.object, body.filter(|_| change.operation != Operation::Delete)), wanted) {
            (Err(error), _) => Rendered::Refuse(error),
            (Ok(edit), Wanted::By(users)) => Rendered::WriteIfBy(users, edit),
            (Ok(edit), Wanted::No) => Rendered::Skip(edit),
            (Ok(edit), Wanted::Yes) => Rendered::Write(edit),
        }
    }

    /// Returns what to write for an object as a list shows it: by nobody's doing, so that what the selector says of users
    /// and operations doesn't apply. Never [`Rendered::Skip`] or [`Rendered::WriteIfBy`].
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use reverser_core::{Edit, ObjectRef, Pipeline, Rendered, Resource};
    /// use serde_json::json;
    ///
    /// let configmaps = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps").without_status());
    /// // Items of a list come without apiVersion and kind.
    /// let item = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "4f1c"}, "data": {"on": "no"}});
    /// let web = ObjectRef::of(&configmaps, &item).expect("it has a name");
    /// let Rendered::Write(Edit::Put { content, .. }) = Pipeline::default().render_listed(&web, item) else {
    ///     unreachable!("it is selected, and there")
    /// };
    /// assert_eq!(
    ///     String::from_utf8_lossy(&content),
    ///     "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n  namespace: shop\ndata:\n  \"on\": \"no\"\n"
    /// );
    /// ```
    pub fn render_listed(&self, object: &ObjectRef, body: Value) -> Rendered {
        match self.selector.object(object, Some(&body)) {
            Err(why) => Rendered::Leave(why),
            Ok(()) => {
                let living = Some(body).filter(|body| !is_terminating(body));
                self.write(object, living).map_or_else(Rendered::Refuse, Rendered::Write)
            }
        }
    }

    /// Returns the sanitizer for objects of `resource`: where it has no status subresource, `status` is authored.
    ///
    /// ```
    /// use reverser_core::{Pipeline, Resource};
    ///
    /// let pipeline = Pipeline::default();
    /// let widgets = Resource::new("example.com", "v1", "Widget", "widgets");
    /// assert_eq!(pipeline.sanitizer_of(&widgets), pipeline.sanitizer);
    /// assert_eq!(pipeline.sanitizer_of(&widgets.without_status()), pipeline.sanitizer.clone().keep_status());
    /// ```
    pub fn sanitizer_of(&self, resource: &Resource) -> Sanitizer {
        let sanitizer = self.sanitizer.clone();
        if resource.has_status { sanitizer } else { sanitizer.keep_status() }
    }

    /// Returns the object's path below the writer's root.
    ///
    /// ```
    /// use reverser_core::{ObjectRef, Pipeline, Resource};
    ///
    /// let roles = Resource::new("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles").cluster_scoped();
    /// let role = ObjectRef { resource: roles.into(), namespace: None, name: "system:node".into(), uid: None };
    /// let path = Pipeline::default().place(&role);
    /// assert_eq!(path.as_str(), "rbac.authorization.k8s.io/v1/clusterroles/system%3anode.yaml");
    /// ```
    pub fn place(&self, object: &ObjectRef) -> RepoPath {
        self.layout.place(object)
    }

    /// Returns whether a file is one that this pipeline would have written for a captured object of `resource` in
    /// `namespace` (`None`: any): only such a file may be removed when its object is gone. What the selector asks and the
    /// file can't tell (owners, field managers, what the sanitizer removes) counts as asked for: pipelines that
    /// differ in nothing else need folders of their own.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use reverser_core::{Pipeline, Resource};
    ///
    /// let configmaps = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps").without_status());
    /// let text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n  namespace: shop\n";
    /// let owns = |path: &str, namespace| -> Result<bool, reverser_core::RepoPathError> {
    ///     Ok(Pipeline::default().owns(&path.parse()?, text, &configmaps, namespace))
    /// };
    /// assert!(owns("v1/configmaps/shop/web.yaml", None)?);
    /// assert!(!owns("v1/configmaps/shop/web.yaml", Some("bank"))?);
    /// assert!(!owns("kustomize/base/web.yaml", None)?, "somebody put it there");
    /// # Ok::<(), reverser_core::RepoPathError>(())
    /// ```
    pub fn owns(&self, path: &RepoPath, content: &[u8], resource: &Arc<Resource>, namespace: Option<&str>) -> bool {
        self.owned(path, content, resource, namespace).is_some_and(|(object, _)| object.resource == *resource)
    }

    /// Returns the object of a file that [is this pipeline's](Self::owns), and what the file says of it, in whatever version of `resource` it was written:
    /// an object is the same one in each version that it is served in.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use reverser_core::{Pipeline, Resource};
    ///
    /// let widgets = Arc::new(Resource::new("example.com", "v1", "Widget", "widgets"));
    /// let text = b"apiVersion: example.com/v1beta1\nkind: Widget\nmetadata:\n  name: web\n  namespace: shop\n";
    /// let path = "example.com/v1beta1/widgets/shop/web.yaml".parse()?;
    /// let (old, body) = Pipeline::default().owned(&path, text, &widgets, None).expect("it stands where it would");
    /// assert_eq!((&*old.resource.version, &body["kind"]), ("v1beta1", &"Widget".into()));
    /// # Ok::<(), reverser_core::RepoPathError>(())
    /// ```
    pub fn owned(
        &self,
        path: &RepoPath,
        content: &[u8],
        resource: &Arc<Resource>,
        namespace: Option<&str>,
    ) -> Option<(ObjectRef, Value)> {
        self.owned_body(path, manifest_of(content)?, resource, namespace)
    }

    fn owned_body(
        &self,
        path: &RepoPath,
        body: Value,
        resource: &Arc<Resource>,
        namespace: Option<&str>,
    ) -> Option<(ObjectRef, Value)> {
        let api_version = body["apiVersion"].as_str()?;
        let resource = if api_version == resource.api_version() {
            Arc::clone(resource)
        } else {
            let (group, version) = api_version.split_once('/')?;
            let other = || Arc::new(Resource { version: version.to_owned(), ..(**resource).clone() });
            (group == resource.group).then(other)?
        };
        let object = ObjectRef::of(&resource, &body)?;
        let is_owned = body["kind"] == resource.kind.as_str()
            && namespace.is_none_or(|namespace| object.namespace.as_deref() == Some(namespace))
            && self.selector.file(&object, &body, &|section, key| self.keeps(&body, section, key))
            && self.place(&object) == *path;
        is_owned.then_some((object, body))
    }

    /// Returns the same of a resource whose kind, and whether it has namespaces, nobody knows any more: the file tells.
    ///
    /// ```
    /// use reverser_core::{Pipeline, Resource};
    ///
    /// let text = b"apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: web\n";
    /// let widgets = Resource::new("example.com", "v1", "", "widgets");
    /// let owns = |path: &str| -> Result<bool, reverser_core::RepoPathError> {
    ///     Ok(Pipeline::default().owns_unknown(&path.parse()?, text, &widgets))
    /// };
    /// assert!(owns("example.com/v1/widgets/web.yaml")? && !owns("example.com/v1/widgets/other.yaml")?);
    /// # Ok::<(), reverser_core::RepoPathError>(())
    /// ```
    pub fn owns_unknown(&self, path: &RepoPath, content: &[u8], resource: &Resource) -> bool {
        let Some(body) = manifest_of(content) else { return false };
        let kind = body["kind"].as_str().unwrap_or_default().to_owned();
        let namespaced = !body["metadata"]["namespace"].is_null();
        let resource = Arc::new(Resource { kind, namespaced, ..resource.clone() });
        self.owned_body(path, body, &resource, None).is_some_and(|(object, _)| object.resource == resource)
    }

    /// Returns the commit for one change.
    ///
    /// ```
    /// use reverser_core::{Actor, Change, Edit, ObjectRef, Operation, Pipeline, Resource};
    ///
    /// let pipeline = Pipeline::default();
    /// let resource = Resource::new("", "v1", "Node", "nodes").cluster_scoped().into();
    /// let node = ObjectRef { resource, namespace: None, name: "n-1".into(), uid: None };
    /// let edit = Edit::Delete { path: pipeline.place(&node) };
    /// let change = Change::new(node, Operation::Delete, None).by(Actor::user("ann@example.com"));
    ///
    /// let now = "2026-11-27T08:00:00Z".parse()?;
    /// let plan = pipeline.plan(&change, edit, now);
    /// assert_eq!(plan.author.unwrap().to_string(), "ann@example.com <ann@example.com>");
    /// assert_eq!(plan.date, now, "the change doesn't say when it happened");
    /// assert_eq!(
    ///     plan.message,
    ///     "[DELETE] v1/nodes/n-1\n\nReverser-Actor: ann@example.com\nReverser-Evidence: host\n"
    /// );
    /// # Ok::<(), jiff::Error>(())
    /// ```
    pub fn plan(&self, change: &Change, edit: Edit, now: Timestamp) -> CommitPlan {
        self.group_plan(std::slice::from_ref(change), vec![edit], now)
    }

    /// Returns the commit for changes that belong together: of a single one, [`plan`](Self::plan)'s. Its author is whoever made
    /// all of them, or else the writer's committer; its date is that of the last change.
    ///
    /// ```
    /// use reverser_core::{Actor, Change, Edit, ObjectRef, Operation, Pipeline, Resource, batch::Group};
    ///
    /// let pipeline = Pipeline::default();
    /// let resource = std::sync::Arc::new(Resource::new("", "v1", "Node", "nodes").cluster_scoped());
    /// let mut group = Group { changes: vec![], edits: vec![] };
    /// for name in ["n-1", "n-2"] {
    ///     let node = ObjectRef { resource: resource.clone(), namespace: None, name: name.into(), uid: None };
    ///     group.edits.push(Edit::Delete { path: pipeline.place(&node) });
    ///     group.changes.push(Change::new(node, Operation::Delete, None).by(Actor::user("ann@example.com")));
    /// }
    /// let plan = pipeline.group_plan(&group.changes, group.edits, "2026-11-27T08:00:00Z".parse()?);
    /// assert_eq!(plan.author.unwrap().to_string(), "ann@example.com <ann@example.com>");
    /// assert_eq!(
    ///     plan.message,
    ///     "[DELETE] 2 objects\n\n- DELETE v1/nodes/n-1\n- DELETE v1/nodes/n-2\n\n\
    ///      Reverser-Changes: 2\nReverser-Actor: ann@example.com\nReverser-Evidence: host\n"
    /// );
    /// # Ok::<(), jiff::Error>(())
    /// ```
    pub fn group_plan(&self, changes: &[Change], edits: Vec<Edit>, now: Timestamp) -> CommitPlan {
        let author = |actor| self.identities.author(actor);
        let shown = self.identities.shown_changes(changes);
        let (author, message) = match (changes, &*shown) {
            ([change], [shown]) => {
                (change.attribution.actor().map(author), with_trailers(&self.message.change(shown), shown))
            }
            _ => {
                let (group, shown) = (Grouped::of(changes), Grouped::of(&shown));
                let only_author = group.only_actor().map(author);
                let co_authors = if only_author.is_none() { group.actors().map(author).collect() } else { vec![] };
                (only_author, with_group_trailers(&self.message.group(&shown), &shown, &co_authors))
            }
        };
        let date = changes.last().and_then(|change| change.at).unwrap_or(now);
        CommitPlan { author, date, message, edits }
    }

    /// Returns the commit that brings many files in line with complete lists.
    ///
    /// ```
    /// use reverser_core::{Pipeline, Resource, message::Synced};
    ///
    /// let nodes = Resource::new("", "v1", "Node", "nodes").cluster_scoped();
    /// let sync = Synced { objects: [(nodes, 3)].into(), removed: 0 };
    /// let plan = Pipeline::default().sync_plan(&sync, vec![], "2026-11-27T08:00:00Z".parse()?);
    /// assert_eq!(plan.message, "[SYNC] 3 objects\n\n- v1/nodes: 3\n");
    /// assert_eq!(plan.author, None, "nobody's doing: the writer's committer");
    /// # Ok::<(), jiff::Error>(())
    /// ```
    pub fn sync_plan(&self, sync: &Synced, edits: Vec<Edit>, now: Timestamp) -> CommitPlan {
        CommitPlan { author: None, date: now, message: without_trailers(&self.message.sync(sync)), edits }
    }

    /// Returns the commit that repairs what a verification has found.
    ///
    /// ```
    /// use reverser_core::{Drift, Drifted, ObjectRef, Pipeline, Resource};
    ///
    /// let nodes = Resource::new("", "v1", "Node", "nodes").cluster_scoped().into();
    /// let object = ObjectRef { resource: nodes, namespace: None, name: "n-1".into(), uid: None };
    /// let repaired = [Drifted { drift: Drift::Missing, object, is_left_out: false }];
    /// let plan = Pipeline::default().verify_plan(&repaired, vec![], "2026-11-27T08:00:00Z".parse()?);
    /// assert_eq!(plan.message.lines().next(), Some("[VERIFY] 1 object: 1 missing"));
    /// assert_eq!(plan.author, None, "nobody's doing: the writer's committer");
    /// # Ok::<(), jiff::Error>(())
    /// ```
    pub fn verify_plan(&self, repaired: &[Drifted], edits: Vec<Edit>, now: Timestamp) -> CommitPlan {
        CommitPlan { author: None, date: now, message: without_trailers(&self.message.verify(repaired)), edits }
    }

    /// Returns the [note](message::note) that says who made a change, on the commit of so many changes that it is in.
    pub fn note(&self, change: &Change, changes: usize) -> String {
        let shown = self.identities.shown_changes(std::slice::from_ref(change));
        shown.iter().map(|change| message::note(change, changes)).collect()
    }

    /// Returns the edit that makes the file say what the object is; `None`: gone.
    fn write(&self, object: &ObjectRef, living: Option<Value>) -> Result<Edit, SealError> {
        let path = self.place(object);
        match living {
            Some(body) => Ok(Edit::Put { path, content: self.manifest(object, body)?.into_bytes() }),
            None => Ok(Edit::Delete { path }),
        }
    }

    /// Returns whether an object such as the one in this file would keep a label or annotation.
    fn keeps(&self, body: &Value, section: &str, key: &str) -> bool {
        let mut stored = body.clone();
        // As the API server has it: what no server has stored is kept as it is.
        stored["metadata"]["uid"] = "any".into();
        // In place of what a file may have there, which needn't be a map.
        stored["metadata"][section] = json!({key: "any"});
        !self.sanitizer.clean(stored)["metadata"][section][key].is_null()
    }

    fn manifest(&self, object: &ObjectRef, mut body: Value) -> Result<String, SealError> {
        // Items of a list come without these two.
        if body["apiVersion"].is_null() {
            body["apiVersion"] = object.resource.api_version().into();
        }
        if body["kind"].is_null() {
            body["kind"] = object.resource.kind.as_str().into();
        }
        let text = yaml::to_string(&self.sanitizer_of(&object.resource).clean(body));
        if self.seal.is_sensitive(&object.resource) { self.seal.seal(object, &text) } else { Ok(text) }
    }
}

fn is_terminating(body: &Value) -> bool {
    !body["metadata"]["deletionTimestamp"].is_null()
}

/// Returns what a file says that is YAML of one document.
fn manifest_of(content: &[u8]) -> Option<Value> {
    let mut documents = yaml::parse(std::str::from_utf8(content).ok()?).ok()?;
    if documents.len() == 1 { documents.pop() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actor, Attribution, Evidence, RequestInfo, TemplateMessage, identity::Pseudonyms};

    fn resource(plural: &str, kind: &str) -> Arc<Resource> {
        Arc::new(Resource::new("", "v1", kind, plural))
    }

    fn change(resource: &Arc<Resource>, operation: Operation, body: Value) -> Change {
        Change::new(ObjectRef::of(resource, &body).unwrap(), operation, Some(body))
    }

    fn live() -> Value {
        json!({"metadata": {"name": "a", "namespace": "shop", "uid": "1", "resourceVersion": "7"}, "data": {"k": "no"}})
    }

    #[test]
    fn an_object_becomes_a_clean_manifest_at_its_place() {
        let pipeline = Pipeline::default();
        let mut change = change(&resource("configmaps", "ConfigMap"), Operation::Create, live());
        let Rendered::Write(edit) = pipeline.render(&mut change) else { panic!("captured") };
        let Edit::Put { path, content } = &edit else { panic!("written") };
        assert_eq!(path.as_str(), "v1/configmaps/shop/a.yaml");
        insta::assert_snapshot!(String::from_utf8_lossy(content), @r#"
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: a
          namespace: shop
        data:
          k: "no"
        "#);
        let plan = pipeline.plan(&change, edit, Timestamp::UNIX_EPOCH);
        assert_eq!(plan.message.lines().next(), Some("[CREATE] v1/configmaps/a"));
        assert!(plan.message.contains("Reverser-Resource-Version: 7"), "{}", plan.message);
    }

    #[test]
    fn an_accepted_deletion_is_a_deletion_whatever_finalizers_do() {
        let mut body = live();
        body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let mut change = change(&resource("configmaps", "ConfigMap"), Operation::Update, body);
        assert!(matches!(Pipeline::default().render(&mut change), Rendered::Write(Edit::Delete { .. })));
        assert_eq!(change.operation, Operation::Delete);
    }

    #[test]
    fn a_secret_is_refused_and_its_value_is_in_no_message() {
        let body = json!({"metadata": {"name": "s", "namespace": "shop"}, "data": {"password": "aHVudGVyMg=="}});
        let mut change = change(&resource("secrets", "Secret"), Operation::Create, body);
        let Rendered::Refuse(error) = Pipeline::default().render(&mut change) else { panic!("refused") };
        assert!(error.to_string().contains("v1/secrets/s") && !format!("{error:?}").contains("aHVudGVyMg"), "{error}");
    }

    #[test]
    fn the_author_is_named_only_with_evidence() {
        let pipeline = Pipeline::default();
        let change = change(&resource("configmaps", "ConfigMap"), Operation::Create, live());
        let edit = || Edit::Delete { path: "a".parse().unwrap() };
        assert_eq!(pipeline.plan(&change, edit(), Timestamp::UNIX_EPOCH).author, None);
        let known = change.by(Actor::user("alice"));
        assert!(matches!(known.attribution, Attribution::Known { .. }));
        assert_eq!(pipeline.plan(&known, edit(), Timestamp::UNIX_EPOCH).author.unwrap().name(), "alice");
    }

    /// Of the same two people, in every part of an attribution.
    fn by_people() -> Vec<Change> {
        let people = || ["Mallory", "Trudy"].map(Actor::user).to_vec();
        let request = RequestInfo {
            audit_id: Some("5d1c".into()),
            impersonator: Some("Trudy".into()),
            is_by_managed_fields: false,
            user_agent: Some("Mallory's own".into()),
        };
        let actor = Actor {
            groups: vec!["Mallory".into()],
            extra: [("mail".to_owned(), vec!["Mallory".to_owned()])].into(),
            ..Actor::user("Mallory")
        };
        let known = Attribution::Known { actor, evidence: Evidence::Audit, request: Box::new(request) };
        let attributions = [known, Attribution::Ambiguous(people()), Attribution::Manager("Trudy".into())];
        let by_trudy = Attribution::known(Actor::user("Trudy"), Evidence::Cascade);
        let change = change(&resource("configmaps", "ConfigMap"), Operation::Create, live());
        let by = |attribution| Change { attribution, ..change.clone() };
        let mut changes: Vec<_> = attributions.into_iter().chain([by_trudy]).map(by).collect();
        changes[3].object.name = "b".into();
        changes
    }

    #[test]
    fn with_pseudonyms_no_commit_names_anybody() {
        let pseudonyms = Pseudonyms::new(b"0123456789abcdef").unwrap();
        let template = TemplateMessage::default().changes("{{ actor }} {{ name }}").unwrap();
        let template =
            template.groups("{{ actor }} {{ actors|join }} {% for o in objects %}{{ o.actors|join }}{% endfor %}");
        let templates: [Arc<dyn CommitMessage>; 2] = [Arc::new(template.unwrap()), Arc::new(DefaultMessage)];
        for message in templates {
            let plain = Pipeline { message, ..Pipeline::default() };
            let hidden = Pipeline {
                identities: Identities::default().record_groups().pseudonyms(pseudonyms.clone()),
                ..plain.clone()
            };
            let changes = by_people();
            let twice = vec![changes[0].clone(); 2];
            let groups: Vec<_> = changes.chunks(1).chain([&changes[..], &twice]).collect();
            for group in groups {
                let said = |pipeline: &Pipeline| {
                    let plan = pipeline.group_plan(group, vec![], Timestamp::UNIX_EPOCH);
                    format!("{}{:?}", plan.message, plan.author)
                };
                let (plain, hidden) = (said(&plain), said(&hidden));
                assert!(plain.contains("Mallory") || plain.contains("Trudy"), "{plain}");
                assert!(!hidden.contains("Mallory") && !hidden.contains("Trudy"), "{hidden}");
                let is_named = |name: &str| plain.contains(name) == hidden.contains(&pseudonyms.of(name));
                assert!(
                    is_named("Mallory") && (is_named("Trudy") || plain.contains("Manager: Trudy")),
                    "{plain}\n{hidden}"
                );
            }
        }
    }

    #[test]
    fn an_author_has_the_name_that_a_rule_gives_and_the_trailer_the_user_name() {
        let identities = Identities::default().record_groups();
        identities
            .set_rules("rules: [{group: developers, name: Alice Liddell, email: al@example.com}]".parse().unwrap());
        let pipeline = Pipeline { identities, ..Pipeline::default() };
        let mut changes = by_people();
        let groups = ["system:authenticated", "developers"].map(str::to_owned).to_vec();
        changes[3].attribution = Attribution::known(Actor { groups, ..Actor::user("alice") }, Evidence::Admission);
        let plan = pipeline.group_plan(&changes[3..], vec![], Timestamp::UNIX_EPOCH);
        assert_eq!(plan.author.unwrap().to_string(), "Alice Liddell <al@example.com>");
        assert!(
            plan.message
                .contains("Actor: alice\nReverser-Evidence: admission\nReverser-Group: developers\nReverser-Uid")
        );
        let plan = pipeline.group_plan(&changes[1..], vec![], Timestamp::UNIX_EPOCH);
        assert!(plan.message.ends_with("\nCo-authored-by: Alice Liddell <al@example.com>\n"), "{}", plan.message);
    }

    #[test]
    fn only_files_that_it_would_write_are_owned() {
        let pipeline = Pipeline::default();
        let configmaps = resource("configmaps", "ConfigMap");
        let text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: shop\n";
        let owns =
            |path: &str, text: &[u8], namespace| pipeline.owns(&path.parse().unwrap(), text, &configmaps, namespace);
        assert!(owns("v1/configmaps/shop/a.yaml", text, None));
        assert!(owns("v1/configmaps/shop/a.yaml", text, Some("shop")));
        assert!(!owns("v1/configmaps/shop/a.yaml", text, Some("other")));
        assert!(!owns("v1/configmaps/shop/hand-written.yaml", text, None));
        assert!(!owns("v1/configmaps/shop/a.yaml", b"# notes", None));
        assert!(!owns(
            "v1/configmaps/shop/a.yaml",
            b"apiVersion: v1\nkind: Other\nmetadata: {name: a, namespace: shop}\n",
            None
        ));
    }

    fn selecting(only: &[&str], except: &[&str]) -> Pipeline {
        let filters = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let selector = Selector { only: filters(only), except: filters(except), ..Selector::default() };
        Pipeline { selector, ..Pipeline::default() }
    }

    #[test]
    fn a_change_that_is_not_wanted_is_skipped_and_one_of_an_unknown_user_waits_for_the_answer() {
        let configmaps = resource("configmaps", "ConfigMap");
        let render = |pipeline: &Pipeline, operation, body| pipeline.render(&mut change(&configmaps, operation, body));
        let no_deletions = selecting(&[], &["operation=delete"]);
        let mut dying = live();
        dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert!(matches!(render(&no_deletions, Operation::Update, live()), Rendered::Write(_)));
        for (operation, body) in [(Operation::Delete, live()), (Operation::Update, dying)] {
            let Rendered::Skip(edit) = render(&no_deletions, operation, body) else { panic!("not wanted") };
            assert_eq!(edit, Edit::Delete { path: "v1/configmaps/shop/a.yaml".parse().unwrap() });
        }
        let alices = selecting(&["user=alice"], &[]);
        let Rendered::WriteIfBy(users, Edit::Put { .. }) = render(&alices, Operation::Update, live()) else {
            panic!("it depends")
        };
        assert!(users.include(Some(&Actor::user("alice"))) && !users.include(None));
        let mut by_bob = change(&configmaps, Operation::Update, live()).by(Actor::user("bob"));
        assert!(matches!(alices.render(&mut by_bob), Rendered::Skip(_)) && by_bob.body.is_none());
    }

    #[test]
    fn a_list_has_neither_users_nor_operations() {
        let object = ObjectRef::of(&resource("configmaps", "ConfigMap"), &live()).unwrap();
        for pipeline in [selecting(&["user=alice"], &[]), selecting(&[], &["operation=create"])] {
            assert!(matches!(pipeline.render_listed(&object, live()), Rendered::Write(Edit::Put { .. })));
        }
        let pipeline = selecting(&[], &["name=a"]);
        assert!(matches!(pipeline.render_listed(&object, live()), Rendered::Leave(LeftOut::NotSelected)));
    }

    #[test]
    fn a_file_is_owned_by_what_it_tells_of_the_selection() {
        let configmaps = resource("configmaps", "ConfigMap");
        let file = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop, annotations: {team: x}}\n";
        let owns = |filter: &str, file: &str| {
            let path = "v1/configmaps/shop/a.yaml".parse().unwrap();
            selecting(&[filter], &[]).owns(&path, file.as_bytes(), &configmaps, None)
        };
        for yes in [
            "annotation=team=x",
            "manager=kubectl",
            "owner=*",
            "owner!=*",
            "user=alice operation=create",
            // The sanitizer removes it from every object.
            "annotation=kubectl.kubernetes.io/last-applied-configuration",
            "label=argocd.argoproj.io/instance=shop",
        ] {
            assert!(owns(yes, file), "{yes}");
        }
        for no in ["annotation=team=y", "annotation=other", "label=app", "name=b", "namespace=other"] {
            assert!(!owns(no, file), "{no}");
        }
        assert!(!owns("label=app", &file.replace("annotations: {team: x}", "labels: [app]")), "no map, no labels");
    }
}
