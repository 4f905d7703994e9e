//! A stream: reads one source, and hands each event to those seats that lack it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use super::{Answer, Bell, Extent, Join, Open, Position, weight::weight};
use crate::{
    queue,
    source::{Event, Gap, Listed, Source},
};

/// How long the others wait for a seat that is full. A pump takes microseconds for an event unless it waits itself, for
/// Git.
const MOMENT: Duration = Duration::from_millis(500);

/// The task that owns a source, as long as somebody has a seat.
pub(super) struct Stream<'a> {
    source: Box<dyn Source>,
    open: Open,
    extent: Extent,
    place: Place,
    /// Where others see how far this is.
    shown: &'a Position,
    seats: Vec<Seat>,
    /// Rings when somebody leaves.
    bell: Arc<Notify>,
    has_failed: bool,
}

/// How far a source has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: u64,
    /// More than what leads up to the position was read, and not all that leads to the next.
    pub(super) is_between: bool,
}

/// What an event does to positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All up to here.
    All(u64),
    /// One more, in the order of versions: what stands behind this position isn't needed to understand it.
    One(u64),
    /// Part of what makes up for a gap.
    Part,
    /// Says nothing of objects.
    Nothing,
}

/// What a seat does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is ahead, and this would replace what it can still be told one by one: it does better by itself.
    Leave,
    /// It has this.
    Skip,
    /// It takes it.
    Take,
}

struct Seat {
    events: queue::Sender<Event>,
    /// Up to where it has everything.
    have: u64,
    /// What comes up to there was read by an earlier run.
    read: Option<u64>,
}

impl Seat {
    /// Tells a source that stands before it what was read.
    fn tell(&self, source: &mut dyn Source, place: Place) {
        let read = [Some(self.have), self.read].into_iter().flatten();
        read.filter(|read| *read > place.position).for_each(|read| source.was_read(read));
    }
}

impl<'a> Stream<'a> {
    /// Returns the stream that who joins first opens.
    pub(super) fn begin(join: Join, shown: &'a Position) -> Self {
        let Join { source, have, read, extent, open, is_slow: _, seat, answer } = join;
        let bell = Arc::new(Notify::new());
        // One that has gone meanwhile is found by `run`.
        let _gone = answer.send(Answer::Seated(Bell(Arc::clone(&bell))));
        let place = Place { position: have, is_between: false };
        let seats = vec![Seat { events: seat, have, read }];
        Self { source, open, extent, place, shown, seats, bell, has_failed: false }
    }

    /// Reads until nobody is left, or nothing comes any more.
    pub(super) async fn run(mut self, mut joins: mpsc::Receiver<Join>) {
        let bell = Arc::clone(&self.bell);
        while !self.seats.is_empty() {
            tokio::select! {
                Some(join) = joins.recv() => self.join(join),
                () = bell.notified() => {}
                event = self.source.next() => match event {
                    Some(event) => self.hand_on(event).await,
                    None => return,
                },
            }
            self.seats.retain(|seat| !seat.events.is_closed());
        }
    }

    fn join(&mut self, join: Join) {
        let Join { source, have, read, extent, open: _, is_slow, seat, answer } = join;
        let is_behind = have < self.place.position;
        if self.place.is_between || is_slow && is_behind {
            let _gone = answer.send(Answer::Alone(source));
            return;
        }
        let (needed, mut opened) = (self.extent.and(&extent), self.extent.clone());
        if is_behind {
            tracing::debug!(source = self.source.id(), at = have, "begins anew for one that is behind");
            (self.source, opened) = (source, extent);
            self.move_to(Place { position: have, is_between: false });
        }
        if needed != opened {
            self.source = (self.open)(Some(&self.place.position.to_string()), &needed);
        }
        self.extent = needed;
        if answer.send(Answer::Seated(Bell(Arc::clone(&self.bell)))).is_ok() {
            self.seats.push(Seat { events: seat, have, read });
        }
        for seat in &self.seats {
            seat.tell(&mut *self.source, self.place);
        }
    }

