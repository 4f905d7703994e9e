//! How far each source has been recorded, and what was recorded while a verification compares.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use reverser_core::{Edit, Pipeline, RepoPath, Resource};

use super::item::{Item, What};

/// How many files may change while one resource is compared; with more the verification is put off.
const PATHS: usize = 100_000;

/// What the recorder has taken in.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By source: everything up to there is recorded, or about to be.
    reached: HashMap<Arc<str>, String>,
    /// Since the verification under way began.
    since: Option<Since>,
}

/// What was taken in since then.
#[derive(Debug)]
pub(super) struct Since {
    resource: Arc<Resource>,
    changed: HashMap<RepoPath, Changed>,
    /// The resource was listed, and Git brought in line with that; or there was too much.
    is_void: bool,
    /// Keyed by chance: nobody can make two contents look alike.
    hasher: RandomState,
}

/// What the changes of one file made of it.
#[derive(Debug, PartialEq, Eq)]
enum Changed {
    /// All of them the same; `None`: no file.
    Alike(Option<u64>),
    Variously,
}

impl Seen {
    /// Notes where sources stand: by a list, or from an earlier run.
    pub(super) fn stands(&mut self, cursors: &BTreeMap<String, String>) {
        // An empty position is none.
        let known = cursors.iter().filter(|(_, position)| !position.is_empty());
        self.reached.extend(known.map(|(source, position)| (source.as_str().into(), position.clone())));
    }

    /// Returns whether an item was taken in before: its source is read again from further back, as when its kind was away from
    /// discovery for a moment. A list, and what follows a restored etcd, stands for itself. Versions of one resource
    /// compare as integers (KEP-5504).
    pub(super) fn is_behind(&self, item: &Item) -> bool {
        let version = |position: &String| position.parse::<u64>().ok();
        let reached = self.reached.get(&item.source).and_then(version);
        let is_change = matches!(item.what, What::Change { .. } | What::Leave { .. } | What::Nothing);
        is_change && item.cursor.as_ref().and_then(version).is_some_and(|position| reached > Some(position))
    }

    /// Returns how far a source is recorded, or about to be.
    pub(super) fn reached(&self, source: &str) -> Option<u64> {
        self.reached.get(source)?.parse().ok()
    }

    /// Notes an item that is about to be recorded. `is_again`: it is read again after a crash, and Git is further than that.
    pub(super) fn item(&mut self, item: &Item, is_again: bool, pipeline: &Pipeline) {
        if let Some(position) = item.cursor.as_ref().filter(|_| !is_again && !self.is_behind(item)) {
            match self.reached.get_mut(&item.source) {
                Some(reached) => reached.clone_from(position),
                None => drop(self.reached.insert(Arc::clone(&item.source), position.clone())),
            }
        }
        if matches!(item.what, What::Restored) {
            self.reached.remove(&item.source);
        }
        let Some(since) = &mut self.since else { return };
        match &item.what {
            What::Change { edit, .. } => since.edit(edit),
            What::Leave { change, .. } => since.path(&pipeline.place(&change.object)),
            What::List(list) => since.is_void |= list.resource.is_version_of(&since.resource),
            What::Nothing => {}
            // Versions begin anew, and a list comes.
            What::Restored => since.is_void = true,
        }
    }

    /// Notes that a file is about to be changed in a way that no source tells.
    pub(super) fn path(&mut self, path: &RepoPath) {
        if let Some(since) = &mut self.since {
            since.path(path);
        }
    }

    /// Begins to note what is recorded beside a verification of `resource`, as `source` tells of it; returns how far that is
    /// recorded, unless that isn't known yet.
    pub(super) fn begin(&mut self, source: &str, resource: &Arc<Resource>) -> Option<String> {
        let reached = self.reached.get(source)?.clone();
        let (changed, hasher) = (HashMap::new(), RandomState::new());
        self.since = Some(Since { resource: Arc::clone(resource), changed, is_void: false, hasher });
        Some(reached)
    }

    /// Ends that; returns what was recorded meanwhile.
    pub(super) fn end(&mut self) -> Option<Since> {
        self.since.take()
    }
}

impl Since {
    /// Returns whether all that was compared is of no use any more.
    pub(super) fn is_void(&self) -> bool {
        self.is_void
    }

    /// Returns whether the file may rightly be something else than `live`, which it should have been when this began.
    pub(super) fn excuses(&self, path: &RepoPath, live: Option<&[u8]>) -> bool {
        match (self.changed.get(path), live) {
            (None, _) => false,
            // The same again, such as writes of the object's status, excuses nothing. Of a file without an object any
            // change is one of an object that came up.
            (Some(Changed::Alike(content)), Some(live)) => *content != Some(self.hasher.hash_one(live)),
            (Some(Changed::Alike(_) | Changed::Variously), _) => true,
        }
    }

    fn edit(&mut self, edit: &Edit) {
        let content = match edit {
            Edit::Delete { .. } => None,
            Edit::Put { content, .. } => Some(self.hasher.hash_one(content.as_slice())),
        };
        self.note(edit.path(), Changed::Alike(content));
    }

    fn path(&mut self, path: &RepoPath) {
        self.note(path, Changed::Variously);
    }

    fn note(&mut self, path: &RepoPath, change: Changed) {
        let is_full = self.changed.len() >= PATHS;
        match self.changed.get_mut(path) {
            Some(before) if *before == change => {}
            Some(before) => *before = Changed::Variously,
            None if is_full => self.is_void = true,
            None => drop(self.changed.insert(path.clone(), change)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::configmaps;

    fn path() -> RepoPath {
        "v1/configmaps/shop/a.yaml".parse().unwrap()
    }

    fn since(edits: &[Option<&str>]) -> Since {
        let mut seen = Seen::default();
        seen.stands(&BTreeMap::from([("s".to_owned(), "7".to_owned()), ("held".to_owned(), String::new())]));
        assert_eq!(seen.begin("held", &configmaps()), None, "it has no position");
        assert_eq!(seen.begin("s", &configmaps()).as_deref(), Some("7"));
        let mut since = seen.end().unwrap();
        for edit in edits {
            since.edit(&match edit {
                Some(content) => Edit::Put { path: path(), content: content.as_bytes().to_vec() },
                None => Edit::Delete { path: path() },
            });
        }
        since
    }

    #[test]
    fn a_file_is_excused_by_changes_to_something_else() {
        for (edits, live, is_excused) in [
            (&[][..], Some("one"), false),
            (&[], None, false),
            (&[Some("one")], Some("one"), false),
            (&[Some("one"), Some("one")], Some("one"), false),
            (&[Some("two")], Some("one"), true),
            (&[Some("two"), Some("one")], Some("one"), true),
            (&[Some("one"), None], Some("one"), true),
            (&[None], Some("one"), true),
            (&[None], None, true),
            (&[Some("one")], None, true),
        ] {
            let excused = since(edits).excuses(&path(), live.map(str::as_bytes));
            assert_eq!(excused, is_excused, "{edits:?} where it should have been {live:?}");
        }
    }

    #[test]
    fn a_change_that_no_source_tells_excuses_whatever_there_is() {
        let mut since = since(&[Some("one")]);
        since.path(&path());
        assert!(since.excuses(&path(), Some(b"one")));
    }
}
