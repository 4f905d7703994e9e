//! The owners of this process: one for a branch of a repository, whoever asks and however they write its address.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    branch::BranchName,
    store::StoreConfig,
    url::CanonicalUrl,
    writer::{PushState, owner::Request, shared::Shared},
};

/// An owner that runs, or has ended and is not forgotten yet.
#[derive(Debug)]
pub(super) struct Running {
    /// Weak: the owner ends when the last writer is gone.
    pub(super) requests: mpsc::WeakSender<Request>,
    pub(super) pushed: watch::Receiver<u64>,
    pub(super) push_state: watch::Receiver<PushState>,
    pub(super) config: StoreConfig,
    /// What the first writer has chosen for all.
    pub(super) shared: Shared,
    /// How many writers it has had, for the names of their files.
    pub(super) writers: u32,
    pub(super) task: JoinHandle<()>,
}

impl Running {
    /// Returns when the owner has ended and its state folder is free. Its last writer is gone or being closed.
    pub(super) async fn ended(&mut self) {
        // A task says its end once; of a panic it has told by itself.
        if !self.task.is_finished() {
            let _ended = (&mut self.task).await;
        }
    }

    /// Returns whether the state folder is this one.
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        let real = |folder: &Path| std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        real(folder) == real(&self.config.state_dir)
    }
}

/// Where the owner of a branch is found. Locked while it is being opened or joined, so that those who start at once find one
/// owner.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Running>>>;

/// Returns the place of the owner of a branch.
pub(super) fn slot(remote: CanonicalUrl, branch: BranchName) -> Slot {
    // Nothing under the lock panics.
    let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
    owners.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|slot| is_running(slot.as_ref())));
    Arc::clone(owners.entry((remote, branch)).or_default())
}

fn is_running(owner: Option<&Running>) -> bool {
    owner.is_some_and(|running| !running.task.is_finished())
}

static OWNERS: LazyLock<Mutex<HashMap<(CanonicalUrl, BranchName), Slot>>> = LazyLock::new(Mutex::default);
