//! The whole way there and back: a cluster, its snapshot, and another cluster made from that.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use reverser_core::yaml;
use reverser_testbed::{ControlPlane, eventually, git};
use reverser_tests::{Home, LIMIT};
use serde_json::{Map, Value, json};

use crate::{
    corpus::{Served, difference, id_of, is_ready, parsed, read, start_plane},
    objects::{REMOVED_ON_PURPOSE, Text},
    scene::{home, run},
};

#[test]
fn a_snapshot_applied_to_an_empty_cluster_gives_the_same_objects() {
    run(async {
        let (served, copy) = tokio::join!(Served::start(), start_plane());
        let large = large();
        let configs = Api::<ConfigMap>::namespaced(served.plane.client(), "odd");
        configs.patch("large", &PatchParams::apply("test"), &Patch::Apply(&large)).await.unwrap();
        let home = home();
        let folder = snapshot(&home, &served).await;
        let written: HashSet<_> = objects(&folder).keys().cloned().collect();
        let wanted: Vec<_> = served.entries.iter().map(|entry| &entry.authored).chain([&large]).collect();
        let wanted: Vec<_> = wanted.into_iter().filter(|object| object["kind"] != "Event").collect();
        let missing: Vec<_> = wanted.iter().map(|object| named(object)).filter(|id| !written.contains(id)).collect();
        assert!(missing.is_empty(), "not in the snapshot: {missing:?}");

        // As the README says: twice, since some come before their namespace or CRD.
        apply(&copy, &folder, &[]).await.unwrap_err();
        is_ready(&copy).await;
        apply(&copy, &folder, &[]).await.unwrap_or_else(|said| panic!("{said}"));

        hold_the_same(&served.plane, &copy, &wanted).await;
    });
}

#[test]
fn a_repository_restored_to_an_empty_cluster_gives_the_same_objects_and_then_nothing_is_written() {
    run(async {
        let (served, copy) = tokio::join!(Served::start(), start_plane());
        let home = home();
        let folder = snapshot(&home, &served).await;
        git(&folder, &["init", "--quiet", "--initial-branch=main"]).await.unwrap();
        git(&folder, &["add", "--all"]).await.unwrap();
        git(&folder, &["commit", "--quiet", "--message", "all"]).await.unwrap();
        let cluster = ["--kubeconfig", copy.kubeconfig().to_str().unwrap()];
        let restore = [&["restore", "--repo", folder.to_str().unwrap(), "--force-conflicts"], &cluster[..]].concat();
        let said = home.run(&restore).await.exits_with(0);
        assert!(said.contains(" created") && !said.contains("failed"), "{said}");
        is_ready(&copy).await;

        let wanted: Vec<_> = served.entries.iter().map(|entry| &entry.authored).collect();
        let wanted: Vec<_> = wanted.into_iter().filter(|object| object["kind"] != "Event").collect();
        hold_the_same(&served.plane, &copy, &wanted).await;

        // Controllers add to some objects for a moment after they were made; to a Node, whose kubelet isn't there, for good.
        let again = [&restore[..], &["--except", "resource=nodes"]].concat();
        eventually("a restore that writes nothing", LIMIT, async || {
            let said = home.run(&again).await.exits_with(0);
            if said.contains(" created") || said.contains(" changed") { Err(Text(said)) } else { Ok(()) }
        })
        .await;
    });
}

#[test]
fn a_snapshot_applied_to_its_own_cluster_changes_nothing() {
    run(async {
        let (served, home) = (Served::start().await, home());
        let folder = snapshot(&home, &served).await;
        let files = objects(&folder).len();
        // Controllers may write something between the dry run and the look at what is there.
        eventually("a dry run that changes nothing", LIMIT, async || {
            let flags = ["--dry-run=server", "--output=json"];
            let answers = apply(&served.plane, &folder, &flags).await.unwrap_or_else(|said| panic!("{said}"));
            let applied: Vec<_> = answers.iter().flat_map(|answer| items(answer)).collect();
            assert_eq!(applied.len(), files, "each file is applied");
            let live = read(&served.plane, &applied).await;
            let differences = applied.iter().zip(live).filter_map(|(applied, live)| {
                let text = |object: &Value| yaml::to_string(&without_apply_notes(object));
                Some(format!("{:?}\n{}", named(applied), difference(&text(&live.unwrap_or_default()), &text(applied))?))
            });
            none(differences)
        })
        .await;
    });
}

/// Waits until two clusters hold the same of these objects, but for what servers allocate.
async fn hold_the_same(original: &ControlPlane, copy: &ControlPlane, wanted: &[&Value]) {
    eventually("both clusters to hold the same objects", LIMIT, async || {
        let (originals, copies) = tokio::join!(read(original, wanted.to_vec()), read(copy, wanted.to_vec()));
        let differences = wanted.iter().zip(originals.iter().zip(&copies)).filter_map(|(authored, (a, b))| {
            let text = |object: &Option<Value>| {
                let text = |object| yaml::to_string(&without_allocated(object, authored));
                object.as_ref().map_or_else(|| "nothing\n".to_owned(), text)
            };
            Some(format!("{:?}\n{}", named(authored), difference(&text(a), &text(b))?))
        });
        none(differences)
    })
    .await;
}