    async fn hand_on(&mut self, event: Event) {
        let was_trouble = match &event {
            Event::Failed(_) => std::mem::replace(&mut self.has_failed, true),
            _ => std::mem::take(&mut self.has_failed),
        };
        // That it goes on where it was told to is news after a failure alone.
        if matches!(event, Event::Resumed) && !was_trouble {
            return;
        }
        let (step, weight) = (step(&event), weight(&event));
        let verdicts: Vec<_> = self.seats.iter().map(|seat| verdict(self.place, seat.have, step)).collect();
        let mut takers = verdicts.iter().filter(|verdict| **verdict == Verdict::Take).count();
        let mut event = Some(event);
        for (mut seat, verdict) in std::mem::take(&mut self.seats).into_iter().zip(verdicts) {
            if verdict == Verdict::Take {
                takers -= 1;
                let own = if takers == 0 { event.take() } else { event.as_ref().map(copy) };
                let Some(own) = own else { break };
                // Full for more than a moment, or gone: its place is free. It knows up to where it has everything.
                if timeout(MOMENT, seat.events.send(own, weight)).await != Ok(true) {
                    continue;
                }
                if let Step::All(have) | Step::One(have) = step {
                    seat.have = have;
                }
            }
            if verdict != Verdict::Leave {
                self.seats.push(seat);
            }
        }
        self.move_to(after(self.place, step));
    }

    fn move_to(&mut self, place: Place) {
        self.place = place;
        self.shown.set(if place.is_between { Position::BETWEEN } else { place.position });
    }
}

/// Returns what an event does to positions. Versions of one resource compare as integers (KEP-5504); what has another
/// version can't be told apart from what leads up to it.
fn step(event: &Event) -> Step {
    let parsed = |cursor: &String| cursor.parse().ok();
    match event {
        Event::Change { cursor, .. } => cursor.as_ref().and_then(parsed).map_or(Step::Part, Step::One),
        Event::Cursor(cursor) => parsed(cursor).map_or(Step::Part, Step::One),
        Event::Listed(listed) => parsed(&listed.cursor).map_or(Step::Part, Step::All),
        // A list follows; who is ahead lacks nothing of what is lost.
        Event::Gap(Gap::Lost { .. }) => Step::Part,
        Event::Failed(_) | Event::Gap(Gap::Recovered { .. }) | Event::Resumed => Step::Nothing,
    }
}

/// Returns what a seat that has everything up to `have` does with an event of a stream that stands at `place`.
pub(super) fn verdict(place: Place, have: u64, step: Step) -> Verdict {
    let is_ahead = have > place.position;
    match step {
        Step::Nothing => Verdict::Take,
        Step::One(version) if is_ahead && version <= have => Verdict::Skip,
        Step::One(_) => Verdict::Take,
        // What is there now lies before what it has: another history, as after a restored etcd.
        Step::All(version) if is_ahead && version < have => Verdict::Take,
        Step::All(_) | Step::Part if is_ahead => Verdict::Leave,
        Step::All(_) | Step::Part => Verdict::Take,
    }
}

/// Returns where a stream stands after an event.
pub(super) fn after(place: Place, step: Step) -> Place {
    match step {
        Step::Nothing => place,
        Step::Part => Place { is_between: true, ..place },
        Step::All(position) | Step::One(position) => Place { position, is_between: false },
    }
}

/// Copies an event for one more seat.
fn copy(event: &Event) -> Event {
    match event {
        Event::Change { change, cursor } => Event::Change { change: change.clone(), cursor: cursor.clone() },
        Event::Cursor(cursor) => Event::Cursor(cursor.clone()),
        Event::Failed(error) => Event::Failed(error.copy()),
        Event::Gap(gap) => Event::Gap(gap.clone()),
        Event::Listed(Listed { resource, namespace, objects, cursor }) => Event::Listed(Listed {
            resource: Arc::clone(resource),
            namespace: namespace.clone(),
            objects: objects.clone(),
            cursor: cursor.clone(),
        }),
        Event::Resumed => Event::Resumed,
    }
}
