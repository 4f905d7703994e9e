//! A crowd: eight users change the same twenty names in two namespaces at the same time, and each commit has the right author, from admission
//! alone. The audit log, which reverser doesn't see, is the oracle.
//!
//! `REVERSER_SOAK=1` makes it five minutes, `REVERSER_SOAK_MINUTES` so many; `REVERSER_SOAK_SEED` repeats the choices.

mod oracle;
mod users;

use std::{
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
        let crowd = Crowd::begin("crowd", seed).await;
        let watch = crowd.watch().await;
        let working = crowd.work().await;
        tokio::time::sleep(length).await;
        let verdict = crowd.end(working, watch, &[]).await;
        eprintln!("crowd: REVERSER_SOAK_SEED={seed}, {length:?}: {verdict}");
        assert!(verdict.wrong.is_empty(), "seed {seed}: {verdict}\n{:#?}", verdict.wrong);
        // One of two who replaced or deleted the same version, of whom one was refused, can't be told from the other.
        let (commits, clear) = (verdict.commits as f64, (verdict.commits - verdict.ambiguous) as f64);
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
        let crowd = Crowd::begin("crowd-away", seed).await;
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

struct Crowd {
    scene: Scene,
    namespaces: Vec<String>,
    seed: u64,
    port: u16,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    async fn begin(namespace: &str, seed: u64) -> Self {
        let options = ControlPlaneOptions {
            // In MB: the oracle reads it as one file.
            api_server_flags: vec!["--audit-log-maxsize=4000".into()],
            ..ControlPlaneOptions::default()
        };
        let scene = Scene::with(namespace, options).await;
        let other = format!("{namespace}-too");
        create(&Api::<Namespace>::all(scene.plane.client()), object(json!({"metadata": {"name": other}}))).await;
        let crds = Api::<CustomResourceDefinition>::all(scene.plane.client());
        create(&crds, object(widgets())).await;
        await_condition(crds, "widgets.crowd.example.com", is_crd_established()).await.unwrap();
        let namespaces = vec![namespace.to_owned(), other];
        Self { scene, namespaces, seed, port: free_port().unwrap(), stop: Arc::default() }
    }

    /// Starts reverser, and returns once it watches.
    async fn watch(&self) -> Running {
        let (repo, url) = (self.scene.repo.url(), format!("https://127.0.0.1:{}", self.port));
        let kinds = "configmaps,deployments.apps,widgets.crowd.example.com";
        let arguments = ["watch", "--log-format", "json", "--repo", &repo, "-r", kinds];
        let admission = ["--namespace", &self.namespaces[1], "--attribution", "admission", "--admission-url", &url];
        let running = self.scene.home.start(&[&arguments[..], &self.scene.cluster(), &admission].concat());
        running.says(WATCHING).await;
        running
    }

    async fn work(&self) -> JoinSet<()> {
        let mut working = JoinSet::new();
        for number in 0..USERS {
            let (name, kubeconfig) = self.user(number).await;
            for namespace in &self.namespaces {
                let (configs, deployments) = (&["configmaps"], &["deployments", "deployments/scale"]);
                let widgets = &["widgets", "widgets/scale", "widgets/status"];
                let groups = [("", &configs[..]), ("apps", &deployments[..]), ("crowd.example.com", &widgets[..])];
                let rules = groups.map(|(group, resources)| rule(&["*"], group, resources));
                self.scene.plane.grant(&name, Some(namespace), rules.into()).await.unwrap();
            }
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
        if number.is_multiple_of(4) {
            let account = plane.service_account(&self.scene.namespace, &name).await.unwrap();
            return (account.user, account.kubeconfig);
        }
        (name.clone(), plane.user(&name, &[]).unwrap())
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
        eventually("the last objects", LIMIT, async || {
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
