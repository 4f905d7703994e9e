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
    /// Notes an edit that is about to be written; returns `false` when it is not to be: the same object's later version
    /// was written already, or exactly this.
    pub(super) fn is_news(&mut self, change: &Change, edit: &Edit) -> bool {
        let version = change.resource_version.as_deref().and_then(|version| version.parse().ok());
        let new = Last { uid: change.object.uid.clone(), version, content: self.digest(edit) };
        if let Some(last) = self.last.get(edit.path()) {
            let is_same_object = last.uid.is_some() && last.uid == new.uid;
            // A deletion is often told with the version that was written last: it has none of its own there.
            let is_deletion = new.content.is_none();
            let is_overtaken = if is_deletion { new.version < last.version } else { new.version <= last.version };
            if is_same_object && new.version.is_some() && is_overtaken {
                return false;
            }
            let is_same = last.content == new.content;
            if is_same {
                self.insert(edit.path(), new);
                return false;
            }
        }
        self.insert(edit.path(), new);
        true
    }

    /// Notes an edit that no single change stands for.
    pub(super) fn note(&mut self, edit: &Edit) {
        let content = self.digest(edit);
        self.insert(edit.path(), Last { uid: None, version: None, content });
    }

    /// Knows nothing of `path` any more.
    pub(super) fn forget(&mut self, path: &RepoPath) {
        self.last.remove(path);
    }

    fn insert(&mut self, path: &RepoPath, last: Last) {
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

    #[test]
    fn only_what_differs_and_is_later_is_news() {
        let mut written = Written::default();
        assert!(written.is_news(&change("u", Some(1)), &put("one")));
        assert!(!written.is_news(&change("u", Some(2)), &put("one")), "status, say");
        assert!(written.is_news(&change("u", Some(3)), &put("two")));
        assert!(!written.is_news(&change("u", Some(2)), &put("one")), "overtaken");
        assert!(written.is_news(&change("u", Some(4)), &put("one")), "back to what it was");
        assert!(written.is_news(&change("u", None), &delete()));
        assert!(!written.is_news(&change("u", Some(6)), &delete()), "deleted already");
        assert!(written.is_news(&change("v", Some(5)), &put("one")), "another object of that name");
        assert!(written.is_news(&change("v", Some(5)), &delete()), "told with the version that was written last");
    }

    #[test]
    fn a_synced_file_is_compared_by_content_alone() {
        let mut written = Written::default();
        assert!(written.is_news(&change("u", Some(1)), &put("old")));
        written.note(&put("listed"));
        assert!(!written.is_news(&change("u", Some(9)), &put("listed")));
        assert!(written.is_news(&change("u", Some(10)), &put("old")));
    }
}
