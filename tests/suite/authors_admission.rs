//! Who did it, from admission requests of a real API server: for each kind of request what a commit says, and that nobody
//! is named for what somebody else did.

mod cascades;
mod deletions;
mod races;
mod restarts;
mod subresources;
mod writes;

use std::path::Path;

use k8s_openapi::{NamespaceResourceScope, api::core::v1::ConfigMap};
use kube::{Api, Client, Resource};
use reverser_testbed::{LoggedCommit, client_for, eventually};
use reverser_tests::{LIMIT, Running, free_port};
use serde_json::json;

use crate::{
    authors::text,
    scene::{Scene, WATCHING, create, object},
};

/// A namespace that is watched with attribution by admission, and two users who may do everything in the cluster.
struct Attributed {
    scene: Scene,
    /// What is watched, and where.
    flags: Vec<String>,
    watch: Running,
    alice: Client,
    bob: Client,
}

impl Attributed {
    /// Watches these resources in the scene's namespace, and ConfigMaps.
    async fn namespaced(scene: Scene, resources: &[&str]) -> Self {
        let namespace = scene.namespace.clone();
        Self::with(scene, &[&selected(resources)[..], &["--namespace", &namespace]].concat()).await
    }

    /// Watches these resources everywhere, and ConfigMaps.
    async fn everywhere(scene: Scene, resources: &[&str]) -> Self {
        Self::with(scene, &selected(resources)).await
    }

    /// Watches what these flags select, ConfigMaps among it.
    async fn with(scene: Scene, selection: &[&str]) -> Self {
        let kubeconfig = scene.plane.kubeconfig().to_owned();
        Self::through(scene, &kubeconfig, selection).await
    }

    /// Watches the cluster that a kubeconfig names. Returns once the API server asks for each request.
    async fn through(scene: Scene, kubeconfig: &Path, selection: &[&str]) -> Self {
        let (alice, bob) = (user(&scene, "alice").await, user(&scene, "bob").await);
        let flags = ["--kubeconfig", text(kubeconfig)].into_iter().chain(selection.iter().copied());
        let flags: Vec<_> = flags.map(str::to_owned).collect();
        let watch = start(&scene, &flags).await;
        Self { scene, flags, watch, alice, bob }.asked().await
    }

    /// Kills the watch.
    async fn killed(self) -> Killed {
        let Self { scene, flags, watch, alice, bob } = self;
        watch.kill().await;
        Killed { scene, flags, alice, bob }
    }

    /// Waits until the API server heeds what was registered, which takes a moment.
    async fn asked(self) -> Self {
        let attributed = &self;
        eventually("a creation with an author", LIMIT, async || {
            let probe: ConfigMap = object(json!({"metadata": {"generateName": "probe-"}}));
            create(&attributed.alices(), probe).await;
            let log = attributed.scene.repo.log("main").await.unwrap();
            let last = log.iter().rfind(|commit| commit.subject().contains("/probe-"));
            if last.is_some_and(|commit| commit.author == "alice") { Ok(()) } else { Err(attributed.watch.said()) }
        })
        .await;
        self
    }

    /// Returns the namespace's objects, as a user writes them.
    fn of<K>(&self, user: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(user.clone(), &self.scene.namespace)
    }

    fn alices(&self) -> Api<ConfigMap> {
        self.of(&self.alice)
    }

    fn bobs(&self) -> Api<ConfigMap> {
        self.of(&self.bob)
    }

    /// Waits until there are as many commits of the objects of a name, and checks of all of them what they say: the author,
    /// the evidence, the operation.
    async fn tells(&self, name: &str, expected: &[&str]) {
        let told = eventually(&format!("{} commits of {name}", expected.len()), LIMIT, async || {
            let commits = self.commits(name).await;
            if commits.len() >= expected.len() { Ok(commits) } else { Err(commits) }
        })
        .await;
        assert_eq!(told.iter().map(summary).collect::<Vec<_>>(), expected, "of {name}");
    }

    /// Returns the commits of the objects of a name, oldest first.
    async fn commits(&self, name: &str) -> Vec<LoggedCommit> {
        let log = self.scene.repo.log("main").await.unwrap();
        log.into_iter().filter(|commit| commit.subject().rsplit('/').next() == Some(name)).collect()
    }

    /// Ends the watch in good order.
    async fn ends(self) {
        self.watch.terminate().await.exits_with(0);
    }
}

/// An [`Attributed`] whose watch was killed.
struct Killed {
    scene: Scene,
    flags: Vec<String>,
    alice: Client,
    bob: Client,
}

impl Killed {
    /// Watches again.
    async fn again(self) -> Attributed {
        let Self { scene, flags, alice, bob } = self;
        let watch = start(&scene, &flags).await;
        Attributed { scene, flags, watch, alice, bob }.asked().await
    }
}

/// Starts to watch with these flags and attribution by admission, and returns once it watches.
async fn start(scene: &Scene, flags: &[String]) -> Running {
    let url = format!("https://127.0.0.1:{}", free_port().unwrap());
    let repo = scene.repo.url();
    let mut arguments = vec!["watch", "--log-format", "json", "--repo", &repo];
    arguments.extend(["--attribution", "admission", "--admission-url", &url]);
    arguments.extend(flags.iter().map(String::as_str));
    let watch = scene.home.start(&arguments);
    watch.says(WATCHING).await;
    watch
}

/// Returns what selects these resources, and ConfigMaps.
fn selected<'a>(resources: &[&'a str]) -> Vec<&'a str> {
    ["configmaps"].iter().chain(resources).flat_map(|resource| ["-r", *resource]).collect()
}

/// Returns who a commit says it was, how that is known, and what was done: `alice admission [CREATE]`.
fn summary(commit: &LoggedCommit) -> String {
    let evidence = trailers(commit, "Reverser-Evidence").pop().unwrap_or_default();
    let operation = commit.subject().split(' ').next().unwrap_or_default().to_owned();
    format!("{} {evidence} {operation}", commit.author)
}

/// Returns the values of a trailer.
fn trailers(commit: &LoggedCommit, key: &str) -> Vec<String> {
    let prefix = format!("{key}: ");
    commit.message.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// Returns a client of a user who may do everything.
async fn user(scene: &Scene, name: &str) -> Client {
    client_for(&scene.plane.user(name, &["system:masters"]).unwrap()).await.unwrap()
}
