//! What `diff` compares, and how it says so.

use std::time::Duration;

use clap::{Args, ValueEnum};
use reverser_git::{At, RemoteUrl};

use super::{
    CleanArgs, ClusterArgs, FilesArgs, SelectArgs, duration,
    heading::{CLUSTER, OUTPUT, REPOSITORY},
    place::at,
};

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The repository: a path or a URL
    #[arg(long, help_heading = REPOSITORY, value_name = "REPO")]
    pub(crate) repo: RemoteUrl,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Compare with the branch as it was: a commit, or a time
    ///
    /// A commit's id, a tag, a branch; or 2026-11-21T10:00:00Z, '2h ago'. By default the branch's tip.
    #[arg(long, help_heading = REPOSITORY, value_name = "COMMIT|TIME", value_parser = at)]
    pub(crate) at: Option<At>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Name what may not be listed, and don't count it
    ///
    /// Otherwise a resource that this user may not list makes the exit code 2: it could not be compared. With this it is as in the
    /// files of a watch that may not list it either.
    #[arg(long, help_heading = CLUSTER)]
    pub(crate) allow_forbidden: bool,
    /// Look again after this time at what differs: 5s
    ///
    /// What has changed in Git by then is on its way there, by a watch that runs beside this, and doesn't count. So a
    /// busy cluster gives no alarm. 0: one look is enough, as where nothing writes to the branch.
    #[arg(long, help_heading = CLUSTER, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub(crate) settle: Duration,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) clean: CleanArgs,
    /// What to write of each difference
    #[arg(short, long, help_heading = OUTPUT, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: DiffFormat,
    /// Whether the diff is coloured
    #[arg(long, alias = "colour", help_heading = OUTPUT, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: ColorChoice,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffFormat {
    /// A line, and a unified diff from Git to the cluster
    #[default]
    Diff,
    /// One document: all differences with both sides, what could not be compared, and counts
    Json,
    /// One line: different deployment.apps/web -n shop
    Name,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    Always,
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Never,
}
