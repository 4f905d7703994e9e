//! What can be typed.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, builder::PossibleValue};
use jiff::SignedDuration;
use reverser_core::{
    FieldPathError, Filter, LabelSelector, MessageTemplateError, NOISE, Profile, RepoPath, Sanitizer, Signature,
    TemplateLayout, TemplateMessage,
    sanitize::{DropError, FieldRule},
};
use reverser_git::{BranchName, CompressionLevel, OnConflict, RemoteUrl};

use crate::{access::AccessArgs, sign::SignArgs, size::Size};

mod group;
mod heading;

pub(crate) use group::GroupArgs;
use heading::{CLUSTER, COMMITS, MANIFESTS, OUTPUT, REPOSITORY, SELECTION};
pub(crate) use heading::{LOGIN, SIGNING};

/// Reverse GitOps for Kubernetes: every accepted change of an API becomes clean YAML in Git.
#[derive(Debug, Parser)]
#[command(name = "reverser", version, max_term_width = 110, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads what was typed, or ends the process with what is wrong with it. kubectl runs a program called
    /// `kubectl-reverser` for `kubectl reverser`, and help then says that.
    /// <https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/>
    pub(crate) fn parse_as(program: &Path) -> Self {
        let command = Self::command().bin_name(typed(program));
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// Returns what a user types to run this program.
fn typed(program: &Path) -> String {
    let name = program.file_stem().unwrap_or_default().to_string_lossy();
    match name.strip_prefix("kubectl-") {
        Some(plugin) => format!("kubectl {plugin}"),
        None => "reverser".into(),
    }
}

const AFTER_HELP: &str = "\
Begin with:
  reverser demo                              see it work, nothing prepared
  reverser check --repo ./my-cluster.git     would it work here?
  reverser watch --repo ./my-cluster.git     record the current kubeconfig's cluster

Exit codes: 0 done, 1 failed, 2 wrong usage.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look whether everything is there that watching needs
    ///
    /// Reads from the cluster and the repository, and changes neither. Each line says what was looked at and, when it
    /// is not right, what to do. Exits with 1 when something is not right.
    Check(CheckArgs),
    /// See it work on a cluster of its own
    ///
    /// Starts an API server on this machine, installs a small voting API, lets several users work with it, and shows
    /// each of their changes becoming a commit in ./reverser-demo/repo.git. Without Go and without Kubernetes binaries
    /// it replays a recorded session instead.
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Turn an API server's audit log into history
    ///
    /// Commits each successful write in the log, by its user and with its time. The log has to hold what was written:
    /// audit level RequestResponse (or Request, for creates and updates). Run again with a longer log, it goes on where
    /// it ended.
    Replay(ReplayArgs),
    /// Turn objects as the API serves them into manifests, in a pipe: kubectl get deploy web -o yaml | reverser sanitize
    ///
    /// Removes what servers and controllers own, as --profile says. Reads any number of YAML and JSON documents and lists,
    /// and writes a document for each object, in order, as soon as it has come in. What can't be read, or is no Kubernetes
    /// object, is named with its number and line, the others come out all the same, and the exit code is 1. Secrets come
    /// out as they are: it's your pipe.
    Sanitize(SanitizeArgs),
    /// Write what a cluster holds, once
    ///
    /// Running it again updates the files, removes those of objects that are gone, and leaves the rest as it is.
    Snapshot(SnapshotArgs),
    /// Record each change of a cluster as a commit, as it happens
    ///
    /// Needs nothing installed in the cluster and only the verbs get, list and watch. The first commit brings Git in line
    /// with the cluster; after it each change is a commit of its own. What was recorded and not yet pushed is kept in the
    /// state folder; started again, it goes on where it ended.
    #[command(after_long_help = noise_help())]
    Watch(WatchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) repo: RepoArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) clean: CleanArgs,
    /// The API server's audit log, if authors are named from it
    #[arg(long, help_heading = CLUSTER, value_name = "FILE")]
    pub(crate) audit_log: Option<PathBuf>,
}

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the API server and the watcher running at the end, until Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
    /// Write what the API server's audit log says of the session: how the recorded session is made
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) record: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Audit logs, as JSON lines or EventLists; several are merged by time; - is standard input
    #[arg(value_name = "AUDIT.log", required = true)]
    pub(crate) logs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) repo: RepoArgs,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
    #[command(flatten)]
    pub(crate) clean: CleanArgs,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SanitizeArgs {
    /// Files, or folders with .yaml, .yml and .json files; - is standard input [default: -]
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Look into the folders of a folder, too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// What to write: YAML documents, or JSON values one after the other
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: ManifestFormat,
    /// Write what is removed instead, as a unified diff
    ///
    /// The exit code is 0 whether there is a difference or not.
    #[arg(long, conflicts_with = "output")]
    pub(crate) diff: bool,
    #[command(flatten)]
    pub(crate) clean: CleanArgs,
    /// With --profile minimal: ask the API server for defaults, by dry runs
    ///
    /// What it puts back is removed. It finds defaults where the object itself doesn't show them, those of CRDs and admission webhooks too. Nothing is
    /// stored. It takes the verb create on the objects' resources, and about a hundred requests for a Deployment.
    #[arg(long)]
    pub(crate) defaults_from_cluster: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestFormat {
    Json,
    #[default]
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// Write into this folder
    #[arg(long, help_heading = REPOSITORY, value_name = "DIR", conflicts_with = "repo", required_unless_present = "repo")]
    pub(crate) out: Option<PathBuf>,
    /// Commit to this repository and push: a path or a URL
    ///
    /// A path where nothing is becomes a bare repository. A URL is file, http(s), ssh or scp-like.
    #[arg(long, help_heading = REPOSITORY, value_name = "REPO")]
    pub(crate) repo: Option<RemoteUrl>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) clean: CleanArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Remove files of vanished objects however many they are
    #[arg(long, help_heading = SELECTION)]
    pub(crate) allow_mass_delete: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) repo: RepoArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) clean: CleanArgs,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Name authors from this audit log of the API server
    ///
    /// The file is followed as it grows and rotates. Its level has to be RequestResponse for what is watched. Without it, or where it says nothing about a change,
    /// the author is the committer.
    #[arg(long, help_heading = CLUSTER, value_name = "FILE")]
    pub(crate) audit_log: Option<PathBuf>,
    /// Remove files of vanished objects however many they are
    ///
    /// Otherwise, when a list lacks more than 20 objects and more than half of those that Git has, their files stay and a
    /// message says so: a wrong kubeconfig looks like that.
    #[arg(long, help_heading = SELECTION)]
    pub(crate) allow_mass_delete: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RepoArgs {
    /// The repository: a path or a URL
    ///
    /// A path where nothing is becomes a bare repository. A URL is file, http(s), ssh or scp-like.
    #[arg(long, help_heading = REPOSITORY, value_name = "REPO")]
    pub(crate) repo: RemoteUrl,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The branch to commit to
    ///
    /// One that isn't there begins at the remote's default branch, with its files and history.
    #[arg(long, help_heading = REPOSITORY, value_name = "BRANCH", default_value = "main")]
    pub(crate) branch: BranchName,
    /// Let an absent branch begin without files and history
    #[arg(long, help_heading = REPOSITORY)]
    pub(crate) orphan: bool,
    /// The folder inside the repository [default: its root]
    #[arg(long, help_heading = REPOSITORY, value_name = "DIR", value_parser = folder)]
    pub(crate) path: Option<RepoPath>,
    /// Who commits, and is the author where nobody is known, as 'Name <email>'
    #[arg(long, help_heading = REPOSITORY, value_name = "IDENTITY", default_value = "reverser <reverser@cluster.local>")]
    pub(crate) committer: Signature,
    /// What happens where somebody else has changed the same file
    ///
    /// Files are taken whole. What another reverser has pushed is no conflict: the later resourceVersion wins.
    #[arg(long, help_heading = REPOSITORY, value_name = "CHOICE", value_enum, default_value_t)]
    pub(crate) on_conflict: ConflictChoice,
    /// Where the local copy is kept, with what isn't pushed yet
    ///
    /// It is what survives a restart: in a Pod, put it on a volume. By default a folder for this repository and branch, below the
    /// user's state folder ($XDG_STATE_HOME/reverser, or ~/.local/state/reverser).
    #[arg(long, help_heading = REPOSITORY, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// How much unpushed commits may take on disk: 500MiB, 2GB
    ///
    /// At the limit recording waits until a push has succeeded. Nothing is lost: the API server keeps changes for some
    /// minutes, and what it has forgotten by then becomes one [SYNC] commit.
    #[arg(long, help_heading = REPOSITORY, value_name = "SIZE", default_value_t = Size(1 << 30))]
    pub(crate) state_limit: Size,
    /// How hard the local copy's packs, which are what is pushed, are compressed: 0 (not at all) to 9 (smallest)
    #[arg(long, help_heading = REPOSITORY, value_name = "LEVEL", default_value_t, hide_short_help = true)]
    pub(crate) compression: CompressionLevel,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
    /// Where each object's file stands
    ///
    /// Such as '{namespace}/{kind|lower}.{group}/{name}.yaml'. {group}, {version}, {resource}, {kind}, {namespace} and {name} are the object's; {kind|lower} is the kind in lower
    /// case. The core group is _core and cluster-scoped objects are in _cluster, or what {group|default("_x")} and
    /// {namespace|default("_x")} say. A template by which two objects could get the same file is refused. Files of another
    /// layout stay where they are. By default [<group>/]<version>/<resource>/[<namespace>/]<name>.yaml.
    #[arg(long, help_heading = MANIFESTS, value_name = "TEMPLATE")]
    pub(crate) layout: Option<TemplateLayout>,
    /// What the commit of a change says, as a Jinja template
    ///
    /// Such as '{{ operation|lower }} {{ kind }} {{ namespace }}/{{ name }}', with operation, group, version, kind, resource, namespace, name, uid, resourceVersion, actor, evidence
    /// and reason; what there isn't is empty. The first line is the subject. Trailers follow in any case. By default
    /// [UPDATE] apps/v1/deployments/web, with namespace and reason below.
    #[arg(long, help_heading = COMMITS, value_name = "TEMPLATE", value_parser = change_message)]
    pub(crate) message: Option<String>,
    /// What the commit of several changes says, as a Jinja template
    ///
    /// Such as '{{ actor or "several" }}: {{ total }} objects', with changes, total, operation, actor, actors, reasons, and objects, a list with operation, group,
    /// version, kind, resource, namespace, name, uid, resourceVersion and actors each; more says how many it lacks. By default
    /// [CREATE] 3 objects, with a line for each below.
    #[arg(long, help_heading = COMMITS, value_name = "TEMPLATE", value_parser = group_message)]
    pub(crate) group_message: Option<String>,
    /// What the commit of a complete list says, as a Jinja template
    ///
    /// Such as 'Bring {{ total }} objects in line', with total, removed and objects, a list by resource with group, version, kind, resource and
    /// count each. By default [SYNC] 15 objects, with counts below.
    #[arg(long, help_heading = COMMITS, value_name = "TEMPLATE", value_parser = sync_message)]
    pub(crate) sync_message: Option<String>,
    /// How long after a push the next one waits for more: 5s
    ///
    /// 0: no longer than the push under way, so that a branch at rest is pushed at once.
    #[arg(long, help_heading = COMMITS, value_name = "DURATION", value_parser = duration, default_value = "0")]
    pub(crate) push_interval: Duration,
    /// So many commits don't wait for --push-interval [default: it alone counts]
    #[arg(long, help_heading = COMMITS, value_name = "COMMITS")]
    pub(crate) push_max_commits: Option<NonZeroUsize>,
    /// How long one fetch or push may take: 10m
    ///
    /// It is ended then, and tried again. More helps where the first push is large or the way to the remote slow.
    #[arg(long, help_heading = COMMITS, value_name = "DURATION", value_parser = transfer_limit, default_value = "10m")]
    pub(crate) transfer_limit: Duration,
}

