//! The hub over sources that say what the test lets them say.

use std::{collections::BTreeSet, time::Duration};

use reverser_core::{Change, ObjectRef, Operation};
use serde_json::json;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

use super::{
    stream::{Place, Step, Verdict, after, verdict},
    *,
};
use crate::{api_error::ApiError, fixture::configmaps, source::Listed};

/// An API server that is asked to open sources, and says through them what the test wants.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<Opened>>>);

struct Opened {
    cursor: Option<String>,
    extent: Extent,
    events: UnboundedSender<Event>,
    read: Arc<Mutex<BTreeSet<u64>>>,
}

impl Server {
    fn open(&self) -> Open {
        let opened = Arc::clone(&self.0);
        Arc::new(move |cursor, extent| {
            let (events, said) = unbounded_channel();
            let (cursor, read) = (cursor.map(str::to_owned), Arc::default());
            let was_read = Arc::clone(&read);
            opened.lock().unwrap().push(Opened { cursor, extent: extent.clone(), events, read });
            Box::new(Said { said, was_read })
        })
    }

    fn subscribe(&self, hub: &Arc<Hub>, name: &str, extent: Extent) -> Subscription {
        Subscription::new(name.into(), configmaps(), None, Arc::clone(hub), self.open(), extent)
    }

    /// Says this through the source that was opened last, of those that somebody reads.
    fn say(&self, event: Event) {
        let opened = self.0.lock().unwrap();
        opened.iter().rfind(|opened| !opened.events.is_closed()).unwrap().events.send(event).unwrap();
    }

    /// Where sources were opened, in order.
    fn opened(&self) -> Vec<Option<u64>> {
        self.0.lock().unwrap().iter().map(|opened| opened.cursor.as_ref().map(|at| at.parse().unwrap())).collect()
    }

    /// How many sources somebody reads.
    fn reads(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|opened| !opened.events.is_closed()).count()
    }

    /// What the source that somebody reads was told of what was read before.
    fn was_read(&self) -> Vec<u64> {
        let opened = self.0.lock().unwrap();
        let read = opened.iter().rfind(|opened| !opened.events.is_closed()).unwrap().read.lock().unwrap();
        read.iter().copied().collect()
    }

    fn last_extent(&self) -> Extent {
        self.0.lock().unwrap().last().unwrap().extent.clone()
    }
}

#[derive(Debug)]
struct Said {
    said: UnboundedReceiver<Event>,
    was_read: Arc<Mutex<BTreeSet<u64>>>,
}

#[async_trait::async_trait]
impl Source for Said {
    fn id(&self) -> &str {
        "said"
    }

    async fn next(&mut self) -> Option<Event> {
        self.said.recv().await
    }

    fn was_read(&mut self, version: u64) {
        self.was_read.lock().unwrap().insert(version);
    }
}

fn change(version: u64) -> Event {
    large_change(version, 0)
}

fn large_change(version: u64, bytes: usize) -> Event {
    let version = version.to_string();
    let body = json!({"metadata": {"name": "a", "resourceVersion": version}, "data": {"text": "x".repeat(bytes)}});
    let object = ObjectRef::of(&configmaps(), &body).unwrap();
    Event::Change { change: Change::new(object, Operation::Update, Some(body)), cursor: Some(version) }
}

/// A version of the past, out of order.
fn recovered(version: u64) -> Event {
    match change(version) {
        Event::Change { change, .. } => Event::Change { change, cursor: None },
        other => other,
    }
}

fn listed(version: u64) -> Event {
    let cursor = version.to_string();
    Event::Listed(Listed { resource: configmaps(), namespace: None, objects: vec![], cursor })
}

/// Reads until it stays quiet for as long as a full seat is waited for, and longer.
async fn read(subscription: &mut Subscription) -> Vec<String> {
    let mut said = vec![];
    while let Ok(Some(event)) = timeout(Duration::from_secs(5), subscription.next()).await {
        said.push(match event {
            Event::Change { change, cursor } => {
                let version = change.resource_version.unwrap();
                if cursor.is_some() { version } else { format!("recovered {version}") }
            }
            Event::Cursor(cursor) => format!("up to {cursor}"),
            Event::Failed(error) => error.to_string(),
            Event::Gap(gap) => format!("{gap:?}"),
            Event::Listed(listed) => format!("listed {}", listed.cursor),
            Event::Resumed => "resumed".into(),
        });
    }
    said
}

async fn resumed(server: &Server, hub: &Arc<Hub>, cursor: u64) -> Subscription {
    let mut one = server.subscribe(hub, &format!("at {cursor}"), Extent::Whole).resume(cursor.to_string());
    assert_eq!(read(&mut one).await, ["resumed"]);
    one
}

