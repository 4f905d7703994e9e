//! The trees of the branch in memory: loaded when they are first looked into, hashed again along the path of an edit.
//!
//! A folder is kept as the bytes of its tree object ([`rows`]), so that a file takes what it has there and little more.

use std::collections::BTreeMap;

use reverser_core::RepoPath;

use crate::{
    objects::{Id, Kind, Objects},
    sink::SinkError,
};

mod rows;
mod standing;

use rows::{Rows, parse};
pub(crate) use standing::{Blocked, Standing};

/// A folder with all that is in it.
#[derive(Debug)]
pub(crate) struct Folder {
    /// `None`: changed since it was last written.
    id: Option<Id>,
    /// What it was when it was last written or read.
    before: Option<Id>,
    /// `None`: not loaded.
    entries: Option<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// All of them. The id of a folder that was changed is that of the time when it was last written, or none.
    rows: Rows,
    /// Those folders that were looked into.
    folders: BTreeMap<Name, Folder>,
}

impl Entries {
    /// Returns the folder of a name, ready to be looked into, if it is one.
    fn folder(&mut self, name: &[u8]) -> Option<&mut Folder> {
        // Twice, as a name is only copied for what isn't there.
        if !self.folders.contains_key(name) {
            let row = self.rows.get(name).filter(|row| row.mode == FOLDER)?;
            self.folders.insert(name.into(), Folder::of(row.id));
        }
        self.folders.get_mut(name)
    }
}

type Name = Box<[u8]>;

/// An entry of a tree that isn't a folder: a file, a symbolic link, a submodule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) id: Id,
    pub(crate) mode: u32,
}

impl File {
    /// Returns whether it is a file with content, executable or not.
    pub(crate) fn is_regular(self) -> bool {
        matches!(self.mode, REGULAR | EXECUTABLE)
    }

    /// Returns whether it is a folder, as [`Folder::entries`] has them, too.
    pub(crate) fn is_folder(self) -> bool {
        self.mode == FOLDER
    }
}

impl Folder {
    /// Returns the folder that the tree `id` describes.
    pub(crate) fn of(id: Id) -> Self {
        Self { id: Some(id), before: Some(id), entries: None }
    }

    fn empty() -> Self {
        Self { id: None, before: None, entries: Some(Entries::default()) }
    }

    /// Puts a file at a path, in the place of whatever stands there or in its way.
    pub(crate) fn put(&mut self, path: &[u8], file: File, objects: &Objects) -> Result<(), SinkError> {
        let entries = self.load(objects)?;
        let (name, rest) = split(path);
        match rest {
            None => {
                entries.folders.remove(name);
                entries.rows.set(name, file);
            }
            Some(rest) => {
                if entries.folder(name).is_none() {
                    // The id is known when it is written.
                    entries.rows.set(name, File { id: objects.empty_tree(), mode: FOLDER });
                    entries.folders.insert(name.into(), Self::empty());
                }
                if let Some(folder) = entries.folder(name) {
                    folder.put(rest, file, objects)?;
                }
            }
        }
        self.id = None;
        Ok(())
    }

    /// Removes the file at a path, and the folders that it leaves empty. A folder of that name stays.
    pub(crate) fn remove(&mut self, path: &[u8], objects: &Objects) -> Result<(), SinkError> {
        if self.get(path, objects)?.is_some() {
            self.remove_file(path);
        }
        Ok(())
    }

    /// Only for a path that [`get`](Self::get) has found, so all of it is loaded. Returns whether nothing is left.
    fn remove_file(&mut self, path: &[u8]) -> bool {
        self.id = None;
        let Some(entries) = &mut self.entries else { return false };
        let (name, rest) = split(path);
        let is_gone = match rest {
            None => true,
            Some(rest) => entries.folders.get_mut(name).is_some_and(|folder| folder.remove_file(rest)),
        };
        if is_gone {
            entries.rows.remove(name);
            entries.folders.remove(name);
        }
        entries.rows.is_empty()
    }

