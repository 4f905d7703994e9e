//! Which objects are captured, and which of their changes are recorded.

mod filter;
mod glob;
mod labels;
mod noise;
mod truth;
mod writers;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::filter::{Body, Known};
pub use self::{
    filter::{AnnotationPattern, Filter, FilterError, OwnerPattern, Term, Test},
    glob::Glob,
    labels::{LabelSelector, LabelSelectorError},
    noise::{NOISE, Noise},
    writers::{Made, Writers},
};
use crate::{Actor, Attribution, Change, ObjectRef, Resource};

/// Chooses among what the API serves. The default takes everything but [`NOISE`]; whatever else is set has to hold, too.
///
/// ```
/// use reverser_core::{Filter, Selector};
///
/// let selector = Selector {
///     only: vec!["group=apps|core namespace=shop-*".parse()?],
///     except: vec!["user=system:*".parse()?, "owner=*".parse()?],
///     ..Selector::default()
/// };
/// # Ok::<(), reverser_core::FilterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Selector {
    /// Only these, as (group, plural); empty: all. A resource that is named here is captured although a row of
    /// [`NOISE`] is about it; rows about single objects still hold.
    pub resources: BTreeSet<(String, String)>,
    /// The version in which a resource is captured, by (group, plural), for as long as it is served in that one. Else,
    /// and for all others, it is the one that the API server prefers.
    pub versions: BTreeMap<(String, String), String>,
    /// Only objects in these namespaces; empty: all, and cluster-scoped ones. Cluster-scoped objects are captured
    /// beside namespaces only when their resource is named.
    pub namespaces: BTreeSet<String>,
    /// Only objects with these labels.
    pub labels: LabelSelector,
    /// Rows of [`NOISE`], by name, that are captured all the same.
    pub include: BTreeSet<&'static str>,
    /// Only what one of these takes; empty: everything. Terms about users and operations say which changes are recorded,
    /// all others which objects are captured. A resource that one of them names, rather than by a pattern, is
    /// captured as if it were in `resources`.
    pub only: Vec<Filter>,
    /// Nothing that one of these takes.
    pub except: Vec<Filter>,
    /// The annotation with which an object asks to be left out, by the value `true`. `None`: none is listened to. Default:
    /// [`OPT_OUT`].
    pub opt_out: Option<String>,
    /// No changes that one of these field managers made; [`Writers`] tells. Unlike a filter's `manager=`, which is about
    /// objects.
    pub ignore_managers: Vec<Glob>,
}

/// What an object is annotated with, `configbutler.ai/ignore: "true"`, that is to be left out.
pub const OPT_OUT: &str = "configbutler.ai/ignore";

impl Default for Selector {
    fn default() -> Self {
        Self {
            resources: BTreeSet::new(),
            versions: BTreeMap::new(),
            namespaces: BTreeSet::new(),
            labels: LabelSelector::default(),
            include: BTreeSet::new(),
            only: vec![],
            except: vec![],
            opt_out: Some(OPT_OUT.to_owned()),
            ignore_managers: vec![],
        }
    }
}

/// Why something isn't captured.
///
/// ```
/// use reverser_core::{LeftOut, Resource, Selector};
///
/// let leases = Resource::new("coordination.k8s.io", "v1", "Lease", "leases").without_status();
/// let Err(LeftOut::Noise(row)) = Selector::default().resource(&leases) else { unreachable!("no user authors them") };
/// assert_eq!((row.name, row.reason), ("leases", "heartbeats of nodes and leaders, renewed every few seconds"));
///
/// let shop = Selector { only: vec!["namespace=shop".parse()?], ..Selector::default() };
/// let nodes = Resource::new("", "v1", "Node", "nodes").cluster_scoped();
/// assert_eq!(shop.resource(&nodes), Err(LeftOut::NotSelected));
/// # Ok::<(), reverser_core::FilterError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Nobody asked for this resource, namespace, label, or for what else a filter says of objects.
    NotSelected,
    /// The object is captured, but nobody asked for changes of this kind or by this user.
    NotThisChange,
    /// No user authors it: the row says why.
    Noise(&'static Noise),
    /// It asks for that itself, by [`Selector::opt_out`].
    OptedOut,
}

