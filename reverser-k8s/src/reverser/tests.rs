//! The flow between scripted sources and a sink in memory.

use reverser_core::{Actor, Attribution, CommitPlan, Evidence, ObjectRef, RepoPath, Resource};
use reverser_git::{Files, MemorySink};
use serde_json::{Value, json};

use super::*;
use crate::{
    api_error::ApiError,
    fixture::configmaps,
    source::{Gap, Listed, Scripted},
};

mod churn;
mod grouping;
mod managers;
mod reasons;
mod selection;
mod verify;
mod waiting;

fn body(name: &str, version: u32, label: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": version.to_string(),
        "labels": {"app": label}}, "data": {"version": version.to_string()}})
}

fn change(operation: Operation, body: Value) -> Event {
    let reference = ObjectRef::of(&configmaps(), &body).unwrap();
    let change = Change::new(reference, operation, Some(body));
    Event::Change { cursor: change.resource_version.clone(), change }
}

fn listed(objects: Vec<Value>) -> Event {
    Event::Listed(Listed { resource: configmaps(), namespace: None, objects, cursor: "100".into() })
}

fn subjects(sink: &MemorySink) -> Vec<String> {
    sink.commits().iter().map(|commit| commit.plan.message.lines().next().unwrap_or_default().to_owned()).collect()
}

/// Runs until `commits` commits are there, then shuts down.
async fn run(reverser: &Reverser, sink: &MemorySink, source: Scripted, commits: usize) {
    let (_arrive, arrivals) = mpsc::channel(1);
    let enough = async {
        let mut again = tokio::time::interval(Duration::from_millis(1));
        while sink.commits().len() < commits {
            again.tick().await;
        }
    };
    let sources: Vec<Box<dyn Source>> = vec![Box::new(source.then_waits())];
    tokio::time::timeout(Duration::from_secs(10), reverser.run(sources, arrivals, enough))
        .await
        .unwrap_or_else(|_| panic!("{commits} commits; there are {:?}", subjects(sink)))
        .unwrap();
}

#[tokio::test]
async fn the_first_list_is_one_commit_and_each_change_after_it_another() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let source = Scripted::new(
        "c/v1/configmaps",
        [
            listed(vec![body("a", 1, "web"), body("b", 2, "web")]),
            change(Operation::Create, body("c", 101, "web")),
            change(Operation::Update, body("a", 102, "web")),
            // Nothing that a user authored differs.
            change(Operation::Update, body("a", 102, "web")),
            change(Operation::Delete, body("b", 103, "web")),
        ],
    );
    run(&reverser, &sink, source, 4).await;
    assert_eq!(
        subjects(&sink),
        ["[SYNC] 2 objects", "[CREATE] v1/configmaps/c", "[UPDATE] v1/configmaps/a", "[DELETE] v1/configmaps/b"]
    );
    assert_eq!(sink.cursors().await.unwrap()["c/v1/configmaps"], "103");
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_leaves_git_and_another_selections_file_stays() {
    let sink = MemorySink::new();
    let select = |labels: &str| Pipeline {
        selector: reverser_core::Selector { labels: labels.parse().unwrap(), ..Default::default() },
        ..Pipeline::default()
    };
    let api = Reverser::new(sink.clone()).pipeline(select("app=api")).build();
    let web = Reverser::new(sink.clone()).pipeline(select("app=web")).build();
    let update = |body| match change(Operation::Update, body) {
        Event::Change { change, .. } => change,
        _ => unreachable!("made above"),
    };
    web.record(update(body("a", 1, "web"))).await.unwrap();
    api.record(update(body("b", 1, "api"))).await.unwrap();
    assert!(matches!(web.record(update(body("b", 2, "api"))).await.unwrap(), Recorded::Left(LeftOut::NotSelected)));
    assert!(matches!(web.record(update(body("a", 2, "api"))).await.unwrap(), Recorded::Planned(_)));
    assert_eq!(sink.list(None).await.unwrap(), ["v1/configmaps/shop/b.yaml".parse::<RepoPath>().unwrap()]);
    assert!(sink.commits().last().unwrap().plan.message.contains("no longer selected"));
}

