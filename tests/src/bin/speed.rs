//! How long it takes from the API's answer to the commit on the remote, against the limits that were set.
//!
//! ```text
//! this program: creates ConfigMaps ──► API server ──► the command, a child ──► git over HTTP ──► a bare repository
//!               looks at refs/heads/main every millisecond ◄─────────────────────────────────────────┘
//! ```
//! `cargo run --release -p reverser-tests --bin speed`. Exits with 1 only when something is missing.

use std::{
    collections::HashSet,
    env, fs,
    io::{Write, stdout},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Parser;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use reverser_testbed::{Audit, BareRepo, ControlPlane, ControlPlaneOptions, GitHttp, client_for};
use reverser_tests::{Home, LIMIT, Running};
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

/// Measures `reverser watch` on a control plane and an HTTP remote of its own.
#[derive(Debug, Parser)]
struct Args {
    /// How many changes are made, one a second
    #[arg(long, default_value_t = 30)]
    changes: usize,
    /// How many ConfigMaps are created as fast as the API takes them
    #[arg(long, default_value_t = 1_000)]
    creates: usize,
}

/// The median from the API's answer to the commit on the remote, at one change a second.
const CHANGE_LIMIT: Duration = Duration::from_millis(300);

/// From the API's last answer of a burst to the last commit on the remote.
const BURST_LIMIT: Duration = Duration::from_secs(5);

/// How many clients create at the same time: with more the API server takes no more.
const CONNECTIONS: usize = 8;

fn main() -> anyhow::Result<ExitCode> {
    // This program is the command, too: what is measured runs in a process of its own, and is never an old build.
    if env::args().nth(1).as_deref() == Some("watch") {
        return Ok(reverser_bin::main());
    }
    let args = Args::parse();
    tokio::runtime::Runtime::new()?.block_on(measure(args))
}

async fn measure(args: Args) -> anyhow::Result<ExitCode> {
    let options = ControlPlaneOptions { audit: Audit::Off, ..ControlPlaneOptions::default() };
    let plane = ControlPlane::start(options).await?;
    let server = GitHttp::start().await?;
    let repo = server.create("speed.git").await?;
    let cores = std::thread::available_parallelism()?;
    let build = if cfg!(debug_assertions) { "debug build: no measure of anything" } else { "release build" };
    say(&format!("{cores} cores, Kubernetes {}, {build}", plane.version().await?))?;

    let home = Home::new(env::current_exe()?)?;
    let kubeconfig = plane.kubeconfig().to_str().context("the temporary folder's name is not UTF-8")?;
    let watcher =
        home.start(&["watch", "--log-format", "json", "--repo", &server.url("speed.git"), "--kubeconfig", kubeconfig]);
    watcher.says(r#""message":"watching""#).await;

    let tips = Tips::follow(repo.path());
    let one_by_one = one_by_one(&plane, &repo, &tips, args.changes).await?;
    let burst = burst(&plane, &repo, &tips, args.creates).await?;
    tell_memory(&watcher)?;
    let ended = watcher.terminate().await;
    ensure!(ended.status.success(), "the watcher failed:\n{}", ended.said);

    let is_complete = one_by_one && burst;
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes a change a second; returns whether each became a commit.
async fn one_by_one(plane: &ControlPlane, repo: &BareRepo, tips: &Tips, changes: usize) -> anyhow::Result<bool> {
    let configs = Api::<ConfigMap>::namespaced(plane.client(), "default");
    let mut seconds = interval(Duration::from_secs(1));
    let mut took = Vec::new();
    for number in 0..changes {
        seconds.tick().await;
        let (seen, name) = (tips.count(), format!("one-{number}"));
        configs.create(&PostParams::default(), &config_map(&name)?).await?;
        let answered = Instant::now();
        let landed = tips.first(seen, async |tip| Ok(missing(repo, tip, &[path(&name)].into()).await? == 0)).await?;
        took.extend(landed.map(|landed| landed.saturating_duration_since(answered)));
    }
    took.sort_unstable();
    let missing = changes - took.len();
    let percentile =
        |percent: usize| took.get((took.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(LIMIT);
    let (median, p99) = (percentile(50), percentile(99));
    say(&format!(
        "one change a second, {changes} changes: p50 {} ms, p99 {} ms, {missing} missing; p50 / limit of {} ms: {:.2}",
        median.as_millis(),
        p99.as_millis(),
        CHANGE_LIMIT.as_millis(),
        median.div_duration_f64(CHANGE_LIMIT),
    ))?;
    Ok(missing == 0)
}

/// Creates as fast as the API takes it; returns whether each became a commit.
async fn burst(plane: &ControlPlane, repo: &BareRepo, tips: &Tips, creates: usize) -> anyhow::Result<bool> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Api::<ConfigMap>::namespaced(client_for(plane.kubeconfig()).await?, "default"));
    }
    let (seen, begun) = (tips.count(), Instant::now());
    let parts = clients.iter().enumerate().map(async |(part, configs)| {
        for number in (part..creates).step_by(CONNECTIONS) {
            configs.create(&PostParams::default(), &config_map(&format!("burst-{number}"))?).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(parts).await?;
    let answered = Instant::now();
    let wanted: HashSet<_> = (0..creates).map(|number| path(&format!("burst-{number}"))).collect();
    let last = tips.first(seen, async |tip| Ok(missing(repo, tip, &wanted).await? == 0)).await?;
    let missing = missing(repo, "main", &wanted).await?;
    let commits = repo.log("main").await?;
    let commits = commits.iter().filter(|commit| commit.subject().starts_with("[CREATE] v1/configmaps/burst-")).count();
    let lag = last.map_or(LIMIT, |last| last.saturating_duration_since(answered));
    say(&format!(
        "{creates} creates in {:.2} s over {CONNECTIONS} connections: on the remote {:.2} s after the last answer, \
         {missing} missing, {commits} commits; lag / limit of {} s: {:.2}",
        (answered - begun).as_secs_f64(),
        lag.as_secs_f64(),
        BURST_LIMIT.as_secs(),
        lag.div_duration_f64(BURST_LIMIT),
    ))?;
    Ok(missing == 0 && commits == creates)
}

/// Where the remote's branch was, and since when.
struct Tips {
    seen: watch::Receiver<Vec<(Instant, String)>>,
    poll: JoinHandle<()>,
}

impl Tips {
    /// Looks at the ref's file every millisecond: a push changes nothing else that can be seen so cheaply.
    fn follow(repo: &Path) -> Self {
        let file = repo.join("refs/heads/main");
        let (sender, seen) = watch::channel(Vec::<(Instant, String)>::new());
        let poll = tokio::spawn(async move {
            let mut poll = interval(Duration::from_millis(1));
            poll.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                poll.tick().await;
                // There is none before the first push.
                let Ok(tip) = fs::read_to_string(&file) else { continue };
                let tip = tip.trim_end();
                sender.send_if_modified(|tips| {
                    let is_new = tips.last().is_none_or(|(_, last)| last != tip);
                    if is_new {
                        tips.push((Instant::now(), tip.to_owned()));
                    }
                    is_new
                });
            }
        });
        Self { seen, poll }
    }

    /// Returns how many tips were seen.
    fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Returns since when the branch is at the first tip, from the `from`th on, of which this holds; `None` when it comes to
    /// none in time.
    async fn first(
        &self,
        from: usize,
        holds: impl AsyncFn(&str) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Option<Instant>> {
        let mut seen = self.seen.clone();
        for number in from.. {
            let Ok(tips) = timeout(LIMIT, seen.wait_for(|tips| tips.len() > number)).await else { return Ok(None) };
            let (when, tip) = tips?[number].clone();
            if holds(&tip).await? {
                return Ok(Some(when));
            }
        }
        Ok(None)
    }
}

impl Drop for Tips {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

/// Returns how many of the files aren't in a commit.
async fn missing(repo: &BareRepo, commit: &str, wanted: &HashSet<String>) -> anyhow::Result<usize> {
    let files = repo.git(&["ls-tree", "-r", "--name-only", commit]).await?;
    Ok(wanted.len() - files.lines().filter(|file| wanted.contains(*file)).count())
}

/// Returns where a ConfigMap's file is.
fn path(name: &str) -> String {
    format!("v1/configmaps/default/{name}.yaml")
}

/// What Linux says of the watcher's memory; nothing elsewhere.
fn tell_memory(watcher: &Running) -> anyhow::Result<()> {
    let Some(pid) = watcher.pid() else { return Ok(()) };
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return Ok(()) };
    let mib = |name: &str| {
        let kib =
            status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or(0) / 1024
    };
    say(&format!("the watcher: {} MiB resident, {} MiB at most", mib("VmRSS:"), mib("VmHWM:")))
}

fn config_map(name: &str) -> anyhow::Result<ConfigMap> {
    let labels = json!({"app": name, "team": "speed"});
    let object = json!({"metadata": {"name": name, "labels": labels}, "data": {"key": "value", "name": name}});
    Ok(serde_json::from_value(object)?)
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(stdout(), "{line}")?)
}
