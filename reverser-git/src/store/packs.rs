//! The packs of a store: written, listed, and taken away when another one has all that they hold.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
};

use rustix::fs::statvfs;

use crate::{
    fault,
    objects::{Id, Objects},
    sink::SinkError,
    store::{
        Store,
        disk::{sync_folder, write_pack_files, write_synced},
        join::{Join, PackFile},
    },
};

/// What the packs take that were made for unpushed commits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    /// The tip that they led to.
    tip: Id,
    bytes: u64,
}

/// What is to be done about packs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JoinDue {
    Join(Join),
    /// Some should be joined, and the disk has no room for that.
    NoRoom,
    Nothing,
}

impl Store {
    /// Returns how many packs there are.
    pub(crate) fn packs(&self) -> usize {
        self.packs.len()
    }

    /// Returns which packs should be joined, if any.
    pub(crate) fn join_due(&self) -> JoinDue {
        // A repository of the user's own is the user's to care for.
        if self.is_shared || Join::due(&self.packs, u64::MAX).is_none() {
            return JoinDue::Nothing;
        }
        Join::due(&self.packs, room(&self.git_dir)).map_or(JoinDue::NoRoom, JoinDue::Join)
    }

    /// Notes that packs are being joined from here on.
    pub(crate) fn begin_join(&mut self) {
        self.written.clear();
    }

    /// Removes the packs that `join` has made superfluous, since `made` has all that is needed of them; it is durable. git's
    /// processes that have them open go on, those that look for an object look again.
    pub(crate) fn adopt(&mut self, join: &Join, made: &str) -> Result<(), SinkError> {
        let is_superfluous = |name: &&String| *name != made && !self.written.contains(*name);
        let removed = remove(&self.git_dir, join.packs().iter().filter(is_superfluous));
        // In any case: gix has to see what is there.
        self.reopen()?;
        removed.map_err(|error| self.failed("remove joined packs of", error))
    }

    /// Opens the object database again, after packs were joined.
    pub(super) fn reopen(&mut self) -> Result<(), SinkError> {
        self.objects = Objects::open(&self.git_dir, self.compression)?;
        self.packs.clear();
        self.list_packs()
    }

    /// Takes in which packs there are; those that are known already stay as they are, as packs do.
    pub(super) fn list_packs(&mut self) -> Result<(), SinkError> {
        self.packs = list(&self.git_dir, &self.packs).map_err(|error| self.failed("list the packs of", error))?;
        Ok(())
    }

    /// Returns how many bytes the unpushed commits take, as far as is known.
    pub(crate) fn unpushed_bytes(&self) -> u64 {
        if self.unpushed.is_empty() { 0 } else { self.weights.iter().map(|weight| weight.bytes).sum() }
    }

    /// Takes in that the unpushed commits up to `tip` take so many bytes.
    pub(crate) fn weigh(&mut self, tip: Id, bytes: u64) {
        let Some(last) = self.unpushed.iter().position(|unpushed| unpushed.id == tip) else { return };
        let measured: HashSet<_> = self.unpushed.iter().take(last + 1).map(|unpushed| unpushed.id).collect();
        self.weights.retain(|weight| !measured.contains(&weight.tip));
        self.weights.insert(0, Weight { tip, bytes });
    }

    /// Forgets what was measured of commits that are pushed, or were replayed.
    pub(super) fn drop_weights(&mut self) {
        let unpushed: HashSet<_> = self.unpushed.iter().map(|unpushed| unpushed.id).collect();
        self.weights.retain(|weight| unpushed.contains(&weight.tip));
    }

    /// Writes what the batch has added; returns how many bytes that takes.
    pub(super) fn write_pack(&mut self) -> Result<u64, SinkError> {
        let pack = self.objects.take_pack()?;
        let failed = |error| self.failed("write a pack into", error);
        write_pack_files(&self.git_dir, &self.branch, &pack.name.to_string(), &pack.pack, &pack.index)
            .map_err(failed)?;
        let bytes = (pack.pack.len() + pack.index.len()) as u64;
        let name = format!("pack-{}", pack.name);
        self.written.insert(name.clone());
        // The same batch may have failed before, with its pack already in place.
        self.packs.retain(|pack| pack.name != name);
        self.packs.push(PackFile { name, bytes, is_promised: false });
        Ok(bytes)
    }

