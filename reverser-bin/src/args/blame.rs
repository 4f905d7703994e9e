//! Of which object, or field of it, the history is asked for.

use std::time::Duration;

use clap::{Args, ValueEnum};
use reverser_core::{FieldPath, RepoPath};
use reverser_git::{At, BranchName, RemoteUrl};
use reverser_k8s::blame::ObjectName;

use super::{
    clean::field_path,
    heading::{OUTPUT, REPOSITORY, SELECTION},
    place::{at, folder, transfer_limit},
};
use crate::access::AccessArgs;

#[derive(Debug, Args)]
pub(crate) struct BlameArgs {
    /// The object: deployment/web, deploy.apps/web, or its file in the repository
    ///
    /// By kind, plural or the short names that kubectl has for built-in kinds. No cluster is asked: an object is what its file
    /// says.
    #[arg(value_name = "OBJECT")]
    pub(crate) object: ObjectName,
    /// The object's namespace [default: any]
    #[arg(short, long, help_heading = SELECTION, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Show all values of this field: .spec.replicas
    ///
    /// As kubectl has paths: .spec.containers[?(@.name=="web")].image, .metadata.labels["example.com/a"]. Of a field that has fields
    /// itself, all changes below it.
    #[arg(long, help_heading = SELECTION, value_name = "PATH", value_parser = field_path)]
    pub(crate) field: Option<FieldPath>,
    /// The repository: a path or a URL
    #[arg(long, help_heading = REPOSITORY, value_name = "REPO")]
    pub(crate) repo: RemoteUrl,
    /// The branch
    #[arg(long, help_heading = REPOSITORY, value_name = "BRANCH", default_value = "main")]
    pub(crate) branch: BranchName,
    /// Begin with the branch as it was: a commit, or a time
    ///
    /// A commit's id, a tag, a branch; or 2026-11-21T10:00:00Z, '2h ago'. By default the branch's tip.
    #[arg(long, help_heading = REPOSITORY, value_name = "COMMIT|TIME", value_parser = at)]
    pub(crate) at: Option<At>,
    /// The folder inside the repository [default: its root]
    #[arg(long, help_heading = REPOSITORY, value_name = "DIR", value_parser = folder)]
    pub(crate) path: Option<RepoPath>,
    /// How long one fetch may take: 10m
    #[arg(long, help_heading = REPOSITORY, value_name = "DURATION", value_parser = transfer_limit, default_value = "10m")]
    pub(crate) transfer_limit: Duration,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// What to write
    #[arg(short, long, help_heading = OUTPUT, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: BlameFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BlameFormat {
    /// One document with all that is known of each field
    Json,
    /// A line for each field, or for what came as a whole
    #[default]
    Table,
}
