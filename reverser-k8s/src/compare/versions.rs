//! Where a resource's files may stand, in whatever version they were written.

use std::collections::HashMap;

use reverser_core::{Layout, RepoPath, Resource};

/// Where a layout puts the objects of a resource, in any version.
pub(super) struct Versions<'a> {
    layout: &'a dyn Layout,
    resource: &'a Resource,
    root: Option<RepoPath>,
    /// In which version a folder is one for the resource, if in any; for layouts that have folders for versions.
    folders: Option<HashMap<String, Option<Resource>>>,
}

impl<'a> Versions<'a> {
    pub(super) fn new(layout: &'a dyn Layout, resource: &'a Resource) -> Self {
        let folder = |version: &str| layout.folder(&Resource { version: version.into(), ..resource.clone() });
        let (one, another) = (folder("v1"), folder("v2"));
        // The core group has but one version.
        if one == another || resource.group.is_empty() {
            return Self { layout, resource, root: layout.folder(resource), folders: None };
        }
        let (one, another) = (one.as_ref().map(segments), another.as_ref().map(segments));
        let shared = one.into_iter().flatten().zip(another.into_iter().flatten()).take_while(|(a, b)| a == b);
        let shared: Vec<_> = shared.map(|(segment, _)| segment).collect();
        let root = (!shared.is_empty()).then(|| shared.join("/").parse().ok()).flatten();
        Self { layout, resource, root, folders: Some(HashMap::new()) }
    }

    /// Returns the deepest folder below which all of them are; `None` is the writer's root.
    pub(super) fn root(&self) -> Option<&RepoPath> {
        self.root.as_ref()
    }

    /// Returns whether an object of the resource could be placed at `path` in some version; in doubt `true`.
    pub(super) fn may_hold(&mut self, path: &RepoPath) -> bool {
        let (layout, resource) = (self.layout, self.resource);
        if layout.may_hold(resource, path) && is_below(layout, resource, path) {
            return true;
        }
        let others = |text: &str| {
            let labels: Vec<_> = labels(text).map(str::to_owned).collect();
            labels.into_iter().map(|version| Resource { version, ..resource.clone() })
        };
        if resource.group.is_empty() {
            return false;
        }
        match &mut self.folders {
            None => others(path.as_str()).any(|other| layout.may_hold(&other, path) && is_below(layout, &other, path)),
            Some(folders) => {
                let parent = path.as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
                let find = || others(parent).find(|other| is_below(layout, other, path));
                let other = folders.entry(parent.to_owned()).or_insert_with(find);
                other.as_ref().is_some_and(|other| layout.may_hold(other, path))
            }
        }
    }
}

fn is_below(layout: &dyn Layout, resource: &Resource, path: &RepoPath) -> bool {
    layout
        .folder(resource)
        .is_none_or(|folder| path.as_str().strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/')))
}

fn segments(path: &RepoPath) -> Vec<&str> {
    path.segments().collect()
}

/// Returns what could be a version, which is an RFC 1035 label.
fn labels(text: &str) -> impl Iterator<Item = &str> {
    let is_of_one = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.split(move |c| !is_of_one(c)).filter(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use reverser_core::{DefaultLayout, TemplateLayout};

    use super::*;

    /// Returns the root, and which of the paths may hold a Widget.
    fn look<'a>(layout: &dyn Layout, paths: &[&'a str]) -> (Option<String>, Vec<&'a str>) {
        let widgets = Resource::new("example.com", "v1", "Widget", "widgets");
        let mut versions = Versions::new(layout, &widgets);
        let held = paths.iter().filter(|path| versions.may_hold(&path.parse().unwrap())).copied().collect();
        (versions.root().map(ToString::to_string), held)
    }

    #[test]
    fn files_of_every_version_are_found_and_no_others() {
        let own = [
            "example.com/v1/widgets/a/w.yaml",
            "example.com/v1beta1/widgets/a/w.yaml",
            "example.com/next/widgets/b/w.yaml",
        ];
        let others = ["example.com/v1/gadgets/a/w.yaml", "example.com/readme.md", "example.com/v1/widgetsets/a/w.yaml"];
        let (root, held) = look(&DefaultLayout, &[own, others].concat());
        assert_eq!((root.as_deref(), held), (Some("example.com"), own.to_vec()));
    }

    #[test]
    fn a_layout_may_have_the_version_elsewhere_or_nowhere() {
        let layout: TemplateLayout = "{namespace}/{resource}.{version}.{group}/{name}.yaml".parse().unwrap();
        let own = ["a/widgets.v1.example.com/w.yaml", "a/widgets.v1beta1.example.com/w.yaml"];
        let (root, held) = look(&layout, &[own.as_slice(), &["a/gadgets.v1.example.com/w.yaml"]].concat());
        assert_eq!((root, held), (None, own.to_vec()));
        let layout: TemplateLayout = "{group}/{resource}/{namespace}/{name}.yaml".parse().unwrap();
        let (root, held) = look(&layout, &["example.com/widgets/a/w.yaml"]);
        assert_eq!((root.as_deref(), held.len()), (Some("example.com/widgets"), 1));
    }

    #[test]
    fn the_core_group_has_one_version() {
        let pods = Resource::new("", "v1", "Pod", "pods");
        let mut versions = Versions::new(&DefaultLayout, &pods);
        assert_eq!(versions.root().unwrap().as_str(), "v1/pods");
        assert!(versions.may_hold(&"v1/pods/a/p.yaml".parse().unwrap()));
        assert!(!versions.may_hold(&"v2/pods/a/p.yaml".parse().unwrap()));
    }
}
