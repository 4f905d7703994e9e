//! Facts that come after the commit: they become notes on it.
//!
//! ```text
//! committed ─► remembered ─► something is learned ─► asked again ─┬─► somebody else, or by another's hand: a note
//!                  ▲                                              │
//!                  └───────── for as long as it may change ◄──────┘
//! ```
//!
//! In memory alone: what is remembered when the process ends is asked no more.

use std::{collections::VecDeque, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use reverser_core::{Attribution, Change, Evidence};
use reverser_git::{CommitId, Note, SinkError};
use tokio::{sync::mpsc, time::Instant};

use super::{Reverser, recording::Recording, waiting::LONGEST};
use crate::report::Notice;

/// How many changes are remembered, about 600 bytes each. Beyond it the oldest are forgotten, and counted.
pub(super) const CHANGES: usize = if cfg!(test) { 2_000 } else { 10_000 };

/// How often all of them are asked about at most, while facts come: 10,000 questions take a few milliseconds.
const EVERY: Duration = Duration::from_millis(500);

/// How many notes wait to be written. Beyond it they are left out, and counted.
const NOTES: usize = 10_000;

/// How many notes are handed to the sink at a time, so that it can write them together.
const TOGETHER: usize = 256;

/// Committed changes whose author may turn out to be another one.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// The oldest first.
    changes: VecDeque<Remembered>,
    asked: Option<Instant>,
    /// When they are to be asked about again.
    ask: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Remembered {
    /// With what is known of its author.
    pub(super) change: Change,
    pub(super) arrived: Instant,
    pub(super) commit: CommitId,
    /// How many changes are in that.
    pub(super) of: usize,
    /// Until then it may change.
    pub(super) until: Instant,
}

/// Something that has become known of a change after its commit.
#[derive(Debug)]
pub(super) struct Fact {
    change: Change,
    /// What was known before.
    before: Attribution,
    commit: CommitId,
    of: usize,
}

impl Late {
    /// Remembers a change; returns how many others are forgotten for that.
    fn remember(&mut self, remembered: Remembered) -> usize {
        let now = Instant::now();
        while self.changes.front().is_some_and(|first| first.until <= now) && self.ask.is_none() {
            self.changes.pop_front();
        }
        self.changes.push_back(remembered);
        let too_many = self.changes.len().saturating_sub(CHANGES);
        self.changes.drain(..too_many).filter(|forgotten| forgotten.until > now).count()
    }

    /// Something has been learned: all are asked about again, soon.
    pub(super) fn learned(&mut self, now: Instant) {
        if !self.changes.is_empty() && self.ask.is_none() {
            self.ask = Some(self.asked.map_or(now, |asked| asked + EVERY).max(now));
        }
    }

    /// There won't be another time to ask.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.ask = Some(now);
    }

    /// Returns whether it matters what is learned.
    pub(super) fn listens(&self) -> bool {
        !self.changes.is_empty() && self.ask.is_none()
    }

    /// Returns when there is something to ask.
    pub(super) fn due(&self) -> Option<Instant> {
        self.ask
    }

    /// Asks about all of them, when it is time; returns what is to be noted. `ask` returns an answer and until when it may change.
    fn ask(&mut self, now: Instant, ask: impl Fn(&Remembered) -> (Attribution, Instant)) -> Vec<Fact> {
        if self.ask.is_none_or(|ask| ask > now) {
            return vec![];
        }
        (self.ask, self.asked) = (None, Some(now));
        let mut facts = Vec::new();
        self.changes.retain_mut(|remembered| {
            // A fact may have waited for this turn.
            if remembered.until + EVERY <= now {
                return false;
            }
            let (answer, until) = ask(remembered);
            if says_more(&answer, &remembered.change.attribution) {
                let before = std::mem::replace(&mut remembered.change.attribution, answer);
                remembered.until = until;
                let Remembered { change, commit, of, .. } = remembered;
                facts.push(Fact { change: change.clone(), before, commit: commit.clone(), of: *of });
            }
            remembered.until > now
        });
        facts
    }
}

/// Returns whether an answer is to be noted: it names somebody else than the one before, or who impersonated the same one.
fn says_more(answer: &Attribution, before: &Attribution) -> bool {
    let is_impersonated = |attribution: &Attribution| matches!(attribution, Attribution::Known { request, .. } if request.impersonator.is_some());
    answer.actor().is_some()
        && (answer.actor() != before.actor() || is_impersonated(answer) && !is_impersonated(before))
}

impl Reverser {
    /// Remembers a change that is committed, for as long as its author may turn out to be another one.
    pub(super) fn remember(
        &self,
        mut change: Change,
        arrived: Instant,
        commit: &CommitId,
        of: usize,
        recording: &mut Recording,
    ) {
        let is_certain = matches!(change.attribution, Attribution::Known { evidence: Evidence::Host, .. });
        let until = arrived + self.actors.correctable(&change.attribution).min(LONGEST);
        if is_certain || until <= Instant::now() {
            return;
        }
        change.body = None;
        let forgotten = recording.late.remember(Remembered { change, arrived, commit: commit.clone(), of, until });
        if forgotten > 0 {
            self.reporter.report(Notice::Forgotten { changes: forgotten });
        }
    }

    /// Hands what has become known of committed changes to whoever writes it down.
    pub(super) fn note_late(&self, recording: &mut Recording, notes: &mpsc::Sender<Fact>) {
        let facts = recording.late.ask(Instant::now(), |remembered| {
            let answer = self.actors.attribute(&remembered.change);
            let until = remembered.arrived + self.actors.correctable(&answer).min(LONGEST);
            (answer, until)
        });
        let lost = facts.into_iter().filter_map(|fact| notes.try_send(fact).err()).count();
        if lost > 0 {
            self.reporter.report(Notice::Forgotten { changes: lost });
        }
    }

    /// Writes facts down as they come, until nobody has any more.
    pub(super) async fn write_notes(&self, facts: mpsc::Receiver<Fact>) -> Result<(), SinkError> {
        let facts = stream::unfold(facts, async |mut facts| Some((facts.recv().await?, facts)));
        let notes = facts.map(|fact| self.write_note(fact)).buffered(TOGETHER);
        notes.try_for_each(async |()| Ok(())).await
    }

    async fn write_note(&self, fact: Fact) -> Result<(), SinkError> {
        let Fact { change, before, commit, of } = fact;
        let note = Note { commit: commit.clone(), text: self.pipeline.note(&change, of) };
        self.persist(|| self.sink.note(note.clone())).await?;
        if let Some(committed) = before.actor().filter(|committed| change.attribution.actor() != Some(*committed)) {
            self.reporter.report(Notice::Contradicted { change: &change, committed, commit: &commit });
        }
        self.reporter.report(Notice::Noted { change: &change, commit: &commit });
        Ok(())
    }
}

/// Returns where facts go in, and where they come out.
pub(super) fn facts() -> (mpsc::Sender<Fact>, mpsc::Receiver<Fact>) {
    mpsc::channel(NOTES)
}
