//! Facts about commits that came after them, until they are on the remote.
//!
//! They wait in a commit of their own, which the state names as a parent: one file for each commit that they are about, by its id
//! here. Where commits are made again, their notes get the new ids in the same step. On the remote there is one ref for all
//! writers, so what is sent stands on the remote's notes, and has theirs with ours.

use std::collections::{HashMap, HashSet, VecDeque};

use jiff::Timestamp;

use crate::{
    commit::{Commit, ident, message},
    fault, notes,
    objects::{Id, Kind, Objects},
    sink::{CommitId, Note, SinkError},
    store::Store,
    trees::{File, Folder, REGULAR},
};

/// The notes that aren't on the remote. What they say is on disk alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// A commit whose files are the notes, each below its commit's id; `None`: there are none.
    pub(super) commit: Option<Id>,
    /// About so many commits.
    count: usize,
}

/// Those notes while they are changed.
#[derive(Debug)]
struct Desk {
    tree: Folder,
    before: Id,
    count: usize,
}

/// Which commits have become others since the store was opened: a receipt names what a commit was when it was made.
#[derive(Debug)]
pub(super) struct Moved {
    since: Timestamp,
    /// `None`: it is gone.
    now: HashMap<Id, Option<Id>>,
    /// The one that each has been before all, for those in `now`.
    first: HashMap<Id, Id>,
    /// In the order in which they were first moved.
    order: VecDeque<Id>,
}

/// What there is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotesToSend {
    /// The texts of these objects are needed, and were left at the remote.
    Lacking(Vec<CommitId>),
    Nothing,
    /// The remote has all of these.
    Present(Sent),
    /// A commit on top of the remote's notes.
    Push(CommitId, Sent),
}

/// Commits, each with the text that is sent about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent(Vec<(Id, Id)>);

impl Sent {
    /// Returns about how many commits.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Moved {
    pub(super) fn new(since: Timestamp) -> Self {
        Self { since, now: HashMap::new(), first: HashMap::new(), order: VecDeque::new() }
    }

    /// Takes in what commits have become.
    pub(super) fn note(&mut self, moved: Vec<(Id, Option<Id>)>) {
        for (old, new) in moved {
            // Nobody was ever told of an id in between.
            let first = self.first.remove(&old).unwrap_or(old);
            if self.now.insert(first, new).is_none() {
                self.order.push_back(first);
            }
            if let Some(new) = new {
                self.first.insert(new, first);
            }
            if self.order.len() > MOST_MOVED
                && let Some(oldest) = self.order.pop_front()
                && let Some(Some(now)) = self.now.remove(&oldest)
            {
                self.first.remove(&now);
            }
        }
    }
}

impl Desk {
    /// Takes the note about a commit away; returns its text's id.
    fn take(&mut self, commit: Id, objects: &Objects) -> Result<Option<Id>, SinkError> {
        let place = place(commit);
        let Some(file) = self.tree.get(&place, objects)? else { return Ok(None) };
        self.tree.remove(&place, objects)?;
        self.count -= 1;
        Ok(Some(file.id))
    }
}

impl Store {
    /// Keeps facts about commits, durable when this returns. Those about commits that are gone are dropped.
    pub(crate) fn note(&mut self, notes: &[Note], now: Timestamp) -> Result<(), SinkError> {
        let noted = self.try_note(notes, now);
        self.recover(noted)
    }

    /// Returns about how many commits there are notes that aren't on the remote.
    pub(crate) fn waiting_notes(&self) -> usize {
        self.waiting.count
    }

    /// Returns whether there is anything to send: notes about what is on the remote's branch.
    pub(crate) fn has_notes_to_send(&mut self) -> Result<bool, SinkError> {
        self.refresh()?;
        Ok(!self.sendable()?.is_empty())
    }

    /// Returns what is to be sent of the notes on the remote's branch, whose notes are at `onto`.
    pub(crate) fn notes_to_send(&mut self, onto: Option<Id>, now: Timestamp) -> Result<NotesToSend, SinkError> {
        let made = self.try_notes_to_send(onto, now);
        self.recover(made)
    }

    /// Notes that the remote has what was sent.
    pub(crate) fn note_sent(&mut self, sent: &Sent, now: Timestamp) -> Result<(), SinkError> {
        let noted = self.try_note_sent(sent, now);
        self.recover(noted)
    }

    /// Reads which notes wait.
    pub(super) fn load_notes(&mut self, commit: Option<Id>) -> Result<(), SinkError> {
        self.waiting = Waiting { commit, count: 0 };
        self.waiting.count = self.waiting_files()?.len();
        Ok(())
    }

    /// Gives notes the ids that their commits get, and drops those of commits that are gone. Durable with the state.
    pub(super) fn move_notes(&mut self, moved: &[(Id, Option<Id>)], now: Timestamp) -> Result<(), SinkError> {
        if self.waiting.commit.is_none() {
            return Ok(());
        }
        let mut desk = self.desk()?;
        for (old, new) in moved {
            let Some(file) = desk.take(*old, &self.objects)? else { continue };
            if let Some(new) = new {
                let text = self.text(file)?;
                self.add_waiting(&mut desk, *new, &text)?;
            }
        }
        self.keep_waiting(desk, now)
    }

