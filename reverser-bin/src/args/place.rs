//! Where the objects go, and how.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use reverser_core::{MessageTemplateError, RepoPath, Signature, TemplateLayout, TemplateMessage};
use reverser_git::{At, AtError, BranchName, CompressionLevel, OnConflict, RemoteUrl};

use super::{
    duration,
    heading::{COMMITS, MANIFESTS, REPOSITORY},
};
use crate::{access::AccessArgs, sign::SignArgs, size::Size};

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

/// Which files of a repository are meant, and how to get at them: for what writes, and for what only reads.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// The branch
    ///
    /// What writes begins one that isn't there at the remote's default branch, with its files and history.
    #[arg(long, help_heading = REPOSITORY, value_name = "BRANCH", default_value = "main")]
    pub(crate) branch: BranchName,
    /// The folder inside the repository [default: its root]
    #[arg(long, help_heading = REPOSITORY, value_name = "DIR", value_parser = folder)]
    pub(crate) path: Option<RepoPath>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Where each object's file stands
    ///
    /// Such as '{namespace}/{kind|lower}.{group}/{name}.yaml'. {group}, {version}, {resource}, {kind}, {namespace} and
    /// {name} are the object's; {kind|lower} is the kind in lower case. The core group is _core and cluster-scoped
    /// objects are in _cluster, or what {group|default("_x")} and {namespace|default("_x")} say. A template by which
    /// two objects could get the same file is refused. Files of another layout stay where they are. By default
    /// [<group>/]<version>/<resource>/[<namespace>/]<name>.yaml.
    #[arg(long, help_heading = MANIFESTS, value_name = "TEMPLATE")]
    pub(crate) layout: Option<TemplateLayout>,
    /// How long one fetch or push may take: 10m
    ///
    /// It is ended then, and tried again. More helps where the first push is large or the way to the remote slow.
    #[arg(long, help_heading = COMMITS, value_name = "DURATION", value_parser = transfer_limit, default_value = "10m")]
    pub(crate) transfer_limit: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Let an absent branch begin without files and history
    #[arg(long, help_heading = REPOSITORY)]
    pub(crate) orphan: bool,
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
    /// At the limit recording waits until a push has succeeded. What happens meanwhile is read from etcd's history then;
    /// what that has forgotten, after five to ten minutes, becomes one [SYNC] commit.
    #[arg(long, help_heading = REPOSITORY, value_name = "SIZE", default_value_t = Size(1 << 30))]
    pub(crate) state_limit: Size,
    /// How hard the local copy's packs, which are what is pushed, are compressed: 0 (not at all) to 9 (smallest)
    #[arg(long, help_heading = REPOSITORY, value_name = "LEVEL", default_value_t, hide_short_help = true)]
    pub(crate) compression: CompressionLevel,
    #[command(flatten)]
    pub(crate) sign: SignArgs,
    /// What the commit of a change says, as a Jinja template
    ///
    /// Such as '{{ operation|lower }} {{ kind }} {{ namespace }}/{{ name }}', with operation, group, version, kind,
    /// resource, namespace, name, uid, resourceVersion, actor, evidence and reason; what there isn't is empty. The
    /// first line is the subject. Trailers follow in any case. By default [UPDATE] apps/v1/deployments/web, with
    /// namespace and reason below.
    #[arg(long, help_heading = COMMITS, value_name = "TEMPLATE", value_parser = change_message)]
    pub(crate) message: Option<String>,
    /// What the commit of several changes says, as a Jinja template
    ///
    /// Such as '{{ actor or "several" }}: {{ total }} objects', with changes, total, operation, actor, actors, reasons,
    /// and objects, a list with operation, group, version, kind, resource, namespace, name, uid, resourceVersion and
    /// actors each; more says how many it lacks. By default [CREATE] 3 objects, with a line for each below.
    #[arg(long, help_heading = COMMITS, value_name = "TEMPLATE", value_parser = group_message)]
    pub(crate) group_message: Option<String>,
    /// What the commit of a complete list says, as a Jinja template
    ///
    /// Such as 'Bring {{ total }} objects in line', with total, removed and objects, a list by resource with group,
    /// version, kind, resource and count each. By default [SYNC] 15 objects, with counts below.
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
}

/// What `2h ago` says is counted from now on.
pub(super) fn at(text: &str) -> Result<At, AtError> {
    At::parse(text, Timestamp::now())
}

/// Zero would end every fetch.
pub(super) fn transfer_limit(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing can be done in no time".to_owned()),
        limit => Ok(limit),
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

/// A trailing `/` is how people write folders.
pub(super) fn folder(text: &str) -> Result<RepoPath, reverser_core::RepoPathError> {
    text.strip_suffix('/').unwrap_or(text).parse()
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
