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
use serde_json::Value;

use super::{AuditEvent, text};
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
    /// Opens the log. The file must exist, so that a mistyped name is noticed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let start = metadata.len().saturating_sub(BACKLOG_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut reader = BufReader::new(file);
        if start > 0 {
            reader.skip_until(b'\n')?;
        }
        let tail = Tail { file: Some((reader, metadata)), partial: Vec::new(), facts: Facts::default() };
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
    async fn attribute(&self, change: &Change, arrived: tokio::time::Instant) -> Attribution {
        let mut poll = tokio::time::interval(POLL);
        loop {
            if let Some(actor) = self.look_up(change) {
                return Attribution::Known { actor, evidence: Evidence::Audit };
            }
            if arrived.elapsed() >= WAIT {
                return Attribution::Unknown;
            }
            poll.tick().await;
        }
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
    by_key: HashMap<Key, Actor>,
    oldest_first: VecDeque<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// The uid of an object whose deletion was accepted. The response of a plain delete has no resourceVersion.
    Deleted { uid: String },
    /// The uid of an object and the resourceVersion that the write gave it.
    Written { uid: String, version: String },
}

impl Facts {
    fn learn(&mut self, event: &AuditEvent) {
        if !event.is_accepted_write() {
            return;
        }
        let Some(response) = &event.response_object else { return };
        let is_delete = event.verb.starts_with("delete");
        match response["items"].as_array() {
            // deletecollection answers with what it deleted.
            Some(items) => items.iter().for_each(|item| self.learn_object(item, is_delete, event)),
            None => self.learn_object(response, is_delete, event),
        }
    }

    fn learn_object(&mut self, object: &Value, is_delete: bool, event: &AuditEvent) {
        // A plain delete answers with a Status, which has the uid in its details.
        let uid = text(object, "/metadata/uid").or_else(|| text(object, "/details/uid"));
        let Some(uid) = uid.map(str::to_owned) else { return };
        if is_delete {
            self.insert(Key::Deleted { uid: uid.clone() }, event);
        }
        if let Some(version) = text(object, "/metadata/resourceVersion").map(str::to_owned) {
            self.insert(Key::Written { uid, version }, event);
        }
    }

    fn insert(&mut self, key: Key, event: &AuditEvent) {
        // The first writer of a version stays: a patch that changes nothing answers with the same version.
        if self.by_key.contains_key(&key) {
            return;
        }
        self.by_key.insert(key.clone(), event.actor());
        self.oldest_first.push_back(key);
        if self.oldest_first.len() > FACTS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }

    fn actor_of(&self, change: &Change) -> Option<Actor> {
        let uid = change.object.uid.clone()?;
        let deleted = Key::Deleted { uid: uid.clone() };
        let key = match (change.operation, &change.resource_version) {
            (Operation::Delete, _) => deleted,
            (_, Some(version)) => Key::Written { uid, version: version.clone() },
            (_, None) => return None,
        };
        self.by_key.get(&key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Arc};

    use reverser_core::{ObjectRef, Resource};
    use serde_json::json;

    use super::*;

    fn line(user: &str, verb: &str, response: Value) -> String {
        let event = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": "ResponseComplete", "verb": verb,
            "requestURI": "/api/v1/namespaces/shop/configmaps", "user": {"username": user},
            "responseStatus": {"code": 200}, "responseObject": response});
        format!("{event}\n")
    }

    fn change(operation: Operation, version: &str) -> Change {
        let resource = Arc::new(Resource {
            group: String::new(),
            version: "v1".into(),
            kind: "ConfigMap".into(),
            plural: "configmaps".into(),
            namespaced: true,
            has_status: true,
        });
        let body = json!({"metadata": {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": version}});
        Change::new(ObjectRef::of(&resource, &body).unwrap(), operation, Some(body))
    }

    fn object(version: &str) -> Value {
        json!({"kind": "ConfigMap", "metadata": {"name": "a", "uid": "u", "resourceVersion": version}})
    }

    #[test]
    fn a_write_is_found_by_uid_and_version_and_a_deletion_by_uid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let status = json!({"kind": "Status", "details": {"uid": "u"}});
        std::fs::write(&path, line("alice", "create", object("1")) + &line("bob", "delete", status)).unwrap();
        let log = AuditLog::open(&path).unwrap();
        assert_eq!(log.look_up(&change(Operation::Create, "1")), Some(Actor::user("alice")));
        assert_eq!(log.look_up(&change(Operation::Update, "2")), None);
        assert_eq!(log.look_up(&change(Operation::Delete, "9")), Some(Actor::user("bob")));
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

    #[tokio::test(start_paused = true)]
    async fn a_change_without_a_line_waits_no_longer_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        File::create(&path).unwrap();
        let log = AuditLog::open(&path).unwrap();
        let arrived = tokio::time::Instant::now();
        assert_eq!(log.attribute(&change(Operation::Update, "2"), arrived).await, Attribution::Unknown);
        assert!(arrived.elapsed() < WAIT * 2, "{:?}", arrived.elapsed());
    }
}
