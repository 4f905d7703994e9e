//! What one watch does next: no requests, no clock, no chance.
//!
//! ```text
//!          ┌─► Begin ──► Initial ─┐ the server's bookmark
//! start ──►│     │ refused, broken▼
//!          └─► List (pages) ──► Connect ──► Stream ──► the connection ended as agreed: Connect
//! with a cursor ──► Check ──────►│ ▲          │
//!                     │          │ │recovered ├────► it ended otherwise: Check
//!    restored: listed ┘          │ └────── Recover ◄─ 410
//!                                └── 410 ──►  │ nothing to be found out: listed
//! ```
//!
//! Where the versions that objects had are asked for and aren't known, Recall stands before Connect.
//!
//! A failure leads to Wait, and from there to what failed; from a stream to Check.

mod exchange;
mod moment;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use reverser_core::{Change, Fingerprint, ObjectRef, Operation, Resource};
use reverser_git::Backoff;
use serde_json::Value;
use tokio::time::Instant;

pub(super) use self::exchange::{End, Input, Request};
use self::{
    moment::{LIFETIME, Moment},
    state::{Standing, State},
};
use super::{
    recover::{COMPACTED, Recovery},
    versions::Versions,
};
use crate::{
    api_error::ApiError,
    list::Page,
    report::chain,
    source::{Event, Gap, Listed},
};

/// How long after a refusal that only a person can lift the next try is made, at least; up to a third more.
const REFUSED_WAIT: Duration = Duration::from_secs(15);

/// How long after credentials were refused the next try is made, at most: they are renewed by somebody, at some time.
const CREDENTIALS_WAIT: Duration = Duration::from_secs(5);

/// The longest wait that a server can ask for (`Retry-After`): more is a mistake, and would be a gap.
const ASKED_WAIT: Duration = Duration::from_secs(120);

/// A stream that ends sooner than this is opened again only after a pause.
const SHORT_STREAM: Duration = Duration::from_secs(1);

/// How much a stream may outlive its time and still have ended as agreed: the server's timer and the way here. Later this
/// process was held up, and anything may have happened.
const LIFETIME_SLACK: Duration = Duration::from_secs(15);

/// How long a stream that begins with everything there is may say nothing before its end of that.
const INITIAL_QUIET: Duration = Duration::from_secs(15);

/// How long it may take to that end. A server that knows nothing of `sendInitialEvents` never says so.
const INITIAL_LIMIT: Duration = Duration::from_secs(120);

/// One resource of one cluster: what of it is watched, and how far that is.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) subject: Subject,
    state: State,
    standing: Standing,
    backoff: Backoff,
    /// Whether the server may begin a stream with everything there is.
    streams_lists: bool,
    /// Which version each object had last, where that is asked for.
    versions: Option<Versions>,
    /// What is told up to these was read before; those that are passed are forgotten with the next stream.
    read: BTreeSet<u64>,
}

/// What is watched.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) resource: Arc<Resource>,
    pub(super) namespace: Option<String>,
}

impl Machine {
    /// Returns a machine that reads everything first.
    pub(super) fn new(subject: Subject) -> Self {
        let state = State::Begin { lifetime: LIFETIME };
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
        Self {
            subject,
            state,
            standing: Standing::Unsaid,
            backoff,
            streams_lists: true,
            versions: None,
            read: BTreeSet::new(),
        }
    }

    /// Says of each change which version it replaces.
    pub(super) fn keep_versions(&mut self) {
        self.versions.get_or_insert_default();
    }

    /// Goes on after `version` instead.
    pub(super) fn resume(&mut self, version: String) {
        self.state = State::Check { version };
    }

    /// What is told up to `version` was read before: what there was then is known to who reads.
    pub(super) fn was_read(&mut self, version: u64) {
        self.read.insert(version);
    }

    /// Lets go of the stream; it is opened again where it was. Only what reads a stream is changed.
    pub(super) fn pause(&mut self) {
        if let State::Stream { version, .. } = &mut self.state {
            // A pause may be long: etcd may be restored meanwhile.
            self.state = State::Check { version: std::mem::take(version) };
        }
    }

    /// Returns whether objects gather for a list.
    pub(super) fn is_listing(&self) -> bool {
        matches!(self.state, State::Begin { .. } | State::Initial { .. } | State::List { .. })
    }

