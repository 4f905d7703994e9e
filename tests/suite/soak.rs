//! Everything at once, at random: eight users change what they like while all that can fail does, again and again.
//!
//! ```text
//! 8 users ──► API server ──► audit log ─────────────────────┐
//!                 │    ▲ restarted; etcd held, compacted    ▼
//!                 │ TcpProxy: cut, reset, stalled, …      the oracle: each authored change is one commit, in order
//!                 ▼                                         ▲
//!             reverser, killed ──► GitHttp, away ──► log ───┘
//! ```
//!
//! Authors come from the audit log, or from admission; `REVERSER_SOAK_FEED=both` makes that both of them.
//!
//! `REVERSER_SOAK=1` makes it ten minutes, `REVERSER_SOAK_MINUTES` so many; `REVERSER_SOAK_SEED` repeats the choices of a run,
//! though not what came of them.

mod clients;
mod faults;
mod oracle;
mod random;

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DynamicObject, ListParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use reverser_testbed::{BareRepo, ControlPlane, ControlPlaneOptions, GitHttp, TcpProxy, client_for, eventually, rule};
use reverser_tests::{LIMIT, free_port};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

pub(crate) use self::random::Random;
use self::{clients::Client, faults::Bed};
use crate::scene::{create, home, object, run};

#[test]
fn whatever_fails_each_authored_change_is_one_commit_and_git_ends_as_the_cluster_is() {
    run(soak(Feed::Audit));
}

#[test]
fn whatever_fails_admission_names_nobody_wrong_and_everybody_who_wrote_while_reverser_was_there() {
    let both = env::var("REVERSER_SOAK_FEED").is_ok_and(|feed| feed == "both");
    run(soak(if both { Feed::Both } else { Feed::Admission }));
}

/// Where authors are known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    Admission,
    Audit,
    Both,
}

