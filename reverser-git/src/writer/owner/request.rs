//! What writers ask of the owner of their branch.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use reverser_core::RepoPath;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    remote::RemoteError,
    sign::Signer,
    sink::{Note, Receipt, SinkError},
    store::Work,
    writer::{handle::Handle, owner::Looking},
};

/// What the owner is asked to do.
#[derive(Debug)]
pub(crate) enum Request {
    /// Somebody wants to see what others have pushed.
    CatchUp {
        reply: Looking,
    },
    /// A writer is being closed. The answer is the sequence of its last batch, or a later one.
    Close {
        handle: Arc<Handle>,
        reply: oneshot::Sender<u64>,
    },
    Commit {
        work: Work,
        /// Given back when the batch is durable.
        permit: OwnedSemaphorePermit,
        reply: oneshot::Sender<Result<Receipt, SinkError>>,
    },
    Cursors {
        reply: oneshot::Sender<BTreeMap<String, String>>,
    },
    /// Another writer of the same branch.
    Join {
        handle: Weak<Handle>,
        signer: Option<Arc<dyn Signer>>,
        reply: oneshot::Sender<Result<(), RemoteError>>,
    },
    /// It has waited for its pushes. When it is the last one the answer comes after the owner's end.
    Leave {
        handle: Arc<Handle>,
        reply: oneshot::Sender<()>,
    },
    Note {
        note: Note,
        /// Given back when it is durable.
        permit: OwnedSemaphorePermit,
        reply: oneshot::Sender<Result<(), SinkError>>,
    },
    /// Somebody waits until all batches up to this one are pushed.
    Push {
        sequence: u64,
    },
    List {
        folder: Option<RepoPath>,
        under: Option<RepoPath>,
        reply: oneshot::Sender<Result<Vec<RepoPath>, SinkError>>,
    },
    Read {
        path: RepoPath,
        reply: oneshot::Sender<Result<Option<Vec<u8>>, SinkError>>,
    },
    RetryNow {
        reply: oneshot::Sender<()>,
    },
}
