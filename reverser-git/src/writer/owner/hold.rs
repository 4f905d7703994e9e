//! Batches that wait: for room in the state folder, or for packs to be joined.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    sink::{Receipt, SinkError},
    store::{Store, Work},
    writer::{
        owner::{Owner, consolidate, consolidate::MOST_PACKS},
        queue,
    },
};

/// A batch that isn't committed yet. When it is dropped its caller hears that the writer has ended.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) work: Work,
    /// Given back when the batch is durable.
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) reply: oneshot::Sender<Result<Receipt, SinkError>>,
}

impl Owner {
    /// Commits what is held, as far as there is room; batches that follow each other share a pack.
    pub(super) async fn commit_held(&mut self) {
        while !self.held.is_empty() && !self.must_hold() {
            let room = self.target.unpushed_bytes.saturating_sub(self.store().unpushed_bytes());
            let (mut batches, mut waiting, mut bytes) = (Vec::new(), Vec::new(), 0);
            while bytes < room.max(1)
                && let Some(Held { work, permit, reply }) = self.held.pop_front()
            {
                bytes += u64::from(queue::size(&work.batch)).max(1);
                batches.push(work);
                waiting.push((permit, reply));
            }
            self.commit(batches, waiting).await;
        }
        self.tell_full();
    }

    /// Measures what an earlier run has left.
    pub(super) async fn weigh_unpushed(&mut self) {
        let (git_dir, span) = {
            let store = self.store();
            (store.git_dir().to_owned(), store.unpushed_span())
        };
        if let Some((tip, base)) = span
            && let Some(bytes) = consolidate::weigh(&git_dir, tip, base).await
        {
            self.store().weigh(tip, bytes);
        }
    }

    fn is_full(&self, store: &Store) -> bool {
        !store.unpushed().is_empty() && store.unpushed_bytes() >= self.target.unpushed_bytes
    }

    /// Whether batches wait for a push to succeed.
    pub(super) fn is_held_back(&self, store: &Store) -> bool {
        !self.held.is_empty() && self.is_full(store)
    }

    fn must_hold(&self) -> bool {
        let store = self.store();
        self.is_full(&store) || !self.joining.is_empty() && store.packs() >= MOST_PACKS
    }

    /// Says once that there is no room, and once that there is again.
    fn tell_full(&mut self) {
        let (is_full, unpushed) = {
            let store = self.store();
            (self.is_held_back(&store), store.unpushed().len())
        };
        if is_full == self.told_full {
            return;
        }
        self.told_full = is_full;
        let limit = self.target.unpushed_bytes;
        if is_full {
            tracing::warn!(
                unpushed,
                limit,
                "what isn't pushed has reached its limit in bytes; commits wait until a push succeeds. Mend the remote, or \
                 start again with a higher limit"
            );
        } else {
            tracing::info!(unpushed, limit, "there is room again; commits go on");
        }
    }
}
