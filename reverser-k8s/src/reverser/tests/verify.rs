//! Verification, while changes come and without.

use std::collections::{BTreeMap, VecDeque};

use reverser_core::{Batching, Grouping, Selector};
use reverser_git::testing::{delete, plan, put};

use super::*;
use crate::list::{Lister, Page, Remembered};

/// Remembers what verifications have found.
#[derive(Clone, Debug, Default)]
struct Findings(Arc<Mutex<Vec<String>>>);

impl Findings {
    /// Returns what was found since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Reporter for Findings {
    fn report(&self, notice: Notice<'_>) {
        let text = match notice {
            Notice::Verified { verified, commit } => {
                let Verified { missing, extra, different, superseded, left_out, .. } = *verified;
                let repair = if commit.is_some() { " repaired" } else { "" };
                format!("{missing} {extra} {different}, {superseded} {left_out}{repair}")
            }
            Notice::Held { files, of, .. } => format!("held {files} of {of}"),
            _ => return,
        };
        self.0.lock().unwrap().push(text);
    }
}

/// Lists as it is told, and hands the recorder the next events before each page.
#[derive(Debug)]
struct Busy<'a> {
    list: &'a Remembered,
    reverser: &'a Reverser,
    events: Mutex<VecDeque<Vec<Event>>>,
}

impl Busy<'_> {
    async fn go_on(&self) {
        let events = self.events.lock().unwrap().pop_front();
        for event in events.into_iter().flatten() {
            report(self.reverser, event).await;
        }
    }
}

#[async_trait::async_trait]
impl Lister for Busy<'_> {
    fn resource(&self) -> &Arc<Resource> {
        self.list.resource()
    }

    fn namespace(&self) -> Option<&str> {
        None
    }

    async fn first(&self, version: Option<&str>) -> Result<Page, ApiError> {
        self.go_on().await;
        self.list.first(version).await
    }

    async fn next(&self, page: &str) -> Result<Page, ApiError> {
        self.go_on().await;
        self.list.next(page).await
    }
}

const SOURCE: &str = "s";

/// Lets the recorder take in an event.
async fn report(reverser: &Reverser, event: Event) {
    let items = reverser.items(&SOURCE.into(), event, false);
    let mut recording = reverser.recording.lock().await;
    reverser.take(items.into_iter().map(|item| (item, None)), &mut recording).await.unwrap();
}

fn build(configure: impl FnOnce(ReverserBuilder) -> ReverserBuilder) -> (MemorySink, Findings, Reverser) {
    let (sink, findings) = (MemorySink::new(), Findings::default());
    let reverser = configure(Reverser::new(sink.clone()).reporter(findings.clone())).build();
    (sink, findings, reverser)
}

/// Somebody else changes Git.
async fn tamper(sink: &MemorySink, edits: impl IntoIterator<Item = Edit>) {
    for edit in edits {
        sink.commit(Batch { plans: vec![plan("tampered", [edit])], ..Batch::default() }).await.unwrap();
    }
}

fn path(name: &str) -> String {
    format!("v1/configmaps/shop/{name}.yaml")
}

fn file(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: shop\ndata: {{}}\n")
}

#[tokio::test]
async fn what_was_tampered_with_is_repaired_once() {
    let (sink, findings, reverser) = build(|builder| builder);
    let objects = ["a", "b", "c"].map(|name| body(name, 1, "web"));
    let list = Remembered::new(configmaps()).at(100, objects.clone());
    assert!(!reverser.verify(SOURCE, &list).await.unwrap());
    assert_eq!(findings.take(), [""; 0], "nothing is known of the source yet");
    report(&reverser, listed(objects.to_vec())).await;
    reverser.verify(SOURCE, &list).await.unwrap();
    assert_eq!(findings.take(), ["0 0 0, 0 0"]);
    tamper(&sink, [delete(&path("a")), put(&path("b"), &file("b")), put(&path("d"), &file("d")), put("notes", "mine")])
        .await;
    reverser.verify(SOURCE, &list).await.unwrap();
    assert_eq!(findings.take(), ["1 1 1, 0 0 repaired"]);
    let message = sink.commits().last().unwrap().plan.message.clone();
    assert!(message.starts_with("[VERIFY] 3 objects: 1 missing, 1 extra, 1 different\n"), "{message}");
    for line in ["- missing v1/configmaps/shop/a", "- extra v1/configmaps/shop/d", "- different v1/configmaps/shop/b"] {
        assert!(message.contains(line), "{message}");
    }
    reverser.verify(SOURCE, &list).await.unwrap();
    assert_eq!(findings.take(), ["0 0 0, 0 0"]);
    assert_eq!(sink.list(None).await.unwrap().len(), 4, "three of ours, and notes");
    // What was repaired is no news, and what comes after it is.
    let before = sink.commits().len();
    report(&reverser, change(Operation::Update, body("a", 1, "web"))).await;
    assert_eq!(sink.commits().len(), before);
    report(&reverser, change(Operation::Update, body("a", 101, "web"))).await;
    assert_eq!(sink.commits().len(), before + 1);
}

