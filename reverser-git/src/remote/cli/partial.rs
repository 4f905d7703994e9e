//! A local repository that leaves contents at the remote, as git's partial clones do (gitrepository-layout(5), partial-clone).
//!
//! Commits and trees come with their history; of contents, only those of the tip that a writer compares with, in one request
//! after each fetch. Nothing else ever asks for one: the promisor remote has no address, except in the fetches here.
//! A server that can't filter sends everything, which is as right.

use std::{
    fs, io,
    path::Path,
    process::Output,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use reverser_core::RepoPath;
use tokio::process::Command;

use crate::{
    fault,
    remote::{
        RemoteError,
        cli::{CliRemote, Configuration, READ_LIMIT, Session, git},
    },
    sink::{CommitId, SinkError},
    store::{GitInput, replace_config},
};

/// What of the remote's contents is kept here.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// Whether contents may be absent here.
    is_partial: bool,
    /// Whether the server is known to send no contents by their ids.
    is_denied: AtomicBool,
    compared: Compared,
}

/// The folders whose contents are compared, by the writers that share a repository.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compared(Arc<Mutex<Vec<Option<RepoPath>>>>);

impl Compared {
    /// Adds a writer's folder; `None`: all files.
    pub(crate) fn add(&self, under: Option<RepoPath>) {
        let mut folders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !folders.contains(&under) {
            folders.push(under);
        }
    }

    fn folders(&self) -> Vec<Option<RepoPath>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Partial {
    /// Lets contents be absent from a repository that holds nothing yet; one that holds everything goes on like that.
    fn open(git_dir: &Path, compared: Compared) -> io::Result<Self> {
        let config = fs::read_to_string(git_dir.join("config"))?;
        let is_partial = config.contains(EXTENSION);
        let is_empty = || -> io::Result<bool> { Ok(fs::read_dir(git_dir.join("objects/pack"))?.next().is_none()) };
        let is_made = !is_partial && is_empty()?;
        if is_made {
            replace_config(git_dir, &partial_config(&config))?;
        }
        Ok(Self { is_partial: is_partial || is_made, compared, ..Self::default() })
    }
}

impl CliRemote {
    /// From here on contents stay at the remote, but for those below the folders that writers compare with.
    pub(crate) fn comparing_below(mut self, compared: Compared) -> Result<Self, RemoteError> {
        let failed = |source| SinkError::store("configure", &self.git_dir.to_string_lossy(), source);
        let partial = Partial::open(&self.git_dir, compared);
        self.partial = partial.map_err(|source| RemoteError::Local { source: failed(source).into() })?;
        Ok(self)
    }

    /// Returns a fetch up to the remote; refspecs are to follow. Contents stay there where that is the custom.
    pub(super) fn fetch_command(&self, session: &Session) -> Command {
        self.fetch_command_with(session, &[])
    }

    /// Returns [`fetch_command`](Self::fetch_command) with options more.
    pub(super) fn fetch_command_with(&self, session: &Session, options: &[&str]) -> Command {
        let is_filtered = self.partial.is_partial && !self.partial.is_denied.load(Ordering::Relaxed);
        let filter: &[_] = if is_filtered { &["--filter=blob:none"] } else { &[] };
        self.fetch_with(session, &[], &[filter, options].concat())
    }

    /// Fetches the contents that are compared, as far as they aren't here.
    pub(super) async fn fetch_missing(&self, commit: &CommitId) -> Result<(), RemoteError> {
        if !self.partial.is_partial {
            return Ok(());
        }
        let roots = self.compared(commit).await?;
        if roots.is_empty() {
            return Ok(());
        }
        let session = self.login.session().await?;
        let output = match self.fetch_objects(&session, &self.missing(&session, &roots).await?).await? {
            Some(output) if is_refusal(&output) => output,
            Some(output) => return Err(self.failed("fetch from", &output, &session)),
            None => {
                fault::reached("contents-fetched");
                return Ok(());
            }
        };
        let words = session.words(&output.stderr);
        tracing::info!(url = %self.url, words, "the server sends no contents by their ids; everything is fetched");
        self.partial.is_denied.store(true, Ordering::Relaxed);
        let mut command = self.fetch_everything(&session);
        command.arg(commit.as_str());
        let output = self.run(command, "fetch from", self.transfer_limit).await?;
        if output.status.success() { Ok(()) } else { Err(self.failed("fetch from", &output, &session)) }
    }

    /// Returns a fetch that brings all contents, whatever is here; refspecs are to follow.
    pub(super) fn fetch_everything(&self, session: &Session) -> Command {
        self.fetch_with(session, &[WITHOUT_HAVES], &["--refetch", "--no-filter"])
    }

    /// Whether a push failed since contents that it needs were left at the remote: its branch is gone, and all of it is pushed.
    pub(super) fn lacks_contents(&self, output: &Output) -> bool {
        let said = String::from_utf8_lossy(&output.stderr);
        self.partial.is_partial && !output.status.success() && said.contains("promisor remote")
    }

