//! Real objects: what their authors wrote, what the server made of it, and what reverser makes of that.

use std::{collections::BTreeSet, env, fs};

use reverser_core::yaml;
use reverser_testbed::eventually;
use reverser_tests::LIMIT;
use serde_json::Value;

use crate::{
    corpus::{Entry, Objects, Served, corpus, difference},
    scene::run,
};

#[test]
fn each_recorded_object_is_sanitized_as_expected() {
    let differences: Vec<_> = corpus().iter().filter_map(|entry| differs(entry, entry.object("live.yaml"))).collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn each_recorded_object_has_the_noise_that_it_is_recorded_for() {
    for entry in corpus() {
        let live = entry.object("live.yaml");
        assert_eq!(entry.lacks(&live), [""; 0], "{}", entry.name());
        let sanitized = entry.object("sanitized.yaml");
        for pointer in ["/metadata/uid", "/metadata/resourceVersion", "/metadata/managedFields"] {
            assert_eq!(sanitized.pointer(pointer), None, "{}: {pointer}", entry.name());
        }
    }
}

#[test]
fn what_was_authored_and_stored_is_in_the_sanitized_manifest() {
    let mut lost = BTreeSet::new();
    for entry in corpus() {
        let (live, sanitized) = (entry.object("live.yaml"), entry.object("sanitized.yaml"));
        let mut paths = vec![];
        find_lost(&entry.authored, &live, &sanitized, &mut String::new(), &mut paths);
        lost.extend(paths.into_iter().map(|path| format!("{} {path}", entry.name())));
    }
    let removed_on_purpose = REMOVED_ON_PURPOSE.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(lost, removed_on_purpose);
}

#[test]
fn the_corpus_has_objects_of_every_api_group() {
    let entries = corpus();
    assert!(entries.len() >= 150, "{}", entries.len());
    let kinds: BTreeSet<_> = entries.iter().map(Entry::kind).map(|kind| (kind.group, kind.kind)).collect();
    assert!(kinds.len() >= 60, "{kinds:?}");
}

#[test]
fn objects_of_a_real_server_are_sanitized_as_the_recorded_ones() {
    run(async {
        let served = Served::start().await;
        let objects = Objects::of(&served.plane, &served.entries).await;
        if env::var_os("REVERSER_RECORD").is_some() {
            for (entry, live) in served.entries.iter().zip(objects.read(&served.entries).await) {
                let live = live.unwrap_or_else(|| panic!("{}: no such object", entry.name()));
                fs::write(entry.folder.join("live.yaml"), yaml::to_string(&live)).unwrap();
                fs::write(entry.folder.join("sanitized.yaml"), entry.sanitized(live)).unwrap();
            }
        }
        // A controller may still be at work on something that an entry doesn't wait for.
        eventually("the objects to be as recorded", LIMIT, async || {
            let live = objects.read(&served.entries).await;
            let pairs = served.entries.iter().zip(live);
            let differences: Vec<_> =
                pairs.filter_map(|(entry, live)| differs(entry, live.unwrap_or_default())).collect();
            if differences.is_empty() { Ok(()) } else { Err(Text(differences.join("\n"))) }
        })
        .await;
    });
}

/// Text that a failure shows as it is.
pub(crate) struct Text(pub(crate) String);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns how the sanitized live object differs from what is expected.
fn differs(entry: &Entry, live: Value) -> Option<String> {
    let difference = difference(&entry.text("sanitized.yaml").unwrap_or_default(), &entry.sanitized(live))?;
    Some(format!("{}\n{difference}", entry.name()))
}

/// Finds the authored leaves that the server stored as they were and the sanitized manifest has not. What the server
/// normalizes (quantities, nulls, what Go's encoder takes for empty) isn't in the live object, so not looked for.
fn find_lost(authored: &Value, live: &Value, sanitized: &Value, path: &mut String, lost: &mut Vec<String>) {
    let mut descend = |step: String, authored: &Value, live: &Value, sanitized: &Value| {
        let length = path.len();
        path.push_str(&step);
        find_lost(authored, live, sanitized, path, lost);
        path.truncate(length);
    };
    match (authored, live) {
        (Value::Object(authored), Value::Object(live)) if !authored.is_empty() => {
            for (key, authored) in authored {
                if let Some(live) = live.get(key) {
                    descend(format!("/{key}"), authored, live, &sanitized[key]);
                }
            }
        }
        (Value::Array(authored), Value::Array(live)) if !authored.is_empty() => {
            for (index, authored) in authored.iter().enumerate() {
                let Some(live) = live.iter().find(|live| has(live, authored)).or_else(|| live.get(index)) else {
                    continue;
                };
                let items = sanitized.as_array().map(Vec::as_slice).unwrap_or_default();
                let item = items.iter().find(|item| has(item, authored)).or_else(|| items.get(index));
                descend(format!("/{index}"), authored, live, item.unwrap_or(&Value::Null));
            }
        }
        (authored, live) if authored == live && sanitized != authored => lost.push(path.clone()),
        _ => {}
    }
}

/// Returns whether everything in `part` is in `whole`.
fn has(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| has(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| has(whole, part)))
        }
        (whole, part) => whole == part,
    }
}

/// What authors may write and reverser leaves out all the same, and whose it is.
const REMOVED_ON_PURPOSE: &[(&str, &str)] = &[
    ("core/ConfigMap/gitops /metadata/annotations/argocd.argoproj.io/tracking-id", "Argo CD's"),
    ("core/ConfigMap/gitops /metadata/labels/applyset.kubernetes.io/part-of", "kubectl apply --applyset's"),
    ("core/ConfigMap/gitops /metadata/labels/argocd.argoproj.io/instance", "Argo CD's"),
    ("core/ConfigMap/gitops /metadata/labels/helm.toolkit.fluxcd.io/name", "Flux's"),
    ("core/ConfigMap/gitops /metadata/labels/helm.toolkit.fluxcd.io/namespace", "Flux's"),
    ("core/ConfigMap/gitops /metadata/labels/kro.run/kro-version", "kro's"),
    ("core/ConfigMap/gitops /metadata/labels/kro.run/owned", "kro's"),
    ("core/Namespace/limited /metadata/labels/kubernetes.io/metadata.name", "the API server's"),
    ("core/Namespace/limited /metadata/labels/kustomize.toolkit.fluxcd.io/name", "Flux's"),
    ("core/Namespace/limited /metadata/labels/kustomize.toolkit.fluxcd.io/namespace", "Flux's"),
];