/// Zero would end every fetch.
fn transfer_limit(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing can be done in no time".to_owned()),
        limit => Ok(limit),
    }
}

#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// The kubeconfig [default: $KUBECONFIG, ~/.kube/config, or the Pod's own]
    #[arg(long, help_heading = CLUSTER, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, help_heading = CLUSTER, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SelectArgs {
    /// Only these: deployments.apps, cm [default: all but noise]
    #[arg(short, long, help_heading = SELECTION, value_name = "RESOURCE", value_delimiter = ',', num_args = 1..)]
    pub(crate) resource: Vec<String>,
    /// Only these namespaces
    #[arg(short, long, help_heading = SELECTION, value_name = "NAMESPACE", value_delimiter = ',', num_args = 1..)]
    pub(crate) namespace: Vec<String>,
    /// Only objects with these labels: app=web,tier!=test
    #[arg(short = 'l', long, help_heading = SELECTION, value_name = "SELECTOR")]
    pub(crate) selector: Option<LabelSelector>,
    /// Also capture this kind of noise, which no user authors
    ///
    /// `reverser watch --help` lists the kinds at its end, with reasons.
    #[arg(long, help_heading = SELECTION, value_name = "NOISE", value_delimiter = ',', hide_possible_values = true)]
    pub(crate) include: Vec<Include>,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

