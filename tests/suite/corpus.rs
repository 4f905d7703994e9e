//! The corpus of real objects: `tests/corpus/GROUP/KIND/NAME/`, a folder each.
//!
//! ```text
//! authored.yaml    what a person writes; comments on top say how it gets to the server, and what is waited for
//! others.yaml      what another program does to it afterwards: a patch, or an object (not in every folder)
//! live.yaml        what the API server gave back: a record
//! sanitized.yaml   what the sanitizer makes of it
//! ```
//!
//! The comments of `authored.yaml`, the first one alone in `others.yaml`:
//!
//! ```text
//! # kubectl apply --server-side       the command; the file follows
//! # live has /spec/clusterIP /…       JSON pointers (RFC 6901) of what the server and its controllers are to fill in
//! # status is authored                the kind has no status subresource
//! ```

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{
    api::core::v1::ServiceAccount, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DynamicObject, ListParams},
    core::GroupVersionKind,
};
use reverser_core::{Sanitizer, yaml};
use reverser_testbed::{ControlPlane, ControlPlaneOptions, eventually};
use reverser_tests::LIMIT;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::scene::output_of;

/// One folder of the corpus.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) folder: PathBuf,
    pub(crate) authored: Value,
    /// `apply`, `--server-side`.
    command: Vec<String>,
    /// Pointers to what the live object is to have.
    live_has: Vec<String>,
    pub(crate) status_is_authored: bool,
}

impl Entry {
    fn read(folder: PathBuf) -> Self {
        let text = fs::read_to_string(folder.join("authored.yaml")).unwrap();
        let comments: Vec<_> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let words = |prefix: &str| -> Vec<String> {
            let words = comments.iter().filter_map(|comment| comment.strip_prefix(prefix));
            words.flat_map(str::split_whitespace).map(str::to_owned).collect()
        };
        let (command, live_has) = (words("kubectl "), words("live has "));
        assert!(!command.is_empty(), "{}: no `# kubectl …` on top", folder.display());
        let status_is_authored = comments.contains(&"status is authored");
        let authored = parsed(&text);
        Self { folder, authored, command, live_has, status_is_authored }
    }

    /// Returns the folder's path in the corpus.
    pub(crate) fn name(&self) -> String {
        self.folder.strip_prefix(root()).unwrap().display().to_string()
    }

    /// Returns one of the folder's files, or nothing when there is none.
    pub(crate) fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }

    /// Returns the object in one of the folder's files.
    pub(crate) fn object(&self, file: &str) -> Value {
        let text = self.text(file);
        parsed(&text.unwrap_or_else(|| panic!("{}: no {file}; CONTRIBUTING.md says how to record it", self.name())))
    }

    /// Returns what reverser writes for the live object.
    pub(crate) fn sanitized(&self, live: Value) -> String {
        let sanitizer = Sanitizer::faithful();
        let sanitizer = if self.status_is_authored { sanitizer.keep_status() } else { sanitizer };
        yaml::to_string(&sanitizer.clean(live))
    }

    pub(crate) fn kind(&self) -> GroupVersionKind {
        kind_of(&self.authored)
    }

    /// Returns which of the pointers find nothing in the live object.
    pub(crate) fn lacks(&self, live: &Value) -> Vec<&str> {
        let common = ["/metadata/uid", "/metadata/resourceVersion", "/metadata/creationTimestamp"];
        let pointers = common.into_iter().chain(self.live_has.iter().map(String::as_str));
        pointers.filter(|pointer| live.pointer(pointer).is_none()).collect()
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).to_str().unwrap().to_owned()
    }
}

