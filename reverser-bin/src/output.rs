//! What is shown while something runs: lines and a status for people on a terminal, structured logs for everything else.

use std::{
    io::{IsTerminal, Write, stdout},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::{Zoned, tz::TimeZone};
use reverser_core::{Actor, ObjectRef};
use reverser_git::{CommitId, ConflictOutcome, PushPhase, PushState};
use reverser_k8s::{
    EndpointNotice, Gap, LogReporter, Notice, Reporter, Verified,
    report::{chain, names, resource_of},
};
use tokio::sync::watch;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::args::{LogFormat, OutputArgs};

/// What is logged unless `RUST_LOG` says otherwise. kube's client warns of every connection that ends, which is how
/// watches live; what matters of it is reported by the flow.
const LOGGED: &str = "warn,kube_client=off,reverser_bin=info,reverser_core=info,reverser_git=info,reverser_k8s=info";

/// Where output goes; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Lines for people where there is no terminal.
    #[cfg_attr(not(feature = "demo"), expect(dead_code, reason = "only the demo is for people there, too"))]
    Lines,
    /// Structured logs on standard output.
    Log,
    /// Lines above a status line.
    Terminal(ProgressBar),
}

impl Output {
    /// Decides by flags and by where standard output goes, and starts logging. Called once.
    pub(crate) fn start(args: OutputArgs) -> Self {
        let is_terminal = stdout().is_terminal() && args.log_format.is_none();
        if is_terminal {
            // Logs of libraries would tear the lines apart; what matters is reported in them.
            return Self::terminal();
        }
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new(LOGGED));
        let registry = tracing_subscriber::registry().with(filter);
        let started = match args.log_format {
            Some(LogFormat::Json) => {
                registry.with(fmt::layer().json().flatten_event(true).with_target(false).with_writer(stdout)).try_init()
            }
            Some(LogFormat::Text) | None => registry
                .with(fmt::layer().with_target(false).with_ansi(stdout().is_terminal()).with_writer(stdout))
                .try_init(),
        };
        if let Err(error) = started {
            tracing::debug!(%error, "logging was set up before");
        }
        Self::Log
    }

    /// Decides by where standard output goes; lines for people in any case.
    #[cfg(feature = "demo")]
    pub(crate) fn for_people() -> Self {
        if stdout().is_terminal() { Self::terminal() } else { Self::Lines }
    }

    fn terminal() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        // The template is a constant; the default style would show numbers that mean nothing here.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self::Terminal(bar)
    }

    /// Tells something that a person should read.
    pub(crate) fn say(&self, text: &str) {
        match self {
            Self::Lines => print_line(text),
            Self::Log => tracing::info!("{text}"),
            Self::Terminal(bar) => bar.println(text),
        }
    }

    /// Shows how far something has come that takes `total` steps.
    pub(crate) fn expect(&self, total: usize, what: &'static str) {
        if let Self::Terminal(bar) = self {
            bar.set_length(total as u64);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {pos}/{len}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(what);
        }
    }

    /// Shows what the branch and its remote are up to, until the writer ends.
    pub(crate) async fn follow(self, mut state: watch::Receiver<PushState>, commits: Counter) {
        let (mut told, mut before) = (None::<String>, PushState::default());
        loop {
            let now = state.borrow_and_update().clone();
            if !matches!(self, Self::Log) {
                met(&before, &now).iter().for_each(|line| self.say(line));
            }
            before = now.clone();
            match &self {
                // The writer logs what it meets.
                Self::Log => {}
                Self::Lines => {
                    if let PushPhase::Waiting { error, .. } = &now.phase
                        && told.replace(error.to_string()).as_deref() != Some(&*error.to_string())
                    {
                        print_line(&status(&now, commits.count()));
                    }
                }
                Self::Terminal(bar) => bar.set_message(status(&now, commits.count())),
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    }

    /// Leaves the lines and takes the status away.
    pub(crate) fn finish(&self) {
        if let Self::Terminal(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// How many commits there were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    commits: usize,
    last: Option<CommitId>,
}

impl Counter {
    pub(crate) fn count(&self) -> usize {
        self.lock().commits
    }

    /// Counts the commit of a change; those of one commit are told one after the other.
    fn add(&self, commit: Option<&CommitId>) {
        let mut counted = self.lock();
        if commit.is_none() || counted.last.as_ref() != commit {
            counted.commits += 1;
            counted.last = commit.cloned();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        // Numbers are right whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells what the flow reports.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    pub(crate) output: Output,
    pub(crate) commits: Counter,
    /// Lists are steps of an expected number.
    pub(crate) count_lists: bool,
}

impl Reporter for Teller {
    fn report(&self, notice: Notice<'_>) {
        match &notice {
            Notice::Committed { commit, .. } => self.commits.add(*commit),
            Notice::Synced { commit: Some(commit), .. } | Notice::Verified { commit: Some(commit), .. } => {
                self.commits.add(Some(commit))
            }
            _ => {}
        }
        match &self.output {
            Output::Log => return LogReporter.report(notice),
            Output::Terminal(bar)
                if self.count_lists
                    && matches!(notice, Notice::Listed { .. } | Notice::Failed { is_news: true, .. }) =>
            {
                bar.inc(1);
            }
            Output::Lines | Output::Terminal(_) => {}
        }
        if let Some(line) = line(&notice) {
            self.output.say(&line);
        }
    }
}

/// Prints one line for people; nothing is left to do about a closed standard output.
pub(crate) fn print_line(text: &str) {
    let _closed = writeln!(stdout(), "{text}");
}

/// The line of a notice, `None` for what a person needn't see.
fn line(notice: &Notice<'_>) -> Option<String> {
    let now = Zoned::now().strftime("%H:%M:%S");
    Some(match notice {
        Notice::Calmed { object, changes, lasted } => format!(
            "{now}  {} no longer changes all the time: {changes} changes in {} s",
            place(object),
            lasted.as_secs()
        ),
        Notice::Churning { object, per_minute, actor } => format!(
            "{now}  {} changes {per_minute} times a minute, by {}: stop that, leave it out (--except), or --coalesce",
            place(object),
            actor.map_or("several or by nobody known".to_owned(), Actor::to_string)
        ),
        Notice::Committed { change, commit, .. } => {
            let actor = change.attribution.to_string();
            let id = commit.map_or("", |commit| commit.short());
            let operation = change.operation.to_string();
            let object = place(&change.object);
            format!("{now}  {actor:<20}  {operation:<6}  {object:<64}  {id}")
        }
        Notice::Disagreed { object, admission, audit, is_news: true } => format!(
            "{now}  {} was changed by {} as admission has it, by {} as audit has it: audit counts",
            place(object),
            names(admission),
            names(audit)
        ),
        Notice::Contradicted { change, committed, commit } => format!(
            "{now}  {} was by {} and not by {}, as {} says; noted there",
            place(&change.object),
            change.attribution.actor().map_or("unknown".to_owned(), Actor::to_string),
            committed,
            commit.short()
        ),
        Notice::Endpoint(notice) => format!("{now}  {}", endpoint_line(notice)?),
        Notice::Failed { is_news: false, .. } | Notice::Recovered { is_news: false, .. } => return None,
        Notice::Failed { error, .. } => format!("{now}  not watched: {}", chain(*error)),
        Notice::Gap { source, gap: Gap::Recovered { changes, .. } } if *changes > 0 => {
            format!("{now}  history of {changes} changes recovered after a gap: {}", resource_of(source))
        }
        Notice::Gap { source, gap: Gap::Lost { from, until, why } } => format!(
            "{now}  history lost after resourceVersion {from}{} ({why}), the state after it becomes one commit: {}",
            until.as_ref().map(|until| format!(" up to {until}")).unwrap_or_default(),
            resource_of(source)
        ),
        Notice::Held { resource, files, of } => format!(
            "{now}  {resource}: {files} of {of} files have no object any more. They stay: is this the right cluster? \
             If they are to go, start again with --allow-mass-delete"
        ),
        Notice::IdentitiesRead { source, rules } => {
            format!("{now}  identities read again from {source}: {rules} rule{}", if *rules == 1 { "" } else { "s" })
        }
        Notice::IdentitiesRefused { error } => {
            format!("{now}  identities not read, the former ones stay: {}", chain(*error))
        }
        Notice::Noted { change, commit } => {
            let actor = change.attribution.actor().map_or("unknown".to_owned(), Actor::to_string);
            format!("{now}  {actor:<20}  NOTED   {:<64}  {}", place(&change.object), commit.short())
        }
        Notice::NotVerified { source, error } => {
            format!("{now}  not verified: {}: {}", resource_of(source), chain(*error))
        }
        Notice::Obstructed(obstructed) => format!("{now}  {obstructed}"),
        Notice::Recovered { source, .. } => format!("{now}  watched again: {}", resource_of(source)),
        Notice::Refused(error) => format!("{now}  {error}"),
        Notice::Registration(news) => format!("{now}  {news}"),
        Notice::SinkFailed(error) => format!("{now}  could not commit, trying again: {}", chain(*error)),
        Notice::SinkRecovered => format!("{now}  committing again"),
        Notice::Started { sources } => format!("{now}  watching {sources} resources; Ctrl-C ends"),
        Notice::Synced { sync, commit } => {
            let objects: usize = sync.objects.values().sum();
            let removed = if sync.removed > 0 { format!(", {} removed", sync.removed) } else { String::new() };
            let id = commit.map_or("nothing differed", |commit| commit.short());
            format!("{now}  {:<20}  SYNC    {:<64}  {id}", "-", format!("{objects} objects{removed}"))
        }
        Notice::Unserved { resource, files, .. } => {
            format!(
                "{now}  {resource} is no longer served: its {files} files stay; if they are to go, delete them in Git"
            )
        }
        Notice::Unwatched { source } => format!("{now}  no longer served, or replaced: {}", resource_of(source)),
        Notice::Verified { verified, commit } => {
            let what = verified_as(verified, commit.is_some())?;
            format!("{now}  {:<20}  VERIFY  {what:<64}  {}", "-", commit.map_or("", |commit| commit.short()))
        }
        Notice::Watching { source } => format!("{now}  watching what has come up: {}", resource_of(source)),
        _ => return None,
    })
}

/// What is told of the endpoint, `None` for what a person needn't see.
fn endpoint_line(notice: &EndpointNotice<'_>) -> Option<String> {
    Some(match notice {
        EndpointNotice::CertificateFailed { why, until } => {
            let until = until.map(|until| format!("; the one that is served ends at {until}")).unwrap_or_default();
            format!("the certificate is not renewed: {why}{until}")
        }
        EndpointNotice::CertificatesRemade { why } => format!("certificates are made anew: {why}"),
        EndpointNotice::FileKept { why } => format!("{why}; what it said before counts"),
        EndpointNotice::NotAllowed { certificate } => {
            let why = certificate.map(|why| format!(" ({why})")).unwrap_or_default();
            format!(
                "audit events are refused: their sender has neither the token nor a client certificate that counts{why}"
            )
        }
        EndpointNotice::NotConnected { is_news: true, .. } => {
            "an API server doesn't trust our certificate: its caBundle is another one, or the address is not in it"
                .into()
        }
        EndpointNotice::Panicked { endpoint } => format!("a panic in {endpoint}; please report it"),
        _ => return None,
    })
}

/// An object as lines name it: `apps/v1/deployments shop/web`.
fn place(object: &ObjectRef) -> String {
    match &object.namespace {
        Some(namespace) => format!("{} {namespace}/{}", object.resource, object.name),
        None => format!("{} {}", object.resource, object.name),
    }
}

/// What a verification has found, `None` when all was right.
fn verified_as(verified: &Verified, is_repaired: bool) -> Option<String> {
    let counts = [
        (verified.missing, "missing"),
        (verified.extra, "extra"),
        (verified.different, "different"),
        (verified.superseded, "superseded"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    match counts.collect::<Vec<_>>() {
        counts if !counts.is_empty() => Some(format!("{}: {}", verified.resource, counts.join(", "))),
        _ if is_repaired => Some(format!("{}: what users were left out for", verified.resource)),
        _ => None,
    }
}

/// The lines of what was met on the remote since `before`.
fn met(before: &PushState, now: &PushState) -> Vec<String> {
    let time = Zoned::now().strftime("%H:%M:%S");
    let mut lines = Vec::new();
    if let Some(rewrite) = now.last_rewrite.as_ref().filter(|_| before.last_rewrite != now.last_rewrite) {
        lines.push(match &rewrite.is {
            Some(is) => format!(
                "{time}  the remote's history was rewritten, from {} to {}: files of ours written again: {}",
                rewrite.was.short(),
                is.short(),
                rewrite.restored
            ),
            None => format!("{time}  the remote's branch was gone: it is pushed again, at {}", rewrite.was.short()),
        });
    }
    if let Some(conflict) = now.last_conflict.as_ref().filter(|_| before.last_conflict != now.last_conflict) {
        match &conflict.outcome {
            ConflictOutcome::Aside(branch) => lines.push(format!("{time}  put on the branch {branch}: {conflict}")),
            ConflictOutcome::Replaced => lines.push(format!("{time}  committed on top: {conflict}")),
            // The status says it, for as long as it lasts.
            _ => {}
        }
    }
    lines
}

fn status(state: &PushState, commits: usize) -> String {
    let plural = if commits == 1 { "" } else { "s" };
    let push = match &state.phase {
        PushPhase::Idle if state.unpushed == 0 => "all pushed".to_owned(),
        PushPhase::Idle => format!("{} to push", state.unpushed),
        PushPhase::Pushing => format!("pushing {}", state.unpushed),
        PushPhase::Waiting { error, retry_at } => format!(
            "{} NOT PUSHED, next try at {}: {}",
            state.unpushed,
            retry_at.to_zoned(TimeZone::system()).strftime("%H:%M:%S"),
            chain(error)
        ),
    };
    let full =
        if state.is_full { "; THE STATE FOLDER IS FULL (--state-limit), recording waits for a push" } else { "" };
    format!("{commits} commit{plural}, {push}{full}")
}
