//! A layout that is written down: `{group}/{kind|lower}/{namespace}/{name}.yaml`.
//!
//! Why two objects never meet: the number of folders is the template's, nothing is left out, and the names of an object
//! can be read back from each path, so two objects with one path have the same names. What can't be read back is refused
//! when the template is parsed. Two things make that possible. Names of the API have alphabets ([`Layout`] lists them),
//! so that `{namespace}.{name}` has one reading and `{namespace}-{name}` has two. And [`RepoPath::from_segments`]
//! gives different names different paths, also where a file system folds case or normalizes Unicode.

use std::{fmt, str::FromStr};

use crate::{Layout, ObjectRef, RepoPath, Resource};

mod parse;

pub use parse::LayoutTemplateError;

/// Places objects as a template says.
///
/// | placeholder | is | such as |
/// |---|---|---|
/// | `{group}` | the API group; `_core` for the core group | `apps` |
/// | `{version}` | the version in the URL | `v1` |
/// | `{resource}` | the plural in the URL | `deployments` |
/// | `{kind\|lower}` | the kind in lower case | `deployment` |
/// | `{kind}` | the kind; upper-case letters are percent-encoded, so that a checkout can't fold them | `%44eployment` |
/// | `{namespace}` | the namespace; `_cluster` for objects that are in none | `shop` |
/// | `{name}` | the object's name | `web` |
///
/// `{group|default("_none")}` and `{namespace|default("_global")}` choose other words for what is empty. They begin with
/// `_`, which no group and no namespace does, so that nothing real can meet them. Everything else is taken as it is:
/// `a`–`z`, `0`–`9`, `-`, `_`, `.` and `/`. A template ends with `.yaml` or `.yml`.
///
/// # What is refused
/// A template has to tell apart what the API tells apart: group, resource (or kind), namespace and name. Each of them
/// must be readable from the path: a folder or file of its own, or set off from its neighbour by a character that it can't
/// have. `{namespace}.{name}.yaml` and `{name}.{kind|lower}.yaml` are fine, `{namespace}-{name}.yaml` is refused:
/// `a-b-c.yaml` could be `c` in `a-b` or `b-c` in `a`. Once something can be read elsewhere it may be repeated
/// anywhere: `{group}/{kind|lower}/{namespace}/{kind|lower}-{name}.yaml`.
///
/// The version may be left out: an object that is served in two versions is one object, and its file is edited in place
/// when the version changes.
///
/// # Kinds
/// Kinds that differ in nothing but case can stand in one group, and an API server of somebody's own may give one kind to
/// many resources. So `{kind|lower}` is the bare kind where the plural is the regular one of it (`deployments`,
/// `networkpolicies`, `gateways`), and both otherwise: `podchaos_podchaos`,
/// `networkattachmentdefinition_network-attachment-definitions`. With `{resource}` there are no such cases.
///
/// ```
/// use reverser_core::{Layout, ObjectRef, Resource, TemplateLayout};
///
/// let layout: TemplateLayout = "{namespace}/{kind|lower}.{group}/{name}.yaml".parse()?;
/// let resource = Resource::new("apps", "v1", "Deployment", "deployments").into();
/// let web = ObjectRef { resource, namespace: Some("shop".into()), name: "web".into(), uid: None };
/// assert_eq!(layout.place(&web).as_str(), "shop/deployment.apps/web.yaml");
///
/// let refused = "{group}/{resource}/{namespace}-{name}.yaml".parse::<TemplateLayout>().unwrap_err();
/// assert_eq!(refused.character(), 20);
/// # Ok::<(), reverser_core::LayoutTemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateLayout {
    text: String,
    /// Never empty. Each has at least one part, and no two literals in a row.
    segments: Vec<Vec<Part>>,
}

impl TemplateLayout {
    /// Returns whether paths depend on kinds. Not every source knows them: an audit log has a deletion's resource and
    /// not always its kind.
    ///
    /// ```
    /// use reverser_core::TemplateLayout;
    ///
    /// let by_kind: TemplateLayout = "{group}/{kind|lower}/{namespace}/{name}.yaml".parse()?;
    /// let by_resource: TemplateLayout = "{group}/{resource}/{namespace}/{name}.yaml".parse()?;
    /// assert!(by_kind.needs_kind() && !by_resource.needs_kind());
    /// # Ok::<(), reverser_core::LayoutTemplateError>(())
    /// ```
    pub fn needs_kind(&self) -> bool {
        self.segments
            .iter()
            .flatten()
            .any(|part| matches!(part, Part::Field { field: Field::Kind | Field::KindInLowerCase, .. }))
    }
}