    /// Fetches all contents of a commit's history that aren't here: a branch that is gone may have left them there.
    pub(super) async fn fetch_all_missing(&self, commit: &CommitId) -> Result<(), RemoteError> {
        let session = self.login.session().await?;
        match self.fetch_objects(&session, &self.missing(&session, &[commit.to_string()]).await?).await? {
            None => Ok(()),
            Some(output) => Err(RemoteError::Failed {
                action: "push to",
                url: self.url.clone(),
                words: format!(
                    "its branch is gone, and contents of files went with it that were never copied here: push the branch \
                     there again from a repository that has them, or choose another branch or another state folder ({})",
                    session.words(&output.stderr)
                ),
            }),
        }
    }

    /// Fetches objects by their ids, a line each; returns what git said if it failed.
    pub(super) async fn fetch_objects(&self, session: &Session, ids: &str) -> Result<Option<Output>, RemoteError> {
        if ids.is_empty() {
            return Ok(None);
        }
        let failed = |source| SinkError::store("list missing objects of", &self.git_dir.to_string_lossy(), source);
        let local = |source| RemoteError::Local { source: failed(source).into() };
        let mut command = self.fetch_with(session, &[WITHOUT_HAVES], &["--filter=blob:none", "--stdin"]);
        let input = GitInput::create(&self.git_dir, ids).map_err(local)?;
        command.stdin(input.stdio().map_err(local)?);
        let output = self.run(command, "fetch from", self.transfer_limit).await?;
        Ok((!output.status.success()).then_some(output))
    }

    /// Returns the trees whose files are compared, but for folders that aren't there yet.
    async fn compared(&self, commit: &CommitId) -> Result<Vec<String>, RemoteError> {
        let mut trees = Vec::new();
        for under in self.partial.compared.folders() {
            let Some(under) = under else { return Ok(vec![format!("{commit}^{{tree}}")]) };
            let mut command = git(Some(&self.git_dir), Configuration::Ours, None);
            command.args(["rev-parse", "--verify", "--quiet", &format!("{commit}:{under}")]);
            let output = self.run(command, "list the files of", READ_LIMIT).await?;
            let tree = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
            trees.extend(Some(tree).filter(|tree| !tree.is_empty()));
        }
        Ok(trees)
    }

    /// Returns the ids of what isn't here of commits' histories or trees, a line each.
    async fn missing(&self, session: &Session, roots: &[String]) -> Result<String, RemoteError> {
        let mut command = git(Some(&self.git_dir), Configuration::Ours, None);
        command.args(["rev-list", "--objects", "--no-object-names", "--missing=print"]).args(roots);
        let output = self.run(command, "list the files of", self.transfer_limit).await?;
        if !output.status.success() {
            return Err(self.failed("list the files of", &output, session));
        }
        let objects = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(objects.lines().filter_map(|line| line.strip_prefix('?')).flat_map(|id| [id, "\n"]).collect())
    }

    fn fetch_with(&self, session: &Session, settings: &[&str], options: &[&str]) -> Command {
        // This command alone knows the address.
        let address = format!("remote.{PROMISOR}.url={}", self.url.as_str());
        // It takes what follows `--git-dir`, and that may be an option as well.
        let mut command = session.git(&self.git_dir, "-c");
        command.arg(address);
        command.args(settings.iter().flat_map(|setting| ["-c", setting]));
        // unpackLimit: a pack, since loose objects would wait for a gc that never comes.
        command.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]);
        command.args(options).args(["--", PROMISOR]);
        command
    }
}

/// Adds what makes a repository a partial clone, with the format that knows of extensions. A pack that lacks contents can't have a
/// bitmap, upon which a `git repack -a` of somebody's would fail.
fn partial_config(config: &str) -> String {
    let config = config.replace("repositoryformatversion = 0", "repositoryformatversion = 1");
    format!(
        "{config}[extensions]\n\t{EXTENSION} = {PROMISOR}\n\
         [remote \"{PROMISOR}\"]\n\tpromisor = true\n\tpartialclonefilter = blob:none\n\
         [repack]\n\twriteBitmaps = false\n"
    )
}

/// Whether the server sends refs alone: one that speaks an old protocol, and isn't told otherwise.
fn is_refusal(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    ["not our ref", "unadvertised object"].iter().any(|words| said.contains(words))
}

/// The name that the remote has in the local configuration.
const PROMISOR: &str = "reverser";

const EXTENSION: &str = "partialClone";

/// Doesn't tell what is here: by its history, the server would think that all contents are.
const WITHOUT_HAVES: &str = "fetch.negotiationAlgorithm=noop";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BranchName, objects::Objects};

    #[test]
    fn an_empty_repository_becomes_a_partial_one_that_opens_again_and_a_full_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        crate::store::create(folder.path(), &BranchName::default()).unwrap();
        let config = || fs::read_to_string(folder.path().join("config")).unwrap();
        let plain = config();
        fs::write(folder.path().join("objects/pack/pack-x.idx"), "").unwrap();
        assert!(!Partial::open(folder.path(), Compared::default()).unwrap().is_partial);
        assert_eq!(config(), plain);
        fs::remove_file(folder.path().join("objects/pack/pack-x.idx")).unwrap();
        assert!(Partial::open(folder.path(), Compared::default()).unwrap().is_partial);
        let partial = config();
        assert!(partial.contains("repositoryformatversion = 1"), "{partial}");
        assert!(Partial::open(folder.path(), Compared::default()).unwrap().is_partial);
        assert_eq!(config(), partial, "made once");
        Objects::open(folder.path(), crate::CompressionLevel::default()).unwrap();
    }
}
