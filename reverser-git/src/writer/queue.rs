//! What of a writer's waits for being committed, bounded in bytes.

use std::sync::Arc;

use reverser_core::Edit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sink::{Batch, Note};

/// One permit a byte. Whoever comes first is served first, so a large batch isn't overtaken for ever by small ones.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    free: Arc<Semaphore>,
    bytes: u32,
}

impl Queue {
    pub(super) fn new(bytes: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes as usize)), bytes }
    }

    /// Returns once there is room for the batch, which the permit holds; `None` when the queue is closed. A batch that is larger
    /// than the queue waits until it is empty.
    pub(super) async fn room_for(&self, batch: &Batch) -> Option<OwnedSemaphorePermit> {
        self.room(size(batch)).await
    }

    /// Returns once there is room for a note, as [`room_for`](Self::room_for) does.
    pub(super) async fn room_for_note(&self, note: &Note) -> Option<OwnedSemaphorePermit> {
        self.room(u32::try_from(256 + note.text.len()).unwrap_or(u32::MAX)).await
    }

    async fn room(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        let bytes = bytes.min(self.bytes);
        Arc::clone(&self.free).acquire_many_owned(bytes).await.ok()
    }
}

/// What a batch takes of the queue: contents, paths, messages, and a little for each plan.
pub(super) fn size(batch: &Batch) -> u32 {
    let of_edit = |edit: &Edit| {
        let content = match edit {
            Edit::Put { content, .. } => content.len(),
            Edit::Delete { .. } => 0,
        };
        edit.path().as_str().len() + content
    };
    let plans = batch.plans.iter().map(|plan| 256 + plan.message.len() + plan.edits.iter().map(of_edit).sum::<usize>());
    let cursors = batch.cursors.iter().map(|(source, position)| source.len() + position.len());
    u32::try_from(plans.chain(cursors).sum::<usize>()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::mpsc,
        time::{Duration, Instant},
    };

    use tokio::{runtime::Builder, task::JoinHandle};

    use super::*;
    use crate::{
        Files, GitSink, GitWriter, SinkError,
        testing::{path, plan, put},
    };

    const CALLERS: usize = 50;
    const EACH: usize = 4;
    const LIMIT: Duration = Duration::from_secs(60);

    /// Commits until it is through; returns how many were acknowledged.
    async fn call(writer: GitWriter, caller: usize) -> Result<usize, SinkError> {
        for n in 0..EACH {
            // Every tenth is larger than the queue.
            let content = "x".repeat(if caller.is_multiple_of(10) { 30_000 } else { 1_000 });
            let plans = vec![plan(&format!("{caller} {n}"), [put(&format!("{caller}/{n}"), &content)])];
            writer.commit(Batch { plans, cursors: BTreeMap::new() }).await?;
        }
        Ok(EACH)
    }

    /// Of the runtime's threads for what blocks there is one, and it is busy until the sender is dropped: a slow disk.
    fn stall() -> mpsc::Sender<()> {
        let (go_on, stalled) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || stalled.recv());
        go_on
    }

    async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn many_callers_wait_for_a_slow_disk_and_none_loses_what_was_taken() {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let builder = GitWriter::local(&folder.path().join("repository")).unwrap().queue_bytes(10_000);
            let writer = builder.start().await.unwrap();
            let go_on = stall();
            let calls: Vec<JoinHandle<_>> =
                (0..CALLERS).map(|caller| tokio::spawn(call(writer.clone(), caller))).collect();
            // The first takes all of it, and everybody else stands in line.
            until("the queue is full", || writer.queue.free.available_permits() == 0).await;
            // Some go away: one whose batch was taken, and some in the line.
            let gone = [0, 1, 10, 25, 49];
            gone.iter().for_each(|caller| calls[*caller].abort());
            drop(go_on);
            let mut acknowledged = 0;
            for (caller, call) in calls.into_iter().enumerate() {
                match call.await {
                    Ok(made) => acknowledged += made.unwrap(),
                    Err(error) => assert!(error.is_cancelled() && gone.contains(&caller), "{caller}: {error}"),
                }
            }
            assert_eq!(acknowledged, (CALLERS - gone.len()) * EACH);
            assert_eq!(writer.queue.free.available_permits(), 10_000, "all room is given back");
            // The batch that was taken of a caller that is gone is made, and those in the line are not.
            let made = async |at: &str| writer.read(&path(at)).await.unwrap().is_some();
            assert!(made("0/0").await && !made("0/1").await);
            for caller in [1, 10, 25, 49] {
                assert!(!made(&format!("{caller}/0")).await, "{caller}");
            }
            assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
            let log = std::process::Command::new("git")
                .args(["log", "--reverse", "--format=%s", "main"])
                .current_dir(folder.path().join("repository"))
                .output()
                .unwrap();
            let subjects = String::from_utf8(log.stdout).unwrap();
            for caller in (0..CALLERS).filter(|caller| !gone.contains(caller)) {
                let prefix = format!("{caller} ");
                let of_caller: Vec<_> = subjects.lines().filter_map(|subject| subject.strip_prefix(&prefix)).collect();
                assert_eq!(of_caller, ["0", "1", "2", "3"], "{caller}");
            }
        });
    }

    #[test]
    fn no_more_is_taken_than_there_is_room_for() {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let builder = GitWriter::local(&folder.path().join("repository")).unwrap().queue_bytes(10_000);
            let writer = builder.start().await.unwrap();
            let go_on = stall();
            let calls: Vec<JoinHandle<_>> = (1..10).map(|caller| tokio::spawn(call(writer.clone(), caller))).collect();
            until("the queue is full", || writer.queue.free.available_permits() == 0).await;
            // All go away, so that what comes to be made is what was taken.
            calls.iter().for_each(JoinHandle::abort);
            for call in calls {
                assert!(call.await.unwrap_err().is_cancelled());
            }
            drop(go_on);
            let made = writer.list(None).await.unwrap();
            let edits = [put("1/0", &"x".repeat(1_000))];
            let each = size(&Batch { plans: vec![plan("1 0", edits)], cursors: BTreeMap::new() }) as usize;
            assert_eq!(made.len(), 10_000 / each, "{made:?}");
            assert_eq!(writer.queue.free.available_permits(), 10_000);
            assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
        });
    }
}
