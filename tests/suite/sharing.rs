//! Several targets on one cluster: one watch of each resource, and each target as if it were alone.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::Client;
use reverser_core::{Pipeline, Sanitizer, Selector};
use reverser_git::{Credentials, GitSink, GitWriter};
use reverser_k8s::{Cluster, Reverser, Source};
use reverser_testbed::{BareRepo, GitHttp, Outage, eventually};
use reverser_tests::LIMIT;
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::scene::{Scene, assert_subjects, config_map, create, delete, history, object, patch, run, subjects};

#[test]
fn targets_share_one_watch_of_each_resource_and_each_records_its_own_part() {
    run(async {
        let scene = Scene::unwatched("shared").await;
        let before = Watches::of(&scene).await;
        let cluster = connect(&scene).await;
        let repos = [bare().await, bare().await, bare().await];
        let pipelines = [everything(), labelled("app=web"), minimal_config_maps()];
        let mut targets = vec![];
        for (number, (repo, pipeline)) in repos.iter().zip(pipelines).enumerate() {
            targets.push(Target::start(&scene, &cluster, &format!("t{number}"), &repo.url(), pipeline).await);
        }
        let configs = scene.api::<ConfigMap>();
        create(&configs, labelled_config_map("web", "web")).await;
        create(&configs, labelled_config_map("api", "api")).await;
        create(&scene.api::<ServiceAccount>(), object(json!({"metadata": {"name": "robot"}}))).await;
        patch(&configs, "web", json!({"data": {"key": "2"}})).await;
        delete(&configs, "api").await;

        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let web = ["[CREATE] v1/configmaps/web", "[UPDATE] v1/configmaps/web"];
        let api = ["[CREATE] v1/configmaps/api", "[DELETE] v1/configmaps/api"];
        let all = [web[0], api[0], "[CREATE] v1/serviceaccounts/robot", web[1], api[1]];
        for (repo, expected) in repos.iter().zip([of(&all), of(&web), of(&[web[0], api[0], web[1], api[1]])]) {
            has(repo, &expected).await;
        }
        eventually("one watch of each resource", LIMIT, async || {
            let more = Watches::of(&scene).await.than(&before);
            let is_one =
                ["configmaps", "serviceaccounts", "customresourcedefinitions"].map(|name| more.get(name) == Some(&1));
            if is_one == [true; 3] && more.values().all(|count| *count == 1) { Ok(()) } else { Err(more) }
        })
        .await;

        // The last one closes what nobody else needs.
        let third = targets.pop().unwrap();
        for target in targets {
            target.stop().await;
        }
        eventually("the watches of the last", LIMIT, async || {
            let more = Watches::of(&scene).await.than(&before);
            let configs_and_hints: BTreeMap<_, _> =
                ["apiservices", "configmaps", "customresourcedefinitions"].map(|name| (name.to_owned(), 1)).into();
            if more == configs_and_hints { Ok(()) } else { Err(more) }
        })
        .await;
        create(&configs, config_map("last", "1")).await;
        eventually("the last commit", LIMIT, async || {
            let log = repos[2].log("main").await.unwrap();
            if subjects(&log).last() == Some("[CREATE] v1/configmaps/last") { Ok(()) } else { Err(log) }
        })
        .await;
        third.stop().await;
    });
}

#[test]
fn one_whose_git_is_away_holds_up_no_other_and_gets_each_change_once() {
    run(async {
        const LARGE: usize = 60;
        let scene = Scene::unwatched("slow").await;
        let server = GitHttp::start().await.unwrap();
        let (stuck, other) = (server.create("stuck.git").await.unwrap(), bare().await);
        let cluster = connect(&scene).await;
        let slow = Target::start(&scene, &cluster, "slow", &server.url("stuck.git"), minimal_config_maps()).await;
        let quick = Target::start(&scene, &cluster, "quick", &other.url(), minimal_config_maps()).await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("first", "1")).await;
        history(&stuck, 1).await;

        server.fail(Some(Outage::Unavailable));
        // Far more than what may wait: in Git, in the queue before it, and in the seat before that.
        for number in 0..LARGE {
            create(&configs, config_map(&format!("large-{number}"), &noise(number, 50_000))).await;
        }
        let log = history(&other, 1 + LARGE).await;
        assert_eq!(log.len(), 1 + LARGE);
        assert_eq!(stuck.log("main").await.unwrap().len(), 1);
        let (behind, ahead) = (slow.position().await, quick.position().await);
        assert!(behind < ahead, "{behind} {ahead}");

        server.fail(None);
        for repo in [&stuck, &other] {
            let expected: Vec<_> = std::iter::once("first".to_owned())
                .chain((0..LARGE).map(|number| format!("large-{number}")))
                .map(|name| format!("[CREATE] v1/configmaps/{name}"))
                .collect();
            has(repo, &expected).await;
        }
        // And it is live again.
        create(&configs, config_map("after", "1")).await;
        for repo in [&stuck, &other] {
            assert_subjects(&history(repo, 2 + LARGE).await[1 + LARGE..], &["[CREATE] v1/configmaps/after"]);
        }
        slow.stop().await;
        quick.stop().await;
    });
}