    /// Returns what stands at a path, unless it is a folder or nothing.
    pub(crate) fn get(&mut self, path: &[u8], objects: &Objects) -> Result<Option<File>, SinkError> {
        let entries = self.load(objects)?;
        let (name, rest) = split(path);
        match rest {
            None => Ok(entries.rows.get(name).filter(|row| row.mode != FOLDER)),
            Some(rest) => match entries.folder(name) {
                Some(folder) => folder.get(rest, objects),
                None => Ok(None),
            },
        }
    }

    /// Adds the changed trees to the batch; returns the id of this one.
    pub(crate) fn write(&mut self, objects: &mut Objects) -> Result<Id, SinkError> {
        if let Some(id) = self.id {
            return Ok(id);
        }
        let entries = self.entries.get_or_insert_default();
        for (name, folder) in entries.folders.iter_mut().filter(|(_, folder)| folder.id.is_none()) {
            entries.rows.set(name, File { id: folder.write(objects)?, mode: FOLDER });
        }
        let kept = entries.rows.take_kept();
        let id = objects.add_tree(entries.rows.as_bytes(), self.before, kept)?;
        (self.id, self.before) = (Some(id), Some(id));
        Ok(id)
    }

    /// Returns the files below `folder` (`None`: all), by their paths below `under`, in byte order. Those whose name there isn't
    /// a [`RepoPath`] are somebody else's, and left out.
    pub(crate) fn list(
        &mut self,
        folder: Option<&RepoPath>,
        under: Option<&RepoPath>,
        objects: &Objects,
    ) -> Result<Vec<RepoPath>, SinkError> {
        let folder = folder.map(RepoPath::as_str).unwrap_or_default();
        let root = under.map(|under| format!("{under}/")).unwrap_or_default();
        let mut paths: Vec<RepoPath> = Vec::new();
        self.walk(folder.as_bytes(), objects, &mut |path, file| {
            let path = std::str::from_utf8(path).ok().and_then(|path| path.strip_prefix(&root)?.parse().ok());
            paths.extend(path.filter(|_| file.is_regular()));
        })?;
        paths.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(paths)
    }

    /// Calls `found` with the path and the entry of everything below `folder` (empty: of all) that isn't a folder.
    pub(crate) fn walk(
        &mut self,
        folder: &[u8],
        objects: &Objects,
        found: &mut impl FnMut(&[u8], File),
    ) -> Result<(), SinkError> {
        let mut path = Vec::new();
        let mut place = self;
        for name in folder.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match place.load(objects)?.folder(name) {
                Some(folder) => place = folder,
                None => return Ok(()),
            }
            path.extend_from_slice(name);
            path.push(b'/');
        }
        place.walk_from(&mut path, objects, found)
    }

    fn walk_from(
        &mut self,
        path: &mut Vec<u8>,
        objects: &Objects,
        found: &mut impl FnMut(&[u8], File),
    ) -> Result<(), SinkError> {
        let entries = self.load(objects)?;
        for (name, row) in entries.rows.iter() {
            let length = path.len();
            path.extend_from_slice(name);
            if row.mode == FOLDER {
                path.push(b'/');
                let folder = entries.folders.entry(name.into()).or_insert_with(|| Self::of(row.id));
                folder.walk_from(path, objects, found)?;
            } else {
                found(path, row);
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// Returns what stands in a folder (empty: in this one, or it ends with a slash), folders included, by name.
    pub(crate) fn entries(&mut self, folder: &[u8], objects: &Objects) -> Result<Vec<(Vec<u8>, File)>, SinkError> {
        let mut place = self;
        for name in folder.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match place.load(objects)?.folder(name) {
                Some(folder) => place = folder,
                None => return Ok(Vec::new()),
            }
        }
        Ok(place.load(objects)?.rows.iter().map(|(name, file)| (name.to_vec(), file)).collect())
    }

    fn load(&mut self, objects: &Objects) -> Result<&mut Entries, SinkError> {
        if self.entries.is_none() {
            let id = self.id.unwrap_or_else(|| objects.empty_tree());
            let rows = Rows::read(objects.read(id, Kind::Tree)?, objects.format().id_bytes())
                .ok_or_else(|| objects.malformed(id))?;
            self.entries = Some(Entries { rows, folders: BTreeMap::new() });
        }
        Ok(self.entries.get_or_insert_default())
    }
}

/// Returns what has a name in a tree object, without a look at what stands behind it.
pub(crate) fn find_in(tree: &[u8], name: &[u8], id_bytes: usize) -> Option<File> {
    rows::find(tree, name, id_bytes)
}

/// One path at which two trees differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: Vec<u8>,
    /// What stood there, unless it was a folder or nothing.
    pub(crate) before: Option<File>,
    /// What stands there afterwards, unless it is a folder or nothing.
    pub(crate) file: Option<File>,
}

