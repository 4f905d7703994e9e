//! Changes that wait for their author, and facts that come later. Time is paused.

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::{AtomicUsize, Ordering},
};

use reverser_core::{Coalescing, Grouping, RequestInfo, Selector};

use super::{
    grouping::{by, run_for, sources, told},
    *,
};
use crate::{
    list::Remembered,
    metrics::{Metrics, Registry},
    report::Reporter,
};

mod crashes;

/// Learns who made what as it is told: in order, so many seconds from its making on.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    since: Instant,
    /// When, by version, and who.
    lines: HashMap<u32, Vec<(f64, &'static str)>>,
    times: BTreeSet<Duration>,
    patience: Duration,
    correctable: Duration,
    announced: Mutex<Option<Duration>>,
    questions: AtomicUsize,
}

/// Made it, unless somebody else did.
const PERHAPS: &str = "perhaps";

impl Lines {
    pub(super) fn new(patience: u64, lines: impl IntoIterator<Item = (f64, u32, &'static str)>) -> Self {
        Self::late(patience, 0, lines)
    }

    /// An answer may change for so long.
    fn late(patience: u64, correctable: u64, lines: impl IntoIterator<Item = (f64, u32, &'static str)>) -> Self {
        let (mut by_version, mut times) = (HashMap::<_, Vec<_>>::new(), BTreeSet::new());
        for (at, version, user) in lines {
            by_version.entry(version).or_default().push((at, user));
            times.insert(Duration::from_secs_f64(at));
        }
        Self(Arc::new(Inner {
            since: Instant::now(),
            lines: by_version,
            times,
            patience: Duration::from_secs(patience),
            correctable: Duration::from_secs(correctable),
            announced: Mutex::new(None),
            questions: AtomicUsize::new(0),
        }))
    }

    fn questions(&self) -> usize {
        self.0.questions.load(Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl ActorSource for Lines {
    fn attribute(&self, change: &Change) -> Attribution {
        self.0.questions.fetch_add(1, Ordering::Relaxed);
        let version: u32 = change.resource_version.as_ref().unwrap().parse().unwrap();
        let now = self.0.since.elapsed().as_secs_f64();
        let known = self.0.lines.get(&version).and_then(|lines| lines.iter().rev().find(|(at, _)| *at <= now));
        let Some((_, who)) = known else { return Attribution::Unknown };
        let (user, impersonator) = match who.split_once(" for ") {
            Some((user, impersonator)) => (user, Some(impersonator.to_owned())),
            None => (*who, None),
        };
        let request = Box::new(RequestInfo { impersonator, ..RequestInfo::default() });
        Attribution::Known { actor: Actor::user(user), evidence: Evidence::Audit, request }
    }

    fn patience(&self, _change: &Change, attribution: &Attribution) -> Duration {
        let is_proven = attribution.actor().is_some_and(|actor| actor.name != PERHAPS);
        if is_proven { Duration::ZERO } else { self.0.patience }
    }

    fn correctable(&self, _attribution: &Attribution) -> Duration {
        self.0.correctable
    }

    async fn learned(&self) {
        let announced = *self.0.announced.lock().unwrap();
        let next = self.0.times.iter().find(|at| announced.is_none_or(|announced| **at > announced));
        let Some(next) = next else { return std::future::pending().await };
        tokio::time::sleep_until(self.0.since + *next).await;
        *self.0.announced.lock().unwrap() = Some(self.0.since.elapsed());
    }
}

pub(super) fn unknown(name: &str, version: u32) -> (u64, Event) {
    (0, by(None, Operation::Update, name, version))
}

fn waits(sink: &MemorySink, lines: &Lines) -> ReverserBuilder {
    Reverser::new(sink.clone()).actors(lines.clone())
}

async fn at(seconds: f64, since: Instant) {
    tokio::time::sleep_until(since + Duration::from_secs_f64(seconds)).await;
}

fn update(user: &str, name: &str) -> String {
    format!("{user}: [UPDATE] v1/configmaps/{name}")
}

/// Counts what is told.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Reporter for Heard {
    fn report(&self, notice: Notice<'_>) {
        let actor = |change: &Change| change.attribution.actor().map_or("-".into(), |actor| actor.name.clone());
        let line = match notice {
            Notice::Unanswered { change, waited } => format!("unanswered {} {waited:?}", change.object.name),
            Notice::Noted { change, .. } => format!("noted {} {}", change.object.name, actor(change)),
            Notice::Contradicted { change, committed, .. } => format!("{} not {}", actor(change), committed.name),
            Notice::Forgotten { changes } => format!("forgotten {changes}"),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_proof_is_taken_when_none_is_better_in_time() {
    let answers = || Lines::new(5, [(0.0, 101, PERHAPS), (0.0, 102, PERHAPS), (2.0, 101, "alice")]);
    let script = || sources([unknown("a", 101), unknown("b", 102)]);
    let (sink, start) = (MemorySink::new(), Instant::now());
    let lines = answers();
    let reverser = waits(&sink, &lines).build();
    let watch = async {
        at(1.9, start).await;
        assert!(told(&sink).is_empty());
        at(4.9, start).await;
        assert_eq!(told(&sink), [update("alice", "a")]);
    };
    tokio::join!(run_for(&reverser, script(), 10), watch);
    assert_eq!(told(&sink), [update("alice", "a"), update(PERHAPS, "b")]);
    // Nobody waits for longer than is asked for.
    let (sink, lines) = (MemorySink::new(), answers());
    let reverser = waits(&sink, &lines).attribution_wait(Some(Duration::ZERO)).build();
    run_for(&reverser, script(), 1).await;
    assert_eq!(told(&sink), [update(PERHAPS, "a"), update(PERHAPS, "b")]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_waits_holds_back_its_own_object_alone_and_in_order() {
    let (sink, start) = (MemorySink::new(), Instant::now());
    let lines = Lines::new(5, [(0.0, 102, "bob"), (0.0, 103, "carol"), (0.0, 104, "bob"), (2.0, 101, "alice")]);
    let heard = Heard::default();
    let reverser = waits(&sink, &lines).reporter(heard.clone()).build();
    let script = [unknown("a", 101), unknown("b", 102), unknown("a", 103), unknown("b", 104)];
    let watch = async {
        at(1.9, start).await;
        assert_eq!(told(&sink), [update("bob", "b"), update("bob", "b")]);
        assert_eq!(reverser.load().waiting(), 2);
        let cursors = sink.cursors().await.unwrap();
        assert_eq!(cursors, [("read/s".into(), "104:101+2".into())].into(), "nothing counts as read from 101 on");
        at(2.1, start).await;
        assert_eq!(told(&sink)[2..], [update("alice", "a"), update("carol", "a")]);
        assert_eq!(sink.cursors().await.unwrap(), [("s".into(), "104".into())].into());
    };
    tokio::join!(run_for(&reverser, sources(script), 10), watch);
    assert_eq!((told(&sink).len(), reverser.load().waiting(), heard.lines().len()), (4, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_the_deadline_is_in_time_and_without_one_the_change_is_nobodys() {
    for (line, user, is_told) in [(2.0, "alice", false), (2.1, "-", true)] {
        let (sink, heard) = (MemorySink::new(), Heard::default());
        let lines = Lines::new(2, [(line, 101, "alice")]);
        let reverser = waits(&sink, &lines).reporter(heard.clone()).build();
        let watch = async {
            at(1.9, lines.0.since).await;
            assert_eq!(told(&sink).len(), 0);
        };
        tokio::join!(run_for(&reverser, sources([unknown("a", 101)]), 10), watch);
        assert_eq!(told(&sink), [update(user, "a")]);
        assert_eq!(heard.lines().len(), usize::from(is_told), "{:?}", heard.lines());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_set_counts_where_nobody_is_known_and_the_sources_own_elsewhere() {
    for (wait, expected) in [(None, "alice"), (Some(0), "-"), (Some(1), "-"), (Some(3), "alice")] {
        let sink = MemorySink::new();
        let lines = Lines::new(5, [(2.0, 101, "alice")]);
        let reverser = waits(&sink, &lines).attribution_wait(wait.map(Duration::from_secs)).build();
        run_for(&reverser, sources([unknown("a", 101)]), 10).await;
        assert_eq!(told(&sink), [update(expected, "a")], "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_committed_at_the_end() {
    let (sink, lines) = (MemorySink::new(), Lines::new(60, []));
    run_for(&waits(&sink, &lines).build(), sources([unknown("a", 101), unknown("a", 102), unknown("b", 103)]), 5).await;
    assert_eq!(told(&sink), [update("-", "a"), update("-", "a"), update("-", "b")]);
    assert_eq!(sink.cursors().await.unwrap(), [("s".into(), "103".into())].into());
    assert!(Instant::now() - lines.0.since < Duration::from_secs(6), "nobody waits for more than there is to do");
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_behind_what_waits_of_its_resource_and_leaves_the_rest_alone() {
    let sink = MemorySink::new();
    let lines = Lines::new(60, [(1.0, 201, "alice"), (30.0, 101, "bob")]);
    let widget = |event: Event| match event {
        Event::Change { mut change, cursor } => {
            change.object.resource = Arc::new(Resource::new("example.com", "v1", "Widget", "widgets"));
            Event::Change { change, cursor }
        }
        other => other,
    };
    let script = [unknown("a", 101), unknown("b", 102), (5, listed(vec![body("b", 102, "web")]))];
    let other =
        [(0, widget(by(None, Operation::Update, "w", 101))), (0, widget(by(None, Operation::Update, "v", 102)))];
    let sources: Vec<_> = sources(script).into_iter().chain(other_sources(other)).collect();
    let watch = async {
        at(6.0, lines.0.since).await;
        // The commit of the list says how often it was: the file of b is as it is, and that of a goes.
        let before = [update("-", "a"), update("-", "b"), "-: [SYNC] 1 object, 1 removed".to_owned()];
        assert_eq!(told(&sink), before);
        assert_eq!(position(&sink).await.as_deref(), Some("100"));
    };
    let reverser = waits(&sink, &lines).build();
    tokio::join!(run_for(&reverser, sources, 100), watch);
    let widgets = ["bob: [UPDATE] example.com/v1/widgets/w", "-: [UPDATE] example.com/v1/widgets/v"];
    assert_eq!(told(&sink)[3..], widgets);
}

fn other_sources(script: impl IntoIterator<Item = (u64, Event)>) -> Vec<Box<dyn Source>> {
    let events = script.into_iter().map(|(_, event)| event);
    vec![Box::new(Scripted::new("other", std::iter::once(Event::Resumed).chain(events)).then_waits())]
}

#[tokio::test(start_paused = true)]
async fn what_a_program_records_comes_behind_what_waits_of_that_object_alone() {
    let (sink, lines) = (MemorySink::new(), Lines::new(60, [(10.0, 103, "bob")]));
    let reverser = waits(&sink, &lines).build();
    let record = async {
        at(5.0, lines.0.since).await;
        let Event::Change { change, .. } = by(Some("host"), Operation::Update, "a", 104) else { unreachable!() };
        assert!(matches!(reverser.record(change).await.unwrap(), Recorded::Planned(_)));
        assert_eq!(told(&sink), [update("-", "a"), update("-", "a"), update("host", "a")]);
    };
    let script = [unknown("a", 101), unknown("a", 102), unknown("b", 103)];
    tokio::join!(run_for(&reverser, sources(script), 20), record);
    assert_eq!(told(&sink)[3..], [update("bob", "b")]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_news_never_waits_and_what_users_are_left_out_for_is_decided_by_the_answer() {
    let sink = MemorySink::new();
    let lines = Lines::new(60, [(3.0, 102, "eve"), (3.0, 103, "alice")]);
    let selector = Selector { except: vec!["user=eve".parse().unwrap()], ..Selector::default() };
    let reverser = waits(&sink, &lines).pipeline(Pipeline { selector, ..Pipeline::default() }).build();
    let status = |version: u32| {
        let mut body = body("b", 101, "web");
        body["metadata"]["resourceVersion"] = version.to_string().into();
        (0, change(Operation::Update, body))
    };
    let script =
        [(0, by(Some("alice"), Operation::Create, "b", 101)), unknown("a", 102), unknown("a", 103), status(104)];
    let watch = async {
        at(1.0, lines.0.since).await;
        assert_eq!(reverser.load().waiting(), 2, "no status waits");
    };
    tokio::join!(run_for(&reverser, sources(script), 10), watch);
    assert_eq!(told(&sink), ["alice: [CREATE] v1/configmaps/b".to_owned(), update("alice", "a")]);
    assert_eq!(position(&sink).await.as_deref(), Some("104"));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_leaves_the_selection_waits_for_who_made_it_leave() {
    let sink = MemorySink::new();
    let lines = Lines::new(60, [(1.0, 101, "alice"), (4.0, 102, "bob")]);
    let selector = Selector { labels: "app=web".parse().unwrap(), ..Selector::default() };
    let reverser = waits(&sink, &lines).pipeline(Pipeline { selector, ..Pipeline::default() }).build();
    let script = [unknown("a", 101), (0, change(Operation::Update, body("a", 102, "api"))), unknown("b", 103)];
    let watch = async {
        at(2.0, lines.0.since).await;
        assert_eq!((told(&sink), reverser.load().waiting()), (vec![update("alice", "a")], 2));
    };
    tokio::join!(run_for(&reverser, sources(script), 5), watch);
    assert_eq!(told(&sink), [update("alice", "a"), update("bob", "a"), update("-", "b")]);
    assert_eq!(sink.list(None).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_coalesced_and_grouped_is_by_whom_the_answer_says() {
    const BOT: &str = "system:serviceaccount:shop:bot";
    let sink = MemorySink::new();
    let lines = Lines::new(60, (0..10).map(|number| (f64::from(number) + 2.5, 101 + number, BOT)));
    let coalescing = Coalescing { interval: Duration::from_secs(60), only: vec![] };
    let script = (0..10).map(|number| (1, by(None, Operation::Update, "a", 101 + number)));
    run_for(&waits(&sink, &lines).coalescing(coalescing).build(), sources(script), 100).await;
    assert_eq!(told(&sink), [update(BOT, "a"), update(BOT, "a")]);

    let sink = MemorySink::new();
    let users = ["alice", "bob"];
    let lines = Lines::new(60, (0..6_u32).map(|number| (1.0, 101 + number, users[number as usize % 2])));
    let script = (0..6).map(|number| unknown(&format!("n{number}"), 101 + number));
    run_for(&waits(&sink, &lines).batching(Batching::new(Grouping::Actor)).build(), sources(script), 10).await;
    assert_eq!(told(&sink), ["alice: [UPDATE] 3 objects", "bob: [UPDATE] 3 objects"]);
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_longest_goes_on_as_it_is_when_too_many_wait() {
    let (sink, lines) = (MemorySink::new(), Lines::new(60, []));
    let reverser = waits(&sink, &lines).build();
    let most = u32::try_from(super::super::waiting::CHANGES).unwrap();
    let script = (0..most + 2).map(|number| unknown(&format!("n{number:04}"), 101 + number));
    let watch = async {
        at(1.0, lines.0.since).await;
        assert_eq!(told(&sink), [update("-", "n0000"), update("-", "n0001")]);
        assert_eq!(reverser.load().waiting(), super::super::waiting::CHANGES);
    };
    tokio::join!(run_for(&reverser, sources(script), 5), watch);
    assert_eq!(sink.commits().len(), most as usize + 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_not_kept_full_by_what_waits() {
    let (sink, lines) = (MemorySink::new(), Lines::new(60, []));
    let reverser = waits(&sink, &lines).queue_bytes(100_000).build();
    let script = (0..1_000).map(|number| unknown(&format!("n{number:03}"), 101 + number));
    let watch = async {
        at(1.0, lines.0.since).await;
        let commits = sink.commits().len();
        assert!((300..1_000).contains(&commits), "{commits} had to go on");
        assert_eq!(commits + reverser.load().waiting(), 1_000, "all are read");
        let first = (0..commits).map(|number| update("-", &format!("n{number:03}")));
        assert_eq!(told(&sink), first.collect::<Vec<_>>(), "the longest first");
    };
    tokio::join!(run_for(&reverser, sources(script), 5), watch);
    assert_eq!(sink.commits().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn thousands_that_wait_are_not_asked_about_with_each_fact() {
    let sink = MemorySink::new();
    // A fact each half millisecond, the last one's first.
    let lines = Lines::new(60, (0..2_000).map(|n: u32| (1.0 + f64::from(n) / 2_000.0, 2_100 - n, "alice")));
    let script = (0..2_000).map(|number| unknown(&format!("n{number:04}"), 101 + number));
    run_for(&waits(&sink, &lines).build(), sources(script), 10).await;
    assert!(told(&sink).iter().all(|line| line.starts_with("alice: ")) && told(&sink).len() == 2_000);
    assert!(lines.questions() < 300_000, "{} questions for 2,000 facts", lines.questions());
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_no_difference_for_a_verification() {
    let (sink, lines) = (MemorySink::new(), Lines::new(60, []));
    let reverser = waits(&sink, &lines).build();
    let take = async |event| {
        let items = reverser.items(&"s".into(), event, false);
        let mut recording = reverser.recording.lock().await;
        reverser.take(items.into_iter().map(|item| (item, None)), &mut recording).await.unwrap();
    };
    take(listed(vec![body("a", 1, "web"), body("b", 2, "web")])).await;
    for (_, event) in [unknown("a", 101), unknown("c", 102)] {
        take(event).await;
    }
    take(by(None, Operation::Delete, "b", 103)).await;
    let list = Remembered::new(configmaps()).at(103, [body("a", 101, "web"), body("c", 102, "web")]);
    reverser.verify("s", &list).await.unwrap();
    assert_eq!(told(&sink), ["-: [SYNC] 2 objects"], "nothing was repaired");
    reverser.flush(&mut *reverser.recording.lock().await).await.unwrap();
    assert_eq!(told(&sink).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_fact_that_comes_after_the_commit_becomes_one_note_on_it() {
    let (sink, heard) = (MemorySink::new(), Heard::default());
    let lines = Lines::late(1, 30, [(0.0, 101, "alice"), (0.0, 102, "bob"), (5.0, 102, "carol"), (6.0, 103, "dan")]);
    let later = lines.clone();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let reverser = waits(&sink, &lines).reporter((heard.clone(), metrics.clone())).build();
    metrics.measure(reverser.load());
    let script = [unknown("a", 101), unknown("b", 102), unknown("c", 103), unknown("d", 104)];
    let watch = async {
        at(4.0, later.0.since).await;
        assert_eq!(told(&sink), [update("alice", "a"), update("bob", "b"), update("-", "c"), update("-", "d")]);
    };
    tokio::join!(run_for(&reverser, sources(script), 60), watch);
    let notes: Vec<_> = sink.commits().iter().map(|commit| sink.note_of(&commit.id)).collect();
    let note = |user: &str| Some(format!("Reverser-Actor: {user}\nReverser-Evidence: audit\n"));
    assert_eq!(notes, [None, note("carol"), note("dan"), None]);
    let vain = ["unanswered c 1s", "unanswered d 1s"];
    assert_eq!(heard.lines(), [&vain[..], &["carol not bob", "noted b carol", "noted c dan"]].concat());
    let mut numbers = String::new();
    prometheus_client::encoding::text::encode(&mut numbers, &registry).unwrap();
    for (name, value) in [
        ("contradictions_total", 1),
        ("forgotten_total", 0),
        ("noted_total", 2),
        ("unanswered_total", 2),
        ("waiting", 0),
    ] {
        assert!(numbers.contains(&format!("\nreverser_attribution_{name} {value}")), "{name}: {numbers}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_impersonated_the_one_that_a_commit_names_is_noted_and_contradicts_nothing() {
    let (sink, heard) = (MemorySink::new(), Heard::default());
    let lines = Lines::late(0, 30, [(0.0, 101, "bob"), (5.0, 101, "bob for alice"), (6.0, 101, "bob for alice")]);
    let reverser = waits(&sink, &lines).reporter(heard.clone()).build();
    run_for(&reverser, sources([unknown("a", 101)]), 20).await;
    assert_eq!(told(&sink), [update("bob", "a")]);
    let note = "Reverser-Actor: bob\nReverser-Evidence: audit\nReverser-Impersonator: alice\n";
    assert_eq!(sink.note_of(&sink.commits()[0].id).as_deref(), Some(note));
    assert_eq!(heard.lines(), ["noted a bob"]);
}

#[tokio::test(start_paused = true)]
async fn a_note_on_a_commit_of_several_changes_says_of_which_it_speaks() {
    let sink = MemorySink::new();
    let lines = Lines::late(0, 30, [(9.0, 102, "alice"), (9.0, 101, "bob")]);
    let reverser = waits(&sink, &lines).batching(Batching::new(Grouping::Actor)).build();
    run_for(&reverser, sources([unknown("a", 101), unknown("b", 102), unknown("c", 103)]), 20).await;
    assert_eq!(told(&sink), ["-: [UPDATE] 3 objects"]);
    let of = |user: &str, uid: &str, version: u32| {
        format!(
            "Reverser-Actor: {user}\nReverser-Evidence: audit\nReverser-Uid: {uid}\nReverser-Resource-Version: {version}\n"
        )
    };
    let note = sink.note_of(&sink.commits()[0].id).unwrap();
    assert_eq!(note, format!("{}\n{}", of("bob", "a", 101), of("alice", "b", 102)));
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_no_more_is_not_noted_and_neither_is_what_a_program_said_itself() {
    let sink = MemorySink::new();
    let lines = Lines::late(0, 3, [(2.0, 102, "alice"), (4.0, 101, "alice"), (2.0, 103, "alice")]);
    let script = [unknown("a", 101), unknown("b", 102), (0, by(Some("host"), Operation::Update, "c", 103))];
    run_for(&waits(&sink, &lines).build(), sources(script), 20).await;
    let notes: Vec<_> = sink.commits().iter().map(|commit| sink.note_of(&commit.id).is_some()).collect();
    assert_eq!(notes, [false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn beyond_what_is_remembered_the_oldest_are_forgotten_and_counted() {
    let (sink, heard) = (MemorySink::new(), Heard::default());
    let most = u32::try_from(super::super::late::CHANGES).unwrap();
    let lines = Lines::late(0, 60, [(5.0, 101, "alice"), (5.0, 102, "bob")]);
    let reverser = waits(&sink, &lines).reporter(heard.clone()).build();
    let script = (0..=most).map(|number| unknown(&format!("n{number:04}"), 101 + number));
    run_for(&reverser, sources(script), 10).await;
    assert_eq!(heard.lines(), ["forgotten 1", "noted n0001 bob"]);
}

#[tokio::test(start_paused = true)]
async fn while_facts_come_what_is_remembered_is_asked_about_twice_a_second() {
    let sink = MemorySink::new();
    let facts = (0..5_000).map(|n: u32| (1.0 + f64::from(n) / 1_000.0, 1_101 + n, "alice"));
    let lines = Lines::late(0, 60, facts.chain([(3.2, 150, "bob")]));
    let script = (0..1_000).map(|number| unknown(&format!("n{number:04}"), 101 + number));
    run_for(&waits(&sink, &lines).build(), sources(script), 10).await;
    let named = sink.commits().iter().filter(|commit| sink.note_of(&commit.id).is_some()).count();
    assert_eq!(named, 1);
    assert!(lines.questions() < 16_000, "{} questions", lines.questions());
}
