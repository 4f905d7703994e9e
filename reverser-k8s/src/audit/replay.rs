//! Reads audit logs from their beginning to their end, as a source of changes with authors and dates.
//!
//! Lines of one server come almost in order, and those of several servers, or of rotated files, in one file each: all
//! are merged by time, and within a window the writes of one object are put into the order of their resourceVersions.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;
use reverser_core::{Attribution, Change, Evidence, ObjectRef, Operation, Resource, Sanitizer};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{AuditEvent, AuditRef, facts::Facts, text};
use crate::{
    attribute::controllers::acts_for_others,
    source::{Event, Source},
};

/// How many writes are held back to be put in order. A server writes its lines within milliseconds of their time; 512
/// writes are a third of a second at full speed.
const WINDOW: usize = 512;

/// How many broken lines are named; the rest is counted.
const NAMED: usize = 20;

/// A finished audit log, or several, in the order of time.
#[derive(Debug)]
pub struct Replay {
    files: Vec<LogFile>,
    window: VecDeque<Write>,
    /// Writes before this are in Git already, from an earlier run.
    resumed_at: Option<Timestamp>,
    last_cursor: Option<Timestamp>,
    said_hello: bool,
    objects: Objects,
    /// Who had controllers delete things.
    facts: Facts,
    skipped: Skipped,
}

/// What of the logs made no commit, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Writes from before the last write of an earlier run.
    pub already_replayed: usize,
    /// Lines that are no audit event, as `file:line: why`: the first twenty.
    pub broken: Vec<String>,
    /// How many of those there were.
    pub broken_lines: usize,
    /// Requests that a server would not store.
    pub dry_runs: usize,
    /// Requests that were refused.
    pub failures: usize,
    /// Earlier stages of requests.
    pub other_stages: usize,
    /// Requests that store nothing: get, list, watch, and reviews, which are questions.
    pub reads: usize,
    /// Writes of subresources that aren't the object itself: status, bindings, tokens.
    pub subresources: usize,
    /// Writes that can't be used, since the log's level leaves the object out, as (verb, resource).
    pub without_body: BTreeMap<(String, String), usize>,
}

impl Replay {
    /// Opens the logs; `-` is standard input.
    pub fn open(paths: &[PathBuf]) -> Result<Self, ReplayError> {
        let files = paths.iter().map(|path| LogFile::open(path)).collect::<Result<_, _>>()?;
        Ok(Self {
            files,
            window: VecDeque::new(),
            resumed_at: None,
            last_cursor: None,
            said_hello: false,
            objects: Objects::default(),
            facts: Facts::default(),
            skipped: Skipped::default(),
        })
    }

    /// Reads objects without what `sanitizer` removes anyway.
    #[must_use]
    pub fn read_with(mut self, sanitizer: Sanitizer) -> Self {
        self.objects.sanitizer = Some(sanitizer);
        self
    }

    /// Leaves out what an earlier run has committed.
    #[must_use]
    pub fn resume(mut self, cursor: &str) -> Self {
        self.resumed_at = cursor.parse().ok();
        self
    }

    /// Returns what made no commit so far.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// Returns the next write, in order.
    fn next_write(&mut self) -> Option<Write> {
        loop {
            while self.window.len() < WINDOW {
                let Some(event) = self.next_event() else { break };
                // What belongs to what, and who deleted it.
                if event.is_creation() || event.verb.starts_with("delete") {
                    self.facts.learn(&event, Instant::now());
                }
                for write in self.objects.writes(&event, &mut self.skipped) {
                    self.insert(write);
                }
            }
            let mut write = self.window.pop_front()?;
            if self.objects.complete(&mut write) {
                self.name_who_had_it_deleted(&mut write.change);
                for gone in self.objects.gone_with(&write).into_iter().rev() {
                    self.window.push_front(gone);
                }
                return Some(write);
            }
            self.skipped.leave_out("scale", &write.change.object.resource.qualified());
        }
    }

    /// Names who deleted what it belonged to, where a controller deleted it for them.
    fn name_who_had_it_deleted(&self, change: &mut Change) {
        if change.operation == Operation::Delete && change.attribution.actor().is_some_and(acts_for_others) {
            let attribution = self.facts.attribute(change);
            if matches!(attribution, Attribution::Known { evidence: Evidence::Cascade, .. }) {
                change.attribution = attribution;
            }
        }
    }