#[derive(Debug, Default, Args)]
pub(crate) struct FilterArgs {
    /// Only what this filter takes: 'namespace=a-* user!=bot'
    ///
    /// May be repeated: what one of them takes is recorded. A filter is terms that all have to hold, separated by blanks: resource, group, version, kind, namespace, name,
    /// label, annotation (KEY or KEY=VALUE), owner (KIND or KIND/NAME), manager (a field manager), user, operation
    /// (create, update, delete). TERM=VALUE, or TERM!=VALUE for the opposite; * and ? are wildcards, | separates
    /// alternatives, and a value with a blank stands in double quotes: label="app in (web,api)". Users and operations say
    /// which changes are recorded, the others which objects.
    #[arg(long, help_heading = SELECTION, value_name = "FILTER", value_parser = filter)]
    pub(crate) only: Vec<Filter>,
    /// Nothing that this filter takes
    ///
    /// May be repeated: what one of them takes is left out.
    #[arg(long, help_heading = SELECTION, value_name = "FILTER", value_parser = filter)]
    pub(crate) except: Vec<Filter>,
}

/// What is removed of each object.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CleanArgs {
    /// How much is removed of each object
    #[arg(long, help_heading = MANIFESTS, value_name = "PROFILE", value_enum, default_value_t)]
    pub(crate) profile: ProfileName,
    /// Keep what stands at this path: Pod:.spec.nodeName
    ///
    /// Whatever else would remove it. [KIND[.GROUP]:]PATH, in kubectl's JSONPath: .metadata.annotations["example.com/x"], .spec.containers[*].image,
    /// .spec.containers[?(@.name=="istio-proxy")]; .metadata.labels["kro.run/"*] is all keys that begin so.
    #[arg(long, help_heading = MANIFESTS, value_name = "[KIND:]PATH", value_parser = rule)]
    pub(crate) keep: Vec<FieldRule>,
    /// Remove what stands at this path, whoever wrote it
    #[arg(long, help_heading = MANIFESTS, value_name = "[KIND:]PATH", value_parser = drop_rule)]
    pub(crate) drop: Vec<FieldRule>,
}

