//! A crowd: eight users change the same fifty objects at the same time, and each commit has the right author, from admission
//! alone. The audit log, which reverser doesn't see, is the oracle.
//!
//! `REVERSER_SOAK=1` makes it five minutes, `REVERSER_SOAK_MINUTES` so many; `REVERSER_SOAK_SEED` repeats the choices.

mod oracle;
mod users;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use reverser_testbed::{ControlPlaneOptions, client_for, eventually, rule};
use reverser_tests::{LIMIT, Running, free_port};
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use self::{
    oracle::{Away, Verdict, judge},
    users::User,
};
use crate::{
    scene::{Scene, WATCHING, config_map, create, patch, run},
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
        assert!(
            verdict.commits > 100 && verdict.named_share() >= 0.999,
            "seed {seed}: {verdict}\n{:#?}",
            verdict.unnamed
        );
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
    seed: u64,
    port: u16,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    async fn begin(namespace: &str, seed: u64) -> Self {
        let options = ControlPlaneOptions {
            // In MB: the oracle reads it as one file.
            api_server_flags: vec!["--audit-log-maxsize=4000".into()],
            controller_manager: false,
            ..ControlPlaneOptions::default()
        };
        let scene = Scene::with(namespace, options).await;
        Self { scene, seed, port: free_port().unwrap(), stop: Arc::default() }
    }

    /// Starts reverser, and returns once it watches.
    async fn watch(&self) -> Running {
        let (repo, url) = (self.scene.repo.url(), format!("https://127.0.0.1:{}", self.port));
        let arguments = ["watch", "--log-format", "json", "--repo", &repo, "-r", "configmaps,deployments.apps"];
        let admission = ["--attribution", "admission", "--admission-url", &url];
        let running = self.scene.home.start(&[&arguments[..], &self.scene.cluster(), &admission].concat());
        running.says(WATCHING).await;
        running
    }

    async fn work(&self) -> JoinSet<()> {
        let mut working = JoinSet::new();
        for number in 0..USERS {
            let name = format!("user-{number}");
            let kubeconfig = self.scene.plane.user(&name, &[]).unwrap();
            let rules =
                vec![rule(&["*"], "", &["configmaps"]), rule(&["*"], "apps", &["deployments", "deployments/scale"])];
            self.scene.plane.grant(&name, Some(&self.scene.namespace), rules).await.unwrap();
            let client = client_for(&kubeconfig).await.unwrap();
            let random = Random::new(self.seed.wrapping_add(1 + number));
            working.spawn(User::new(name, client, &self.scene.namespace, random, Arc::clone(&self.stop)).work());
        }
        working
    }

    /// Waits until all is on the remote, and judges it.
    async fn end(&self, mut working: JoinSet<()>, watch: Running, away: &[Away]) -> Verdict {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(worked) = working.join_next().await {
            worked.unwrap();
        }
        let configs = self.scene.api::<ConfigMap>();
        create(&configs, config_map("last", "1")).await;
        patch(&configs, "last", json!({"data": {"key": "2"}})).await;
        eventually("the last change", LIMIT, async || {
            let log = self.scene.repo.log("main").await.unwrap();
            let is_there = log.iter().any(|commit| commit.subject() == "[UPDATE] v1/configmaps/last");
            if is_there { Ok(()) } else { Err(log.len()) }
        })
        .await;
        // Deployments are another stream.
        eventually("all deployments", LIMIT, async || self.deployments_are_there().await).await;
        let said = watch.terminate().await.exits_with(0);
        assert!(!said.contains("panicked at"), "{said}");
        let audit = std::fs::read_to_string(self.scene.plane.audit_log().unwrap()).unwrap();
        judge(&audit, &self.scene.namespace, &self.scene.repo.log("main").await.unwrap(), away)
    }

    async fn deployments_are_there(&self) -> Result<(), String> {
        let listed =
            self.scene.api::<k8s_openapi::api::apps::v1::Deployment>().list(&Default::default()).await.unwrap();
        let log = self.scene.repo.log("main").await.unwrap();
        for deployment in listed {
            let (name, version) = (deployment.metadata.name.unwrap(), deployment.metadata.resource_version.unwrap());
            let trailer = format!("Reverser-Resource-Version: {version}");
            if !log.iter().any(|commit| commit.message.contains(&trailer)) {
                return Err(format!("{name} at {version} has no commit"));
            }
        }
        Ok(())
    }
}

const USERS: u64 = 8;
