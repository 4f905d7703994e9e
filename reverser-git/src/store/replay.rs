//! The unpushed commits made again on a tip that somebody else has moved.
//!
//! Each file of each commit is looked at by itself, against what stands on the new tip:
//!
//! ```text
//! another writer of ours wrote a later version      dropped: it would turn time back
//! a symbolic link or submodule is in the way        dropped and told: it is nobody's to replace
//! it is as it was when the commit was made          made again
//! it is as the commit makes it                      nothing to do
//! an earlier version of another writer of ours      made again
//! anything else                                     a conflict: `OnConflict` decides
//! ```

use std::collections::{BTreeMap, HashSet, VecDeque};

use jiff::Timestamp;
use reverser_core::message::{RecordedVersion, add_trailer};

use crate::{
    commit::{Commit, State},
    conflict::OnConflict,
    fault,
    objects::Id,
    sink::SinkError,
    store::{
        Store, Unpushed,
        aside::Aside,
        foreign::{Age, Foreign, recorded},
        restore::Rewritten,
    },
    trees::{Change, File, Folder, Standing},
};

/// What became of the unpushed commits when the remote's branch had moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// How many were made again on the new tip.
    pub(crate) kept: usize,
    /// How many changed nothing there.
    pub(crate) dropped: usize,
    /// How many had a file of which another writer of ours has written a later version.
    pub(crate) overtaken: usize,
    /// Files that were left out since they lead through somebody's symbolic link or submodule.
    pub(crate) blocked: Vec<String>,
    /// Files that both sides changed.
    pub(crate) conflict: Option<Conflicted>,
    /// What the conflicting changes were put aside on.
    pub(crate) aside: Option<Aside>,
    /// Whether the conflict is left for a person to solve; nothing was done then.
    pub(crate) is_stopped: bool,
    /// What was found to be gone from the remote's history.
    pub(crate) rewritten: Option<Rewritten>,
}

/// Files that both sides changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflicted {
    /// The first of them.
    pub(crate) path: String,
    /// How many there are.
    pub(crate) files: usize,
    /// Somebody else's commit that touched the first one last.
    pub(crate) theirs: Id,
}

/// An unpushed commit that is to be made again.
pub(super) struct Ours {
    pub(super) id: Id,
    pub(super) commit: Commit,
    pub(super) changes: Vec<Change>,
}

impl Store {
    /// Takes in that the remote's branch is at `tip`, which was fetched: what it has is pushed, and the rest is replayed
    /// onto it when somebody else has moved it.
    pub(crate) fn meet(&mut self, tip: Id, on_conflict: OnConflict, now: Timestamp) -> Result<Replayed, SinkError> {
        self.refresh()?;
        let is_ours = self.base == Some(tip) || self.unpushed.iter().any(|unpushed| unpushed.id == tip);
        let replayed = if is_ours { Replayed::default() } else { self.replay(tip, on_conflict, now)? };
        if !replayed.is_stopped {
            self.note_remote_tip(tip)?;
        }
        Ok(replayed)
    }

    /// Makes the unpushed commits again on `onto`, which was fetched. Author, author date and message are kept; what
    /// changes nothing there is dropped.
    pub(crate) fn replay(&mut self, onto: Id, on_conflict: OnConflict, now: Timestamp) -> Result<Replayed, SinkError> {
        let replayed = self.try_replay(onto, on_conflict, now);
        let replayed = self.recover(replayed)?;
        if replayed.is_stopped {
            // The tree in memory is half way to the new tip.
            self.forget_unwritten();
        }
        Ok(replayed)
    }

