//! `reverser replay`: an audit log as history.

use std::process::ExitCode;

use reverser_core::{Pipeline, Selector, TemplateLayout};
use reverser_git::GitSink;
use reverser_k8s::{
    Reverser, Source,
    audit::{Replay, Skipped},
};

use crate::{
    Usage,
    args::{FilterArgs, ReplayArgs},
    identity::Named,
    output::{Counter, Output, Teller},
    repository,
};

/// How often writing is tried: somebody waits for the end.
const TRIES: usize = 3;

pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let output = Output::start(args.output);
    let code = replay(args, &output).await;
    output.finish();
    code
}

/// Replays; the exit code is 1 when a line was broken, although all the others are committed.
pub(crate) async fn replay(args: ReplayArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let ReplayArgs { logs, repo, filters, clean, group, coalesce, identity, output: _ } = args;
    if repo.place.files.layout.as_ref().is_some_and(TemplateLayout::needs_kind) {
        return Err(Usage(
            "--layout: an audit log doesn't always tell an object's kind, so a deletion could miss its file; write \
             {resource} in place of {kind}"
                .into(),
        )
        .into());
    }
    let except = filters.excluded();
    let FilterArgs { only, ignore_manager: ignore_managers, .. } = filters;
    let selector = Selector { only, except, ignore_managers, ..Selector::default() };
    let (sanitizer, message) = (clean.sanitizer()?, repository::message(&repo.place)?);
    // A log has an end: whatever its rules become meanwhile, all of it is named by the same ones.
    let identities = Named::open(identity, None, output).await?.identities;
    let pipeline = Pipeline { selector, sanitizer, message, identities, ..repository::pipeline(&repo.place.files) };
    let mut source = Replay::open(&logs)?.read_with(pipeline.sanitizer.clone());
    let git = repository::open(&repo.repo, &repo.place, output).await?;
    let commits = Counter::default();
    if let Some(cursor) = git.cursors().await?.get(source.id()) {
        source = source.resume(cursor);
    }
    let reverser = Reverser::new(git.clone())
        .pipeline(pipeline)
        .batching(group.batching())
        .coalescing(coalesce.coalescing())
        .reporter(Teller { output: output.clone(), commits: commits.clone(), count_lists: false })
        .tries(TRIES)
        .build();
    let status = tokio::spawn(output.clone().follow(git.push_state(), commits));
    let replayed = reverser.drain(&mut source).await;
    let closed = repository::close(git, output).await;
    status.abort();
    let commits = replayed?;
    let code = closed?;
    output.say(&count(commits, "commit"));
    for line in told(source.skipped()) {
        output.say(&line);
    }
    Ok(if source.skipped().broken_lines > 0 { ExitCode::FAILURE } else { code })
}

/// What made no commit, in words; nothing about what nobody expects to.
fn told(skipped: &Skipped) -> Vec<String> {
    let mut lines = Vec::new();
    if skipped.already_replayed > 0 {
        lines.push(format!("already there from an earlier run: {}", count(skipped.already_replayed, "write")));
    }
    let ignored = [
        (skipped.reads, "reads"),
        (skipped.failures, "refused requests"),
        (skipped.dry_runs, "dry runs"),
        (skipped.subresources, "writes of status and other subresources"),
    ];
    let ignored: Vec<_> =
        ignored.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if !ignored.is_empty() {
        lines.push(format!("ignored: {}", ignored.join(", ")));
    }
    // Nobody should audit Secrets with their bodies; they are not written anyhow.
    let (secrets, without_body): (Vec<_>, Vec<_>) =
        skipped.without_body.iter().partition(|((_, resource), _)| resource == "secrets");
    if !secrets.is_empty() {
        lines.push(format!("left out: {} of Secrets", count(secrets.iter().map(|(_, count)| **count).sum(), "write")));
    }
    if !without_body.is_empty() {
        let kinds: Vec<_> =
            without_body.iter().map(|((verb, resource), count)| format!("{count} × {verb} {resource}")).collect();
        lines.push(format!(
            "unusable, since the log doesn't say what was written (audit it at level RequestResponse): {}: {}",
            count(without_body.iter().map(|(_, count)| **count).sum(), "write"),
            kinds.join(", ")
        ));
    }
    if skipped.broken_lines > 0 {
        lines.push(format!("broken, and skipped: {}", count(skipped.broken_lines, "line")));
        lines.extend(skipped.broken.iter().map(|line| format!("  {line}")));
        let unnamed = skipped.broken_lines - skipped.broken.len();
        if unnamed > 0 {
            lines.push(format!("  … and {unnamed} more"));
        }
    }
    lines
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