/// Returns where two trees differ. Removals come first, so that a file can take a folder's place and the other way round.
pub(crate) fn difference(old: Id, new: Id, objects: &Objects) -> Result<Vec<Change>, SinkError> {
    let mut changes = Vec::new();
    compare(old, new, &mut Vec::new(), objects, &mut changes)?;
    changes.sort_by_key(|change| change.file.is_some());
    Ok(changes)
}

fn compare(
    old: Id,
    new: Id,
    path: &mut Vec<u8>,
    objects: &Objects,
    changes: &mut Vec<Change>,
) -> Result<(), SinkError> {
    let entries = |id| -> Result<BTreeMap<Name, File>, SinkError> {
        let rows =
            parse(&objects.read(id, Kind::Tree)?, objects.format().id_bytes()).ok_or_else(|| objects.malformed(id))?;
        Ok(rows.into_iter().collect())
    };
    let (old, new) = (entries(old)?, entries(new)?);
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    for name in names {
        let (before, after) = (old.get(name).copied(), new.get(name).copied());
        if before == after {
            continue;
        }
        let tree = |file: Option<File>| file.filter(|file| file.mode == FOLDER).map(|file| file.id);
        let leaf = |file: Option<File>| file.filter(|file| file.mode != FOLDER);
        let length = path.len();
        path.extend_from_slice(name);
        if leaf(before) != leaf(after) {
            changes.push(Change { path: path.clone(), before: leaf(before), file: leaf(after) });
        }
        if tree(before) != tree(after) {
            path.push(b'/');
            let empty = objects.empty_tree();
            compare(tree(before).unwrap_or(empty), tree(after).unwrap_or(empty), path, objects, changes)?;
        }
        path.truncate(length);
    }
    Ok(())
}

fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        None => (path, None),
    }
}

