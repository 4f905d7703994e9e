//! What the command answers to those who watch over it.

use k8s_openapi::api::core::v1::ConfigMap;
use reverser_testbed::{GitHttp, Outage, eventually};
use reverser_tests::{LIMIT, Running};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::scene::{Scene, config_map, create, patch, run};

/// Where a command answers.
pub(crate) struct Endpoint(String);

impl Endpoint {
    /// Of a command with `--metrics-listen 0`, once it has said where.
    pub(crate) async fn of(watch: &Running) -> Self {
        let begin = "metrics at http://";
        watch.says(begin).await;
        let said = watch.said();
        let (_, rest) = said.split_once(begin).unwrap();
        Self(rest.split_once("/metrics").unwrap().0.to_owned())
    }

    /// Returns the whole answer.
    pub(crate) async fn get(&self, path: &str) -> String {
        let answer = async {
            let mut stream = TcpStream::connect(&self.0).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.0).as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        timeout(LIMIT, answer).await.unwrap()
    }

    /// Waits until a series has such a value.
    pub(crate) async fn has(&self, series: &str, is_it: impl Fn(Option<f64>) -> bool) {
        eventually(series, LIMIT, async || {
            let text = self.get("/metrics").await;
            let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
            if is_it(value) { Ok(()) } else { Err((value, text)) }
        })
        .await;
    }
}

#[test]
fn metrics_tell_what_is_recorded_and_what_is_not_pushed() {
    run(async {
        let scene = Scene::shared("measured").await;
        let server = GitHttp::start().await.unwrap();
        server.create("team.git").await.unwrap();
        let watch = scene.watch_into(&server.url("team.git"), &["-r", "cm", "--metrics-listen", "0"]).await;
        let endpoint = Endpoint::of(&watch).await;
        assert!(endpoint.get("/healthz").await.starts_with("HTTP/1.1 200 OK"));
        assert!(endpoint.get("/readyz").await.starts_with("HTTP/1.1 200 OK"));
        create(&scene.api(), config_map("web", "1")).await;
        for (series, is_it) in [
            (r#"reverser_changes_total{operation="create",evidence="unknown"}"#, 1.0),
            (r#"reverser_commits_total{kind="change"}"#, 1.0),
            ("reverser_commit_latency_seconds_count", 1.0),
            ("reverser_pushes_total", 1.0),
            ("reverser_push_latency_seconds_count", 1.0),
            ("reverser_sources", 1.0),
            ("reverser_ready", 1.0),
            ("reverser_unpushed_commits", 0.0),
            ("reverser_push_failures_total", 0.0),
            ("reverser_queue_bytes", 0.0),
            ("reverser_queue_limit_bytes", (64 << 20) as f64),
        ] {
            endpoint.has(series, |value| value == Some(is_it)).await;
        }
        endpoint.has("reverser_last_push_age_seconds", |age| age.is_some_and(|age| age < 60.0)).await;
        server.fail(Some(Outage::Unavailable));
        patch(&scene.api::<ConfigMap>(), "web", json!({"data": {"key": "2"}})).await;
        endpoint.has("reverser_push_failures_total", |failures| failures >= Some(1.0)).await;
        endpoint.has("reverser_unpushed_commits", |commits| commits == Some(1.0)).await;
        endpoint.has("reverser_unpushed_bytes", |bytes| bytes > Some(0.0)).await;
        endpoint.has("reverser_unpushed_age_seconds", |age| age > Some(0.0)).await;
        server.fail(None);
        endpoint.has("reverser_unpushed_commits", |commits| commits == Some(0.0)).await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn an_address_that_is_taken_is_an_error_at_the_start() {
    run(async {
        let scene = Scene::shared("taken").await;
        let watch = scene.watch(&["-r", "cm", "--metrics-listen", "0"]).await;
        let Endpoint(address) = Endpoint::of(&watch).await;
        let repo = scene.repo.url();
        let again = [&["watch", "--repo", &repo, "--metrics-listen", &address][..], &scene.cluster()].concat();
        let said = scene.home.run(&again).await.exits_with(1);
        let expected =
            format!("--metrics-listen: could not listen at {address}: another process does; choose another port");
        assert!(said.contains(&expected), "{said}");
        // A port alone is for this machine.
        assert!(address.starts_with("127.0.0.1:"), "{address}");
    });
}
