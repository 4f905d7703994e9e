//! `reverser watch`: sources of one cluster, joined to one branch.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, anyhow};
use reverser_git::GitSink;
use reverser_k8s::{
    Nobody, Reverser, Source,
    audit::{Audit, AuditLog, LOG_PATIENCE},
};
use tokio::sync::mpsc;

use crate::{
    Usage,
    args::WatchArgs,
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
    if !coalescing.interval.is_zero() && args.audit_log.is_none() {
        return Err(Usage(
            "--coalesce needs --audit-log: without it nobody knows which changes a service account made".into(),
        )
        .into());
    }
    args.select.filters.check_users(args.audit_log.is_some())?;
    // Before all else, so that whoever starts this can ask how far it is.
    let mut telemetry = Telemetry::start(args.listen, output).await?;
    // The cluster comes first: no repository is made for one that can't be reached.
    let mut connected = connect(&args.cluster, &args.select, &args.clean, &args.repo.place.files).await?;
    connected.pipeline.message = repository::message(&args.repo.place)?;
    let named = Named::open(args.identity, Some(connected.client.clone()), output).await?;
    connected.pipeline.identities = named.identities.clone();
    let audit = Audit::default().waiting(LOG_PATIENCE);
    let audit_log = args.audit_log.as_deref().map(|path| open_audit_log(path, &audit)).transpose()?;
    coalescing.only = resolved("--coalesce-only", &coalescing.only, connected.cluster.catalog())?;
    let choice = choose(&connected)?;
    let git = repository::open(&args.repo.repo, &args.repo.place, output).await?;
    let (repo, branch) = (&args.repo.repo, &args.repo.place.files.branch);
    output.say(&format!("watching {} into {repo} (branch {branch})", connected.address));
    if !choice.sensitive.is_empty() {
        output.say(repository::SECRETS_LEFT_OUT);
    }

    // Before those of what is gone are cleared.
    let cursors = git.cursors().await?;
    let watches = connected.cluster.resume(&connected.pipeline, &git).await?;
    let commits = Counter::default();
    let teller = Teller { output: output.clone(), commits: commits.clone(), count_lists: false };
    let reverser = Reverser::new(git.clone())
        .pipeline(connected.pipeline)
        .batching(args.group.batching())
        .coalescing(coalescing)
        .verify_every(args.verify_interval)
        .reporter((teller.clone(), telemetry.metrics.clone()))
        .attribution_wait(args.attribution_wait)
        .allow_mass_delete(args.allow_mass_delete)
        .queue_bytes(usize::try_from(args.queue_bytes.0).unwrap_or(usize::MAX));
    let reverser = match &audit_log {
        Some(_) => {
            telemetry.metrics.measure_audit(audit.clone());
            reverser.actors(audit)
        }
        None => reverser.actors(Nobody),
    }
    .build();

    telemetry.follow(&reverser, &git);
    reverser.tell_unserved(&connected.cluster, &cursors).await?;
    let (arrive, arrivals) = mpsc::channel(ARRIVALS);
    let discovery = connected.cluster.follow(Arc::clone(reverser.pipeline()), Arc::new(git.clone()), arrive);
    let status = tokio::spawn(output.clone().follow(git.push_state(), commits));
    let following = audit_log.map(|log| tokio::spawn(log.follow()));
    let sources = watches.into_iter().map(|watch| Box::new(watch) as Box<dyn Source>).collect();
    let watched = tokio::select! {
        watched = reverser.run(sources, arrivals, shutdown) => watched.context("could not go on recording"),
        never = named.follow(&teller) => match never {},
        () = discovery => Err(anyhow!("discovery ended although changes are still followed")),
    };
    let closed = repository::close(git, output).await;
    status.abort();
    if let Some(following) = following {
        following.abort();
    }
    watched?;
    closed
}

/// Opens the log that authors are named from.
pub(crate) fn open_audit_log(path: &Path, audit: &Audit) -> anyhow::Result<AuditLog> {
    AuditLog::open(path, audit.clone()).with_context(|| {
        format!("--audit-log {}: it has to exist, and this user has to be able to read it", path.display())
    })
}
