//! Bodies of requests: bounded each, and all of them together.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Limits, routes::Refusal};

/// Room for the bodies of one kind of request.
#[derive(Debug)]
pub(super) struct Room {
    /// In [`UNIT`]s.
    free: Arc<Semaphore>,
    units: u32,
    /// Of one body.
    limit: usize,
}

/// What room is counted in, in bytes: as semaphores count to 2^32.
const UNIT: usize = 1 << 10;

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Room {
    /// Makes room for `limits.bytes_in_flight`, at least for one body.
    pub(super) fn new(limit: usize, limits: &Limits) -> Self {
        let units = units(limits.bytes_in_flight.max(limit));
        Self { free: Arc::new(Semaphore::new(units as usize)), units, limit }
    }

    /// Reads a body once there is room, which is given back when the permit is dropped.
    pub(super) async fn read<B>(&self, body: B, limits: &Limits) -> Result<(Bytes, OwnedSemaphorePermit), Refusal>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        // API servers say how much comes. One who doesn't takes as much room as there can be.
        let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let bytes = announced.unwrap_or(self.limit);
        if bytes > self.limit {
            return Err(Refusal::TooLarge);
        }
        let read = async {
            let room = Arc::clone(&self.free).acquire_many_owned(units(bytes)).await;
            // It is never closed.
            let room = room.map_err(|_closed| Refusal::Broken)?;
            let body = Limited::new(body, self.limit).collect().await;
            Ok((body.map_err(|error| refusal(&*error))?.to_bytes(), room))
        };
        timeout(limits.body, read).await.unwrap_or(Err(Refusal::Slow))
    }

    /// Returns once nothing takes any of it.
    pub(super) async fn is_free(&self) {
        drop(self.free.acquire_many(self.units).await);
    }
}

fn refusal(error: &(dyn Error + Send + Sync + 'static)) -> Refusal {
    if error.is::<LengthLimitError>() { Refusal::TooLarge } else { Refusal::Broken }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use futures::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    const LIMIT: usize = 64 << 10;

    fn limits() -> Limits {
        Limits { bytes_in_flight: 2 * LIMIT, body: Duration::from_secs(10), ..Limits::default() }
    }

    fn whole(bytes: usize) -> Full<Bytes> {
        Full::new(vec![b'x'; bytes].into())
    }

    /// Says nothing of its length.
    fn chunks(count: usize, bytes: usize) -> impl Body<Data = Bytes, Error = Infallible> {
        let chunk = move |_| Ok(Frame::data(Bytes::from(vec![b'x'; bytes])));
        StreamBody::new(stream::iter((0..count).map(chunk)))
    }

    #[tokio::test]
    async fn a_body_is_as_large_as_it_may_be_whether_or_not_it_says_so() {
        let (room, limits) = (Room::new(LIMIT, &limits()), limits());
        assert_eq!(room.read(whole(LIMIT), &limits).await.unwrap().0.len(), LIMIT);
        assert_eq!(room.read(whole(LIMIT + 1), &limits).await.unwrap_err(), Refusal::TooLarge);
        assert_eq!(room.read(chunks(64, 1 << 10), &limits).await.unwrap().0.len(), LIMIT);
        assert_eq!(room.read(chunks(65, 1 << 10), &limits).await.unwrap_err(), Refusal::TooLarge);
        assert_eq!(room.read(whole(0), &limits).await.unwrap().0, Bytes::new());
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_beyond_the_room_for_all_of_them_wait_for_their_turn() {
        let (room, limits) = (Room::new(LIMIT, &limits()), limits());
        let (_, small) = room.read(whole(LIMIT / 2), &limits).await.unwrap();
        let (_, _unannounced) = room.read(chunks(1, 1), &limits).await.unwrap();
        // There is half of one left.
        assert_eq!(room.read(whole(LIMIT), &limits).await.unwrap_err(), Refusal::Slow);
        assert!(room.read(whole(LIMIT / 2), &limits).await.is_ok());
        drop(small);
        assert!(room.read(whole(LIMIT), &limits).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_gives_its_room_back() {
        let (room, limits) = (Room::new(LIMIT, &limits()), limits());
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(room.read(never, &limits).await.unwrap_err(), Refusal::Slow);
        room.is_free().await;
    }
}