#[test]
fn targets_that_stopped_at_different_times_each_go_on_where_they_stopped() {
    run(async {
        let scene = Scene::unwatched("restarted").await;
        let before = Watches::of(&scene).await;
        let repos = [bare().await, bare().await, bare().await];
        let configs = scene.api::<ConfigMap>();
        let start = async |cluster: &Cluster, number: usize| {
            let name = format!("t{number}");
            Target::start(&scene, cluster, &name, &repos[number].url(), minimal_config_maps()).await
        };
        let write = async |value: usize| {
            if value == 0 {
                create(&configs, config_map("web", "0")).await;
            } else {
                patch(&configs, "web", json!({"data": {"key": value.to_string()}})).await;
            }
        };
        // After each write one of them stops.
        let cluster = connect(&scene).await;
        let mut targets = vec![];
        for number in 0..2 {
            targets.push(start(&cluster, number).await);
        }
        for (value, target) in targets.into_iter().enumerate() {
            write(value).await;
            for repo in &repos[value..2] {
                history(repo, value + 1).await;
            }
            target.stop().await;
        }
        write(2).await;
        // The later first, then the earlier; and one that was never there, which lists.
        let cluster = connect(&scene).await;
        let mut targets = vec![];
        for number in [1, 0, 2] {
            targets.push(start(&cluster, number).await);
        }
        write(3).await;
        let updates = ["[CREATE] v1/configmaps/web"].into_iter().chain(["[UPDATE] v1/configmaps/web"; 3]);
        let expected: Vec<_> = updates.map(str::to_owned).collect();
        has(&repos[0], &expected).await;
        has(&repos[1], &expected).await;
        has(&repos[2], &["[SYNC] 1 objects".replace("objects", "object"), expected[1].clone()]).await;
        for repo in &repos {
            let file = repo.read("main", "v1/configmaps/restarted/web.yaml").await.unwrap();
            assert!(file.contains("key: \"3\""), "{file}");
        }
        eventually("one watch", LIMIT, async || {
            let more = Watches::of(&scene).await.than(&before);
            if more.get("configmaps") == Some(&1) { Ok(()) } else { Err(more) }
        })
        .await;
        for target in targets {
            target.stop().await;
        }
    });
}

/// A repository that a cluster is recorded into, in this process.
struct Target {
    git: GitWriter,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), reverser_git::SinkError>>,
}

