//! Changes that gather before they are committed. Time is paused: it goes on when nothing else is left to do.

use reverser_core::Grouping;

use super::*;

pub(super) fn by(user: Option<&str>, operation: Operation, name: &str, version: u32) -> Event {
    let Event::Change { change, cursor } = change(operation, body(name, version, "web")) else { unreachable!() };
    let change = match user {
        Some(user) => change.by(Actor::user(user)),
        None => change,
    };
    Event::Change { change, cursor }
}

/// Says what is in the script, with pauses between, and then nothing more.
#[derive(Debug)]
struct Slow {
    id: &'static str,
    script: std::collections::VecDeque<(u64, Event)>,
    pause: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

impl Slow {
    /// Each event comes so many seconds after the one before it.
    fn new(id: &'static str, script: impl IntoIterator<Item = (u64, Event)>) -> Self {
        Self { id, script: script.into_iter().collect(), pause: None }
    }
}

#[async_trait::async_trait]
impl Source for Slow {
    fn id(&self) -> &str {
        self.id
    }

    async fn next(&mut self) -> Option<Event> {
        let Some((seconds, _)) = self.script.front() else { return std::future::pending().await };
        let pause = Duration::from_secs(*seconds);
        self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause))).await;
        self.pause = None;
        self.script.pop_front().map(|(_, event)| event)
    }
}

pub(super) fn sources(script: impl IntoIterator<Item = (u64, Event)>) -> Vec<Box<dyn Source>> {
    vec![Box::new(Slow::new("s", std::iter::once((0, Event::Resumed)).chain(script)))]
}

/// Runs for so many seconds.
pub(super) async fn run_for(reverser: &Reverser, sources: Vec<Box<dyn Source>>, seconds: u64) {
    let (_arrive, arrivals) = mpsc::channel(1);
    reverser.run(sources, arrivals, tokio::time::sleep(Duration::from_secs(seconds))).await.unwrap();
}

