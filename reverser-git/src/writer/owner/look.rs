//! Looking at the remote without anything to push: whoever compares wants to see what others have pushed.

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
        if self.looking.is_empty() {
            return;
        }
        match &self.phase {
            Phase::Looking | Phase::Pushing { .. } => {}
            Phase::Waiting { error, .. } => {
                let error = error.clone();
                self.answer_looking(&Err(SinkError::Remote { source: error }));
            }
            Phase::Idle => {
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
        }
    }

    /// Takes in what a look has shown.
    pub(super) async fn settle_look(&mut self, seen: Result<Option<CommitId>, RemoteError>) {
        self.phase = Phase::Idle;
        let met = match seen {
            Ok(Some(tip)) if self.expected.as_ref() == Some(&tip) => Ok(()),
            Ok(Some(tip)) => self.meet(tip).await,
            Ok(None) if self.expected.is_some() => self.meet_nothing().await,
            Ok(None) => Ok(()),
            Err(source) => Err(SinkError::Remote { source }),
        };
        self.answer_looking(&met);
    }

    fn answer_looking(&mut self, answer: &Result<(), SinkError>) {
        for reply in self.looking.drain(..) {
            // An answer that nobody waits for any more is no failure.
            let _ = reply.send(answer.clone());
        }
    }
}
