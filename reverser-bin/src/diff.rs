//! `reverser diff`: what a cluster holds beside what Git says of it.

mod print;

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    io::{self, Write, stderr},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reverser_core::{LeftOut, Resource};
use reverser_git::{At, GitReader};
use reverser_k8s::{CompareError, Difference, Finding, List, Lister, compare, report::chain};

use self::print::{Printer, Summary};
use crate::{
    args::{ColorChoice, DiffArgs},
    connect::{Connected, choose, connect},
    repository::{SECRETS_LEFT_OUT, not_read},
    unified::is_coloured,
};

/// How often a resource is tried: somebody waits for the end.
const TRIES: usize = 3;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// What failed when a difference can't be told.
const NOT_WRITTEN: &str = "could not write to standard output";

/// Exits with 0 when Git and the cluster are equal, 1 when they differ, 2 when something could not be compared.
pub(crate) async fn run(args: DiffArgs) -> ExitCode {
    let found = diff(args).await;
    match found {
        Ok(Summary { not_compared: 1.., .. }) => ExitCode::from(2),
        Ok(summary) if summary.differences() > 0 => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, and that began with a difference.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            crate::tell(&error);
            ExitCode::from(2)
        }
    }
}

async fn diff(args: DiffArgs) -> anyhow::Result<Summary> {
    let connected = connect(&args.cluster, &args.select, &args.clean, &args.files).await?;
    let choice = choose(&connected)?;
    if !choice.sensitive.is_empty() {
        note(SECRETS_LEFT_OUT);
    }
    if args.select.filters.ask_about_changes() {
        note(
            "objects are compared, not changes: user=, operation=, --ignore-user and --ignore-manager leave nothing out, and what they kept from Git differs",
        );
    }
    let reader = open(&args).await?;
    let lists = connected.cluster.lists(&choice.resources, &connected.pipeline);
    let lists: Vec<_> = lists.iter().collect();
    let mut look = Look {
        connected: &connected,
        allow_forbidden: args.allow_forbidden,
        progress: progress(),
        not_compared: unreachable(&connected),
        forbidden: BTreeSet::new(),
        objects: 0,
    };
    let is_coloured = match args.color {
        ColorChoice::Always => true,
        ColorChoice::Auto => is_coloured(),
        ColorChoice::Never => false,
    };
    let printer = |commit| Printer::new(&args, &connected.pipeline, is_coloured, commit);
    if args.settle.is_zero() || args.at.is_some() {
        let mut printer = printer(reader.commit());
        look.at(&lists, &reader, &mut |_, difference| printer.difference(&difference)).await?;
        return look.finish(printer);
    }
    let (mut suspects, hasher) = (HashMap::new(), RandomState::new());
    let digest = |git: &Option<Vec<u8>>| hasher.hash_one(git);
    let mut suspected = BTreeSet::new();
    look.at(&lists, &reader, &mut |index, difference| {
        suspected.insert(index);
        suspects.insert(difference.path, digest(&difference.git));
        Ok(())
    })
    .await?;
    if suspects.is_empty() {
        return look.finish(printer(reader.commit()));
    }
    look.progress.set_message("looking again at what differs");
    tokio::time::sleep(args.settle).await;
    let (reader, objects) = (open(&args).await?, look.objects);
    let again: Vec<_> = suspected.into_iter().map(|index: usize| lists[index]).collect();
    let mut printer = printer(reader.commit());
    look.at(&again, &reader, &mut |_, difference| {
        // What has moved in Git is being written; what differs only now is on its way.
        match suspects.get(&difference.path) {
            Some(before) if *before == digest(&difference.git) => printer.difference(&difference),
            _ => Ok(()),
        }
    })
    .await?;
    look.objects = objects;
    look.finish(printer)
}

/// Opens the files to compare with.
async fn open(args: &DiffArgs) -> anyhow::Result<GitReader> {
    let mut reader = GitReader::open(args.repo.clone(), args.files.access.access())
        .branch(args.files.branch.clone())
        .at(args.at.clone().unwrap_or(At::Tip))
        .transfer_limit(args.files.transfer_limit);
    if let Some(path) = &args.files.path {
        reader = reader.under(path.clone());
    }
    reader.start().await.map_err(|error| not_read(error, &args.repo))
}