/// Returns each commit as `author: subject`.
pub(super) fn told(sink: &MemorySink) -> Vec<String> {
    let author = |plan: &CommitPlan| plan.author.as_ref().map_or("-".into(), |author| author.name().to_owned());
    let subject = |plan: &CommitPlan| plan.message.lines().next().unwrap().to_owned();
    sink.commits().iter().map(|commit| format!("{}: {}", author(&commit.plan), subject(&commit.plan))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_two_users_is_a_commit_each_when_it_is_quiet() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).batching(Batching::new(Grouping::Actor)).build();
    let script = [
        (0, by(Some("alice"), Operation::Create, "a", 101)),
        (0, by(Some("bob"), Operation::Create, "b", 102)),
        (1, by(Some("alice"), Operation::Update, "a", 103)),
        (1, by(Some("alice"), Operation::Create, "c", 104)),
        (1, by(Some("bob"), Operation::Delete, "b", 105)),
        (1, by(Some("bob"), Operation::Create, "d", 106)),
        (5, by(Some("alice"), Operation::Delete, "c", 107)),
    ];
    let watch = async {
        tokio::time::sleep(Duration::from_millis(5_900)).await;
        assert_eq!(told(&sink), [""; 0], "not quiet yet");
        assert_eq!(position(&sink).await, None, "nothing counts as read before it is committed");
        tokio::time::sleep(Duration::from_millis(200)).await;
        let expected = ["alice: [CREATE] 2 objects", "bob: [CHANGE] 2 objects: 1 created, 1 created and deleted"];
        assert_eq!(told(&sink), expected);
        assert_eq!(position(&sink).await.as_deref(), Some("106"));
    };
    tokio::join!(run_for(&reverser, sources(script), 20), watch);
    assert_eq!(told(&sink)[2..], ["alice: [DELETE] v1/configmaps/c"], "one change is the commit that it always is");
    let files: Vec<_> = sink.list(None).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(files, ["v1/configmaps/shop/a.yaml", "v1/configmaps/shop/d.yaml"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_the_maximum_age() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).batching(Batching::new(Grouping::Interval)).build();
    let script = (0..25).map(|number| (1, by(None, Operation::Update, &format!("n{}", number % 3), 101 + number)));
    run_for(&reverser, sources(script), 24).await;
    // From 1 s on, and until it ends with what is left.
    assert_eq!(told(&sink), ["-: [UPDATE] 3 objects"; 3]);
    let changes: Vec<_> =
        sink.commits().iter().map(|commit| commit.plan.message.contains("Reverser-Changes: 10\n")).collect();
    assert_eq!(changes, [true, true, false]);
    assert!(sink.commits()[2].plan.message.contains("Reverser-Changes: 3\n"));
}

#[tokio::test(start_paused = true)]
async fn what_has_gathered_is_committed_at_the_end() {
    let sink = MemorySink::new();
    let batching = Batching { quiet: Duration::MAX, max_age: Duration::MAX, ..Batching::new(Grouping::Actor) };
    let reverser = Reverser::new(sink.clone()).batching(batching).build();
    let script = [(1, by(None, Operation::Create, "a", 101)), (1, by(None, Operation::Create, "b", 102))];
    run_for(&reverser, sources(script), 100_000).await;
    assert_eq!(told(&sink), ["-: [CREATE] 2 objects"]);
    assert_eq!(position(&sink).await.as_deref(), Some("102"));
}

#[tokio::test(start_paused = true)]
async fn positions_wait_for_the_changes_before_them_and_those_of_other_sources_do_not() {
    let sink = MemorySink::new();
    let batching =
        Batching { quiet: Duration::MAX, max_age: Duration::from_secs(600), ..Batching::new(Grouping::Actor) };
    let reverser = Reverser::new(sink.clone()).batching(batching).build();
    let held = [(0, Event::Resumed), (1, by(None, Operation::Create, "a", 101)), (1, Event::Cursor("150".into()))];
    let other = [(0, Event::Resumed), (2, Event::Cursor("7".into()))];
    let sources: Vec<Box<dyn Source>> = vec![Box::new(Slow::new("s", held)), Box::new(Slow::new("other", other))];
    let watch = async {
        tokio::time::sleep(Duration::from_secs(130)).await;
        assert_eq!(sink.cursors().await.unwrap(), BTreeMap::from([("other".into(), "7".into())]));
        tokio::time::sleep(Duration::from_secs(500)).await;
        let both = [("other".into(), "7".into()), ("s".into(), "150".into())];
        assert_eq!(sink.cursors().await.unwrap(), BTreeMap::from(both));
    };
    tokio::join!(run_for(&reverser, sources, 700), watch);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_does_not_wait_for_what_can_not_come() {
    let sink = MemorySink::new();
    let batching = Batching { quiet: Duration::MAX, max_age: Duration::MAX, ..Batching::new(Grouping::Interval) };
    let reverser = Reverser::new(sink.clone()).batching(batching).queue_bytes(4_000).build();
    let script = (0..30).map(|number| (0, by(None, Operation::Create, &format!("n{number:02}"), 101 + number)));
    let watch = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(sink.list(None).await.unwrap().len() > 20, "{:?}", told(&sink));
    };
    tokio::join!(run_for(&reverser, sources(script), 2), watch);
    assert_eq!(sink.list(None).await.unwrap().len(), 30);
    assert!((2..15).contains(&told(&sink).len()), "{:?}", told(&sink));
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_behind_what_has_gathered() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).batching(Batching::new(Grouping::Interval)).build();
    let script = [
        (0, by(None, Operation::Create, "a", 101)),
        (0, by(None, Operation::Create, "b", 102)),
        (0, listed(vec![body("b", 103, "web")])),
    ];
    run_for(&reverser, sources(script), 1).await;
    assert_eq!(told(&sink), ["-: [CREATE] 2 objects", "-: [SYNC] 1 object, 1 removed"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_leaves_the_selection_has_its_file_first() {
    let sink = MemorySink::new();
    let selector = reverser_core::Selector { labels: "app=web".parse().unwrap(), ..Default::default() };
    let reverser = Reverser::new(sink.clone())
        .pipeline(Pipeline { selector, ..Pipeline::default() })
        .batching(Batching::new(Grouping::Interval))
        .build();
    let script =
        [(0, change(Operation::Create, body("a", 101, "web"))), (0, change(Operation::Update, body("a", 102, "api")))];
    run_for(&reverser, sources(script), 30).await;
    assert_eq!(told(&sink), ["-: [CREATE] v1/configmaps/a", "-: [UPDATE] v1/configmaps/a"]);
    assert!(sink.list(None).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_program_records_is_committed_at_once_and_behind_what_has_gathered_of_that_object() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).batching(Batching::new(Grouping::Interval)).build();
    let script = [(0, by(None, Operation::Create, "a", 101)), (0, by(None, Operation::Create, "b", 102))];
    let record = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let of = |name: &str, version| match by(Some("host"), Operation::Update, name, version) {
            Event::Change { change, .. } => change,
            _ => unreachable!("made above"),
        };
        assert!(matches!(reverser.record(of("c", 103)).await.unwrap(), Recorded::Planned(_)));
        assert_eq!(told(&sink), ["host: [UPDATE] v1/configmaps/c"]);
        assert!(matches!(reverser.record(of("a", 104)).await.unwrap(), Recorded::Planned(_)));
        assert_eq!(told(&sink)[1..], ["-: [CREATE] 2 objects", "host: [UPDATE] v1/configmaps/a"]);
        // And what is told of as known is durable.
        assert_eq!(reverser.record(of("b", 102)).await.unwrap(), Recorded::Known);
    };
    tokio::join!(run_for(&reverser, sources(script), 30), record);
    assert_eq!(told(&sink).len(), 3);
    let file = sink.read(&"v1/configmaps/shop/a.yaml".parse().unwrap()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&file).contains("104"));
}

#[tokio::test(start_paused = true)]
async fn a_log_is_grouped_by_its_own_times_however_fast_it_is_read() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).batching(Batching::new(Grouping::Actor)).build();
    let at = |second: i64, event: Event| match event {
        Event::Change { change, cursor } => {
            let at = Timestamp::from_second(1_700_000_000 + second).unwrap();
            Event::Change { change: change.at(at), cursor }
        }
        other => other,
    };
    let script = [
        at(0, by(Some("alice"), Operation::Create, "a", 101)),
        at(1, by(Some("alice"), Operation::Create, "b", 102)),
        at(3_600, by(Some("alice"), Operation::Update, "a", 103)),
        // A server whose clock is behind.
        at(3_590, by(Some("alice"), Operation::Update, "b", 104)),
        at(3_601, by(Some("bob"), Operation::Create, "c", 105)),
    ];
    assert_eq!(reverser.drain(&mut Scripted::new("s", script)).await.unwrap(), 3);
    assert_eq!(
        told(&sink),
        ["alice: [CREATE] 2 objects", "alice: [UPDATE] 2 objects", "bob: [CREATE] v1/configmaps/c"]
    );
    let dates: Vec<_> = sink.commits().iter().map(|commit| commit.plan.date.as_second() - 1_700_000_000).collect();
    assert_eq!(dates, [1, 3_590, 3_601]);
    assert_eq!(position(&sink).await.as_deref(), Some("105"));
}