    fn try_note(&mut self, notes: &[Note], now: Timestamp) -> Result<(), SinkError> {
        self.refresh()?;
        let unpushed: HashSet<_> = self.unpushed.iter().map(|unpushed| unpushed.id).collect();
        let (before, mut desk) = (self.waiting, self.desk()?);
        for Note { commit, text } in notes {
            match self.noted_commit(commit, &unpushed)? {
                Some(id) => self.add_waiting(&mut desk, id, text)?,
                None => tracing::debug!(%commit, "a note is dropped: the branch doesn't have its commit"),
            }
        }
        self.keep_waiting(desk, now)?;
        if self.waiting == before {
            self.objects.discard_added();
            return Ok(());
        }
        self.write(self.tip, self.state(self.cursors.clone()), now)?;
        fault::reached("note-durable");
        Ok(())
    }

    /// Returns which commit is meant by one that a receipt has named; `None` when it is gone.
    fn noted_commit(&self, commit: &CommitId, unpushed: &HashSet<Id>) -> Result<Option<Id>, SinkError> {
        let Some(id) = Id::from_hex(commit.as_str()).filter(|id| id.as_bytes().len() == self.id_bytes()) else {
            return Ok(None);
        };
        if let Some(now) = self.moved.now.get(&id) {
            return Ok(*now);
        }
        if unpushed.contains(&id) {
            return Ok(Some(id));
        }
        if !self.objects.has(id) {
            return Ok(None);
        }
        let commit = self.commit_of(id)?;
        if commit.committed_at() > Some(self.moved.since) { Ok(Some(id)) } else { self.of_earlier_run(id, &commit) }
    }

    /// Returns what a commit of an earlier run has become, of which nothing but the history tells.
    fn of_earlier_run(&self, id: Id, sought: &Commit) -> Result<Option<Id>, SinkError> {
        let mut next = self.tip;
        for _ in 0..MOST_COMMITS {
            let Some(at) = next else { return Ok(None) };
            if at == id {
                return Ok(Some(id));
            }
            let commit = self.commit_of(at)?;
            // A replay may add a trailer.
            if commit.author == sought.author && commit.message.starts_with(sought.message.trim_ascii_end()) {
                return Ok(Some(at));
            }
            next = commit.parents.first().copied();
        }
        // So far back it was pushed long ago.
        Ok(Some(id))
    }

    fn add_waiting(&mut self, desk: &mut Desk, commit: Id, text: &str) -> Result<(), SinkError> {
        let place = place(commit);
        let standing = desk.tree.get(&place, &self.objects)?;
        let before = standing.map(|file| self.text(file.id)).transpose()?.unwrap_or_default();
        if let Some(text) = notes::merge(&before, text) {
            let id = self.objects.add(Kind::Blob, text.into_bytes())?;
            desk.tree.put(&place, File { id, mode: REGULAR }, &self.objects)?;
            desk.count += usize::from(standing.is_none());
        }
        Ok(())
    }

    /// Makes the commit of the notes that wait, for the next state.
    fn keep_waiting(&mut self, desk: Desk, now: Timestamp) -> Result<(), SinkError> {
        let Desk { mut tree, before, count } = desk;
        let id = tree.write(&mut self.objects)?;
        if id == before {
            return Ok(());
        }
        let by = ident(&self.committer, now);
        let text = message("reverser notes that wait");
        let commit = Commit { tree: id, parents: Vec::new(), author: by.clone(), committer: by, message: text };
        let commit = if count == 0 { None } else { Some(self.objects.add(Kind::Commit, commit.encode())?) };
        self.waiting = Waiting { commit, count };
        Ok(())
    }

    fn desk(&self) -> Result<Desk, SinkError> {
        let tree = self.waiting.commit.map(|commit| self.commit_of(commit)).transpose()?.map(|commit| commit.tree);
        let before = tree.unwrap_or(self.objects.empty_tree());
        Ok(Desk { tree: Folder::of(before), before, count: self.waiting.count })
    }

    /// Returns the commits that notes wait for, and the texts.
    fn waiting_files(&self) -> Result<Vec<(Id, Id)>, SinkError> {
        let mut files = Vec::new();
        self.desk()?.tree.walk(b"", &self.objects, &mut |path, file| {
            let hex: String = path.iter().filter(|byte| **byte != b'/').map(|byte| char::from(*byte)).collect();
            files.extend(Id::from_hex(&hex).map(|commit| (commit, file.id)));
        })?;
        Ok(files)
    }

    /// Returns commits on the remote's branch, each with what waits about it.
    fn sendable(&self) -> Result<Vec<(Id, Id)>, SinkError> {
        // What the remote had isn't there.
        if self.waiting.count == 0 || self.lost.is_some() {
            return Ok(Vec::new());
        }
        let unpushed: HashSet<_> = self.unpushed.iter().map(|unpushed| unpushed.id).collect();
        let mut sendable = self.waiting_files()?;
        sendable.retain(|(commit, _)| !unpushed.contains(commit));
        sendable.truncate(MOST_SENT);
        Ok(sendable)
    }