#[tokio::test]
async fn a_later_list_removes_what_is_gone_unless_that_is_suspiciously_much() {
    let names: Vec<_> = (0..30).map(|number| format!("n{number}")).collect();
    let all = || names.iter().map(|name| body(name, 1, "web")).collect::<Vec<_>>();
    let first = |count: usize| listed(all().into_iter().take(count).collect());
    let sink = MemorySink::new();
    let careful = Reverser::new(sink.clone()).build();
    let bold = Reverser::new(sink.clone()).allow_mass_delete(true).build();
    let sync = async |reverser: &Reverser, count| {
        reverser.sync(&mut [Box::new(Scripted::new("s", [first(count)]))]).await.unwrap();
        sink.list(None).await.unwrap().len()
    };
    run(&careful, &sink, Scripted::new("s", [first(30), first(25)]), 2).await;
    assert_eq!(sync(&careful, 25).await, 25);
    assert_eq!(sync(&careful, 4).await, 25, "21 of 25 are held");
    assert_eq!(sync(&bold, 4).await, 4, "and go when that is allowed");
    assert_eq!(sync(&careful, 25).await, 25);
    assert_eq!(sync(&careful, 5).await, 5, "20 are not");
    assert_eq!(sync(&careful, 30).await, 30);
    assert_eq!(sync(&bold, 0).await, 0);
}

#[tokio::test]
async fn what_is_read_again_moves_no_position_back() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let update = |name, version| change(Operation::Update, body(name, version, "web"));
    let again = [Event::Resumed, update("a", 101), update("b", 102), update("a", 101)];
    assert_eq!(reverser.drain(&mut Scripted::new("s", again)).await.unwrap(), 2);
    assert_eq!(sink.cursors().await.unwrap()["s"], "102");
}

/// Takes note of what it is told that was read.
#[derive(Debug)]
struct Remembers(Scripted, mpsc::UnboundedSender<u64>);

#[async_trait::async_trait]
impl Source for Remembers {
    fn id(&self) -> &str {
        self.0.id()
    }

    async fn next(&mut self) -> Option<Event> {
        self.0.next().await
    }

    fn was_read(&mut self, version: u64) {
        self.1.send(version).unwrap();
    }
}

#[tokio::test]
async fn a_source_that_is_back_is_told_how_far_it_was_read() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let (arrive, arrivals) = mpsc::channel(1);
    let (remember, mut told) = mpsc::unbounded_channel();
    let script = |version| Scripted::new("s", [Event::Resumed, change(Operation::Create, body("a", version, "web"))]);
    let back = || Arrival::New(Box::new(Remembers(script(101).then_waits(), remember.clone())));
    let gone = || Arrival::Gone { source: "s".into(), is_served: true };
    let enough = async {
        while sink.commits().is_empty() {
            tokio::task::yield_now().await;
        }
        let mut known = vec![];
        for arrival in [gone(), back(), gone(), back()] {
            let is_back = matches!(arrival, Arrival::New(_));
            arrive.send(arrival).await.unwrap();
            if is_back {
                known.push(told.recv().await.unwrap());
            }
        }
        assert_eq!(known, [105, 105], "also when the second had not read as far");
    };
    let sources: Vec<Box<dyn Source>> = vec![Box::new(script(105).then_waits())];
    tokio::time::timeout(Duration::from_secs(10), reverser.run(sources, arrivals, enough)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_source_that_is_back_and_tells_again_what_it_told_changes_nothing() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let of = |operation, version, uid: &str| {
        let mut body = body("a", version, "web");
        body["metadata"]["uid"] = uid.into();
        change(operation, body)
    };
    let script = || {
        let made_anew =
            [of(Operation::Create, 101, "one"), of(Operation::Delete, 102, "one"), of(Operation::Create, 103, "two")];
        [Event::Resumed].into_iter().chain(made_anew)
    };
    let (arrive, arrivals) = mpsc::channel(1);
    // Once it is past that, all is news: also a lower version, as a server tells whose versions don't compare.
    let more = [
        of(Operation::Update, 107, "two"),
        change(Operation::Create, body("b", 105, "web")),
        of(Operation::Delete, 108, "two"),
    ];
    let back = Scripted::new("s", script().chain(more)).then_waits();
    let enough = async {
        let mut again = tokio::time::interval(Duration::from_millis(1));
        while sink.commits().len() < 3 {
            again.tick().await;
        }
        arrive.send(Arrival::Gone { source: "s".into(), is_served: true }).await.unwrap();
        arrive.send(Arrival::New(Box::new(back))).await.unwrap();
        while sink.commits().len() < 6 {
            again.tick().await;
        }
    };
    let sources: Vec<Box<dyn Source>> = vec![Box::new(Scripted::new("s", script()).then_waits())];
    tokio::time::timeout(Duration::from_secs(10), reverser.run(sources, arrivals, enough)).await.unwrap().unwrap();
    let expected = ["CREATE] a", "DELETE] a", "CREATE] a", "UPDATE] a", "CREATE] b", "DELETE] a"];
    assert_eq!(subjects(&sink), expected.map(|told| format!("[{}", told.replace("] ", "] v1/configmaps/"))));
}

