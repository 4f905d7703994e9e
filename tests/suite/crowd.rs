//! A crowd: eight users change the same twenty names in two namespaces at the same time, and each commit has the right author, from admission
//! alone. The audit log, which reverser doesn't see, is the oracle.
//!
//! `REVERSER_SOAK=1` makes it five minutes, `REVERSER_SOAK_MINUTES` so many; `REVERSER_SOAK_SEED` repeats the choices.

mod oracle;
mod users;

use std::{
    env,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::DynamicObject,
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use reverser_testbed::{ControlPlaneOptions, client_for, eventually, rule};
use reverser_tests::{LIMIT, Running, benchmark::Usage, free_port};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use self::{
    oracle::{Away, Verdict, judge},
    users::User,
};
use crate::{
    scene::{Scene, WATCHING, create, object, run},
    soak::{self, Random},
};

#[test]
fn in_a_crowd_each_author_is_the_right_one() {
    run(async {
        let (seed, length) = (soak::seed(), soak::length(Duration::from_secs(15), 5.0));
        let crowd = Crowd::begin("crowd", 2, seed).await;
        let watch = crowd.watch().await;
        let working = crowd.work().await;
        tokio::time::sleep(length).await;
        let verdict = crowd.end(working, watch, &[]).await;
        eprintln!("crowd: REVERSER_SOAK_SEED={seed}, {length:?}: {verdict}");
        assert!(verdict.wrong.is_empty(), "seed {seed}: {verdict}\n{:#?}", verdict.wrong);
        // One of two who replaced or deleted the same version, of whom one was refused, can't be told from the other.
        let commits = (verdict.commits - verdict.unasked) as f64;
        let clear = commits - verdict.ambiguous as f64;
        assert!(
            verdict.commits > 100 && verdict.named as f64 >= clear * 0.999 && verdict.named as f64 >= commits * 0.97,
            "seed {seed}: {verdict}\n{:#?}",
            verdict.unnamed
        );
        // Nearly all of them are judged, not believed.
        assert!(verdict.certain as f64 >= commits * 0.95, "seed {seed}: {verdict}");
        assert!(verdict.peak_mib < MOST_MIB, "seed {seed}: {verdict}");
    });
}

#[test]
fn who_wrote_while_reverser_was_away_is_unknown_and_nobody_is_wrong() {
    run(async {
        let (seed, length) = (soak::seed(), soak::length(Duration::from_secs(15), 5.0));
        let crowd = Crowd::begin("crowd-away", 2, seed).await;
        let mut random = Random::new(seed);
        let mut watch = crowd.watch().await;
        let working = crowd.work().await;
        let (begun, mut away) = (Instant::now(), vec![]);
        while begun.elapsed() < length {
            tokio::time::sleep(random.millis(1_000, 3_000)).await;
            let from = Timestamp::now();
            watch.kill().await;
            tokio::time::sleep(random.millis(50, 1_000)).await;
            watch = crowd.watch().await;
            away.push(Away { from, until: Timestamp::now() });
        }
        let verdict = crowd.end(working, watch, &away).await;
        eprintln!("crowd: REVERSER_SOAK_SEED={seed}, {length:?}, killed {} times: {verdict}", away.len());
        assert!(verdict.wrong.is_empty(), "seed {seed}: {verdict}\n{:#?}", verdict.wrong);
        // Whoever is not named wrote while nobody was there to be told.
        assert!(verdict.unexplained.is_empty(), "seed {seed}: {verdict}\n{:#?}", verdict.unexplained);
        assert!(verdict.named > 100, "seed {seed}: {verdict}");
    });
}

/// `REVERSER_CREATES` says how many; 10,000 take a minute.
#[test]
fn what_two_users_create_while_reverser_is_killed_is_a_commit_each_by_the_right_one_or_by_nobody() {
    run(async {
        let creates = env::var("REVERSER_CREATES").ok().map_or(1_000, |creates| creates.parse().expect("a number"));
        let crowd = Crowd::begin("crowd-burst", 10, soak::seed()).await;
        let watch = crowd.watch().await;
        let mut working = JoinSet::new();
        for number in 1..=2 {
            let (name, kubeconfig) = crowd.user(number).await;
            let client = client_for(&kubeconfig).await.unwrap();
            working.spawn(users::create_many(name, client, crowd.namespaces.clone(), creates / 2));
        }
        eventually("the first commits", LIMIT, async || {
            let commits = crowd.scene.repo.git(&["rev-list", "--count", "--all"]).await.unwrap();
            if commits.parse().is_ok_and(|commits: usize| commits > creates / 10) { Ok(()) } else { Err(commits) }
        })
        .await;
        let from = Timestamp::now();
        watch.kill().await;
        let watch = crowd.watch().await;
        let away = [Away { from, until: Timestamp::now() }];
        let verdict = crowd.end(working, watch, &away).await;
        eprintln!("crowd: {creates} creates: {verdict}");
        assert!(verdict.wrong.is_empty(), "{verdict}\n{:#?}", verdict.wrong);
        assert!(verdict.unexplained.is_empty(), "{verdict}\n{:#?}", verdict.unexplained);
        // Beside the last ones.
        let lasts = users::kinds().len() * crowd.namespaces.len();
        assert_eq!((verdict.commits, verdict.unlogged), (creates + lasts, 0), "{verdict}");
        // All that was there before the kill; how many came while nobody was there is up to the machine.
        assert!(verdict.named > creates / 10 && verdict.certain == verdict.commits, "{verdict}");
    });
}

struct Crowd {
    scene: Scene,
    namespaces: Vec<String>,
    seed: u64,
    port: u16,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    /// Begins in so many namespaces.
    async fn begin(namespace: &str, namespaces: usize, seed: u64) -> Self {
        let options = ControlPlaneOptions {
            // In MB: the oracle reads it as one file.
            api_server_flags: vec!["--audit-log-maxsize=4000".into()],
            ..ControlPlaneOptions::default()
        };
        let scene = Scene::with(namespace, options).await;
        let mut all = vec![namespace.to_owned()];
        for number in 1..namespaces {
            let other = format!("{namespace}-{number}");
            create(&Api::<Namespace>::all(scene.plane.client()), object(json!({"metadata": {"name": other}}))).await;
            all.push(other);
        }
        let crds = Api::<CustomResourceDefinition>::all(scene.plane.client());
        create(&crds, object(widgets())).await;
        await_condition(crds, "widgets.crowd.example.com", is_crd_established()).await.unwrap();
        Self { scene, namespaces: all, seed, port: free_port().unwrap(), stop: Arc::default() }
    }

    /// Starts reverser, and returns once it watches.
    async fn watch(&self) -> Running {
        let (repo, url) = (self.scene.repo.url(), format!("https://127.0.0.1:{}", self.port));
        let kinds = "configmaps,deployments.apps,widgets.crowd.example.com";
        let arguments = ["watch", "--log-format", "json", "--repo", &repo, "-r", kinds];
        let admission = ["--attribution", "admission", "--admission-url", &url];
        let others: Vec<_> = self.namespaces[1..].iter().flat_map(|other| ["--namespace", other]).collect();
        let running = self.scene.home.start(&[&arguments[..], &self.scene.cluster(), &others, &admission].concat());
        running.says(WATCHING).await;
        running
    }

    async fn work(&self) -> JoinSet<()> {
        let mut working = JoinSet::new();
        for number in 0..USERS {
            let (name, kubeconfig) = self.user(number).await;
            let user = User {
                name,
                number,
                client: client_for(&kubeconfig).await.unwrap(),
                namespaces: self.namespaces.clone(),
                random: Random::new(self.seed.wrapping_add(1 + number)),
                stop: Arc::clone(&self.stop),
                made: 0,
            };
            working.spawn(user.work());
        }
        working
    }

    /// Makes a user, every fourth of them a service account; returns its name and its kubeconfig.
    async fn user(&self, number: u64) -> (String, PathBuf) {
        let (plane, name) = (&self.scene.plane, format!("user-{number}"));
        let (name, kubeconfig) = if number.is_multiple_of(4) {
            let account = plane.service_account(&self.scene.namespace, &name).await.unwrap();
            (account.user, account.kubeconfig)
        } else {
            let kubeconfig = plane.user(&name, &[]).unwrap();
            (name, kubeconfig)
        };
        for namespace in &self.namespaces {
            let (configs, deployments) = (&["configmaps"], &["deployments", "deployments/scale"]);
            let widgets = &["widgets", "widgets/scale", "widgets/status"];
            let groups = [("", &configs[..]), ("apps", &deployments[..]), ("crowd.example.com", &widgets[..])];
            let rules = groups.map(|(group, resources)| rule(&["*"], group, resources));
            plane.grant(&name, Some(namespace), rules.into()).await.unwrap();
        }
        (name, kubeconfig)
    }

    /// Waits until all is on the remote, and judges it.
    async fn end(&self, mut working: JoinSet<()>, watch: Running, away: &[Away]) -> Verdict {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(worked) = working.join_next().await {
            worked.unwrap();
        }
        // Each kind in each namespace is a stream of its own.
        let mut lasts = 0;
        for kind in users::kinds() {
            for namespace in &self.namespaces {
                let api = Api::<DynamicObject>::namespaced_with(self.scene.plane.client(), namespace, &kind);
                create(&api, object(users::of(&kind, &json!({"name": "last"}), "last"))).await;
                lasts += 1;
            }
        }
        eventually("the last objects", LIMIT * 5, async || {
            let log = self.scene.repo.log("main").await.unwrap();
            let there = log.iter().filter(|commit| commit.subject().ends_with("/last")).count();
            if there == lasts { Ok(()) } else { Err((there, log.len())) }
        })
        .await;
        let peak = Usage::of(&watch).peak_mib;
        let said = watch.terminate().await.exits_with(0);
        assert!(!said.contains("panicked at"), "{said}");
        let audit = std::fs::read_to_string(self.scene.plane.audit_log().unwrap()).unwrap();
        let log = self.scene.repo.log("main").await.unwrap();
        Verdict { peak_mib: peak, ..judge(&audit, &self.namespaces, &log, away) }
    }
}

fn widgets() -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let scale = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
    json!({"metadata": {"name": "widgets.crowd.example.com"}, "spec": {"group": "crowd.example.com", "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": scale},
            "schema": {"openAPIV3Schema": anything}}]}})
}

const USERS: u64 = 8;

/// What a watch may take, in a build for tests; it is bounded, however long it lasts.
const MOST_MIB: f64 = 200.0;
