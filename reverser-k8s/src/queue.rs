//! A channel bounded in bytes: many watches on one end, the recorder on the other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Returns both ends of a queue that holds up to `bytes`. At the bound [`Sender::send`] waits, which stops the reading
/// of the watch behind it; nothing is dropped. One item larger than the whole queue passes when the queue is empty.
pub(crate) fn bounded<T>(bytes: usize) -> (Sender<T>, Receiver<T>) {
    // The semaphore bounds it; this channel itself never has to refuse.
    let (items, queue) = mpsc::unbounded_channel();
    let limit = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
    let room = Arc::new(Semaphore::new(limit as usize));
    (Sender { items, room, limit }, Receiver { queue })
}

#[derive(Debug)]
pub(crate) struct Sender<T> {
    items: mpsc::UnboundedSender<Queued<T>>,
    room: Arc<Semaphore>,
    limit: u32,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), room: Arc::clone(&self.room), limit: self.limit }
    }
}

#[derive(Debug)]
pub(crate) struct Receiver<T> {
    queue: mpsc::UnboundedReceiver<Queued<T>>,
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
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(share).await else { return false };
        self.items.send(Queued { item, room }).is_ok()
    }
}

impl<T> Receiver<T> {
    /// Returns what has gathered, at most `most` items: waits for the first; empty once all senders are gone.
    pub(crate) async fn receive(&mut self, most: usize) -> Vec<Queued<T>> {
        let mut items = Vec::new();
        self.queue.recv_many(&mut items, most).await;
        items
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
    async fn an_item_larger_than_the_queue_passes_alone() {
        let (sender, mut receiver) = bounded(10);
        assert!(sender.send("large", 1_000).await);
        assert_eq!(receiver.receive(1).await.len(), 1);
    }
}