/// Whether a change of a captured object is recorded: the answer of [`Selector::change`].
///
/// ```
/// use reverser_core::{Actor, Change, ObjectRef, Operation, Resource, Selector, Wanted};
///
/// let resource = Resource::new("", "v1", "Node", "nodes").cluster_scoped().into();
/// let node = ObjectRef { resource, namespace: None, name: "n-1".into(), uid: None };
/// let change = Change::new(node, Operation::Update, None);
/// let except = |filter: &str| Ok(Selector { except: vec![filter.parse()?], ..Selector::default() });
/// assert_eq!(except("operation=delete")?.change(&change), Wanted::Yes);
/// assert_eq!(except("operation=update")?.change(&change), Wanted::No);
///
/// let wanted = except("user=system:*")?.change(&change);
/// assert!(matches!(wanted, Wanted::By(_)), "nobody knows yet who made it");
/// assert!(wanted.by(Some(&Actor::user("alice"))));
/// # Ok::<(), reverser_core::FilterError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// When one of these made it: it isn't known yet who did.
    By(Users),
    /// It isn't.
    No,
    /// It is.
    Yes,
}

/// Whose change is recorded, with all else that a [`Selector`] asks being settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users {
    /// Empty: anybody's.
    only: Vec<Filter>,
    except: Vec<Filter>,
}

impl Selector {
    /// Returns whether objects of `resource` can be captured at all, else why not.
    ///
    /// ```
    /// use reverser_core::{Resource, Selector};
    ///
    /// let selector = Selector { only: vec!["group=apps name=web".parse()?], ..Selector::default() };
    /// assert!(selector.resource(&Resource::new("apps", "v1", "Deployment", "deployments")).is_ok());
    /// assert!(selector.resource(&Resource::new("", "v1", "ConfigMap", "configmaps")).is_err());
    /// # Ok::<(), reverser_core::FilterError>(())
    /// ```
    pub fn resource(&self, resource: &Resource) -> Result<(), LeftOut> {
        let is_in_list = self.resources.contains(&(resource.group.clone(), resource.plural.clone()));
        let is_named = is_in_list || self.only.iter().any(|filter| filter.names(resource));
        let is_listed = is_in_list || self.resources.is_empty();
        let is_in_scope = is_named || resource.namespaced || self.namespaces.is_empty();
        if !is_listed || !is_in_scope || !self.admits(&Known::of(resource)) {
            return Err(LeftOut::NotSelected);
        }
        match self.noise().find(|noise| !is_named && noise.is_resource(resource)) {
            Some(noise) => Err(LeftOut::Noise(noise)),
            None => Ok(()),
        }
    }

    /// Returns whether this object is captured, else why not. `body` is the whole object as the API returned it; without
    /// it, which is how some sources tell of deletions, what can't be known counts as asked for.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use reverser_core::{ObjectRef, Resource, Selector};
    /// use serde_json::json;
    ///
    /// let configmaps = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps").without_status());
    /// let body = json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}});
    /// let web = ObjectRef::of(&configmaps, &body).expect("it has a name");
    /// let selector = Selector { labels: "app=cache".parse()?, ..Selector::default() };
    /// assert!(selector.object(&web, Some(&body)).is_err());
    /// assert!(selector.object(&web, None).is_ok(), "its labels aren't known");
    /// # Ok::<(), reverser_core::LabelSelectorError>(())
    /// ```
    pub fn object(&self, object: &ObjectRef, body: Option<&Value>) -> Result<(), LeftOut> {
        self.captures(&Known::of_object(object, body.into()))?;
        if body.is_some_and(|body| self.is_opted_out(body)) {
            return Err(LeftOut::OptedOut);
        }
        match self.noise().find(|noise| body.is_some_and(|body| noise.is_object(object, body))) {
            Some(noise) => Err(LeftOut::Noise(noise)),
            None => Ok(()),
        }
    }

