//! What a [`Selector`](crate::Selector) takes or leaves, in any combination of what is known of objects and changes.

mod parse;

use std::fmt;

use serde_json::Value;

pub use self::parse::FilterError;
use super::{Glob, LabelSelector, truth};
use crate::{Actor, ObjectRef, Operation, Resource, change::group_of};

/// Terms that all have to hold.
///
/// ```text
/// resource=deployments.apps|configmaps namespace=shop-* label="app in (web,api)" user!=system:*
/// ```
///
/// Terms are separated by blanks, alternatives by `|`; `!=` negates a term: none of its alternatives may hold. A value
/// with a blank, `|`, `,` or `"` stands in double quotes, in which `\"` and `\\` are a quote and a backslash. Values are
/// [globs](Glob); [`Test`] says what each term is about. `Display` writes what `FromStr` reads.
///
/// ```
/// use reverser_core::{Filter, Glob, Term, Test};
///
/// let filter: Filter = "namespace=shop-* name!=web".parse()?;
/// let same = Filter {
///     terms: vec![
///         Term::is(Test::Namespace(vec![Glob::new("shop-*")])),
///         Term::is_not(Test::Name(vec![Glob::new("web")])),
///     ],
/// };
/// assert_eq!(filter, same);
/// assert_eq!(filter.to_string(), "namespace=shop-* name!=web");
/// # Ok::<(), reverser_core::FilterError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// None: everything. Text has at least one.
    pub terms: Vec<Term>,
}

/// One condition of a [`Filter`].
///
/// ```
/// use reverser_core::{Filter, Glob, Term, Test};
///
/// let name = || Test::Name(vec![Glob::new("web"), Glob::new("db")]);
/// let text = |term| Filter { terms: vec![term] }.to_string();
/// assert_eq!(text(Term::is(name())), "name=web|db");
/// assert_eq!(text(Term::is_not(name())), "name!=web|db");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What is asked.
    pub test: Test,
    /// Whether the answer has to be no.
    pub negated: bool,
}

/// What a [`Term`] asks, with alternatives of which one has to hold.
///
/// Group, version, kind and resource are known before anything is read, and settle what is watched. The rest is about
/// objects, and says which have a file; [`Operation`](Self::Operation) and [`User`](Self::User) are about changes, and
/// say which become a commit.
///
/// ```
/// use reverser_core::{Filter, Operation, Test};
///
/// for text in [
///     "annotation=example.com/owner=team-*",
///     "group=apps|core",
///     "kind=Deployment",
///     "label=\"app in (web,api)\"",
///     "manager=kubectl*",
///     "name=web-?",
///     "namespace=shop-*",
///     "operation=create|delete",
///     "owner=Deployment.apps/web",
///     "resource=deployments.apps",
///     "user=system:*",
///     "version=v1beta?",
/// ] {
///     let filter: Filter = text.parse()?;
///     assert_eq!((filter.terms.len(), filter.to_string().as_str()), (1, text));
/// }
/// let filter: Filter = "operation=create|delete".parse()?;
/// assert_eq!(filter.terms[0].test, Test::Operation(vec![Operation::Create, Operation::Delete]));
/// # Ok::<(), reverser_core::FilterError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// `annotation=KEY` or `annotation=KEY=VALUE`: there is such an annotation, with any or with this value.
    Annotation(Vec<AnnotationPattern>),
    /// `group=apps`: the API group. The core group's is `core` or empty, `""`.
    Group(Vec<Glob>),
    /// `kind=Deployment`, in any case.
    Kind(Vec<Glob>),
    /// `label=SELECTOR`, as `kubectl -l` takes it.
    Label(Vec<LabelSelector>),
    /// `manager=kubectl*`: this field manager owns some field of the object, other than of its status.
    Manager(Vec<Glob>),
    /// `name=web-*`.
    Name(Vec<Glob>),
    /// `namespace=shop`. Cluster-scoped objects are in none: they are not in `*`, and all of them are not in `shop`.
    Namespace(Vec<Glob>),
    /// `operation=create`, `update` or `delete`.
    Operation(Vec<Operation>),
    /// `owner=Deployment/web`, `owner=Deployment.apps` or `owner=*`: an owner reference of the object.
    Owner(Vec<OwnerPattern>),
    /// `resource=deployments` or `resource=deployments.apps`: the plural, in any group or with it, in any case. That of
    /// the core group alone ends with a dot: `events.`
    Resource(Vec<Glob>),
    /// `user=system:*`: who made the change. Where nobody knows, no `user=` holds, and each `user!=` does.
    User(Vec<Glob>),
    /// `version=v1beta?`: the version in which it is watched.
    Version(Vec<Glob>),
}