    /// Returns the earliest of the files' next events. A file that can't be read on ends there.
    fn next_event(&mut self) -> Option<AuditEvent> {
        for file in &mut self.files {
            file.fill(&mut self.skipped);
        }
        let earliest = self.files.iter_mut().filter(|file| file.next.is_some()).min_by_key(|file| file.time())?;
        earliest.next.take()
    }

    /// Puts `write` in its place by time, and lets the writes of one object trade places until they are in their order.
    fn insert(&mut self, write: Write) {
        let uid = write.change.object.uid.clone();
        let at = self.window.partition_point(|other| other.turn <= write.turn);
        self.window.insert(at, write);
        let is_of_object = |other: &Write| uid.is_some() && other.change.object.uid == uid;
        let places: Vec<usize> = (0..self.window.len()).filter(|place| is_of_object(&self.window[*place])).collect();
        if places.len() < 2 {
            return;
        }
        let mut writes: Vec<Write> = places.iter().rev().filter_map(|place| self.window.remove(*place)).collect();
        writes.reverse();
        let turns: Vec<_> = writes.iter().map(|write| write.turn).collect();
        writes.sort_by_key(Write::order);
        for ((place, turn), write) in places.into_iter().zip(turns).zip(writes) {
            self.window.insert(place, Write { turn, ..write });
        }
    }
}

#[async_trait::async_trait]
impl Source for Replay {
    fn id(&self) -> &str {
        "replay"
    }

    async fn next(&mut self) -> Option<Event> {
        if !std::mem::replace(&mut self.said_hello, true) {
            return Some(Event::Resumed);
        }
        loop {
            let write = self.next_write()?;
            if write.turn.is_some() && write.turn < self.resumed_at {
                self.skipped.already_replayed += 1;
                continue;
            }
            self.last_cursor = self.last_cursor.max(write.turn);
            return Some(Event::Change { change: write.change, cursor: self.last_cursor.map(|time| time.to_string()) });
        }
    }
}

/// A change with what orders it.
#[derive(Debug)]
struct Write {
    change: Change,
    /// When it is told: its own time, or that of the write whose place it took. Never goes back, so that a later run can
    /// begin where this one ended.
    turn: Option<Timestamp>,
    /// Versions of one object compare as integers (KEP-5504); a plain deletion has none.
    version: Option<u64>,
    /// A scale request: the body is the object's last one with so many replicas, known when its turn comes.
    replicas: Option<Value>,
}

impl Write {
    /// Writes of one object come in the order of their versions; its deletion is behind those of the living object, and
    /// before what finalizers still do to it.
    fn order(&self) -> (u8, Option<u64>) {
        let is_terminating = |body: &Value| !body["metadata"]["deletionTimestamp"].is_null();
        let stage = match (self.change.operation, &self.change.body) {
            (Operation::Delete, _) => 1,
            (_, Some(body)) if is_terminating(body) => 2,
            _ => 0,
        };
        (stage, self.version)
    }
}

/// What the log has told about objects so far: which events alone don't say everything.
#[derive(Debug, Default)]
struct Objects {
    /// Says what needn't be read.
    sanitizer: Option<Sanitizer>,
    /// Resources as they were first seen, by group, version and plural: a deletion alone doesn't tell the kind.
    resources: HashMap<(String, String, String), Arc<Resource>>,
    /// Objects that are there, by group and plural, then by namespace and name; with the version in which each was first
    /// written: one object, one path.
    living: HashMap<(String, String), BTreeMap<Place, Arc<Resource>>>,
    /// The last body of objects that have `spec.replicas`: a scale request changes just that.
    scalable: HashMap<(Arc<Resource>, Place), Value>,
}

/// Namespace and name.
type Place = (Option<String>, String);

impl Objects {
    /// Returns the changes that an event stands for: none, one, or for a deletecollection many.
    fn writes(&mut self, event: &AuditEvent, skipped: &mut Skipped) -> Vec<Write> {
        let Some(reference) = self.usable(event, skipped) else { return Vec::new() };
        let response = event.response_object.as_deref().and_then(|object| self.read(object));
        let request = event.request_object.as_deref().and_then(|object| self.read(object));
        let had_nothing_to_delete = response.as_ref().is_some_and(|list| list["items"].is_array());
        let writes = self.changes(event, &reference, response, request);
        if writes.is_empty() && !had_nothing_to_delete {
            let resource = [reference.resource.as_str(), reference.api_group.as_str()].join(".");
            skipped.leave_out(&event.verb, resource.trim_end_matches('.'));
        }
        writes
            .into_iter()
            .map(|(change, replicas)| {
                let request = Box::new(event.request_info());
                let attribution = Attribution::Known { actor: event.actor(), evidence: Evidence::Audit, request };
                let version = change.resource_version.as_deref().and_then(|version| version.parse().ok());
                Write { change: Change { attribution, at: event.at(), ..change }, turn: event.at(), version, replicas }
            })
            .collect()
    }

