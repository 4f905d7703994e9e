//! Real objects: what their authors wrote, what the server made of it, and what reverser makes of that.

use std::{collections::BTreeSet, env, fs};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use reverser_core::yaml;
use reverser_testbed::{ControlPlane, eventually};
use reverser_tests::LIMIT;
use serde_json::Value;

use crate::{
    corpus::{Entry, Served, corpus, difference},
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
fn what_was_authored_is_in_the_sanitized_manifest() {
    let mut lost = BTreeSet::new();
    for entry in corpus() {
        let mut pointers = vec![];
        find_lost(&entry.authored, &entry.object("sanitized.yaml"), &mut String::new(), &mut pointers);
        lost.extend(pointers.into_iter().map(|pointer| format!("{} {pointer}", entry.name())));
    }
    let expected: BTreeSet<_> =
        [REMOVED_ON_PURPOSE, NORMALIZED].concat().iter().map(|(place, _)| (*place).to_owned()).collect();
    let differences = |a: &BTreeSet<String>, b| a.difference(b).cloned().collect::<Vec<_>>().join("\n");
    let (unexpected, unseen) = (differences(&lost, &expected), differences(&expected, &lost));
    assert!(unexpected.is_empty() && unseen.is_empty(), "lost:\n{unexpected}\nnot lost:\n{unseen}");
}

#[test]
fn the_corpus_has_an_object_of_every_kind_that_the_server_lets_one_create() {
    run(async {
        let served = Served::start().await;
        let found: BTreeSet<_> = served.entries.iter().map(Entry::kind).map(|kind| (kind.group, kind.kind)).collect();
        let mut kinds = built_in_kinds(&served.plane).await;
        // Nothing may write them while there is nothing to seal them with.
        assert!(kinds.remove(&(String::new(), "Secret".to_owned())));
        let missing: Vec<_> = kinds.difference(&found).collect();
        assert!(kinds.len() > 60 && missing.is_empty(), "{missing:?} of {}", kinds.len());
    });
}

#[test]
fn objects_of_a_real_server_are_sanitized_as_the_recorded_ones() {
    run(async {
        let served = Served::start().await;
        if let Ok(part) = env::var("REVERSER_RECORD") {
            record(&served, &part).await;
        }
        // A controller may still be at work on something that an entry doesn't wait for.
        eventually("the objects to be as recorded", LIMIT, async || {
            let live = served.live().await;
            let pairs = served.entries.iter().zip(live);
            let differences: Vec<_> =
                pairs.filter_map(|(entry, live)| differs(entry, live.unwrap_or_default())).collect();
            if differences.is_empty() { Ok(()) } else { Err(Text(differences.join("\n"))) }
        })
        .await;
    });
}

/// Writes the live and the sanitized object of the entries whose folder has this in its path.
async fn record(served: &Served, part: &str) {
    for (entry, live) in served.entries.iter().zip(served.live().await) {
        if entry.name().contains(part) {
            let live = live.unwrap_or_else(|| panic!("{}: no such object", entry.name()));
            fs::write(entry.folder.join("live.yaml"), yaml::to_string(&live)).unwrap();
            fs::write(entry.folder.join("sanitized.yaml"), entry.sanitized(live)).unwrap();
        }
    }
}

/// Returns group and kind of what can be created and listed, without what CRDs and extension servers add.
async fn built_in_kinds(plane: &ControlPlane) -> BTreeSet<(String, String)> {
    let client = plane.client();
    let mut lists = vec![client.list_core_api_resources("v1").await.unwrap()];
    for group in client.list_api_groups().await.unwrap().groups {
        if !group.name.ends_with("example.com") {
            for version in group.versions {
                lists.push(client.list_api_group_resources(&version.group_version).await.unwrap());
            }
        }
    }
    let kinds = lists.into_iter().flat_map(|list| {
        let group = list.group_version.split_once('/').map_or("", |(group, _)| group).to_owned();
        let has = |resource: &APIResource, verb: &str| resource.verbs.iter().any(|its| its == verb);
        let resources = list.resources.into_iter().filter(move |one| has(one, "create") && has(one, "list"));
        resources.map(move |resource| (group.clone(), resource.kind))
    });
    kinds.collect()
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

/// Finds the authored leaves that aren't in the sanitized manifest as they were, as JSON pointers.
fn find_lost(authored: &Value, sanitized: &Value, pointer: &mut String, lost: &mut Vec<String>) {
    let mut descend = |step: &str, authored: &Value, sanitized: Option<&Value>| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        match sanitized {
            Some(sanitized) => find_lost(authored, sanitized, pointer, lost),
            None => lost.push(pointer.clone()),
        }
        pointer.truncate(length);
    };
    match (authored, sanitized) {
        (Value::Object(authored), Value::Object(sanitized)) if !authored.is_empty() => {
            authored.iter().for_each(|(key, part)| descend(key, part, sanitized.get(key)));
        }
        (Value::Array(authored), Value::Array(items)) if !authored.is_empty() => {
            // By content, since the server may put items of its own between the author's.
            let same = |index, part| items.iter().find(|item| has(item, part)).or_else(|| items.get(index));
            authored.iter().enumerate().for_each(|(index, part)| descend(&index.to_string(), part, same(index, part)));
        }
        (authored, sanitized) if has(sanitized, authored) => {}
        _ => lost.push(pointer.clone()),
    }
}

/// Returns whether everything in `part` is in `whole`.
fn has(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| has(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => part.iter().all(|part| whole.iter().any(|whole| has(whole, part))),
        (whole, part) => whole == part,
    }
}

/// What authors may write and reverser leaves out all the same, and whose it is.
pub(crate) const REMOVED_ON_PURPOSE: &[(&str, &str)] = &[
    ("core/ConfigMap/gitops /metadata/annotations/argocd.argoproj.io~1tracking-id", "Argo CD's"),
    ("core/ConfigMap/gitops /metadata/labels/applyset.kubernetes.io~1part-of", "kubectl apply --applyset's"),
    ("core/ConfigMap/gitops /metadata/labels/argocd.argoproj.io~1instance", "Argo CD's"),
    ("core/ConfigMap/gitops /metadata/labels/helm.toolkit.fluxcd.io~1name", "Flux's"),
    ("core/ConfigMap/gitops /metadata/labels/helm.toolkit.fluxcd.io~1namespace", "Flux's"),
    ("core/ConfigMap/gitops /metadata/labels/kro.run~1kro-version", "kro's"),
    ("core/ConfigMap/gitops /metadata/labels/kro.run~1owned", "kro's"),
    ("core/Namespace/limited /metadata/labels/kubernetes.io~1metadata.name", "the API server's"),
    ("core/Namespace/limited /metadata/labels/kustomize.toolkit.fluxcd.io~1name", "Flux's"),
    ("core/Namespace/limited /metadata/labels/kustomize.toolkit.fluxcd.io~1namespace", "Flux's"),
];

/// What the API server stores another way than it was authored, and how.
const NORMALIZED: &[(&str, &str)] = &[
    (
        "apiextensions.k8s.io/CustomResourceDefinition/converted.webhook.example.com /spec/preserveUnknownFields",
        "Go leaves out what is empty",
    ),
    ("apps/Deployment/paused /spec/template/metadata/creationTimestamp", "a null is not stored"),
    ("apps/Deployment/paused /spec/template/spec/nodeSelector", "Go leaves out what is empty"),
    ("core/ConfigMap/empty-data /data", "Go leaves out what is empty"),
    ("core/ConfigMap/finalized /data", "Go leaves out what is empty"),
    ("core/ConfigMap/generated-name /data", "Go leaves out what is empty"),
    ("core/ConfigMap/gitops /data", "Go leaves out what is empty"),
    ("core/ConfigMap/long-annotation-key /data", "Go leaves out what is empty"),
    ("core/ConfigMap/words-as-labels /data", "Go leaves out what is empty"),
    ("core/PersistentVolume/disk-2 /spec/storageClassName", "Go leaves out what is empty"),
    ("core/Pod/busy /spec/containers/0/env/0/value", "Go leaves out what is empty"),
    ("core/Pod/busy /spec/containers/0/ports/0/hostPort", "Go leaves out what is empty"),
    ("core/Pod/busy /spec/containers/0/readinessProbe/initialDelaySeconds", "Go leaves out what is empty"),
    ("core/Pod/busy /spec/containers/0/resources/limits/cpu", "a quantity: 500m"),
    ("core/Pod/busy /spec/hostNetwork", "Go leaves out what is empty"),
    ("example.com/Anything/empties /metadata/annotations", "Go leaves out what is empty"),
    ("example.com/Anything/empties /metadata/labels", "Go leaves out what is empty"),
    ("example.com/Anything/like-a-pod /spec/template/metadata/creationTimestamp", "kubectl apply leaves out nulls"),
    ("example.com/Anything/numbers /negativeZero", "0 in Go's JSON"),
    ("example.com/Anything/numbers /whole", "3 in Go's JSON"),
    ("rbac.authorization.k8s.io/ClusterRole/empty-rules /rules", "null: Go's empty list"),
    ("rbac.authorization.k8s.io/RoleBinding/name-with-a-colon /subjects", "Go leaves out what is empty"),
    ("scheduling.k8s.io/PriorityClass/zero /description", "Go leaves out what is empty"),
    ("scheduling.k8s.io/PriorityClass/zero /globalDefault", "Go leaves out what is empty"),
    ("storage.k8s.io/CSINode/worker-1 /spec/drivers/0/topologyKeys", "null: Go's empty list"),
];