/// An annotation to look for.
///
/// ```
/// use reverser_core::{AnnotationPattern, Filter, Glob, Term, Test};
///
/// let owned = AnnotationPattern { key: "example.com/owner".into(), value: Some(Glob::new("team-*")) };
/// let filter = Filter { terms: vec![Term::is(Test::Annotation(vec![owned]))] };
/// assert_eq!(filter.to_string(), "annotation=example.com/owner=team-*");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationPattern {
    /// Its key, such as `example.com/owner`.
    pub key: String,
    /// Its value; `None`: any.
    pub value: Option<Glob>,
}

/// An owner reference to look for.
///
/// ```
/// use reverser_core::{Filter, Glob, OwnerPattern, Term, Test};
///
/// let of_deployments = OwnerPattern { kind: Glob::new("Deployment.apps"), name: None };
/// let filter = Filter { terms: vec![Term::is_not(Test::Owner(vec![of_deployments]))] };
/// assert_eq!(filter.to_string(), "owner!=Deployment.apps");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerPattern {
    /// Its kind, `Deployment`, or kind and group, `Deployment.apps`, in any case.
    pub kind: Glob,
    /// Its name; `None`: any.
    pub name: Option<Glob>,
}

/// What is known when a filter is asked.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) resource: &'a Resource,
    pub(super) object: Option<&'a ObjectRef>,
    pub(super) body: Body<'a>,
    pub(super) operation: Option<Operation>,
}

/// What is known of an object's content.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    /// What Git has of it: owners and managers aren't there, and neither are those labels and annotations (section and
    /// key) that aren't kept.
    File(&'a Value, &'a dyn Fn(&str, &str) -> bool),
    /// All, as the API returned it.
    Live(&'a Value),
    Unknown,
}

impl Filter {
    /// Returns whether it holds; `None`: that depends on what isn't known.
    pub(super) fn holds(&self, known: &Known<'_>) -> Option<bool> {
        truth::all(self.terms.iter().map(|term| term.holds(known)))
    }

    /// Returns whether it names the resource itself, rather than by a pattern.
    pub(super) fn names(&self, resource: &Resource) -> bool {
        let is_exact = |term: &Term| match &term.test {
            Test::Kind(globs) => globs.iter().any(|glob| glob.is_exact() && glob.matches_in_any_case(&resource.kind)),
            Test::Resource(globs) => globs.iter().any(|glob| glob.is_exact() && is_resource(glob, resource)),
            _ => false,
        };
        self.terms.iter().any(|term| !term.negated && is_exact(term)) && self.holds(&Known::of(resource)) != Some(false)
    }

    /// Returns what it asks of users.
    pub(super) fn of_users(&self) -> Self {
        let terms = self.terms.iter().filter(|term| matches!(term.test, Test::User(_)));
        Self { terms: terms.cloned().collect() }
    }

    /// Returns whether all holds that isn't about users.
    pub(super) fn holds_for_somebody(&self, known: &Known<'_>) -> Option<bool> {
        let others = self.terms.iter().filter(|term| !matches!(term.test, Test::User(_)));
        truth::all(others.map(|term| term.holds(known)))
    }

    /// Returns whether all holds that is about users.
    pub(super) fn is_by(&self, actor: Option<&Actor>) -> bool {
        self.terms.iter().all(|term| match &term.test {
            Test::User(globs) => actor.is_some_and(|actor| one(globs, &actor.name)) != term.negated,
            _ => true,
        })
    }

    /// Returns whether it asks about changes, not only about objects.
    pub(super) fn is_about_changes(&self) -> bool {
        self.terms.iter().any(|term| matches!(term.test, Test::Operation(_) | Test::User(_)))
    }
}

impl Term {
    /// Returns the term that holds where one of the test's alternatives does: `name=web`.
    pub fn is(test: Test) -> Self {
        Self { test, negated: false }
    }

    /// Returns the term that holds where none of the test's alternatives does: `name!=web`.
    pub fn is_not(test: Test) -> Self {
        Self { test, negated: true }
    }

    fn holds(&self, known: &Known<'_>) -> Option<bool> {
        let holds = self.test.holds(known);
        if self.negated { truth::not(holds) } else { holds }
    }
}