    fn try_notes_to_send(&mut self, onto: Option<Id>, now: Timestamp) -> Result<NotesToSend, SinkError> {
        self.refresh()?;
        let sent = self.sendable()?;
        if sent.is_empty() {
            return Ok(NotesToSend::Nothing);
        }
        let before = onto.map(|onto| self.commit_of(onto)).transpose()?.map(|commit| commit.tree);
        let mut tree = Folder::of(before.unwrap_or(self.objects.empty_tree()));
        let mut lacking = Vec::new();
        for (commit, text) in &sent {
            let (place, standing) = notes::place(&mut tree, *commit, &self.objects)?;
            let standing = match standing {
                Some(file) if !self.objects.has(file.id) => {
                    lacking.push(file.id.into());
                    continue;
                }
                Some(file) => self.text(file.id)?,
                None => String::new(),
            };
            if let Some(text) = notes::merge(&standing, &self.text(*text)?) {
                let id = self.objects.add(Kind::Blob, text.into_bytes())?;
                notes::put(&mut tree, &place, File { id, mode: REGULAR }, &self.objects)?;
            }
        }
        if !lacking.is_empty() {
            self.objects.discard_added();
            return Ok(NotesToSend::Lacking(lacking));
        }
        let tree = tree.write(&mut self.objects)?;
        if Some(tree) == before {
            self.objects.discard_added();
            self.show_notes(onto)?;
            return Ok(NotesToSend::Present(Sent(sent)));
        }
        let by = ident(&self.committer, now);
        let (parents, text) = (onto.into_iter().collect(), message("Notes added by reverser"));
        let commit = Commit { tree, parents, author: by.clone(), committer: by, message: text };
        let id = self.objects.add(Kind::Commit, self.sign(commit.encode())?)?;
        self.write_pack()?;
        // So that nobody clears it away before it is pushed.
        self.show_notes(Some(id))?;
        fault::reached("notes-made");
        Ok(NotesToSend::Push(id.into(), Sent(sent)))
    }

    fn try_note_sent(&mut self, sent: &Sent, now: Timestamp) -> Result<(), SinkError> {
        self.refresh()?;
        let mut desk = self.desk()?;
        for (commit, text) in &sent.0 {
            // One that has got more since goes once more.
            if desk.tree.get(&place(*commit), &self.objects)?.is_some_and(|file| file.id == *text) {
                desk.take(*commit, &self.objects)?;
            }
        }
        self.keep_waiting(desk, now)?;
        self.list_packs()?;
        self.write(self.tip, self.state(self.cursors.clone()), now)
    }

    /// Moves the notes ref of a repository that is ours; where others use it, it moves as a remote's does.
    fn show_notes(&self, tip: Option<Id>) -> Result<(), SinkError> {
        match tip {
            Some(tip) if !self.is_shared => self.write_ref(notes::REF, tip),
            _ => Ok(()),
        }
    }

    fn text(&self, id: Id) -> Result<String, SinkError> {
        Ok(String::from_utf8_lossy(&self.objects.read(id, Kind::Blob)?).into_owned())
    }

    fn id_bytes(&self) -> usize {
        self.objects.format().id_bytes()
    }
}

/// Where a note waits: folders of two digits, so that few bytes change with each.
fn place(commit: Id) -> Vec<u8> {
    let hex = commit.to_string();
    let (folder, name) = hex.split_at(2);
    format!("{folder}/{name}").into_bytes()
}

/// So many commits that were made again are remembered; one before them is taken for gone, or for what it was.
const MOST_MOVED: usize = 65_536;

/// So many commits are looked through for one of an earlier run: a tenth of a second.
const MOST_COMMITS: usize = 10_000;

/// So many notes go in one push, so that commits wait for a second at most.
const MOST_SENT: usize = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> Id {
        Id::from_bytes(&[byte; 20]).unwrap()
    }

    #[test]
    fn a_commit_is_found_by_its_first_id_however_often_it_was_made_again() {
        let mut moved = Moved::new(Timestamp::UNIX_EPOCH);
        moved.note(vec![(id(1), Some(id(2))), (id(3), Some(id(4)))]);
        moved.note(vec![(id(2), Some(id(5))), (id(4), None)]);
        assert_eq!((moved.now[&id(1)], moved.now[&id(3)]), (Some(id(5)), None));
        assert_eq!((moved.order.len(), moved.first.len()), (2, 1));
    }

    #[test]
    fn what_is_remembered_of_moves_is_bounded() {
        let mut moved = Moved::new(Timestamp::UNIX_EPOCH);
        let number = |n: usize| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            Id::from_bytes(&bytes).unwrap()
        };
        for n in 0..MOST_MOVED + 10 {
            moved.note(vec![(number(2 * n), Some(number(2 * n + 1)))]);
        }
        assert_eq!((moved.now.len(), moved.first.len(), moved.order.len()), (MOST_MOVED, MOST_MOVED, MOST_MOVED));
        assert!(!moved.now.contains_key(&number(0)));
    }
}