    fn try_replay(&mut self, onto: Id, on_conflict: OnConflict, now: Timestamp) -> Result<Replayed, SinkError> {
        self.refresh()?;
        fault::reached("replay-begun");
        let latest = self.unpushed.back().map(|unpushed| unpushed.id).or(self.base);
        let parting = latest.map(|latest| self.parting(latest, onto)).transpose()?.unwrap_or_default();
        let only_ours: HashSet<_> = parting.ours.iter().copied().collect();
        // The branch there may hold some of ours: a push whose answer was lost, and somebody's commits on top of it.
        let is_left = |unpushed: &&Unpushed| only_ours.contains(&unpushed.id);
        let unpushed: Vec<_> = self.unpushed.iter().filter(is_left).map(|unpushed| unpushed.id).collect();
        let rest = self.ours(&unpushed)?;
        let was = self.base.filter(|base| only_ours.contains(base));
        let missing = was.map(|was| self.missing(was, onto)).transpose()?.unwrap_or_default();
        let changes = rest.iter().flat_map(|ours| &ours.changes).chain(&missing);
        let foreign = self.foreign(&parting.theirs, &changes.map(|change| change.path.clone()).collect())?;

        let mut replay = Replay::new(onto, on_conflict, foreign, now);
        self.tree_id = self.commit_of(onto)?.tree;
        self.tree = Folder::of(self.tree_id);
        if let Some(was) = was {
            let unpushed: HashSet<_> = unpushed.into_iter().collect();
            let lost: Vec<_> = parting.ours.into_iter().filter(|id| !unpushed.contains(id)).collect();
            self.restore(&mut replay, was, missing, &lost)?;
            replay.moved.extend(lost.into_iter().map(|id| (id, None)));
            fault::reached("restore-made");
        }
        for ours in rest {
            self.replay_one(&mut replay, ours)?;
            if replay.told.is_stopped {
                return Ok(replay.told);
            }
        }
        self.put_aside(&mut replay)?;
        // Commits that the remote had are gone from it, so what the cursors say of it may no longer be true.
        let cursors = if was.is_some() { BTreeMap::new() } else { self.cursors.clone() };
        self.move_notes(&replay.moved, now)?;
        let state = State { base: Some(onto), is_lost: false, ..self.state(cursors) };
        fault::reached("replay-made");
        self.write(Some(replay.tip), state, now)?;
        self.moved.note(replay.moved);
        self.unpushed = replay.made;
        (self.checked, self.lost) = (None, None);
        Ok(replay.told)
    }

    fn ours(&self, ids: &[Id]) -> Result<Vec<Ours>, SinkError> {
        let ours = |id: &Id| {
            let commit = self.commit_of(*id)?;
            let changes = self.changes_of(&commit)?;
            Ok(Ours { id: *id, commit, changes })
        };
        ids.iter().map(ours).collect()
    }

    fn replay_one(&mut self, replay: &mut Replay, ours: Ours) -> Result<(), SinkError> {
        let Ours { id, mut commit, changes } = ours;
        let versions = recorded(&commit);
        let (mut replaced, mut aside, mut is_overtaken) = (Vec::new(), Vec::new(), false);
        for change in changes {
            match self.fate(replay, &change, &versions)? {
                Fate::Blocked => replay.told.blocked.push(String::from_utf8_lossy(&change.path).into_owned()),
                Fate::Conflict(theirs) => {
                    replay.note_conflict(&change.path, theirs);
                    match replay.on_conflict {
                        OnConflict::Branch => aside.push(change),
                        OnConflict::Ours => {
                            replaced.push(theirs);
                            self.make(&change)?;
                        }
                        OnConflict::Stop => {
                            replay.told.is_stopped = true;
                            return Ok(());
                        }
                    }
                }
                Fate::Make => self.make(&change)?,
                Fate::Overtaken => is_overtaken = true,
            }
        }
        let is_aside = !aside.is_empty();
        if is_aside {
            replay.aside.push(Ours { id, commit: commit.clone(), changes: aside });
        }
        self.commit_as_before(&commit);
        commit.message = name_replaced(commit.message, replaced, replay.onto);
        replay.told.overtaken += usize::from(is_overtaken);
        let made = self.add_commit(Some(replay.tip), commit.author, commit.message, replay.now)?;
        replay.moved.push((id, made));
        match made {
            Some(id) => {
                replay.note_made(id);
                replay.told.kept += 1;
            }
            None => replay.told.dropped += usize::from(!is_overtaken && !is_aside),
        }
        Ok(())
    }