impl Test {
    fn holds(&self, known: &Known<'_>) -> Option<bool> {
        let Known { resource, object, body, operation } = *known;
        match self {
            Self::Annotation(patterns) => truth::any(patterns.iter().map(|AnnotationPattern { key, value }| {
                let is_value = |found: &str| value.as_ref().is_none_or(|value| value.matches(found));
                body.text("annotations", key).map(|found| found.is_some_and(is_value))
            })),
            Self::Group(globs) => Some(match resource.group.as_str() {
                "" => one(globs, "") || one(globs, CORE),
                group => one(globs, group),
            }),
            Self::Kind(globs) => Some(globs.iter().any(|glob| glob.matches_in_any_case(&resource.kind))),
            Self::Label(selectors) => {
                truth::any(selectors.iter().map(|selector| selector.holds(|key| body.text("labels", key))))
            }
            Self::Manager(globs) => body.live().map(|body| {
                let entries = body["metadata"]["managedFields"].as_array();
                let authors = entries.into_iter().flatten().filter(|entry| entry["subresource"] != "status");
                authors.filter_map(|entry| entry["manager"].as_str()).any(|manager| one(globs, manager))
            }),
            Self::Name(globs) => object.map(|object| one(globs, &object.name)),
            Self::Namespace(_) if !resource.namespaced => Some(false),
            Self::Namespace(globs) => {
                object.map(|object| object.namespace.as_deref().is_some_and(|namespace| one(globs, namespace)))
            }
            Self::Operation(operations) => operation.map(|operation| operations.contains(&operation)),
            Self::Owner(patterns) => body.live().map(|body| {
                let owners = body["metadata"]["ownerReferences"].as_array();
                owners.into_iter().flatten().any(|owner| patterns.iter().any(|pattern| pattern.matches(owner)))
            }),
            Self::Resource(globs) => Some(globs.iter().any(|glob| is_resource(glob, resource))),
            // Asked last, by `Filter::is_by`.
            Self::User(_) => None,
            Self::Version(globs) => Some(one(globs, &resource.version)),
        }
    }

    /// Returns what it is called in text.
    fn key(&self) -> &'static str {
        match self {
            Self::Annotation(_) => "annotation",
            Self::Group(_) => "group",
            Self::Kind(_) => "kind",
            Self::Label(_) => "label",
            Self::Manager(_) => "manager",
            Self::Name(_) => "name",
            Self::Namespace(_) => "namespace",
            Self::Operation(_) => "operation",
            Self::Owner(_) => "owner",
            Self::Resource(_) => "resource",
            Self::User(_) => "user",
            Self::Version(_) => "version",
        }
    }

    fn alternatives(&self) -> Vec<String> {
        fn texts(alternatives: &[impl ToString]) -> Vec<String> {
            alternatives.iter().map(ToString::to_string).collect()
        }
        match self {
            Self::Annotation(patterns) => texts(patterns),
            Self::Label(selectors) => texts(selectors),
            Self::Operation(operations) => texts(operations).iter().map(|text| text.to_lowercase()).collect(),
            Self::Owner(patterns) => texts(patterns),
            Self::Group(globs)
            | Self::Kind(globs)
            | Self::Manager(globs)
            | Self::Name(globs)
            | Self::Namespace(globs)
            | Self::Resource(globs)
            | Self::User(globs)
            | Self::Version(globs) => texts(globs),
        }
    }
}

impl OwnerPattern {
    fn matches(&self, owner: &Value) -> bool {
        let text = |key: &str| owner[key].as_str().unwrap_or_default();
        let group = group_of(text("apiVersion"));
        is_named(&self.kind, text("kind"), group) && self.name.as_ref().is_none_or(|name| name.matches(text("name")))
    }
}

impl<'a> Known<'a> {
    pub(super) fn of(resource: &'a Resource) -> Self {
        Self { resource, object: None, body: Body::Unknown, operation: None }
    }

    pub(super) fn of_object(object: &'a ObjectRef, body: Body<'a>) -> Self {
        Self { object: Some(object), body, ..Self::of(&object.resource) }
    }
}

impl<'a> Body<'a> {
    pub(super) fn text(self, section: &str, key: &str) -> Option<Option<&'a str>> {
        let find = |body: &'a Value| body["metadata"][section][key].as_str();
        match self {
            Self::File(body, is_kept) => match find(body) {
                None if !is_kept(section, key) => None,
                found => Some(found),
            },
            Self::Live(body) => Some(find(body)),
            Self::Unknown => None,
        }
    }

    fn live(self) -> Option<&'a Value> {
        match self {
            Self::Live(body) => Some(body),
            Self::File(..) | Self::Unknown => None,
        }
    }
}

impl<'a> From<Option<&'a Value>> for Body<'a> {
    fn from(body: Option<&'a Value>) -> Self {
        body.map_or(Self::Unknown, Self::Live)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            write!(f, "{}{term}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.test.key(), if self.negated { "!=" } else { "=" })?;
        for (index, text) in self.test.alternatives().iter().enumerate() {
            f.write_str(if index > 0 { "|" } else { "" })?;
            if parse::needs_quotes(text) {
                write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))?;
            } else {
                f.write_str(text)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for AnnotationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

impl fmt::Display for OwnerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}/{name}", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

fn one(globs: &[Glob], text: &str) -> bool {
    globs.iter().any(|glob| glob.matches(text))
}

fn is_resource(glob: &Glob, resource: &Resource) -> bool {
    is_named(glob, &resource.plural, &resource.group)
}

/// A pattern with a dot is about name and group, one without about the name alone: neither plurals nor kinds have dots.
fn is_named(glob: &Glob, name: &str, group: &str) -> bool {
    if glob.as_str().contains('.') {
        glob.matches_in_any_case(&format!("{name}.{group}"))
    } else {
        glob.matches_in_any_case(name)
    }
}

/// Stands for the group without a name.
const CORE: &str = "core";

#[cfg(test)]
mod tests;