    fn read(&self, object: &RawValue) -> Option<Value> {
        let read = self.sanitizer.as_ref().and_then(|sanitizer| sanitizer.read(object.get()).ok());
        // A JSON patch is a list.
        read.or_else(|| serde_json::from_str(object.get()).ok())
    }

    /// Gives a scale request its body, and remembers the others'; returns whether there is a body to scale.
    fn complete(&mut self, write: &mut Write) -> bool {
        let object = &mut write.change.object;
        let place = (object.namespace.clone(), object.name.clone());
        let living = self.living.entry((object.resource.group.clone(), object.resource.plural.clone())).or_default();
        object.resource = match write.change.operation {
            Operation::Delete => living.remove(&place).unwrap_or_else(|| Arc::clone(&object.resource)),
            Operation::Create | Operation::Update => {
                Arc::clone(living.entry(place.clone()).or_insert_with(|| Arc::clone(&object.resource)))
            }
        };
        let key = (Arc::clone(&object.resource), place);
        if let Some(replicas) = write.replicas.take() {
            let Some(body) = self.scalable.get_mut(&key) else { return false };
            body["spec"]["replicas"] = replicas;
            if let Some(version) = &write.change.resource_version {
                body["metadata"]["resourceVersion"] = version.as_str().into();
            }
            write.change.object.uid = text(body, "/metadata/uid").map(str::to_owned);
            write.change.body = Some(body.clone());
            return true;
        }
        match &write.change.body {
            Some(body) if write.change.operation != Operation::Delete && body.pointer("/spec/replicas").is_some() => {
                self.scalable.insert(key, body.clone());
            }
            _ => {
                self.scalable.remove(&key);
            }
        }
        true
    }

    /// Returns the deletions that a CRD's deletion brings with it, which no log has: its objects go with it.
    fn gone_with(&mut self, write: &Write) -> Vec<Write> {
        let Change { object, operation, attribution, at, .. } = &write.change;
        let is_crd =
            object.resource.group == "apiextensions.k8s.io" && object.resource.plural == "customresourcedefinitions";
        // A CRD is called `<plural>.<group>`.
        let Some((plural, group)) = object.name.split_once('.').filter(|_| is_crd && *operation == Operation::Delete)
        else {
            return vec![];
        };
        let gone = self.living.remove(&(group.to_owned(), plural.to_owned())).unwrap_or_default();
        gone.into_iter()
            .map(|((namespace, name), resource)| {
                let object = ObjectRef { resource, namespace, name, uid: None };
                let change = Change::new(object, Operation::Delete, None);
                let change = change.because("Its CustomResourceDefinition was deleted.");
                let attribution = in_cascade(attribution);
                Write {
                    change: Change { attribution, at: *at, ..change },
                    turn: write.turn,
                    version: None,
                    replicas: None,
                }
            })
            .collect()
    }

