//! The state ref, which is the only truth: written, read, and what is derived from it.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::PathBuf,
};

use jiff::Timestamp;

use crate::{
    commit::{Commit, State, ident, message},
    objects::{Id, Kind, ObjectFormat},
    sink::SinkError,
    store::{
        OpenError, Store, Unpushed, Waiting, create_again,
        disk::{Users, show_ref_file, sync_folder, write_ref_file},
    },
    trees::Folder,
    url::RemoteUrl,
};

impl Store {
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

    /// Returns the state as it is, but for the cursors.
    pub(super) fn state(&self, cursors: BTreeMap<String, String>) -> State {
        State {
            remote: Some(self.remote.clone()),
            base: self.base,
            is_lost: self.lost.is_some(),
            asides: self.asides.iter().map(|aside| aside.tip).collect(),
            notes: self.waiting.commit,
            cursors,
        }
    }

    /// Makes what the batch has added durable, then moves the state and what is derived from it.
    pub(super) fn write(&mut self, tip: Option<Id>, state: State, now: Timestamp) -> Result<(), SinkError> {
        if self.tree_id == self.objects.empty_tree() {
            // Every git knows it; fsck wants to see it all the same.
            self.objects.add(Kind::Tree, Vec::new())?;
        }
        let by = ident(&self.committer, now);
        let commit = Commit {
            tree: self.tree_id,
            parents: tip.into_iter().chain(state.notes).collect(),
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
    pub(super) fn write_ref(&self, name: &str, id: Id) -> Result<(), SinkError> {
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

    /// Forgets where the remote's branch was when that names nothing here, as after a repair: every fetch would fail on it, and
    /// the next look at the remote tells.
    pub(super) fn drop_broken_origin(&self) -> Result<(), SinkError> {
        let name = self.origin_ref();
        match self.objects.reference(&name)? {
            Some(tip) if self.commit_of(tip).is_err() => {
                tracing::warn!(%name, %tip, "a ref names no commit that is here, and is removed");
                self.remove_ref(&name)
            }
            _ => Ok(()),
        }
    }

    /// Reads the state ref, and derives everything else.
    pub(super) fn load(&mut self) -> Result<(), SinkError> {
        let Some(id) = self.objects.reference(&self.state_ref())? else {
            self.has_state = false;
            (self.tip, self.base, self.tree_id) = (None, None, self.objects.empty_tree());
            self.tree = Folder::of(self.tree_id);
            self.unpushed.clear();
            self.cursors.clear();
            (self.checked, self.lost) = (None, None);
            self.waiting = Waiting::default();
            return self.load_asides(&[]);
        };
        let commit = self.commit_of(id)?;
        let state = State::parse(&commit.message).ok_or_else(|| self.objects.malformed(id))?;
        self.has_state = true;
        self.tip = commit.parents.first().copied().filter(|parent| Some(*parent) != state.notes);
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
        self.load_asides(&state.asides)?;
        self.load_notes(state.notes)?;
        self.show(self.tip);
        Ok(())
    }

    /// Lets people see the branch. No failure: nothing depends on it.
    fn show(&self, tip: Option<Id>) {
        // Where there is no remote the branch is others', too, and moved like a remote's.
        if self.is_shared {
            return;
        }
        let show = |tip: Id| show_ref_file(&self.git_dir.join(self.branch.full()), format!("{tip}\n").as_bytes());
        if let Some(Err(error)) = tip.map(show) {
            tracing::warn!(%error, "the local branch could not be moved; the commits are safe");
        }
    }

    /// Refuses a state folder that was made for another remote: its cursors say that everything is there already.
    pub(super) fn is_of_remote(&self, folder: PathBuf) -> Result<(), OpenError> {
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

    /// Returns the commits from `tip` back to one of `stops`, which is left out, or to the root; the oldest first.
    pub(super) fn first_parents(&self, tip: Option<Id>, stops: &[Id]) -> Result<VecDeque<Unpushed>, SinkError> {
        let mut chain = VecDeque::new();
        let mut next = tip;
        while let Some(id) = next.filter(|id| !stops.contains(id)) {
            let commit = self.commit_of(id)?;
            chain.push_front(Unpushed { id, at: commit.committed_at().unwrap_or_default() });
            next = commit.parents.first().copied();
        }
        Ok(chain)
    }

    fn state_ref(&self) -> String {
        format!("refs/reverser/{}", self.branch.encoded())
    }

    pub(super) fn origin_ref(&self) -> String {
        if self.is_shared {
            format!("refs/reverser-moved/{}", self.branch.encoded())
        } else {
            format!("refs/remotes/origin/{}", self.branch)
        }
    }
}