    /// Takes in that the commits up to `tip` were written into a pack of this size.
    pub(super) fn note_written(&mut self, tip: Option<Id>, bytes: u64) {
        if self.unpushed.is_empty() {
            self.weights.clear();
        }
        self.weights.extend(tip.map(|tip| Weight { tip, bytes }));
    }
}

/// Returns how many bytes may be written here that aren't a commit's; no limit where the file system doesn't say.
fn room(git_dir: &Path) -> u64 {
    match statvfs(git_dir) {
        Ok(system) if system.f_blocks > 0 => system.f_bavail.saturating_mul(system.f_frsize).saturating_sub(MARGIN),
        _ => u64::MAX,
    }
}

/// What a join leaves for commits beside it: many small batches, or one of some thousand changes.
const MARGIN: u64 = 8 << 20;

/// Lists the packs that are complete, without a look at those that are known. One that git is still fetching has a `.keep`, and
/// isn't ours to touch.
pub(super) fn list(git_dir: &Path, known: &[PackFile]) -> io::Result<Vec<PackFile>> {
    let folder = git_dir.join("objects/pack");
    let known: HashMap<_, _> = known.iter().map(|pack| (pack.name.as_str(), pack)).collect();
    let mut packs = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let file = entry?.file_name();
        let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".idx")) else { continue };
        if let Some(pack) = known.get(name) {
            packs.push(PackFile::clone(pack));
            continue;
        }
        if folder.join(format!("{name}.keep")).exists() {
            continue;
        }
        let size = |extension: &str| fs::metadata(folder.join(format!("{name}.{extension}"))).map(|file| file.len());
        let (Ok(pack), Ok(index)) = (size("pack"), size("idx")) else { continue };
        packs.push(PackFile {
            name: name.to_owned(),
            bytes: pack + index,
            is_promised: folder.join(format!("{name}.promisor")).exists(),
        });
    }
    Ok(packs)
}

/// Makes the pack that git has just written durable, whatever git's version does, and marks it.
pub(crate) fn finish(git_dir: &Path, name: &str, is_promised: bool) -> io::Result<()> {
    let folder = git_dir.join("objects/pack");
    if is_promised {
        write_synced(&folder.join("tmp_promisor"), &folder.join(format!("{name}.promisor")), b"")?;
    }
    for extension in ["pack", "idx"] {
        fs::File::open(folder.join(format!("{name}.{extension}")))?.sync_all()?;
    }
    sync_folder(&folder)
}

/// The index first: without it there is no pack.
fn remove<'a>(git_dir: &Path, names: impl Iterator<Item = &'a String>) -> io::Result<()> {
    let folder = git_dir.join("objects/pack");
    for name in names {
        for extension in ["idx", "pack", "rev", "promisor"] {
            match fs::remove_file(folder.join(format!("{name}.{extension}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fault::reached("pack-removed");
    }
    sync_folder(&folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_what_came_lacks_what_went_and_keeps_what_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let packs = folder.path().join("objects/pack");
        fs::create_dir_all(&packs).unwrap();
        let put = |name: &str, content: &str| fs::write(packs.join(name), content).unwrap();
        let names = |packs: &[PackFile]| {
            let mut names: Vec<_> = packs.iter().map(|pack| (pack.name.clone(), pack.bytes)).collect();
            names.sort();
            names
        };
        for name in ["pack-1", "pack-2"] {
            put(&format!("{name}.pack"), "four");
            put(&format!("{name}.idx"), "two");
        }
        // Without its index it is not there yet.
        put("pack-3.pack", "four");
        let known = list(folder.path(), &[]).unwrap();
        assert_eq!(names(&known), [("pack-1".into(), 7), ("pack-2".into(), 7)]);

        fs::remove_file(packs.join("pack-1.idx")).unwrap();
        put("pack-3.idx", "");
        // One that is being fetched is not ours.
        put("pack-4.pack", "");
        put("pack-4.idx", "");
        put("pack-4.keep", "");
        let known = list(folder.path(), &known).unwrap();
        assert_eq!(names(&known), [("pack-2".into(), 7), ("pack-3".into(), 4)]);
        fs::remove_file(packs.join("pack-4.keep")).unwrap();
        assert_eq!(list(folder.path(), &known).unwrap().len(), 3);
    }
}