    /// Returns what is to be done now.
    pub(super) fn request(&self) -> Request<'_> {
        match &self.state {
            State::Begin { lifetime } => Request::Open { from: None, lifetime: *lifetime },
            State::Check { .. } => Request::Current,
            State::Connect { version, lifetime } => Request::Open { from: Some(version), lifetime: *lifetime },
            State::Initial { opened, heard, .. } => {
                Request::Read { until: Some((*heard + INITIAL_QUIET).min(*opened + INITIAL_LIMIT)) }
            }
            State::List { page, .. } => Request::Page(page.as_deref()),
            State::Recall { version } => Request::Versions { at: version },
            State::Recover { from } => Request::Recover { from, read: &self.read },
            State::Stream { .. } => Request::Read { until: None },
            State::Wait { until, .. } => Request::Sleep(*until),
        }
    }

    /// Takes in what came of [`Machine::request`]; returns what to report, in this order. An answer to what wasn't asked
    /// changes nothing.
    pub(super) fn step(&mut self, input: Input, now: Instant, random: u64) -> Vec<Event> {
        let at = Moment { now, random };
        match (std::mem::replace(&mut self.state, State::List { objects: vec![], page: None }), input) {
            (State::Begin { lifetime }, Input::Opened(opened)) => self.begun(opened, lifetime, at),
            (State::Check { version }, Input::Current(current)) => self.checked(version, current, at),
            (State::Connect { version, lifetime }, Input::Opened(opened)) => {
                self.connected(opened, version, lifetime, at)
            }
            (State::Initial { objects, opened, lifetime, .. }, input) => {
                self.read_initial(objects, opened, lifetime, input, at)
            }
            (State::List { objects, .. }, Input::Page(page)) => self.read_page(objects, page, at),
            (State::Recall { version }, Input::Versions(versions)) => self.recalled(version, versions, at),
            (State::Recover { from }, Input::Recovered(recovered)) => self.recovered(from, recovered, at),
            (State::Stream { version, opened, lifetime }, input) => {
                self.read_stream(version, opened, lifetime, input, at)
            }
            (State::Wait { then, .. }, Input::Waited) => self.then(*then),
            (state, _) => self.then(state),
        }
    }

    fn begun(&mut self, opened: Result<(), ApiError>, lifetime: Duration, at: Moment) -> Vec<Event> {
        match opened {
            Ok(()) => {
                let (opened, heard) = (at.now, at.now);
                self.then(State::Initial { objects: BTreeMap::new(), opened, heard, lifetime })
            }
            Err(error) if error.is_refused_as_such() => {
                self.streams_lists = false;
                self.then(self.listing(at))
            }
            // Of a resource that has just come up the server has no memory to stream from, and says 429; pages it reads from
            // etcd. One that is too busy for these, too, says so.
            Err(error) if error.is_busy() => self.then(State::first_page()),
            Err(ApiError::Expired) => self.pause_before(State::first_page(), at),
            Err(error) => self.fail(error, self.listing(at), at),
        }
    }

    fn checked(&mut self, version: String, current: Result<String, ApiError>, at: Moment) -> Vec<Event> {
        match current {
            Ok(current) if is_before(&current, &version) => self.set_back(version, current, at),
            Ok(_) => {
                self.state = self.going_on(version, at);
                if self.standing == Standing::Unsaid { self.say(Event::Resumed) } else { vec![] }
            }
            Err(error) => self.fail(error, State::Check { version }, at),
        }
    }

    fn connected(
        &mut self,
        opened: Result<(), ApiError>,
        version: String,
        lifetime: Duration,
        at: Moment,
    ) -> Vec<Event> {
        match opened {
            Ok(()) => {
                if let Ok(version) = version.parse::<u64>() {
                    self.read = self.read.split_off(&version);
                }
                self.state = State::Stream { version, opened: at.now, lifetime };
                if self.standing == Standing::Failed { self.say(Event::Resumed) } else { vec![] }
            }
            Err(ApiError::Expired) => self.pause_before(State::Recover { from: version }, at),
            Err(error) => self.fail(error, State::Check { version }, at),
        }
    }

    /// What is read before the bookmark may be of different moments, and an object may come twice, or go again.
    fn read_initial(
        &mut self,
        mut objects: BTreeMap<(String, String), Value>,
        opened: Instant,
        lifetime: Duration,
        input: Input,
        at: Moment,
    ) -> Vec<Event> {
        match input {
            Input::Object(operation, object, _) => {
                let key = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                let key = (key("namespace"), key("name"));
                match operation {
                    Operation::Create | Operation::Update => objects.insert(key, object),
                    Operation::Delete => objects.remove(&key),
                };
            }
            Input::Bookmark { version, ends_list: true } => {
                self.state = State::Stream { version: version.clone(), opened, lifetime };
                return self.listed(objects.into_values().collect(), version);
            }
            Input::Bookmark { ends_list: false, .. } => {}
            // A list that isn't complete says nothing of what is gone. By pages the next one gets further.
            Input::Ended(End::Failed(ApiError::Expired) | End::Closed | End::Silent) => {
                return self.pause_before(State::first_page(), at);
            }
            Input::Ended(End::Failed(error)) => return self.fail(error, State::first_page(), at),
            Input::Late => {
                self.streams_lists = false;
                return self.then(State::first_page());
            }
            Input::Current(_)
            | Input::Opened(_)
            | Input::Page(_)
            | Input::Recovered(_)
            | Input::Versions(_)
            | Input::Waited => {}
        }
        self.then(State::Initial { objects, opened, heard: at.now, lifetime })
    }

    fn read_page(&mut self, mut objects: Vec<Value>, page: Result<Page, ApiError>, at: Moment) -> Vec<Event> {
        match page {
            Ok(Page { objects: more, version, next }) => {
                objects.extend(more);
                if next.is_some() {
                    return self.then(State::List { objects, page: next });
                }
                self.state = State::Connect { version: version.clone(), lifetime: at.lifetime() };
                self.listed(objects, version)
            }
            // The pages of a list share one version, and it grew too old between two of them: begin again.
            Err(ApiError::Expired) => self.pause_before(State::first_page(), at),
            Err(error) => self.fail(error, self.listing(at), at),
        }
    }

    /// Without them the first change of each object doesn't say what it replaces.
    fn recalled(&mut self, version: String, versions: Result<Versions, ApiError>, at: Moment) -> Vec<Event> {
        match versions {
            Ok(versions) => self.versions = Some(versions.completed()),
            Err(error) => {
                let resource = &self.subject.resource;
                tracing::debug!(%resource, error = %chain(&error), "the versions that changes replace aren't known");
            }
        }
        self.then(State::Connect { version, lifetime: at.lifetime() })
    }

    fn recovered(&mut self, from: String, recovered: Result<Recovery, ApiError>, at: Moment) -> Vec<Event> {
        match recovered {
            Ok(Recovery::Changes { changes, until, is_all }) => {
                let gap = Gap::Recovered { changes: changes.len(), from, until: until.clone() };
                // Each with its position, so that a crash between two goes on behind the first.
                let mut events: Vec<_> = changes.into_iter().map(|change| self.replacing(change)).collect();
                events.extend(self.say(Event::Gap(gap)));
                events.push(Event::Cursor(until.clone()));
                self.state = if is_all { self.going_on(until, at) } else { State::Recover { from: until } };
                events
            }
            Ok(Recovery::State { objects, version }) => {
                self.state = State::Recover { from: version.clone() };
                let mut events = self.lost(from, Some(version.clone()), COMPACTED);
                events.extend(self.listed(objects, version));
                events
            }
            Ok(Recovery::Unavailable { why }) => {
                self.state = self.listing(at);
                self.lost(from, None, why)
            }
            Err(ApiError::Expired) => self.then(self.listing(at)),
            Err(error) => self.fail(error, State::Recover { from }, at),
        }
    }

    fn read_stream(
        &mut self,
        version: String,
        opened: Instant,
        lifetime: Duration,
        input: Input,
        at: Moment,
    ) -> Vec<Event> {
        match input {
            Input::Object(operation, object, fingerprint) => {
                self.backoff.reset();
                let version = object["metadata"]["resourceVersion"].as_str().unwrap_or(&version).to_owned();
                self.state = State::Stream { version, opened, lifetime };
                self.change(operation, object, fingerprint).into_iter().collect()
            }
            // No server that counts on says so: ask it.
            Input::Bookmark { version: current, .. } if is_before(&current, &version) => {
                self.then(State::Check { version })
            }
            Input::Bookmark { version, .. } => {
                self.backoff.reset();
                self.state = State::Stream { version: version.clone(), opened, lifetime };
                vec![Event::Cursor(version)]
            }
            Input::Ended(End::Failed(ApiError::Expired)) => self.pause_before(State::Recover { from: version }, at),
            Input::Ended(End::Failed(error)) => self.fail(error, State::Check { version }, at),
            Input::Ended(End::Silent) => self.then(State::Check { version }),
            Input::Ended(End::Closed) => {
                let lived = at.now.saturating_duration_since(opened);
                if lived < SHORT_STREAM {
                    self.pause_before(State::Check { version }, at)
                } else if lived + LIFETIME_SLACK < lifetime || lived > lifetime + LIFETIME_SLACK {
                    // The server ended, too, and may come back with another etcd.
                    self.then(State::Check { version })
                } else {
                    self.then(State::Connect { version, lifetime: at.lifetime() })
                }
            }
            Input::Current(_)
            | Input::Late
            | Input::Opened(_)
            | Input::Page(_)
            | Input::Recovered(_)
            | Input::Versions(_)
            | Input::Waited => self.then(State::Stream { version, opened, lifetime }),
        }
    }

    /// The server is behind `cursor`, so that it stands for nothing there.
    fn set_back(&mut self, cursor: String, current: String, at: Moment) -> Vec<Event> {
        self.state = self.listing(at);
        self.read.clear();
        self.standing = Standing::Failed;
        vec![Event::Failed(ApiError::Restored { resource: self.subject.resource.qualified(), cursor, current })]
    }

    fn listed(&mut self, objects: Vec<Value>, cursor: String) -> Vec<Event> {
        self.backoff.reset();
        if let Some(versions) = &mut self.versions {
            *versions = Versions::all(&objects);
        }
        let Subject { resource, namespace } = self.subject.clone();
        self.say(Event::Listed(Listed { resource, namespace, objects, cursor }))
    }

    fn lost(&mut self, from: String, until: Option<String>, why: &'static str) -> Vec<Event> {
        self.say(Event::Gap(Gap::Lost { from, until, why }))
    }

    fn change(&mut self, operation: Operation, object: Value, fingerprint: Option<Arc<Fingerprint>>) -> Option<Event> {
        let reference = ObjectRef::of(&self.subject.resource, &object)?;
        let change = Change { fingerprint, ..Change::new(reference, operation, Some(object)) };
        Some(self.replacing(change))
    }

    /// Returns that event, with the version that the change replaces as far as it is known.
    fn replacing(&mut self, mut change: Change) -> Event {
        let step = |versions: &mut Versions| versions.step(change.operation, change.body.as_ref()?);
        let before = self.versions.as_mut().and_then(step);
        change.replaced = change.replaced.or(before.map(|version| version.to_string()));
        Event::Change { cursor: change.resource_version.clone(), change }
    }

    fn say(&mut self, event: Event) -> Vec<Event> {
        self.standing = Standing::Said;
        vec![event]
    }

    fn then(&mut self, state: State) -> Vec<Event> {
        self.state = state;
        vec![]
    }

    /// Waits before `then`, so that a server that says no at once is not asked in a tight loop.
    fn pause_before(&mut self, then: State, at: Moment) -> Vec<Event> {
        let until = at.now + self.backoff.step(at.random);
        self.then(State::Wait { until, then: Box::new(then) })
    }

    /// Waits before `then` is tried again.
    fn fail(&mut self, error: ApiError, then: State, at: Moment) -> Vec<Event> {
        let wait = self.backoff.step(at.random);
        let wait = match &error {
            ApiError::Credentials { .. } => wait.min(CREDENTIALS_WAIT),
            error if error.is_for_a_person() => at.spread(REFUSED_WAIT),
            error => wait.max(at.spread(error.retry_after().unwrap_or_default().min(ASKED_WAIT))),
        };
        self.state = State::Wait { until: at.now + wait, then: Box::new(then) };
        self.standing = Standing::Failed;
        vec![Event::Failed(error)]
    }

    /// Goes on behind `version`.
    fn going_on(&self, version: String, at: Moment) -> State {
        if self.versions.as_ref().is_some_and(|versions| !versions.is_complete()) {
            State::Recall { version }
        } else {
            State::Connect { version, lifetime: at.lifetime() }
        }
    }

    fn listing(&self, at: Moment) -> State {
        if self.streams_lists { State::Begin { lifetime: at.lifetime() } } else { State::first_page() }
    }
}

/// Returns whether a version is before another. Versions of one resource compare as integers (KEP-5504); what isn't one
/// says nothing, and neither does 0, which some servers answer that count none.
fn is_before(version: &str, other: &str) -> bool {
    match (version.parse::<u64>(), other.parse::<u64>()) {
        (Ok(version), Ok(other)) => version > 0 && version < other,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
