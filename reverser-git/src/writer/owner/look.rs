//! Looking at the remote: whoever compares wants to see what others have pushed, whether there is something to push or not.

use tokio::sync::oneshot;

use crate::{
    remote::RemoteError,
    sink::{CommitId, SinkError},
    writer::owner::{
        Owner, Phase,
        push::{Round, Seen, look},
    },
};

/// Where the answer goes.
pub(crate) type Looking = oneshot::Sender<Result<(), SinkError>>;

impl Owner {
    /// Begins to look at the remote when somebody asks for it and no push is under way. While the remote can't be pushed to,
    /// the answer is why.
    pub(super) fn look_when_asked(&mut self) {
        if self.looking.is_empty() || matches!(self.phase, Phase::Looking | Phase::Pushing { .. }) {
            return;
        }
        self.looking_along.append(&mut self.looking);
        if self.is_waiting() {
            return self.answer_looking(&Ok(()));
        }
        let Some(remote) = self.handles.remote() else { return };
        let (branch, known, gits) = (self.target.branch.clone(), self.expected.clone(), self.gits.clone());
        self.phase = Phase::Looking;
        self.round.spawn(async move {
            gits.fetch(async {
                match look(remote.as_ref(), &branch, known.as_ref(), None).await {
                    Ok(Seen::Branch(tip) | Seen::DefaultBranch(tip)) => Round::Looked(Some(tip)),
                    Ok(Seen::Nothing) => Round::Looked(None),
                    Err(error) => Round::Failed(error),
                }
            })
            .await
        });
    }

    /// Takes in what a look has shown.
    pub(super) async fn settle_look(&mut self, seen: Result<Option<CommitId>, RemoteError>) {
        let met = match seen {
            Ok(Some(tip)) if self.expected.as_ref() == Some(&tip) => Ok(()),
            Ok(Some(tip)) => self.meet(tip).await,
            Ok(None) if self.expected.is_some() => self.meet_nothing().await,
            Ok(None) => Ok(()),
            Err(source) => Err(SinkError::Remote { source }),
        };
        self.notes.wake();
        self.answer_looking(&met);
    }

    /// Answers those who wait for what has just been `met`. While the remote can't be pushed to, the answer is why.
    pub(super) fn answer_looking(&mut self, met: &Result<(), SinkError>) {
        let answer = match (&self.phase, met) {
            (Phase::Waiting { error, .. }, Ok(())) => Err(SinkError::Remote { source: error.clone() }),
            _ => met.clone(),
        };
        for reply in self.looking_along.drain(..) {
            // An answer that nobody waits for any more is no failure.
            let _ = reply.send(answer.clone());
        }
    }
}
