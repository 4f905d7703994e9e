//! What is restored, from where, and how far it goes.

use std::time::Duration;

use clap::{Args, ValueEnum};
use reverser_core::{LabelSelector, RepoPath};
use reverser_git::{At, BranchName, RemoteUrl};

use super::{
    CleanArgs, ClusterArgs, FilterArgs, SelectArgs,
    heading::{CLUSTER, OUTPUT, REPOSITORY, SELECTION},
    place::{at, folder, transfer_limit},
};
use crate::access::AccessArgs;

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The repository: a path or a URL
    #[arg(long, help_heading = REPOSITORY, value_name = "REPO")]
    pub(crate) repo: RemoteUrl,
    /// The branch
    #[arg(long, help_heading = REPOSITORY, value_name = "BRANCH", default_value = "main")]
    pub(crate) branch: BranchName,
    /// Restore what was: a commit, or a time [default: the tip]
    ///
    /// A commit's id, a tag, a branch; or 2026-11-21T10:00:00Z, '2h ago': then the branch's last commit that isn't later, by the
    /// date of its committer.
    #[arg(long, help_heading = REPOSITORY, value_name = "COMMIT|TIME", value_parser = at)]
    pub(crate) at: Option<At>,
    /// The folder inside the repository [default: its root]
    ///
    /// All manifests below it are restored, whatever their layout: objects say who they are.
    #[arg(long, help_heading = REPOSITORY, value_name = "DIR", value_parser = folder)]
    pub(crate) path: Option<RepoPath>,
    /// How long one fetch may take: 10m
    #[arg(long, help_heading = REPOSITORY, value_name = "DURATION", value_parser = transfer_limit, default_value = "10m")]
    pub(crate) transfer_limit: Duration,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) clean: CleanArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Ask the API server what it would do, and change nothing
    #[arg(long, help_heading = CLUSTER)]
    pub(crate) dry_run: bool,
    /// Take fields back that others have written
    ///
    /// Otherwise an object of which others have changed what Git has, or have added fields that Git doesn't have, is left as it is, and its
    /// line names the fields and who has them. Fields that controllers keep, as reverser knows them, stay in any case.
    #[arg(long, help_heading = CLUSTER)]
    pub(crate) force_conflicts: bool,
    /// Delete selected objects that Git doesn't have
    ///
    /// They are listed first, before anything is done, and it asks on a terminal. They are deleted once all else was restored without a
    /// failure, and only as they were listed. Never: Secrets, noise, and namespaces or CRDs with anything in them that isn't listed.
    #[arg(long, help_heading = CLUSTER)]
    pub(crate) prune: bool,
    /// Don't ask before --prune deletes
    #[arg(long, short, help_heading = CLUSTER, requires = "prune")]
    pub(crate) yes: bool,
    /// Let --prune delete however many they are
    ///
    /// Otherwise nothing is done when it would delete more than 20 objects and more than half of those of a resource, or of all:
    /// the wrong --path looks like that.
    #[arg(long, help_heading = CLUSTER, requires = "prune")]
    pub(crate) allow_mass_delete: bool,
    /// Only these: deployments.apps, cm [default: all that Git has]
    #[arg(short, long, help_heading = SELECTION, value_name = "RESOURCE", value_delimiter = ',', num_args = 1..)]
    pub(crate) resource: Vec<String>,
    /// Only these namespaces
    #[arg(short, long, help_heading = SELECTION, value_name = "NAMESPACE", value_delimiter = ',', num_args = 1..)]
    pub(crate) namespace: Vec<String>,
    /// Only objects with these labels: app=web,tier!=test
    #[arg(short = 'l', long, help_heading = SELECTION, value_name = "SELECTOR")]
    pub(crate) selector: Option<LabelSelector>,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
    /// How the result is written
    #[arg(short, long, help_heading = OUTPUT, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: RestoreFormat,
}

impl RestoreArgs {
    /// Returns the selection as other commands have it.
    pub(crate) fn select(&mut self) -> SelectArgs {
        SelectArgs {
            resource: std::mem::take(&mut self.resource),
            namespace: std::mem::take(&mut self.namespace),
            selector: self.selector.take(),
            include: Vec::new(),
            filters: std::mem::take(&mut self.filters),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RestoreFormat {
    /// One document at the end: the commit, all objects, what was left alone, and counts
    Json,
    /// A line for each object that is as Git says: deployment.apps/web -n shop
    Name,
    /// A line for each object, and a summary
    #[default]
    Text,
}
