use proptest::prelude::*;

use super::*;
use crate::{Actor, ObjectRef, Operation, Resource};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn gathered(user: Option<&str>, path: &str, number: usize) -> Gathered {
    let resource = Resource::new("", "v1", "ConfigMap", "configmaps").into();
    let object = ObjectRef { resource, namespace: None, name: path.into(), uid: None };
    let change = Change { resource_version: Some(number.to_string()), ..Change::new(object, Operation::Update, None) };
    let change = match user {
        Some(user) => change.by(Actor::user(user)),
        None => change,
    };
    let edit = Edit::Put { path: path.parse().unwrap(), content: number.to_string().into() };
    Gathered { change, edit, source: "s".into(), position: Some(number.to_string()) }
}

/// Returns the groups as `user: versions of changes`, with the files that they write.
fn told(ready: &Ready) -> Vec<String> {
    let one = |group: &Group| {
        let user = group.changes[0].attribution.actor().map_or("-", |actor| &actor.name);
        let versions: Vec<_> = group.changes.iter().filter_map(|change| change.resource_version.as_deref()).collect();
        let paths: Vec<_> = group.edits.iter().map(|edit| edit.path().as_str()).collect();
        format!("{user}: {} in {}", versions.join(" "), paths.join(" "))
    };
    ready.groups.iter().map(one).collect()
}

/// What happens, and what is ready then.
fn table(batching: Batching, rows: &[(u64, &str, &[&str])]) {
    let mut batcher = Batcher::new(batching);
    for (number, (now, event, expected)) in rows.iter().enumerate() {
        let event = match event.split_once(' ') {
            Some(("-", path)) => Event::Change(gathered(None, path, number).into()),
            Some(("position", source)) => Event::Position { source: source.into(), position: number.to_string() },
            Some((user, path)) => Event::Change(gathered(Some(user), path, number).into()),
            None if *event == "flush" => Event::Flush,
            None => Event::Tick,
        };
        let ready = batcher.step(seconds(*now), event);
        let positions = ready.positions.iter().map(|(source, position)| format!("{source} at {position}"));
        let said: Vec<_> = told(&ready).into_iter().chain(positions).collect();
        assert_eq!(said, *expected, "row {number} of {batching:?}");
    }
}

fn of(grouping: Grouping) -> Batching {
    Batching { quiet: seconds(2), max_age: seconds(5), ..Batching::new(grouping) }
}

#[test]
fn by_default_each_change_is_ready_at_once() {
    table(
        Batching::default(),
        &[
            (0, "tick", &[]),
            (0, "flush", &[]),
            (1, "alice a", &["alice: 2 in a", "s at 2"]),
            (1, "alice a", &["alice: 3 in a", "s at 3"]),
            (1, "position s", &["s at 4"]),
            (1, "flush", &[]),
        ],
    );
}

#[test]
fn changes_with_a_quiet_time_leave_together_and_stay_commits_of_their_own() {
    table(
        of(Grouping::Change),
        &[
            (0, "alice a", &[]),
            (1, "alice a", &[]),
            (1, "position s", &[]),
            (1, "position other", &["other at 3"]),
            (2, "tick", &[]),
            (3, "tick", &["alice: 0 in a", "alice: 1 in a", "s at 2"]),
            (9, "tick", &[]),
        ],
    );
}

#[test]
fn an_actors_changes_become_one_commit_with_the_last_state_of_each_file() {
    table(
        of(Grouping::Actor),
        &[
            (0, "alice a", &[]),
            (0, "bob b", &[]),
            (1, "- c", &[]),
            (1, "alice d", &[]),
            (1, "alice a", &[]),
            (2, "- e", &[]),
            (4, "tick", &["alice: 0 3 4 in d a", "bob: 1 in b", "-: 2 5 in c e", "s at 5"]),
        ],
    );
}

#[test]
fn an_actor_who_comes_back_to_what_another_changed_begins_another_commit() {
    table(
        of(Grouping::Actor),
        &[
            (0, "alice a", &[]),
            (0, "bob a", &[]),
            (0, "alice b", &[]),
            (1, "alice a", &[]),
            (1, "alice c", &[]),
            (1, "bob a", &[]),
            (1, "bob c", &[]),
            (9, "tick", &["alice: 0 2 in a b", "bob: 1 in a", "alice: 3 4 in a c", "bob: 5 6 in a c", "s at 6"]),
        ],
    );
}

