//! Names authors from an API server's audit log file, as it grows.

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, Metadata},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reverser_core::{Actor, Attribution, Change, Evidence, Operation};

use super::{Answer, AuditEvent};
use crate::attribute::ActorSource;

/// How much of an existing log is read at the start: who wrote what while nobody watched is in its last part.
const BACKLOG_BYTES: u64 = 256 << 20;

/// How many facts are kept, the oldest go first: about 200 bytes each. A fact that is older than 100,000 writes has
/// either been used or never will be.
const FACTS: usize = 100_000;

/// How long a change waits for its line: the server writes a watch event and the audit line of one request at the same
/// time, in no order.
const WAIT: Duration = Duration::from_millis(250);

/// How often the file is looked at while a change waits.
const POLL: Duration = Duration::from_millis(5);

/// Follows an audit log that an API server writes on the same machine (`--audit-log-path`), through its rotation.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    // A `std` mutex: held for the reading of lines that are there, never across an await.
    tail: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    file: Option<(BufReader<File>, Metadata)>,
    /// A line whose end isn't written yet.
    partial: Vec<u8>,
    facts: Facts,
}

impl AuditLog {
    /// Opens the log and reads what is in it. The file must exist, so that a mistyped name is noticed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let start = metadata.len().saturating_sub(BACKLOG_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut reader = BufReader::new(file);
        if start > 0 {
            reader.skip_until(b'\n')?;
        }
        let mut tail = Tail { file: Some((reader, metadata)), partial: Vec::new(), facts: Facts::default() };
        tail.read_on(path)?;
        Ok(Self { path: path.to_owned(), tail: Mutex::new(tail) })
    }

    fn look_up(&self, change: &Change) -> Option<Actor> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = tail.read_on(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not read the audit log; authors stay unknown meanwhile");
        }
        tail.facts.actor_of(change)
    }
}

#[async_trait::async_trait]
impl ActorSource for AuditLog {
    fn attribute(&self, change: &Change) -> Attribution {
        self.look_up(change).map_or(Attribution::Unknown, |actor| Attribution::known(actor, Evidence::Audit))
    }

    fn patience(&self, attribution: &Attribution) -> Duration {
        if attribution.actor().is_some() { Duration::ZERO } else { WAIT }
    }

    async fn learned(&self) {
        tokio::time::sleep(POLL).await;
    }
}

impl Tail {
    /// Reads all whole lines that have been written since the last call.
    fn read_on(&mut self, path: &Path) -> io::Result<()> {
        loop {
            // Asked before the reading: a file that was replaced by then is complete.
            let now = std::fs::metadata(path)?;
            if let Some((reader, _)) = &mut self.file {
                if reader.stream_position()? > reader.get_ref().metadata()?.len() {
                    // Truncated in place, as logrotate's `copytruncate` does.
                    self.partial.clear();
                    reader.rewind()?;
                }
                while reader.read_until(b'\n', &mut self.partial)? > 0 && self.partial.ends_with(b"\n") {
                    let line = std::mem::take(&mut self.partial);
                    // Lines that aren't audit events name nobody.
                    if let Ok(event) = serde_json::from_slice::<AuditEvent>(&line) {
                        self.facts.learn(&event);
                    }
                }
            }
            if self.file.as_ref().is_some_and(|(_, opened)| is_same_file(opened, &now)) {
                return Ok(());
            }
            // Rotated.
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            self.partial.clear();
            self.file = Some((BufReader::new(file), metadata));
        }
    }
}

#[cfg(unix)]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    a.created().ok() == b.created().ok()
}

/// Who wrote which version of which object.
#[derive(Debug, Default)]
struct Facts {
    by_key: HashMap<Key, Fact>,
    oldest_first: VecDeque<Key>,
    /// The latest version of an object, by uid, that any line has told of.
    latest: HashMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// The uid of an object whose deletion was accepted. Its version is told by nobody: a plain delete answers without
    /// one, others with the version of the last write, which was somebody else's.
    Deleted { uid: String },
    /// The uid of an object and the resourceVersion that the write gave it.
    Written { uid: String, version: u64 },
}

