//! `reverser restore`: from Git back to a cluster.

mod show;

use std::{
    io::{IsTerminal, Write, stderr, stdin},
    process::ExitCode,
};

use anyhow::{Context, bail};
use reverser_git::GitReader;
use reverser_k8s::{
    Catalog, Restore, RestoreOptions,
    restore::{Conflicts, Extra, Manifests, Outcome, Restored, Run},
};

use self::show::Show;
use crate::{
    Usage,
    args::RestoreArgs,
    connect,
    repository::{not_read, stopped},
};

/// Exits with 0 when all is restored, 1 when something failed, 2 when it was asked wrongly.
pub(crate) async fn run(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    tokio::select! {
        done = restore(args) => done,
        // What a copy of the repository and its credentials need is cleared.
        () = stopped() => bail!("stopped; what was restored until here stays, and running this again goes on"),
    }
}

async fn restore(mut args: RestoreArgs) -> anyhow::Result<ExitCode> {
    let select = args.select();
    let reader = open(&args).await?;
    let manifests = Manifests::read(&reader).await.with_context(|| format!("--repo {}", args.repo))?;
    if manifests.objects.is_empty() && manifests.broken.is_empty() {
        let place = args.path.as_ref().map(|path| format!("below {path} ")).unwrap_or_default();
        return Err(Usage(format!("--path: there are no manifests {place}in {reader}")).into());
    }
    let (client, address) = connect::client(&args.cluster).await?;
    let catalog = Catalog::read(&client).await;
    let catalog = catalog.map_err(|error| connect::with_hint(error, &args.cluster, &address))?;
    let selector = connect::selector(&select, &manifests.expected(&catalog))?;
    let options = RestoreOptions {
        selector,
        sanitizer: args.clean.sanitizer()?,
        run: if args.dry_run { Run::DryRun } else { Run::Apply },
        conflicts: if args.force_conflicts { Conflicts::TakeBack } else { Conflicts::Report },
        ..RestoreOptions::default()
    };
    let mut show = Show::new(&args, &reader, &manifests);
    let broken = manifests.broken.len();
    let total = manifests.objects.len();
    let mut restore = Restore::new(client, catalog, manifests, options);
    if restore.selected() == 0 && broken == 0 {
        return Err(Usage(format!(
            "--resource, --namespace, --selector, --only, --except: none of the {total} objects in {reader} is selected"
        ))
        .into());
    }
    if select.filters.ask_about_changes() {
        show.note("objects are restored, not changes: user=, operation=, --ignore-user and --ignore-manager leave nothing out");
    }
    let extra = match args.prune {
        true if broken > 0 => {
            show.note("nothing will be deleted: files that can't be read may hold what would be");
            None
        }
        true => Some(listed(&args, restore.extra().await, &mut show).await?),
        false => None,
    };
    show.expect(restore.selected(), restore.unselected());
    let mut restored = restore.apply(&|object| show.object(object)).await.map_err(anyhow::Error::new)?;
    if let Some(extra) = extra {
        restored.extend(pruned(&args, &restore, &extra, &restored, &show).await);
    }
    show.finish(&restored);
    Ok(if restored.iter().any(Restored::is_failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn open(args: &RestoreArgs) -> anyhow::Result<GitReader> {
    let mut reader = GitReader::open(args.repo.clone(), args.access.access())
        .branch(args.branch.clone())
        .at(args.at.clone().unwrap_or_default())
        .transfer_limit(args.transfer_limit);
    if let Some(path) = &args.path {
        reader = reader.under(path.clone());
    }
    reader.start().await.map_err(|error| not_read(error, &args.repo))
}

/// Shows what would be deleted, and asks; an error when that isn't to happen.
async fn listed(args: &RestoreArgs, extra: Extra, show: &mut Show) -> anyhow::Result<Extra> {
    show.extra(&extra);
    if let Some((many, of)) = extra.mass.filter(|_| !args.allow_mass_delete) {
        bail!(
            "--prune would delete {many} of {of} objects: is this the right repository, --path and cluster? Nothing was done. If \
             they are to go, add --allow-mass-delete"
        );
    }
    if extra.objects.is_empty() || args.yes || args.dry_run {
        return Ok(extra);
    }
    if !stdin().is_terminal() {
        return Err(Usage(
            "--prune: nobody is there to ask, and nothing was done; add --yes, or --dry-run to see more".into(),
        )
        .into());
    }
    let what = match extra.objects.len() {
        1 => "this object".to_owned(),
        count => format!("these {count} objects"),
    };
    let question = format!("Restore, and then delete {what}? [y/N] ");
    if !tokio::task::spawn_blocking(move || says_yes(&question)).await? {
        bail!("nothing was done; without --prune nothing is deleted");
    }
    Ok(extra)
}

fn says_yes(question: &str) -> bool {
    let mut answer = String::new();
    let asked =
        write!(stderr(), "{question}").and_then(|()| stderr().flush()).and_then(|()| stdin().read_line(&mut answer));
    asked.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

async fn pruned(
    args: &RestoreArgs,
    restore: &Restore,
    extra: &Extra,
    restored: &[Restored],
    show: &Show,
) -> Vec<Restored> {
    let failed = restored.iter().filter(|object| object.is_failed()).count();
    if failed > 0 && !extra.objects.is_empty() {
        show.note(&format!("nothing is deleted: {failed} failed; run it again when that is mended"));
        return Vec::new();
    }
    if args.dry_run {
        let deleted: Vec<_> = extra.objects.iter().map(|object| Restored::extra(object, Outcome::Deleted)).collect();
        deleted.iter().for_each(|object| show.object(object));
        return deleted;
    }
    restore.prune(extra, &|object| show.object(object)).await
}