impl CleanArgs {
    /// Returns what removes it.
    pub(crate) fn sanitizer(&self) -> Result<Sanitizer, DropError> {
        let sanitizer = self.keep.iter().cloned().fold(Sanitizer::new(self.profile.0), Sanitizer::keep);
        self.drop.iter().cloned().try_fold(sanitizer, Sanitizer::drop)
    }
}

/// An [`OnConflict`] as it is typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConflictChoice {
    /// Ours is committed on top, and says which commit it replaces
    #[default]
    Ours,
    /// Theirs stays; ours is pushed to a branch of its own, <branch>-reverser-<commit>
    Branch,
    /// Nothing is pushed until theirs is taken back
    Stop,
}

impl From<ConflictChoice> for OnConflict {
    fn from(choice: ConflictChoice) -> Self {
        match choice {
            ConflictChoice::Branch => Self::Branch,
            ConflictChoice::Ours => Self::Ours,
            ConflictChoice::Stop => Self::Stop,
        }
    }
}

/// The name of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProfileName(pub(crate) Profile);

impl ValueEnum for ProfileName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [ProfileName; Profile::ALL.len()] = {
            let [a, b, c] = Profile::ALL;
            [ProfileName(a), ProfileName(b), ProfileName(c)]
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(match self.0 {
            Profile::Faithful => "what servers own; defaults stay, so that the manifest says what the cluster runs",
            Profile::Minimal => "also what defaulting filled in, where the object shows that nobody wrote it",
            Profile::Neat => "what kubectl-neat removes: also authored values that equal a default, and most metadata",
        }))
    }
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct OutputArgs {
    /// How logs look [default: lines for people on a terminal]
    ///
    /// Where standard output is no terminal, the default is text.
    #[arg(long, help_heading = OUTPUT, value_name = "FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Json,
    Text,
}

/// A row of [`NOISE`], or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Include(pub(crate) &'static str);

/// Stands for every row.
pub(crate) const ALL: Include = Include("all");

