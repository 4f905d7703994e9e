//! Who made a change: asked, and waited for, before the change goes on.

use jiff::Timestamp;
use reverser_core::{Attribution, Change, Edit, RepoPath, Wanted};
use reverser_git::SinkError;
use tokio::time::{Instant, sleep_until};

use super::{
    Reverser,
    item::{Item, What},
    recording::{Recording, Room, Taken},
    waiting::{CHANGES, LONGEST, Pending},
};
use crate::report::Notice;

/// How many changes go on at a time to make room, as they are.
const CHUNK: usize = 100;

/// Whether a change may still wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Left,
    Over,
}

/// What to do with a change whose turn it is.
#[derive(Debug)]
enum Turn {
    /// Nothing is to be committed.
    Pass,
    /// Its edit is to be committed; `None`: the one that came with it.
    Record(Option<Edit>),
    /// A better answer may come until then.
    Wait(Instant),
}

impl Reverser {
    /// Takes a change in, behind those of its object that wait; returns how many commits had to be made for that.
    pub(super) async fn arrive(
        &self,
        path: &RepoPath,
        mut item: Item,
        room: Room,
        recording: &mut Recording,
    ) -> Result<usize, SinkError> {
        if let Some(change) = item.change_mut() {
            // Its commit may be made later.
            change.at.get_or_insert_with(Timestamp::now);
        }
        let mut commits = 0;
        if recording.waiting.push(path, item, room) {
            commits += self.advance(path, recording).await?;
        }
        while recording.waiting.len() > CHANGES
            && let Some(oldest) = recording.waiting.oldest()
        {
            commits += self.turn(&oldest, Patience::Over, recording).await?.1;
            commits += self.advance(&oldest, recording).await?;
        }
        Ok(commits)
    }

    /// Lets the changes of a file go on, up to one that waits for an answer.
    async fn advance(&self, path: &RepoPath, recording: &mut Recording) -> Result<usize, SinkError> {
        let mut commits = 0;
        loop {
            let (goes_on, made) = self.turn(path, Patience::Left, recording).await?;
            commits += made;
            if !goes_on {
                return Ok(commits);
            }
        }
    }

    /// Lets what waits of a file go on as it is.
    pub(super) async fn end_wait(&self, path: &RepoPath, recording: &mut Recording) -> Result<(), SinkError> {
        while self.turn(path, Patience::Over, recording).await?.0 {}
        Ok(())
    }

    /// Lets all that waits of the files go on as it is of which one `is_meant`; returns how many commits had to be made for that.
    pub(super) async fn end_waits(
        &self,
        is_meant: impl Fn(&Item) -> bool,
        recording: &mut Recording,
    ) -> Result<usize, SinkError> {
        let mut commits = 0;
        for path in recording.waiting.in_order(is_meant) {
            commits += self.turn(&path, Patience::Over, recording).await?.1;
        }
        Ok(commits)
    }

    /// Lets go on what has waited for long enough, and what there is an answer for; returns how many commits had to be made.
    pub(super) async fn end_due_waits(&self, recording: &mut Recording) -> Result<usize, SinkError> {
        let now = Instant::now();
        let mut ready = recording.waiting.overdue(now);
        if recording.waiting.asks(now) {
            ready.extend(recording.waiting.ask(now, |pending| {
                let Pending { item: Item { what, arrived, .. }, is_told, .. } = pending;
                let (What::Change { change, .. } | What::Leave { change, .. }) = what else { return None };
                self.ask(change, *arrived, *is_told)
            }));
        }
        let mut commits = 0;
        for path in ready {
            commits += self.advance(&path, recording).await?;
        }
        Ok(commits)
    }

    /// Waits until nothing waits for its author any more; returns how many commits had to be made for that.
    pub(super) async fn wait_out(&self, recording: &mut Recording) -> Result<usize, SinkError> {
        let mut commits = 0;
        while let Some(due) = recording.waiting.due() {
            tokio::select! {
                () = sleep_until(due) => commits += self.end_due_waits(recording).await?,
                () = self.actors.learned(), if recording.listens() => recording.learned(),
            }
        }
        Ok(commits)
    }

    /// Makes room in the queue: with what has gathered, else with what has waited longest for its author.
    pub(super) async fn make_room(&self, recording: &mut Recording) -> Result<(), SinkError> {
        if !recording.has_gathered() {
            for _ in 0..CHUNK {
                let Some(oldest) = recording.waiting.oldest() else { break };
                self.turn(&oldest, Patience::Over, recording).await?;
            }
        }
        self.flush_gathered(recording).await?;
        Ok(())
    }