/// A file's mode; no other is written for what is new.
pub(crate) const REGULAR: u32 = 0o100_644;
const EXECUTABLE: u32 = 0o100_755;
const FOLDER: u32 = 0o40_000;
const SUBMODULE: u32 = 0o160_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::CompressionLevel;

    /// An empty repository as gix needs it; its folder goes with it.
    fn objects() -> (tempfile::TempDir, Objects) {
        let folder = tempfile::tempdir().unwrap();
        crate::store::create(folder.path(), &crate::BranchName::default()).unwrap();
        let objects = Objects::open(folder.path(), CompressionLevel::default()).unwrap();
        (folder, objects)
    }

    fn file(byte: u8) -> File {
        File { id: Id::from_bytes(&[byte; 20]).unwrap(), mode: REGULAR }
    }

    fn paths(folder: &mut Folder, below: &str, objects: &Objects) -> Vec<String> {
        let mut paths = Vec::new();
        folder
            .walk(below.as_bytes(), objects, &mut |path, _| paths.push(String::from_utf8_lossy(path).into_owned()))
            .unwrap();
        paths
    }

    #[test]
    fn what_is_written_reads_back() {
        let (_folder, mut objects) = objects();
        let mut tree = Folder::of(objects.empty_tree());
        for (path, byte) in [("a/b/c", 1), ("a/b.d", 2), ("a-b", 3), ("z", 4)] {
            tree.put(path.as_bytes(), file(byte), &objects).unwrap();
        }
        let id = tree.write(&mut objects).unwrap();
        let mut again = Folder::of(id);
        assert_eq!(paths(&mut again, "", &objects), ["a-b", "a/b.d", "a/b/c", "z"]);
        assert_eq!(paths(&mut again, "a/b", &objects), ["a/b/c"]);
        assert_eq!(paths(&mut again, "a/x", &objects), Vec::<String>::new());
        assert_eq!(again.get(b"a/b.d", &objects).unwrap(), Some(file(2)));
        assert_eq!(again.write(&mut objects).unwrap(), id);
    }

    #[test]
    fn a_put_takes_the_place_of_what_is_in_its_way() {
        let (_folder, mut objects) = objects();
        let mut tree = Folder::of(objects.empty_tree());
        tree.put(b"a", file(1), &objects).unwrap();
        tree.put(b"a/b", file(2), &objects).unwrap();
        assert_eq!(paths(&mut tree, "", &objects), ["a/b"]);
        tree.put(b"a", file(3), &objects).unwrap();
        assert_eq!(paths(&mut tree, "", &objects), ["a"]);
        tree.write(&mut objects).unwrap();
    }

    #[test]
    fn folders_that_become_empty_are_gone() {
        let (_folder, mut objects) = objects();
        let mut tree = Folder::of(objects.empty_tree());
        tree.put(b"keep", file(1), &objects).unwrap();
        let before = tree.write(&mut objects).unwrap();
        tree.put(b"a/b/c", file(2), &objects).unwrap();
        tree.remove(b"a/b", &objects).unwrap(); // a folder: no file to remove
        tree.remove(b"a/b/x", &objects).unwrap();
        assert_eq!(paths(&mut tree, "", &objects), ["a/b/c", "keep"]);
        tree.remove(b"a/b/c", &objects).unwrap();
        assert_eq!(tree.write(&mut objects).unwrap(), before);
        tree.remove(b"keep", &objects).unwrap();
        assert_eq!(tree.write(&mut objects).unwrap(), objects.empty_tree());
    }

    #[test]
    fn a_difference_names_every_path_with_removals_first() {
        let (_folder, mut objects) = objects();
        let mut tree = Folder::of(objects.empty_tree());
        for (path, byte) in [("same", 1), ("changed", 2), ("file", 3), ("folder/x", 4), ("gone/y", 5)] {
            tree.put(path.as_bytes(), file(byte), &objects).unwrap();
        }
        let old = tree.write(&mut objects).unwrap();
        tree.put(b"changed", file(6), &objects).unwrap();
        tree.put(b"file/x", file(7), &objects).unwrap();
        tree.put(b"folder", file(8), &objects).unwrap();
        tree.remove(b"gone/y", &objects).unwrap();
        let new = tree.write(&mut objects).unwrap();

        let changes = difference(old, new, &objects).unwrap();
        assert!(changes.is_sorted_by_key(|change| change.file.is_some()));
        let mut replayed = Folder::of(old);
        for Change { path, file, .. } in &changes {
            match file {
                Some(file) => replayed.put(path, *file, &objects).unwrap(),
                None => replayed.remove(path, &objects).unwrap(),
            }
        }
        assert_eq!(replayed.write(&mut objects).unwrap(), new);
        assert_eq!(changes.len(), 6); // changed, file -> file/x (2), folder/x -> folder (2), gone/y
    }

    #[test]
    fn a_malformed_tree_is_no_tree() {
        for tree in [&b"100644 a"[..], b"100644 a\0short", b"9 a\0aaaaaaaaaaaaaaaaaaaa", b"100644"] {
            assert!(parse(tree, 20).is_none());
            assert!(Rows::read(tree.to_vec(), 20).is_none());
        }
    }
}
