//! `reverser blame`: who made an object what it is.

mod show;

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reverser_git::{At, GitHistory, GitReader, ReadError};
use reverser_k8s::blame::{self, FindError};

use crate::{
    Usage,
    args::{BlameArgs, BlameFormat},
    repository::not_read,
};

pub(crate) async fn run(args: BlameArgs) -> anyhow::Result<ExitCode> {
    let progress = progress();
    let told = tell(&args, &progress).await;
    progress.finish_and_clear();
    show::print(&told?)?;
    Ok(ExitCode::SUCCESS)
}

async fn tell(args: &BlameArgs, progress: &ProgressBar) -> anyhow::Result<String> {
    let failed = |error: ReadError| not_read(error, &args.repo);
    let history = open(args).await.map_err(failed)?;
    let looked_at = |commits: usize| progress.set_position(commits as u64);
    let found = blame::find(&history, &args.object, args.namespace.as_deref(), looked_at).await;
    let found = found.map_err(|error| match error {
        FindError::Read(error) => failed(error),
        FindError::Ambiguous { .. } => Usage(error.to_string()).into(),
        error => error.into(),
    })?;
    let Some(path) = &args.field else {
        let blame = blame::object(&history, &found, looked_at).await.map_err(failed)?;
        return Ok(match args.output {
            BlameFormat::Json => show::object_json(&found, &blame),
            BlameFormat::Table => show::object_table(&found, &blame),
        });
    };
    let (steps, is_cut) = blame::field(&history, &found, path, looked_at).await.map_err(failed)?;
    if steps.is_empty() {
        bail!("{} has no {path}, and never had as far as its history tells", found.object);
    }
    Ok(match args.output {
        BlameFormat::Json => show::field_json(&found, path, &steps, is_cut),
        BlameFormat::Table => show::field_table(path, &steps, is_cut),
    })
}

async fn open(args: &BlameArgs) -> Result<GitHistory, ReadError> {
    let mut reader = GitReader::open(args.repo.clone(), args.access.access())
        .branch(args.branch.clone())
        .at(args.at.clone().unwrap_or(At::Tip))
        .transfer_limit(args.transfer_limit);
    if let Some(path) = &args.path {
        reader = reader.under(path.clone());
    }
    reader.history().await
}

/// Shows how far it has come, on standard error when that is a terminal.
fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // The template is a constant; the default style would show numbers that mean nothing here.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} commits looked at") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
