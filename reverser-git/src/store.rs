//! The local bare repository of a writer, and what a crash leaves there.
//!
//! ```text
//! <state folder>/lock                      held while a writer is alive; has its process id
//! <state folder>/login[-<n>]/              what a writer logs in with, 0700; see remote/cli/login.rs
//! <state folder>/repository.git/
//!   git-at-work                            locked by each git that runs here: a start ends those of a killed writer
//!   objects/pack/pack-<id>.{pack,idx}      one per group of batches, fsynced before a ref names it, until they are joined
//!   objects/pack/pack-<id>.promisor        that pack was fetched: what it names may have been left at the remote
//!   refs/reverser/<branch>                 the only truth: a commit whose parent is the branch's tip and whose message
//!                                          holds the cursors, so that both move or none
//!   refs/heads/<branch>                    derived from it, for people
//!   refs/remotes/origin/<branch>           the remote's tip when it was last seen
//!   refs/incoming/<branch>                 what was fetched last
//!   refs/aside/<branch>                    what was put on a branch of its own, until that is pushed
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
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use reverser_core::{CommitPlan, Edit, RepoPath, Signature};

use crate::{
    branch::BranchName,
    commit::{Commit, State, ident, message},
    deflate::CompressionLevel,
    fault,
    objects::{Id, Kind, ObjectFormat, Objects},
    remote::cli::Compared,
    sign::Signer,
    sink::{Batch, Obstructed, Outcome, SinkError, is_unchanged, move_cursors},
    trees::{self, Blocked, Folder, REGULAR, Standing},
    url::RemoteUrl,
};

mod aside;
mod disk;
mod error;
mod foreign;
mod history;
mod join;
mod leftovers;
mod packs;
mod pushing;
mod replay;
mod restore;
mod sign;

pub(crate) use aside::Aside;
use disk::{Lock, Users, clear_logins, clear_own_leftovers, lock, sync_folder, write_ref_file};
pub(crate) use disk::{create, create_again, replace_config, repository_in};
pub use error::OpenError;
pub(crate) use join::Join;
use join::PackFile;
use leftovers::clear_leftovers;
pub(crate) use leftovers::{at_work, clear_temporary_packs};
use packs::Weight;
pub(crate) use packs::{clear_failed_join, finish};
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

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Committed {
    /// One for each plan.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) obstructed: Vec<Obstructed>,
}

