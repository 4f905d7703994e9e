//! A durable Git writer: authored commits, pushed as an exact compare-and-swap, never forced, never lost.

mod branch;
mod commit;
pub mod credentials;
mod directory;
#[cfg(feature = "testing")]
mod memory;
mod objects;
mod pack;
mod probe;
pub mod remedy;
pub mod remote;
pub mod sink;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod trees;
pub mod url;
pub mod writer;

pub use branch::{BranchName, BranchNameError};
pub use credentials::Credentials;
pub use directory::DirectorySink;
#[cfg(feature = "testing")]
pub use memory::{MemoryCommit, MemorySink};
pub use probe::RemoteProbe;
pub use remedy::Remedy;
pub use remote::{Remote, RemoteError};
pub use sink::{Batch, CommitId, GitSink, Outcome, Receipt, SinkError};
pub use store::OpenError;
pub use url::{RemoteUrl, RemoteUrlError, default_state_dir};
pub use writer::{Closed, GitWriter, GitWriterBuilder, LastPush, PushPhase, PushState};
