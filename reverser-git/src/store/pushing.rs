//! What there is to push, and that it takes nobody's commit away.

use jiff::Timestamp;

use crate::{fault, objects::Id, sink::SinkError, store::Store};

/// What there is to push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushable {
    Commit(Id),
    Nothing,
    /// The commits don't descend from where the remote's branch was thought to be: it has to be looked at again.
    Stray,
}

impl Store {
    /// Takes all commits for unpushed: the remote's branch is gone. What it had stays the base: when somebody makes the
    /// branch anew, their commits aren't to be made again as ours.
    pub(crate) fn note_remote_lost(&mut self, now: Timestamp) -> Result<(), SinkError> {
        let noted = self.try_note_remote_lost(now);
        self.recover(noted)
    }

    fn try_note_remote_lost(&mut self, now: Timestamp) -> Result<(), SinkError> {
        self.refresh()?;
        self.lost = Some(self.first_parents(self.base, &[])?.len());
        self.write(self.tip, self.state(self.cursors.clone()), now)?;
        fault::reached("loss-noted");
        self.remove_ref(&self.origin_ref())
    }

    /// Returns what to push so that the remote's branch, which is at `expected`, has all commits. Nobody's commit is taken
    /// away by that, which is checked here: first parents lead from it to `expected`.
    pub(crate) fn pushable(&mut self, expected: Option<Id>) -> Result<Pushable, SinkError> {
        self.refresh()?;
        let Some(latest) =
            self.unpushed.back().map(|unpushed| unpushed.id).or(self.base.filter(|_| self.lost.is_some()))
        else {
            return Ok(Pushable::Nothing);
        };
        if expected.is_some() && (self.base != expected || !self.is_chain()?) {
            // Memory is wrong or has been overtaken; the disk and the remote know.
            self.is_stale = true;
            return Ok(Pushable::Stray);
        }
        Ok(Pushable::Commit(latest))
    }

    /// Returns whether each unpushed commit is the first parent of the next one, and the base that of the first.
    fn is_chain(&mut self) -> Result<bool, SinkError> {
        let ids = || self.unpushed.iter().map(|unpushed| unpushed.id);
        let parents = self.base.into_iter().chain(ids()).rev().skip(1);
        for (id, parent) in ids().rev().zip(parents).take_while(|(id, _)| self.checked != Some(*id)) {
            if self.commit_of(id)?.parents.first() != Some(&parent) {
                return Ok(false);
            }
        }
        self.checked = self.unpushed.back().map(|unpushed| unpushed.id);
        Ok(true)
    }
}
