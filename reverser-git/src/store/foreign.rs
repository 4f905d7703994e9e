//! What somebody else's commits did to the files that ours change.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use reverser_core::message::RecordedVersion;

use crate::{commit::Commit, objects::Id, sink::SinkError, store::Store};

/// Which of somebody else's commits touched which of our files.
#[derive(Debug, Default)]
pub(super) struct Foreign(BTreeMap<Vec<u8>, Touch>);

/// What somebody else's commits did to one file.
#[derive(Debug)]
struct Touch {
    /// The latest of them.
    commit: Id,
    /// Whether that one is a writer's of ours, and says which version it is of.
    is_recorded: bool,
    /// Those that say which versions they are of.
    recorded: Vec<Recorded>,
}

/// A commit of a writer of ours, as far as one file goes.
#[derive(Debug)]
struct Recorded {
    versions: Arc<[RecordedVersion]>,
    is_removal: bool,
}

/// How a change of ours stands to what somebody else did to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Another writer of ours has written a later version, or this one.
    Overtaken,
    /// Another writer of ours was the last there, with an earlier version.
    Successor,
    /// There is no telling.
    Unknown,
}

impl Recorded {
    /// Returns whether ours is the older one. A commit of several objects doesn't say which file is whose: there all objects
    /// that both name have to agree.
    fn overtakes(&self, ours: &[RecordedVersion], is_removal: bool) -> bool {
        let is_older = |ours: &RecordedVersion, theirs: &RecordedVersion| match theirs.age(ours) {
            Ordering::Greater => true,
            // The same version of the same object, recorded twice. A deletion may be told with the version that it deletes.
            Ordering::Equal => theirs.uid == ours.uid && (self.is_removal || !is_removal),
            Ordering::Less => false,
        };
        if let ([ours], [theirs]) = (ours, &*self.versions) {
            return is_older(ours, theirs);
        }
        let pairs = ours.iter().flat_map(|ours| self.versions.iter().map(move |theirs| (ours, theirs)));
        let mut common = pairs.filter(|(ours, theirs)| ours.uid == theirs.uid).peekable();
        common.peek().is_some() && common.all(|(ours, theirs)| is_older(ours, theirs))
    }
}

impl Foreign {
    /// Returns how a change of ours, of the versions that its commit names, stands to what was done to the file at `path`.
    pub(super) fn age(&self, path: &[u8], versions: &[RecordedVersion], is_removal: bool) -> Age {
        let Some(touch) = self.0.get(path) else { return Age::Unknown };
        if touch.recorded.iter().any(|theirs| theirs.overtakes(versions, is_removal)) {
            return Age::Overtaken;
        }
        if touch.is_recorded && !versions.is_empty() { Age::Successor } else { Age::Unknown }
    }

    /// Returns whether a later version than all of `versions` was written at `path`.
    pub(super) fn is_later(&self, path: &[u8], versions: &[RecordedVersion]) -> bool {
        let Some(touch) = self.0.get(path) else { return false };
        let is_later = |theirs: &RecordedVersion| versions.iter().all(|ours| theirs.age(ours).is_gt());
        !versions.is_empty() && touch.recorded.iter().flat_map(|theirs| theirs.versions.iter()).any(is_later)
    }

    /// Returns the latest commit that touched what stands at `path`, in its way or below it.
    pub(super) fn latest_at(&self, path: &[u8]) -> Option<Id> {
        let folders = folders(path).filter_map(|folder| self.0.get(folder));
        let below = folder_range(path);
        let inside = self.0.range(below.clone()).take_while(|(inside, _)| inside.starts_with(&below.start));
        let mut found = self.0.get(path).into_iter().chain(folders).chain(inside.map(|(_, touch)| touch));
        found.next().map(|touch| touch.commit)
    }
}

impl Store {
    /// Returns what `commits`, the latest first, did to files at `paths`, in their way or below them.
    pub(super) fn foreign(&self, commits: &[Id], paths: &BTreeSet<Vec<u8>>) -> Result<Foreign, SinkError> {
        let mut foreign = Foreign::default();
        if paths.is_empty() {
            return Ok(foreign);
        }
        if commits.len() > MOST_COMMITS {
            let (all, looked_at) = (commits.len(), MOST_COMMITS);
            tracing::warn!(
                all,
                looked_at,
                "somebody else pushed very many commits; only the latest were looked at for later versions of our files"
            );
        }
        for id in commits.iter().take(MOST_COMMITS) {
            let commit = self.commit_of(*id)?;
            let mut versions = None;
            for change in self.changes_of(&commit)? {
                if !concerns(paths, &change.path) {
                    continue;
                }
                let versions: &mut Arc<[_]> = versions.get_or_insert_with(|| recorded(&commit).into());
                let is_recorded = !versions.is_empty();
                let new = || Touch { commit: *id, is_recorded, recorded: Vec::new() };
                let touch = foreign.0.entry(change.path).or_insert_with(new);
                if is_recorded {
                    touch.recorded.push(Recorded { versions: Arc::clone(versions), is_removal: change.file.is_none() });
                }
            }
        }
        Ok(foreign)
    }
}

/// Returns which versions a commit of a writer of ours is of.
pub(super) fn recorded(commit: &Commit) -> Vec<RecordedVersion> {
    RecordedVersion::of_message(&String::from_utf8_lossy(&commit.message))
}

/// Whether a change at `path` concerns one of `paths`.
fn concerns(paths: &BTreeSet<Vec<u8>>, path: &[u8]) -> bool {
    let below = folder_range(path);
    paths.contains(path)
        || folders(path).any(|folder| paths.contains(folder))
        || paths.range(below.clone()).next().is_some_and(|inside| inside.starts_with(&below.start))
}

/// Returns the folders that lead to a path.
fn folders(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

/// Returns where paths below `path` begin.
fn folder_range(path: &[u8]) -> std::ops::RangeFrom<Vec<u8>> {
    [path, b"/"].concat()..
}

/// So many of somebody else's commits are looked at, the latest ones: some seconds of reading.
const MOST_COMMITS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// `a4 b7`: version 4 of the object a, version 7 of b.
    fn versions(text: &str) -> Vec<RecordedVersion> {
        let version =
            |text: &str| RecordedVersion { uid: text[..1].to_owned(), resource_version: text[1..].to_owned() };
        text.split(' ').map(version).collect()
    }

    #[test]
    fn commits_of_several_objects_are_compared_by_those_that_both_name() {
        for (theirs, ours, expected) in [
            ("a5", "a4", true),
            ("a5", "a5", true),
            ("a5", "a10", false),
            ("b5", "a4", true),
            ("a5 b9", "a4", true),
            ("b9 c9", "a4", false),
            ("a5", "a4 b9", true),
            ("a5 b8", "a4 b9", false),
            ("a5 b9", "a4 b9", true),
            ("c99", "a4 b9", false),
        ] {
            let recorded = Recorded { versions: versions(theirs).into(), is_removal: false };
            assert_eq!(recorded.overtakes(&versions(ours), false), expected, "{theirs} over {ours}");
        }
    }

    #[test]
    fn paths_concern_each_other_when_one_is_a_folder_of_the_other() {
        let paths = BTreeSet::from([b"a/b".to_vec(), b"c".to_vec()]);
        for (path, expected) in
            [("a", true), ("a/b", true), ("a/b/x", true), ("a/bc", false), ("a-", false), ("c/d/e", true), ("b", false)]
        {
            assert_eq!(concerns(&paths, path.as_bytes()), expected, "{path}");
        }
    }
}
