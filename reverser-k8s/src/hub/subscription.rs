//! What one target reads of a resource: through the stream that all share, as far as it can.

use std::{fmt, sync::Arc};

use reverser_core::Resource;
use tokio::sync::oneshot;

use super::{Answer, Bell, Extent, Hub, Join, Key, Open};
use crate::{
    list::Lister,
    queue,
    source::{Event, Source},
};

/// How many bytes wait for a target that is behind with its reading. It is no more than a cushion: what waits for Git does
/// so in the queue behind it.
const SEAT: usize = 256 << 10;

/// One target's watch of a resource in a namespace or everywhere, a [`Source`].
///
/// All of one [`Cluster`](crate::Cluster) and its clones share a watch for each resource and namespace. Without a cursor it
/// begins with a complete list of its own. One that doesn't take its events for more than a moment loses its place in the
/// shared watch, and goes on behind what it has taken once it is read again.
pub struct Subscription {
    id: String,
    resource: Arc<Resource>,
    namespace: Option<String>,
    hub: Arc<Hub>,
    key: Key,
    open: Open,
    extent: Extent,
    /// What comes up to there was read by an earlier run.
    read: Option<u64>,
    state: State,
}

enum State {
    /// Reads a source of its own until that has listed, or has caught up with the others.
    Alone { source: Box<dyn Source>, position: Position },
    /// Asks for a seat. There is a source when one stands there already.
    Behind { have: u64, source: Option<Box<dyn Source>>, is_slow: bool },
    /// Takes what comes to its seat.
    Seated { have: u64, seat: Seat },
    /// Has said nothing yet.
    Start(Option<String>),
}

/// Up to where a source of one's own has been read.
enum Position {
    /// It is that of everything up to here.
    At(u64),
    /// It has none yet, or none that compares with the others'.
    Unknown,
}

/// In the order in which they are dropped: the bell rings when the seat is free.
struct Seat {
    events: queue::Receiver<Event>,
    _bell: Bell,
}

impl Subscription {
    pub(crate) fn new(
        id: String,
        resource: Arc<Resource>,
        namespace: Option<String>,
        hub: Arc<Hub>,
        open: Open,
        extent: Extent,
    ) -> Self {
        let key = (resource.to_string(), namespace.clone());
        Self { id, resource, namespace, hub, key, open, extent, read: None, state: State::Start(None) }
    }

    /// Goes on behind `cursor` instead, as an earlier run left it.
    #[must_use]
    pub fn resume(mut self, cursor: impl Into<String>) -> Self {
        self.state = State::Start(Some(cursor.into()));
        self
    }

    /// Opens a source that goes on behind `have`.
    fn open_at(&self, have: u64) -> Box<dyn Source> {
        let mut source = (self.open)(Some(&have.to_string()), &self.extent);
        self.read.into_iter().for_each(|read| source.was_read(read));
        source
    }

    /// Returns what is watched.
    pub fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// Returns the namespace that it is watched in; `None`: everywhere.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Asks for a seat; returns where that leads.
    async fn join(&mut self, have: u64, source: Option<Box<dyn Source>>, is_slow: bool) -> State {
        let source = source.unwrap_or_else(|| self.open_at(have));
        // In this order: where this is dropped, the bell in an answer goes after the seat.
        let (answer, answered) = oneshot::channel();
        let (seat, events) = queue::bounded(SEAT);
        let (open, extent) = (Arc::clone(&self.open), self.extent.clone());
        self.hub.join(&self.key, Join { source, have, read: self.read, extent, open, is_slow, seat, answer }).await;
        match answered.await {
            Ok(Answer::Alone(source)) => State::Alone { source, position: Position::At(have) },
            Ok(Answer::Seated(bell)) => State::Seated { have, seat: Seat { events, _bell: bell } },
            // The stream ended before it looked.
            Err(_ended) => State::Behind { have, source: None, is_slow },
        }
    }
}

#[async_trait::async_trait]
impl Source for Subscription {
    fn id(&self) -> &str {
        &self.id
    }

    fn lister(&self) -> Option<Arc<dyn Lister>> {
        // What would be read is opened; nothing is asked of it.
        (self.open)(None, &self.extent).lister()
    }

    fn was_read(&mut self, version: u64) {
        self.read = self.read.max(Some(version));
        match &mut self.state {
            State::Alone { source, .. } | State::Behind { source: Some(source), .. } => source.was_read(version),
            State::Behind { source: None, .. } | State::Seated { .. } | State::Start(_) => {}
        }
    }

    fn pause(&mut self) {
        match &mut self.state {
            State::Alone { source, .. } => source.pause(),
            // Its place is free for the others; it catches up when it is read again.
            State::Seated { have, .. } => self.state = State::Behind { have: *have, source: None, is_slow: true },
            State::Behind { .. } | State::Start(_) => {}
        }
    }

    async fn next(&mut self) -> Option<Event> {
        // As with a watch, a dropped future leaves the state where it was, or asks for a seat again.
        loop {
            match &mut self.state {
                State::Start(None) => {
                    let source = (self.open)(None, &self.extent);
                    self.state = State::Alone { source, position: Position::Unknown };
                }
                State::Start(Some(cursor)) => match cursor.parse() {
                    Ok(have) => {
                        self.state = State::Behind { have, source: None, is_slow: false };
                        return Some(Event::Resumed);
                    }
                    // Some extension server's own idea of a version: it can't be compared with others'.
                    Err(_) => {
                        let source = (self.open)(Some(cursor), &self.extent);
                        self.state = State::Alone { source, position: Position::Unknown };
                    }
                },
                State::Alone { source, position } => {
                    let event = source.next().await?;
                    let is_list = matches!(event, Event::Listed(_));
                    if let Some(cursor) = event.cursor() {
                        *position = cursor.parse().map_or(Position::Unknown, Position::At);
                    }
                    if let Position::At(have) = *position
                        && event.cursor().is_some()
                        && (is_list || self.hub.is_caught_up(&self.key, have))
                        && let State::Alone { source, .. } = std::mem::replace(&mut self.state, State::Start(None))
                    {
                        self.state = State::Behind { have, source: Some(source), is_slow: !is_list };
                    }
                    return Some(event);
                }
                State::Behind { have, source, is_slow } => {
                    let (have, source, is_slow) = (*have, source.take(), *is_slow);
                    self.state = self.join(have, source, is_slow).await;
                }
                State::Seated { have, seat } => {
                    let Some(event) = seat.events.receive(1).await.pop() else {
                        // Its place is gone. By itself at first: that holds up nobody, and should reading what comes next
                        // end in a panic, it does so here, where that is seen.
                        let have = *have;
                        let source = self.open_at(have);
                        self.state = State::Alone { source, position: Position::At(have) };
                        continue;
                    };
                    let (event, _room) = event.split();
                    if let Some(cursor) = event.cursor().and_then(|cursor| cursor.parse().ok()) {
                        *have = cursor;
                    }
                    return Some(event);
                }
            }
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id).finish_non_exhaustive()
    }
}
