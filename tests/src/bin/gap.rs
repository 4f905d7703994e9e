//! How long it takes to recover what happened while nobody watched, after the API server has forgotten it.
//!
//! ```text
//! this program: kills the command, changes ConfigMaps, restarts the API server, starts the command again
//!               looks at what it logs, and at the commits of the bare repository
//! ```
//! `cargo run --release -p reverser-tests --bin gap`. Exits with 1 only when a change is missing or doubled.

use std::{env, process::ExitCode};

use anyhow::{Context, ensure};
use clap::Parser;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use reverser_testbed::{Audit, BareRepo, ControlPlane, ControlPlaneOptions, client_for, eventually};
use reverser_tests::{
    Home, LIMIT, Running,
    benchmark::{Usage, machine, run, say},
};
use serde_json::json;
use tokio::time::Instant;

/// Measures how `reverser watch` recovers from gaps, on a control plane of its own.
#[derive(Debug, Parser)]
struct Args {
    /// How many ConfigMaps there are
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
}

/// What happens in a gap.
#[derive(Clone, Copy)]
struct Gap {
    what: &'static str,
    /// This many objects, from the first on, are changed …
    updated: usize,
    /// … so often.
    times: usize,
    /// This many, from the last on, are deleted.
    deleted: usize,
}

const GAPS: [Gap; 5] = [
    Gap { what: "nothing", updated: 0, times: 0, deleted: 0 },
    Gap { what: "100 objects changed once", updated: 100, times: 1, deleted: 0 },
    Gap { what: "5,000 objects changed once", updated: 5_000, times: 1, deleted: 0 },
    Gap { what: "10 objects changed 500 times", updated: 10, times: 500, deleted: 0 },
    Gap { what: "500 objects deleted", updated: 0, times: 0, deleted: 500 },
];

/// Clients that change objects at the same time.
const CONNECTIONS: usize = 8;

/// So many that no folder is large: what a commit costs is measured elsewhere.
const NAMESPACES: usize = 50;

fn main() -> anyhow::Result<ExitCode> {
    run(measure)
}

async fn measure(args: Args) -> anyhow::Result<ExitCode> {
    let options = ControlPlaneOptions { audit: Audit::Off, controller_manager: false, ..Default::default() };
    let plane = ControlPlane::start(options).await?;
    let repo = BareRepo::temporary().await?;
    say(&format!("{}, {} ConfigMaps", machine(&plane).await?, args.objects))?;
    for namespace in 0..NAMESPACES {
        let object = serde_json::from_value(json!({"metadata": {"name": format!("team-{namespace}")}}))?;
        Api::<Namespace>::all(plane.client()).create(&PostParams::default(), &object).await?;
    }
    at_once(&plane, args.objects, async |client, number| {
        let object = json!({"metadata": {"name": name(number)}, "data": {"key": "value", "name": name(number)}});
        configs(client, number).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    })
    .await?;

    let home = Home::new(env::current_exe()?)?;
    let mut alive = args.objects;
    let mut is_complete = true;
    for gap in GAPS {
        let watcher = start(&home, &plane, &repo)?;
        watcher.says(r#""message":"watching""#).await;
        // Pushes what there is.
        watcher.terminate().await.exits_with(0);
        let before = commits(&repo).await?;
        at_once(&plane, gap.updated * gap.times, async |client, turn| {
            let (number, value) = (turn % gap.updated, json!({"data": {"key": turn.to_string()}}));
            configs(client, number).patch(&name(number), &PatchParams::default(), &Patch::Merge(value)).await?;
            Ok(())
        })
        .await?;
        alive -= gap.deleted;
        at_once(&plane, gap.deleted, async |client, turn| {
            configs(client, alive + turn).delete(&name(alive + turn), &DeleteParams::default()).await?;
            Ok(())
        })
        .await?;
        plane.restart_api_server().await?;
        is_complete &= recover(&home, &plane, &repo, gap, before).await?;
    }
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the command and tells how long it took; returns whether each change is one commit.
async fn recover(home: &Home, plane: &ControlPlane, repo: &BareRepo, gap: Gap, before: usize) -> anyhow::Result<bool> {
    let changes = gap.updated * gap.times + gap.deleted;
    let begun = Instant::now();
    let watcher = start(home, plane, repo)?;
    watcher.says(if changes == 0 { "nothing missed" } else { "history recovered" }).await;
    let known = begun.elapsed();
    let made = eventually("the commits on the remote", LIMIT, async || match commits(repo).await {
        Ok(commits) if commits - before >= changes => Ok(commits - before),
        other => Err(other),
    })
    .await;
    let pushed = begun.elapsed();
    let memory = Usage::of(&watcher).peak_mib;
    let ended = watcher.terminate().await;
    ensure!(ended.status.success(), "the watcher failed:\n{}", ended.said);
    let parts = ended.said.matches("history recovered").count();
    say(&format!(
        "{}: known {:.2} s after the start ({parts} parts), {made} commits on the remote after {:.2} s; {memory:.0} MiB at most",
        gap.what,
        known.as_secs_f64(),
        pushed.as_secs_f64(),
    ))?;
    Ok(commits(repo).await? == before + changes)
}

fn start(home: &Home, plane: &ControlPlane, repo: &BareRepo) -> anyhow::Result<Running> {
    let kubeconfig = plane.kubeconfig().to_str().context("the temporary folder's name is not UTF-8")?;
    let url = repo.url();
    let mut command = home.command(&[
        "watch",
        "--log-format",
        "json",
        "--repo",
        &url,
        "--kubeconfig",
        kubeconfig,
        "-r",
        "configmaps",
    ]);
    command.env("RUST_LOG", "warn,kube_client=off,reverser_k8s=debug");
    Ok(Running::spawn(command))
}

/// Does something for each number, over several connections.
async fn at_once(
    plane: &ControlPlane,
    count: usize,
    act: impl AsyncFn(&Client, usize) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(client_for(plane.kubeconfig()).await?);
    }
    let act = &act;
    let parts = clients.iter().enumerate().map(async |(part, client)| {
        for number in (part..count).step_by(CONNECTIONS) {
            act(client, number).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(parts).await.map(drop)
}

fn name(number: usize) -> String {
    format!("config-{number}")
}

/// Returns those of the namespace in which this ConfigMap is.
fn configs(client: &Client, number: usize) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), &format!("team-{}", number % NAMESPACES))
}

async fn commits(repo: &BareRepo) -> anyhow::Result<usize> {
    Ok(repo.git(&["rev-list", "--count", "main"]).await?.trim().parse()?)
}