#[tokio::test]
async fn what_a_source_told_before_its_versions_began_anew_is_not_told_again() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let (arrive, arrivals) = mpsc::channel(1);
    let (cursor, current) = ("900".into(), "100".into());
    let restored = ApiError::Restored { resource: "v1/configmaps".into(), cursor, current };
    let before = [
        Event::Resumed,
        change(Operation::Create, body("a", 900, "web")),
        Event::Failed(restored),
        listed(vec![body("b", 99, "web")]),
        change(Operation::Create, body("c", 105, "web")),
    ];
    let back = Scripted::new("s", [Event::Resumed, change(Operation::Create, body("d", 110, "web"))]).then_waits();
    let enough = async {
        let mut again = tokio::time::interval(Duration::from_millis(1));
        while subjects(&sink).last().is_none_or(|last| last != "[CREATE] v1/configmaps/c") {
            again.tick().await;
        }
        arrive.send(Arrival::Gone { source: "s".into(), is_served: true }).await.unwrap();
        arrive.send(Arrival::New(Box::new(back))).await.unwrap();
        while subjects(&sink).last().is_none_or(|last| last != "[CREATE] v1/configmaps/d") {
            again.tick().await;
        }
    };
    let sources: Vec<Box<dyn Source>> = vec![Box::new(Scripted::new("s", before).then_waits())];
    tokio::time::timeout(Duration::from_secs(10), reverser.run(sources, arrivals, enough)).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_comes_up_later_is_a_commit_an_object() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let (arrive, arrivals) = mpsc::channel(1);
    let source = Scripted::new("new", [listed(vec![body("a", 1, "web"), body("b", 2, "web")])]).then_waits();
    arrive.send(Arrival::New(Box::new(source))).await.unwrap();
    let enough = async {
        let mut again = tokio::time::interval(Duration::from_millis(1));
        while sink.commits().len() < 2 {
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reverser.run(vec![], arrivals, enough)).await.unwrap().unwrap();
    assert_eq!(subjects(&sink), ["[CREATE] v1/configmaps/a", "[CREATE] v1/configmaps/b"]);
}

#[tokio::test]
async fn a_recorded_change_carries_its_user_and_reason() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let Event::Change { change, .. } = change(Operation::Create, body("a", 1, "web")) else { unreachable!() };
    reverser.record(change.by(Actor::user("portal-user")).because("asked for in the portal")).await.unwrap();
    let commit = &sink.commits()[0].plan;
    assert_eq!(commit.author.as_ref().unwrap().name(), "portal-user");
    assert!(commit.message.contains("asked for in the portal") && commit.message.contains("Reverser-Evidence: host"));
}

#[tokio::test]
async fn a_source_that_may_not_be_listed_keeps_nothing_else_from_the_first_sync() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let refused = Event::Failed(ApiError::NotServed { resource: "x/v1/y".into() });
    let mut sources: Vec<Box<dyn Source>> = vec![
        Box::new(Scripted::new("bad", [refused])),
        Box::new(Scripted::new("good", [listed(vec![body("a", 1, "web")])])),
    ];
    let failed = reverser.sync(&mut sources).await.unwrap();
    assert_eq!(failed.failed.keys().collect::<Vec<_>>(), ["bad"]);
    assert_eq!(subjects(&sink), ["[SYNC] 1 object"]);
}

/// What `sink` remembers of the source `s`.
async fn position(sink: &MemorySink) -> Option<String> {
    sink.cursors().await.unwrap().remove("s")
}