/// Reads the corpus, in the order of its paths.
pub(crate) fn corpus() -> Vec<Entry> {
    fn collect(folder: &Path, found: &mut Vec<Entry>) {
        if folder.join("authored.yaml").is_file() {
            found.push(Entry::read(folder.to_owned()));
            return;
        }
        let mut folders: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        folders.iter().for_each(|folder| collect(folder, found));
    }
    let mut found = vec![];
    collect(&root(), &mut found);
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The corpus on a control plane whose controllers have done their part.
pub(crate) struct Served {
    pub(crate) plane: ControlPlane,
    pub(crate) entries: Vec<Entry>,
}

impl Served {
    /// Applies the corpus to a control plane of its own, which the tests that run at the same time share.
    pub(crate) async fn start() -> Arc<Self> {
        // Weak, since statics are never dropped: it ends with the last test that uses it.
        static SERVED: Mutex<Weak<Served>> = Mutex::const_new(Weak::new());
        let mut shared = SERVED.lock().await;
        if let Some(served) = shared.upgrade() {
            return served;
        }
        let served = Arc::new(Self { plane: start_plane().await, entries: corpus() });
        served.apply().await;
        served.settle().await;
        *shared = Arc::downgrade(&served);
        served
    }

    /// Reads each entry's object.
    pub(crate) async fn live(&self) -> Vec<Option<Value>> {
        read(&self.plane, self.entries.iter().map(|entry| &entry.authored)).await
    }

    async fn apply(&self) {
        self.apply_those(|kind| FIRST.contains(&kind)).await;
        is_ready(&self.plane).await;
        self.apply_those(|kind| SECOND.contains(&kind)).await;
        self.apply_those(|kind| !FIRST.contains(&kind) && !SECOND.contains(&kind)).await;
        let others = self.entries.iter().filter(|entry| entry.folder.join("others.yaml").is_file());
        let others = others.map(|entry| self.let_others_do_theirs(entry));
        futures::future::join_all(others).await;
    }

    /// Gives the authored manifests of some kinds to kubectl, those of one command in one call.
    async fn apply_those(&self, is_kind: impl Fn(&str) -> bool) {
        let mut calls: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| is_kind(&entry.kind().kind)) {
            calls.entry(&entry.command).or_default().push(entry.path("authored.yaml"));
        }
        let calls = calls.into_iter().map(|(command, files)| {
            let files = files.into_iter().flat_map(|file| ["--filename".to_owned(), file]);
            self.kubectl(command.iter().cloned().chain(files).collect())
        });
        futures::future::join_all(calls).await;
    }

    async fn let_others_do_theirs(&self, entry: &Entry) {
        let text = entry.text("others.yaml").unwrap();
        let command = text.lines().next().and_then(|line| line.strip_prefix("# kubectl ")).unwrap();
        let mut arguments: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        let file = match arguments[0].as_str() {
            "patch" => ["--filename".into(), entry.path("authored.yaml"), "--patch-file".into()].to_vec(),
            _ => vec!["--filename".to_owned()],
        };
        arguments.extend(file);
        arguments.push(entry.path("others.yaml"));
        self.kubectl(arguments).await;
    }

    async fn kubectl(&self, arguments: Vec<String>) {
        let mut kubectl = self.plane.kubectl(self.plane.kubeconfig()).await.unwrap();
        kubectl.args(arguments);
        output_of(kubectl, "").await;
    }

    /// Waits until each object has what its entry says.
    async fn settle(&self) {
        eventually("the controllers to have done their part", LIMIT, async || {
            let live = self.live().await;
            let lacking = self.entries.iter().zip(&live).filter_map(|(entry, live)| {
                let lacks = live.as_ref().map_or_else(|| vec!["the object"], |live| entry.lacks(live));
                (!lacks.is_empty()).then(|| (entry.name(), lacks.into_iter().map(str::to_owned).collect::<Vec<_>>()))
            });
            let lacking: Vec<_> = lacking.collect();
            if lacking.is_empty() { Ok(()) } else { Err(lacking) }
        })
        .await;
    }
}

