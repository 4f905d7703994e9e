//! The writers that share an owner, and whose remote a push goes through.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use crate::{
    remote::{Remote, RemoteError},
    writer::handle::Handle,
};

/// The handles onto an owner. Pushes go through the first one's remote: with the URL and the credentials that it was given.
#[derive(Debug)]
pub(super) struct Handles {
    queue: VecDeque<Weak<Handle>>,
    /// How many have been refused since a push was accepted, or since there was a wait.
    refused: usize,
}

impl Handles {
    pub(super) fn new(first: &Arc<Handle>) -> Self {
        Self { queue: VecDeque::from([Arc::downgrade(first)]), refused: 0 }
    }

    pub(super) fn join(&mut self, handle: Weak<Handle>) {
        self.queue.push_back(handle);
        self.refused = 0;
    }

    /// Lets a handle go; returns whether it was the last one.
    pub(super) fn leave(&mut self, handle: Arc<Handle>) -> bool {
        self.queue.retain(|other| other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), Arc::as_ptr(&handle)));
        self.queue.is_empty()
    }

    /// Returns whether there is one that waits for its last pushes.
    pub(super) fn is_one_closing(&self) -> bool {
        self.queue.iter().filter_map(Weak::upgrade).any(|handle| handle.is_closing())
    }

    /// Returns what to push through; `None` when all handles are gone.
    pub(super) fn remote(&mut self) -> Option<Arc<dyn Remote>> {
        self.queue.retain(|handle| handle.strong_count() > 0);
        self.queue.iter().find_map(Weak::upgrade).map(|handle| Arc::clone(&handle.remote))
    }

    /// After a refusal that another user might not get, lets the next handle have its turn; returns whether there is one
    /// that hasn't had it yet.
    pub(super) fn next_turn(&mut self, error: &RemoteError) -> bool {
        use RemoteError::{Authentication, NotFound, Refused};
        if !matches!(error, Authentication { .. } | NotFound { .. } | Refused { .. }) {
            return false;
        }
        self.queue.retain(|handle| handle.strong_count() > 0);
        if self.queue.len() > 1 {
            self.queue.rotate_left(1);
        }
        self.refused += 1;
        let is_next = self.refused < self.queue.len();
        if !is_next {
            self.refused = 0;
        }
        is_next
    }

    pub(super) fn accepted(&mut self) {
        self.refused = 0;
    }
}