impl Target {
    /// Starts to record; returns once it has caught up with what was there.
    async fn start(scene: &Scene, cluster: &Cluster, name: &str, repo: &str, pipeline: Pipeline) -> Self {
        let cluster = cluster.target(name);
        let state: PathBuf = scene.home.path().join("state").join(name);
        // What waits for the remote is bounded, so that a remote that is away is felt.
        let git = GitWriter::open(repo.parse().unwrap(), Credentials::FromGit).state_dir(state).unpushed_bytes(200_000);
        let git = git.start().await.unwrap();
        let watches = cluster.resume(&pipeline, &git).await.unwrap();
        let sources = watches.into_iter().map(|watch| Box::new(watch) as Box<dyn Source>).collect::<Vec<_>>();
        let reverser = Reverser::new(git.clone()).pipeline(pipeline).queue_bytes(200_000).build();
        let (arrive, arrivals) = mpsc::channel(8);
        let (stop, stopped) = oneshot::channel::<()>();
        let sink: Arc<dyn GitSink> = Arc::new(git.clone());
        let ids: Vec<_> = sources.iter().map(|source| source.id().to_owned()).collect();
        let run = tokio::spawn(async move {
            let discovery = cluster.follow(Arc::clone(reverser.pipeline()), sink, arrive);
            let run = reverser.run(sources, arrivals, async {
                let _dropped = stopped.await;
            });
            tokio::select! {
                recorded = run => recorded,
                () = discovery => unreachable!("it follows until nobody listens"),
            }
        });
        eventually("a position of each watch", LIMIT, async || {
            let cursors = git.cursors().await.unwrap();
            let missing: Vec<_> = ids.iter().filter(|id| !cursors.contains_key(*id)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
        })
        .await;
        Self { git, stop, run }
    }

    /// Returns up to which version all is committed.
    async fn position(&self) -> u64 {
        let cursors = self.git.cursors().await.unwrap();
        cursors.values().filter_map(|cursor| cursor.parse().ok()).max().unwrap_or(0)
    }

    async fn stop(self) {
        drop(self.stop);
        timeout(LIMIT, self.run).await.unwrap().unwrap().unwrap();
        self.git.close(Duration::from_secs(20)).await.unwrap();
    }
}

async fn connect(scene: &Scene) -> Cluster {
    let client: Client = scene.plane.client();
    Cluster::connect(client, &scene.plane.url(), "none").await.unwrap()
}

async fn bare() -> BareRepo {
    BareRepo::temporary().await.unwrap()
}

fn everything() -> Pipeline {
    let selector = Selector { except: vec!["namespace=kube-*".parse().unwrap()], ..of_the_test() };
    Pipeline { selector, ..Pipeline::default() }
}

fn labelled(labels: &str) -> Pipeline {
    Pipeline { selector: Selector { labels: labels.parse().unwrap(), ..Selector::default() }, ..Pipeline::default() }
}

fn minimal_config_maps() -> Pipeline {
    let resources = [(String::new(), "configmaps".to_owned())].into();
    let selector = Selector { resources, ..of_the_test() };
    Pipeline { selector, sanitizer: Sanitizer::minimal(), ..Pipeline::default() }
}

/// What the test makes, and nothing that is there anyway. Everywhere, so that watches are those of the whole cluster.
fn of_the_test() -> Selector {
    let only = ["shared", "slow", "restarted"].map(|namespace| format!("namespace={namespace}").parse().unwrap());
    Selector { only: only.into(), ..Selector::default() }
}

fn labelled_config_map(name: &str, app: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name, "labels": {"app": app}}, "data": {"key": "1"}}))
}

/// Returns text that doesn't compress.
fn noise(seed: usize, length: usize) -> String {
    let mut state = seed as u64 + 1;
    let next = move || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap())
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Waits until the branch has exactly these subjects; changes of different resources may change places.
async fn has(repo: &BareRepo, expected: &[String]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let log = history(repo, expected.len()).await;
    let mut seen: Vec<_> = subjects(&log).map(str::to_owned).collect();
    seen.sort_unstable();
    assert_eq!(seen, expected);
}

/// How many watches an API server has open, by resource.
struct Watches(BTreeMap<String, u64>);

impl Watches {
    async fn of(scene: &Scene) -> Self {
        let request = http::Request::get("/metrics").body(vec![]).unwrap();
        let metrics = scene.plane.client().request_text(request).await.unwrap();
        let mut open = BTreeMap::new();
        for line in metrics.lines().filter(|line| line.starts_with("apiserver_longrunning_requests{")) {
            let label =
                |name: &str| line.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
            if label("verb") == Some("WATCH")
                && let (Some(resource), Some(count)) = (label("resource"), count)
            {
                // Whole numbers.
                *open.entry(resource.to_owned()).or_default() += count as u64;
            }
        }
        Self(open)
    }

    /// Returns what there is beyond these.
    fn than(self, before: &Self) -> BTreeMap<String, u64> {
        let more = |(name, count): (String, u64)| (count.saturating_sub(*before.0.get(&name).unwrap_or(&0)), name);
        self.0.into_iter().map(more).filter(|(more, _)| *more > 0).map(|(more, name)| (name, more)).collect()
    }
}
