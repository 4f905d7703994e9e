//! The local bare repository of a writer, and what a crash leaves there.
//!
//! ```text
//! <state folder>/lock                      held while a writer is alive; has its process id
//! <state folder>/login[-<n>]/              what a writer logs in with, 0700; see remote/cli/login.rs
//! <state folder>/repository.git/
//!   git-at-work[-<n>]                      locked by each git that runs here: a start ends those of a killed writer
//!   objects/pack/pack-<id>.{pack,idx}      one per group of batches, fsynced before a ref names it, until they are joined
//!   objects/pack/pack-<id>.promisor        that pack was fetched: what it names may have been left at the remote
//!   refs/reverser/<branch>                 the only truth: a commit whose parent is the branch's tip and whose message
//!                                          holds the cursors, so that both move or none
//!   refs/heads/<branch>                    derived from it, for people
//!   refs/remotes/origin/<branch>           the remote's tip when it was last seen
//!   refs/incoming/<branch>                 what was fetched last
//!   refs/aside/<branch>                    what was put on a branch of its own, until that is pushed; the state says so, too
//!   refs/notes/reverser                    the remote's notes with ours, as they were pushed last or are about to be; those that
//!                                          aren't pushed are in the state
//!   refs/incoming-notes/reverser           what was fetched last of the notes
//! ```
//!
//! Crash before the state moves: a pack that nothing names; the sources repeat. Crash before a push's answer is noted:
//! the remote is ahead of `refs/remotes`; its tip is read at the next start, and only what it lacks is pushed.
//!
//! A crash while packs are joined: the joined pack, or those that it was made of, or both; what was half written is cleared
//! at the next start.
//!
//! A repository without a remote is the user's own, and others may use it, too. There the lock is in
//! `reverser/<branch>/`, `refs/reverser-moved/<branch>` is what `refs/remotes` is elsewhere, and `refs/heads/<branch>` moves as a
//! remote's branch does.
//!
//! The order on disk is pack and index, their folder, the state's lock file, its rename, its folder: each is fsynced here,
//! since neither gix nor git's defaults do it.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use reverser_core::{RepoPath, Signature};

use crate::{
    branch::BranchName,
    commit::Commit,
    deflate::CompressionLevel,
    fault,
    objects::{Id, Kind, Objects},
    remote::cli::Compared,
    sign::Signer,
    sink::SinkError,
    trees::Folder,
};

mod aside;
mod commit;
mod disk;
mod error;
mod foreign;
mod history;
mod join;
mod leftovers;
mod notes;
mod packs;
mod pushing;
mod replay;
mod restore;
mod sign;
mod state;

pub(crate) use aside::Aside;
pub(crate) use commit::{Committed, Work};
#[cfg(test)]
pub(crate) use disk::write_pack_files;
use disk::{Lock, clear_logins, clear_own_leftovers, create_state_dir, lock, sync_folder};
pub(crate) use disk::{create, create_again, replace_config, repository_in};
pub use error::OpenError;
pub(crate) use join::Join;
use join::PackFile;
use leftovers::clear_leftovers;
pub(crate) use leftovers::{GitInput, at_work, clear_temporary_packs};
use notes::{Moved, Waiting};
pub(crate) use notes::{NotesToSend, Sent};
use packs::Weight;
pub(crate) use packs::{JoinDue, finish};
pub(crate) use pushing::Pushable;
pub(crate) use replay::{Conflicted, Replayed};
pub(crate) use restore::Rewritten;