    /// Returns what the event is about when it is an accepted write of an object, else counts it.
    fn usable(&self, event: &AuditEvent, skipped: &mut Skipped) -> Option<AuditRef> {
        let is_write = matches!(event.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
        let counter = if event.stage != "ResponseComplete" {
            &mut skipped.other_stages
        } else if !is_write || event.object_ref.as_ref().is_none_or(AuditRef::is_question) {
            &mut skipped.reads
        } else if event.is_dry_run() {
            &mut skipped.dry_runs
        } else if !event.is_accepted_write() {
            &mut skipped.failures
        } else {
            let mut reference = event.object_ref.clone()?;
            // The server takes `/api/v1/namespaces/NAME` for something in that namespace.
            reference.namespace.take_if(|_| reference.api_group.is_empty() && reference.resource == "namespaces");
            // These two answer with the object itself; `scale` is about it.
            if matches!(reference.subresource.as_str(), "" | "ephemeralcontainers" | "resize" | "scale") {
                return Some(reference);
            }
            &mut skipped.subresources
        };
        *counter += 1;
        None
    }

    /// Returns changes, a scale request's with its replicas.
    fn changes(
        &mut self,
        event: &AuditEvent,
        reference: &AuditRef,
        response: Option<Value>,
        request: Option<Value>,
    ) -> Vec<(Change, Option<Value>)> {
        let resource = self.resource(reference, response.as_ref().or(request.as_ref()));
        if reference.subresource == "scale" {
            return scale(resource, reference, response.as_ref().or(request.as_ref())).into_iter().collect();
        }
        let is_object = |body: &Value| body["kind"] != "Status" && text(body, "/metadata/name").is_some();
        let changes = match event.verb.as_str() {
            "delete" => vec![deletion(resource, reference, response.as_ref())],
            "deletecollection" => {
                let items = response.and_then(|mut list| match list["items"].take() {
                    Value::Array(items) => Some(items),
                    _ => None,
                });
                let deleted = |item| change_of(&resource, Operation::Delete, item);
                items.into_iter().flatten().map(deleted).collect()
            }
            verb => {
                // At level Request there is no answer; what was sent is a whole object unless it is a patch.
                let sent = request.filter(|_| verb != "patch");
                let operation = if event.is_creation() { Operation::Create } else { Operation::Update };
                let body = response.filter(is_object).or(sent.filter(is_object));
                vec![body.and_then(|body| change_of(&resource, operation, body))]
            }
        };
        changes.into_iter().flatten().map(|change| (change, None)).collect()
    }

    fn resource(&mut self, reference: &AuditRef, body: Option<&Value>) -> Arc<Resource> {
        let kind = body.and_then(|body| text(body, "/kind")).filter(|kind| !matches!(*kind, "Status" | "Scale"));
        let key = (reference.api_group.clone(), reference.api_version.clone(), reference.resource.clone());
        if let Some(known) = self.resources.get(&key) {
            return Arc::clone(known);
        }
        let resource = Arc::new(Resource {
            group: reference.api_group.clone(),
            version: reference.api_version.clone(),
            kind: kind.unwrap_or_default().to_owned(),
            plural: reference.resource.clone(),
            // A log doesn't tell; all but a few have one.
            has_status: true,
            namespaced: reference.namespace.is_some()
                || body.is_some_and(|body| text(body, "/metadata/namespace").is_some()),
        });
        if kind.is_some_and(|kind| !kind.ends_with("List") && kind != "DeleteOptions") {
            self.resources.insert(key, Arc::clone(&resource));
        }
        resource
    }
}

/// Returns who it was, of what went along with something that they deleted.
fn in_cascade(attribution: &Attribution) -> Attribution {
    match attribution.clone() {
        Attribution::Known { actor, request, .. } => Attribution::Known { actor, evidence: Evidence::Cascade, request },
        other => other,
    }
}

/// Returns a change without a body, and the replicas that were asked for.
fn scale(resource: Arc<Resource>, reference: &AuditRef, scale: Option<&Value>) -> Option<(Change, Option<Value>)> {
    let scale = scale?;
    let object = ObjectRef {
        namespace: reference.namespace.clone(),
        name: reference.name.clone()?,
        uid: text(scale, "/metadata/uid").map(str::to_owned),
        resource,
    };
    // No replicas: `0` is left out.
    let replicas = scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| 0.into());
    let resource_version = text(scale, "/metadata/resourceVersion").map(str::to_owned);
    Some((Change { resource_version, ..Change::new(object, Operation::Update, None) }, Some(replicas)))
}

/// Returns a deletion; it needs no body.
fn deletion(resource: Arc<Resource>, reference: &AuditRef, response: Option<&Value>) -> Option<Change> {
    let uid = response.and_then(|answer| text(answer, "/details/uid").or_else(|| text(answer, "/metadata/uid")));
    let object = ObjectRef {
        namespace: reference.namespace.clone(),
        name: reference.name.clone().filter(|name| !name.is_empty())?,
        uid: uid.map(str::to_owned).or_else(|| reference.uid.clone()),
        resource,
    };
    Some(Change::new(object, Operation::Delete, None))
}

fn change_of(resource: &Arc<Resource>, operation: Operation, body: Value) -> Option<Change> {
    Some(Change::new(ObjectRef::of(resource, &body)?, operation, Some(body)))
}

/// One log, read line by line.
struct LogFile {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    line: usize,
    /// Events of a list that haven't been taken yet.
    list: VecDeque<Box<RawValue>>,
    next: Option<AuditEvent>,
    ended: bool,
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, ReplayError> {
        let reader: Box<dyn BufRead + Send> = if path == Path::new("-") {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(path).map_err(|source| ReplayError::Open { path: path.to_owned(), source })?;
            Box::new(BufReader::new(file))
        };
        Ok(Self { path: path.to_owned(), reader, line: 0, list: VecDeque::new(), next: None, ended: false })
    }

    fn time(&self) -> Option<Timestamp> {
        self.next.as_ref().and_then(AuditEvent::at)
    }