    /// Returns whether the object in a file may have been captured. `body` is what the file says; `is_kept` tells whether a
    /// key of the object's `labels` or `annotations` would stand in the file. What a file can't tell counts as asked for:
    /// owners and field managers, and noise that is known by its owner.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use reverser_core::{ObjectRef, Resource, Selector};
    /// use serde_json::json;
    ///
    /// let configmaps = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps").without_status());
    /// let body = json!({"metadata": {"name": "web", "namespace": "shop"}});
    /// let web = ObjectRef::of(&configmaps, &body).expect("it has a name");
    /// let may_be = |only: &str| -> Result<bool, _> {
    ///     let selector = Selector { only: vec![only.parse()?], ..Selector::default() };
    ///     Ok(selector.file(&web, &body, &|_section, key| !key.starts_with("kro.run/")))
    /// };
    /// assert!(!may_be("label=app")?, "the file would have the label");
    /// assert!(may_be("label=kro.run/owned")? && may_be("manager=kubectl*")?, "files don't have these");
    /// # Ok::<(), reverser_core::FilterError>(())
    /// ```
    pub fn file(&self, object: &ObjectRef, body: &Value, is_kept: &dyn Fn(&str, &str) -> bool) -> bool {
        self.captures(&Known::of_object(object, Body::File(body, is_kept))).is_ok()
            && !self.is_opted_out(body)
            && !self.noise().any(|noise| noise.is_object(object, body))
    }

    /// Returns whether this change of a captured object is recorded, as its operation and its user are asked for. Who made
    /// it is a question for later while its attribution isn't [`Attribution::Known`].
    ///
    /// ```
    /// use reverser_core::{Actor, Change, ObjectRef, Operation, Resource, Selector, Wanted};
    ///
    /// let resource = Resource::new("", "v1", "Node", "nodes").cluster_scoped().into();
    /// let node = ObjectRef { resource, namespace: None, name: "n-1".into(), uid: None };
    /// let selector = Selector { only: vec!["user=alice operation=update".parse()?], ..Selector::default() };
    /// let update = Change::new(node.clone(), Operation::Update, None);
    /// assert_eq!(selector.change(&update.by(Actor::user("alice"))), Wanted::Yes);
    /// assert_eq!(selector.change(&Change::new(node, Operation::Create, None)), Wanted::No);
    /// # Ok::<(), reverser_core::FilterError>(())
    /// ```
    pub fn change(&self, change: &Change) -> Wanted {
        if !self.only.iter().chain(&self.except).any(Filter::is_about_changes) {
            return Wanted::Yes;
        }
        let known = Known {
            operation: Some(change.operation),
            ..Known::of_object(&change.object, change.body.as_ref().into())
        };
        let mut only = self.only.iter().filter(|filter| filter.holds_for_somebody(&known) != Some(false)).peekable();
        if only.peek().is_none() && !self.only.is_empty() {
            return Wanted::No;
        }
        let mut only: Vec<_> = only.map(Filter::of_users).collect();
        if only.iter().any(|filter| filter.terms.is_empty()) {
            only.clear();
        }
        let except = self.except.iter().filter(|filter| filter.holds_for_somebody(&known) == Some(true));
        let except: Vec<_> = except.map(Filter::of_users).collect();
        if except.iter().any(|filter| filter.terms.is_empty()) {
            return Wanted::No;
        }
        let users = Users { only, except };
        match &change.attribution {
            _ if users.only.is_empty() && users.except.is_empty() => Wanted::Yes,
            Attribution::Known { actor, .. } if users.include(Some(actor)) => Wanted::Yes,
            Attribution::Known { .. } => Wanted::No,
            Attribution::Ambiguous(_) | Attribution::Manager(_) | Attribution::Unknown => Wanted::By(users),
        }
    }