impl ValueEnum for Include {
    fn value_variants<'a>() -> &'a [Self] {
        static ROWS: std::sync::LazyLock<Vec<Include>> =
            std::sync::LazyLock::new(|| NOISE.iter().map(|row| Include(row.name)).chain([ALL]).collect());
        &ROWS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0))
    }
}

/// A trailing `/` is how people write folders.
fn folder(text: &str) -> Result<RepoPath, reverser_core::RepoPathError> {
    text.strip_suffix('/').unwrap_or(text).parse()
}

fn rule(text: &str) -> Result<FieldRule, String> {
    text.parse().map_err(|error: FieldPathError| pointed(&error))
}

fn drop_rule(text: &str) -> Result<FieldRule, String> {
    let rule = rule(text)?;
    match Sanitizer::faithful().drop(rule.clone()) {
        Ok(_) => Ok(rule),
        Err(error) => Err(error.to_string()),
    }
}

/// What is wrong, above the text with a caret below the character.
fn pointed(error: &FieldPathError) -> String {
    format!("{}\n\n  {}\n  {:>column$}", error.reason(), error.text(), '^', column = error.at())
}

/// They are joined later; a mistake is to be told with the flag that has it.
fn change_message(template: &str) -> Result<String, MessageTemplateError> {
    TemplateMessage::default().changes(template).map(|_is_right| template.to_owned())
}

fn sync_message(template: &str) -> Result<String, MessageTemplateError> {
    TemplateMessage::default().syncs(template).map(|_is_right| template.to_owned())
}

fn group_message(template: &str) -> Result<String, MessageTemplateError> {
    TemplateMessage::default().groups(template).map(|_is_right| template.to_owned())
}

/// Reads `500ms`, `5s`, `1m 30s`, and `0`, which needs no unit.
fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration = text.parse::<SignedDuration>().map_err(|error| format!("{error}; write it like 500ms, 5s or 1m"))?;
    duration.try_into().map_err(|_negative| "a wait can't be negative".to_owned())
}

/// An error shows the place.
fn filter(text: &str) -> Result<Filter, String> {
    text.parse().map_err(|error: reverser_core::FilterError| {
        let lines: Vec<_> = error.pointed().lines().map(|line| format!("  {line}")).collect();
        format!("it is wrong at character {}:\n\n{}", error.at(), lines.join("\n"))
    })
}

