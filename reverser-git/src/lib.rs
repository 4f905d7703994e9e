//! A durable Git writer: small authored commits, pushed as an exact compare-and-swap, never forced, never lost.
//!
//! ```text
//! writers of a branch        its owner, and a bare repository on this disk         the remote
//!
//! GitWriter ─► queue ─┐      no-ops left    signed    one pack, fsync,     push
//!                     ├────► out, trees ──► commits ─► one ref: this is ──────────► the branch moves from
//! GitWriter ─► queue ─┘      in memory                 the queue                    the tip that we saw,
//!                                 ▲                        │                        or not at all
//!                                 │ our commits again,     │ packs are joined          │
//!                                 └ on top of theirs ◄──── │ beside it      fetch ◄────┘ somebody else was there
//! ```
//!
//! - **One owner for each branch of a repository**, however its address is written: all [`GitWriter`]s of a process for it share one
//!   task, one order of commits and one push. [`GitWriterBuilder::start`] says whose options count.
//! - **A local repository** that needs no network to be opened again. Where the remote can leave contents out, it has commits and
//!   trees, and of contents what is compared. Its packs are joined in the background, so that they stay few.
//! - **Nothing is forced.** Somebody else's commits are fetched and ours made again on top, with their authors and dates;
//!   [`OnConflict`] says what becomes of a file that both have changed. A history that was rewritten is told, and ours written again.
//! - **Signed or not at all**: by a [`Signer`], an SSH key in this process ([`SshSigner`]) or a program such as gpg ([`ProgramSigner`]).
//! - **Bounded**: at a limit [`commit`](GitSink::commit) waits, for memory ([`queue_bytes`](GitWriterBuilder::queue_bytes)) and for the
//!   disk ([`unpushed_bytes`](GitWriterBuilder::unpushed_bytes)).
//! - **It says what is wrong**: [`GitWriter::push_state`], and each error has a [`Remedy`].
//!
//! [`GitWriter::open`] is for a repository with a remote and [`GitWriter::local`] for one without, [`DirectorySink`] for a plain
//! folder and `MemorySink` (feature `testing`) for the tests of programs that embed this: all of them are a [`GitSink`].
//! [`GitReader`] only reads a repository, as it is or was at a commit or a time, [`GitHistory`] what led there. What can be
//! read of any of these is in [`Files`]. What becomes known of a commit later is a [`Note`] on it ([`GitSink::note`]).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (remote, state) = (folder.path().join("remote.git"), folder.path().join("state"));
//! use std::{collections::BTreeMap, time::Duration};
//!
//! use reverser_core::{CommitPlan, Edit, Signature};
//! use reverser_git::{Batch, BranchName, Credentials, GitSink, GitWriter, remote::create_bare};
//!
//! create_bare(&remote, &BranchName::default()).await?;
//! let url = remote.to_string_lossy().parse()?;
//! let writer = GitWriter::open(url, Credentials::FromGit).state_dir(state).start().await?;
//!
//! let plan = CommitPlan {
//!     author: Some(Signature::new("Ann", "ann@example.com")),
//!     date: jiff::Timestamp::now(),
//!     message: "Add a greeting".to_owned(),
//!     edits: vec![Edit::Put { path: "greetings/hello.yaml".parse()?, content: b"hello: world\n".to_vec() }],
//! };
//! let receipt = writer.commit(Batch { plans: vec![plan], cursors: BTreeMap::new() }).await?; // on this disk
//! writer.pushed(&receipt).await?; // on the remote
//! writer.close(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```

pub mod backoff;
mod blocking;
mod branch;
mod commit;
mod conflict;
mod credentials;
mod deflate;
mod delta;
mod directory;
mod fault;
mod history;
#[cfg(feature = "testing")]
mod memory;
mod notes;
mod objects;
mod pack;
mod probe;
mod process_group;
mod reader;
mod remedy;
pub mod remote;
mod scratch;
mod sign;
mod sink;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod trees;
mod url;
mod writer;

pub use backoff::Backoff;
pub use branch::{BranchName, BranchNameError};
pub use conflict::{Conflict, ConflictOutcome, OnConflict, Rewrite};
pub use credentials::{AccessError, ClientCertificate, Credentials, KnownHosts, RemoteAccess, Secret};
pub use deflate::{CompressionLevel, CompressionLevelError};
pub use directory::DirectorySink;
pub use history::{ContentId, GitHistory, HistoryCommit, PathChange, Version, Versions};
#[cfg(feature = "testing")]
pub use memory::{MemoryCommit, MemorySink};
pub use objects::ObjectFormat;
pub use probe::RemoteProbe;
pub use reader::{At, AtError, GitReader, GitReaderBuilder, ReadCommit, ReadError};
pub use remedy::Remedy;
pub use remote::{Refusal, Remote, RemoteError, TipMove};
#[cfg(feature = "testing")]
pub use sign::MemorySigner;
pub use sign::{ProgramSigner, SignError, SignFormat, Signer, SshSigner};
pub use sink::{
    Batch, CommitId, Files, GitSink, Note, Obstacle, Obstructed, Outcome, Receipt, SinkError, says_the_same,
};
pub use store::OpenError;
pub use url::{CanonicalUrl, RemoteUrl, RemoteUrlError, default_state_dir};
pub use writer::{Closed, GitWriter, GitWriterBuilder, LastPush, PushPhase, PushState, PushTotals, StartAt};