    fn captures(&self, known: &Known<'_>) -> Result<(), LeftOut> {
        self.resource(known.resource)?;
        let namespace = known.object.and_then(|object| object.namespace.as_ref());
        let in_namespace =
            namespace.is_none_or(|namespace| self.namespaces.is_empty() || self.namespaces.contains(namespace));
        let has_labels = self.labels.holds(|key| known.body.text("labels", key)) != Some(false);
        if in_namespace && has_labels && self.admits(known) { Ok(()) } else { Err(LeftOut::NotSelected) }
    }

    /// Returns whether the filters leave it possible that something is taken.
    fn admits(&self, known: &Known<'_>) -> bool {
        let is_taken = self.only.is_empty() || self.only.iter().any(|filter| filter.holds(known) != Some(false));
        is_taken && !self.except.iter().any(|filter| filter.holds(known) == Some(true))
    }

    fn is_opted_out(&self, body: &Value) -> bool {
        self.opt_out.as_ref().is_some_and(|key| body["metadata"]["annotations"][key] == "true")
    }

    fn noise(&self) -> impl Iterator<Item = &'static Noise> {
        NOISE.iter().filter(|noise| !self.include.contains(noise.name))
    }
}

/// Returns whose `change` one of `filters` takes, anybody's where there are none. What they ask and can't be known isn't taken.
pub(crate) fn taken(filters: &[Filter], change: &Change) -> Wanted {
    let known =
        Known { operation: Some(change.operation), ..Known::of_object(&change.object, change.body.as_ref().into()) };
    let taking = filters.iter().filter(|filter| filter.holds_for_somebody(&known) == Some(true));
    let users: Vec<_> = taking.map(Filter::of_users).collect();
    if filters.is_empty() || users.iter().any(|filter| filter.terms.is_empty()) {
        Wanted::Yes
    } else if users.is_empty() {
        Wanted::No
    } else {
        Wanted::By(Users { only: users, except: vec![] })
    }
}

impl Wanted {
    /// Returns whether a change by `actor` is recorded, as [`Users::include`] says where it depends on that.
    ///
    /// ```
    /// assert!(reverser_core::Wanted::Yes.by(None) && !reverser_core::Wanted::No.by(None));
    /// ```
    pub fn by(&self, actor: Option<&Actor>) -> bool {
        match self {
            Self::By(users) => users.include(actor),
            Self::No => false,
            Self::Yes => true,
        }
    }
}

