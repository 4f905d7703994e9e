//! What somebody took out of the remote's history, written again.
//!
//! Only files that commits of ours had written last come back, and only those whose commits are gone: a file of somebody
//! else's may have been taken out on purpose, and one that a later commit of the remaining history has changed is not lost.

use std::collections::BTreeMap;

use crate::{
    commit::{Commit, ident, message},
    objects::Id,
    sink::SinkError,
    store::{Store, foreign::recorded, replay::Replay},
    trees::{Change, difference},
};

/// A history that was taken back, or exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// Where the branch was.
    pub(crate) was: Id,
    /// How many files were written again.
    pub(crate) restored: usize,
}

impl Store {
    /// Returns what would make the files on the new tip again what they were on the old one.
    pub(super) fn missing(&self, was: Id, onto: Id) -> Result<Vec<Change>, SinkError> {
        let (old, new) = (self.commit_of(was)?.tree, self.commit_of(onto)?.tree);
        difference(new, old, &self.objects)
    }

    /// Commits what `lost` commits of ours, the latest first, had made of the `missing` files.
    pub(super) fn restore(
        &mut self,
        replay: &mut Replay,
        was: Id,
        missing: Vec<Change>,
        lost: &[Id],
    ) -> Result<(), SinkError> {
        let mut missing: BTreeMap<_, _> = missing.into_iter().map(|change| (change.path.clone(), change)).collect();
        let mut found = Vec::new();
        for id in lost.iter().take(MOST_COMMITS) {
            if missing.is_empty() {
                break;
            }
            let commit = self.commit_of(*id)?;
            let (is_ours, versions) = (self.is_committer_of(&commit), recorded(&commit));
            for change in self.changes_of(&commit)? {
                // Whoever touched it last decides.
                let Some(restored) = missing.remove(&change.path) else { continue };
                // What we have deleted is deleted again; what somebody else has put there since stays.
                let is_as_deleted = change.file.is_none() && restored.before == change.before;
                let is_ours = (is_ours || !versions.is_empty()) && (restored.file.is_some() || is_as_deleted);
                if is_ours && !replay.foreign.is_later(&change.path, &versions) {
                    found.push(restored);
                }
            }
        }
        // Removals first, as in any comparison.
        found.sort_by_key(|change| change.file.is_some());
        let mut restored = 0;
        for change in found {
            let standing = self.tree.standing(&change.path, &self.objects)?;
            if self.tree.blocked(&change.path, standing, &self.objects)?.is_some() {
                replay.told.blocked.push(String::from_utf8_lossy(&change.path).into_owned());
                continue;
            }
            self.make(&change)?;
            restored += 1;
        }
        let files = if restored == 1 { "1 file".to_owned() } else { format!("{restored} files") };
        let text = format!(
            "[RESTORE] {files} of a rewritten history\n\n\
             The branch was at {was}, which {} doesn't descend from.\n",
            replay.onto
        );
        let author = ident(&self.committer, replay.now);
        if let Some(id) = self.add_commit(Some(replay.tip), author, message(&text), replay.now)? {
            replay.note_made(id);
        }
        replay.told.rewritten = Some(Rewritten { was, restored });
        Ok(())
    }

    fn is_committer_of(&self, commit: &Commit) -> bool {
        self.committers.iter().any(|committer| commit.committer.starts_with(format!("{committer} ").as_bytes()))
    }
}

/// So many lost commits are looked at, the latest ones: up to a minute of reading.
const MOST_COMMITS: usize = 100_000;