/// Starts a control plane that serves every built-in kind, with admission as clusters have it.
pub(crate) async fn start_plane() -> ControlPlane {
    let flags = ["--runtime-config=api/all=true".to_owned(), format!("--feature-gates={}", GATES.join(","))];
    let options = ControlPlaneOptions {
        api_server_flags: flags.to_vec(),
        disabled_admission_plugins: vec![],
        ..ControlPlaneOptions::default()
    };
    ControlPlane::start(options).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Waits until CRDs are served and namespaces have their service account, without which Pods are refused.
pub(crate) async fn is_ready(plane: &ControlPlane) {
    let definitions = Api::<CustomResourceDefinition>::all(plane.client());
    let accounts = Api::<ServiceAccount>::all(plane.client());
    eventually("CRDs to be established, and service accounts", LIMIT, async || {
        let definitions = definitions.list(&ListParams::default()).await.unwrap();
        let waiting = definitions.iter().filter(|definition| {
            let status = definition.status.as_ref();
            let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
            !conditions.any(|condition| condition.type_ == "Established" && condition.status == "True")
        });
        let waiting: Vec<_> = waiting.map(|definition| definition.metadata.name.clone()).collect();
        let accounts = accounts.list(&ListParams::default().fields("metadata.name=default")).await.unwrap();
        let served = accounts.iter().filter_map(|account| account.metadata.namespace.as_deref());
        let served: Vec<_> = served.filter(|namespace| NAMESPACES.contains(namespace)).map(str::to_owned).collect();
        if waiting.is_empty() && served.len() == NAMESPACES.len() { Ok(()) } else { Err((waiting, served)) }
    })
    .await;
}

/// Reads those of a control plane's objects that have the kind, namespace and name of these; `None` where there is none.
pub(crate) async fn read(plane: &ControlPlane, objects: impl IntoIterator<Item = &Value>) -> Vec<Option<Value>> {
    let ids: Vec<_> = objects.into_iter().map(id_of).collect();
    let kinds: HashSet<_> = ids.iter().map(|(kind, _, _)| kind.clone()).collect();
    // Lists, since a client has to quote names such as `a b` in a path, and kube's doesn't.
    let lists = stream::iter(kinds).map(async |kind| {
        let (resource, _) = kube::discovery::pinned_kind(&plane.client(), &kind).await?;
        let objects = Api::<DynamicObject>::all_with(plane.client(), &resource).list(&ListParams::default()).await?;
        let objects = objects.items.into_iter().map(|object| {
            let mut object = serde_json::to_value(object).unwrap();
            // Items of lists don't say it of themselves.
            object["apiVersion"] = resource.api_version.clone().into();
            object["kind"] = resource.kind.clone().into();
            (id_of(&object), object)
        });
        Ok::<_, kube::Error>(objects.collect::<Vec<_>>())
    });
    let lists: Vec<_> = lists.buffer_unordered(AT_ONCE).try_collect().await.unwrap();
    let mut found: HashMap<_, _> = lists.into_iter().flatten().collect();
    ids.iter().map(|id| found.remove(id)).collect()
}

/// Returns kind, namespace (empty for none) and name.
pub(crate) fn id_of(object: &Value) -> (GroupVersionKind, String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (kind_of(object), text("namespace"), text("name"))
}

/// Returns what one text has and the other hasn't, or nothing when they are the same.
pub(crate) fn difference(expected: &str, found: &str) -> Option<String> {
    let diff = similar::TextDiff::from_lines(expected, found);
    (expected != found).then(|| diff.unified_diff().context_radius(3).header("expected", "found").to_string())
}

/// Returns the one object of a text.
pub(crate) fn parsed(text: &str) -> Value {
    let mut documents = yaml::parse(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

fn kind_of(object: &Value) -> GroupVersionKind {
    let text = |field: &str| object[field].as_str().unwrap();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    GroupVersionKind::gvk(group, version, text("kind"))
}

/// Of kinds that others need, or whose defaults admission writes into them.
const FIRST: [&str; 6] =
    ["CustomResourceDefinition", "IngressClass", "Namespace", "PriorityClass", "RuntimeClass", "StorageClass"];
const SECOND: [&str; 2] = ["LimitRange", "ServiceAccount"];

/// The corpus' namespaces.
const NAMESPACES: [&str; 3] = ["limited", "odd", "shop"];

/// Features whose kinds are served with them alone.
const GATES: [&str; 6] = [
    "ClusterTrustBundle=true",
    "DRADeviceTaintRules=true",
    "DRAResourcePoolStatus=true",
    "GenericWorkload=true",
    "PodCertificateRequest=true",
    "StorageVersionMigrator=true",
];

/// Requests at the same time.
const AT_ONCE: usize = 32;
