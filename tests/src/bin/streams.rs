//! What it takes to watch very many kinds, and how soon another one is noticed, against the limits that were set.
//!
//! ```text
//! this program: defines kinds, creates objects ──► API server ◄── the command, a child ──► a bare repository
//!               counts watches in the API server's metrics, connections and memory in /proc
//! ```
//! `cargo run --release -p reverser-tests --bin streams`. Exits with 1 only when something is missing.

use std::{collections::HashSet, env, fs, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use reverser_testbed::{Audit, BareRepo, ControlPlane, ControlPlaneOptions, eventually, rule};
use reverser_tests::{
    Home, LIMIT, Running,
    benchmark::{Usage, machine, run, say},
};
use serde_json::json;
use tokio::time::Instant;

/// Measures `reverser watch` on a control plane of its own.
#[derive(Debug, Parser)]
struct Args {
    /// How many kinds are defined
    #[arg(long, default_value_t = 200)]
    kinds: usize,
    /// How many objects of each kind there are
    #[arg(long, default_value_t = 5)]
    objects: usize,
    /// How often a kind is defined and removed, to see how soon that is noticed
    #[arg(long, default_value_t = 5)]
    comes: usize,
}

/// Resident memory of the command.
const MEMORY_LIMIT_MIB: f64 = 100.0;

/// From a CRD's being established, or gone, to the commit on the remote.
const NOTICE_LIMIT: Duration = Duration::from_secs(2);

/// How many requests are on their way at the same time.
const CONNECTIONS: usize = 8;

const GROUP: &str = "streams.example.com";

fn main() -> anyhow::Result<ExitCode> {
    run(measure)
}

async fn measure(args: Args) -> anyhow::Result<ExitCode> {
    // Controllers would watch, too.
    let options =
        ControlPlaneOptions { audit: Audit::Off, controller_manager: false, ..ControlPlaneOptions::default() };
    let plane = ControlPlane::start(options).await?;
    say(&machine(&plane).await?)?;
    define(&plane, &args).await?;

    let (home, repo) = (Home::new(env::current_exe()?)?, BareRepo::temporary().await?);
    let begun = Instant::now();
    let url = repo.url();
    let kubeconfig = plane.kubeconfig().to_str().context("the temporary folder's name is not UTF-8")?;
    // All that there is, but for what an empty cluster has anyway: its kinds are watched all the same.
    let selection = [
        "--except",
        "group=rbac.authorization.k8s.io",
        "--only",
        "namespace=default",
        "--only",
        "group=apiextensions.k8s.io",
    ];
    let arguments =
        [&["watch", "--log-format", "json", "--repo", &url, "--kubeconfig", kubeconfig][..], &selection].concat();
    let watcher = home.start(&arguments);
    watcher.says(r#""message":"watching""#).await;
    let took = begun.elapsed();
    let files = args.kinds * args.objects;
    eventually("all files", LIMIT, async || {
        let found = repo.files("main").await.unwrap_or_default().iter().filter(|file| file.starts_with(GROUP)).count();
        if found == files { Ok(()) } else { Err(found) }
    })
    .await;
    say(&format!(
        "{} kinds with {} objects each: watched {:.2} s after the start",
        args.kinds,
        args.objects,
        took.as_secs_f64()
    ))?;
    tell_streams(&plane, &watcher, &args).await?;
    comes_and_goes(&plane, &repo, &watcher, &args, "all may be watched").await?;
    tell_memory(&watcher, args.kinds)?;
    let ended = watcher.terminate().await;
    ensure!(ended.status.success(), "the watcher failed:\n{}", ended.said);

    let (blind, repo) = (blind(&plane).await?, BareRepo::temporary().await?);
    let url = repo.url();
    let arguments =
        ["watch", "--log-format", "json", "--repo", &url, "--kubeconfig", &blind, "--only", &format!("group={GROUP}")];
    let watcher = home.start(&arguments);
    watcher.says(r#""message":"watching""#).await;
    let before = Usage::of(&watcher);
    tokio::time::sleep(QUIET).await;
    let polling = Usage::of(&watcher).since(&before).own;
    say(&format!(
        "without the right to watch CRDs and APIServices: {} ms of CPU in {} s of polling",
        polling.as_millis(),
        QUIET.as_secs()
    ))?;
    comes_and_goes(&plane, &repo, &watcher, &args, "polled").await?;
    let ended = watcher.terminate().await;
    ensure!(ended.status.success(), "the watcher failed:\n{}", ended.said);
    Ok(ExitCode::SUCCESS)
}

/// Long enough for the polling to be seen among what a process does anyway.
const QUIET: Duration = Duration::from_secs(10);

/// Defines all kinds and creates their objects.
async fn define(plane: &ControlPlane, args: &Args) -> anyhow::Result<()> {
    stream::iter(0..args.kinds)
        .map(async |number| {
            let kind = format!("Kind{number:03}");
            define_one(plane, &kind).await?;
            for object in 0..args.objects {
                create_one(plane, &kind, &format!("object-{object}")).await?;
            }
            anyhow::Ok(())
        })
        .buffer_unordered(CONNECTIONS)
        .try_collect::<()>()
        .await
}

async fn define_one(plane: &ControlPlane, kind: &str) -> anyhow::Result<()> {
    let crds = Api::<CustomResourceDefinition>::all(plane.client());
    let plural = format!("{}s", kind.to_lowercase());
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let crd = json!({"metadata": {"name": format!("{plural}.{GROUP}")}, "spec": {"group": GROUP, "scope": "Namespaced",
        "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": anything}}]}});
    crds.create(&PostParams::default(), &serde_json::from_value(crd)?).await?;
    await_condition(crds, &format!("{plural}.{GROUP}"), is_crd_established()).await?;
    Ok(())
}

