//! From flags to a branch that can be written, and how that ends.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use reverser_core::{CommitMessage, Pipeline, TemplateMessage};
use reverser_git::{GitWriter, ReadError, RemoteUrl, StartAt, default_state_dir, remote::create_bare};
use reverser_k8s::report::chain;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use crate::{
    Usage,
    args::{FilesArgs, PlaceArgs, RepoArgs},
    output::Output,
};

/// How long the last push may take when the command ends. Together with the 10 s for the last commits that is less than the
/// 30 s that Kubernetes gives a Pod.
const LAST_PUSH: Duration = Duration::from_secs(15);

/// What a reader has to know who misses Secrets in Git.
pub(crate) const SECRETS_LEFT_OUT: &str =
    "Secrets are left out: there is nothing to encrypt them with yet, and they are never written in the clear";

/// Opens the branch for writing. A path where nothing is yet becomes a bare repository.
pub(crate) async fn open(url: &RemoteUrl, place: &PlaceArgs, output: &Output) -> anyhow::Result<GitWriter> {
    if let Some(folder) = url.is_local_path()
        && !folder.exists()
    {
        create_bare(folder, &place.files.branch).await.with_context(|| format!("--repo {url}: could not create it"))?;
        output.say(&format!("created a bare repository at {}", folder.display()));
    }
    let mut writer = GitWriter::open(url.clone(), place.files.access.access())
        .branch(place.files.branch.clone())
        .start_at(if place.orphan { StartAt::Orphan } else { StartAt::DefaultBranch })
        .on_conflict(place.on_conflict.into())
        .committer(place.committer.clone())
        .push_interval(place.push_interval)
        .transfer_limit(place.files.transfer_limit)
        .unpushed_bytes(place.state_limit.0)
        .compression(place.compression);
    if let Some(commits) = place.push_max_commits {
        writer = writer.push_max_commits(commits);
    }
    if let Some((signer, _words)) = place.sign.signer()? {
        writer = writer.signer(signer);
    }
    if let Some(path) = &place.files.path {
        writer = writer.under(path.clone());
    }
    if let Some(folder) = &place.state_dir {
        writer = writer.state_dir(std::path::absolute(folder).context("--state-dir")?);
    }
    writer.start().await.with_context(|| format!("--repo {url}"))
}

/// Returns where the branch's state is kept.
pub(crate) fn state_dir(repo: &RepoArgs) -> anyhow::Result<PathBuf> {
    match &repo.place.state_dir {
        Some(folder) => std::path::absolute(folder).context("--state-dir"),
        None => default_state_dir(&repo.repo, &repo.place.files.branch)
            .context("there is no home for a state folder; give one with --state-dir"),
    }
}

/// Names the flag that has to change before files can be read.
pub(crate) fn not_read(error: ReadError, url: &RemoteUrl) -> anyhow::Error {
    match error {
        ReadError::NoBranch { .. } => Usage(format!("--branch: {}", chain(&error))).into(),
        ReadError::NoCommit { .. } | ReadError::TooEarly { .. } => Usage(format!("--at: {}", chain(&error))).into(),
        error => anyhow::Error::new(error).context(format!("--repo {url}")),
    }
}

/// Returns the stages with files where the flags have them; what is captured, and what commits say, is said elsewhere.
pub(crate) fn pipeline(files: &FilesArgs) -> Pipeline {
    let mut pipeline = Pipeline::default();
    if let Some(layout) = &files.layout {
        pipeline.layout = Arc::new(layout.clone());
    }
    pipeline
}

/// Returns what commits say.
pub(crate) fn message(place: &PlaceArgs) -> anyhow::Result<Arc<dyn CommitMessage>> {
    let mut message = TemplateMessage::default();
    if let Some(template) = &place.message {
        message = message.changes(template).context("--message")?;
    }
    if let Some(template) = &place.group_message {
        message = message.groups(template).context("--group-message")?;
    }
    if let Some(template) = &place.sync_message {
        message = message.syncs(template).context("--sync-message")?;
    }
    Ok(Arc::new(message))
}

/// Commits what is queued and pushes; the exit code is 1 when something could not be pushed.
pub(crate) async fn close(git: GitWriter, output: &Output) -> anyhow::Result<ExitCode> {
    let closed = git.close(LAST_PUSH).await.context("could not finish writing")?;
    if closed.unpushed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let why = closed.error.map_or_else(|| "a push was still under way".into(), |error| chain(&error));
    output.say(&format!(
        "not pushed yet: {}: {why}. They are kept, and go out with the next start",
        count(closed.unpushed)
    ));
    Ok(ExitCode::FAILURE)
}

/// Returns `1 commit`, `2 commits`.
pub(crate) fn count(commits: usize) -> String {
    format!("{commits} commit{}", if commits == 1 { "" } else { "s" })
}

/// Who commits when nobody says otherwise: the default of `--committer`.
#[cfg(feature = "demo")]
pub(crate) fn committer() -> reverser_core::Signature {
    reverser_core::Signature::new("reverser", "reverser@cluster.local")
}

/// Returns when somebody wants the command to end: Ctrl-C, or SIGTERM as Kubernetes sends it. A second Ctrl-C ends the
/// command at once, and what was recorded is on disk; a second SIGTERM changes nothing: some send it twice.
pub(crate) async fn stopped() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the command as they always do.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    let since = Instant::now();
    tokio::spawn(async move {
        while interrupt.recv().await.is_some() {
            // One key press may reach the command twice, by itself and through whatever started it.
            if since.elapsed() > SAME_PRESS {
                std::process::exit(130);
            }
        }
    });
}

/// Interrupts that are closer together than this are one.
const SAME_PRESS: Duration = Duration::from_millis(500);