/// One branch in a local bare repository, and all that is known about it.
#[derive(Debug)]
pub(crate) struct Store {
    git_dir: PathBuf,
    remote: String,
    /// Whether others use the repository, too: the user's own, without a remote.
    is_shared: bool,
    branch: BranchName,
    /// Of the batch or the commit at hand.
    committer: Signature,
    /// All who have committed since it was opened: what they did is ours.
    committers: Vec<Signature>,
    signer: Option<Arc<dyn Signer>>,
    compression: CompressionLevel,
    objects: Objects,
    /// The tip's files.
    tree: Folder,
    tree_id: Id,
    tip: Option<Id>,
    /// The commit that the unpushed ones stand upon; `None`: they begin with a root.
    base: Option<Id>,
    /// From the oldest to the tip; a chain of first parents.
    unpushed: VecDeque<Unpushed>,
    /// The latest commit that was found to descend from the base.
    checked: Option<Id>,
    /// The remote's branch is gone, so what the unpushed commits stand upon is unpushed, too: so many.
    lost: Option<usize>,
    /// What was put on branches of their own that aren't on the remote yet.
    asides: Vec<Aside>,
    /// The notes that aren't on the remote yet.
    waiting: Waiting,
    /// Which commits have become others.
    moved: Moved,
    cursors: BTreeMap<String, String>,
    /// Whether the state ref exists: something was kept here before.
    has_state: bool,
    /// Whether a failure may have left memory other than the disk; nothing is done before it is read again.
    is_stale: bool,
    packs: Vec<PackFile>,
    /// The names of packs that were written since a join began: one of them may be among those that it replaces, as nothing
    /// named what it held when that was decided.
    written: HashSet<String>,
    /// What the unpushed commits take, the oldest first.
    weights: Vec<Weight>,
    /// Held until the store is dropped.
    _lock: Lock,
}

/// A commit that the remote doesn't have, as far as is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpushed {
    pub(crate) id: Id,
    pub(crate) at: Timestamp,
}

/// Where a store is and what it writes.
#[derive(Clone, Debug)]
pub(crate) struct StoreConfig {
    pub(crate) state_dir: PathBuf,
    /// The git folder of the user's own repository, when there is no remote; otherwise one is made in the state folder.
    pub(crate) repository: Option<PathBuf>,
    /// Where the branch is pushed to, without a password.
    pub(crate) remote: String,
    pub(crate) branch: BranchName,
    pub(crate) committer: Signature,
    pub(crate) signer: Option<Arc<dyn Signer>>,
    pub(crate) compression: CompressionLevel,
    /// Whose contents have to be here.
    pub(crate) compared: Compared,
}

impl StoreConfig {
    pub(crate) fn git_dir(&self) -> PathBuf {
        self.repository.clone().unwrap_or_else(|| self.state_dir.join("repository.git"))
    }

    /// Where the credentials of a writer, the first or another one that shares the store, are kept for git.
    pub(crate) fn login_dir(&self, writer: u32) -> PathBuf {
        self.state_dir.join(if writer == 1 { LOGIN.to_owned() } else { format!("{LOGIN}-{writer}") })
    }
}

impl Store {
    /// Opens or creates the repository in the state folder.
    pub(crate) fn open(config: StoreConfig) -> Result<Self, OpenError> {
        let (git_dir, is_shared) = (config.git_dir(), config.repository.is_some());
        let failed = |source| OpenError::Folder { folder: config.state_dir.clone(), source: Arc::new(source) };
        create_state_dir(&config.state_dir).map_err(&failed)?;
        let lock = lock(&config.state_dir)?;
        create(&git_dir, &config.branch).map_err(&failed)?;
        sync_folder(&config.state_dir).map_err(&failed)?;
        if is_shared {
            clear_own_leftovers(&git_dir, &config.branch).map_err(&failed)?;
        } else {
            clear_leftovers(&git_dir).map_err(&failed)?;
        }
        clear_logins(&config.state_dir, LOGIN).map_err(&failed)?;
        fault::reached("leftovers-cleared");
        let packs = packs::list(&git_dir, &[]).map_err(&failed)?;
        let objects = Objects::open(&git_dir, config.compression)?;
        let mut store = Self {
            tree: Folder::of(objects.empty_tree()),
            tree_id: objects.empty_tree(),
            objects,
            git_dir,
            remote: config.remote,
            is_shared,
            branch: config.branch,
            committers: vec![config.committer.clone()],
            committer: config.committer,
            signer: config.signer,
            compression: config.compression,
            tip: None,
            base: None,
            unpushed: VecDeque::new(),
            checked: None,
            lost: None,
            asides: Vec::new(),
            waiting: Waiting::default(),
            moved: Moved::new(Timestamp::now()),
            cursors: BTreeMap::new(),
            has_state: false,
            is_stale: true,
            packs,
            written: HashSet::new(),
            weights: Vec::new(),
            _lock: lock,
        };
        store.drop_broken_origin()?;
        store.refresh()?;
        store.is_of_remote(config.state_dir)?;
        Ok(store)
    }