impl Users {
    /// Returns whether a change by `actor` is recorded; `None`: nobody knows who it was. Then no `user=` holds, and each
    /// `user!=` does.
    ///
    /// ```
    /// use reverser_core::{Actor, Change, ObjectRef, Operation, Resource, Selector, Wanted};
    ///
    /// let resource = Resource::new("", "v1", "ConfigMap", "configmaps").without_status().into();
    /// let object = ObjectRef { resource, namespace: Some("shop".into()), name: "web".into(), uid: None };
    /// let selector = Selector { except: vec!["user=system:*".parse()?], ..Selector::default() };
    /// let Wanted::By(users) = selector.change(&Change::new(object, Operation::Update, None)) else {
    ///     unreachable!("nobody knows yet who made it")
    /// };
    /// assert!(users.include(Some(&Actor::user("alice"))) && users.include(None));
    /// assert!(!users.include(Some(&Actor::user("system:node:a"))));
    /// # Ok::<(), reverser_core::FilterError>(())
    /// ```
    pub fn include(&self, actor: Option<&Actor>) -> bool {
        let is_taken = self.only.is_empty() || self.only.iter().any(|filter| filter.is_by(actor));
        is_taken && !self.except.iter().any(|filter| filter.is_by(actor))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::Operation;

    fn resource(group: &str, plural: &str, namespaced: bool) -> Resource {
        Resource { namespaced, ..Resource::new(group, "v1", "", plural) }
    }

    fn object(resource: Resource, body: &Value) -> ObjectRef {
        ObjectRef::of(&Arc::new(resource), body).unwrap()
    }

    #[test]
    fn everything_but_noise_is_captured() {
        let all = Selector::default();
        assert_eq!(all.resource(&resource("apps", "deployments", true)), Ok(()));
        assert!(
            matches!(all.resource(&resource("", "events", true)), Err(LeftOut::Noise(row)) if row.name == "events")
        );
        assert_eq!(all.resource(&resource("examples.com", "events", true)), Ok(()));
    }

    #[test]
    fn naming_or_including_a_resource_overrides_its_row() {
        let lease = resource("coordination.k8s.io", "leases", true);
        let named = Selector {
            resources: [("coordination.k8s.io".to_owned(), "leases".to_owned())].into(),
            ..Selector::default()
        };
        assert_eq!(named.resource(&lease), Ok(()));
        assert_eq!(named.resource(&resource("", "configmaps", true)), Err(LeftOut::NotSelected));
        let included = Selector { include: ["leases"].into(), ..Selector::default() };
        assert_eq!(included.resource(&lease), Ok(()));
        assert_eq!(included.resource(&resource("", "configmaps", true)), Ok(()));
    }

    #[test]
    fn a_controlled_object_is_left_out_and_an_owned_one_is_not() {
        let pod = |controller: bool| {
            json!({"metadata": {"name": "web-1", "namespace": "shop", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": controller}]}})
        };
        let left_out =
            |selector: &Selector, body: &Value| selector.object(&object(resource("", "pods", true), body), Some(body));
        let all = Selector::default();
        assert!(matches!(left_out(&all, &pod(true)), Err(LeftOut::Noise(row)) if row.name == "controlled"));
        assert_eq!(left_out(&all, &pod(false)), Ok(()));
        assert_eq!(left_out(&Selector { include: ["controlled"].into(), ..all }, &pod(true)), Ok(()));
    }

    #[test]
    fn namespaces_leave_cluster_scoped_objects_out_unless_named() {
        let mut selector = Selector { namespaces: ["shop".to_owned()].into(), ..Selector::default() };
        let roles = resource("rbac.authorization.k8s.io", "clusterroles", false);
        assert_eq!(selector.resource(&roles), Err(LeftOut::NotSelected));
        let body = json!({"metadata": {"name": "a", "namespace": "other"}});
        let configmap = object(resource("", "configmaps", true), &body);
        assert_eq!(selector.object(&configmap, Some(&body)), Err(LeftOut::NotSelected));
        selector.resources.insert((roles.group.clone(), roles.plural.clone()));
        assert_eq!(selector.resource(&roles), Ok(()));
    }

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn select(only: &[&str], except: &[&str]) -> Selector {
        Selector { only: filters(only), except: filters(except), ..Selector::default() }
    }

    #[test]
    fn a_resource_that_no_filter_can_take_is_not_watched() {
        let (deployments, configmaps) = (resource("apps", "deployments", true), resource("", "configmaps", true));
        let roles = resource("rbac.authorization.k8s.io", "clusterroles", false);
        let chosen = |selector: &Selector| {
            [&deployments, &configmaps, &roles].map(|resource| selector.resource(resource).is_ok())
        };
        for (only, except, expected) in [
            (&["group=apps"][..], &[][..], [true, false, false]),
            (&["group=apps", "resource=configmaps name=a"], &[], [true, true, false]),
            (&["user=alice", "group=apps"], &[], [true, true, true]),
            (&["namespace=*"], &[], [true, true, false]),
            (&["namespace!=kube-*"], &[], [true, true, true]),
            (&[], &["resource=configmaps|clusterroles"], [true, false, false]),
            (&[], &["resource=configmaps name=a"], [true, true, true]),
            (&["group=apps"], &["version=v1"], [false, false, false]),
        ] {
            assert_eq!(chosen(&select(only, except)), expected, "{only:?} {except:?}");
        }
    }

    #[test]
    fn a_filter_that_names_a_noisy_resource_overrides_its_row() {
        let leases = Resource { kind: "Lease".into(), ..resource("coordination.k8s.io", "leases", true) };
        let is_chosen = |only: &str| select(&[only], &[]).resource(&leases);
        for named in ["resource=leases", "resource=leases.coordination.k8s.io name=a", "kind=lease"] {
            assert_eq!(is_chosen(named), Ok(()), "{named}");
        }
        for not in ["resource=lease*", "group=coordination.k8s.io", "kind!=Job", "name=a"] {
            assert!(matches!(is_chosen(not), Err(LeftOut::Noise(row)) if row.name == "leases"), "{not}");
        }
        assert_eq!(is_chosen("resource=leases group=apps"), Err(LeftOut::NotSelected));
    }

    #[test]
    fn objects_are_taken_and_left_by_what_filters_say_of_them() {
        let body = json!({"metadata": {"name": "web", "namespace": "shop", "annotations": {"team": "a"}}});
        let web = object(resource("", "configmaps", true), &body);
        let takes = |only: &[&str], except: &[&str]| select(only, except).object(&web, Some(&body)).is_ok();
        assert!(takes(&["name=db", "namespace=sh?p annotation=team=a"], &["name=db", "owner=*"]));
        assert!(!takes(&["name=db", "name=api"], &[]));
        assert!(!takes(&[], &["annotation=team"]));
        assert!(takes(&["user=alice", "operation=delete"], &["user=bob"]), "objects have neither");
        // A deletion without the object: its name is known, its annotations are not.
        let is_deleted = |only: &str| select(&[only], &[]).object(&web, None).is_ok();
        assert!(is_deleted("name=web annotation=x") && !is_deleted("name=db annotation=x"));
    }

    #[test]
    fn an_object_opts_out_by_its_annotation() {
        let web = |value: &str| {
            let body =
                json!({"metadata": {"name": "web", "annotations": {OPT_OUT: value, "example.com/skip": "true"}}});
            (object(resource("", "configmaps", true), &body), body)
        };
        let all = Selector::default();
        let (asking, body) = web("true");
        assert_eq!(all.object(&asking, Some(&body)), Err(LeftOut::OptedOut));
        assert_eq!(all.object(&asking, None), Ok(()), "how some sources tell of deletions");
        assert!(!all.file(&asking, &body, &|_section, _key| true), "a file that says so is nobody's to remove");
        for value in ["false", "", "True"] {
            let (other, body) = web(value);
            assert_eq!(all.object(&other, Some(&body)), Ok(()), "{value:?}");
        }
        let off = Selector { opt_out: None, ..Selector::default() };
        assert_eq!(off.object(&asking, Some(&body)), Ok(()));
        let renamed = Selector { opt_out: Some("example.com/skip".into()), ..Selector::default() };
        assert_eq!(renamed.object(&web("false").0, Some(&web("false").1)), Err(LeftOut::OptedOut));
    }

    #[test]
    fn a_file_that_does_not_tell_counts_as_captured() {
        let body = json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}});
        let web = object(resource("", "configmaps", true), &body);
        let is_kept = |_section: &str, key: &str| key != "removed";
        let owns = |only: &str, except: &str| select(&[only], &[except]).file(&web, &body, &is_kept);
        assert!(owns("name=web", "name=db"));
        assert!(owns("manager=kubectl*", "owner=*"));
        assert!(owns("annotation=removed", "label=removed"));
        assert!(!owns("annotation=team", "name=db"));
        assert!(!owns("name=web", "label=app=web"));
        let labels = "removed=1".parse().unwrap();
        assert!(Selector { labels, ..Selector::default() }.file(&web, &body, &is_kept));
    }

    #[test]
    fn who_made_a_change_is_asked_only_when_it_matters() {
        let body = json!({"metadata": {"name": "web", "namespace": "shop"}});
        let update = Change::new(object(resource("", "configmaps", true), &body), Operation::Update, Some(body));
        let by = |only: &[&str], except: &[&str]| matches!(select(only, except).change(&update), Wanted::By(_));
        assert!(by(&["user=bob"], &[]) && by(&[], &["user=bob"]) && by(&["name=web"], &["user=bob name=web"]));
        assert!(!by(&["user=bob", "name=web"], &[]) && !by(&["user=bob name=db"], &["user=bob operation=create"]));
    }

    #[test]
    fn whoever_is_not_known_for_certain_is_not_left_out() {
        let body = json!({"metadata": {"name": "web", "namespace": "shop"}});
        let web = object(resource("", "configmaps", true), &body);
        let flux = || Actor::user("system:serviceaccount:flux-system:kustomize");
        let is_wanted = |only: &[&str], attribution: Attribution| {
            let selector = select(only, &["user=system:serviceaccount:flux-system:*"]);
            let change =
                |operation| Change { attribution: attribution.clone(), ..Change::new(web.clone(), operation, None) };
            let of = |operation| match selector.change(&change(operation)) {
                Wanted::By(users) => users.include(attribution.actor()),
                wanted => wanted == Wanted::Yes,
            };
            [Operation::Create, Operation::Update, Operation::Delete].map(of)
        };
        let evidence = [crate::Evidence::Audit, crate::Evidence::Cascade];
        for evidence in evidence {
            assert_eq!(is_wanted(&[], Attribution::known(flux(), evidence)), [false; 3]);
            assert_eq!(is_wanted(&["user=*"], Attribution::known(flux(), evidence)), [false; 3], "wins over only");
        }
        let uncertain = [
            Attribution::Unknown,
            Attribution::Ambiguous(vec![flux(), Actor::user("alice")]),
            Attribution::Manager("kustomize-controller".into()),
        ];
        for attribution in uncertain {
            assert_eq!(is_wanted(&[], attribution), [true; 3]);
        }
    }

    #[test]
    fn changes_are_wanted_by_operation_and_user() {
        let body = json!({"metadata": {"name": "web", "namespace": "shop"}});
        let web = object(resource("", "configmaps", true), &body);
        let change = |operation| Change::new(web.clone(), operation, Some(body.clone()));
        let alice = Some(Actor::user("alice"));
        for (only, except, by_alice, by_nobody) in [
            (&[][..], &["name=db user=alice"][..], true, true),
            (&["operation=update"], &[], true, true),
            (&["operation=create"], &[], false, false),
            (&[], &["operation=update|delete"], false, false),
            (&["user=alice"], &[], true, false),
            (&["user!=alice"], &[], false, true),
            (&[], &["user=a*"], false, true),
            (&[], &["user!=alice"], true, false),
            (&["user=bob", "name=web"], &[], true, true),
            (&["user=bob", "name=db"], &[], false, false),
            (&["user=alice operation=create", "user=bob"], &[], false, false),
            (&["user=a*"], &["user=alice operation=update"], false, false),
        ] {
            let selector = select(only, except);
            let is_wanted = |actor: Option<&Actor>| {
                let late = selector.change(&change(Operation::Update)).by(actor);
                let attribution = Attribution::Manager("kubectl-create".into());
                let managed = selector.change(&Change { attribution, ..change(Operation::Update) });
                assert_eq!(managed.by(actor), late, "a manager is no user: {only:?} {except:?}");
                if let Some(actor) = actor {
                    let at_once = selector.change(&change(Operation::Update).by(actor.clone()));
                    assert_eq!(at_once, if late { Wanted::Yes } else { Wanted::No }, "{only:?} {except:?}");
                }
                late
            };
            assert_eq!((is_wanted(alice.as_ref()), is_wanted(None)), (by_alice, by_nobody), "{only:?} {except:?}");
        }
    }
}