#[tokio::test(start_paused = true)]
async fn the_first_opens_the_watch_and_the_last_closes_it() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let mut first = resumed(&server, &hub, 10).await;
    let mut second = resumed(&server, &hub, 10).await;
    server.say(change(11));
    assert_eq!((read(&mut first).await, read(&mut second).await), (vec!["11".into()], vec!["11".into()]));
    assert_eq!((server.opened(), server.reads()), (vec![Some(10), Some(10)], 1), "the other one was not needed");

    drop(first);
    server.say(change(12));
    assert_eq!(read(&mut second).await, ["12"]);
    drop(second);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((server.reads(), hub.lock().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_joins_from_behind_makes_the_watch_begin_there_and_the_others_skip_what_they_have() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let mut ahead = resumed(&server, &hub, 20).await;
    server.say(change(21));
    assert_eq!(read(&mut ahead).await, ["21"]);
    let mut behind = resumed(&server, &hub, 10).await;
    assert_eq!((server.opened().pop(), server.reads()), (Some(Some(10)), 1));
    for version in [11, 21, 22] {
        server.say(change(version));
    }
    server.say(Event::Cursor("30".into()));
    assert_eq!(read(&mut behind).await, ["11", "21", "22", "up to 30"]);
    assert_eq!(read(&mut ahead).await, ["22", "up to 30"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_joins_from_ahead_skips_what_it_has() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let mut behind = resumed(&server, &hub, 10).await;
    let mut ahead = resumed(&server, &hub, 20).await;
    for version in [11, 20, 21] {
        server.say(change(version));
    }
    assert_eq!(read(&mut behind).await, ["11", "20", "21"]);
    assert_eq!((read(&mut ahead).await, server.reads()), (vec!["21".into()], 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_cursor_one_gets_a_list_of_its_own() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let mut old = resumed(&server, &hub, 10).await;
    let mut new = server.subscribe(&hub, "new", Extent::Whole);
    assert!(read(&mut new).await.is_empty());
    server.say(listed(15));
    assert_eq!(read(&mut new).await, ["listed 15"]);
    server.say(change(14));
    server.say(change(16));
    assert_eq!(read(&mut old).await, ["14", "16"]);
    assert_eq!((read(&mut new).await, server.reads()), (vec!["16".into()], 1));
}

#[tokio::test(start_paused = true)]
async fn the_first_ones_own_list_goes_on_as_the_shared_watch() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let mut first = server.subscribe(&hub, "first", Extent::Whole);
    assert!(read(&mut first).await.is_empty());
    server.say(listed(15));
    server.say(change(16));
    assert_eq!(read(&mut first).await, ["listed 15", "16"]);
    assert_eq!(server.opened(), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_concerns_all_that_stand_before_it() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let (mut one, mut two) = (resumed(&server, &hub, 10).await, resumed(&server, &hub, 10).await);
    // Of the past, in no order of versions.
    for event in [recovered(30), recovered(9), listed(40), change(41)] {
        server.say(event);
    }
    for subscription in [&mut one, &mut two] {
        assert_eq!(read(subscription).await, ["recovered 30", "recovered 9", "listed 40", "41"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_of_one_that_is_behind_is_not_one_of_those_ahead() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let mut ahead = resumed(&server, &hub, 20).await;
    let mut behind = resumed(&server, &hub, 10).await;
    // The server has forgotten 10, and still knows 20.
    server.say(listed(30));
    assert_eq!(read(&mut behind).await, ["listed 30"]);
    assert!(read(&mut ahead).await.is_empty());
    assert_eq!(server.opened().pop(), Some(Some(20)));
    for version in [25, 30] {
        server.say(change(version));
    }
    assert_eq!(read(&mut ahead).await, ["25", "30"]);
    // It has caught up, and they share a watch again.
    assert_eq!(server.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_joins_in_the_middle_of_a_history_stays_alone_until_it_is_over() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let mut first = resumed(&server, &hub, 10).await;
    server.say(recovered(12));
    assert_eq!(read(&mut first).await, ["recovered 12"]);
    let mut second = resumed(&server, &hub, 10).await;
    assert_eq!(server.reads(), 2);
    server.say(change(11));
    assert_eq!(read(&mut second).await, ["11"]);
    server.0.lock().unwrap()[0].events.send(listed(20)).unwrap();
    assert_eq!(read(&mut first).await, ["listed 20"]);
    server.say(change(20));
    assert_eq!((read(&mut second).await, server.reads()), (vec!["20".into()], 1), "it has caught up");
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_read_is_left_behind_and_misses_nothing() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let (mut quick, mut slow) = (resumed(&server, &hub, 10).await, resumed(&server, &hub, 10).await);
    let say = |version| server.0.lock().unwrap()[0].events.send(large_change(version, 100 << 10)).unwrap();
    (11..=20).for_each(say);
    assert_eq!(read(&mut quick).await.len(), 10);
    assert_eq!(server.reads(), 1);
    // Three of 100 KiB fit into 256 KiB, as one may exceed what is left when nothing else waits; so two do.
    let opened = server.opened().len();
    assert_eq!(read(&mut slow).await, ["11", "12"]);
    assert_eq!((server.opened().split_off(opened), server.reads()), (vec![Some(12)], 2), "a source of its own");
    (13..=20).for_each(|version| server.say(change(version)));
    assert_eq!(read(&mut slow).await, (13..=20).map(|version| version.to_string()).collect::<Vec<_>>());
    assert_eq!(server.reads(), 1, "it has caught up");
    say(21);
    assert_eq!((read(&mut quick).await, read(&mut slow).await), (vec!["21".into()], vec!["21".into()]));
}

#[tokio::test(start_paused = true)]
async fn when_nobody_reads_the_watch_is_closed_and_goes_on_where_reading_stopped() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let mut only = resumed(&server, &hub, 10).await;
    (11..=20).for_each(|version| server.say(large_change(version, 100 << 10)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(server.reads(), 0);
    assert_eq!(read(&mut only).await, ["11", "12"]);
    assert_eq!((server.opened(), server.reads()), (vec![Some(10), Some(12)], 1));
}

#[tokio::test(start_paused = true)]
async fn all_are_told_of_trouble_and_of_its_end() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let (mut one, mut two) = (resumed(&server, &hub, 10).await, resumed(&server, &hub, 10).await);
    let not_served = || ApiError::NotServed { resource: "v1/configmaps".into() };
    for event in [Event::Resumed, Event::Failed(not_served()), Event::Resumed] {
        server.say(event);
    }
    let told = [not_served().to_string(), "resumed".into()];
    assert_eq!((read(&mut one).await, read(&mut two).await), (told.to_vec(), told.to_vec()));
}

#[tokio::test(start_paused = true)]
async fn the_stream_knows_what_those_have_read_that_are_further_on() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let crashed = async |cursor: &str, read| {
        let mut one = server.subscribe(&hub, "crashed", Extent::Whole).resume(cursor);
        one.was_read(read);
        assert_eq!(self::read(&mut one).await, ["resumed"]);
        one
    };
    let _first = crashed("10", 15).await;
    assert_eq!(server.was_read(), [15]);
    let _second = crashed("12", 30).await;
    assert_eq!(server.was_read(), [12, 15, 30]);
    let _behind = crashed("5", 8).await;
    assert_eq!(server.was_read(), [8, 10, 12, 15, 30], "of the stream that begins anew");
    // Whole since another needs a part that the others leave out: it is opened once more.
    let hub = Arc::new(Hub::default());
    let mut alike = server.subscribe(&hub, "alike", Extent::Nothing).resume("10");
    alike.was_read(20);
    assert_eq!(read(&mut alike).await, ["resumed"]);
    let _whole = resumed(&server, &hub, 10).await;
    assert_eq!((server.last_extent(), server.was_read()), (Extent::Whole, vec![20]));
}

#[tokio::test(start_paused = true)]
async fn objects_are_read_whole_as_soon_as_two_need_different_parts() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let without = |sanitizer: Sanitizer| Extent::Without(sanitizer);
    let join = async |extent: Extent| {
        let mut one = server.subscribe(&hub, "one", extent).resume("10");
        assert_eq!(read(&mut one).await, ["resumed"]);
        (one, server.reads())
    };
    let (_one, _) = join(without(Sanitizer::faithful())).await;
    let (_two, _) = join(Extent::Nothing).await;
    let (_three, _) = join(without(Sanitizer::faithful())).await;
    assert_eq!(server.reads(), 1);
    let first = server.0.lock().unwrap()[0].events.is_closed();
    assert!(!first, "they agree");
    let (_four, reads) = join(without(Sanitizer::minimal())).await;
    assert_eq!((server.last_extent(), reads), (Extent::Whole, 1));
}

#[tokio::test(start_paused = true)]
async fn versions_that_do_not_compare_are_not_shared() {
    let (server, hub) = (Server::default(), Arc::new(Hub::default()));
    let mut odd = server.subscribe(&hub, "odd", Extent::Whole).resume("a-1");
    assert!(read(&mut odd).await.is_empty());
    server.say(Event::Cursor("a-2".into()));
    assert_eq!((read(&mut odd).await, hub.lock().len()), (vec!["up to a-2".into()], 0));
}

#[test]
fn what_a_seat_does_with_an_event() {
    let at = |position| Place { position, is_between: false };
    let rows = [
        (10, 10, Step::One(11), Verdict::Take),
        (10, 20, Step::One(20), Verdict::Skip),
        (10, 20, Step::One(21), Verdict::Take),
        (10, 10, Step::Part, Verdict::Take),
        (10, 20, Step::Part, Verdict::Leave),
        (10, 10, Step::All(30), Verdict::Take),
        (10, 20, Step::All(30), Verdict::Leave),
        // An etcd that was restored: the list is older than what was seen.
        (10, 10, Step::All(5), Verdict::Take),
        (10, 20, Step::All(5), Verdict::Take),
        (10, 20, Step::Nothing, Verdict::Take),
    ];
    for (position, have, step, expected) in rows {
        assert_eq!(verdict(at(position), have, step), expected, "{position} {have} {step:?}");
    }
    assert_eq!(after(at(10), Step::Part), Place { position: 10, is_between: true });
    assert_eq!(after(Place { position: 10, is_between: true }, Step::One(30)), at(30));
    assert_eq!(after(at(10), Step::Nothing), at(10));
}