fn noise_help() -> String {
    // Two lines a row: the parser's wrapping knows no columns.
    let rows = NOISE.iter().map(|row| format!("  {}\n      {}\n", row.name, row.reason));
    format!(
        "What no user authors is left out; --include NAME captures it all the same (--include all: everything):\n\n{}\n\
         Secrets are never written: there is nothing to encrypt them with yet.",
        rows.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_flag_that_commands_share_stands_under_a_heading_and_has_a_short_line() {
        let mut cli = Cli::command();
        cli.build();
        for name in ["check", "replay", "snapshot", "watch"] {
            let command = cli.find_subcommand(name).unwrap();
            for flag in command.get_opts().filter(|flag| flag.get_id() != "help") {
                let line = flag.get_help().unwrap().to_string();
                assert!(flag.get_help_heading().is_some(), "{name} --{}", flag.get_id());
                assert!(
                    line.chars().count() <= 75 || flag.is_hide_short_help_set(),
                    "{name} --{}: {line}",
                    flag.get_id()
                );
            }
        }
    }

    #[test]
    fn every_kind_of_noise_can_be_included_and_is_explained() {
        let help = noise_help();
        for row in NOISE {
            let cli = Cli::try_parse_from(["reverser", "watch", "--repo", "x", "--include", row.name]);
            assert!(cli.is_ok() && help.contains(row.name) && help.contains(row.reason), "{}", row.name);
        }
    }

    #[test]
    fn several_resources_may_be_given_in_any_of_the_usual_ways() {
        for given in [&["-r", "a", "b"][..], &["-r", "a", "-r", "b"], &["--resource", "a,b"], &["-r=a", "--resource=b"]]
        {
            let typed = ["reverser", "watch", "--repo", "x"].iter().chain(given);
            let Command::Watch(args) = Cli::try_parse_from(typed).unwrap().command else { panic!("watch") };
            assert_eq!(args.select.resource, ["a", "b"], "{given:?}");
        }
    }

    #[test]
    fn the_readme_has_the_table_of_noise_as_it_is() {
        let readme = include_str!("../../README.md");
        let cell = |name: &str| format!("| `{name}` | ");
        for row in NOISE {
            assert!(readme.contains(&cell(row.name)), "the README lacks {}", row.name);
        }
    }

    #[test]
    fn a_kubectl_plugin_is_called_through_kubectl() {
        assert_eq!(typed(Path::new("/usr/local/bin/kubectl-reverser")), "kubectl reverser");
        assert_eq!(typed(Path::new("kubectl-reverser.exe")), "kubectl reverser");
        assert_eq!(typed(Path::new("./reverser")), "reverser");
    }

    #[test]
    fn a_wrong_field_path_is_pointed_at() {
        let error = Cli::try_parse_from(["reverser", "watch", "--repo", "x", "--keep", "Pod:.spec[x]"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("\n  Pod:.spec[x]\n            ^\n"), "{error}");
    }

    #[test]
    fn dropping_what_names_an_object_is_a_usage_error() {
        let error = Cli::try_parse_from(["reverser", "watch", "--repo", "x", "--drop", ".metadata"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--drop") && error.to_string().contains("names no object"), "{error}");
    }

    #[test]
    fn a_filter_that_is_wrong_is_shown_with_a_caret_under_the_place() {
        for command in ["watch", "replay", "check", "snapshot"] {
            let log = if command == "replay" { &["a.log"][..] } else { &[] };
            let typed = [command, "--repo", "x", "--except", "name=a", "--only", "kind=Job usr=bob"];
            let error = Cli::try_parse_from(["reverser"].iter().chain(&typed).chain(log)).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let shown = error.to_string();
            assert!(shown.contains("\n  kind=Job usr=bob\n           ^ found \"usr\", expected one of"), "{shown}");
            assert!(shown.contains("--only <FILTER>"), "{shown}");
        }
    }

    #[test]
    fn the_filters_in_the_readme_are_filters() {
        let readme = include_str!("../../README.md");
        let quoted = readme.split("--only '").skip(1).chain(readme.split("--except '").skip(1));
        let examples: Vec<_> = quoted.map(|rest| rest.split('\'').next().unwrap().replace('…', "x")).collect();
        let table = readme.lines().filter(|line| line.contains("=") && line.starts_with("| `") && line.ends_with(" |"));
        let cells = table.flat_map(|line| line.split(" | ").next().unwrap().split('`').skip(1).step_by(2));
        let cells: Vec<_> = cells.map(|cell| cell.replace("\\|", "|")).collect();
        assert!(examples.len() > 5 && cells.len() > 8, "{examples:?} {cells:?}");
        for text in examples.iter().chain(&cells) {
            assert!(filter(text).is_ok(), "{text}: {:?}", filter(text));
        }
    }

    #[test]
    fn a_path_that_leaves_the_repository_is_a_usage_error_that_names_the_flag() {
        let error = Cli::try_parse_from(["reverser", "watch", "--repo", "x", "--path", "../y"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--path"), "{error}");
        assert!(Cli::try_parse_from(["reverser", "watch", "--repo", "x", "--path", "clusters/a/"]).is_ok());
    }

    #[test]
    fn a_template_that_is_wrong_is_a_usage_error_that_names_the_flag_and_the_place() {
        for (flag, template, place) in [
            ("--layout", "{group}/{resource}/{namespace}-{name}.yaml", "character 20"),
            ("--message", "{{ name }} {{ nmae }}", "line 1, column 15"),
            ("--group-message", "{{ name }}", "line 1, column 4"),
            ("--sync-message", "{{ name }}", "line 1, column 4"),
        ] {
            let error = Cli::try_parse_from(["reverser", "watch", "--repo", "x", flag, template]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(flag) && error.to_string().contains(place), "{error}");
        }
    }

    #[test]
    fn a_duration_that_is_none_is_a_usage_error_that_says_how_to_write_one() {
        for (flag, text, said) in [
            ("--push-interval", "5", "like 500ms, 5s or 1m"),
            ("--group-quiet", "soon", "like 500ms, 5s or 1m"),
            ("--group-max-age=-1s", "", "can't be negative"),
            ("--push-max-commits", "0", "--push-max-commits <COMMITS>"),
            ("--group-max-changes", "0", "--group-max-changes <CHANGES>"),
            ("--group", "author", "change, actor, interval"),
        ] {
            let typed = ["reverser", "watch", "--repo", "x", flag, text];
            let error = Cli::try_parse_from(typed.into_iter().filter(|text| !text.is_empty())).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
