//! `reverser snapshot`: what a cluster holds, once.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, bail};
use reverser_git::DirectorySink;
use reverser_k8s::{Reverser, ReverserBuilder, Source, SyncGaps};

use crate::{
    args::SnapshotArgs,
    connect::{choose, connect},
    output::{Counter, Output, Teller},
    repository,
};

/// How often writing is tried: somebody waits for the end.
const TRIES: usize = 3;

pub(crate) async fn run(args: SnapshotArgs) -> anyhow::Result<ExitCode> {
    let output = Output::start(args.output);
    let code = snapshot(args, &output).await;
    output.finish();
    code
}

async fn snapshot(args: SnapshotArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let SnapshotArgs { out, repo, place, cluster, select, clean, output: _, allow_mass_delete } = args;
    let mut connected = connect(&cluster, &select, &clean, &place.files).await?;
    connected.pipeline.message = repository::message(&place)?;
    let choice = choose(&connected)?;
    if !choice.sensitive.is_empty() {
        output.say(repository::SECRETS_LEFT_OUT);
    }
    if select.filters.ask_about_changes() {
        output.say(
            "a snapshot shows objects, not changes: user=, operation=, --ignore-user and --ignore-manager leave nothing out of it",
        );
    }
    // Always a complete list: a snapshot is what is there now, wherever a watch has stopped.
    let watches = connected.cluster.watches(&choice.resources, &connected.pipeline, &Default::default());
    let sources = watches.into_iter().map(|watch| Box::new(watch) as Box<dyn Source>).collect();
    output.expect(choice.resources.len(), "listing");
    let tell = Teller { output: output.clone(), commits: Counter::default(), count_lists: true };
    let build = |sink: ReverserBuilder| {
        sink.pipeline(connected.pipeline).reporter(tell).allow_mass_delete(allow_mass_delete).tries(TRIES).build()
    };
    match (out, repo) {
        (Some(out), _) => {
            let folder = place.files.path.as_ref().map_or_else(|| out.clone(), |path| out.join(path.as_str()));
            let sink = open_folder(&folder).await?;
            sync(build(Reverser::new(sink)), sources).await?;
            output.say(&format!("written to {}", folder.display()));
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(repo)) => {
            let git = repository::open(&repo, &place, output).await?;
            sync(build(Reverser::new(git.clone())), sources).await?;
            repository::close(git, output).await
        }
        (None, None) => Err(crate::Usage("give --out DIR or --repo REPO".into()).into()),
    }
}

async fn open_folder(folder: &Path) -> anyhow::Result<DirectorySink> {
    let folder = std::path::absolute(folder)?;
    DirectorySink::open(folder.clone()).await.with_context(|| format!("--out {}", folder.display()))
}

/// What may not be listed was named, and the rest is complete without it; anything else makes the snapshot a failure.
async fn sync(reverser: Reverser, mut sources: Vec<Box<dyn Source>>) -> anyhow::Result<()> {
    let sought = sources.len();
    let SyncGaps { failed, held } = reverser.sync(&mut sources).await?;
    if failed.len() == sought {
        bail!("nothing could be listed, so nothing was written; `reverser check` says more");
    }
    if let Some(error) = failed.into_values().find(|error| !error.is_forbidden()) {
        return Err(anyhow::Error::new(error).context("the snapshot is not complete; run it again to complete it"));
    }
    if !held.is_empty() {
        let held = held.iter().map(|(_, resource)| resource.qualified()).collect::<Vec<_>>().join(", ");
        bail!(
            "more than half of the files of {held} have no object any more, and stay: is this the right cluster? \
             If they are to go, add --allow-mass-delete"
        );
    }
    Ok(())
}
