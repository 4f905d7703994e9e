use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{ObjectRef, Resource};

const INTERVAL: u64 = 60;

/// Who changes something: two service accounts, and somebody whose changes never wait.
fn actor(user: usize) -> Option<Actor> {
    [Some("system:serviceaccount:shop:a"), Some("system:serviceaccount:shop:b"), None][user].map(Actor::user)
}

#[derive(Debug, Default)]
struct Model {
    coalescer: Option<Coalescer<usize>>,
    now: u64,
    /// What came: object, user, operation, source, when.
    came: Vec<(usize, usize, Operation, usize, u64)>,
    /// What passed: index into `came`, how many it stands for, when.
    passed: Vec<(usize, u64, u64)>,
    /// The last position of each source: an index into `came`.
    positions: [Option<usize>; 2],
}

impl Model {
    fn new() -> Self {
        Self { coalescer: Some(Coalescer::new(Duration::from_secs(INTERVAL))), ..Self::default() }
    }

    fn step(&mut self, event: Event<usize>) {
        let coalescer = self.coalescer.as_mut().unwrap();
        for passed in coalescer.step(Duration::from_secs(self.now), event) {
            let (source, position) = match passed {
                Passed::Change { source, position, changes, item } => {
                    self.passed.push((item, changes, self.now));
                    (source, position)
                }
                Passed::Position { source, position } => (source, Some(position)),
            };
            if let Some(position) = position {
                let source = source.parse::<usize>().unwrap();
                let position = position.parse().unwrap();
                assert!(self.positions[source] < Some(position), "back, or twice");
                self.positions[source] = Some(position);
            }
        }
        self.assert_positions();
    }

    /// Lets so many seconds pass, with a tick whenever one is due.
    fn wait(&mut self, seconds: u64) {
        let until = self.now + seconds;
        while let Some(due) = self.coalescer.as_ref().unwrap().due().filter(|due| due.as_secs() <= until) {
            self.now = self.now.max(due.as_secs());
            self.step(Event::Tick);
        }
        self.now = until;
    }

    fn change(&mut self, object: usize, user: usize, operation: Operation, source: usize) {
        let item = self.came.len();
        self.came.push((object, user, operation, source, self.now));
        self.step(Event::Change(Arrived {
            path: format!("{object}.yaml").parse().unwrap(),
            operation,
            actor: actor(user),
            source: source.to_string().into(),
            position: Some(item.to_string()),
            item,
        }));
    }

    fn items(&self) -> Vec<usize> {
        self.passed.iter().map(|(item, ..)| *item).collect()
    }

    fn of(&self, object: usize) -> Vec<(usize, u64, u64)> {
        self.passed.iter().filter(|(item, ..)| self.came[*item].0 == object).copied().collect()
    }

    /// What is before a position has passed, or something later of its object has come in its place.
    fn assert_positions(&self) {
        let passed = self.items();
        for (source, position) in self.positions.iter().enumerate() {
            let Some(position) = position else { continue };
            for (item, (object, _, _, of, _)) in self.came.iter().enumerate().take(position + 1) {
                let is_overtaken = self.came[item + 1..].iter().any(|(other, ..)| other == object);
                assert!(*of != source || is_overtaken || passed.contains(&item), "{item} waits before {position}");
            }
        }
    }

    fn assert_history(&self) {
        for object in 0..3 {
            let all: Vec<_> = (0..self.came.len()).filter(|item| self.came[*item].0 == object).collect();
            let passed = self.of(object);
            assert_eq!(passed.last().map(|(item, ..)| item), all.last(), "the last state is right");
            let mut rest = all.as_slice();
            for (item, changes, at) in &passed {
                let at_item = rest.iter().position(|other| other == item).expect("in their order, each once");
                assert_eq!(*changes, at_item as u64 + 1, "all are accounted for");
                let (stands_for, then) = rest.split_at(at_item + 1);
                rest = then;
                let user = self.came[*item].1;
                assert!(stands_for.iter().all(|other| self.came[*other].1 == user), "never across actors");
                let is_update = |other: &usize| self.came[*other].2 == Operation::Update;
                assert!(stands_for.len() == 1 || user < 2 && stands_for.iter().all(is_update));
                assert!(at - self.came[*item].4 <= INTERVAL, "waits are bounded");
            }
            for pair in passed.windows(2) {
                let ((one, _, before), (other, _, at)) = (pair[0], pair[1]);
                let (first, second) = (self.came[one], self.came[other]);
                let next = all.iter().find(|item| **item > other).map(|item| self.came[*item]);
                // What comes then may have ended the wait.
                let is_ended =
                    next.is_some_and(|next| (next.1, next.2) != (second.1, Operation::Update) && next.4 == at);
                let is_alike = first.1 == second.1 && second.1 < 2 && second.2 == Operation::Update;
                if is_alike && first.2 != Operation::Delete && !is_ended {
                    assert!(at - before >= INTERVAL, "{one} at {before}, {other} at {at}");
                }
            }
        }
    }
}

#[test]
fn the_first_change_passes_at_once_and_then_the_last_of_each_interval() {
    let mut model = Model::new();
    for _ in 0..130 {
        model.change(0, 0, Operation::Update, 0);
        model.wait(1);
    }
    model.wait(INTERVAL);
    assert_eq!(model.passed, [(0, 1, 0), (59, 59, 60), (119, 60, 120), (129, 10, 180)]);
    model.wait(INTERVAL);
    assert_eq!(model.coalescer.unwrap().objects.len(), 0, "what rests is forgotten");
}

