//! How much a cluster is asked at a time: after an outage all of its watches come back.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many resources are listed at the same time: their objects are in memory until they are complete.
const LISTS: usize = 8;

/// How many streams are opened at the same time, each with a connection and its handshakes. A server that doesn't answer
/// keeps others waiting for as long as a request may take, so these are not few.
const REQUESTS: usize = 32;

/// Lets some through and keeps others waiting, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    lists: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { lists: Arc::new(Semaphore::new(LISTS)), requests: Arc::new(Semaphore::new(REQUESTS)) }
    }
}

impl Gate {
    /// Returns when a list may begin; it is over when what this returns is dropped.
    pub(super) async fn list(&self) -> OwnedSemaphorePermit {
        pass(&self.lists).await
    }

    /// Returns when a request may be made; it is over when what this returns is dropped.
    pub(super) async fn ask(&self) -> OwnedSemaphorePermit {
        pass(&self.requests).await
    }
}

async fn pass(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(semaphore).acquire_owned().await.expect("nothing closes it")
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream::FuturesUnordered};

    use super::*;

    #[tokio::test]
    async fn so_many_pass_at_a_time_and_the_others_one_by_one_when_one_is_over() {
        let gate = Gate::default();
        let (mut lists, mut asking) = (FuturesUnordered::new(), FuturesUnordered::new());
        for _ in 0..200 {
            lists.push(gate.list());
            asking.push(gate.ask());
        }
        let (mut listing, mut asked) = (vec![], vec![]);
        while let Some(Some(permit)) = futures::FutureExt::now_or_never(lists.next()) {
            listing.push(permit);
        }
        while let Some(Some(permit)) = futures::FutureExt::now_or_never(asking.next()) {
            asked.push(permit);
        }
        assert_eq!((listing.len(), asked.len()), (LISTS, REQUESTS));
        drop(listing.pop());
        assert!(lists.next().await.is_some());
    }
}