async fn soak(feed: Feed) {
    let (seed, length) = (seed(), length(Duration::from_secs(25), 10.0));
    eprintln!("soak: REVERSER_SOAK_SEED={seed}, {length:?}, {feed:?}");
    let soak = Soak::begin(seed, feed).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = soak.clients(&stop).await;
    let mut bed = Bed::new(&soak.plane, &soak.server, &soak.way, soak.reverser());
    bed.is_watching().await;
    let mut working: JoinSet<()> = clients.into_iter().map(Client::work).collect();
    let (begun, mut random) = (Instant::now(), Random::new(seed));
    while begun.elapsed() < length {
        bed.fail_once(&mut random).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(worked) = working.join_next().await {
        worked.unwrap();
    }
    bed.heal().await;
    soak.is_caught_up(&mut bed).await;
    // What waits for its author at the end is committed then.
    let said = bed.end().await;
    let differences = soak.differences().await;
    let log = soak.repo.log("main").await.unwrap();
    let audit = std::fs::read_to_string(soak.plane.audit_log().unwrap()).unwrap();
    let verdict = oracle::judge(&audit, &said, &log, bed.faults(), feed, bed.away());
    eprintln!("soak: seed {seed}, {:?}\n{}\n{verdict}", begun.elapsed(), bed.told());
    if !differences.is_empty() || !verdict.is_sound() {
        let kept = soak.keep(&said);
        panic!("seed {seed}, all kept in {kept}: Git differs from the cluster in {differences:#?}, {verdict:#?}");
    }
    soak.is_sound().await;
}

struct Soak {
    seed: u64,
    feed: Feed,
    /// For admission.
    port: u16,
    plane: ControlPlane,
    server: GitHttp,
    repo: BareRepo,
    way: TcpProxy,
    home: reverser_tests::Home,
}

impl Soak {
    async fn begin(seed: u64, feed: Feed) -> Self {
        let options = ControlPlaneOptions {
            // In MB: the oracle reads it as one file.
            api_server_flags: vec!["--audit-log-maxsize=4000".into()],
            ..ControlPlaneOptions::default()
        };
        let plane = ControlPlane::start(options).await.unwrap_or_else(|error| panic!("{error}"));
        let crds = Api::<CustomResourceDefinition>::all(plane.client());
        create(&crds, object(widgets())).await;
        await_condition(crds, "widgets.soak.example.com", is_crd_established()).await.unwrap();
        for namespace in NAMESPACES {
            create(&Api::<Namespace>::all(plane.client()), object(json!({"metadata": {"name": namespace}}))).await;
        }
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        let way = TcpProxy::start(plane.address()).await.unwrap();
        Self { seed, feed, port: free_port().unwrap(), plane, server, repo, way, home: home() }
    }

    async fn clients(&self, stop: &Arc<AtomicBool>) -> Vec<Client> {
        let mut clients = vec![];
        for number in 0..CLIENTS {
            let name = format!("user-{number}");
            let kubeconfig = self.plane.user(&name, &[]).unwrap();
            self.plane.grant(&name, None, vec![rule(&["*"], "*", &["*"])]).await.unwrap();
            let client = client_for(&kubeconfig).await.unwrap();
            let random = Random::new(self.seed.wrapping_add(1 + number));
            clients.push(Client::new(name, client, random, Arc::clone(stop)));
        }
        clients
    }

    /// Returns the command that is tested.
    fn reverser(&self) -> tokio::process::Command {
        let kubeconfig = self.plane.kubeconfig_via(&self.way).unwrap();
        let (repo, audit_log) = (self.server.url("team.git"), self.plane.audit_log().unwrap());
        let state = self.home.path().join("state");
        let mut command = self.home.command(&["watch", "--log-format", "json", "--repo", &repo]);
        command
            // After a loss many files may have no object any more; it is the right cluster all the same.
            .args(["-r", "configmaps,deployments.apps,widgets.soak.example.com", "--allow-mass-delete"])
            // All that is captured is compared with Git again and again: nothing may differ, ever.
            .args(["--verify-interval", "3s"])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--state-dir")
            .arg(state)
            // Which gaps had nothing in them is told at that level.
            .env(
                "RUST_LOG",
                "warn,kube_client=off,reverser_bin=info,reverser_core=info,reverser_git=info,reverser_k8s=debug",
            );
        if self.feed != Feed::Admission {
            command.arg("--audit-log").arg(audit_log);
        }
        if self.feed != Feed::Audit {
            let attribution = if self.feed == Feed::Both { "admission,audit" } else { "admission" };
            let url = format!("https://127.0.0.1:{}", self.port);
            command.args(["--attribution", attribution, "--admission-url", &url]);
        }
        command
    }

    /// Waits until what is changed last, of each kind, is on the remote, and so is what others waited for in the meantime.
    async fn is_caught_up(&self, bed: &mut Bed<'_>) {
        for kind in kinds() {
            let api = Api::<DynamicObject>::namespaced_with(self.plane.client(), NAMESPACES[0], &kind);
            let last = clients::object(&kind, "last", &self.seed.to_string());
            eventually("the last object", LIMIT, async || {
                api.create(&PostParams::default(), &object(last.clone())).await
            })
            .await;
            let path = path(&kind, NAMESPACES[0], "last");
            let mut tries = 0;
            while !self.repo.files("main").await.unwrap().contains(&path) {
                bed.runs().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                tries += 1;
                assert!(tries < 1_200, "seed {}: not caught up with {path}:\n{}", self.seed, bed.said());
            }
        }
        let alike = async || self.differences().await.is_empty();
        // What differs for good is told with all that is known of it.
        let _told_later = timeout(LIMIT, async {
            while !alike().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }

    /// Returns the paths whose objects differ from what Git says of them.
    async fn differences(&self) -> BTreeMap<String, (Value, Value)> {
        let mut files = BTreeMap::new();
        for path in self.repo.files("main").await.unwrap() {
            if NAMESPACES.iter().any(|namespace| path.contains(&format!("/{namespace}/"))) && !path.contains(ROOT_CA) {
                let text = self.repo.read("main", &path).await.unwrap();
                files.insert(path, oracle::authored(&serde_yaml::from_str(&text).unwrap()));
            }
        }
        let mut objects = BTreeMap::new();
        for kind in kinds() {
            for namespace in NAMESPACES {
                let api = Api::<DynamicObject>::namespaced_with(self.plane.client(), namespace, &kind);
                for object in api.list(&ListParams::default()).await.unwrap() {
                    let name = object.metadata.name.clone().unwrap();
                    if object.metadata.deletion_timestamp.is_none() && name != ROOT_CA {
                        let authored = oracle::authored(&serde_json::to_value(&object).unwrap());
                        objects.insert(path(&kind, namespace, &name), authored);
                    }
                }
            }
        }
        let paths = files.keys().chain(objects.keys()).cloned().collect::<std::collections::BTreeSet<_>>();
        let of = |side: &BTreeMap<String, Value>, path: &str| side.get(path).cloned().unwrap_or_default();
        let both = paths.into_iter().map(|path| (of(&files, &path), of(&objects, &path), path));
        both.filter(|(file, object, _)| file != object).map(|(file, object, path)| (path, (file, object))).collect()
    }

    /// Keeps what a failure is found out from; returns where.
    fn keep(&self, said: &str) -> String {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{}", self.seed));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("reverser.log"), said).unwrap();
        std::fs::copy(self.plane.audit_log().unwrap(), folder.join("audit.log")).unwrap();
        let bundle = folder.join("remote.bundle");
        let made = std::process::Command::new("git")
            .arg("-C")
            .arg(self.repo.path())
            .args(["bundle", "create", "--quiet"])
            .arg(&bundle)
            .arg("main")
            .status();
        assert!(made.unwrap().success(), "the remote can't be kept");
        folder.display().to_string()
    }

    /// Checks the repositories on both sides.
    async fn is_sound(&self) {
        self.repo.fsck().await.unwrap();
        let mut folders = vec![self.home.path().join("state")];
        let mut looked = 0;
        while let Some(folder) = folders.pop() {
            if folder.join("HEAD").is_file() && folder.join("objects").is_dir() {
                BareRepo::existing(&folder).fsck().await.unwrap();
                looked += 1;
            } else {
                let inside = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
                folders.extend(inside.filter(|path| path.is_dir()));
            }
        }
        assert_eq!(looked, 1, "the state folder has one repository");
    }
}

/// Returns what is changed.
fn kinds() -> [ApiResource; 3] {
    [("", "v1", "ConfigMap"), ("apps", "v1", "Deployment"), ("soak.example.com", "v1", "Widget")]
        .map(|(group, version, kind)| ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
}

fn path(kind: &ApiResource, namespace: &str, name: &str) -> String {
    format!("{}/{}/{namespace}/{name}.yaml", kind.api_version, kind.plural)
}

fn widgets() -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({"metadata": {"name": "widgets.soak.example.com"}, "spec": {"group": "soak.example.com", "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": anything}}]}})
}

/// Returns what a run's choices depend on.
pub(crate) fn seed() -> u64 {
    let since = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    env::var("REVERSER_SOAK_SEED").ok().map_or_else(since, |seed| seed.parse().expect("a seed is a number"))
}

/// Returns how long a soak lasts: `short`, unless a whole one is asked for, which takes so many minutes.
pub(crate) fn length(short: Duration, whole: f64) -> Duration {
    let minutes = env::var("REVERSER_SOAK_MINUTES").ok().map(|minutes| minutes.parse().expect("minutes are a number"));
    let whole = env::var_os("REVERSER_SOAK").is_some_and(|value| value == "1").then_some(whole);
    minutes.or(whole).map_or(short, |minutes: f64| Duration::from_secs_f64(minutes * 60.0))
}

/// Each is a user of its own.
const CLIENTS: u64 = 8;

const NAMESPACES: [&str; 3] = ["soak-a", "soak-b", "soak-c"];

/// A ConfigMap that controllers put into each namespace.
const ROOT_CA: &str = "kube-root-ca.crt";
