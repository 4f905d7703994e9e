//! The conformance suite of [`Source`]: every implementation passes it, users' too.

use std::{collections::BTreeMap, time::Duration};

use futures::FutureExt;
use reverser_core::Operation;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::source::{Event, Source};

/// How long a source may take to tell all that happened, a failure and its pause included.
const LIMIT: Duration = Duration::from_secs(60);

/// Checks `source` against the contract of [`Source`]; panics where it breaks it.
///
/// `happening` makes `changes`, in this order, while the source is read, of objects that it tells of in no other way. It may
/// also make the source fail for a while: failures are allowed, and have to pass. For a source that knows already what
/// happened it is `async {}`.
pub async fn conforms(source: &mut dyn Source, changes: &[(Operation, &str)], happening: impl Future<Output = ()>) {
    let id = source.id().to_owned();
    assert!(!id.is_empty(), "a source has a name");
    let deadline = Instant::now() + LIMIT;
    let mut told = Told::of(changes);

    let first = timeout_at(deadline, next(source)).await.expect("it says in time where it stands");
    match first.expect("it says something before it ends") {
        Event::Listed(_) | Event::Resumed | Event::Failed(_) => {}
        event @ (Event::Change { .. } | Event::Cursor(_) | Event::Gap(_)) => {
            panic!("it says first where it stands, not {event:?}")
        }
    }

    let mut happening = std::pin::pin!(happening);
    let mut goes_on = true;
    while !told.is_all() {
        let event = tokio::select! {
            event = next(source) => event,
            // It goes on while futures of the source are dropped.
            () = &mut happening, if goes_on => {
                goes_on = false;
                continue;
            }
            () = sleep_until(deadline) => panic!("not told within {LIMIT:?}: {told:?}"),
        };
        match event {
            Some(event) => told.take(event),
            None => break,
        }
    }
    assert!(told.is_all(), "it ended before it told {told:?}");
    // Nothing is told twice by what comes next, and it goes on after a pause.
    source.pause();
    let rest = Instant::now() + Duration::from_secs(1);
    while let Ok(Some(event)) = timeout_at(rest, next(source)).await {
        told.take(event);
    }
    assert_eq!(source.id(), id, "a source keeps its name");
}

/// Asks for the next event and drops the future some times, as whoever has something else to do would.
async fn next(source: &mut dyn Source) -> Option<Event> {
    for _ in 0..3 {
        if let Some(event) = source.next().now_or_never() {
            return event;
        }
        tokio::task::yield_now().await;
    }
    source.next().await
}

/// What is still to be told.
#[derive(Debug)]
struct Told {
    /// By object, in its order.
    missing: BTreeMap<String, Vec<Operation>>,
}

impl Told {
    fn of(changes: &[(Operation, &str)]) -> Self {
        let mut missing: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (operation, name) in changes {
            missing.entry((*name).to_owned()).or_default().push(*operation);
        }
        Self { missing }
    }

    fn is_all(&self) -> bool {
        self.missing.values().all(Vec::is_empty)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Change { change, cursor } => {
                assert!(cursor.is_none_or(|cursor| !cursor.is_empty()), "an empty position: {change:?}");
                let Some(missing) = self.missing.get_mut(&change.object.name) else { return };
                let expected = missing.first().copied();
                assert_eq!(Some(change.operation), expected, "the next change of {}", change.object);
                missing.remove(0);
            }
            Event::Cursor(cursor) => assert!(!cursor.is_empty(), "an empty position"),
            Event::Listed(listed) => {
                let names = listed.objects.iter().filter_map(|object| object["metadata"]["name"].as_str());
                let known: Vec<_> = names.filter(|name| self.missing.contains_key(*name)).collect();
                assert!(known.is_empty(), "{known:?} are listed, so that their changes are lost");
            }
            Event::Failed(_) | Event::Gap(_) | Event::Resumed => {}
        }
    }
}
