//! Objects that change all the time, and their changes in fewer commits. Time is paused.

use reverser_core::{Coalescing, Selector};

use super::{
    grouping::{by, run_for, sources, told},
    *,
};
use crate::report::Reporter;

const BOT: Option<&str> = Some("system:serviceaccount:shop:bot");

fn minutely(sink: &MemorySink) -> Reverser {
    let coalescing = Coalescing { interval: Duration::from_secs(60), only: vec![] };
    Reverser::new(sink.clone()).coalescing(coalescing).build()
}

#[tokio::test(start_paused = true)]
async fn a_service_accounts_changes_are_one_commit_per_interval_and_others_are_not_kept_waiting() {
    let sink = MemorySink::new();
    let reverser = minutely(&sink);
    let mut script: Vec<_> = (0..25).map(|number| (1, by(BOT, Operation::Update, "a", 101 + number))).collect();
    script.push((0, by(Some("alice"), Operation::Update, "b", 130)));
    let watch = async {
        tokio::time::sleep(Duration::from_millis(25_100)).await;
        assert_eq!(
            told(&sink),
            [format!("{}: [UPDATE] v1/configmaps/a", BOT.unwrap()), "alice: [UPDATE] v1/configmaps/b".into()]
        );
        assert_eq!(position(&sink).await.as_deref(), Some("124"), "before the one that waits");
        tokio::time::sleep(Duration::from_secs(36)).await;
        assert_eq!(position(&sink).await.as_deref(), Some("130"));
    };
    tokio::join!(run_for(&reverser, sources(script), 70), watch);
    let commits = sink.commits();
    assert_eq!(commits.len(), 3);
    assert!(
        commits[2].plan.message.contains("\nThe last of 24 changes that the same service account made within 60s.\n")
    );
    assert!(commits[2].plan.message.contains("Reverser-Resource-Version: 125\n"));
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_change_comes_behind_what_waits() {
    let sink = MemorySink::new();
    let script = [
        (0, by(BOT, Operation::Update, "a", 101)),
        (1, by(BOT, Operation::Update, "a", 102)),
        (1, by(Some("alice"), Operation::Update, "a", 103)),
        (1, by(BOT, Operation::Update, "a", 104)),
        (1, by(BOT, Operation::Update, "a", 105)),
        (1, by(BOT, Operation::Delete, "a", 106)),
        (1, by(None, Operation::Create, "b", 107)),
        (1, by(None, Operation::Update, "b", 108)),
    ];
    run_for(&minutely(&sink), sources(script), 10).await;
    let (bot, update) = (BOT.unwrap(), "[UPDATE] v1/configmaps/a");
    let expected = [
        format!("{bot}: {update}"),
        format!("{bot}: {update}"),
        format!("alice: {update}"),
        format!("{bot}: {update}"),
        format!("{bot}: {update}"),
        format!("{bot}: [DELETE] v1/configmaps/a"),
        "-: [CREATE] v1/configmaps/b".to_owned(),
        "-: [UPDATE] v1/configmaps/b".to_owned(),
    ];
    assert_eq!(told(&sink), expected, "and nobody's never wait");
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_committed_at_the_end_before_a_list_and_before_what_a_program_records() {
    let last = |sink: &MemorySink| sink.commits().last().unwrap().plan.message.clone();
    let waits = || vec![(0, by(BOT, Operation::Update, "a", 101)), (1, by(BOT, Operation::Update, "a", 102))];
    let sink = MemorySink::new();
    run_for(&minutely(&sink), sources(waits()), 5).await;
    assert_eq!((told(&sink).len(), position(&sink).await.as_deref()), (2, Some("102")));

    let sink = MemorySink::new();
    let script = waits().into_iter().chain([(0, listed(vec![body("a", 103, "web")]))]);
    run_for(&minutely(&sink), sources(script), 5).await;
    assert_eq!(told(&sink)[2..], ["-: [SYNC] 1 object"]);

    let sink = MemorySink::new();
    let reverser = minutely(&sink);
    let record = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let Event::Change { change, .. } = by(Some("host"), Operation::Update, "a", 103) else { unreachable!() };
        assert!(matches!(reverser.record(change).await.unwrap(), Recorded::Planned(_)));
        assert_eq!(told(&sink).len(), 3);
    };
    tokio::join!(run_for(&reverser, sources(waits()), 5), record);
    assert!(last(&sink).contains("Reverser-Actor: host"));
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_to_what_git_says_makes_no_commit() {
    let sink = MemorySink::new();
    let again = |version: u32| {
        let mut body = body("a", version, "web");
        body["data"]["version"] = "101".into();
        let Event::Change { change, cursor } = change(Operation::Update, body) else { unreachable!() };
        Event::Change { change: change.by(Actor::user(BOT.unwrap())), cursor }
    };
    let script =
        [(0, by(BOT, Operation::Update, "a", 101)), (1, by(BOT, Operation::Update, "a", 102)), (1, again(103))];
    run_for(&minutely(&sink), sources(script), 100).await;
    assert_eq!((told(&sink).len(), position(&sink).await.as_deref()), (1, Some("103")));
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_what_waited_is_committed_and_what_was_committed_beside_it_is_not_again() {
    let sink = MemorySink::new();
    let alice = |name: &str, version| by(Some("alice"), Operation::Update, name, version);
    let first = [
        by(BOT, Operation::Update, "a", 101),
        by(BOT, Operation::Update, "a", 102),
        alice("b", 103),
        by(BOT, Operation::Update, "a", 104),
        alice("c", 105),
        alice("c", 106),
        by(Some("alice"), Operation::Delete, "b", 107),
    ];
    let crashed = minutely(&sink);
    let (_arrive, arrivals) = mpsc::channel(1);
    let run = crashed.run(sources(first.map(|event| (0, event))), arrivals, std::future::pending());
    // It is dropped, and commits nothing more.
    assert!(tokio::time::timeout(Duration::from_secs(5), run).await.is_err());
    let alices = |subject: &str| format!("alice: {subject}");
    let update = "[UPDATE] v1/configmaps";
    let before = [
        format!("{}: {update}/a", BOT.unwrap()),
        alices(&format!("{update}/b")),
        alices(&format!("{update}/c")),
        alices(&format!("{update}/c")),
        alices("[DELETE] v1/configmaps/b"),
    ];
    assert_eq!(told(&sink), before);
    let cursors = || async { sink.cursors().await.unwrap().into_iter().collect::<Vec<_>>() };
    let pair = |name: &str, position: &str| (name.to_owned(), position.to_owned());
    assert_eq!(cursors().await, [pair("read/s", "107:104"), pair("s", "103")]);

    let again = [
        by(BOT, Operation::Update, "a", 104),
        alice("c", 105),
        alice("c", 106),
        by(Some("alice"), Operation::Delete, "b", 107),
        alice("c", 108),
    ];
    run_for(&minutely(&sink), sources(again.map(|event| (0, event))), 5).await;
    let after = [format!("{}: {update}/a", BOT.unwrap()), alices(&format!("{update}/c"))];
    assert_eq!(told(&sink)[before.len()..], after);
    assert!(sink.commits().last().unwrap().plan.message.contains("Reverser-Resource-Version: 108"));
    assert_eq!(cursors().await, [pair("s", "108")]);
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_a_change_that_is_left_out_does_not_hide_the_one_that_waited() {
    let sink = MemorySink::new();
    let reverser = || {
        let selector = Selector { except: vec!["user=eve".parse().unwrap()], ..Selector::default() };
        let coalescing = Coalescing { interval: Duration::from_secs(60), only: vec![] };
        let pipeline = Pipeline { selector, ..Pipeline::default() };
        Reverser::new(sink.clone()).pipeline(pipeline).coalescing(coalescing).build()
    };
    let waits = || by(BOT, Operation::Update, "a", 102);
    let eves = || by(Some("eve"), Operation::Update, "a", 103);
    let alices = || by(Some("alice"), Operation::Update, "b", 104);
    let first = [by(BOT, Operation::Update, "a", 101), waits(), eves(), alices()];
    let (_arrive, arrivals) = mpsc::channel(1);
    let crashed = reverser();
    let run = crashed.run(sources(first.map(|event| (0, event))), arrivals, std::future::pending());
    assert!(tokio::time::timeout(Duration::from_secs(5), run).await.is_err());
    assert_eq!(told(&sink).len(), 2);
    run_for(&reverser(), sources([waits(), eves(), alices()].map(|event| (0, event))), 5).await;
    assert_eq!(told(&sink)[2..], [format!("{}: [UPDATE] v1/configmaps/a", BOT.unwrap())]);
    assert!(sink.commits()[2].plan.message.contains("Reverser-Resource-Version: 102"));
}

#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Reporter for Lines {
    fn report(&self, notice: Notice<'_>) {
        let line = match notice {
            Notice::Churning { object, per_minute, actor } => {
                format!("{object} {per_minute} {}", actor.map_or("-", |actor| &actor.name))
            }
            Notice::Calmed { object, changes, lasted } => format!("{object} {changes} {lasted:?}"),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_churns_is_named_once_and_once_more_when_it_is_calm() {
    let (sink, lines) = (MemorySink::new(), Lines::default());
    let reverser = Reverser::new(sink.clone()).reporter(lines.clone()).build();
    let script = (0..50).map(|number| (1, by(BOT, Operation::Update, "a", 101 + number)));
    let others = (0..30).map(|number| (1, by(BOT, Operation::Update, "b", 201 + number)));
    run_for(&reverser, sources(script.chain(others)), 200).await;
    assert_eq!(
        *lines.0.lock().unwrap(),
        ["v1/configmaps/a 60 system:serviceaccount:shop:bot", "v1/configmaps/a 50 49s"]
    );
}