    /// Sees to the first change of a file; returns whether it has gone on, and how many commits had to be made for that.
    async fn turn(
        &self,
        path: &RepoPath,
        patience: Patience,
        recording: &mut Recording,
    ) -> Result<(bool, usize), SinkError> {
        let mut commits = 0;
        let Some(first) = recording.waiting.first(path) else { return Ok((false, 0)) };
        // Whether it was captured is seen in Git, so what is before it has to be there.
        if matches!(first.item.what, What::Leave { .. }) && recording.gathers(path) {
            commits += self.flush_gathered(recording).await?;
        }
        let Some(first) = recording.waiting.first(path) else { return Ok((false, commits)) };
        let other_edit = match self.decide(first, patience).await? {
            Turn::Wait(until) => {
                recording.waiting.put_off(path, until);
                return Ok((false, commits));
            }
            Turn::Pass => None,
            Turn::Record(edit) => Some(edit),
        };
        let Some((pending, position)) = recording.waiting.pop(path) else { return Ok((false, commits)) };
        let has_waited = pending.has_waited();
        let Pending { item: Item { source, cursor, what, arrived }, room, .. } = pending;
        let (change, edit, waits) = match (other_edit, what) {
            (Some(None), What::Change { change, edit, coalesced, .. }) => {
                let waits = self.coalescing.is_by(&coalesced, change.attribution.actor());
                (change, edit, waits)
            }
            (Some(Some(edit)), What::Leave { change, .. } | What::Change { change, .. }) => (change, edit, false),
            _ => {
                if let Some(position) = position {
                    recording.position(source, position, &self.pipeline);
                }
                return Ok((true, commits));
            }
        };
        if has_waited && change.attribution.actor().is_none() {
            self.reporter.report(Notice::Unanswered { change: &change, waited: arrived.elapsed() });
        }
        let taken = Taken { change, edit, source, read_to: cursor, position, room, arrived };
        let verdict = recording.gather(taken, waits, &self.pipeline);
        verdict.iter().for_each(|verdict| self.tell_churn(verdict));
        Ok((true, commits))
    }

    /// Says what to do with a change whose turn it is.
    async fn decide(&self, pending: &mut Pending, patience: Patience) -> Result<Turn, SinkError> {
        let Pending { item: Item { what, arrived, .. }, is_told, .. } = pending;
        let until = |change: &mut Change| {
            let until = self.ask(change, *arrived, *is_told);
            until.filter(|_| patience == Patience::Left)
        };
        match what {
            What::Change { change, edit, wanted, .. } => {
                // Asked first, as most events are no news, and who did it may take a while to know.
                if !self.is_news(change, edit) {
                    return Ok(Turn::Pass);
                }
                if *wanted != Wanted::No
                    && let Some(until) = until(change)
                {
                    return Ok(Turn::Wait(until));
                }
                if !wanted.by(change.attribution.actor()) {
                    self.leave_out(change, edit);
                    return Ok(Turn::Pass);
                }
                self.note_change(change, edit);
                Ok(Turn::Record(None))
            }
            What::Leave { change, why } => {
                let Some(edit) = self.leaving(change, *why).await? else { return Ok(Turn::Pass) };
                if let Some(until) = until(change) {
                    return Ok(Turn::Wait(until));
                }
                self.lock_written().note(&edit);
                Ok(Turn::Record(Some(edit)))
            }
            What::List(_) | What::Nothing | What::Restored => Ok(Turn::Pass),
        }
    }

    /// Asks who made a change, unless its source has said so; returns until when a better answer may come, if it may.
    fn ask(&self, change: &mut Change, arrived: Instant, is_told: bool) -> Option<Instant> {
        if is_told {
            return None;
        }
        let answer = self.actors.attribute(change);
        let patience = match (self.attribution_wait, answer.actor()) {
            (Some(wait), None) => wait,
            (Some(wait), Some(_)) => self.actors.patience(change, &answer).min(wait),
            (None, _) => self.actors.patience(change, &answer),
        };
        if answer != Attribution::Unknown {
            change.attribution = answer;
        }
        let until = arrived + patience.min(LONGEST);
        (until > Instant::now()).then_some(until)
    }
}