#[derive(Debug)]
struct Fact {
    actor: Actor,
    is_creation: bool,
}

impl Facts {
    fn learn(&mut self, event: &AuditEvent) {
        if !event.is_accepted_write() {
            return;
        }
        let answer = event.response_object.as_ref().map(|answer| serde_json::from_str::<Answer>(answer.get()));
        // Answers without what an object's have name none.
        let Some(Ok(answer)) = answer else { return };
        if !event.verb.starts_with("delete") {
            return self.learn_write(&answer, event);
        }
        // deletecollection answers with a list of what it deleted, a plain delete with a Status that has the uid in its
        // details, or with the object.
        let one = std::slice::from_ref(&answer);
        for object in answer.items.as_deref().filter(|_| answer.uid().is_none()).unwrap_or(one) {
            if let Some(uid) = object.uid() {
                self.insert(Key::Deleted { uid: uid.to_owned() }, Fact { actor: event.actor(), is_creation: false });
            }
        }
    }

    /// A write that changes nothing answers as one that does, with the version that somebody else wrote. It is told apart
    /// by the line of that other one; or, where that line is not there, by the proof that this one did write.
    fn learn_write(&mut self, answer: &Answer, event: &AuditEvent) {
        let (Some(uid), Some(version)) = (answer.uid(), answer.version()) else { return };
        if self.latest.len() >= FACTS {
            // Forgetting makes it careful again, and no wiser.
            self.latest.clear();
        }
        let latest_before = self.latest.get(uid).copied();
        if latest_before < Some(version) {
            self.latest.insert(uid.to_owned(), version);
        }
        let is_creation = event.is_creation();
        let has_written =
            is_creation || latest_before.is_some_and(|latest| latest < version) || event.has_touched(answer);
        let key = Key::Written { uid: uid.to_owned(), version };
        if has_written {
            self.insert(key, Fact { actor: event.actor(), is_creation });
        }
    }

    fn insert(&mut self, key: Key, fact: Fact) {
        // The first one stays: the deletion that was accepted first, the write that a later one found done.
        if self.by_key.contains_key(&key) {
            return;
        }
        self.by_key.insert(key.clone(), fact);
        self.oldest_first.push_back(key);
        if self.oldest_first.len() > FACTS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }

    fn actor_of(&self, change: &Change) -> Option<Actor> {
        let uid = change.object.uid.clone()?;
        if change.operation == Operation::Delete {
            return self.by_key.get(&Key::Deleted { uid }).map(|fact| fact.actor.clone());
        }
        let version = change.resource_version.as_ref()?.parse().ok()?;
        let fact = self.by_key.get(&Key::Written { uid, version })?;
        // An object that is listed after somebody has updated it was not created by them.
        (change.operation != Operation::Create || fact.is_creation).then(|| fact.actor.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use reverser_core::ObjectRef;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::configmaps;

    fn line(user: &str, verb: &str, response: Value) -> String {
        line_at("2026-03-23T10:00:05.4Z", user, verb, response)
    }

    fn line_at(received: &str, user: &str, verb: &str, response: Value) -> String {
        let event = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": "ResponseComplete", "verb": verb,
            "requestURI": "/api/v1/namespaces/shop/configmaps", "user": {"username": user},
            "responseStatus": {"code": 200}, "responseObject": response, "requestReceivedTimestamp": received});
        format!("{event}\n")
    }

