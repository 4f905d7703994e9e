//! Who made a change: joins it with what is known from elsewhere.
//!
//! ```text
//! admission reviews ─► Admission ─┐
//!                                 ├─► Both ─► ActorSource ◄── change: who was it? ── Reverser
//! audit events ──────► Audit ─────┘
//! ```
//!
//! ```no_run
//! use std::{path::Path, time::Duration};
//!
//! use reverser_core::Pipeline;
//! use reverser_git::GitWriter;
//! use reverser_k8s::{
//!     Cluster, Reverser,
//!     attribute::{Admission, Both},
//!     audit::Audit,
//! };
//!
//! # async fn example(client: kube::Client, git: GitWriter) -> Result<(), Box<dyn std::error::Error>> {
//! let admission = Admission::open(Path::new("/state/admission"))?; // told by `review`
//! let audit = Audit::default().waiting(Duration::ZERO); // told by `receive`; beside admission nothing waits for it
//! // Its watches say what joins a change with its request.
//! let cluster = Cluster::connect(client, "https://10.0.0.1", "platform").await?;
//! let cluster = cluster.fingerprint_with(admission.fingerprinter());
//! let watches = cluster.resume(&Pipeline::default(), &git).await?;
//! let reverser = Reverser::new(git).actors(Both::new(admission, audit)).build();
//! # Ok(()) }
//! ```

mod admission;
mod both;
pub(crate) mod controllers;
mod fact;
mod facts;
#[cfg(test)]
mod fixture;
mod journal;
mod review;

use std::{fmt::Debug, time::Duration};

use reverser_core::{Attribution, Change, ObjectRef};
use serde_json::Value;

pub use self::{
    admission::{Admission, Counts, Lesson, Reviewed},
    both::Both,
    journal::AdmissionError,
    review::ReviewError,
};

/// Knows who made changes.
///
/// # Contract
/// - Only ever says *who*; an answer other than [`Attribution::Unknown`] is evidence and never a guess.
/// - Answers at once, from memory. Who asks may wait for a better answer, as [`patience`](Self::patience) says.
#[async_trait::async_trait]
pub trait ActorSource: Debug + Send + Sync {
    /// Returns who made `change`, as far as it is known now.
    fn attribute(&self, change: &Change) -> Attribution;

    /// Returns how long after `change` was read a better answer than `attribution` may be waited for. Default: it can't come.
    fn patience(&self, _change: &Change, _attribution: &Attribution) -> Duration {
        Duration::ZERO
    }

    /// Returns how long after a change was read its `attribution` may still turn out to be another one; what does after its
    /// commit becomes a note on it. Default: it can't.
    fn correctable(&self, _attribution: &Attribution) -> Duration {
        Duration::ZERO
    }

    /// Takes note of a change, whether or not anybody will ask who made it; of each object in the order in which they
    /// happened, and before [`attribute`](Self::attribute). It has its body. Default: nothing.
    fn saw(&self, _change: &Change) {}

    /// Takes note of an object of a complete list, which comes before the changes that follow it. Default: nothing.
    fn listed(&self, _object: &ObjectRef, _body: &Value) {}

    /// Returns when something has been learned since this returned last. Default: never. Only one may wait at a time.
    async fn learned(&self) {
        std::future::pending().await
    }
}

/// Knows nobody: every author is the committer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl ActorSource for Nobody {
    fn attribute(&self, _change: &Change) -> Attribution {
        Attribution::Unknown
    }
}
