//! A channel bounded in bytes: many watches on one end, the recorder on the other.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Returns both ends of a queue that holds up to `bytes`. At the bound [`Sender::send`] waits, which stops the reading
/// of the watch behind it; nothing is dropped. One item larger than the whole queue passes when the queue is empty.
pub(crate) fn bounded<T>(bytes: usize) -> (Sender<T>, Receiver<T>) {
    Load::new(bytes).queue()
}

/// How much a flow has to do: sources that are read, and how much of what was read isn't committed.
#[derive(Clone, Debug)]
pub struct Load {
    room: Arc<Semaphore>,
    limit: u32,
    sources: Arc<AtomicUsize>,
    /// Changes that wait for who made them.
    waiting: Arc<AtomicUsize>,
}

/// A source is read as long as this lives.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    /// Of a queue that holds so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let limit = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        Self { room: Arc::new(Semaphore::new(limit as usize)), limit, sources: Arc::default(), waiting: Arc::default() }
    }

    /// Returns how many bytes are taken.
    pub fn bytes(&self) -> u64 {
        self.limit_bytes().saturating_sub(self.room.available_permits() as u64)
    }

    /// Returns how many bytes there are to take; at that bound nothing is read.
    pub fn limit_bytes(&self) -> u64 {
        self.limit.into()
    }

    /// Returns how many sources are read.
    pub fn sources(&self) -> usize {
        self.sources.load(Ordering::Relaxed)
    }

    /// Returns how many changes wait for who made them.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Counts a source.
    pub(crate) fn count_source(&self) -> Counted {
        self.sources.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.sources))
    }

    /// Returns both ends of the queue.
    pub(crate) fn queue<T>(&self) -> (Sender<T>, Receiver<T>) {
        // The semaphore bounds it; this channel itself never has to refuse.
        let (items, queue) = mpsc::unbounded_channel();
        let (room, limit) = (Arc::clone(&self.room), self.limit);
        let waiting = watch::Sender::new(0);
        let full = waiting.subscribe();
        (Sender { items, room, limit, waiting }, Receiver { queue, full })
    }
}

#[derive(Debug)]
pub(crate) struct Sender<T> {
    items: mpsc::UnboundedSender<Queued<T>>,
    room: Arc<Semaphore>,
    limit: u32,
    /// How many senders wait for room.
    waiting: watch::Sender<usize>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        let (items, room, waiting) = (self.items.clone(), Arc::clone(&self.room), self.waiting.clone());
        Self { items, room, limit: self.limit, waiting }
    }
}

#[derive(Debug)]
pub(crate) struct Receiver<T> {
    queue: mpsc::UnboundedReceiver<Queued<T>>,
    full: watch::Receiver<usize>,
}

/// Tells when a queue is full.
#[derive(Clone, Debug)]
pub(crate) struct Full(watch::Receiver<usize>);

impl Full {
    /// Returns while a sender waits for room, or when none is left.
    pub(crate) async fn is_reached(&mut self) {
        let _or_none_is_left = self.0.wait_for(|waiting| *waiting > 0).await;
    }
}

/// A sender that waits for room, until this is dropped.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

/// An item, and the room it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) item: T,
    room: OwnedSemaphorePermit,
}

impl<T> Queued<T> {
    /// Returns the item and the room it takes, to be dropped when the item is done with.
    pub(crate) fn split(self) -> (T, OwnedSemaphorePermit) {
        (self.item, self.room)
    }
}

impl<T> Sender<T> {
    /// Waits for room and hands `item` over; returns whether anybody is there to take it.
    pub(crate) async fn send(&self, item: T, bytes: usize) -> bool {
        let share = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.limit);
        let room = match Arc::clone(&self.room).try_acquire_many_owned(share) {
            Ok(room) => room,
            Err(_full) => {
                let _waiting = Waiting::new(&self.waiting);
                let Ok(room) = Arc::clone(&self.room).acquire_many_owned(share).await else { return false };
                room
            }
        };
        self.items.send(Queued { item, room }).is_ok()
    }

    /// Returns whether nobody is left to take anything.
    pub(crate) fn is_closed(&self) -> bool {
        self.items.is_closed()
    }
}

impl<T> Receiver<T> {
    /// Returns what has gathered, at most `most` items: waits for the first; empty once all senders are gone.
    pub(crate) async fn receive(&mut self, most: usize) -> Vec<Queued<T>> {
        let mut items = Vec::new();
        self.queue.recv_many(&mut items, most).await;
        items
    }

    /// Returns what tells when there is no room: whoever keeps items should let go of them then.
    pub(crate) fn full(&self) -> Full {
        Full(self.full.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_makes_the_sender_wait_until_items_are_dropped() {
        let (sender, mut receiver) = bounded(100);
        assert!(sender.send(1, 60).await);
        {
            let second = sender.send(2, 60);
            tokio::pin!(second);
            assert!(futures::poll!(&mut second).is_pending());
            drop(receiver.receive(10).await);
            assert!(second.await);
        }
        assert!(sender.send(3, 1).await);
        drop(sender);
        let rest: Vec<_> = receiver.receive(10).await.into_iter().map(|queued| queued.item).collect();
        assert_eq!(rest, [2, 3]);
        assert!(receiver.receive(10).await.is_empty());
    }

    #[tokio::test]
    async fn whoever_keeps_items_hears_that_a_sender_waits_for_as_long_as_it_does() {
        let (sender, mut receiver) = bounded(100);
        let mut full = receiver.full();
        assert!(sender.send(1, 60).await);
        assert!(futures::poll!(std::pin::pin!(full.is_reached())).is_pending());
        let kept = receiver.receive(10).await;
        {
            let second = sender.send(2, 60);
            tokio::pin!(second);
            assert!(futures::poll!(&mut second).is_pending());
            full.is_reached().await;
            drop(kept);
            assert!(second.await);
        }
        assert!(futures::poll!(std::pin::pin!(full.is_reached())).is_pending());
        // One that gives up doesn't count.
        assert!(futures::poll!(std::pin::pin!(sender.send(3, 60))).is_pending());
        assert!(futures::poll!(std::pin::pin!(full.is_reached())).is_pending());
    }

    #[tokio::test]
    async fn an_item_larger_than_the_queue_passes_alone() {
        let (sender, mut receiver) = bounded(10);
        assert!(sender.send("large", 1_000).await);
        assert_eq!(receiver.receive(1).await.len(), 1);
    }
}
