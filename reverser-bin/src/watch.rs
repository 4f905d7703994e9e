//! `reverser watch`: sources of one cluster, joined to one branch.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, anyhow};
use reverser_git::GitSink;
use reverser_k8s::{Reverser, Source};
use tokio::sync::mpsc;

use crate::{
    Usage,
    args::WatchArgs,
    attribution::{Attribution, Registering},
    connect::{choose, connect, resolved},
    identity::Named,
    output::{Counter, Output, Teller},
    repository,
    telemetry::Telemetry,
};

/// How many resources that come up wait to be watched; discovery waits when there are more.
const ARRIVALS: usize = 64;

pub(crate) async fn run(args: WatchArgs) -> anyhow::Result<ExitCode> {
    let output = Output::start(args.output);
    let code = watch(args, &output, repository::stopped()).await;
    output.finish();
    code
}

/// Watches until `shutdown`.
pub(crate) async fn watch(
    args: WatchArgs,
    output: &Output,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    let mut coalescing = args.coalesce.coalescing();
    let feeds = args.attribution.feeds()?;
    if !coalescing.interval.is_zero() && feeds.is_empty() {
        return Err(Usage(
            "--coalesce needs --attribution: without it nobody knows which changes a service account made".into(),
        )
        .into());
    }
    args.select.filters.check_users(!feeds.is_empty())?;
    // Before all else, so that whoever starts this can ask how far it is.
    let mut telemetry = Telemetry::start(args.listen, output).await?;
    // The cluster comes first: no repository is made for one that can't be reached.
    let mut connected = connect(&args.cluster, &args.select, &args.clean, &args.repo.place.files).await?;
    connected.pipeline.message = repository::message(&args.repo.place)?;
    let named = Named::open(args.identity, Some(connected.client.clone()), output).await?;
    connected.pipeline.identities = named.identities.clone();
    coalescing.only = resolved("--coalesce-only", &coalescing.only, connected.cluster.catalog())?;
    let choice = choose(&connected)?;
    let registering = feeds.admission.as_ref().map(|feed| Registering::new(&connected.client, feed, &args.repo));
    let attribution = Attribution::begin(feeds, registering).await?;
    attribution.tell_unasked(&connected, output);
    let git = repository::open(&args.repo.repo, &args.repo.place, output).await?;
    let (repo, branch) = (&args.repo.repo, &args.repo.place.files.branch);
    output.say(&format!("watching {} into {repo} (branch {branch})", connected.address));
    if !choice.sensitive.is_empty() {
        output.say(repository::SECRETS_LEFT_OUT);
    }

    let commits = Counter::default();
    let teller = Teller { output: output.clone(), commits: commits.clone(), count_lists: false };
    let reporter = (teller, telemetry.metrics.clone());
    let state = repository::state_dir(&args.repo)?;
    let attribution = attribution.open(&state, Arc::new(reporter.clone()), output).await?;
    connected.cluster = attribution.watched(connected.cluster)?;
    let captured = connected.cluster.captured(&connected.pipeline);

    // Before those of what is gone are cleared.
    let cursors = git.cursors().await?;
    let watches = connected.cluster.resume(&connected.pipeline, &git).await?;
    let reverser = Reverser::new(git.clone())
        .pipeline(connected.pipeline)
        .batching(args.group.batching())
        .coalescing(coalescing)
        .verify_every(args.verify_interval)
        .reporter(reporter.clone())
        .allow_mass_delete(args.allow_mass_delete)
        .queue_bytes(usize::try_from(args.queue_bytes.0).unwrap_or(usize::MAX));
    let reverser = attribution.asked_by(reverser, &reporter.1, reporter.clone()).build();

    telemetry.follow(&reverser, &git);
    reverser.tell_unserved(&connected.cluster, &cursors).await?;
    let (arrive, arrivals) = mpsc::channel(ARRIVALS);
    let discovery = connected.cluster.follow(Arc::clone(reverser.pipeline()), Arc::new(git.clone()), arrive);
    let status = tokio::spawn(output.clone().follow(git.push_state(), commits));
    let sources = watches.into_iter().map(|watch| Box::new(watch) as Box<dyn Source>).collect();
    tokio::pin!(shutdown);
    // From here on the cluster may have something of ours, which has to go at the end.
    let mut attribution = attribution.start(captured, Arc::new(reporter.clone())).await?;
    let watched = async {
        tokio::select! {
            registered = attribution.registered() => registered?,
            () = &mut shutdown => return Ok(()),
        }
        tokio::select! {
            watched = reverser.run(sources, arrivals, shutdown) => watched.context("could not go on recording"),
            never = named.follow(&reporter.0) => match never {},
            () = discovery => Err(anyhow!("discovery ended although changes are still followed")),
            error = attribution.failed() => Err(error),
        }
    }
    .await;
    let (closed, ()) = tokio::join!(repository::close(git, output), attribution.end(output));
    status.abort();
    watched?;
    closed
}
