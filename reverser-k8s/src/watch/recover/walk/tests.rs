//! What is recovered, compared with what happened, in a model of etcd.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// What one revision did to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    revision: u64,
    operation: Operation,
    name: u8,
    uid: u64,
    /// After it; of a deletion before it.
    body: String,
}

/// All that ever happened, and how much of it is still known.
#[derive(Debug, Default)]
struct Etcd {
    events: Vec<Event>,
    /// Of other resources' objects, too.
    latest: u64,
    /// What is before it is forgotten.
    compacted: Mutex<u64>,
    /// After so many more reads it is compacted up to there.
    compact_later: Mutex<Option<(usize, u64)>>,
    reads: Mutex<usize>,
}

#[derive(Clone, Debug)]
enum Deed {
    /// Creates the object, updates it, or, terminating, takes its last finalizer, which removes it.
    Write(u8),
    /// Deletes it; with a finalizer it terminates first.
    Delete { name: u8, has_finalizer: bool },
    /// Something elsewhere moves the revision.
    Elsewhere,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        5 => (0..5_u8).prop_map(Deed::Write),
        2 => (0..5_u8, any::<bool>()).prop_map(|(name, has_finalizer)| Deed::Delete { name, has_finalizer }),
        2 => Just(Deed::Elsewhere),
    ];
    prop::collection::vec(deed, 1..60)
}

impl Etcd {
    fn of(deeds: &[Deed]) -> Self {
        let mut etcd = Self { latest: 100, ..Self::default() };
        let mut alive: BTreeMap<u8, (u64, bool)> = BTreeMap::new();
        for deed in deeds {
            etcd.latest += 1;
            let revision = etcd.latest;
            let (name, operation) = match *deed {
                Deed::Elsewhere => continue,
                Deed::Write(name) => match alive.get(&name) {
                    None => (name, Operation::Create),
                    Some((_, false)) => (name, Operation::Update),
                    Some((_, true)) => (name, Operation::Delete),
                },
                Deed::Delete { name, has_finalizer } => match alive.get_mut(&name) {
                    None => continue,
                    Some((_, terminates @ false)) if has_finalizer => {
                        *terminates = true;
                        (name, Operation::Update)
                    }
                    Some(_) => (name, Operation::Delete),
                },
            };
            let (uid, terminates) = *alive.entry(name).or_insert((revision, false));
            let body = match operation {
                Operation::Delete => etcd.at(name, revision).expect("it is there").body.clone(),
                _ => json!({"uid": uid, "version": revision, "terminates": terminates}).to_string(),
            };
            if operation == Operation::Delete {
                alive.remove(&name);
            }
            etcd.events.push(Event { revision, operation, name, uid, body });
        }
        etcd
    }

    /// Returns the last event of an object, unless that is its deletion.
    fn at(&self, name: u8, revision: u64) -> Option<&Event> {
        let last = self.events.iter().rfind(|event| event.name == name && event.revision <= revision)?;
        (last.operation != Operation::Delete).then_some(last)
    }

    /// Returns the revision of what the same object was before a revision.
    fn replaced_by(&self, revision: u64) -> Option<u64> {
        let of = self.events.iter().find(|event| event.revision == revision)?;
        let before = self.events.iter().rfind(|event| event.uid == of.uid && event.revision < revision)?;
        Some(before.revision)
    }

    fn uids_at(&self, revision: u64) -> BTreeSet<u64> {
        (0..5).filter_map(|name| Some(self.at(name, revision)?.uid)).collect()
    }

    /// Returns what happened after a revision up to another, to objects that lived at one of `ends`.
    fn truth(&self, after: u64, until: u64, ends: &[u64]) -> Vec<Event> {
        let lived: BTreeSet<_> = ends.iter().flat_map(|end| self.uids_at(*end)).collect();
        let happened = self.events.iter().filter(|event| event.revision > after && event.revision <= until);
        happened.filter(|event| lived.contains(&event.uid)).cloned().collect()
    }

    fn count_read(&self) {
        *self.reads.lock().unwrap() += 1;
        let mut later = self.compact_later.lock().unwrap();
        match &mut *later {
            Some((0, revision)) => *self.compacted.lock().unwrap() = *revision,
            Some((reads, _)) => *reads -= 1,
            None => {}
        }
    }

    fn check(&self, revision: u64) -> Result<(), Unreadable> {
        self.count_read();
        if revision < *self.compacted.lock().unwrap() { Err(Unreadable::Forgotten) } else { Ok(()) }
    }
}

fn place(name: u8) -> Place {
    Place { namespace: Some("shop".into()), name: name.to_string().into() }
}

fn entry(event: &Event) -> Entry {
    Entry { uid: event.uid.to_string().into(), version: event.revision }
}