#[test]
fn an_interval_is_one_commit_by_all() {
    table(
        of(Grouping::Interval),
        &[
            (0, "alice a", &[]),
            (1, "bob a", &[]),
            (2, "- b", &[]),
            (2, "flush", &["alice: 0 1 2 in a b", "s at 2"]),
            (2, "alice a", &[]),
            (9, "tick", &["alice: 4 in a", "s at 4"]),
        ],
    );
}

#[test]
fn a_window_ends_at_its_maximum_age_although_it_is_never_quiet() {
    table(
        of(Grouping::Actor),
        &[
            (0, "alice a", &[]),
            (1, "alice b", &[]),
            (2, "alice c", &[]),
            (3, "alice d", &[]),
            (4, "alice e", &[]),
            (4, "tick", &[]),
            (5, "tick", &["alice: 0 1 2 3 4 in a b c d e", "s at 4"]),
        ],
    );
}

#[test]
fn a_change_that_comes_late_begins_a_window_also_when_nobody_looked_at_the_clock() {
    table(of(Grouping::Actor), &[(0, "alice a", &[]), (2, "alice b", &["alice: 0 in a", "s at 0"]), (3, "tick", &[])]);
}

#[test]
fn a_window_ends_when_it_is_full() {
    let two = NonZeroUsize::new(2).unwrap();
    let count = Batching { max_changes: two, ..of(Grouping::Interval) };
    table(count, &[(0, "alice a", &[]), (0, "bob b", &["alice: 0 1 in a b", "s at 1"]), (0, "bob c", &[])]);
    // A path and a digit are two bytes; the last change has more than the limit.
    let size = Batching { max_bytes: NonZeroUsize::new(5).unwrap(), ..of(Grouping::Interval) };
    table(
        size,
        &[
            (0, "alice a", &[]),
            (0, "alice b", &[]),
            (0, "alice c", &["alice: 0 1 in a b", "s at 1"]),
            (0, "alice large", &["alice: 2 in c", "alice: 3 in large", "s at 3"]),
        ],
    );
}

#[test]
fn time_that_goes_back_only_delays() {
    table(
        of(Grouping::Actor),
        &[(9, "alice a", &[]), (1, "tick", &[]), (1, "alice b", &[]), (11, "tick", &["alice: 0 2 in a b", "s at 2"])],
    );
}

/// One of: a change, a position, a flush, or only time.
#[derive(Clone, Debug)]
enum Happening {
    Change { user: u8, path: u8, source: u8, bytes: usize },
    Flush,
    Position { source: u8 },
    Wait,
}

fn happenings() -> impl Strategy<Value = Vec<(u64, Happening)>> {
    let what = prop_oneof![
        6 => (0..3u8, 0..4u8, 0..3u8, 0..40usize)
            .prop_map(|(user, path, source, bytes)| Happening::Change { user, path, source, bytes }),
        2 => (0..3u8).prop_map(|source| Happening::Position { source }),
        1 => Just(Happening::Flush),
        2 => Just(Happening::Wait),
    ];
    prop::collection::vec((0..400u64, what), 0..60)
}

fn batchings() -> impl Strategy<Value = Batching> {
    (0..3usize, 0..600u64, 0..2_000u64, 1..12usize, 1..200usize).prop_map(|(grouping, quiet, age, changes, bytes)| {
        Batching {
            grouping: Grouping::ALL[grouping],
            quiet: Duration::from_millis(quiet),
            max_age: Duration::from_millis(age),
            max_changes: NonZeroUsize::new(changes).unwrap(),
            max_bytes: NonZeroUsize::new(bytes).unwrap(),
        }
    })
}

/// A change as it was handed in.
#[derive(Debug)]
struct Sent {
    at: Duration,
    source: String,
    position: usize,
    user: Option<String>,
    edit: Edit,
}

/// What would be in Git, and what has to be true of it.
#[derive(Default)]
struct Model {
    sent: Vec<Sent>,
    /// Numbers of the changes in the order in which they were committed.
    committed: Vec<usize>,
    positions: BTreeMap<String, usize>,
}

