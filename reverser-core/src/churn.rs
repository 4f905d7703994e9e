//! Which objects change so often that somebody should know.
//!
//! ```text
//!          more than LIMIT changes within a minute
//!  Calm ───────────────────────────────────────────► Churning
//!    ▲                                                   │
//!    └───────────────────────────────────────────────────┘
//!          at most half as many within a minute
//! ```
//!
//! Each object's last changes are remembered, of a bounded number of objects: beyond it, the one that has been quiet for
//! longest is forgotten. No clock: the time is a parameter.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use crate::{Actor, Change, ObjectRef, RepoPath};

/// More changes than this within a [`MINUTE`] are churn.
const LIMIT: usize = 30;

const MINUTE: Duration = Duration::from_secs(60);

/// How many objects are remembered at most, up to 1 KiB each. One that churns changes every two seconds, so it is forgotten only
/// where more than 1,000 others change each second.
const OBJECTS: usize = 2_000;

/// Tells which objects churn: change more than 30 times a minute.
///
/// ```
/// use std::time::Duration;
///
/// use reverser_core::{Actor, Change, Churn, ObjectRef, Operation, Resource, churn::Verdict};
///
/// let resource = Resource::new("", "v1", "ConfigMap", "configmaps").into();
/// let object = ObjectRef { resource, namespace: Some("shop".into()), name: "leader".into(), uid: None };
/// let change = Change::new(object, Operation::Update, None).by(Actor::user("system:serviceaccount:shop:bot"));
/// let path = "v1/configmaps/shop/leader.yaml".parse()?;
///
/// let mut churn = Churn::default();
/// let second = Duration::from_secs;
/// let told: Vec<_> = (0..40).filter_map(|now| churn.changed(second(now), &path, &change)).collect();
/// let [Verdict::Began { per_minute: 60, actor: Some(actor), .. }] = told.as_slice() else { unreachable!("{told:?}") };
/// assert_eq!(actor.name, "system:serviceaccount:shop:bot");
///
/// assert_eq!(churn.due(), Some(second(84)), "when no more than 15 changes will be younger than a minute");
/// assert!(churn.tick(second(83)).is_empty());
/// assert!(matches!(churn.tick(second(84)).as_slice(), [Verdict::Ended { changes: 40, .. }]));
/// # Ok::<(), reverser_core::RepoPathError>(())
/// ```
#[derive(Debug, Default)]
pub struct Churn {
    objects: HashMap<RepoPath, History>,
    /// By the time of the last change: who is forgotten first.
    quietest: BTreeSet<(Duration, RepoPath)>,
    /// Those that churn, by the time at which they will be calm if they don't change any more.
    churning: BTreeSet<(Duration, RepoPath)>,
}

/// An object begins or ceases to churn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has changed more than 30 times within a minute.
    Began {
        /// Which one.
        object: ObjectRef,
        /// How often it changes, by its last 31 changes.
        per_minute: u32,
        /// Who made all of these; `None`: several, or nobody knows.
        actor: Option<Actor>,
    },
    /// It has changed at most 15 times within a minute, or others took its place in memory.
    Ended {
        /// Which one.
        object: ObjectRef,
        /// How often it has changed, from the first of the changes that made it churn.
        changes: u64,
        /// From the first of these to the last.
        lasted: Duration,
    },
}

/// An object's last changes.
#[derive(Debug)]
struct History {
    object: ObjectRef,
    /// When they were, the earliest first: at most [`LIMIT`] + 1.
    times: VecDeque<Duration>,
    /// Whoever made the last one, and how many in a row.
    actor: Option<Actor>,
    in_a_row: usize,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Calm,
    Churning { since: Duration, changes: u64 },
}

impl Churn {
    /// Takes in a change of the object whose file is at `path`. `now` is the time since any fixed moment.
    pub fn changed(&mut self, now: Duration, path: &RepoPath, change: &Change) -> Option<Verdict> {
        let mut forgotten = None;
        let history = match self.objects.get_mut(path) {
            Some(history) => history,
            None => {
                forgotten = (self.objects.len() >= OBJECTS).then(|| self.forget_quietest()).flatten();
                self.objects.entry(path.clone()).or_insert_with(|| History::new(change.object.clone()))
            }
        };
        if let Some(last) = history.times.back() {
            self.quietest.remove(&(*last, path.clone()));
        }
        if let Some(calm_at) = history.calm_at() {
            self.churning.remove(&(calm_at, path.clone()));
        }
        let began = history.add(now, change.attribution.actor());
        self.quietest.insert((history.last(), path.clone()));
        self.churning.extend(history.calm_at().map(|calm_at| (calm_at, path.clone())));
        began.or(forgotten)
    }