/// Writes what a cluster holds into a folder, and returns that. Of what reverser leaves out, since nobody authors it,
/// what the corpus has is there, too; but no Events: those of `v1` that controllers write can't be created at all in
/// `events.k8s.io`, which is how both are served.
async fn snapshot(home: &Home, served: &Served) -> PathBuf {
    let write = async |out: &str, included: &[&str]| {
        let mut arguments = vec!["snapshot", "--out", out, "--kubeconfig", served.plane.kubeconfig().to_str().unwrap()];
        arguments.extend(included.iter().flat_map(|row| ["--include", *row]));
        home.run(&arguments).await.exits_with(0);
        home.path().join(out)
    };
    let folder = write("out", &[]).await;
    let all = write("all", &INCLUDED).await;
    let (written, others) = (objects(&folder), objects(&all));
    for id in served.entries.iter().map(|entry| named(&entry.authored)).filter(|id| !written.contains_key(id)) {
        if let Some(path) = others.get(&id) {
            let to = folder.join(path.strip_prefix(&all).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(path, to).unwrap();
        }
    }
    folder
}

/// Applies a snapshot as the README says: with `--server-side` where there are nulls, which kubectl otherwise takes for
/// deletions. Returns what kubectl printed on standard output, or on standard error when something went wrong.
async fn apply(plane: &ControlPlane, folder: &Path, more: &[&str]) -> Result<[String; 2], String> {
    let (nulls, others): (Vec<_>, Vec<_>) =
        objects(folder).into_values().partition(|path| has_null(&parsed(&fs::read_to_string(path).unwrap())));
    let server_side = ["apply", "--server-side", "--force-conflicts"];
    let (others, nulls) = tokio::join!(
        kubectl(plane, [&["apply"], more].concat(), others),
        kubectl(plane, [&server_side, more].concat(), nulls)
    );
    Ok([others?, nulls?])
}

async fn kubectl(plane: &ControlPlane, arguments: Vec<&str>, mut files: Vec<PathBuf>) -> Result<String, String> {
    files.sort();
    let mut kubectl = plane.kubectl(plane.kubeconfig()).await.unwrap();
    kubectl.args(arguments);
    kubectl.args(files.iter().flat_map(|file| [OsStr::new("--filename"), file.as_os_str()]));
    let output = tokio::time::timeout(LIMIT, kubectl.output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(map) => map.values().any(has_null),
        other => other.is_null(),
    }
}

/// Returns the objects that stand in a folder, and in which files.
fn objects(folder: &Path) -> HashMap<[String; 4], PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let objects = paths.flat_map(|path| match fs::read_to_string(&path) {
        Ok(text) => HashMap::from([(named(&parsed(&text)), path)]),
        Err(_) => objects(&path),
    });
    objects.collect()
}

/// Returns what names an object in whatever version.
fn named(object: &Value) -> [String; 4] {
    let (kind, namespace, name) = id_of(object);
    [kind.group, kind.kind, namespace, name]
}

/// Returns the objects of a List.
fn items(list: &str) -> Vec<Value> {
    let mut list: Value = serde_json::from_str(list).unwrap();
    serde_json::from_value(list["items"].take()).unwrap()
}

/// Succeeds when there are no differences.
fn none(differences: impl Iterator<Item = String>) -> Result<(), Text> {
    let differences: Vec<_> = differences.collect();
    if differences.is_empty() {
        Ok(())
    } else {
        Err(Text(format!("{}:\n{}", differences.len(), differences.join("\n"))))
    }
}

/// Returns 200 KB of lines that differ.
fn large() -> Value {
    let line = |number: usize| format!("{number}: {}\n", "no ".repeat(number % 40));
    let text: String = (0..)
        .map(line)
        .scan(0, |bytes, line| {
            *bytes += line.len();
            (*bytes <= 200 << 10).then_some(line)
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large", "namespace": "odd"}, "data": {"text": text},
    })
}

/// Returns the object without what kubectl notes down about applying, what is removed on purpose, and the taints that
/// come and go with a Node's condition.
fn without_apply_notes(object: &Value) -> Value {
    let mut object = object.clone();
    APPLY_NOTES.iter().for_each(|pointer| take(&mut object, &Value::Null, pointer));
    let [group, kind, _, name] = named(&object);
    let folder = format!("{}/{kind}/{name}", if group.is_empty() { "core" } else { &group });
    let removed = REMOVED_ON_PURPOSE.iter().filter_map(|(place, _)| place.split_once(' '));
    removed.filter(|(its_folder, _)| *its_folder == folder).for_each(|(_, pointer)| {
        take(&mut object, &Value::Null, pointer);
    });
    if let (true, Some(taints)) = (kind == "Node", object["spec"]["taints"].as_array_mut()) {
        taints.retain(|taint| !taint["key"].as_str().unwrap_or_default().starts_with("node.kubernetes.io/"));
    }
    object
}