#[async_trait::async_trait]
impl History for Etcd {
    async fn list_at(&self, revision: Option<u64>) -> Result<Snapshot, Unreadable> {
        let revision = revision.unwrap_or(self.latest);
        self.check(revision)?;
        let entries = (0..5).filter_map(|name| Some((place(name), entry(self.at(name, revision)?)))).collect();
        Ok(Snapshot { revision, entries })
    }

    async fn get_at(&self, place: &Place, revision: u64) -> Result<Option<Version>, Unreadable> {
        self.check(revision)?;
        let event = self.at(place.name.parse().unwrap(), revision);
        Ok(event.map(|event| Version {
            entry: entry(event),
            created: second(event.uid),
            // Of three writes that follow each other, in the same second, one leaves a later time.
            written: second(event.revision / 3),
            body: RawValue::from_string(event.body.clone()).unwrap(),
        }))
    }

    async fn reaches(&self, revision: u64) -> Result<bool, Unreadable> {
        self.count_read();
        Ok(revision >= *self.compacted.lock().unwrap())
    }
}

fn second(second: u64) -> Option<Timestamp> {
    Timestamp::from_second(second.try_into().ok()?).ok()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// As the events of the model, but for names and uids, which steps have in their bodies alone.
fn told(steps: &[Step]) -> Vec<(u64, Operation, String)> {
    steps.iter().map(|step| (step.version, step.operation, step.body.get().to_owned())).collect()
}

fn happened(events: &[Event]) -> Vec<(u64, Operation, String)> {
    events.iter().map(|event| (event.revision, event.operation, event.body.clone())).collect()
}

const PLENTY: usize = 1 << 20;

fn steps_of(etcd: &Etcd, cursor: u64) -> Vec<Step> {
    match wait(read(etcd, cursor, &BTreeSet::new(), PLENTY)).unwrap() {
        Reading::Steps { steps, until, is_all } => {
            assert_eq!((until, is_all), (etcd.latest, true));
            for step in &steps {
                assert_eq!(step.replaced, etcd.replaced_by(step.version), "{step:?}");
            }
            steps
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn all_versions_of_what_lived_at_either_end_come_back_in_order(deeds in deeds(), back in 0..60_u64) {
        let etcd = Etcd::of(&deeds);
        let cursor = etcd.latest.saturating_sub(back).max(100);
        let truth = etcd.truth(cursor, etcd.latest, &[cursor, etcd.latest]);
        prop_assert_eq!(told(&steps_of(&etcd, cursor)), happened(&truth));
        if truth.is_empty() {
            prop_assert_eq!(*etcd.reads.lock().unwrap(), 2, "two lists and nothing else");
        }
    }

    /// A crash after any of the steps goes on behind it.
    #[test]
    fn reading_again_from_a_step_in_the_middle_gives_the_rest(deeds in deeds(), back in 0..60_u64, stop in any::<prop::sample::Index>()) {
        let etcd = Etcd::of(&deeds);
        let cursor = etcd.latest.saturating_sub(back).max(100);
        let steps = steps_of(&etcd, cursor);
        prop_assume!(!steps.is_empty());
        let (done, rest) = steps.split_at(stop.index(steps.len()) + 1);
        let middle = done[done.len() - 1].version;
        let again = told(&steps_of(&etcd, middle));
        // What came and went around it is seen from there.
        prop_assert_eq!(&again, &happened(&etcd.truth(middle, etcd.latest, &[middle, etcd.latest])));
        prop_assert!(told(rest).iter().all(|step| again.contains(step)));
    }

    #[test]
    fn with_little_memory_or_with_known_revisions_it_comes_in_parts_that_make_a_whole(
        deeds in deeds(), bytes in 0..2_000_usize, known in prop::collection::btree_set(90..180_u64, 0..4),
    ) {
        let etcd = Etcd::of(&deeds);
        let (mut cursor, mut told_so_far, mut ends) = (100, vec![], vec![100]);
        loop {
            let Reading::Steps { steps, until, is_all } = wait(read(&etcd, cursor, &known, bytes)).unwrap() else { panic!("steps") };
            prop_assert!(until > cursor || is_all);
            let held: usize = steps.iter().map(|step| step.body.get().len() + size_of::<Step>()).sum();
            prop_assert!(held <= bytes || until == cursor + 1, "{} bytes of {}", held, bytes);
            told_so_far.extend(told(&steps));
            cursor = until;
            ends.push(until);
            if is_all {
                break;
            }
        }
        prop_assert!(known.range(101..etcd.latest).all(|known| ends.contains(known)), "{:?} in {:?}", known, ends);
        prop_assert_eq!(told_so_far, happened(&etcd.truth(100, etcd.latest, &ends)));
    }

    #[test]
    fn a_compaction_at_any_time_gives_what_happened_or_the_oldest_state_never_something_else(
        deeds in deeds(), back in 0..60_u64, compacted in any::<prop::sample::Index>(), reads in 0..40_usize,
        known in prop::collection::btree_set(0..180_u64, 0..3),
    ) {
        let etcd = Etcd::of(&deeds);
        let cursor = etcd.latest.saturating_sub(back).max(100);
        let compacted = 101 + compacted.index(usize::try_from(etcd.latest - 100).unwrap()) as u64;
        *etcd.compact_later.lock().unwrap() = Some((reads, compacted));
        let mut from = cursor;
        let seen = Cell::new(false);
        loop {
            match wait(read(&etcd, from, &known, PLENTY)).unwrap() {
                Reading::Steps { steps, until, is_all } => {
                    prop_assert_eq!(until == etcd.latest, is_all);
                    prop_assert_eq!(told(&steps), happened(&etcd.truth(from, until, &[from, until])));
                    if is_all {
                        break;
                    }
                    from = until;
                }
                Reading::Forgotten { until } => {
                    prop_assert!(!seen.replace(true), "once compacted, once forgotten");
                    prop_assert_eq!(Some(until), known.range(..=etcd.latest).copied().chain([compacted]).max());
                    from = until;
                }
                Reading::Unsupported(why) => prop_assert!(false, "{}", why),
            }
        }
    }
}

#[test]
fn an_object_that_came_and_went_within_the_gap_is_not_seen() {
    let deeds = [Deed::Write(1), Deed::Elsewhere, Deed::Write(2), Deed::Delete { name: 2, has_finalizer: false }];
    let etcd = Etcd::of(&deeds);
    assert!(steps_of(&etcd, 101).is_empty());
    assert_eq!(steps_of(&etcd, 103).len(), 1, "its deletion alone, once its creation is known");
}

#[test]
fn of_three_objects_of_one_name_the_one_between_is_not_seen() {
    let delete = || Deed::Delete { name: 1, has_finalizer: false };
    let etcd = Etcd::of(&[Deed::Write(1), delete(), Deed::Write(1), delete(), Deed::Write(1)]);
    let told: Vec<_> = steps_of(&etcd, 101).iter().map(|step| (step.version, step.operation)).collect();
    assert_eq!(told, [(102, Operation::Delete), (105, Operation::Create)]);
}

#[test]
fn a_step_has_the_time_that_its_object_tells_and_none_when_it_may_be_anothers() {
    let delete = Deed::Delete { name: 1, has_finalizer: false };
    let etcd = Etcd::of(&[Deed::Elsewhere, Deed::Write(1), Deed::Write(1), Deed::Write(1), Deed::Write(1), delete]);
    let steps: Vec<_> = steps_of(&etcd, 102).iter().map(|step| (step.version, step.at)).collect();
    assert_eq!(steps, [(103, None), (104, None), (105, second(35)), (106, None)]);
    let etcd = Etcd::of(&[Deed::Write(1), Deed::Write(1)]);
    let steps: Vec<_> = steps_of(&etcd, 100).iter().map(|step| (step.version, step.at)).collect();
    assert_eq!(steps, [(101, second(101)), (102, second(34))]);
}

#[test]
fn a_cursor_of_the_future_is_another_history() {
    let etcd = Etcd::of(&[Deed::Write(1)]);
    assert!(matches!(wait(read(&etcd, 500, &BTreeSet::new(), PLENTY)).unwrap(), Reading::Unsupported(_)));
}

/// A server that answers with what is there now, whatever is asked for.
struct Careless(Etcd);

#[async_trait::async_trait]
impl History for Careless {
    async fn list_at(&self, _revision: Option<u64>) -> Result<Snapshot, Unreadable> {
        self.0.list_at(None).await
    }

    async fn get_at(&self, place: &Place, _revision: u64) -> Result<Option<Version>, Unreadable> {
        self.0.get_at(place, self.0.latest).await
    }

    async fn reaches(&self, _revision: u64) -> Result<bool, Unreadable> {
        Ok(true)
    }
}

#[test]
fn a_server_that_answers_with_the_present_is_not_believed() {
    let delete = Deed::Delete { name: 2, has_finalizer: false };
    for deeds in [vec![Deed::Write(1), Deed::Write(1), Deed::Write(1)], vec![Deed::Write(1), Deed::Write(2), delete]] {
        let reading = wait(read(&Careless(Etcd::of(&deeds)), 102, &BTreeSet::new(), PLENTY)).unwrap();
        assert!(matches!(reading, Reading::Unsupported(_)), "{reading:?}");
    }
}