impl Layout for TemplateLayout {
    fn place(&self, object: &ObjectRef) -> RepoPath {
        let segments: Vec<_> =
            self.segments.iter().map(|segment| text(segment, &object.resource, Some(object))).collect();
        RepoPath::from_segments(segments.iter().map(String::as_str))
    }

    fn folder(&self, resource: &Resource) -> Option<RepoPath> {
        let is_shared = |segment: &&Vec<Part>| !segment.iter().any(Part::is_of_an_object);
        // The last one is the file: it has the name, or a folder before it has.
        let folders: Vec<_> =
            self.segments.iter().take_while(is_shared).map(|segment| text(segment, resource, None)).collect();
        (!folders.is_empty()).then(|| RepoPath::from_segments(folders.iter().map(String::as_str)))
    }

    fn may_hold(&self, resource: &Resource, path: &RepoPath) -> bool {
        let mut names = path.segments();
        let fits = |segment: &Vec<Part>, name: &str| {
            segment.iter().any(Part::is_of_an_object)
                || RepoPath::from_segments([text(segment, resource, None).as_str()]).as_str() == name
        };
        self.segments.iter().all(|segment| names.next().is_some_and(|name| fits(segment, name)))
            && names.next().is_none()
    }
}

impl FromStr for TemplateLayout {
    type Err = LayoutTemplateError;

    fn from_str(text: &str) -> Result<Self, LayoutTemplateError> {
        Ok(Self { text: text.to_owned(), segments: parse::segments(text)? })
    }
}

/// The template as it was written.
impl fmt::Display for TemplateLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a segment is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A placeholder; `or` is what stands there when it is empty, which only two of them can be.
    Field {
        field: Field,
        or: String,
    },
    Literal(String),
}

impl Part {
    /// Returns whether it differs between objects of one resource.
    fn is_of_an_object(&self) -> bool {
        matches!(self, Self::Field { field: Field::Name | Field::Namespace, .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Group,
    Kind,
    KindInLowerCase,
    Name,
    Namespace,
    Resource,
    Version,
}

/// Returns a segment before it is encoded. Without an object, for segments that need none.
fn text(segment: &[Part], resource: &Resource, object: Option<&ObjectRef>) -> String {
    let mut text = String::new();
    for part in segment {
        match part {
            Part::Literal(literal) => text.push_str(literal),
            Part::Field { field, or } => {
                let value = match field {
                    Field::Group => &resource.group,
                    Field::Kind | Field::KindInLowerCase => {
                        text.push_str(&kind(resource, *field));
                        continue;
                    }
                    Field::Name => object.map_or("", |object| &object.name),
                    Field::Namespace => object.and_then(|object| object.namespace.as_deref()).unwrap_or_default(),
                    Field::Resource => &resource.plural,
                    Field::Version => &resource.version,
                };
                text.push_str(if value.is_empty() { or } else { value });
            }
        }
    }
    text
}

/// Returns the kind, with the plural behind it where the kind alone doesn't tell it. A kind has no `_`, so the plural can
/// always be read back.
fn kind(resource: &Resource, field: Field) -> String {
    let lower = resource.kind.to_ascii_lowercase();
    let is_regular = regular_plural(&lower) == resource.plural;
    let kind = if field == Field::Kind { resource.kind.clone() } else { lower };
    if is_regular { kind } else { format!("{kind}_{}", resource.plural) }
}

/// Returns the plural that tools and people give a kind in lower case when nothing speaks against it. It may never
/// change: paths in users' repositories depend on it.
fn regular_plural(kind: &str) -> String {
    if kind.ends_with("endpoints") {
        return kind.to_owned();
    }
    if ["s", "x", "z", "ch", "sh"].iter().any(|end| kind.ends_with(end)) {
        return format!("{kind}es");
    }
    match kind.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests;