/// Creates an object as soon as its kind is served.
async fn create_one(plane: &ControlPlane, kind: &str, name: &str) -> anyhow::Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", kind));
    let objects = Api::<DynamicObject>::namespaced_with(plane.client(), "default", &resource);
    let object = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name},
        "spec": {"size": 1, "text": "what somebody wrote"}});
    let object: DynamicObject = serde_json::from_value(object)?;
    eventually("the kind to be served", LIMIT, async || {
        objects.create(&PostParams::default(), &object).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    Ok(())
}

/// Tells how long it takes from a kind's being established until it is watched, from its first object to the file, and from
/// its removal to the file's. (Of a kind that was just established an API server takes objects after two seconds only.)
async fn comes_and_goes(
    plane: &ControlPlane,
    repo: &BareRepo,
    watcher: &Running,
    args: &Args,
    how: &str,
) -> anyhow::Result<()> {
    let crds = Api::<CustomResourceDefinition>::all(plane.client());
    let (mut seen, mut came, mut went) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..args.comes {
        let kind = format!("Comet{number}");
        let plural = format!("comet{number}s");
        define_one(plane, &kind).await?;
        let established = Instant::now();
        watcher.says(&format!("{GROUP}/v1/{plural}")).await;
        seen.push(established.elapsed());
        create_one(plane, &kind, "halley").await?;
        let answered = Instant::now();
        let file = format!("{GROUP}/v1/{plural}/default/halley.yaml");
        wait_for(repo, &file, true).await;
        came.push(answered.elapsed());
        crds.delete(&format!("{plural}.{GROUP}"), &DeleteParams::default()).await?;
        let deleted = Instant::now();
        wait_for(repo, &file, false).await;
        went.push(deleted.elapsed());
    }
    for (what, mut times) in [
        ("a CRD's being established until it is watched", seen),
        ("its first object to the commit", came),
        ("its deletion to the commit of its objects' removal", went),
    ] {
        times.sort_unstable();
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        say(&format!(
            "{how}: from {what}: median {} ms, at most {} ms; most / limit of {} s: {:.2}",
            median.as_millis(),
            most.as_millis(),
            NOTICE_LIMIT.as_secs(),
            most.div_duration_f64(NOTICE_LIMIT)
        ))?;
    }
    Ok(())
}

/// Waits until a file is there, or gone.
async fn wait_for(repo: &BareRepo, file: &str, is_there: bool) {
    eventually(file, LIMIT, async || {
        let files = repo.files("main").await.unwrap_or_default();
        if files.iter().any(|one| one == file) == is_there { Ok(()) } else { Err(files.len()) }
    })
    .await;
}

async fn tell_streams(plane: &ControlPlane, watcher: &Running, args: &Args) -> anyhow::Result<()> {
    let streams = watches(plane).await?;
    // Built-in kinds, CRDs and APIServices are watched besides.
    let connections = connections(watcher, plane).map_or("unknown".into(), |count| count.to_string());
    say(&format!(
        "{streams} streams for {} kinds, {connections} connections; streams / kinds: {:.2}",
        args.kinds,
        streams as f64 / args.kinds as f64
    ))?;
    tell_memory(watcher, args.kinds)
}

/// Returns how many watches of the group the API server has open.
async fn watches(plane: &ControlPlane) -> anyhow::Result<u64> {
    let metrics = plane.client().request_text(http::Request::get("/metrics").body(vec![])?).await?;
    let is_one = |line: &&str| {
        line.starts_with("apiserver_longrunning_requests{")
            && line.contains("verb=\"WATCH\"")
            && line.contains(&format!("group=\"{GROUP}\""))
    };
    let counts = metrics.lines().filter(is_one).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(counts.sum::<f64>() as u64)
}

/// Returns how many connections to the API server the command has, as Linux tells.
fn connections(watcher: &Running, plane: &ControlPlane) -> Option<usize> {
    let folder = format!("/proc/{}", watcher.pid()?);
    let sockets: HashSet<String> = fs::read_dir(format!("{folder}/fd"))
        .ok()?
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let port: u16 = plane.url().rsplit(':').next()?.parse().ok()?;
    let remote = format!(":{port:04X}");
    let table = fs::read_to_string(format!("{folder}/net/tcp")).ok()?;
    // proc(5): the third column is the remote end, the fourth the state (01: established), the tenth the inode.
    let is_ours = |line: &&str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns.len() > 9
            && columns[2].ends_with(&remote)
            && columns[3] == "01"
            && sockets.contains(&format!("socket:[{}]", columns[9]))
    };
    Some(table.lines().filter(is_ours).count())
}

fn tell_memory(watcher: &Running, kinds: usize) -> anyhow::Result<()> {
    let Usage { resident_mib, peak_mib, .. } = Usage::of(watcher);
    say(&format!(
        "memory with {kinds} kinds: {resident_mib:.0} MiB resident, {peak_mib:.0} MiB at most; most / limit of {MEMORY_LIMIT_MIB} MiB: {:.2}",
        peak_mib / MEMORY_LIMIT_MIB
    ))
}

/// Returns the kubeconfig of a user who may watch the group, and neither CRDs nor APIServices.
async fn blind(plane: &ControlPlane) -> anyhow::Result<String> {
    let kubeconfig = plane.user("blind", &[])?;
    plane.grant("blind", None, vec![rule(&["get", "list", "watch"], GROUP, &["*"])]).await?;
    Ok(kubeconfig.to_str().context("the temporary folder's name is not UTF-8")?.to_owned())
}