    /// Reads on until there is a next event, or nothing more.
    fn fill(&mut self, skipped: &mut Skipped) {
        while self.next.is_none() && !self.ended {
            if let Some(item) = self.list.pop_front() {
                match serde_json::from_str(item.get()) {
                    Ok(event) => self.next = Some(event),
                    Err(error) => self.broken(&error, skipped),
                }
                continue;
            }
            let mut text = String::new();
            match self.reader.read_line(&mut text) {
                Ok(0) => self.ended = true,
                Ok(_) => self.take(text, skipped),
                // Not UTF-8: the line is consumed, the next one may be fine.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.line += 1;
                    self.broken(&error, skipped);
                }
                Err(error) => {
                    self.broken(&error, skipped);
                    self.ended = true;
                }
            }
        }
    }

    fn take(&mut self, mut text: String, skipped: &mut Skipped) {
        self.line += 1;
        if text.trim().is_empty() {
            return;
        }
        let mut parsed: serde_json::Result<AuditEvent> = serde_json::from_str(&text);
        // An indented EventList has many lines; it begins the file.
        if self.line == 1
            && parsed.as_ref().is_err_and(serde_json::Error::is_eof)
            && self.reader.read_to_string(&mut text).is_ok()
        {
            parsed = serde_json::from_str(&text);
        }
        match parsed {
            Ok(event) if event.kind == "Event" && !event.stage.is_empty() => self.next = Some(event),
            Ok(_) => match serde_json::from_str::<EventList>(&text) {
                Ok(list) => self.list = list.items.into(),
                Err(_) => self.broken(&"not an audit.k8s.io Event or EventList", skipped),
            },
            Err(error) => self.broken(&error, skipped),
        }
    }

    fn broken(&self, why: &dyn std::fmt::Display, skipped: &mut Skipped) {
        skipped.broken_lines += 1;
        if skipped.broken.len() < NAMED {
            skipped.broken.push(format!("{}:{}: {why}", self.path.display(), self.line));
        }
    }
}

#[derive(Deserialize)]
struct EventList {
    items: Vec<Box<RawValue>>,
}

impl std::fmt::Debug for LogFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFile").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