    /// Notes that the remote's branch is at `tip`; when that is one of ours, all up to it are pushed.
    pub(crate) fn note_remote_tip(&mut self, tip: Id) -> Result<(), SinkError> {
        if let Some(index) = self.unpushed.iter().position(|unpushed| unpushed.id == tip) {
            self.unpushed.drain(..=index);
            self.base = Some(tip);
        }
        self.lost = None;
        self.drop_weights();
        // What was fetched is a pack too.
        self.list_packs()?;
        self.write_ref(&self.origin_ref(), tip)
    }

    /// Returns a file's content.
    pub(crate) fn read(&mut self, path: &RepoPath) -> Result<Option<Vec<u8>>, SinkError> {
        self.refresh()?;
        match self.tree.get(path.as_str().as_bytes(), &self.objects)? {
            Some(file) if file.is_regular() => self.content(path, file.id).map(Some),
            _ => Ok(None),
        }
    }

    /// Returns the files below a folder, by their paths below `under`.
    pub(crate) fn list(
        &mut self,
        folder: Option<&RepoPath>,
        under: Option<&RepoPath>,
    ) -> Result<Vec<RepoPath>, SinkError> {
        self.refresh()?;
        self.tree.list(folder, under, &self.objects)
    }

    pub(crate) fn cursors(&self) -> &BTreeMap<String, String> {
        &self.cursors
    }

    /// Returns where the remote's branch was when it was last seen.
    pub(crate) fn remote_tip(&self) -> Result<Option<Id>, SinkError> {
        self.objects.reference(&self.origin_ref())
    }

    /// Returns how many commits the remote doesn't have; a branch that was put aside counts as one.
    pub(crate) fn unpushed_count(&self) -> usize {
        self.unpushed.len() + self.lost.unwrap_or_default() + self.asides.len()
    }

    pub(crate) fn unpushed(&self) -> &VecDeque<Unpushed> {
        &self.unpushed
    }

    pub(crate) fn tip(&self) -> Option<Id> {
        self.tip
    }

    /// Returns the tip of the unpushed commits and what they stand upon; `None` when all is pushed.
    pub(crate) fn unpushed_span(&self) -> Option<(Id, Option<Id>)> {
        self.unpushed.back().map(|unpushed| (unpushed.id, self.base))
    }

    pub(crate) fn has_state(&self) -> bool {
        self.has_state
    }

    pub(crate) fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// After a failure, nothing half done stays.
    fn recover<T>(&mut self, result: Result<T, SinkError>) -> Result<T, SinkError> {
        if result.is_err() {
            self.forget_unwritten();
        }
        result
    }

    fn forget_unwritten(&mut self) {
        self.objects.discard_added();
        self.is_stale = true;
    }

    fn refresh(&mut self) -> Result<(), SinkError> {
        if self.is_stale {
            self.load()?;
            self.is_stale = false;
        }
        Ok(())
    }

    fn commit_of(&self, id: Id) -> Result<Commit, SinkError> {
        Commit::parse(&self.objects.read(id, Kind::Commit)?).ok_or_else(|| self.objects.malformed(id))
    }

    fn name(&self) -> String {
        self.git_dir.display().to_string()
    }

    fn failed(&self, action: &'static str, error: io::Error) -> SinkError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                SinkError::Full { action, sink: self.name(), source: Arc::new(error) }
            }
            _ => SinkError::store(action, &self.name(), error),
        }
    }
}

/// Folders whose name begins so hold credentials.
const LOGIN: &str = "login";
