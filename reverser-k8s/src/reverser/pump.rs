//! The tasks that read sources: one for each, ended when its resource is gone.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::{AbortHandle, JoinSet};

use super::{Reverser, again::version_of, item::Item, verify::Listers};
use crate::{
    api_error::ApiError,
    queue::Sender,
    report::Notice,
    source::{Event, Source},
};

/// How long a source's stream stays open while the queue has no room. The API server keeps some events for a reader that is
/// slow for a moment, and closes the stream of one that is slow for longer.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Pumps {
    reverser: Reverser,
    /// `None` once they are stopped: the queue ends when all of its senders are gone.
    items: Option<Sender<Item>>,
    tasks: JoinSet<()>,
    /// Of what runs, for the verification beside it.
    listers: Listers,
    running: HashMap<String, Running>,
}

struct Running {
    task: AbortHandle,
    /// How far it has been handed on, by earlier pumps, too.
    read: Arc<AtomicU64>,
    /// Its resource is no longer served: it ends when the server says so of the watch, too.
    is_gone: Arc<AtomicBool>,
}

impl Pumps {
    pub(super) fn new(reverser: Reverser, items: Sender<Item>) -> Self {
        let (mut tasks, listers) = (JoinSet::new(), Listers::default());
        if !reverser.verify_every.is_zero() {
            tasks.spawn(reverser.clone().verify_all(listers.clone()));
        }
        Self { reverser, items: Some(items), tasks, listers, running: HashMap::new() }
    }

    /// Reads `source` from now on; one that is read already goes on. `is_new`: what it lists at first are changes.
    pub(super) fn start(&mut self, mut source: Box<dyn Source>, is_new: bool) {
        let Some(items) = self.items.clone() else { return };
        let id = source.id().to_owned();
        if let Some(running) = self.running.get(&id)
            && !running.task.is_finished()
        {
            if !running.is_gone.load(Ordering::Relaxed) {
                return;
            }
            running.task.abort();
        }
        // The one before has read further than what is committed.
        let read = self.running.get(&id).map(|running| Arc::clone(&running.read)).unwrap_or_default();
        source.was_read(read.load(Ordering::Relaxed));
        self.listers.add(&*source);
        let is_gone = Arc::new(AtomicBool::new(false));
        let (reverser, gone) = (self.reverser.clone(), Arc::clone(&is_gone));
        let task = self.tasks.spawn(pump(reverser, source, items, is_new, gone, Arc::clone(&read)));
        self.running.insert(id, Running { task, read, is_gone });
    }

    /// Ends the reading of a source: at once when it is still served, else after what it still has to say.
    pub(super) fn gone(&mut self, id: &str, is_served: bool) {
        let Some(running) = self.running.get(id) else { return };
        self.listers.remove(id);
        running.is_gone.store(true, Ordering::Relaxed);
        if is_served {
            running.task.abort();
            self.reverser.unwatched(id);
        }
    }

    /// Returns when a task has ended; never when there is none. A panic in one goes on here: a watch that died unseen
    /// would be a gap that nobody knows of.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    pub(super) async fn stop(&mut self) {
        self.items = None;
        self.tasks.shutdown().await;
    }
}

/// Reads one source and hands on what it says, until nobody takes it.
async fn pump(
    reverser: Reverser,
    mut source: Box<dyn Source>,
    items: Sender<Item>,
    mut is_new: bool,
    is_gone: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
) {
    let _counted = reverser.load.count_source();
    let id: Arc<str> = source.id().into();
    // An earlier pump may have handed on more than the position says that this source goes on at.
    let mut known = read.load(Ordering::Relaxed);
    while let Some(event) = source.next().await {
        match &event {
            Event::Failed(ApiError::NotServed { .. }) if is_gone.load(Ordering::Relaxed) => {
                return reverser.unwatched(&id);
            }
            Event::Failed(error) => reverser.failed(&id, error),
            Event::Gap(gap) => {
                reverser.went_on(&id);
                reverser.reporter.report(Notice::Gap { source: &id, gap });
            }
            Event::Change { .. } | Event::Cursor(_) | Event::Listed(_) | Event::Resumed => reverser.went_on(&id),
        }
        if event.begins_anew() {
            known = 0;
            read.store(0, Ordering::Relaxed);
        }
        match event.cursor().and_then(version_of) {
            Some(version) if version <= known => continue,
            Some(_) => known = 0,
            None => {}
        }
        // What goes on at a position reports what was made since, one by one; what it lists is there instead of that.
        let was_read = matches!(event, Event::Gap(_) | Event::Listed(_) | Event::Resumed);
        for item in reverser.items(&id, event, is_new) {
            let version = item.cursor.as_deref().and_then(version_of);
            if !hand_on(&reverser, &mut *source, &items, item).await {
                return;
            }
            read.fetch_max(version.unwrap_or(0), Ordering::Relaxed);
        }
        is_new &= !was_read;
    }
}

/// Waits for room in the queue, and lets go of the source's stream when that takes long. Returns whether anybody is there to
/// take it.
async fn hand_on(reverser: &Reverser, source: &mut dyn Source, items: &Sender<Item>, item: Item) -> bool {
    let bytes = item.bytes();
    let sending = items.send(item, bytes);
    tokio::pin!(sending);
    tokio::select! {
        biased;
        is_taken = &mut sending => is_taken,
        () = tokio::time::sleep(PATIENCE) => {
            source.pause();
            reverser.reporter.report(Notice::Paused { source: source.id() });
            sending.await
        }
    }
}