/// Compares, and remembers what could not be.
struct Look<'a> {
    connected: &'a Connected,
    allow_forbidden: bool,
    progress: ProgressBar,
    not_compared: BTreeSet<String>,
    /// By resource, in words: what nobody counts.
    forbidden: BTreeSet<String>,
    objects: usize,
}

impl Look<'_> {
    /// Compares `lists` with what `reader` reads; `found` is told of each difference, with the list's index.
    async fn at(
        &mut self,
        lists: &[&List],
        reader: &GitReader,
        found: &mut (dyn FnMut(usize, Difference) -> io::Result<()> + Send),
    ) -> anyhow::Result<()> {
        self.progress.set_length(lists.len() as u64);
        self.progress.set_position(0);
        self.objects = 0;
        for (index, list) in lists.iter().enumerate() {
            self.progress.set_message(format!("comparing {}", list.resource().qualified()));
            for tries in 1.. {
                let (mut printed, mut refused) = (Ok(()), Vec::new());
                let mut has_found = false;
                let progress = &self.progress;
                let mut take = |finding| match finding {
                    Finding::Differs(difference) => {
                        has_found = true;
                        if printed.is_ok() {
                            printed = progress.suspend(|| found(index, difference));
                        }
                    }
                    Finding::Refused(error) => refused.push(error.to_string()),
                };
                let compared = compare(&self.connected.pipeline, reader, *list, None, &mut take).await;
                printed.context(NOT_WRITTEN)?;
                refused.iter().for_each(|text| self.progress.suspend(|| note(text)));
                match compared {
                    Ok(compared) => self.objects += compared.objects,
                    // What was told can't be taken back.
                    Err(error) if tries < TRIES && !has_found && may_pass(&error) => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    Err(CompareError::List(error)) if error.is_forbidden() && self.allow_forbidden => {
                        self.forbidden.insert(chain(&error));
                    }
                    Err(error) => {
                        self.not_compared.insert(chain(&error));
                    }
                }
                break;
            }
            self.progress.inc(1);
        }
        Ok(())
    }

    /// Says what could not be compared, and how it went.
    fn finish(self, printer: Printer<'_>) -> anyhow::Result<Summary> {
        self.progress.finish_and_clear();
        self.forbidden.iter().for_each(|text| note(&format!("left out: {text}")));
        self.not_compared.iter().for_each(|text| note(&format!("not compared: {text}")));
        if self.objects == 0 && self.not_compared.is_empty() && !self.forbidden.is_empty() {
            anyhow::bail!("nothing could be listed, so nothing was compared; `reverser check` says more");
        }
        if self.objects == 0 && self.not_compared.is_empty() && printer.is_silent() {
            note("nothing is selected, in the cluster or in Git: are the flags as they should be?");
        }
        let not_compared = self.not_compared.into_iter().collect();
        printer.finish(self.objects, not_compared).context(NOT_WRITTEN)
    }
}

fn may_pass(error: &CompareError) -> bool {
    matches!(error, CompareError::List(error) if !error.is_for_a_person())
}

/// Returns the API services of which nobody knows what they serve, but for those that the user leaves out.
fn unreachable(connected: &Connected) -> BTreeSet<String> {
    let selector = &connected.pipeline.selector;
    let is_selected = |group: &str, version: &str| {
        let any = Resource::new(group, version, "", "");
        !matches!(selector.resource(&any), Err(LeftOut::NotSelected)) && !group.ends_with("metrics.k8s.io")
    };
    let stale = connected.cluster.catalog().stale().iter();
    let stale = stale.filter(|stale| stale.split_once('/').is_some_and(|(group, version)| is_selected(group, version)));
    stale
        .map(|stale| {
            format!("{stale}: the server behind this APIService doesn't answer; `kubectl get apiservices` says more")
        })
        .collect()
}

/// Shows how far it has come, on standard error when that is a terminal.
fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // The template is a constant; the default style would show numbers that mean nothing here.
    if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:30}] {pos}/{len} {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

/// Tells something on standard error.
fn note(text: &str) {
    // Nothing is left to do about a closed one.
    let _closed = writeln!(stderr(), "{text}");
}
