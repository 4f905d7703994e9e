//! Changes of ours that wait for a person: put on a branch of their own, and kept until that is on the remote.

use std::{fs, io};

use crate::{
    branch::{BranchName, percent_decode},
    objects::Id,
    sink::SinkError,
    store::{
        Store,
        disk::sync_folder,
        replay::{Ours, Replay},
    },
    trees::Folder,
};

/// A branch of our own with what somebody else's commits have been spared; it stands on those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aside {
    pub(crate) branch: BranchName,
    pub(crate) tip: Id,
}

impl Store {
    /// Returns what isn't on the remote yet.
    pub(crate) fn asides(&self) -> &[Aside] {
        &self.asides
    }

    /// Notes that the remote has a branch that was put aside.
    pub(crate) fn note_aside_pushed(&mut self, branch: &BranchName) -> Result<(), SinkError> {
        self.asides.retain(|aside| aside.branch != *branch);
        self.remove_ref(&aside_ref(branch))
    }

    /// Makes the changes that were put aside on the new tip, for a branch of their own. Durable when this returns.
    pub(super) fn put_aside(&mut self, replay: &mut Replay) -> Result<(), SinkError> {
        if replay.aside.is_empty() {
            return Ok(());
        }
        let onto = self.commit_of(replay.onto)?.tree;
        let tree = std::mem::replace(&mut self.tree, Folder::of(onto));
        let tree_id = std::mem::replace(&mut self.tree_id, onto);
        let mut tip = replay.onto;
        for Ours { id, commit, changes } in replay.aside.drain(..) {
            for change in changes {
                self.make(&change)?;
            }
            self.commit_as_before(&commit);
            tip = self.add_commit(Some(tip), commit.author, commit.message, replay.now)?.unwrap_or(tip);
            // Notes go where most of the commit is: on the branch, if anything of it is there.
            replay
                .moved
                .iter_mut()
                .filter(|(old, new)| *old == id && new.is_none())
                .for_each(|moved| moved.1 = Some(tip));
        }
        (self.tree, self.tree_id) = (tree, tree_id);
        let aside = Aside { branch: self.branch.aside(tip), tip };
        self.write_pack()?;
        self.write_ref(&aside_ref(&aside.branch), tip)?;
        self.asides.push(aside.clone());
        replay.told.aside = Some(aside);
        Ok(())
    }

    /// Reads what was put aside and isn't pushed. What the state doesn't know belongs to a replay that didn't come to its end,
    /// and which is made again: it is removed.
    pub(super) fn load_asides(&mut self, known: &[Id]) -> Result<(), SinkError> {
        self.asides.clear();
        let entries = match fs::read_dir(self.git_dir.join(FOLDER)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed("read the refs of", error)),
        };
        for entry in entries {
            let name = entry.map_err(|error| self.failed("read the refs of", error))?.file_name();
            let branch = name.to_str().and_then(percent_decode).and_then(|name| name.parse::<BranchName>().ok());
            let Some(branch) = branch else { continue };
            // In a repository that others use there may be those of other branches.
            let tip = self.objects.reference(&aside_ref(&branch))?.filter(|tip| self.branch.aside(tip) == branch);
            match tip {
                Some(tip) if known.contains(&tip) => self.asides.push(Aside { branch, tip }),
                Some(_) => self.remove_ref(&aside_ref(&branch))?,
                None => {}
            }
        }
        Ok(())
    }

    /// Removes a ref; it is gone for good when this returns.
    pub(super) fn remove_ref(&self, name: &str) -> Result<(), SinkError> {
        let file = self.git_dir.join(name);
        match fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed("remove a ref of", error)),
        }
        sync_folder(file.parent().unwrap_or(&self.git_dir)).map_err(|error| self.failed("remove a ref of", error))
    }
}

fn aside_ref(branch: &BranchName) -> String {
    format!("{FOLDER}/{}", branch.encoded())
}

const FOLDER: &str = "refs/aside";
