//! The contract of [`Layout`].

use std::{collections::BTreeMap, sync::Arc};

use crate::{Layout, ObjectRef, RepoPath, Resource};

/// Checks a layout against the contract of [`Layout`] with [`hostile_objects`]; panics where it breaks it.
///
/// ```
/// use reverser_core::{DefaultLayout, testing::layout_conforms};
///
/// layout_conforms(&DefaultLayout);
/// ```
pub fn layout_conforms(layout: &dyn Layout) {
    // Objects by path, as a file system sees it that folds case.
    let mut placed: BTreeMap<String, ObjectRef> = BTreeMap::new();
    for object in hostile_objects() {
        let path = layout.place(&object);
        assert_eq!(layout.place(&object), path, "the path of {object:?} changes");
        assert_eq!(path.as_str().parse::<RepoPath>().as_ref(), Ok(&path), "the path of {object:?}");
        if let Some(folder) = layout.folder(&object.resource) {
            assert!(path.starts_with_folder(&folder), "{path} of {object:?} is not below {folder}");
        }
        assert!(layout.may_hold(&object.resource, &path), "{path} holds {object:?}");
        if let Some(other) = placed.insert(path.as_str().to_lowercase(), object.clone()) {
            assert!(other.is_same_place(&object), "{path} is the path of {object:?} and of {other:?}");
        }
    }
    let paths: Vec<_> = placed.keys().collect();
    for pair in paths.windows(2) {
        // In byte order what is below a file doesn't always come next, but something that is below it or before `/` does.
        let folder = format!("{}/", pair[0]);
        let below = placed.range(folder.clone()..).next().filter(|(path, _)| path.starts_with(&folder));
        assert!(below.is_none(), "{} is a file, and the folder of {below:?}", pair[0]);
    }
}

/// Returns objects as API servers have them whose names a path could confuse: that differ in case or Unicode
/// normalization, in where one name ends and the next begins, in scope or group, or that some file system refuses.
///
/// ```
/// use reverser_core::testing::hostile_objects;
///
/// let objects = hostile_objects();
/// let has = |name: &str| objects.iter().any(|object| object.name == name);
/// assert!(has("..") && has("con.yaml") && has("system:node") && has("A") && has("a"));
/// ```
pub fn hostile_objects() -> Vec<ObjectRef> {
    let mut objects = Vec::new();
    for (group, version, kind, plural) in RESOURCES {
        for namespaced in [true, false] {
            let resource = Arc::new(Resource { namespaced, ..Resource::new(group, version, kind, plural) });
            let namespaces: &[Option<&str>] = if namespaced { NAMESPACES } else { &[None] };
            for namespace in namespaces {
                let names = NAMES.iter().map(|name| (*name).to_owned()).chain(long_names());
                objects.extend(names.map(|name| ObjectRef {
                    resource: Arc::clone(&resource),
                    namespace: namespace.map(str::to_owned),
                    name,
                    uid: None,
                }));
            }
        }
    }
    objects
}

/// Group, version, kind and plural. Each is there namespaced and cluster-scoped, which one API server has one after the
/// other at the most, and one branch may see.
const RESOURCES: [(&str, &str, &str, &str); 19] = [
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "Endpoints", "endpoints"),
    ("", "v1", "Event", "events"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1beta1", "Deployment", "deployments"),
    ("events.k8s.io", "v1", "Event", "events"),
    // A kind in two groups; groups that contain one another.
    ("a.b", "v1", "C", "cs"),
    ("b", "v1", "C", "cs"),
    ("core", "v1", "ConfigMap", "configmaps"),
    ("v1.configmaps", "v1", "C", "cs"),
    // Versions are labels, and may be called like anything.
    ("a.b", "cs", "C", "v1"),
    // Kinds that differ in case, and kinds that several resources share.
    ("x.io", "v1", "WebSite", "websites"),
    ("x.io", "v1", "Website", "websitez"),
    ("x.io", "v1", "MetricValueList", "pods"),
    ("x.io", "v1", "MetricValueList", "nodes"),
    // Kinds and plurals that contain one another.
    ("x.io", "v1", "A-B", "a-bs"),
    ("x.io", "v1", "A", "as"),
    ("x.io", "v1", "A-B-C", "a-b-cs"),
    ("x.io", "v1", "PodChaos", "podchaos"),
];

const NAMESPACES: &[Option<&str>] = &[Some("a"), Some("a-b"), Some("cluster"), Some("con"), Some("v1")];

const NAMES: &[&str] = &[
    "a",
    "b",
    "a-b",
    "b-c",
    "a.b",
    "a_b",
    "a/b",
    "a%2fb",
    "a\\b",
    "a:b",
    "a b",
    // Folds, ASCII and not; NFC and NFD.
    "A",
    "ß",
    "ss",
    "SS",
    "ẞ",
    "İ",
    "i",
    "ı",
    "K",
    "\u{212a}",
    "k",
    "\u{e9}",
    "e\u{301}",
    "\u{c9}",
    "\u{fb01}",
    "fi",
    "a\u{200c}",
    "\u{feff}a",
    // What leads elsewhere or nowhere.
    ".",
    "..",
    "...",
    "../..",
    "/",
    "~",
    ".git",
    ".GIT",
    "git~1",
    ".gitmodules",
    // What Windows refuses, cuts off or opens.
    "con",
    "con.yaml",
    "CON",
    "nul.tar.gz",
    "com1",
    "lpt¹",
    "a.",
    "a..",
    "a ",
    "a.yaml",
    "a.yaml.yaml",
    "a.yml",
    "a*",
    "a?",
    "<a>",
    "a|b",
    "a\"b",
    "a\nb",
    "a\0",
    // What a layout itself may write.
    "_cluster",
    "_core",
    "cluster",
    "a_podchaos",
    "%h",
    "%",
    "system:node",
    "system%3anode",
    "😀",
    "\u{202e}lmay.a",
];

/// Names of the greatest length for most kinds and for a file system, and what only differs behind what is kept.
fn long_names() -> impl Iterator<Item = String> {
    let long = |bytes: usize, end: &str| format!("{}{end}", "n".repeat(bytes - end.len()));
    [(231, "a"), (240, "a"), (253, "a"), (253, "b"), (253, "B"), (255, "a"), (4096, "a"), (4096, "b")]
        .into_iter()
        .map(move |(bytes, end)| long(bytes, end))
}
