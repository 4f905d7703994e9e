//! What can be typed.

mod attribution;
mod blame;
mod clean;
mod coalesce;
mod diff;
mod group;
mod heading;
mod identity;
mod listen;
mod place;
mod restore;
mod select;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;
use reverser_git::RemoteUrl;
use reverser_k8s::identities::IdentitySource;

#[cfg(feature = "demo")]
pub(crate) use self::place::ConflictChoice;
pub(crate) use self::{
    attribution::{AdmissionFeed, AttributionArgs, AuditFeed, Feeds, Tls},
    blame::{BlameArgs, BlameFormat},
    clean::CleanArgs,
    coalesce::CoalesceArgs,
    diff::{ColorChoice, DiffArgs, DiffFormat},
    group::GroupArgs,
    heading::{LOGIN, SIGNING},
    identity::IdentityArgs,
    listen::ListenArgs,
    place::{FilesArgs, PlaceArgs, RepoArgs},
    restore::{RestoreArgs, RestoreFormat},
    select::{ALL, FilterArgs, SelectArgs},
};
use self::{
    heading::{ATTRIBUTION, CLUSTER, OUTPUT, REPOSITORY, SELECTION},
    select::noise_help,
};
use crate::size::Size;

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

Exit codes: 0 done, 1 failed, 2 wrong usage; of diff: 0 equal, 1 different, 2 error.";

const BLAME_EXAMPLES: &str = "\
Examples:
  reverser blame deployment/web -n shop --repo ./my-cluster.git
  reverser blame deploy.apps/web --field .spec.replicas --repo ./my-cluster.git
  reverser blame v1/configmaps/shop/web.yaml --repo ./my-cluster.git -o json

Exit codes: 0 done, 1 there is no such object or field, or it failed, 2 wrong usage.";

const DIFF_EXIT_CODES: &str = "\
Exit codes: 0 Git and the cluster are equal, 1 they differ, 2 something could not be compared. Nothing is called \
equal that was not looked at.";

const RESTORE_EXIT_CODES: &str = "\
Exit codes: 0 all is restored, 1 something failed or was declined, 2 wrong usage.";

/// Words `--transfer-limit` for a command that never pushes.
fn only_reads(transfer_limit: clap::Arg) -> clap::Arg {
    transfer_limit.help_heading(heading::REPOSITORY).help("How long one fetch may take: 10m").long_help(None)
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(crate) enum Command {
    /// Show who made an object what it is, field by field
    ///
    /// Reads the branch's history, and no cluster: each field with who wrote it, when, how that is known, and the commit. With
    /// --field, all values that it had. It follows an object through other layouts, and works beside a running watch.
    #[command(after_help = BLAME_EXAMPLES)]
    Blame(BlameArgs),
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
    /// Compare a cluster with what Git says of it
    ///
    /// Reads what the cluster holds and the files of the branch, and changes neither; it works beside a running watch.
    /// An object is missing when Git has no file of it, extra when Git has a file and the object is gone, different
    /// when both say something else; a diff leads from Git to the cluster. How a file is formatted makes no difference,
    /// and files that reverser wouldn't write are nobody's business.
    #[command(after_help = DIFF_EXIT_CODES, mut_arg("transfer_limit", only_reads))]
    Diff(DiffArgs),
    /// Turn an API server's audit log into history
    ///
    /// Commits each successful write in the log, by its user and with its time. The log has to hold what was written:
    /// audit level RequestResponse (or Request, for creates and updates). Run again with a longer log, it goes on where
    /// it ended.
    Replay(ReplayArgs),
    /// Bring a cluster back to what Git says, or to what it said
    ///
    /// Applies all manifests of the branch, as it is or as it was, by server-side apply: CRDs and namespaces first,
    /// webhooks last. An object that is as Git says isn't written. Each object has a line that says what became of it,
    /// or what failed and what to do; the others are restored all the same. Secrets aren't in the repository.
    #[command(after_help = RESTORE_EXIT_CODES)]
    Restore(RestoreArgs),
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
    /// Needs nothing installed in the cluster and only the verbs get, list and watch; more with --attribution admission. The
    /// first commit brings Git in line with the cluster; after it each change is a commit of its own. What was recorded and
    /// not yet pushed is kept in the state folder; started again, it goes on where it ended.
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
    #[command(flatten)]
    pub(crate) attribution: AttributionArgs,
    /// The rules that give users names and addresses, if there are any
    #[arg(long, help_heading = ATTRIBUTION, value_name = "SOURCE")]
    pub(crate) identities: Option<IdentitySource>,
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
    pub(crate) coalesce: CoalesceArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
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
    /// What it puts back is removed. It finds defaults where the object itself doesn't show them, those of CRDs and
    /// admission webhooks too. Nothing is stored. It takes the verb create on the objects' resources, and about a
    /// hundred requests for a Deployment.
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
    pub(crate) coalesce: CoalesceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) attribution: AttributionArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// How often all that is captured is compared with Git: 1h; 0: never
    ///
    /// Each resource once in that time, one after the other. Nothing should differ: what does is told, and repaired by
    /// a [VERIFY] commit that names it. Files that somebody changed by hand are among it, and so is what users are left
    /// out for by --only and --except.
    #[arg(long, help_heading = CLUSTER, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    pub(crate) verify_interval: Duration,
    /// Remove files of vanished objects however many they are
    ///
    /// Otherwise, when a list lacks more than 20 objects and more than half of those that Git has, their files stay and a
    /// message says so: a wrong kubeconfig looks like that.
    #[arg(long, help_heading = SELECTION)]
    pub(crate) allow_mass_delete: bool,
    /// How much of what was read may wait in memory for its commit: 64MiB, 1GB
    ///
    /// At the limit nothing more is read: the streams from the API server are closed, and opened again where they were when
    /// there is room.
    #[arg(long, help_heading = CLUSTER, value_name = "SIZE", default_value_t = Size(64 << 20), hide_short_help = true)]
    pub(crate) queue_bytes: Size,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterArgs {
    /// The kubeconfig [default: $KUBECONFIG, ~/.kube/config, or the Pod's own]
    #[arg(long, help_heading = CLUSTER, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, help_heading = CLUSTER, value_name = "NAME")]
    pub(crate) context: Option<String>,
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

/// Reads `500ms`, `5s`, `1m 30s`, and `0`, which needs no unit.
fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration = text.parse::<SignedDuration>().map_err(|error| format!("{error}; write it like 500ms, 5s or 1m"))?;
    duration.try_into().map_err(|_negative| "a wait can't be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use reverser_core::NOISE;

    use super::{select::filter, *};

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_flag_that_commands_share_stands_under_a_heading_and_has_a_short_line() {
        let mut cli = Cli::command();
        cli.build();
        for name in ["blame", "check", "diff", "replay", "restore", "snapshot", "watch"] {
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
            ("--coalesce", "5", "like 500ms, 5s or 1m"),
            ("--coalesce-only", "name=web", "--coalesce <DURATION>"),
        ] {
            let typed = ["reverser", "watch", "--repo", "x", flag, text];
            let error = Cli::try_parse_from(typed.into_iter().filter(|text| !text.is_empty())).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
