//! What a test begins with: a namespace of a control plane, an empty repository, and a home for the command.

use std::{
    fmt::Debug,
    sync::{Arc, LazyLock, Weak},
};

use futures::{StreamExt, stream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use reverser_testbed::{BareRepo, ControlPlane, ControlPlaneOptions, LoggedCommit, eventually};
use reverser_tests::{Home, LIMIT, Running};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    process::Command,
    runtime::Runtime,
    sync::{Mutex, Semaphore, SemaphorePermit},
};

/// Runs a test. All share one runtime, since a client of a shared control plane lives on that of the test that started
/// it.
pub(crate) fn run(test: impl Future<Output = ()>) {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));
    RUNTIME.block_on(test);
}

/// A namespace of a control plane, an empty repository, and a home for the command.
pub(crate) struct Scene {
    pub(crate) plane: Arc<ControlPlane>,
    pub(crate) namespace: String,
    pub(crate) repo: BareRepo,
    pub(crate) home: Home,
    /// Of those that have a control plane alone.
    _permit: Option<SemaphorePermit<'static>>,
}

impl Scene {
    /// On a control plane that other tests use at the same time, each in a namespace of its own.
    pub(crate) async fn shared(namespace: &str) -> Self {
        // Weak, since statics are never dropped: it ends with the last test that uses it.
        static PLANE: Mutex<Weak<ControlPlane>> = Mutex::const_new(Weak::new());
        let mut shared = PLANE.lock().await;
        let plane = match shared.upgrade() {
            Some(plane) => plane,
            None => {
                let plane = start(ControlPlaneOptions::default()).await;
                *shared = Arc::downgrade(&plane);
                plane
            }
        };
        drop(shared);
        Self::on(plane, namespace, None).await
    }

    /// On a control plane that the test may restart and compact.
    pub(crate) async fn alone(namespace: &str) -> Self {
        Self::with(namespace, ControlPlaneOptions::default()).await
    }

    /// On a control plane that nobody else watches: it has no controllers.
    pub(crate) async fn unwatched(namespace: &str) -> Self {
        let options = ControlPlaneOptions { controller_manager: false, ..ControlPlaneOptions::default() };
        Self::with(namespace, options).await
    }

    /// On a control plane of its own.
    pub(crate) async fn with(namespace: &str, options: ControlPlaneOptions) -> Self {
        // Beside the shared one: more would make a small machine slow, not the suite fast.
        static PERMITS: Semaphore = Semaphore::const_new(2);
        let permit = PERMITS.acquire().await.expect("it is never closed");
        Self::on(start(options).await, namespace, Some(permit)).await
    }

    async fn on(plane: Arc<ControlPlane>, namespace: &str, permit: Option<SemaphorePermit<'static>>) -> Self {
        let namespaces = Api::<Namespace>::all(plane.client());
        namespaces.create(&PostParams::default(), &object(json!({"metadata": {"name": namespace}}))).await.unwrap();
        Self {
            plane,
            namespace: namespace.to_owned(),
            repo: BareRepo::temporary().await.unwrap(),
            home: home(),
            _permit: permit,
        }
    }

    /// Returns a typed client for the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.plane.client(), &self.namespace)
    }

    /// Returns the flags that name the cluster and the namespace.
    pub(crate) fn cluster(&self) -> [&str; 4] {
        ["--kubeconfig", self.plane.kubeconfig().to_str().unwrap(), "--namespace", &self.namespace]
    }

    /// Starts to watch the namespace into the repository, and returns once it is watched.
    pub(crate) async fn watch(&self, more: &[&str]) -> Running {
        self.watch_into(&self.repo.url(), more).await
    }

    /// Starts to watch the namespace into this repository, and returns once it is watched.
    pub(crate) async fn watch_into(&self, repo: &str, more: &[&str]) -> Running {
        let arguments = [&["watch", "--log-format", "json", "--repo", repo][..], &self.cluster(), more].concat();
        let running = self.home.start(&arguments);
        running.says(WATCHING).await;
        running
    }

    /// Runs kubectl in the namespace, with a manifest on its standard input, and returns what it prints.
    pub(crate) async fn kubectl(&self, arguments: &[&str], manifest: &str) -> String {
        let mut kubectl = self.plane.kubectl(self.plane.kubeconfig()).await.unwrap();
        kubectl.args(["--namespace", &self.namespace]).args(arguments);
        // kubectl 1.32 takes what begins with a brace for JSON.
        let manifest = if manifest.starts_with('{') { format!("---\n{manifest}") } else { manifest.to_owned() };
        output_of(kubectl, &manifest).await
    }

    /// Waits until the branch has so many commits, and returns them, oldest first.
    pub(crate) async fn history(&self, commits: usize) -> Vec<LoggedCommit> {
        history(&self.repo, commits).await
    }

    /// Returns a file of the namespace, such as `v1/configmaps` and `web`.
    pub(crate) async fn file(&self, resource: &str, name: &str) -> String {
        self.repo.read("main", &self.path(resource, name)).await.unwrap()
    }

    /// Returns where an object of the namespace stands in the repository.
    pub(crate) fn path(&self, resource: &str, name: &str) -> String {
        format!("{resource}/{}/{name}.yaml", self.namespace)
    }

    /// Waits until the branch has exactly these files.
    pub(crate) async fn has_files(&self, paths: &[String]) {
        let mut paths = paths.to_vec();
        paths.sort();
        eventually("the files", LIMIT, async || {
            let files = self.repo.files("main").await.unwrap();
            if files == paths { Ok(()) } else { Err(files) }
        })
        .await;
    }
}

