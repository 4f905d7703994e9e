//! What is read again after a crash, since an earlier change waited.
//!
//! A source's position stays before a change that waits to be coalesced, while later changes of other objects are committed.
//! Beside it stands a mark: how far the source had been read. Up to there only the last state of each object counts: it is
//! in Git already, or it is what waited. All that was before it in between was committed or another change took its place.

use std::collections::{BTreeMap, HashMap};

use reverser_core::{Pipeline, RepoPath, Wanted};

use super::{
    item::{Item, What},
    recording::Room,
};

/// Begins the names under which marks stand among the positions; those of sources begin with a cluster.
const MARK: &str = "read/";

/// Returns the name under which a source's mark stands among the positions.
pub(crate) fn mark_of(source: &str) -> String {
    format!("{MARK}{source}")
}

/// Returns the source whose mark stands under this name, if it is one.
pub(crate) fn source_of_mark(name: &str) -> Option<&str> {
    name.strip_prefix(MARK)
}

/// Sources that are read again.
#[derive(Debug, Default)]
pub(super) struct Again(HashMap<String, Region>);

#[derive(Debug)]
struct Region {
    /// Up to here. Versions of one resource compare as integers (KEP-5504).
    until: u64,
    /// The last item of each object, by the order in which they came.
    last: BTreeMap<usize, (Item, Room)>,
    of_path: HashMap<RepoPath, usize>,
    count: usize,
}

impl Again {
    /// Reads the marks among positions.
    pub(super) fn of(cursors: &BTreeMap<String, String>) -> Self {
        let marks = cursors.iter().filter_map(|(name, mark)| Some((source_of_mark(name)?, mark.parse().ok()?)));
        Self(marks.map(|(source, until)| (source.to_owned(), Region::new(until))).collect())
    }

    /// Returns what is to be recorded as an item comes: itself, where nothing is read again.
    pub(super) fn read(&mut self, item: Item, room: Room, pipeline: &Pipeline) -> Vec<(Item, Room)> {
        let Some(region) = self.0.get_mut(&*item.source) else { return vec![(item, room)] };
        let version = item.cursor.as_deref().and_then(|cursor| cursor.parse::<u64>().ok());
        let is_list = matches!(item.what, What::List(_) | What::Restored);
        if !is_list && version.is_none_or(|version| version < region.until) {
            region.keep(item, room, pipeline);
            return vec![];
        }
        let source = item.source.to_string();
        let is_last = version == Some(region.until);
        if is_last && !is_list {
            region.keep(item, room, pipeline);
            return self.end(&source);
        }
        // A list shows all of it, and follows what was set back.
        let mut ended = self.end(&source);
        if is_list {
            ended.clear();
        }
        ended.push((item, room));
        ended
    }

    /// Returns the marks of what is still read again, as they stand among the positions.
    pub(super) fn marks(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().map(|(source, region)| (mark_of(source), region.until.to_string()))
    }

    /// Returns whether nothing of a source is read again.
    pub(super) fn is_past(&self, source: &str) -> bool {
        !self.0.contains_key(source)
    }

    /// A source has listed all there is.
    pub(super) fn forget(&mut self, source: &str) {
        self.0.remove(source);
    }

    /// Returns all that has been kept, as nothing more comes, or there is no room.
    pub(super) fn end_all(&mut self) -> Vec<(Item, Room)> {
        let sources: Vec<_> = self.0.keys().cloned().collect();
        sources.iter().flat_map(|source| self.end(source)).collect()
    }

    /// Returns whether anything is kept.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.values().any(|region| !region.last.is_empty())
    }

    fn end(&mut self, source: &str) -> Vec<(Item, Room)> {
        self.0.remove(source).map_or_else(Vec::new, |region| region.last.into_values().collect())
    }
}

impl Region {
    fn new(until: u64) -> Self {
        Self { until, last: BTreeMap::new(), of_path: HashMap::new(), count: 0 }
    }

    fn keep(&mut self, item: Item, room: Room, pipeline: &Pipeline) {
        self.count += 1;
        let path = match &item.what {
            // What may not be recorded takes nothing's place: the one before it may have waited.
            What::Change { edit, wanted: Wanted::Yes, .. } => Some(edit.path().clone()),
            What::Change { .. } => None,
            What::Leave { change, .. } => Some(pipeline.place(&change.object)),
            What::List(_) | What::Nothing | What::Restored => return,
        };
        if let Some(before) = path.and_then(|path| self.of_path.insert(path, self.count)) {
            self.last.remove(&before);
        }
        self.last.insert(self.count, (item, room));
    }
}