    /// Returns what has calmed down by `now`.
    pub fn tick(&mut self, now: Duration) -> Vec<Verdict> {
        let mut ended = Vec::new();
        while let Some((calm_at, path)) = self.churning.first().cloned().filter(|(calm_at, _)| *calm_at <= now) {
            self.churning.remove(&(calm_at, path.clone()));
            ended.extend(self.objects.get_mut(&path).and_then(History::end));
        }
        ended
    }

    /// Returns when something will have calmed down, if nothing else happens; `None`: nothing churns.
    pub fn due(&self) -> Option<Duration> {
        self.churning.first().map(|(calm_at, _)| *calm_at)
    }

    fn forget_quietest(&mut self) -> Option<Verdict> {
        let (_, path) = self.quietest.pop_first()?;
        let mut history = self.objects.remove(&path)?;
        if let Some(calm_at) = history.calm_at() {
            self.churning.remove(&(calm_at, path));
        }
        history.end()
    }
}

impl History {
    fn new(object: ObjectRef) -> Self {
        Self { object, times: VecDeque::new(), actor: None, in_a_row: 0, state: State::Calm }
    }

    /// A clock that goes back only delays.
    fn last(&self) -> Duration {
        self.times.back().copied().unwrap_or_default()
    }

    fn add(&mut self, now: Duration, actor: Option<&Actor>) -> Option<Verdict> {
        let now = now.max(self.last());
        if self.times.len() > LIMIT {
            self.times.pop_front();
        }
        self.times.push_back(now);
        if self.in_a_row > 0 && self.actor.as_ref() == actor {
            self.in_a_row += 1;
        } else {
            (self.actor, self.in_a_row) = (actor.cloned(), 1);
        }
        match &mut self.state {
            State::Calm => {
                let first = *self.times.front().filter(|first| self.times.len() > LIMIT && now - **first < MINUTE)?;
                self.state = State::Churning { since: first, changes: self.times.len() as u64 };
                let actor = self.actor.clone().filter(|_| self.in_a_row > LIMIT);
                Some(Verdict::Began { object: self.object.clone(), per_minute: per_minute(now - first), actor })
            }
            State::Churning { changes, .. } => {
                *changes += 1;
                None
            }
        }
    }

    /// Returns when at most half as many changes as churn takes will be younger than a minute.
    fn calm_at(&self) -> Option<Duration> {
        match self.state {
            State::Calm => None,
            State::Churning { .. } => self.times.iter().rev().nth(LIMIT / 2).map(|time| *time + MINUTE),
        }
    }

    fn end(&mut self) -> Option<Verdict> {
        match std::mem::replace(&mut self.state, State::Calm) {
            State::Calm => None,
            State::Churning { since, changes } => {
                let lasted = self.last().saturating_sub(since);
                Some(Verdict::Ended { object: self.object.clone(), changes, lasted })
            }
        }
    }
}