    fn change(operation: Operation, version: &str) -> Change {
        let body = json!({"metadata": {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": version}});
        Change::new(ObjectRef::of(&configmaps(), &body).unwrap(), operation, Some(body))
    }

    fn object(version: &str) -> Value {
        json!({"kind": "ConfigMap", "metadata": {"name": "a", "uid": "u", "resourceVersion": version,
            "managedFields": [{"manager": "kubectl", "time": "2026-03-23T10:00:05Z"}]}})
    }

    #[test]
    fn a_write_is_found_by_uid_and_version_and_a_deletion_by_uid() {
        let status = json!({"kind": "Status", "details": {"uid": "u"}});
        let log = log_of(&[line("alice", "create", object("1")), line("bob", "delete", status)]);
        assert_eq!(log.look_up(&change(Operation::Create, "1")), Some(Actor::user("alice")));
        assert_eq!(log.look_up(&change(Operation::Update, "2")), None);
        assert_eq!(log.look_up(&change(Operation::Delete, "9")), Some(Actor::user("bob")));
    }

    #[test]
    fn a_custom_resource_may_have_fields_of_statuses_and_lists() {
        let mut own = object("1");
        for (details, items) in
            [(json!("text"), json!(["a", 1])), (json!({"uid": 7}), json!({})), (json!([]), json!([{}]))]
        {
            (own["details"], own["items"]) = (details, items);
            let log = log_of(&[line("alice", "create", own.clone()), line("bob", "delete", own.clone())]);
            assert_eq!(log.look_up(&change(Operation::Create, "1")), Some(Actor::user("alice")), "{own}");
            assert_eq!(log.look_up(&change(Operation::Delete, "9")), Some(Actor::user("bob")), "{own}");
        }
    }

    #[test]
    fn a_growing_and_rotating_log_is_followed_and_half_a_line_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = File::create(&path).unwrap();
        let log = AuditLog::open(&path).unwrap();
        let text = line("alice", "update", object("2"));
        let (head, tail) = text.split_at(40);
        file.write_all(head.as_bytes()).unwrap();
        assert_eq!(log.look_up(&change(Operation::Update, "2")), None);
        file.write_all(tail.as_bytes()).unwrap();
        assert_eq!(log.look_up(&change(Operation::Update, "2")), Some(Actor::user("alice")));
        std::fs::rename(&path, folder.path().join("audit-1.log")).unwrap();
        file.write_all(line("bob", "update", object("3")).as_bytes()).unwrap();
        std::fs::write(&path, line("carol", "update", object("4"))).unwrap();
        assert_eq!(log.look_up(&change(Operation::Update, "3")), Some(Actor::user("bob")));
        assert_eq!(log.look_up(&change(Operation::Update, "4")), Some(Actor::user("carol")));
    }

    fn log_of(lines: &[String]) -> AuditLog {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, lines.concat()).unwrap();
        AuditLog::open(&path).unwrap()
    }

    fn facts_of(lines: &[String]) -> Facts {
        let mut facts = Facts::default();
        lines.iter().for_each(|line| facts.learn(&serde_json::from_str(line).unwrap()));
        facts
    }

    #[test]
    fn a_patch_that_changes_nothing_is_nobodys_write() {
        let facts = facts_of(&[line("alice", "update", object("5")), line("flux", "patch", object("5"))]);
        assert_eq!(facts.actor_of(&change(Operation::Update, "5")), Some(Actor::user("alice")));
        // Alice's line was rotated away; the object's managed fields are older than the request.
        let later = |user: &str, version: &str| line_at("2026-03-23T10:07:00.1Z", user, "patch", object(version));
        let facts = facts_of(&[later("flux", "5"), later("bob", "6"), later("flux", "6")]);
        assert_eq!(facts.actor_of(&change(Operation::Update, "5")), None);
        // A removal touches no managed field, and the line before it tells that it was written later.
        assert_eq!(facts.actor_of(&change(Operation::Update, "6")), Some(Actor::user("bob")));
    }

    #[test]
    fn a_deleter_is_not_the_author_of_what_was_deleted() {
        let facts = facts_of(&[line("bob", "delete", object("5"))]);
        assert_eq!(facts.actor_of(&change(Operation::Update, "5")), None);
        assert_eq!(facts.actor_of(&change(Operation::Delete, "6")), Some(Actor::user("bob")));
    }

    #[test]
    fn an_object_that_is_listed_late_is_not_credited_to_whoever_updated_it() {
        let facts = facts_of(&[line("alice", "create", object("1")), line("operator", "update", object("2"))]);
        assert_eq!(facts.actor_of(&change(Operation::Create, "2")), None);
        assert_eq!(facts.actor_of(&change(Operation::Create, "1")), Some(Actor::user("alice")));
    }
}