/// What is logged once the first sync is over and changes are followed.
pub(crate) const WATCHING: &str = r#""message":"watching""#;

/// Returns a home for the command that is tested.
pub(crate) fn home() -> Home {
    Home::new(env!("CARGO_BIN_EXE_reverser-under-test")).unwrap()
}

/// Waits until a repository has so many commits, and returns them, oldest first.
pub(crate) async fn history(repo: &BareRepo, commits: usize) -> Vec<LoggedCommit> {
    eventually(&format!("{commits} commits"), LIMIT, async || {
        let log = repo.log("main").await.unwrap();
        if log.len() >= commits { Ok(log) } else { Err(subjects(&log).map(str::to_owned).collect::<Vec<_>>()) }
    })
    .await
}

/// Returns author and subject of each commit.
pub(crate) fn credits(log: &[LoggedCommit]) -> Vec<String> {
    log.iter().map(|commit| format!("{} {}", commit.author, commit.subject())).collect()
}

/// Returns the commits' subjects.
pub(crate) fn subjects(log: &[LoggedCommit]) -> impl Iterator<Item = &str> {
    log.iter().map(LoggedCommit::subject)
}

/// Checks the subjects of all commits.
#[track_caller]
pub(crate) fn assert_subjects(log: &[LoggedCommit], expected: &[&str]) {
    assert_eq!(subjects(log).collect::<Vec<_>>(), expected);
}

/// Runs a command with this on its standard input, and returns what it prints; panics when it fails.
pub(crate) async fn output_of(mut command: Command, input: &str) -> String {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, input.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let output = tokio::time::timeout(LIMIT, command.stdin(file).output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// Reads an object from JSON.
pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// Returns a ConfigMap with one key.
pub(crate) fn config_map(name: &str, value: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name}, "data": {"key": value}}))
}

/// Returns the definition of a namespaced kind that may hold anything.
pub(crate) fn crd(group: &str, kind: &str) -> CustomResourceDefinition {
    let (plural, singular) = (format!("{}s", kind.to_lowercase()), kind.to_lowercase());
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    object(json!({"metadata": {"name": format!("{plural}.{group}")}, "spec": {"group": group, "scope": "Namespaced",
        "names": {"kind": kind, "plural": plural, "singular": singular},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": anything}}]}}))
}

/// Creates an object.
pub(crate) async fn create<K: Clone + Debug + DeserializeOwned + Serialize>(api: &Api<K>, object: K) -> K {
    api.create(&PostParams::default(), &object).await.unwrap()
}

/// Creates so many ConfigMaps, `PREFIX-0` and so on, over eight connections.
pub(crate) async fn create_many(configs: &Api<ConfigMap>, prefix: &str, count: usize, value: &str) {
    stream::iter(0..count)
        .map(async |number| drop(create(configs, config_map(&format!("{prefix}-{number}"), value)).await))
        .buffer_unordered(8)
        .collect::<()>()
        .await;
}

/// Applies to a ConfigMap, on the server, as this field manager.
pub(crate) async fn apply_as(configs: &Api<ConfigMap>, manager: &str, mut change: Value, name: &str) {
    change["apiVersion"] = "v1".into();
    change["kind"] = "ConfigMap".into();
    change["metadata"]["name"] = name.into();
    configs.patch(name, &PatchParams::apply(manager).force(), &Patch::Apply(change)).await.unwrap();
}

/// Changes an object by a merge patch.
pub(crate) async fn patch<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, name: &str, change: Value) -> K {
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap()
}

/// Deletes an object.
pub(crate) async fn delete<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, name: &str) {
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

async fn start(options: ControlPlaneOptions) -> Arc<ControlPlane> {
    Arc::new(ControlPlane::start(options).await.unwrap_or_else(|error| panic!("{error}")))
}