#[test]
fn somebody_else_a_deletion_and_a_creation_end_the_wait() {
    for (user, operation) in
        [(1, Operation::Update), (2, Operation::Update), (0, Operation::Delete), (0, Operation::Create)]
    {
        let mut model = Model::new();
        for _ in 0..3 {
            model.change(0, 0, Operation::Update, 0);
        }
        model.wait(1);
        assert_eq!(model.items(), [0]);
        model.change(0, user, operation, 0);
        assert_eq!(model.passed, [(0, 1, 0), (2, 2, 1), (3, 1, 1)], "{user} {operation}");
        assert_eq!(model.positions[0], Some(3));
        // After a deletion, or somebody whose changes don't wait, the next is a first one.
        model.change(0, 0, Operation::Update, 0);
        let waits = operation == Operation::Create;
        assert_eq!(model.items().len(), if waits { 3 } else { 4 }, "{user} {operation}");
    }
}

#[test]
fn positions_stay_before_what_waits_and_those_of_other_sources_do_not() {
    let mut model = Model::new();
    model.change(0, 0, Operation::Update, 0);
    model.change(0, 0, Operation::Update, 0);
    model.change(1, 2, Operation::Update, 0);
    model.change(2, 2, Operation::Update, 1);
    assert_eq!((model.items(), model.positions), (vec![0, 2, 3], [Some(0), Some(3)]));
    // Another takes its place: what is before that has been dealt with.
    model.change(0, 0, Operation::Update, 0);
    assert_eq!(model.positions, [Some(2), Some(3)]);
    model.step(Event::Position { source: "0".into(), position: "9".into() });
    assert_eq!(model.positions, [Some(2), Some(3)]);
    assert_eq!(model.coalescer.as_ref().unwrap().waiting().collect::<Vec<_>>(), [&4]);
    model.step(Event::Flush);
    assert_eq!(model.coalescer.as_ref().unwrap().waiting().next(), None);
    assert_eq!((model.items(), model.positions), (vec![0, 2, 3, 4], [Some(9), Some(3)]));
}

#[test]
fn without_an_interval_and_beyond_the_bound_all_pass() {
    let mut model = Model { coalescer: Some(Coalescer::new(Duration::ZERO)), ..Model::default() };
    for _ in 0..3 {
        model.change(0, 0, Operation::Update, 0);
    }
    assert_eq!(model.items(), [0, 1, 2]);
    let mut model = Model::new();
    for object in (0..=OBJECTS).chain([0, OBJECTS]) {
        let path = format!("{object}.yaml").parse().unwrap();
        let (source, position) = ("0".into(), None);
        let operation = Operation::Update;
        model.came.push((object, 0, operation, 0, 0));
        model.step(Event::Change(Arrived { path, operation, actor: actor(0), source, position, item: object }));
    }
    assert_eq!(model.items()[OBJECTS..], [OBJECTS, OBJECTS], "the first one waits, the one too many doesn't");
}

#[test]
fn filters_say_which_objects_and_which_service_accounts() {
    let body = json!({"metadata": {"name": "web", "labels": {"app": "web"}}});
    let resource = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps"));
    let object = ObjectRef::of(&resource, &body).unwrap();
    let change = |body| Change::new(object.clone(), Operation::Update, body);
    let bot = Actor::user("system:serviceaccount:shop:bot");
    let takes = |only: &[&str], body: Option<&serde_json::Value>| {
        let only = only.iter().map(|filter| filter.parse().unwrap()).collect();
        let coalescing = Coalescing { interval: Duration::from_secs(1), only };
        let taken = coalescing.takes(&change(body.cloned()));
        assert!(!coalescing.is_by(&taken, Some(&Actor::user("system:node:a"))), "no service account");
        coalescing.is_by(&taken, Some(&bot))
    };
    for (only, is_taken) in [
        (&[][..], true),
        (&["name=web"], true),
        (&["name=db", "label=app"], true),
        (&["name=db", "user=*:bank:*"], false),
        (&["user=*:shop:* name=web"], true),
        (&["user!=*:shop:*"], false),
    ] {
        assert_eq!(takes(only, Some(&body)), is_taken, "{only:?}");
    }
    assert!(!takes(&["label=app"], None), "what isn't known isn't taken");
    let off = Coalescing::default();
    assert!(!off.is_by(&off.takes(&change(None)), Some(&bot)));
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, Operation, usize, u64)>> {
    let operation = prop_oneof![
        8 => Just(Operation::Update),
        1 => Just(Operation::Create),
        1 => Just(Operation::Delete)
    ];
    // An object has one source.
    let step = (0_usize..3, prop_oneof![4 => Just(0), 1 => Just(1), 1 => Just(2_usize)], operation, 0_u64..40);
    prop::collection::vec(
        step.prop_map(|(object, user, operation, wait)| (object, user, operation, object % 2, wait)),
        0..60,
    )
}

proptest! {
    #[test]
    fn the_last_state_passes_in_time_in_order_and_by_one_actor(steps in steps()) {
        let mut model = Model::new();
        for (object, user, operation, source, wait) in steps {
            model.change(object, user, operation, source);
            model.wait(wait);
        }
        model.wait(INTERVAL);
        model.assert_history();
        let last = |source| (0..model.came.len()).rev().find(|item| model.came[*item].3 == source);
        prop_assert_eq!(model.positions, [last(0), last(1)], "all has passed");
    }

    #[test]
    fn a_flush_lets_all_pass(steps in steps()) {
        let mut model = Model::new();
        for (object, user, operation, source, wait) in steps {
            model.change(object, user, operation, source);
            model.wait(wait / 8);
        }
        model.step(Event::Flush);
        prop_assert!(!model.coalescer.as_ref().unwrap().is_waiting());
        let last = |source| (0..model.came.len()).rev().find(|item| model.came[*item].3 == source);
        prop_assert_eq!(model.positions, [last(0), last(1)]);
    }
}