#[tokio::test]
async fn a_held_sweep_is_asked_about_again_whatever_comes_after_it() {
    let all: Vec<_> = (0..30).map(|number| body(&format!("n{number}"), 1, "web")).collect();
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    run(&reverser, &sink, Scripted::new("s", [listed(all)]), 1).await;
    assert_eq!(position(&sink).await.as_deref(), Some("100"));
    let source = Scripted::new("s", [listed(vec![]), change(Operation::Create, body("new", 102, "web"))]);
    run(&reverser, &sink, source, 2).await;
    assert_eq!(position(&sink).await, None);
    assert_eq!(sink.list(None).await.unwrap().len(), 31);
}

/// Lists `kept` and `gone`; the API goes, and comes back with `kept` and `new`. Returns once there are so many commits.
async fn goes_and_comes_back(reverser: &Reverser, sink: &MemorySink, commits: usize) {
    run(reverser, sink, Scripted::new("s", [listed(vec![body("kept", 1, "web"), body("gone", 2, "web")])]), 1).await;
    let (arrive, arrivals) = mpsc::channel(1);
    let back = Scripted::new("s", [listed(vec![body("kept", 1, "web"), body("new", 3, "web")])]).then_waits();
    arrive.send(Arrival::New(Box::new(back))).await.unwrap();
    let swept = async {
        let mut again = tokio::time::interval(Duration::from_millis(1));
        while sink.commits().len() < commits {
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reverser.run(vec![], arrivals, swept)).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_api_that_comes_back_loses_what_was_deleted_meanwhile() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    goes_and_comes_back(&reverser, &sink, 3).await;
    assert_eq!(subjects(&sink)[1..], ["[CREATE] v1/configmaps/new", "[SYNC] 0 objects, 1 removed"]);
}

#[tokio::test]
async fn what_is_listed_since_history_was_lost_was_not_made_since_its_api_went() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    run(&reverser, &sink, Scripted::new("s", [listed(vec![body("a", 1, "web"), body("b", 2, "web")])]), 1).await;
    let (arrive, arrivals) = mpsc::channel(1);
    let lost = Event::Gap(Gap::Lost { from: "100".into(), until: Some("104".into()), why: "etcd was compacted" });
    let all = listed(vec![body("a", 103, "api"), body("b", 104, "api")]);
    let back = Scripted::new("s", [Event::Resumed, lost, all]).then_waits();
    arrive.send(Arrival::New(Box::new(back))).await.unwrap();
    let synced = async {
        let mut again = tokio::time::interval(Duration::from_millis(1));
        while sink.commits().len() < 2 {
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reverser.run(vec![], arrivals, synced)).await.unwrap().unwrap();
    assert_eq!(subjects(&sink)[1..], ["[SYNC] 2 objects"]);
}

/// A list of so many Widgets in version v1, where Git has 30 of an earlier version.
async fn listed_in_another_version(widgets: usize) -> (MemorySink, SyncGaps) {
    let sink = MemorySink::new();
    let old = (0..30).map(|number| Edit::Put {
        path: format!("example.com/v1alpha1/widgets/shop/w-{number}.yaml").parse().unwrap(),
        content: format!(
            "apiVersion: example.com/v1alpha1\nkind: Widget\nmetadata:\n  name: w-{number}\n  namespace: shop\n"
        )
        .into_bytes(),
    });
    let somebodys = Edit::Put { path: "example.com/v1alpha1/README.md".parse().unwrap(), content: b"x".to_vec() };
    let edits = old.chain([somebodys]).collect();
    let plan = CommitPlan { author: None, date: Timestamp::UNIX_EPOCH, message: "old".into(), edits };
    sink.commit(Batch { plans: vec![plan], cursors: BTreeMap::new() }).await.unwrap();
    let reverser = Reverser::new(sink.clone()).build();
    let list = Event::Listed(Listed {
        resource: Arc::new(Resource::new("example.com", "v1", "Widget", "widgets")),
        namespace: None,
        objects: (0..widgets).map(|number| body(&format!("w-{number}"), 1, "web")).collect(),
        cursor: "100".into(),
    });
    let gaps = reverser.sync(&mut [Box::new(Scripted::new("s", [list]))]).await.unwrap();
    (sink, gaps)
}

#[tokio::test]
async fn files_of_whatever_version_move_to_the_listed_one_in_one_commit() {
    let (sink, gaps) = listed_in_another_version(30).await;
    let files = sink.list(None).await.unwrap();
    let in_version = |version: &str| files.iter().filter(|path| path.as_str().contains(version)).count();
    assert_eq!((in_version("/v1/widgets/"), in_version("v1alpha1"), gaps.held.len()), (30, 1, 0));
    assert_eq!(subjects(&sink).len(), 2);
}

#[tokio::test]
async fn what_a_change_of_version_loses_counts_for_the_limit() {
    let (sink, gaps) = listed_in_another_version(3).await;
    assert_eq!((gaps.held.len(), sink.list(None).await.unwrap().len()), (1, 31), "27 of 30 have no object any more");
}

#[tokio::test]
async fn what_is_deleted_with_the_version_that_was_recorded_last_is_deleted() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    for operation in [Operation::Create, Operation::Delete] {
        let Event::Change { change, .. } = change(operation, body("a", 5, "web")) else { unreachable!() };
        assert!(matches!(reverser.record(change).await.unwrap(), Recorded::Planned(_)));
    }
    assert!(sink.list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_controller_has_recorded_is_not_told_again_by_a_watch() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    for version in [101, 102] {
        let Event::Change { change, .. } = change(Operation::Update, body("a", version, "web")) else { unreachable!() };
        reverser.record(change.by(Actor::user("portal-user"))).await.unwrap();
    }
    let late = [101, 102].map(|version| change(Operation::Update, body("a", version, "web")));
    let then = change(Operation::Create, body("b", 103, "web"));
    let source = Scripted::new("s", std::iter::once(Event::Resumed).chain(late).chain([then]));
    run(&reverser, &sink, source, 3).await;
    assert_eq!(subjects(&sink), ["[UPDATE] v1/configmaps/a", "[UPDATE] v1/configmaps/a", "[CREATE] v1/configmaps/b"]);
}

#[tokio::test]
async fn an_object_that_leaves_and_comes_back_at_once_is_there_again() {
    let sink = MemorySink::new();
    let selector = reverser_core::Selector { labels: "app=web".parse().unwrap(), ..Default::default() };
    let reverser = Reverser::new(sink.clone()).pipeline(Pipeline { selector, ..Pipeline::default() }).build();
    let same = |version: u32, label: &str| {
        let mut body = body("a", version, label);
        body["data"] = json!({"key": "value"});
        body
    };
    // One batch: nothing ends it in between.
    let mut source = Scripted::new(
        "s",
        [
            change(Operation::Create, same(1, "web")),
            change(Operation::Update, same(2, "api")),
            change(Operation::Update, same(3, "web")),
        ],
    );
    reverser.drain(&mut source).await.unwrap();
    assert_eq!(sink.list(None).await.unwrap(), ["v1/configmaps/shop/a.yaml".parse::<RepoPath>().unwrap()]);
    assert_eq!(subjects(&sink).len(), 3, "created, left, came back");
}

#[tokio::test]
async fn a_change_back_right_after_a_list_is_written() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let with = |version: u32, value: &str| {
        let mut body = body("a", version, "web");
        body["data"] = json!({"key": value});
        body
    };
    let mut source = Scripted::new(
        "s",
        [
            change(Operation::Create, with(1, "one")),
            listed(vec![with(99, "two")]),
            change(Operation::Update, with(101, "one")),
        ],
    );
    reverser.drain(&mut source).await.unwrap();
    let file = sink.read(&"v1/configmaps/shop/a.yaml".parse().unwrap()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&file).contains("key: one"), "{}", String::from_utf8_lossy(&file));
    assert_eq!(sink.cursors().await.unwrap()["s"], "101");
}