impl Model {
    /// Commits what is ready, and looks at everything that is promised of each step.
    fn commit(&mut self, batching: &Batching, now: Duration, ready: &Ready) -> Result<(), TestCaseError> {
        for group in &ready.groups {
            let numbers: Vec<usize> =
                group.changes.iter().map(|change| change.resource_version.as_ref().unwrap().parse().unwrap()).collect();
            let sent: Vec<_> = numbers.iter().map(|number| &self.sent[*number]).collect();
            let bytes_of: usize = sent.iter().map(|sent| bytes(&sent.edit)).sum();
            prop_assert!(!numbers.is_empty() && numbers.len() <= batching.max_changes.get());
            prop_assert!(numbers.len() == 1 || bytes_of <= batching.max_bytes.get());
            prop_assert!(numbers.len() == 1 || batching.grouping != Grouping::Change);
            let is_by_one = sent.iter().all(|one| one.user == sent[0].user);
            prop_assert!(is_by_one || batching.grouping == Grouping::Interval);
            for one in &sent {
                prop_assert!(now - one.at <= batching.max_age, "{one:?} is committed at {now:?}");
                let last = sent.iter().rfind(|other| other.edit.path() == one.edit.path()).unwrap();
                prop_assert!(group.edits.contains(&last.edit), "the last state of each file is written");
            }
            let paths: BTreeSet<_> = group.edits.iter().map(Edit::path).collect();
            prop_assert_eq!(paths.len(), group.edits.len(), "one edit a file");
            self.committed.extend(numbers);
        }
        for (source, position) in &ready.positions {
            let position = position.parse().unwrap();
            let before = self.positions.insert(source.clone(), position);
            prop_assert!(before <= Some(position), "a position never goes back");
        }
        // What a crash right here would do: read on behind the positions.
        for (number, sent) in self.sent.iter().enumerate() {
            let is_behind = self.positions.get(&sent.source).is_some_and(|position| sent.position <= *position);
            let times = self.committed.iter().filter(|committed| **committed == number).count();
            prop_assert_eq!(times, usize::from(is_behind), "lost or doubled: {:?}", sent);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_or_reordered_and_nothing_waits_too_long(batching in batchings(), happenings in happenings()) {
        let mut batcher = Batcher::new(batching);
        let mut model = Model::default();
        let (mut now, mut position) = (Duration::ZERO, 0);
        for (pause, happening) in happenings {
            let next = now + Duration::from_millis(pause);
            // As its owner does it: a tick when it is due.
            while let Some(due) = batcher.due().filter(|due| *due <= next) {
                prop_assert!(due >= now);
                now = due;
                let ready = batcher.step(now, Event::Tick);
                prop_assert!(!ready.groups.is_empty(), "due, and nothing was ready");
                model.commit(&batching, now, &ready)?;
            }
            now = next;
            position += 1;
            let event = match happening {
                Happening::Change { user, path, source, bytes } => {
                    let number = model.sent.len();
                    let user = (user > 0).then(|| format!("user-{user}"));
                    let mut gathered = gathered(user.as_deref(), &format!("p{path}"), number);
                    gathered.source = format!("s{source}").into();
                    gathered.position = Some(position.to_string());
                    let content = format!("{number}{}", "x".repeat(bytes));
                    gathered.edit = Edit::Put { path: gathered.edit.path().clone(), content: content.into() };
                    let (source, edit) = (gathered.source.to_string(), gathered.edit.clone());
                    model.sent.push(Sent { at: now, source, position, user, edit });
                    Event::Change(gathered.into())
                }
                Happening::Flush => Event::Flush,
                Happening::Position { source } => {
                    Event::Position { source: format!("s{source}").into(), position: position.to_string() }
                }
                Happening::Wait => Event::Tick,
            };
            let is_flush = matches!(event, Event::Flush);
            let ready = batcher.step(now, event);
            model.commit(&batching, now, &ready)?;
            prop_assert!(!is_flush || batcher.due().is_none());
            prop_assert!(batcher.due().is_none_or(|due| due > now), "due, and nothing was ready");
        }
        let ready = batcher.step(now, Event::Flush);
        model.commit(&batching, now, &ready)?;
        let mut all = model.committed.clone();
        all.sort_unstable();
        prop_assert_eq!(all, (0..model.sent.len()).collect::<Vec<_>>(), "each change once");
        for path in 0..4 {
            let path: RepoPath = format!("p{path}").parse().unwrap();
            let of_path = model.committed.iter().filter(|number| *model.sent[**number].edit.path() == path);
            prop_assert!(of_path.is_sorted(), "the states of a file in their order");
        }
    }
}