#[tokio::test]
async fn what_changes_meanwhile_is_no_difference_and_hides_none() {
    let (sink, findings, reverser) = build(|builder| builder);
    let objects = ["a", "b", "c", "d", "e"].map(|name| body(name, 1, "web"));
    let list = Remembered::new(configmaps()).at(100, objects.clone());
    report(&reverser, listed(objects.to_vec())).await;
    tamper(&sink, [put(&path("d"), &file("d")), delete(&path("e"))]).await;
    let mut status = body("d", 1, "web");
    status["metadata"]["resourceVersion"] = "105".into();
    status["status"] = json!({"seen": true});
    let events = [
        vec![change(Operation::Update, body("a", 101, "web")), change(Operation::Delete, body("b", 102, "web"))],
        vec![change(Operation::Create, body("f", 103, "web")), change(Operation::Update, body("a", 104, "web"))],
        vec![change(Operation::Update, status)],
    ];
    let busy = Busy { list: &list, reverser: &reverser, events: Mutex::new(events.into()) };
    reverser.verify(SOURCE, &busy).await.unwrap();
    assert_eq!(findings.take(), ["1 0 1, 0 0 repaired"], "d and e alone");
    let after = ["a", "c", "d", "e", "f"].map(|name| match name {
        "a" => body("a", 104, "web"),
        "f" => body("f", 103, "web"),
        _ => body(name, 1, "web"),
    });
    list.remember(105, after);
    reverser.verify(SOURCE, &list).await.unwrap();
    assert_eq!(findings.take(), ["0 0 0, 0 0"]);
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_meanwhile_is_not_missing() {
    let selector = Selector { labels: "app=web".parse().unwrap(), ..Selector::default() };
    let (sink, findings, reverser) = build(|builder| builder.pipeline(Pipeline { selector, ..Pipeline::default() }));
    let list = Remembered::new(configmaps()).at(100, [body("a", 1, "web"), body("b", 1, "web")]);
    report(&reverser, listed(vec![body("a", 1, "web"), body("b", 1, "web")])).await;
    let events = Mutex::new([vec![change(Operation::Update, body("a", 101, "api"))]].into());
    reverser.verify(SOURCE, &Busy { list: &list, reverser: &reverser, events }).await.unwrap();
    assert_eq!(findings.take(), ["0 0 0, 0 0"]);
    assert_eq!(sink.list(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_gathers_for_a_commit_or_was_recorded_in_process_is_no_difference() {
    let (sink, findings, reverser) = build(|builder| builder.batching(Batching::new(Grouping::Interval)));
    let objects = ["a", "b"].map(|name| body(name, 1, "web"));
    let list = Remembered::new(configmaps()).at(100, objects.clone());
    report(&reverser, listed(objects.to_vec())).await;
    report(&reverser, change(Operation::Update, body("a", 101, "web"))).await;
    list.remember(101, [body("a", 101, "web"), body("b", 1, "web")]);
    let before = sink.commits().len();
    reverser.verify(SOURCE, &list).await.unwrap();
    assert_eq!((findings.take(), sink.commits().len()), (vec!["0 0 0, 0 0".to_owned()], before));
    let Event::Change { change: ahead, .. } = change(Operation::Update, body("b", 105, "web")) else { unreachable!() };
    reverser.record(ahead).await.unwrap();
    reverser.verify(SOURCE, &list).await.unwrap();
    assert_eq!(findings.take(), ["0 0 0, 0 0"], "the source tells of it later");
}

#[tokio::test]
async fn a_list_that_comes_meanwhile_makes_the_comparison_void() {
    let (sink, findings, reverser) = build(|builder| builder);
    let list = Remembered::new(configmaps()).at(100, [body("a", 1, "web")]);
    report(&reverser, listed(vec![body("a", 1, "web")])).await;
    tamper(&sink, [delete(&path("a"))]).await;
    let events = Mutex::new([vec![listed(vec![])]].into());
    reverser.verify(SOURCE, &Busy { list: &list, reverser: &reverser, events }).await.unwrap();
    assert_eq!((findings.take(), sink.list(None).await.unwrap()), (vec![], vec![]));
}

#[tokio::test]
async fn so_many_files_without_an_object_that_it_looks_like_a_mistake_stay() {
    for is_allowed in [false, true] {
        let (sink, findings, reverser) = build(|builder| builder.allow_mass_delete(is_allowed));
        let list = Remembered::new(configmaps()).at(100, [body("a", 1, "web"), body("b", 1, "web")]);
        report(&reverser, listed(vec![body("a", 1, "web"), body("b", 1, "web")])).await;
        tamper(&sink, (0..30).map(|number| put(&path(&format!("x{number}")), &file(&format!("x{number}"))))).await;
        tamper(&sink, [delete(&path("a"))]).await;
        reverser.verify(SOURCE, &list).await.unwrap();
        let (expected, files) = if is_allowed {
            (vec!["1 30 0, 0 0 repaired"], 2)
        } else {
            (vec!["held 30 of 31", "1 30 0, 0 0 repaired"], 32)
        };
        assert_eq!(
            (findings.take(), sink.list(None).await.unwrap().len()),
            (expected.iter().map(ToString::to_string).collect(), files)
        );
    }
}

#[tokio::test]
async fn what_users_are_left_out_for_is_caught_up_with_and_what_operations_are_is_not() {
    for (except, found) in [
        ("user=bot", "0 0 0, 0 3 repaired"),
        ("operation=update", "1 1 0, 0 1 repaired"),
        ("operation=delete", "1 0 1, 0 1 repaired"),
        ("operation=create|update|delete", "0 0 0, 0 3"),
    ] {
        let selector = Selector { except: vec![except.parse().unwrap()], ..Selector::default() };
        let (sink, findings, reverser) =
            build(|builder| builder.pipeline(Pipeline { selector, ..Pipeline::default() }));
        let objects = ["a", "b"].map(|name| body(name, 1, "web"));
        let list = Remembered::new(configmaps()).at(100, objects.clone());
        report(&reverser, listed(objects.to_vec())).await;
        tamper(&sink, [delete(&path("a")), put(&path("b"), &file("b")), put(&path("c"), &file("c"))]).await;
        reverser.verify(SOURCE, &list).await.unwrap();
        assert_eq!(findings.take(), [found], "{except}");
    }
}

#[tokio::test]
async fn more_than_fits_into_one_commit_follows_at_once() {
    let (sink, findings, reverser) = build(|builder| builder);
    let objects: Vec<_> = (0..1_002).map(|number| body(&format!("n{number}"), 1, "web")).collect();
    report(&reverser, listed(objects[..1].to_vec())).await;
    let list = Remembered::new(configmaps()).at(100, objects);
    assert!(reverser.verify(SOURCE, &list).await.unwrap());
    assert!(!reverser.verify(SOURCE, &list).await.unwrap());
    assert_eq!(findings.take(), ["1000 0 0, 0 0 repaired", "1 0 0, 0 0 repaired"]);
    assert_eq!(sink.list(None).await.unwrap().len(), 1_002);
}

#[tokio::test]
async fn a_run_verifies_what_its_sources_list_now_and_then() {
    let (sink, findings, reverser) = build(|builder| builder.verify_every(Duration::from_millis(20)));
    // A change that nobody told of.
    let list = Remembered::new(configmaps()).at(100, [body("a", 1, "web"), body("lost", 1, "web")]);
    let source = Scripted::new(SOURCE, [listed(vec![body("a", 1, "web")])]).listed_by(Arc::new(list));
    run(&reverser, &sink, source, 2).await;
    assert_eq!(subjects(&sink), ["[SYNC] 1 object", "[VERIFY] 1 object: 1 missing"]);
    assert_eq!(findings.take().iter().filter(|found| !found.starts_with("0 0 0")).count(), 1);
}

/// A cluster that lives: each change has a version, and what there was at each is remembered.
struct Cluster {
    seed: u64,
    version: u64,
    objects: BTreeMap<String, Value>,
    list: Remembered,
    /// What the recorder hasn't been told yet.
    untold: VecDeque<Event>,
}

impl Cluster {
    fn random(&mut self, below: u64) -> u64 {
        // Knuth's constants for a linear congruential generator.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn step(&mut self) {
        self.version += 1;
        let name = format!("n{}", self.random(6));
        let (kind, value) = (self.random(4), self.random(3));
        let event = match (self.objects.get_mut(&name), kind) {
            (Some(_), 0) => {
                let mut gone = self.objects.remove(&name).unwrap();
                gone["metadata"]["resourceVersion"] = self.version.to_string().into();
                change(Operation::Delete, gone)
            }
            (Some(object), 1) => {
                object["metadata"]["resourceVersion"] = self.version.to_string().into();
                object["metadata"]["generation"] = self.version.into();
                change(Operation::Update, object.clone())
            }
            (standing, _) => {
                let operation = if standing.is_some() { Operation::Update } else { Operation::Create };
                let mut object = body(&name, 1, "web");
                object["metadata"]["resourceVersion"] = self.version.to_string().into();
                object["data"]["version"] = value.to_string().into();
                self.objects.insert(name, object.clone());
                change(operation, object)
            }
        };
        self.untold.push_back(event);
        self.list.remember(self.version, self.objects.values().cloned());
    }

    fn tell(&mut self, most: u64) -> Vec<Event> {
        let count = usize::try_from(self.random(most + 1)).unwrap().min(self.untold.len());
        self.untold.drain(..count).collect()
    }
}

#[tokio::test]
async fn on_a_busy_cluster_nothing_but_what_was_tampered_with_is_ever_found() {
    for seed in 0..60 {
        let grouping = if seed % 3 == 0 { Grouping::Interval } else { Grouping::Change };
        let (sink, findings, reverser) = build(|builder| builder.batching(Batching::new(grouping)));
        let list = Remembered::new(configmaps()).at(100, []);
        let mut cluster = Cluster { seed, version: 100, objects: BTreeMap::new(), list, untold: VecDeque::new() };
        report(&reverser, listed(vec![])).await;
        for round in 0..20 {
            (0..cluster.random(8)).for_each(|_| cluster.step());
            for event in cluster.tell(8) {
                report(&reverser, event).await;
            }
            let events = (0..5).map(|_| {
                cluster.step();
                cluster.tell(4)
            });
            let events: VecDeque<_> = events.collect();
            let busy = Busy { list: &cluster.list, reverser: &reverser, events: Mutex::new(events) };
            reverser.verify(SOURCE, &busy).await.unwrap();
            // What no page took up isn't lost.
            for event in busy.events.into_inner().unwrap().into_iter().flatten() {
                report(&reverser, event).await;
            }
            assert_eq!(findings.take(), ["0 0 0, 0 0"], "seed {seed}, round {round}");
        }
        for event in std::mem::take(&mut cluster.untold) {
            report(&reverser, event).await;
        }
        reverser.flush(&mut *reverser.recording.lock().await).await.unwrap();
        let standing = sink.list(None).await.unwrap();
        assert_eq!(standing.len(), cluster.objects.len(), "seed {seed}");
        tamper(&sink, standing.iter().map(|path| Edit::Delete { path: path.clone() })).await;
        reverser.verify(SOURCE, &cluster.list).await.unwrap();
        let repaired = if standing.is_empty() { "" } else { " repaired" };
        assert_eq!(findings.take(), [format!("{} 0 0, 0 0{repaired}", standing.len())], "seed {seed}");
        assert_eq!(sink.list(None).await.unwrap(), standing);
    }
}