/// Says which file it is.
#[derive(Debug, thiserror::Error)]
#[error("{path} can't be read")]
struct UnreadableFile {
    path: RepoPath,
    source: SinkError,
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

/// A batch, and who commits it. Its paths are the repository's.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) batch: Batch,
    pub(crate) committer: Signature,
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
        fs::create_dir_all(&config.state_dir).map_err(&failed)?;
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
        let packs = packs::list(&git_dir).map_err(&failed)?;
        let objects = Objects::open(&git_dir)?;
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
            cursors: BTreeMap::new(),
            has_state: false,
            is_stale: true,
            packs,
            written: HashSet::new(),
            weights: Vec::new(),
            _lock: lock,
        };
        store.refresh()?;
        store.load_asides()?;
        store.is_of_remote(config.state_dir)?;
        Ok(store)
    }

    /// Commits the batches in order, all of them durable when this returns; returns what became of each.
    pub(crate) fn commit(&mut self, batches: &[Work], now: Timestamp) -> Result<Vec<Committed>, SinkError> {
        let outcomes = self.try_commit(batches, now);
        self.recover(outcomes)
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

    /// Returns the files below a folder, by their paths below `under`. Those whose name there isn't a [`RepoPath`] are
    /// somebody else's, and left out.
    pub(crate) fn list(
        &mut self,
        folder: Option<&RepoPath>,
        under: Option<&RepoPath>,
    ) -> Result<Vec<RepoPath>, SinkError> {
        self.refresh()?;
        let folder = folder.map(RepoPath::as_str).unwrap_or_default();
        let root = under.map(|under| format!("{under}/")).unwrap_or_default();
        let mut paths: Vec<RepoPath> = Vec::new();
        self.tree.walk(folder.as_bytes(), &self.objects, &mut |path, file| {
            let path = std::str::from_utf8(path).ok().and_then(|path| path.strip_prefix(&root)?.parse().ok());
            paths.extend(path.filter(|_| file.is_regular()));
        })?;
        paths.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(paths)
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

    /// Makes the repository one of this format, where nothing is kept yet; returns whether it is one.
    pub(crate) fn begin_with(&mut self, format: ObjectFormat) -> Result<bool, SinkError> {
        if format != self.objects.format() && !self.has_state {
            let failed = |error| self.failed("change the object format of", error);
            create_again(&self.git_dir, &self.branch, format).map_err(failed)?;
            self.reopen()?;
            self.is_stale = true;
            self.refresh()?;
        }
        Ok(format == self.objects.format())
    }

    pub(crate) fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// Each writer of the branch has a committer of its own.
    fn commit_as(&mut self, committer: &Signature) {
        self.committer.clone_from(committer);
        if !self.committers.contains(committer) {
            self.committers.push(committer.clone());
        }
    }

    /// Commits by whoever made this commit.
    fn commit_as_before(&mut self, commit: &Commit) {
        if let Some(committer) = commit.committed_by() {
            self.commit_as(&committer);
        }
    }

    fn try_commit(&mut self, batches: &[Work], now: Timestamp) -> Result<Vec<Committed>, SinkError> {
        self.refresh()?;
        let (mut tip, mut cursors, mut made) = (self.tip, self.cursors.clone(), Vec::new());
        let mut outcomes = Vec::with_capacity(batches.len());
        for Work { batch, committer } in batches {
            self.commit_as(committer);
            let mut of_batch = Vec::with_capacity(batch.plans.len());
            let mut obstructed = Vec::new();
            for plan in &batch.plans {
                match self.apply(plan, tip, now, &mut obstructed)? {
                    Some(id) => {
                        tip = Some(id);
                        made.push(Unpushed { id, at: now });
                        of_batch.push(Outcome::Committed(id.into()));
                    }
                    None => of_batch.push(Outcome::Unchanged),
                }
            }
            move_cursors(&mut cursors, batch.cursors.clone());
            outcomes.push(Committed { outcomes: of_batch, obstructed });
        }
        if made.is_empty() && cursors == self.cursors {
            self.objects.take_added();
            return Ok(outcomes);
        }
        self.write(tip, self.state(cursors), now)?;
        self.unpushed.extend(made);
        Ok(outcomes)
    }

    /// Applies a plan to the tree; returns its commit, or `None` when it changes nothing.
    fn apply(
        &mut self,
        plan: &CommitPlan,
        parent: Option<Id>,
        now: Timestamp,
        obstructed: &mut Vec<Obstructed>,
    ) -> Result<Option<Id>, SinkError> {
        for edit in &plan.edits {
            let path = edit.path();
            match edit {
                Edit::Delete { .. } => self.delete(path)?,
                Edit::Put { content, .. } => {
                    if let Some(Blocked { at, obstacle }) = self.put(path, content)? {
                        let at = String::from_utf8_lossy(&at).into_owned();
                        obstructed.push(Obstructed { path: edit.path().clone(), at, obstacle });
                    }
                }
            }
        }
        let author = ident(plan.author.as_ref().unwrap_or(&self.committer), plan.date);
        self.add_commit(parent, author, message(&plan.message), now)
    }

    /// Deletes a file; a symbolic link or a submodule is none.
    fn delete(&mut self, path: &RepoPath) -> Result<(), SinkError> {
        let at = path.as_str().as_bytes();
        match self.tree.get(at, &self.objects)? {
            Some(file) if file.is_regular() => self.tree.remove(at, &self.objects),
            _ => Ok(()),
        }
    }

    /// Puts a file, unless the one that stands there means the same. Returns what is nobody's to replace and in the way.
    fn put(&mut self, path: &RepoPath, content: &[u8]) -> Result<Option<Blocked>, SinkError> {
        let at = path.as_str().as_bytes();
        let standing = self.tree.standing(at, &self.objects)?;
        if let Some(blocked) = self.tree.blocked(at, standing, &self.objects)? {
            return Ok(Some(blocked));
        }
        let standing = match standing {
            Standing::File(file) => Some(file),
            Standing::Folder | Standing::Nothing | Standing::Under(..) => None,
        };
        if let Some(file) = standing
            && (self.objects.hash(Kind::Blob, content)? == file.id
                || is_unchanged(path, &self.content(path, file.id)?, content))
        {
            return Ok(None);
        }
        let id = self.objects.add(Kind::Blob, content.to_vec())?;
        let mode = standing.map_or(REGULAR, |standing| standing.mode);
        self.tree.put(at, trees::File { id, mode }, &self.objects)?;
        Ok(None)
    }

    /// Reads a file. Those below the root of all edits are here, whatever else was left at the remote.
    fn content(&self, path: &RepoPath, id: Id) -> Result<Vec<u8>, SinkError> {
        let failed =
            |source| SinkError::store("read from", &self.name(), UnreadableFile { path: path.clone(), source });
        self.objects.read(id, Kind::Blob).map_err(failed)
    }

    /// Adds a commit of the tree as it is, unless that is its parent's.
    fn add_commit(
        &mut self,
        parent: Option<Id>,
        author: Vec<u8>,
        message: Vec<u8>,
        now: Timestamp,
    ) -> Result<Option<Id>, SinkError> {
        let tree = self.tree.write(&mut self.objects)?;
        if tree == self.tree_id {
            return Ok(None);
        }
        let committer = ident(&self.committer, now);
        let commit = Commit { tree, parents: parent.into_iter().collect(), author, committer, message };
        let id = self.objects.add(Kind::Commit, self.sign(commit.encode())?)?;
        self.tree_id = tree;
        Ok(Some(id))
    }

    /// Returns the state as it is, but for the cursors.
    fn state(&self, cursors: BTreeMap<String, String>) -> State {
        State { remote: Some(self.remote.clone()), base: self.base, is_lost: self.lost.is_some(), cursors }
    }

    /// Makes what the batch has added durable, then moves the state and what is derived from it.
    fn write(&mut self, tip: Option<Id>, state: State, now: Timestamp) -> Result<(), SinkError> {
        if self.tree_id == self.objects.empty_tree() {
            // Every git knows it; fsck wants to see it all the same.
            self.objects.add(Kind::Tree, Vec::new())?;
        }
        let by = ident(&self.committer, now);
        let commit = Commit {
            tree: self.tree_id,
            parents: tip.into_iter().collect(),
            author: by.clone(),
            committer: by,
            message: message(&state.encode()),
        };
        let id = self.objects.add(Kind::Commit, commit.encode())?;
        let bytes = self.write_pack()?;
        self.write_ref(&self.state_ref(), id)?;
        if tip != self.tip {
            self.note_written(tip, bytes);
        }
        self.has_state = true;
        self.show(tip);
        (self.tip, self.base, self.cursors) = (tip, state.base, state.cursors);
        Ok(())
    }

    /// Moves a ref as git does, by a lock file's rename; durable when this returns.
    fn write_ref(&self, name: &str, id: Id) -> Result<(), SinkError> {
        let failed = |error| self.failed("write a ref of", error);
        let file = self.git_dir.join(name);
        let folder = file.parent().unwrap_or(&self.git_dir);
        if !folder.is_dir() {
            fs::create_dir_all(folder).map_err(failed)?;
            for folder in folder.ancestors().skip(1).take_while(|ancestor| ancestor.starts_with(&self.git_dir)) {
                sync_folder(folder).map_err(failed)?;
            }
        }
        let users = if self.is_shared { Users::Others } else { Users::Us };
        write_ref_file(&file, format!("{id}\n").as_bytes(), users).map_err(failed)
    }

    /// After a failure, nothing half done stays.
    fn recover<T>(&mut self, result: Result<T, SinkError>) -> Result<T, SinkError> {
        if result.is_err() {
            self.forget_unwritten();
        }
        result
    }

    fn forget_unwritten(&mut self) {
        self.objects.take_added();
        self.is_stale = true;
    }

    fn refresh(&mut self) -> Result<(), SinkError> {
        if self.is_stale {
            self.load()?;
            self.is_stale = false;
        }
        Ok(())
    }

    /// Refuses a state folder that was made for another remote: its cursors say that everything is there already.
    fn is_of_remote(&self, folder: PathBuf) -> Result<(), OpenError> {
        if self.is_shared {
            return Ok(());
        }
        let Some(state) = self.objects.reference(&self.state_ref())? else { return Ok(()) };
        let state = State::parse(&self.commit_of(state)?.message).unwrap_or_default();
        // Another way to write its address is no other repository.
        let canonical = |url: &str| url.parse::<RemoteUrl>().ok().map(|url| url.canonical());
        match state.remote {
            Some(was) if was != self.remote && canonical(&was) != canonical(&self.remote) => {
                Err(OpenError::OtherRemote { folder, was, is: self.remote.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Reads the state ref, and derives everything else.
    fn load(&mut self) -> Result<(), SinkError> {
        let Some(id) = self.objects.reference(&self.state_ref())? else {
            self.has_state = false;
            (self.tip, self.base, self.tree_id) = (None, None, self.objects.empty_tree());
            self.tree = Folder::of(self.tree_id);
            self.unpushed.clear();
            self.cursors.clear();
            (self.checked, self.lost) = (None, None);
            return Ok(());
        };
        let commit = self.commit_of(id)?;
        let state = State::parse(&commit.message).ok_or_else(|| self.objects.malformed(id))?;
        self.has_state = true;
        self.tip = commit.parents.first().copied();
        self.tree_id = commit.tree;
        self.tree = Folder::of(commit.tree);
        self.cursors = state.cursors;
        // Whichever comes first: the state knows what was replayed onto, the ref what was pushed after that.
        let remote_tip = self.remote_tip()?;
        let stops: Vec<_> = state.base.into_iter().chain(remote_tip).collect();
        self.unpushed = self.first_parents(self.tip, &stops)?;
        self.base = match self.unpushed.front() {
            Some(oldest) => self.commit_of(oldest.id)?.parents.first().copied(),
            None => self.tip,
        };
        let is_lost = state.is_lost && remote_tip.is_none();
        self.lost = if is_lost { Some(self.first_parents(self.base, &[])?.len()) } else { None };
        self.checked = None;
        self.show(self.tip);
        Ok(())
    }

    /// Lets people see the branch. No failure: nothing depends on it.
    fn show(&self, tip: Option<Id>) {
        // Where there is no remote the branch is others', too, and moved like a remote's.
        if self.is_shared {
            return;
        }
        if let Some(Err(error)) = tip.map(|tip| self.write_ref(&self.branch.full(), tip)) {
            tracing::warn!(%error, "the local branch could not be moved; the commits are safe");
        }
    }

    /// Returns the commits from `tip` back to one of `stops`, which is left out, or to the root; the oldest first.
    fn first_parents(&self, tip: Option<Id>, stops: &[Id]) -> Result<VecDeque<Unpushed>, SinkError> {
        let mut chain = VecDeque::new();
        let mut next = tip;
        while let Some(id) = next.filter(|id| !stops.contains(id)) {
            let commit = self.commit_of(id)?;
            chain.push_front(Unpushed { id, at: commit.committed_at().unwrap_or_default() });
            next = commit.parents.first().copied();
        }
        Ok(chain)
    }

    fn commit_of(&self, id: Id) -> Result<Commit, SinkError> {
        Commit::parse(&self.objects.read(id, Kind::Commit)?).ok_or_else(|| self.objects.malformed(id))
    }

    fn state_ref(&self) -> String {
        format!("refs/reverser/{}", self.branch.encoded())
    }

    fn origin_ref(&self) -> String {
        if self.is_shared {
            format!("refs/reverser-moved/{}", self.branch.encoded())
        } else {
            format!("refs/remotes/origin/{}", self.branch)
        }
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
