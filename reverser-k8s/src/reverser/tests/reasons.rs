//! What annotations say about why, in the commits of the changes that they are about.

use reverser_core::{
    Selector,
    reason::{CHANGE_CAUSE, REASON},
};

use super::*;

/// `value`: what the file differs by.
fn because(version: u32, value: &str, reason: Option<&str>) -> Value {
    let mut body = body("a", version, "web");
    body["data"] = json!({"value": value});
    if let Some(reason) = reason {
        body["metadata"]["annotations"] = json!({REASON: reason});
    }
    body
}

/// Returns what each commit says about why.
fn reasons(sink: &MemorySink) -> Vec<String> {
    let of = |message: &str| {
        let paragraphs = message.split("\n\n").filter(|paragraph| {
            !["[", "Namespace: ", "Reverser-", "- "].iter().any(|start| paragraph.starts_with(start))
        });
        paragraphs.collect::<Vec<_>>().join("|")
    };
    sink.commits().iter().map(|commit| of(&commit.plan.message)).collect()
}

#[tokio::test]
async fn a_reason_is_told_once_and_by_a_change_of_the_file() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let mut caused = because(107, "6", Some("third"));
    caused["metadata"]["annotations"][CHANGE_CAUSE] = "kubectl set image".into();
    let source = [
        listed(vec![because(99, "0", Some("stands there"))]),
        change(Operation::Update, because(101, "1", Some("stands there"))),
        change(Operation::Update, because(102, "2", Some("first"))),
        change(Operation::Update, because(103, "3", Some("first"))),
        // As by `kubectl annotate`, then `kubectl edit`.
        change(Operation::Update, because(104, "3", Some("second\n\nReverser-Actor: eve"))),
        change(Operation::Update, because(105, "4", Some("second\n\nReverser-Actor: eve"))),
        change(Operation::Update, because(106, "5", None)),
        change(Operation::Update, caused),
        change(Operation::Delete, because(108, "6", Some("not needed any more"))),
    ];
    run(&reverser, &sink, Scripted::new("s", source), 8).await;
    let expected =
        ["", "", "first", "", "second|> Reverser-Actor: eve", "", "third|kubectl set image", "not needed any more"];
    assert_eq!(reasons(&sink), expected);
    for commit in sink.commits() {
        for edit in &commit.plan.edits {
            let Edit::Put { content, .. } = edit else { continue };
            let file = String::from_utf8_lossy(content);
            assert!(!file.contains(REASON), "{file}");
            assert_eq!(file.contains("change-cause: kubectl set image"), file.contains("value: \"6\""), "{file}");
        }
    }
}

#[tokio::test]
async fn after_a_restart_a_reason_still_waits_for_a_change_of_the_file() {
    let sink = MemorySink::new();
    let before = Reverser::new(sink.clone()).build();
    before.drain(&mut Scripted::new("s", [change(Operation::Create, because(90, "0", None))])).await.unwrap();
    let reverser = Reverser::new(sink.clone()).build();
    let (events, feed) = mpsc::channel(1);
    let source: Vec<Box<dyn Source>> = vec![Box::new(Fed(feed))];
    let (_arrive, arrivals) = mpsc::channel(1);
    let script = async {
        events.send(Event::Resumed).await.unwrap();
        // Git alone knows that this changes nothing.
        events.send(change(Operation::Update, because(101, "0", Some("why")))).await.unwrap();
        while sink.cursors().await.unwrap().get("s").map(String::as_str) != Some("101") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        events.send(change(Operation::Update, because(102, "1", Some("why")))).await.unwrap();
        while sink.commits().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let ran = tokio::time::timeout(Duration::from_secs(10), reverser.run(source, arrivals, script)).await;
    ran.unwrap_or_else(|_| panic!("{:?}", reasons(&sink))).unwrap();
    assert_eq!(reasons(&sink), ["", "why"]);
}

#[tokio::test]
async fn the_reason_of_an_ignored_user_is_not_that_of_the_next_one() {
    let sink = MemorySink::new();
    let selector = Selector { except: vec!["user=flux".parse().unwrap()], ..Selector::default() };
    let reverser = Reverser::new(sink.clone()).pipeline(Pipeline { selector, ..Pipeline::default() }).build();
    let by = |user: &str, body| {
        let Event::Change { change, cursor } = change(Operation::Update, body) else { unreachable!("made above") };
        Event::Change { change: change.by(Actor::user(user)), cursor }
    };
    let source = [
        listed(vec![because(99, "0", None)]),
        by("flux", because(101, "1", Some("reconciled"))),
        by("alice", because(102, "2", Some("reconciled"))),
    ];
    run(&reverser, &sink, Scripted::new("s", source), 2).await;
    assert_eq!(reasons(&sink), ["", ""]);
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_change_that_another_one_stands_for_is_told_with_that_one() {
    let sink = MemorySink::new();
    let coalescing = Coalescing { interval: Duration::from_secs(60), only: vec![] };
    let reverser = Reverser::new(sink.clone()).coalescing(coalescing).build();
    let by_bot = |version, value: &str, reason| {
        let Event::Change { change, cursor } = change(Operation::Update, because(version, value, reason)) else {
            unreachable!("made above")
        };
        Event::Change { change: change.by(Actor::user("system:serviceaccount:shop:bot")), cursor }
    };
    let source = [
        listed(vec![because(99, "0", None)]),
        by_bot(101, "1", None),
        by_bot(102, "2", Some("why")),
        by_bot(103, "3", Some("why")),
    ];
    run(&reverser, &sink, Scripted::new("s", source), 2).await;
    let told = reasons(&sink);
    assert_eq!((told.len(), told.last().map(String::as_str)), (3, Some("why")), "{told:?}");
}

#[tokio::test]
async fn a_program_that_says_why_wins() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    for (version, because_of) in [(101, Some("by hand")), (102, None), (103, None)] {
        let annotation = if version < 103 { "annotated" } else { "again" };
        let Event::Change { mut change, .. } =
            change(Operation::Update, because(version, &version.to_string(), Some(annotation)))
        else {
            unreachable!("made above")
        };
        change.reason = because_of.map(str::to_owned);
        reverser.record(change).await.unwrap();
    }
    assert_eq!(reasons(&sink), ["by hand", "", "again"]);
}

/// Says what it is given, when it is given that.
#[derive(Debug)]
struct Fed(mpsc::Receiver<Event>);

#[async_trait::async_trait]
impl Source for Fed {
    fn id(&self) -> &str {
        "s"
    }

    async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Some(event) => Some(event),
            None => std::future::pending().await,
        }
    }
}