    /// Returns what becomes of one of our changes on the new tip.
    fn fate(&mut self, replay: &Replay, change: &Change, versions: &[RecordedVersion]) -> Result<Fate, SinkError> {
        let age = replay.foreign.age(&change.path, versions, change.file.is_none());
        if age == Age::Overtaken {
            return Ok(Fate::Overtaken);
        }
        let standing = self.tree.standing(&change.path, &self.objects)?;
        let current = match standing {
            Standing::File(file) => Some(file),
            Standing::Folder | Standing::Nothing | Standing::Under(..) => None,
        };
        let is_put = change.file.is_some();
        if (is_put || current.is_some()) && self.tree.blocked(&change.path, standing, &self.objects)?.is_some() {
            return Ok(Fate::Blocked);
        }
        let is_in_the_way = is_put && matches!(standing, Standing::Folder | Standing::Under(..));
        let has = |file: Option<File>| !is_in_the_way && file.map(|file| file.id) == current.map(|file| file.id);
        if has(change.before) || has(change.file) || age == Age::Successor {
            return Ok(Fate::Make);
        }
        Ok(Fate::Conflict(replay.foreign.latest_at(&change.path).unwrap_or(replay.onto)))
    }

    /// Makes a change on the tree as it is; a file that stands there keeps its mode.
    pub(super) fn make(&mut self, change: &Change) -> Result<(), SinkError> {
        let Some(file) = change.file else { return self.tree.remove(&change.path, &self.objects) };
        let standing = self.tree.get(&change.path, &self.objects)?.filter(|file| file.is_regular());
        let mode = standing.map_or(file.mode, |standing| standing.mode);
        self.tree.put(&change.path, File { mode, ..file }, &self.objects)
    }
}

/// A replay under way.
pub(super) struct Replay {
    pub(super) onto: Id,
    pub(super) tip: Id,
    on_conflict: OnConflict,
    pub(super) foreign: Foreign,
    pub(super) now: Timestamp,
    made: VecDeque<Unpushed>,
    pub(super) aside: Vec<Ours>,
    /// Files that both sides changed: each of our commits that has one meets it again while theirs stands there.
    conflicting: HashSet<Vec<u8>>,
    /// What each of our commits has become; `None`: nothing.
    pub(super) moved: Vec<(Id, Option<Id>)>,
    pub(super) told: Replayed,
}

impl Replay {
    fn new(onto: Id, on_conflict: OnConflict, foreign: Foreign, now: Timestamp) -> Self {
        let (made, aside, conflicting, told) = (VecDeque::new(), Vec::new(), HashSet::new(), Replayed::default());
        Self { onto, tip: onto, on_conflict, foreign, now, made, aside, conflicting, moved: Vec::new(), told }
    }

    pub(super) fn note_made(&mut self, id: Id) {
        self.tip = id;
        self.made.push_back(Unpushed { id, at: self.now });
    }

    fn note_conflict(&mut self, path: &[u8], theirs: Id) {
        self.conflicting.insert(path.to_owned());
        let path = || String::from_utf8_lossy(path).into_owned();
        let conflict = self.told.conflict.get_or_insert_with(|| Conflicted { path: path(), files: 0, theirs });
        conflict.files = self.conflicting.len();
    }
}

/// What becomes of a change of ours.
enum Fate {
    Blocked,
    Conflict(Id),
    Make,
    Overtaken,
}

/// Returns the message of a commit with a trailer for each of somebody else's commits that it replaces, or for the tip that
/// has them all when they are many.
fn name_replaced(message: Vec<u8>, mut replaced: Vec<Id>, onto: Id) -> Vec<u8> {
    replaced.sort_unstable();
    replaced.dedup();
    match replaced.len() {
        0 => return message,
        1..=MOST_NAMED => {}
        _ => replaced = vec![onto],
    }
    let message = String::from_utf8_lossy(&message).into_owned();
    replaced
        .iter()
        .fold(message, |message, id| add_trailer(&message, "Reverser-Replaces", &id.to_string()))
        .into_bytes()
}

/// A message that names more commits helps nobody.
const MOST_NAMED: usize = 20;