fn filtered(sink: &MemorySink, only: &[&str], except: &[&str]) -> ReverserBuilder {
    let filters = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let selector = reverser_core::Selector { only: filters(only), except: filters(except), ..Default::default() };
    Reverser::new(sink.clone()).pipeline(Pipeline { selector, ..Pipeline::default() })
}

/// Knows that the bot wrote the even versions, Alice those that a three divides, and nothing of the others.
#[derive(Debug)]
struct ByVersion;

impl ActorSource for ByVersion {
    fn attribute(&self, change: &Change) -> Attribution {
        let version: u32 = change.resource_version.as_ref().unwrap().parse().unwrap();
        let actor = match version {
            even if even % 2 == 0 => Actor::user("bot"),
            third if third % 3 == 0 => Actor::user("alice"),
            _ => return Attribution::Unknown,
        };
        Attribution::known(actor, Evidence::Audit)
    }
}

#[tokio::test]
async fn a_change_by_a_user_who_is_left_out_makes_no_commit_and_the_next_recorded_one_brings_it() {
    let sink = MemorySink::new();
    let reverser = filtered(&sink, &[], &["user=bot"]).actors(ByVersion).build();
    let with = |version: u32, value: &str| {
        let mut body = body("a", version, "web");
        body["data"] = json!({"key": value});
        body
    };
    let mut source = Scripted::new(
        "s",
        [
            change(Operation::Create, with(3, "alice's")),
            change(Operation::Update, with(4, "the bot's")),
            // Of its status, say: nothing that is Alice's to be author of.
            change(Operation::Update, with(5, "the bot's")),
            // Back to what Git has: nothing was written in between.
            change(Operation::Update, with(9, "alice's")),
            change(Operation::Update, with(10, "the bot's")),
            // By nobody knows whom, and with something else: what the bot did comes with it.
            change(Operation::Update, {
                let mut body = with(11, "the bot's");
                body["metadata"]["labels"]["more"] = "1".into();
                body
            }),
            change(Operation::Delete, with(14, "the bot's")),
        ],
    );
    assert_eq!(reverser.drain(&mut source).await.unwrap(), 2);
    assert_eq!(subjects(&sink), ["[CREATE] v1/configmaps/a", "[UPDATE] v1/configmaps/a"]);
    let file = sink.read(&"v1/configmaps/shop/a.yaml".parse().unwrap()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&file).contains("the bot's"), "{}", String::from_utf8_lossy(&file));
    assert_eq!(position(&sink).await.as_deref(), Some("14"), "what makes no commit has been read all the same");
    // The complete list knows nothing of users: what the bot deleted goes.
    reverser.sync(&mut [Box::new(Scripted::new("s", [listed(vec![])]))]).await.unwrap();
    assert!(sink.list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_what_is_asked_for_is_recorded_of_users_and_operations() {
    let sink = MemorySink::new();
    let reverser = filtered(&sink, &["user=alice operation=create|update"], &[]).actors(ByVersion).build();
    let script = [
        listed(vec![body("listed", 1, "web")]),
        change(Operation::Create, body("a", 102, "web")),
        change(Operation::Create, body("b", 103, "web")),
        change(Operation::Create, body("c", 105, "web")),
        change(Operation::Delete, body("c", 111, "web")),
        change(Operation::Update, body("b", 117, "web")),
    ];
    run(&reverser, &sink, Scripted::new("s", script), 3).await;
    assert_eq!(subjects(&sink), ["[SYNC] 1 object", "[CREATE] v1/configmaps/c", "[UPDATE] v1/configmaps/b"]);
}

#[tokio::test]
async fn a_recorder_hears_that_its_change_was_left_out_and_the_file_stays() {
    let sink = MemorySink::new();
    let reverser = filtered(&sink, &["user=alice"], &["operation=delete"]).build();
    let by = |user: Option<&str>, operation, version| {
        let Event::Change { change, .. } = change(operation, body("a", version, "web")) else { unreachable!() };
        match user {
            Some(user) => change.by(Actor::user(user)),
            None => change,
        }
    };
    let left = Recorded::Left(LeftOut::NotThisChange);
    assert_eq!(reverser.record(by(Some("bob"), Operation::Create, 1)).await.unwrap(), left);
    assert_eq!(reverser.record(by(None, Operation::Create, 1)).await.unwrap(), left);
    assert_eq!(reverser.record(by(Some("alice"), Operation::Update, 1)).await.unwrap(), Recorded::Known, "not hers");
    let recorded = reverser.record(by(Some("alice"), Operation::Update, 2)).await.unwrap();
    assert!(matches!(recorded, Recorded::Planned(_)), "{recorded:?}");
    assert_eq!(reverser.record(by(Some("alice"), Operation::Delete, 3)).await.unwrap(), left);
    assert_eq!(sink.list(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_api_that_comes_back_keeps_files_whose_creation_is_not_recorded_again() {
    let sink = MemorySink::new();
    let reverser = filtered(&sink, &[], &["operation=create"]).build();
    goes_and_comes_back(&reverser, &sink, 2).await;
    assert_eq!(subjects(&sink)[1..], ["[SYNC] 0 objects, 1 removed"]);
    assert_eq!(sink.list(None).await.unwrap(), ["v1/configmaps/shop/kept.yaml".parse::<RepoPath>().unwrap()]);
}

#[tokio::test]
async fn an_object_that_comes_to_have_an_owner_leaves_and_what_vanished_is_swept() {
    let sink = MemorySink::new();
    let reverser = filtered(&sink, &[], &["owner=*"]).build();
    let owned = |name: &str, version| {
        let mut body = body(name, version, "web");
        body["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "o"}]);
        body
    };
    let first = listed(vec![body("a", 1, "web"), body("b", 2, "web"), body("c", 3, "web"), owned("d", 4)]);
    let adopted = change(Operation::Update, owned("a", 101));
    run(&reverser, &sink, Scripted::new("s", [first, adopted]), 2).await;
    assert!(sink.commits().last().unwrap().plan.message.contains("no longer selected"));
    // While nobody watched b was adopted and c deleted.
    let later = listed(vec![owned("a", 101), owned("b", 102), owned("d", 4), body("e", 105, "web")]);
    reverser.sync(&mut [Box::new(Scripted::new("s", [later]))]).await.unwrap();
    assert_eq!(sink.list(None).await.unwrap(), ["v1/configmaps/shop/e.yaml".parse::<RepoPath>().unwrap()]);
}

/// Keeps what it is told of obstacles.
#[derive(Clone, Debug, Default)]
struct Obstacles(Arc<Mutex<Vec<String>>>);

impl Reporter for Obstacles {
    fn report(&self, notice: Notice<'_>) {
        if let Notice::Obstructed(obstructed) = notice {
            self.0.lock().unwrap().push(obstructed.to_string());
        }
    }
}

#[tokio::test]
async fn a_link_that_is_in_the_way_is_told_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, link) = (folder.path().join("plain"), folder.path().join("plain/v1"));
    let sink = reverser_git::DirectorySink::open(plain).await.unwrap();
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    let told = Obstacles::default();
    let reverser = Reverser::new(sink).reporter(told.clone()).build();
    let object = body("a", 1, "web");
    let reference = ObjectRef::of(&configmaps(), &object).unwrap();
    let change = Change::new(reference, Operation::Create, Some(object));
    let record = async || match reverser.record(change.clone()).await.unwrap() {
        Recorded::Planned(receipt) => receipt.outcomes,
        other => panic!("{other:?}"),
    };
    assert_eq!(record().await, [Outcome::Unchanged]);
    let text = told.0.lock().unwrap().join("; ");
    assert!(text.starts_with("v1/configmaps/shop/a.yaml is not written: v1 is a symbolic link"), "{text}");
    std::fs::remove_file(link).unwrap();
    assert_eq!(record().await, [Outcome::Written]);
}

/// Knows when something could not be committed.
#[derive(Clone, Debug, Default)]
struct Failures(Arc<tokio::sync::Notify>);

impl Reporter for Failures {
    fn report(&self, notice: Notice<'_>) {
        if let Notice::SinkFailed(_) = notice {
            self.0.notify_one();
        }
    }
}

#[tokio::test]
async fn what_cannot_be_committed_until_the_end_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Arc::new(reverser_git::MemorySigner::new());
    let writer = reverser_git::GitWriter::local(&folder.path().join("made")).unwrap().signer(signer.clone());
    let writer = writer.start().await.unwrap();
    let failures = Failures::default();
    let reverser = Reverser::new(writer.clone()).reporter(failures.clone()).build();
    let (_arrive, arrivals) = mpsc::channel(1);
    let events = [listed(vec![]), change(Operation::Create, body("a", 101, "web"))];
    let sources: Vec<Box<dyn Source>> = vec![Box::new(Scripted::new("s", events).then_waits())];
    signer.refuse();
    let shutdown = async {
        failures.0.notified().await;
        tokio::time::pause(); // nobody has to wait for the limit
    };
    let error = reverser.run(sources, arrivals, shutdown).await.unwrap_err();
    assert!(error.to_string().contains("the next start reads it again"), "{error}");
    assert_eq!(writer.cursors().await.unwrap().get("s").map(String::as_str), Some("100"));
}
