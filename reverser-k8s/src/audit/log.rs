//! Follows an API server's audit log file as it grows.

use std::{
    fs::{File, Metadata},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Audit, AuditEvent};

/// How much of an existing log is read at the start: who wrote what while nobody watched is in its last part.
const BACKLOG_BYTES: u64 = 256 << 20;

/// How many lines are taken note of at once, so that nobody who asks waits for more.
const LINES: usize = 100;

/// How long a line may be. Of an event of 32 MiB nobody has heard: an object has 3 MiB at most, and an event has it twice. What is
/// longer is no log, and mustn't fill the memory.
const LINE_BYTES: usize = 32 << 20;

/// How much of a log's beginning is remembered: an event's audit id is in it, and no other log has that.
const HEAD_BYTES: usize = 256;

/// How often the file is looked at while a change waits for its line.
const POLL: Duration = Duration::from_millis(5);

/// How often otherwise.
const IDLE_POLL: Duration = Duration::from_millis(100);

/// How long it is looked at often after somebody asked.
const BUSY: Duration = Duration::from_secs(1);

/// Follows an audit log that an API server writes on the same machine (`--audit-log-path`), through its rotation by renaming
/// or by copying and truncating.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    file: Option<(BufReader<File>, Metadata)>,
    /// How the file begins.
    head: Vec<u8>,
    /// A line whose end isn't written yet.
    partial: Vec<u8>,
    audit: Audit,
}

impl AuditLog {
    /// Opens the log and reads what is in it, the last 256 MiB. The file must exist, so that a mistyped name is noticed.
    ///
    /// # Errors
    /// It can't be read.
    pub fn open(path: &Path, audit: Audit) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let start = metadata.len().saturating_sub(BACKLOG_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut reader = BufReader::new(file);
        if start > 0 {
            reader.skip_until(b'\n')?;
        }
        let head = head(reader.get_ref())?;
        let mut log = Self { path: path.to_owned(), file: Some((reader, metadata)), head, partial: Vec::new(), audit };
        log.read_on()?;
        Ok(log)
    }

    /// Reads on as the log grows, and never returns.
    pub async fn follow(mut self) {
        let audit = self.audit.clone();
        let mut busy_until = Instant::now();
        let mut is_readable = true;
        loop {
            let (log, read) = blocking(self, Self::read_on).await;
            self = log;
            match &read {
                Err(error) if is_readable => {
                    tracing::warn!(path = %self.path.display(), %error, "could not read the audit log; authors stay unknown meanwhile");
                }
                Ok(()) if !is_readable => {
                    tracing::info!(path = %self.path.display(), "the audit log can be read again")
                }
                _ => {}
            }
            is_readable = read.is_ok();
            if Instant::now() < busy_until {
                sleep(POLL).await;
                continue;
            }
            tokio::select! {
                () = audit.wanted() => busy_until = Instant::now() + BUSY,
                () = sleep(IDLE_POLL) => {}
            }
        }
    }

    /// Reads all whole lines that have been written since the last call.
    fn read_on(&mut self) -> io::Result<()> {
        loop {
            // Asked before the reading: a file that was replaced by then is complete.
            let now = std::fs::metadata(&self.path);
            self.read_file()?;
            // One that was renamed is written to until there is another one.
            let now = now?;
            if self.file.as_ref().is_some_and(|(_, opened)| is_same_file(opened, &now)) {
                return Ok(());
            }
            // Rotated.
            let file = File::open(&self.path)?;
            let metadata = file.metadata()?;
            self.partial.clear();
            self.head = head(&file)?;
            self.file = Some((BufReader::new(file), metadata));
        }
    }

    fn read_file(&mut self) -> io::Result<()> {
        let Some((reader, _)) = &mut self.file else { return Ok(()) };
        let head = head(reader.get_ref())?;
        if reader.stream_position()? > reader.get_ref().metadata()?.len() || !head.starts_with(&self.head) {
            // Truncated in place, as logrotate's `copytruncate` does, and maybe as long as before again.
            self.partial.clear();
            reader.rewind()?;
        }
        self.head = head;
        loop {
            let mut events = Vec::new();
            let mut is_end = false;
            while !is_end && events.len() < LINES {
                let room = LINE_BYTES.saturating_sub(self.partial.len()).try_into().unwrap_or(u64::MAX);
                reader.by_ref().take(room).read_until(b'\n', &mut self.partial)?;
                is_end = !self.partial.ends_with(b"\n");
                if is_end && self.partial.len() >= LINE_BYTES {
                    // What is left of the line is no event by itself.
                    (is_end, self.partial) = (false, Vec::new());
                } else if !is_end {
                    // Lines that aren't audit events name nobody.
                    events.extend(serde_json::from_slice::<AuditEvent>(&self.partial).ok());
                    self.partial.clear();
                }
            }
            self.audit.learn(&events);
            if is_end {
                return Ok(());
            }
        }
    }
}

/// Does something that may wait for a disk beside the runtime's threads.
async fn blocking<T: Send + 'static, R: Send + 'static>(
    mut value: T,
    act: impl FnOnce(&mut T) -> R + Send + 'static,
) -> (T, R) {
    let done = tokio::task::spawn_blocking(move || {
        let done = act(&mut value);
        (value, done)
    });
    match done.await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Returns how a file begins.
fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let bytes = file.read_at(&mut head, 0)?;
    head.truncate(bytes);
    Ok(head)
}

fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use reverser_core::{Change, ObjectRef, Operation};
    use serde_json::json;

    use super::*;
    use crate::{attribute::ActorSource, fixture::configmaps};

    fn line(user: &str, version: u64) -> String {
        let event = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": "ResponseComplete",
            "verb": "update", "user": {"username": user}, "responseStatus": {"code": 200},
            "objectRef": {"resource": "configmaps", "name": "a", "resourceVersion": "1"},
            "responseObject": {"kind": "ConfigMap", "metadata": {"name": "a", "uid": "u",
                "resourceVersion": version.to_string()}}});
        format!("{event}\n")
    }

    fn change(version: u64) -> Change {
        let body = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": version.to_string()}});
        Change::new(ObjectRef::of(&configmaps(), &body).unwrap(), Operation::Update, Some(body))
    }

    fn who(log: &mut AuditLog, version: u64) -> Option<String> {
        log.read_on().unwrap();
        log.audit.attribute(&change(version)).actor().map(|actor| actor.name.clone())
    }

    #[test]
    fn a_growing_and_rotating_log_is_followed_and_half_a_line_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = File::create(&path).unwrap();
        let mut log = AuditLog::open(&path, Audit::default()).unwrap();
        let text = line("alice", 2);
        let (head, tail) = text.split_at(40);
        file.write_all(head.as_bytes()).unwrap();
        assert_eq!(who(&mut log, 2), None);
        file.write_all(tail.as_bytes()).unwrap();
        assert_eq!(who(&mut log, 2).as_deref(), Some("alice"));
        std::fs::rename(&path, folder.path().join("audit-1.log")).unwrap();
        file.write_all(line("bob", 3).as_bytes()).unwrap();
        std::fs::write(&path, line("carol", 4)).unwrap();
        assert_eq!(who(&mut log, 3).as_deref(), Some("bob"));
        assert_eq!(who(&mut log, 4).as_deref(), Some("carol"));
    }

    #[test]
    fn a_log_that_is_copied_and_truncated_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, [line("alice", 2), line("alice", 3)].concat()).unwrap();
        let mut log = AuditLog::open(&path, Audit::default()).unwrap();
        assert_eq!(who(&mut log, 3).as_deref(), Some("alice"));
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.set_len(0).unwrap();
        file.write_all(line("bob", 4).as_bytes()).unwrap();
        assert_eq!(who(&mut log, 4).as_deref(), Some("bob"));
    }

    #[test]
    fn a_log_that_was_truncated_and_is_longer_than_before_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, line("alice", 2)).unwrap();
        let mut log = AuditLog::open(&path, Audit::default()).unwrap();
        // Between two looks.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.set_len(0).unwrap();
        file.write_all([line("bob", 3), line("carol", 4)].concat().as_bytes()).unwrap();
        assert_eq!(who(&mut log, 3).as_deref(), Some("bob"));
        assert_eq!(who(&mut log, 4).as_deref(), Some("carol"));
    }

    #[test]
    fn a_log_that_was_renamed_is_read_on_while_there_is_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = File::create(&path).unwrap();
        let mut log = AuditLog::open(&path, Audit::default()).unwrap();
        std::fs::rename(&path, folder.path().join("audit-1.log")).unwrap();
        file.write_all(line("alice", 2).as_bytes()).unwrap();
        assert_eq!(log.read_on().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(log.audit.attribute(&change(2)).actor().map(|actor| &*actor.name), Some("alice"));
    }

    #[test]
    fn a_line_that_is_too_long_does_not_fill_the_memory_and_the_next_one_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, "").unwrap();
        let mut log = AuditLog::open(&path, Audit::default()).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.set_len(2 * LINE_BYTES as u64 + 1).unwrap();
        assert_eq!(who(&mut log, 2), None);
        assert!(log.partial.len() < LINE_BYTES);
        file.write_all(["\n", &line("alice", 2)].concat().as_bytes()).unwrap();
        assert_eq!(who(&mut log, 2).as_deref(), Some("alice"));
    }

    #[test]
    fn what_is_in_the_log_at_the_start_is_known_and_other_lines_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, ["no event\n", "{}\n", &line("alice", 2), "\u{0}\n"].concat()).unwrap();
        let log = AuditLog::open(&path, Audit::default()).unwrap();
        assert_eq!(log.audit.attribute(&change(2)).actor().map(|actor| &*actor.name), Some("alice"));
    }

    #[tokio::test]
    async fn who_waits_is_told_as_soon_as_a_line_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, "").unwrap();
        let audit = Audit::default();
        let following = tokio::spawn(AuditLog::open(&path, audit.clone()).unwrap().follow());
        assert_eq!(audit.attribute(&change(2)).actor(), None);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(line("alice", 2).as_bytes()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), audit.learned()).await.unwrap();
        assert_eq!(audit.attribute(&change(2)).actor().map(|actor| &*actor.name), Some("alice"));
        following.abort();
    }
}
