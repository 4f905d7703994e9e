//! Any text is a template or is refused at a character that it has; one that is taken gives different objects different
//! paths, on every file system. The first line is the template, each other one an object:
//! `group version kind plural namespace name`, with `-` for no group and no namespace.
#![no_main]

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use libfuzzer_sys::fuzz_target;
use reverser_core::{Layout, ObjectRef, RepoPath, Resource, TemplateLayout, testing::hostile_objects};

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let template = lines.next().unwrap_or_default();
    let layout: TemplateLayout = match template.parse() {
        Ok(layout) => layout,
        Err(error) => {
            assert!((1..=template.chars().count() + 1).contains(&error.character()), "{error}");
            return;
        }
    };
    assert_eq!(layout.to_string(), template);
    // Some of the many, others with each template.
    let step = 61 + template.len() % 31;
    let hostile = HOSTILE.iter().skip(input.len() % step).step_by(step).cloned();
    place(&layout, lines.take(16).filter_map(object).chain(hostile).chain(confusing(template)));
});

static HOSTILE: LazyLock<Vec<ObjectRef>> = LazyLock::new(hostile_objects);

fn place(layout: &TemplateLayout, objects: impl Iterator<Item = ObjectRef>) {
    // Objects by path, as a file system sees it that folds case.
    let mut placed: BTreeMap<String, ObjectRef> = BTreeMap::new();
    // An API server has one kind for a resource.
    let mut kinds = BTreeMap::new();
    for object in objects {
        let resource = &object.resource;
        let key = (resource.group.clone(), resource.plural.clone());
        if *kinds.entry(key).or_insert_with(|| resource.kind.clone()) != resource.kind {
            continue;
        }
        let path = layout.place(&object);
        assert_eq!(path.as_str().parse::<RepoPath>().as_ref(), Ok(&path), "the path of {object:?}");
        if let Some(folder) = layout.folder(&object.resource) {
            assert!(path.starts_with_folder(&folder), "{path} of {object:?} is not below {folder}");
        }
        if let Some(other) = placed.insert(path.as_str().to_lowercase(), object.clone()) {
            assert!(other.is_same_place(&object), "{path} is the path of {object:?} and of {other:?}");
        }
    }
    for path in placed.keys() {
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        for folder in folders {
            assert!(!placed.contains_key(folder), "{folder} is a file, and the folder of {path}");
        }
    }
}

/// Returns objects that differ in where the name begins, made of what the template itself says between placeholders.
fn confusing(template: &str) -> impl Iterator<Item = ObjectRef> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let words =
        template.split(|c| !is_part(c)).flat_map(|word| std::iter::once(word).chain(word.split(['.', '_', '-'])));
    let mut parts: Vec<_> = ["a", "b"].into_iter().chain(words).filter(|part| !part.is_empty()).collect();
    parts.sort_unstable();
    parts.dedup();
    // A few: each pair of them is a name, in each namespace.
    parts.truncate(5);
    let pairs = parts.iter().flat_map(|a| parts.iter().map(move |b| (a, b)));
    let joined = pairs.flat_map(|(a, b)| [".", "_", "-"].map(|between| format!("{a}{between}{b}")));
    let names: Vec<_> = parts.iter().map(|part| (*part).to_owned()).chain(joined).collect();
    let namespaces: Vec<_> = parts.iter().filter(|part| is_label(part)).map(|part| Some((*part).to_owned())).collect();
    let namespaces = namespaces.into_iter().chain([None]);
    namespaces.flat_map(move |namespace| {
        let resource = Arc::new(Resource {
            group: "a".into(),
            version: "v1".into(),
            kind: "A".into(),
            plural: "as".into(),
            namespaced: namespace.is_some(),
            has_status: true,
        });
        let object = move |name: &String| ObjectRef {
            resource: Arc::clone(&resource),
            namespace: namespace.clone(),
            name: name.clone(),
            uid: None,
        };
        names.iter().map(object).collect::<Vec<_>>()
    })
}

/// Returns the object of a line, if an API server would take its names.
fn object(line: &str) -> Option<ObjectRef> {
    let mut words = line.splitn(6, ' ');
    let [group, version, kind, plural, namespace, name] = std::array::from_fn(|_| words.next().unwrap_or_default());
    let (group, namespace) =
        (group.strip_prefix('-').unwrap_or(group), namespace.strip_prefix('-').unwrap_or(namespace));
    // No group is called like a version, and the core group has but one.
    let is_group =
        if group.is_empty() { version == "v1" } else { group.split('.').all(is_label) && !is_version(group) };
    let is_resource = is_name(version) && is_name(&kind.to_ascii_lowercase()) && is_name(plural);
    if !is_group || !is_resource || !(namespace.is_empty() || is_label(namespace)) || name.is_empty() {
        return None;
    }
    let resource = Resource {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        plural: plural.into(),
        namespaced: !namespace.is_empty(),
        has_status: true,
    };
    let namespace = resource.namespaced.then(|| namespace.to_owned());
    Some(ObjectRef { resource: Arc::new(resource), namespace, name: name.into(), uid: None })
}

/// RFC 1035.
fn is_name(text: &str) -> bool {
    is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// RFC 1123.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_version(text: &str) -> bool {
    text.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}
