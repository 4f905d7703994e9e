//! One of the writers that share an owner: clones of a [`GitWriter`] are one handle.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    remedy::Remedy,
    remote::Remote,
    writer::{Closed, PushPhase, PushState, owner::Request},
};

/// How an owner knows one of its writers; it lives as long as the writer.
#[derive(Debug)]
pub(crate) struct Handle {
    /// The branch's remote by the URL and with the credentials that this writer was given.
    pub(crate) remote: Arc<dyn Remote>,
    /// Whether it waits for its last pushes.
    is_closing: AtomicBool,
}

impl Handle {
    pub(crate) fn new(remote: Arc<dyn Remote>) -> Self {
        Self { remote, is_closing: AtomicBool::new(false) }
    }

    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }
}

/// A writer's line to its owner, shared by its clones.
#[derive(Debug)]
pub(super) struct Line(Mutex<State>);

#[derive(Debug)]
enum State {
    Closing(watch::Receiver<Option<Closed>>),
    Open {
        /// The owner ends when all senders are gone.
        requests: mpsc::Sender<Request>,
        handle: Arc<Handle>,
    },
}

impl Line {
    pub(super) fn new(requests: mpsc::Sender<Request>, handle: Arc<Handle>) -> Self {
        Self(Mutex::new(State::Open { requests, handle }))
    }

    /// Returns where requests go; `None` once the writer is being closed.
    pub(super) fn requests(&self) -> Option<mpsc::Sender<Request>> {
        match &*self.state() {
            State::Closing(_) => None,
            State::Open { requests, .. } => Some(requests.clone()),
        }
    }

    /// Begins to close the writer, unless that has begun; returns where the outcome will be, or `None` when it has been there
    /// before.
    pub(super) fn close(
        &self,
        limit: Duration,
        pushed: &watch::Receiver<u64>,
        push_state: &watch::Receiver<PushState>,
    ) -> Option<watch::Receiver<Option<Closed>>> {
        let mut state = self.state();
        if let State::Closing(closed) = &*state {
            return Some(closed.clone()).filter(|closed| closed.borrow().is_none());
        }
        let (told, closed) = watch::channel(None);
        if let State::Open { requests, handle } = std::mem::replace(&mut *state, State::Closing(closed.clone())) {
            let (pushed, push_state) = (pushed.clone(), push_state.clone());
            // On its own, so that it is done whatever becomes of the caller.
            tokio::spawn(async move {
                told.send_replace(leave(requests, handle, limit, pushed, push_state).await);
            });
        }
        Some(closed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a writer: what it has sent is committed, then there is the time that its caller gives for pushes, then it goes, and
/// with the last one the owner.
async fn leave(
    requests: mpsc::Sender<Request>,
    handle: Arc<Handle>,
    limit: Duration,
    mut pushed: watch::Receiver<u64>,
    mut push_state: watch::Receiver<PushState>,
) -> Option<Closed> {
    let (reply, committed) = oneshot::channel();
    requests.send(Request::Close { handle: Arc::clone(&handle), reply }).await.ok()?;
    let sequence = committed.await.ok()?;
    let settled = async {
        tokio::select! {
            _ = pushed.wait_for(|pushed| *pushed >= sequence) => {}
            _ = push_state.wait_for(|state| needs_a_person(&state.phase)) => return,
        }
        // Their turn comes when the branch is there.
        let _ended = push_state.wait_for(|state| state.unpushed_notes == 0 || state.notes_error.is_some()).await;
    };
    let _elapsed = timeout(limit, settled).await;
    let closed = if *pushed.borrow() >= sequence {
        Closed { unpushed: 0, error: None }
    } else {
        let PushState { unpushed, phase, .. } = push_state.borrow().clone();
        let error = match phase {
            PushPhase::Waiting { error, .. } => Some(error),
            PushPhase::Idle | PushPhase::Pushing => None,
        };
        Closed { unpushed, error }
    };
    let (reply, gone) = oneshot::channel();
    requests.send(Request::Leave { handle, reply }).await.ok()?;
    gone.await.ok()?;
    Some(closed)
}

fn needs_a_person(phase: &PushPhase) -> bool {
    matches!(phase, PushPhase::Waiting { error, .. } if error.remedy() == Remedy::FixConfiguration)
}
