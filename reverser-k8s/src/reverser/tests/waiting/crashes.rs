//! What is read again after a crash while changes waited.

use proptest::prelude::*;

use super::*;

/// Runs for so many seconds, and is gone then: it commits nothing more.
async fn crash_after(reverser: &Reverser, sources: Vec<Box<dyn Source>>, seconds: f64) {
    let (_arrive, arrivals) = mpsc::channel(1);
    let run = reverser.run(sources, arrivals, std::future::pending());
    assert!(tokio::time::timeout(Duration::from_secs_f64(seconds), run).await.is_err());
}

/// Returns the version of each commit.
fn versions(sink: &MemorySink) -> Vec<u32> {
    let version = |commit: reverser_git::MemoryCommit| {
        let line = commit.plan.message.lines().find_map(|line| line.strip_prefix("Reverser-Resource-Version: "));
        line.unwrap().parse().unwrap()
    };
    sink.commits().into_iter().map(version).collect()
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_what_waited_is_committed_and_nothing_is_twice() {
    let sink = MemorySink::new();
    let script = || {
        let changes = ["a", "b", "a", "b", "b", "c", "a"].iter().zip(101..);
        changes.map(|(name, version)| unknown(name, version))
    };
    let known = [102, 104, 105, 106].map(|version| (0.0, version, "bob"));
    crash_after(&waits(&sink, &Lines::new(60, known)).build(), sources(script()), 5.0).await;
    assert_eq!(versions(&sink), [102, 104, 105, 106]);
    assert_eq!(sink.cursors().await.unwrap(), [("read/s".into(), "107:101+2+4".into())].into());

    // In the middle of what is read again it crashes once more.
    let lines = Lines::new(60, [(0.0, 101, "alice")]);
    crash_after(&waits(&sink, &lines).build(), sources(script().take(3)), 5.0).await;
    assert_eq!(versions(&sink)[4..], [101]);
    assert_eq!(
        sink.cursors().await.unwrap(),
        [("read/s".into(), "107:103+4".into()), ("s".into(), "102".into())].into()
    );
    let after: Vec<_> = script().skip(2).chain([unknown("c", 108)]).collect();
    run_for(&waits(&sink, &Lines::new(0, [])).build(), sources(after), 5).await;
    assert_eq!(versions(&sink)[5..], [103, 107, 108]);
    assert_eq!(sink.cursors().await.unwrap(), [("s".into(), "108".into())].into());
}

/// What happens: to which object, how long after the one before in tenths of a second, and how long after that it is known who
/// did it, if ever.
fn history() -> impl Strategy<Value = Vec<(usize, u32, Option<u32>)>> {
    prop::collection::vec((0..4_usize, 0..8_u32, prop::option::weighted(0.8, 0..40_u32)), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_waits_and_crashes_each_change_is_committed_once_and_in_its_objects_order(
        history in history(),
        crashes in prop::collection::vec(1..60_u32, 0..4),
        is_grouped in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let sink = MemorySink::new();
            let reverser = |lines: &Lines| {
                // Commits of one change each, so that each has its version.
                let quiet = Duration::from_millis(if is_grouped { 700 } else { 0 });
                waits(&sink, lines).batching(Batching { quiet, ..Batching::default() }).build()
            };
            let lines = Lines::new(2, history.iter().zip(101..).scan(0, |now, ((_, pause, known), version)| {
                *now += pause;
                Some(known.map(|known| (f64::from(*now + known) / 10.0, version, "alice")))
            }).flatten());
            let changes: Vec<_> = history.iter().zip(101..).map(|((object, ..), version)| (*object, version)).collect();
            let start = lines.0.since;
            // The API server tells what comes after a position when it has happened.
            let after = |position: u32| {
                let happened = history.iter().scan(0, |now, (_, pause, _)| { *now += pause; Some(*now) });
                let script = changes.clone().into_iter().zip(happened).filter(move |((_, version), _)| *version > position);
                Timed::sources(start, script.map(|((object, version), tenths)| {
                    (f64::from(tenths) / 10.0, by(None, Operation::Update, &format!("n{object}"), version))
                }))
            };
            let position = async || sink.cursors().await.unwrap().get("s").map_or(100, |text| text.parse().unwrap());
            for tenths in crashes {
                crash_after(&reverser(&lines), after(position().await), f64::from(tenths) / 10.0).await;
                assert_marks_are_true(&sink, &changes).await;
            }
            run_for(&reverser(&lines), after(position().await), 600).await;
            let committed = versions(&sink);
            for object in 0..4 {
                let of = |versions: &[u32]| versions.iter().copied()
                    .filter(|version| changes.contains(&(object, *version))).collect::<Vec<_>>();
                let all: Vec<_> = changes.iter().map(|(_, version)| *version).collect();
                assert_eq!(of(&committed), of(&all), "each of object {object} once and in order");
            }
            assert_eq!(position().await, *changes.last().map(|(_, version)| version).unwrap());
            assert_eq!(sink.cursors().await.unwrap().len(), 1, "no mark is left");
        });
    }
}

/// All up to the position is committed, and of what is up to the mark all but what waited.
async fn assert_marks_are_true(sink: &MemorySink, changes: &[(usize, u32)]) {
    let (cursors, committed) = (sink.cursors().await.unwrap(), versions(sink));
    let position = cursors.get("s").map_or(100, |text| text.parse().unwrap());
    let mark = cursors.get("read/s").and_then(|text| super::super::super::again::Mark::parse(text));
    for (_, version) in changes {
        let is_committed = committed.contains(version);
        assert!(*version > position || is_committed, "{version} is before {position}");
        let Some(mark) = &mark else {
            assert!(*version <= position || !is_committed, "{version} would be committed again");
            continue;
        };
        if u64::from(*version) <= mark.until && *version > position {
            assert_eq!(is_committed, !mark.waiting.contains(&u64::from(*version)), "{version}, {cursors:?}");
        }
    }
}

/// Says each event at its time, so many seconds from a moment on; what is past, at once.
#[derive(Debug)]
struct Timed {
    since: Instant,
    script: std::collections::VecDeque<(f64, Event)>,
    is_resumed: bool,
}

impl Timed {
    fn sources(since: Instant, script: impl IntoIterator<Item = (f64, Event)>) -> Vec<Box<dyn Source>> {
        vec![Box::new(Self { since, script: script.into_iter().collect(), is_resumed: false })]
    }
}

#[async_trait::async_trait]
impl Source for Timed {
    fn id(&self) -> &str {
        "s"
    }

    async fn next(&mut self) -> Option<Event> {
        if !std::mem::replace(&mut self.is_resumed, true) {
            return Some(Event::Resumed);
        }
        let Some((seconds, _)) = self.script.front() else { return std::future::pending().await };
        tokio::time::sleep_until(self.since + Duration::from_secs_f64(*seconds)).await;
        self.script.pop_front().map(|(_, event)| event)
    }
}