/// A log can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It doesn't exist, or may not be read.
    #[error("could not open the audit log {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Skipped {
    fn leave_out(&mut self, verb: &str, resource: &str) {
        *self.without_body.entry((verb.to_owned(), resource.to_owned())).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use reverser_core::Actor;
    use serde_json::json;

    use super::*;
    use crate::attribute::controllers::NAMESPACE_CONTROLLER;

    fn event(second: u32, user: &str, verb: &str, code: u16, more: Value) -> Value {
        let mut event = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": format!("id-{second}"),
            "stage": "ResponseComplete", "requestURI": "/apis/apps/v1/namespaces/shop/deployments/web", "verb": verb,
            "user": {"username": user}, "responseStatus": {"code": code},
            "objectRef": {"resource": "deployments", "namespace": "shop", "name": "web", "apiGroup": "apps", "apiVersion": "v1"},
            "stageTimestamp": format!("2026-03-23T10:00:{second:02}.000000Z")});
        for (key, value) in more.as_object().unwrap() {
            event[key] = value.clone();
        }
        event
    }

    fn web(version: &str, replicas: i64) -> Value {
        json!({"responseObject": {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": replicas},
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": version}}})
    }

    fn replay(logs: &[String]) -> Replay {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = logs
            .iter()
            .enumerate()
            .map(|(i, text)| {
                let path = folder.path().join(format!("{i}.log"));
                std::fs::write(&path, text).unwrap();
                path
            })
            .collect();
        Replay::open(&paths).unwrap()
    }

    fn lines(events: &[Value]) -> String {
        events.iter().map(|event| format!("{event}\n")).collect()
    }

    fn drain(mut replay: Replay) -> (Vec<(Operation, String, Option<Actor>)>, Skipped) {
        let mut all = Vec::new();
        while let Some(write) = replay.next_write() {
            let Change { operation, object, attribution, resource_version, .. } = write.change;
            let version = resource_version.unwrap_or_default();
            all.push((operation, format!("{object}@{version}"), attribution.actor().cloned()));
        }
        (all, replay.skipped)
    }

    fn told(all: &[(Operation, String, Option<Actor>)]) -> Vec<String> {
        all.iter()
            .map(|(operation, object, actor)| {
                format!("{operation} {object} {}", actor.as_ref().map_or("?", |actor| &actor.name))
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_replay_conforms() {
        let log = lines(&[
            event(1, "alice", "create", 201, web("1", 1)),
            event(2, "bob", "patch", 200, web("2", 2)),
            event(3, "carol", "delete", 200, json!({"responseObject": {"kind": "Status", "details": {"uid": "u"}}})),
        ]);
        let changes = [(Operation::Create, "web"), (Operation::Update, "web"), (Operation::Delete, "web")];
        crate::testing::conforms(&mut replay(&[log]), &changes, async {}).await;
    }

    #[test]
    fn accepted_writes_are_told_in_order_and_the_rest_is_counted() {
        let log = lines(&[
            event(1, "alice", "create", 201, web("1", 1)),
            event(2, "bob", "patch", 200, web("2", 2)),
            event(3, "bob", "get", 200, json!({})),
            event(4, "eve", "update", 409, json!({})),
            event(5, "eve", "patch", 200, json!({"requestURI": "/x?dryRun=All"})),
            event(
                6,
                "kcm",
                "update",
                200,
                json!({"objectRef": {"resource": "deployments", "subresource": "status", "name": "web"}}),
            ),
            event(7, "bob", "update", 200, json!({})),
            event(8, "carol", "delete", 200, json!({"responseObject": {"kind": "Status", "details": {"uid": "u"}}})),
        ]);
        let (all, skipped) = drain(replay(&[log]));
        assert_eq!(
            told(&all),
            [
                "CREATE apps/v1/deployments/web@1 alice",
                "UPDATE apps/v1/deployments/web@2 bob",
                "DELETE apps/v1/deployments/web@ carol"
            ]
        );
        assert_eq!((skipped.reads, skipped.failures, skipped.dry_runs, skipped.subresources), (1, 1, 1, 1));
        assert_eq!(skipped.without_body, [(("update".to_owned(), "deployments.apps".to_owned()), 1)].into());
    }

    #[tokio::test]
    async fn a_scale_request_changes_the_replicas_of_the_last_body() {
        let scale = json!({"objectRef": {"resource": "deployments", "namespace": "shop", "name": "web", "apiGroup": "apps",
            "apiVersion": "v1", "subresource": "scale"},
            "responseObject": {"kind": "Scale", "metadata": {"name": "web", "resourceVersion": "5"}, "spec": {"replicas": 7}}});
        let mut replay =
            replay(&[lines(&[event(1, "alice", "create", 201, web("1", 1)), event(2, "bob", "patch", 200, scale)])]);
        let mut last = None;
        while let Some(event) = replay.next().await {
            last = Some(event);
        }
        let Some(Event::Change { change, .. }) = last else { panic!("a change") };
        assert_eq!(change.body.unwrap()["spec"]["replicas"], 7);
        assert_eq!(change.resource_version.as_deref(), Some("5"));
        assert_eq!(change.attribution.actor(), Some(&Actor::user("bob")));
    }

    #[test]
    fn a_scale_request_without_a_known_body_is_unusable() {
        let scale = json!({"objectRef": {"resource": "deployments", "name": "web", "apiGroup": "apps", "subresource": "scale"},
            "responseObject": {"kind": "Scale", "spec": {"replicas": 7}}});
        let (all, skipped) = drain(replay(&[lines(&[event(2, "bob", "patch", 200, scale)])]));
        assert!(all.is_empty());
        assert_eq!(skipped.without_body, [(("scale".to_owned(), "deployments.apps".to_owned()), 1)].into());
    }

    #[test]
    fn racing_lines_are_put_into_the_order_of_their_versions() {
        let log = lines(&[
            event(1, "alice", "create", 201, web("1", 1)),
            event(3, "carol", "patch", 200, web("3", 3)),
            event(4, "dan", "patch", 200, web("4", 4)),
            event(5, "bob", "patch", 200, web("2", 2)),
        ]);
        let (all, _) = drain(replay(&[log]));
        let versions: Vec<_> = all.iter().map(|(_, object, _)| object.rsplit('@').next().unwrap().to_owned()).collect();
        assert_eq!(versions, ["1", "2", "3", "4"]);
    }

    fn versions(log: String) -> Vec<String> {
        let (all, _) = drain(replay(&[log]));
        all.iter().map(|(operation, object, _)| format!("{operation}@{}", object.rsplit('@').next().unwrap())).collect()
    }

    #[test]
    fn a_late_line_of_an_update_brings_nothing_back_that_was_deleted() {
        let status = json!({"responseObject": {"kind": "Status", "details": {"uid": "u"}}});
        let mut terminating = web("4", 1);
        terminating["responseObject"]["metadata"]["deletionTimestamp"] = "2026-03-23T10:00:03Z".into();
        let log = lines(&[
            event(1, "alice", "create", 201, web("1", 1)),
            event(3, "carol", "delete", 200, status),
            event(4, "gc", "update", 200, terminating),
            event(5, "bob", "patch", 200, web("2", 2)),
        ]);
        assert_eq!(versions(log), ["CREATE@1", "UPDATE@2", "DELETE@", "UPDATE@4"]);
    }

    #[tokio::test]
    async fn a_scale_request_scales_what_stands_when_its_turn_comes() {
        let scale = json!({"objectRef": {"resource": "deployments", "namespace": "shop", "name": "web", "apiGroup": "apps",
            "apiVersion": "v1", "subresource": "scale"},
            "responseObject": {"kind": "Scale", "metadata": {"name": "web", "uid": "u", "resourceVersion": "3"},
                "spec": {"replicas": 9}}});
        let mut patched = web("2", 1);
        patched["responseObject"]["spec"]["paused"] = true.into();
        let log = lines(&[
            event(1, "alice", "create", 201, web("1", 1)),
            event(2, "bob", "patch", 200, scale),
            event(3, "carol", "patch", 200, patched),
        ]);
        let mut replay = replay(&[log]);
        let mut bodies = Vec::new();
        while let Some(event) = replay.next().await {
            if let Event::Change { change, .. } = event {
                bodies.push(change.body.unwrap()["spec"].clone());
            }
        }
        assert_eq!(bodies[1..], [json!({"replicas": 1, "paused": true}), json!({"replicas": 9, "paused": true})]);
    }

    #[test]
    fn objects_keep_their_path_and_go_with_their_crd() {
        let gadget = |verb: &str, code, version: &str, name: &str| {
            let object = json!({"kind": "Gadget", "apiVersion": format!("x.io/{version}"),
                "metadata": {"name": name, "uid": name, "resourceVersion": "1"}});
            event(
                1,
                "alice",
                verb,
                code,
                json!({"objectRef": {"resource": "gadgets", "name": name, "apiGroup": "x.io",
                "apiVersion": version}, "responseObject": object}),
            )
        };
        let crd = json!({"objectRef": {"resource": "customresourcedefinitions", "name": "gadgets.x.io",
            "apiGroup": "apiextensions.k8s.io", "apiVersion": "v1"}, "responseObject": {"kind": "Status"}});
        let log = lines(&[
            gadget("create", 201, "v1", "a"),
            gadget("patch", 200, "v2", "a"),
            event(2, "bob", "delete", 200, crd),
            gadget("create", 201, "v2", "a"),
        ]);
        let (all, _) = drain(replay(&[log.replace("10:00:01", "10:00:02")]));
        assert_eq!(
            told(&all),
            [
                "CREATE x.io/v1/gadgets/a@1 alice",
                "UPDATE x.io/v1/gadgets/a@1 alice",
                "DELETE apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.x.io@ bob",
                "DELETE x.io/v1/gadgets/a@ bob",
                "CREATE x.io/v2/gadgets/a@1 alice",
            ]
        );
    }

    #[test]
    fn what_a_namespace_takes_along_is_deleted_by_whoever_deleted_that() {
        let namespace = json!({"objectRef": {"resource": "namespaces", "namespace": "shop", "name": "shop", "apiVersion": "v1"},
            "responseObject": {"kind": "Namespace", "metadata": {"name": "shop", "uid": "n", "resourceVersion": "2",
                "deletionTimestamp": "2026-03-23T10:00:02Z"}}});
        let mut contents = web("1", 1);
        contents["responseObject"] = json!({"kind": "DeploymentList", "items": [contents["responseObject"].take()]});
        let times = |second: u32| json!(format!("2026-03-23T10:00:{second:02}.000000Z"));
        let mut delete = event(2, "bob", "delete", 200, namespace);
        delete["requestReceivedTimestamp"] = times(2);
        let mut collection = event(3, NAMESPACE_CONTROLLER, "deletecollection", 200, contents);
        collection["requestReceivedTimestamp"] = times(3);
        let mut replay = replay(&[lines(&[event(1, "alice", "create", 201, web("1", 1)), delete, collection])]);
        let last = std::iter::from_fn(|| replay.next_write()).last().unwrap().change;
        assert_eq!((last.operation, last.attribution.evidence()), (Operation::Delete, "cascade"));
        assert_eq!(last.attribution.actor(), Some(&Actor::user("bob")));
    }

    #[test]
    fn a_commit_knows_of_the_request_what_the_log_does() {
        let by_proxy =
            json!({"impersonatedUser": {"username": "carol", "groups": ["team-c"]}, "userAgent": "kubectl/v1.36"});
        let mut log = event(1, "alice", "create", 201, web("1", 1));
        log.as_object_mut().unwrap().extend(by_proxy.as_object().unwrap().clone());
        let write = replay(&[lines(&[log])]).next_write().unwrap();
        let Attribution::Known { actor, request, .. } = write.change.attribution else { panic!("an actor") };
        assert_eq!((&*actor.name, &*actor.groups), ("carol", &["team-c".to_owned()][..]));
        assert_eq!(request.impersonator.as_deref(), Some("alice"));
        assert_eq!((request.audit_id.as_deref(), request.user_agent.as_deref()), (Some("id-1"), Some("kubectl/v1.36")));
    }

    #[test]
    fn a_namespace_is_not_in_itself() {
        let namespace = |verb: &str, response: Value| {
            event(
                1,
                "alice",
                verb,
                200,
                json!({"objectRef": {"resource": "namespaces", "namespace": "vote", "name": "vote",
                "apiVersion": "v1"}, "responseObject": response}),
            )
        };
        let body = json!({"kind": "Namespace", "metadata": {"name": "vote", "uid": "n", "resourceVersion": "1"}});
        let mut replay = replay(&[lines(&[namespace("patch", body.clone()), namespace("delete", body)])]);
        let objects: Vec<_> = std::iter::from_fn(|| replay.next_write()).map(|write| write.change.object).collect();
        assert_eq!(objects.len(), 2);
        assert!(objects.iter().all(|object| object.namespace.is_none() && !object.resource.namespaced), "{objects:?}");
    }

    #[tokio::test]
    async fn a_second_run_does_not_turn_back_time() {
        let log = lines(&[
            event(1, "alice", "create", 201, web("1", 1)),
            event(3, "carol", "patch", 200, web("3", 3)),
            event(5, "bob", "patch", 200, web("2", 2)),
        ]);
        let mut replay = replay(&[log]).resume("2026-03-23T10:00:05Z");
        assert!(matches!(replay.next().await, Some(Event::Resumed)));
        // The last one is told again, since others may have its very time; Git has it already.
        let Some(Event::Change { change, .. }) = replay.next().await else { panic!("a change") };
        assert_eq!(change.resource_version.as_deref(), Some("3"));
        assert!(replay.next().await.is_none());
        assert_eq!(replay.skipped().already_replayed, 2);
    }

    #[test]
    fn several_logs_are_merged_by_time_and_lists_are_read_in_any_form() {
        let indented = serde_json::to_string_pretty(&json!({"kind": "EventList", "items": [
            event(2, "bob", "patch", 200, web("2", 2))]}))
        .unwrap();
        let line = format!(
            "{}\n",
            json!({"kind": "EventList", "items": [
            event(1, "alice", "create", 201, web("1", 1)), event(3, "carol", "patch", 200, web("3", 3))]})
        );
        let (all, skipped) = drain(replay(&[line, indented]));
        assert_eq!(told(&all).len(), 3, "{skipped:?}");
        assert_eq!(all[1].2, Some(Actor::user("bob")));
    }

    #[test]
    fn a_broken_line_is_named_and_the_next_one_is_read() {
        let log = format!(
            "{}\n{{\"kind\":\n{}",
            event(1, "alice", "create", 201, web("1", 1)),
            lines(&[event(2, "bob", "patch", 200, web("2", 2))])
        );
        let (all, skipped) = drain(replay(&[log]));
        assert_eq!(all.len(), 2);
        assert_eq!(skipped.broken_lines, 1);
        assert!(skipped.broken[0].contains("0.log:2: "), "{:?}", skipped.broken);
    }

    #[tokio::test]
    async fn an_earlier_runs_writes_are_not_told_again() {
        let log = lines(&[event(1, "alice", "create", 201, web("1", 1)), event(2, "bob", "patch", 200, web("2", 2))]);
        let mut replay = replay(&[log]).resume("2026-03-23T10:00:02Z");
        assert!(matches!(replay.next().await, Some(Event::Resumed)));
        let Some(Event::Change { change, cursor }) = replay.next().await else { panic!("a change") };
        assert_eq!(change.resource_version.as_deref(), Some("2"));
        assert_eq!(cursor.as_deref(), Some("2026-03-23T10:00:02Z"));
        assert!(replay.next().await.is_none());
        assert_eq!(replay.skipped().already_replayed, 1);
    }
}
