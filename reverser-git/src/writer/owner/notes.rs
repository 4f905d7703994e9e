//! Notes on their way to the remote: beside the branch, and never in its way.
//!
//! ```text
//! look at the remote's notes ─► ours on top of them ─► push ─► they wait no more
//!        ▲                        │ texts are lacking    │ somebody else was there, or it failed
//!        └────────────────────────┴──────────────────────┘ after a while
//! ```

use std::sync::Arc;

use jiff::Timestamp;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Duration, Instant},
};

use crate::{
    backoff::Backoff,
    fault,
    objects::Id,
    remote::{NotesPushed, Remote, RemoteError},
    sink::{CommitId, SinkError},
    store::{NotesToSend, Sent, Store},
    writer::owner::{Owner, gits::Gits},
};

/// How far notes have come.
#[derive(Debug)]
pub(super) struct Notes {
    step: Step,
    /// What is asked of the remote, alone.
    task: JoinSet<Answer>,
    /// Where the remote's notes are, if that is known; `Some(None)`: there are none.
    tip: Option<Option<CommitId>>,
    /// Whether there may be something to send.
    is_due: bool,
    backoff: Backoff,
    /// The failure that was told last, until a push succeeds.
    told: Option<String>,
    pub(super) error: Option<RemoteError>,
}

#[derive(Debug)]
enum Step {
    Idle,
    /// Until the remote answers.
    Asking,
    /// After a failure.
    Waiting {
        due: Instant,
    },
}

/// What the remote has answered.
#[derive(Debug)]
pub(super) enum Answer {
    Failed(RemoteError),
    Fetched,
    /// The branch wanted to fetch.
    GaveWay,
    Looked(Option<CommitId>),
    Moved,
    Pushed(CommitId, Sent),
}

impl Notes {
    pub(super) fn new() -> Self {
        Self {
            step: Step::Idle,
            task: JoinSet::new(),
            tip: None,
            is_due: true,
            backoff: Backoff::new(SHORTEST_WAIT, LONGEST_WAIT),
            told: None,
            error: None,
        }
    }

    /// Says that there may be something to send.
    pub(super) fn wake(&mut self) {
        self.is_due = true;
    }

    /// Lets what failed be tried at once: somebody counts the seconds.
    pub(super) fn try_now(&mut self) {
        if matches!(self.step, Step::Waiting { .. }) {
            self.step = Step::Idle;
        }
        self.error = None;
        self.is_due = true;
    }

    /// Returns until when it waits.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        match self.step {
            Step::Waiting { due } if self.is_due => Some(due),
            _ => None,
        }
    }

    /// Returns once the remote has answered; never when it wasn't asked.
    pub(super) async fn answer(&mut self) -> Answer {
        match self.task.join_next().await {
            Some(answer) => answer.unwrap_or_else(|error: JoinError| std::panic::resume_unwind(error.into_panic())),
            None => std::future::pending().await,
        }
    }

    pub(super) async fn end(&mut self) {
        self.task.shutdown().await;
    }

    fn wait(&mut self) {
        self.tip = None;
        self.step = Step::Waiting { due: Instant::now() + self.backoff.next_wait() };
    }
}

impl Owner {
    /// Does the next step when there are notes about what is on the remote's branch.
    pub(super) async fn send_notes_when_due(&mut self) {
        while self.notes.is_due && !matches!(self.notes.step, Step::Asking) {
            if self.notes.waits_until().is_some_and(|due| Instant::now() < due) {
                return;
            }
            self.notes.step = Step::Idle;
            if self.store().waiting_notes() == 0 {
                self.notes.is_due = false;
                return;
            }
            if let Err(error) = self.send_notes().await {
                self.fail_notes(RemoteError::Local { source: Arc::new(error) });
            }
        }
    }