/// Returns the rate of [`LIMIT`] changes in `span`.
fn per_minute(span: Duration) -> u32 {
    let rate = LIMIT as u128 * MINUTE.as_millis() / span.as_millis().max(1);
    u32::try_from(rate).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{Operation, Resource};

    fn change(name: &str, user: &str) -> (RepoPath, Change) {
        let resource = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps"));
        let object = ObjectRef { resource, namespace: None, name: name.into(), uid: None };
        (name.parse().unwrap(), Change::new(object, Operation::Update, None).by(Actor::user(user)))
    }

    /// `changes`: milliseconds and user, of one object. Returns what is told, with the time.
    fn told(changes: impl IntoIterator<Item = (u64, &'static str)>) -> Vec<(u64, Verdict)> {
        let mut churn = Churn::default();
        let mut told = Vec::new();
        for (now, user) in changes {
            let (path, change) = change("a", user);
            told.extend(churn.tick(Duration::from_millis(now)).into_iter().map(|verdict| (now, verdict)));
            told.extend(churn.changed(Duration::from_millis(now), &path, &change).map(|verdict| (now, verdict)));
        }
        while let Some(due) = churn.due() {
            let now = due.as_millis().try_into().unwrap();
            told.extend(churn.tick(due).into_iter().map(|verdict| (now, verdict)));
        }
        told
    }

    #[test]
    fn thirty_changes_a_minute_are_none_and_thirty_one_are_churn() {
        assert_eq!(told((0..200).map(|n| (n * 2_000, "bot"))), []);
        let told = told((0..200).map(|n| (n * 1_990, "bot")));
        assert!(matches!(told[0], (59_700, Verdict::Began { per_minute: 30, actor: Some(_), .. })), "{told:?}");
        // The 16th change from behind is a minute old.
        assert!(matches!(told[1], (426_160, Verdict::Ended { changes: 200, .. })), "{told:?}");
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn a_rate_around_the_limit_is_told_once() {
        let steps = (0..600).map(|n| if n % 60 < 30 { 1_900 } else { 2_100 });
        let times = steps.scan(0, |now, step| {
            *now += step;
            Some((*now, "bot"))
        });
        assert_eq!(told(times).len(), 2);
    }

    #[test]
    fn whoever_does_it_alone_is_named() {
        let actor = |users: [&'static str; 2]| match &told((0..40).map(|n| (n * 100, users[n as usize % 2])))[0] {
            (3_000, Verdict::Began { actor, per_minute: 600, .. }) => actor.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(actor(["bot", "bot"]), Some(Actor::user("bot")));
        assert_eq!(actor(["bot", "ann"]), None);
    }

    #[test]
    fn one_that_churns_is_not_forgotten_for_many_that_change_once() {
        let mut churn = Churn::default();
        let (path, busy) = change("busy", "bot");
        let mut began = 0;
        for number in 0..20_000_u64 {
            let now = Duration::from_millis(number * 2);
            let (other, once) = change(&format!("n{number}"), "ann");
            assert_eq!(churn.changed(now, &other, &once), None);
            if number % 500 == 0 {
                began += usize::from(churn.changed(now, &path, &busy).is_some());
            }
        }
        assert_eq!((began, churn.objects.len(), churn.quietest.len()), (1, OBJECTS, OBJECTS));
        // And one that is forgotten while it churns has ended.
        let ended = (0..OBJECTS).filter_map(|number| {
            let (other, once) = change(&format!("m{number}"), "ann");
            churn.changed(Duration::from_secs(41), &other, &once)
        });
        assert!(matches!(ended.collect::<Vec<_>>().as_slice(), [Verdict::Ended { changes: 40, .. }]));
        assert_eq!(churn.due(), None);
    }

    proptest! {
        #[test]
        fn what_begins_has_changed_more_often_than_the_limit_and_ends_once(
            steps in prop::collection::vec((0_usize..3, 0_u64..4_000), 0..400)
        ) {
            let mut churn = Churn::default();
            let mut now = Duration::ZERO;
            let mut times: [Vec<Duration>; 3] = Default::default();
            let mut is_churning = [false; 3];
            for (object, wait) in steps {
                now += Duration::from_millis(wait);
                let (path, change) = change(&object.to_string(), "bot");
                let mut verdicts = churn.tick(now);
                times[object].push(now);
                verdicts.extend(churn.changed(now, &path, &change));
                for verdict in verdicts {
                    let (Verdict::Began { object, .. } | Verdict::Ended { object, .. }) = &verdict;
                    let is_churning = &mut is_churning[object.name.parse::<usize>().unwrap()];
                    prop_assert_ne!(*is_churning, matches!(verdict, Verdict::Began { .. }), "told twice");
                    *is_churning = !*is_churning;
                }
                let young = times[object].iter().filter(|time| now - **time < MINUTE).count();
                prop_assert!(is_churning[object] || young <= LIMIT, "{young}");
                prop_assert!(!is_churning[object] || young > LIMIT / 2, "{young}");
            }
        }
    }
}