/// Returns the object without what a server allocates, but for what is authored.
fn without_allocated(object: &Value, authored: &Value) -> Value {
    let mut object = without_apply_notes(object);
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    for (_, pointer) in ALLOCATED.iter().filter(|(its_kind, _)| its_kind.is_empty() || *its_kind == kind) {
        take(&mut object, authored, pointer);
    }
    if kind == "Pod" { with_plain_token_names(object) } else { object }
}

/// Takes the random end off the names of the volumes that admission adds: `kube-api-access-x7k2p`.
fn with_plain_token_names(pod: Value) -> Value {
    match pod {
        Value::Array(items) => items.into_iter().map(with_plain_token_names).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, with_plain_token_names(value))).collect(),
        Value::String(text) if text.starts_with("kube-api-access-") => "kube-api-access-".into(),
        other => other,
    }
}

/// Removes what is at a JSON pointer, in which `*` is every item of a list, unless it is authored; then what that
/// leaves empty above it.
fn take(object: &mut Value, authored: &Value, pointer: &str) {
    let Some((step, rest)) = pointer.strip_prefix('/').map(|path| path.split_at(path.find('/').unwrap_or(path.len())))
    else {
        return;
    };
    let key = step.replace("~1", "/").replace("~0", "~");
    match object {
        Value::Array(items) if key == "*" => {
            items.iter_mut().enumerate().for_each(|(index, item)| take(item, &authored[index], rest));
        }
        Value::Object(map) if rest.is_empty() && authored.get(&key).is_none() => drop(map.remove(&key)),
        Value::Object(map) if !rest.is_empty() => {
            let Some(part) = map.get_mut(&key) else { return };
            take(part, &authored[&key], rest);
            if part.as_object().is_some_and(Map::is_empty) && authored.get(&key).is_none() {
                map.remove(&key);
            }
        }
        _ => {}
    }
}

/// Written by each apply; a Deployment's generation counts the annotation, too.
const APPLY_NOTES: [&str; 3] = [
    "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
    "/metadata/generation",
    "/metadata/managedFields",
];

/// What two clusters that hold the same objects differ in, by kind: a list of its own, not the sanitizer's. Also what
/// `others.yaml` of the corpus does, which nobody does to the copy.
const ALLOCATED: &[(&str, &str)] = &[
    ("", "/metadata/creationTimestamp"),
    ("", "/metadata/resourceVersion"),
    ("", "/metadata/uid"),
    ("", "/status"),
    ("APIService", "/spec/caBundle"),
    ("CertificateSigningRequest", "/spec/extra"),
    ("CustomResourceDefinition", "/spec/conversion/webhook/clientConfig/caBundle"),
    ("Deployment", "/metadata/annotations/deployment.kubernetes.io~1revision"),
    ("DeviceTaintRule", "/spec/taint/timeAdded"),
    ("HorizontalPodAutoscaler", "/metadata/annotations/autoscaling.alpha.kubernetes.io~1conditions"),
    ("Job", "/metadata/labels/batch.kubernetes.io~1controller-uid"),
    ("Job", "/metadata/labels/controller-uid"),
    ("Job", "/spec/selector/matchLabels/batch.kubernetes.io~1controller-uid"),
    ("Job", "/spec/template/metadata/labels/batch.kubernetes.io~1controller-uid"),
    ("Job", "/spec/template/metadata/labels/controller-uid"),
    ("MutatingWebhookConfiguration", "/webhooks/*/clientConfig/caBundle"),
    ("Node", "/metadata/annotations/volumes.kubernetes.io~1controller-managed-attach-detach"),
    ("PersistentVolume", "/spec/claimRef/resourceVersion"),
    ("PersistentVolume", "/spec/claimRef/uid"),
    // Says what admission has filled in, and the copy has that from the manifest.
    ("Pod", "/metadata/annotations/kubernetes.io~1limit-ranger"),
    ("Pod", "/spec/nodeName"),
    ("Service", "/metadata/finalizers"),
    ("Service", "/spec/clusterIP"),
    ("Service", "/spec/clusterIPs"),
    ("Service", "/spec/healthCheckNodePort"),
    ("Service", "/spec/ports/*/nodePort"),
];

/// The rows about whole resources of which the corpus has objects.
const INCLUDED: [&str; 7] = [
    "certificatesigningrequests",
    "controllerrevisions",
    "endpoints",
    "ipaddresses",
    "leases",
    "node-reports",
    "storageversions",
];