    async fn send_notes(&mut self) -> Result<(), SinkError> {
        let Some(remote) = self.handles.remote() else {
            self.notes.is_due = false;
            return Ok(());
        };
        let Some(tip) = self.notes.tip.clone() else {
            // Not before there is something to send: it may all be about commits that aren't pushed.
            if self.with_store(Store::has_notes_to_send).await? {
                self.ask_for_notes(look(remote, self.gits.clone()));
            } else {
                self.notes.is_due = false;
            }
            return Ok(());
        };
        let id = tip.as_ref().map(Id::try_from).transpose()?;
        match self.with_store(move |store| store.notes_to_send(id, Timestamp::now())).await? {
            NotesToSend::Lacking(texts) => self.ask_for_notes(fetch(remote, texts, self.gits.clone())),
            NotesToSend::Nothing => self.notes.is_due = false,
            NotesToSend::Present(sent) => self.note_sent(sent).await?,
            NotesToSend::Push(commit, sent) => self.ask_for_notes(push(remote, commit, tip, sent)),
        }
        Ok(())
    }

    fn ask_for_notes(&mut self, ask: impl Future<Output = Answer> + Send + 'static) {
        self.notes.step = Step::Asking;
        self.notes.task.spawn(ask);
    }

    /// Takes in what the remote has answered.
    pub(super) async fn settle_notes(&mut self, answer: Answer) {
        self.notes.step = Step::Idle;
        let settled = match answer {
            Answer::Failed(error) => return self.fail_notes(error),
            Answer::Fetched => Ok(()),
            Answer::GaveWay | Answer::Moved => {
                self.notes.wait();
                Ok(())
            }
            Answer::Looked(tip) => {
                self.notes.tip = Some(tip);
                Ok(())
            }
            Answer::Pushed(commit, sent) => {
                tracing::debug!(%commit, notes = sent.len(), "notes pushed");
                self.notes.tip = Some(Some(commit));
                self.note_sent(sent).await
            }
        };
        if let Err(error) = settled {
            self.fail_notes(RemoteError::Local { source: Arc::new(error) });
        }
    }

    async fn note_sent(&mut self, sent: Sent) -> Result<(), SinkError> {
        self.with_store(move |store| store.note_sent(&sent, Timestamp::now())).await?;
        self.notes.backoff.reset();
        self.notes.error = None;
        if self.notes.told.take().is_some() {
            tracing::info!("notes are pushed again");
        }
        Ok(())
    }

    /// Waits before the next try. Said once for each different failure.
    fn fail_notes(&mut self, error: RemoteError) {
        let text = error.to_string();
        if self.notes.told.as_ref() != Some(&text) {
            tracing::warn!(%error, remedy = %error.remedy(), "notes could not be pushed; the branch goes on, and they are tried again until it succeeds");
            self.notes.told = Some(text);
        }
        self.notes.error = Some(error);
        self.notes.wait();
    }
}

async fn look(remote: Arc<dyn Remote>, gits: Gits) -> Answer {
    match gits.fetch_aside(remote.fetch_notes()).await {
        Some(Ok(tip)) => Answer::Looked(tip),
        Some(Err(error)) => Answer::Failed(error),
        None => Answer::GaveWay,
    }
}

async fn fetch(remote: Arc<dyn Remote>, texts: Vec<CommitId>, gits: Gits) -> Answer {
    match gits.fetch_aside(remote.fetch_texts(&texts)).await {
        Some(Ok(())) => Answer::Fetched,
        Some(Err(error)) => Answer::Failed(error),
        None => Answer::GaveWay,
    }
}

async fn push(remote: Arc<dyn Remote>, commit: CommitId, tip: Option<CommitId>, sent: Sent) -> Answer {
    let answer = remote.push_notes(&commit, tip.as_ref()).await;
    fault::reached("notes-pushed");
    match answer {
        Ok(NotesPushed::Done) => Answer::Pushed(commit, sent),
        Ok(NotesPushed::Moved) => Answer::Moved,
        Err(error) => Answer::Failed(error),
    }
}

/// Notes that could not be pushed are tried again after this at the earliest, and after [`LONGEST_WAIT`] at the latest: nobody
/// waits for them, and a server that takes none is asked seldom.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(600);
