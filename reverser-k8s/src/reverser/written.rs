//! What was written last, by path: tells news from what is known already.
//!
//! Most events of a busy cluster change nothing that a user authored, and one change may be reported twice: by a
//! controller that records its own writes and by a watch, or by a watch that reads a part again. Neither needs Git to be
//! asked.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use reverser_core::{Change, Edit, RepoPath};

/// How many paths are remembered, about 200 bytes each. Beyond it all are forgotten and Git is asked instead.
const PATHS: usize = 100_000;

/// The last edit of each path.
#[derive(Debug, Default)]
pub(super) struct Written {
    last: HashMap<RepoPath, Last>,
    /// What the object is like, where that isn't written since nobody asked for the change: the same again, such as a
    /// controller's write of the status, is no other change.
    left_out: HashMap<RepoPath, Option<u64>>,
    /// Keyed by chance: nobody can make two contents look alike.
    hasher: RandomState,
}

#[derive(Debug)]
struct Last {
    uid: Option<String>,
    /// Versions of one object compare as integers (KEP-5504).
    version: Option<u64>,
    /// `None`: the file is gone.
    content: Option<u64>,
}

impl Written {
    /// Returns whether an edit is to be written: not when the same object's later version was written already, or exactly
    /// this, or exactly this was left out. Then comes [`Written::note_change`] or [`Written::leave_out`].
    pub(super) fn is_news(&mut self, change: &Change, edit: &Edit) -> bool {
        let new = self.last_of(change, edit);
        if self.left_out.get(edit.path()) == Some(&new.content) {
            return false;
        }
        let Some(last) = self.last.get(edit.path()) else { return true };
        let is_same_object = last.uid.is_some() && last.uid == new.uid;
        // A deletion is often told with the version that was written last: it has none of its own there.
        let is_deletion = new.content.is_none();
        let is_overtaken = if is_deletion { new.version < last.version } else { new.version <= last.version };
        if is_same_object && new.version.is_some() && is_overtaken {
            return false;
        }
        let is_same = last.content == new.content;
        if is_same {
            // What says the same already is as good as written in the later version.
            self.insert(edit.path(), new);
        }
        !is_same
    }

    /// Returns whether a file was last made something else than `content` by a version later than this: of an object that a
    /// program records itself, before its source tells of it.
    pub(super) fn is_ahead(&self, path: &RepoPath, version: u64, content: Option<&[u8]>) -> bool {
        let content = content.map(|content| self.hasher.hash_one(content));
        self.last.get(path).is_some_and(|last| last.version > Some(version) && last.content != content)
    }

    /// Notes an edit that is about to be written for `change`.
    pub(super) fn note_change(&mut self, change: &Change, edit: &Edit) {
        let last = self.last_of(change, edit);
        self.insert(edit.path(), last);
    }

    /// Notes an edit that would have been written, and isn't, as nobody asked for its change.
    pub(super) fn leave_out(&mut self, edit: &Edit) {
        if self.left_out.len() >= PATHS && !self.left_out.contains_key(edit.path()) {
            self.left_out.clear();
        }
        self.left_out.insert(edit.path().clone(), self.digest(edit));
    }

    /// Notes an edit that no single change stands for.
    pub(super) fn note(&mut self, edit: &Edit) {
        let content = self.digest(edit);
        self.insert(edit.path(), Last { uid: None, version: None, content });
    }

    /// Knows nothing any more: versions have begun anew.
    pub(super) fn forget_all(&mut self) {
        self.last.clear();
        self.left_out.clear();
    }

    /// Knows nothing of `path` any more.
    pub(super) fn forget(&mut self, path: &RepoPath) {
        self.last.remove(path);
    }

    fn last_of(&self, change: &Change, edit: &Edit) -> Last {
        let version = change.resource_version.as_deref().and_then(|version| version.parse().ok());
        Last { uid: change.object.uid.clone(), version, content: self.digest(edit) }
    }

