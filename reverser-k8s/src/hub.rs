//! One stream of each resource and scope, for all targets that need it.
//!
//! ```text
//! Watch ─► stream: one task for each (resource, namespace) ─┬► seat ─► Subscription ─► a target's pump
//!                                                           └► seat ─► Subscription ─► another target's pump
//! ```
//!
//! The first to join opens the stream, the last to leave closes it. A stream has a position, and so has each seat; who
//! joins from behind makes it begin anew there, and the others skip what they have. A seat holds a bounded number of
//! bytes; one that stays full is taken away, and its subscription catches up with a source of its own before it joins
//! again. So nobody waits long for anybody else, and nothing is missed. Why: `docs/decisions/one-watch.md`.

mod stream;
mod subscription;
#[cfg(test)]
mod tests;
mod weight;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use reverser_core::Sanitizer;
use tokio::sync::{Notify, mpsc, oneshot};

use self::stream::Stream;
pub use self::subscription::Subscription;
use crate::{
    queue,
    source::{Event, Source},
};

/// Opens a source behind a position, or, without one, with a complete list.
pub(crate) type Open = Arc<dyn Fn(Option<&str>, &Extent) -> Box<dyn Source> + Send + Sync>;

/// What a stream is about: a resource, as `group/version/plural`, in a namespace or everywhere.
pub(crate) type Key = (String, Option<String>);

/// How much of an object is read: as little as all that share a stream agree on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Extent {
    /// Not more than that there is one.
    Nothing,
    /// Without what this removes anyway.
    Without(Sanitizer),
    /// All of it.
    Whole,
}

impl Extent {
    /// Returns what both need.
    fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Nothing, extent) | (extent, Self::Nothing) => extent.clone(),
            (one, another) if one == another => one.clone(),
            _ => Self::Whole,
        }
    }
}

/// The open streams of one cluster.
#[derive(Default)]
pub(crate) struct Hub {
    streams: Mutex<HashMap<Key, Entry>>,
}

/// A stream as others see it.
#[derive(Clone)]
struct Entry {
    joins: mpsc::Sender<Join>,
    position: Arc<Position>,
}

/// Somebody wants a seat.
struct Join {
    /// Stands at `have`; the stream goes on with it where that is behind.
    source: Box<dyn Source>,
    have: u64,
    /// What comes up to there was read by an earlier run.
    read: Option<u64>,
    extent: Extent,
    open: Open,
    /// Was too slow for the others, and mustn't hold them up by joining from behind.
    is_slow: bool,
    seat: queue::Sender<Event>,
    answer: oneshot::Sender<Answer>,
}

/// What becomes of it.
enum Answer {
    /// The source is given back: it has to catch up first.
    Alone(Box<dyn Source>),
    /// From here on its seat gets what it lacks.
    Seated(Bell),
}

/// Tells a stream that somebody has left when it is dropped; so it goes last.
struct Bell(Arc<Notify>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// How far a stream has been read, for those that aren't in it.
struct Position(AtomicU64);

impl Position {
    /// In the middle of what leads from one position to the next: nobody can join there.
    const BETWEEN: u64 = u64::MAX;

    fn new(position: u64) -> Self {
        Self(AtomicU64::new(position))
    }

    fn set(&self, position: u64) {
        self.0.store(position, Ordering::Relaxed);
    }

    fn is_reached(&self, have: u64) -> bool {
        have >= self.0.load(Ordering::Relaxed)
    }
}

impl Hub {
    /// Joins the stream of `key`, or opens it with this.
    fn join(self: &Arc<Self>, key: &Key, join: Join) -> impl Future<Output = ()> + use<> {
        let (entry, first) = {
            let mut streams = self.lock();
            match streams.get(key).filter(|entry| !entry.joins.is_closed()) {
                Some(entry) => (entry.clone(), Some(join)),
                None => {
                    let (joins, joining) = mpsc::channel(JOINS);
                    let entry = Entry { joins, position: Arc::new(Position::new(join.have)) };
                    streams.insert(key.clone(), entry.clone());
                    let (hub, key, position) = (Arc::clone(self), key.clone(), Arc::clone(&entry.position));
                    tokio::spawn(async move {
                        Stream::begin(join, &position).run(joining).await;
                        hub.close(&key, &position);
                    });
                    (entry, None)
                }
            }
        };
        async move {
            if let Some(join) = first {
                // One that has ended meanwhile drops it; who asked sees that no answer comes.
                let _ended = entry.joins.send(join).await;
            }
        }
    }

    /// Returns whether who has read so far has all that the stream of `key` has brought, or there is none.
    fn is_caught_up(&self, key: &Key, have: u64) -> bool {
        self.lock().get(key).is_none_or(|entry| entry.joins.is_closed() || entry.position.is_reached(have))
    }

    /// Forgets a stream that has ended, unless another one has taken its place.
    fn close(&self, key: &Key, position: &Arc<Position>) {
        let mut streams = self.lock();
        if streams.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.position, position)) {
            streams.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // Each change of the map is one step.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("streams", &self.lock().len()).finish()
    }
}

/// How many wait for a seat while a stream is busy handing on an event; more wait before its door.
const JOINS: usize = 16;