    fn insert(&mut self, path: &RepoPath, last: Last) {
        self.left_out.remove(path);
        if self.last.len() >= PATHS && !self.last.contains_key(path) {
            self.last.clear();
        }
        self.last.insert(path.clone(), last);
    }

    fn digest(&self, edit: &Edit) -> Option<u64> {
        match edit {
            Edit::Delete { .. } => None,
            Edit::Put { content, .. } => Some(self.hasher.hash_one(content)),
        }
    }
}

#[cfg(test)]
mod tests {
    use reverser_core::{ObjectRef, Operation};

    use super::*;
    use crate::fixture::configmaps;

    fn change(uid: &str, version: Option<u64>) -> Change {
        let object = ObjectRef { resource: configmaps(), namespace: None, name: "a".into(), uid: Some(uid.into()) };
        Change { resource_version: version.map(|v| v.to_string()), ..Change::new(object, Operation::Update, None) }
    }

    fn put(content: &str) -> Edit {
        Edit::Put { path: "a.yaml".parse().unwrap(), content: content.into() }
    }

    fn delete() -> Edit {
        Edit::Delete { path: "a.yaml".parse().unwrap() }
    }

    /// As the flow does it.
    fn writes(written: &mut Written, change: &Change, edit: &Edit) -> bool {
        let is_news = written.is_news(change, edit);
        if is_news {
            written.note_change(change, edit);
        }
        is_news
    }

    #[test]
    fn only_what_differs_and_is_later_is_news() {
        let mut written = Written::default();
        assert!(writes(&mut written, &change("u", Some(1)), &put("one")));
        assert!(!writes(&mut written, &change("u", Some(2)), &put("one")), "status, say");
        assert!(writes(&mut written, &change("u", Some(3)), &put("two")));
        assert!(!writes(&mut written, &change("u", Some(2)), &put("one")), "overtaken");
        assert!(writes(&mut written, &change("u", Some(4)), &put("one")), "back to what it was");
        assert!(writes(&mut written, &change("u", None), &delete()));
        assert!(!writes(&mut written, &change("u", Some(6)), &delete()), "deleted already");
        assert!(writes(&mut written, &change("v", Some(5)), &put("one")), "another object of that name");
        assert!(writes(&mut written, &change("v", Some(5)), &delete()), "told with the version that was written last");
    }

    #[test]
    fn after_a_restored_etcd_lower_versions_are_news() {
        let mut written = Written::default();
        assert!(writes(&mut written, &change("u", Some(50)), &put("one")));
        assert!(!writes(&mut written, &change("u", Some(40)), &put("two")));
        written.forget_all();
        assert!(writes(&mut written, &change("u", Some(40)), &put("two")));
    }

    #[test]
    fn a_synced_file_is_compared_by_content_alone() {
        let mut written = Written::default();
        assert!(writes(&mut written, &change("u", Some(1)), &put("old")));
        written.note(&put("listed"));
        assert!(!writes(&mut written, &change("u", Some(9)), &put("listed")));
        assert!(writes(&mut written, &change("u", Some(10)), &put("old")));
    }

    #[test]
    fn what_was_left_out_is_no_news_until_it_differs_from_that_too() {
        let mut written = Written::default();
        assert!(writes(&mut written, &change("u", Some(1)), &put("one")));
        assert!(written.is_news(&change("u", Some(2)), &put("two")));
        written.leave_out(&put("two"));
        assert!(!written.is_news(&change("u", Some(3)), &put("two")), "status, say");
        assert!(writes(&mut written, &change("u", Some(4)), &put("three")));
        assert!(writes(&mut written, &change("u", Some(5)), &put("two")));
        written.leave_out(&put("four"));
        assert!(!written.is_news(&change("u", Some(7)), &put("two")), "back to what is written");
        assert!(written.is_news(&change("u", Some(8)), &put("four")), "and then somebody else's doing");
        written.leave_out(&delete());
        assert!(!written.is_news(&change("u", Some(9)), &delete()), "the deletion's end, after its finalizers");
        written.note(&delete());
        assert!(written.is_news(&change("u", Some(10)), &put("four")));
    }
}
