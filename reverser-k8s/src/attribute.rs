//! Who made a change: joins it with what is known from elsewhere.

use std::fmt::Debug;

use reverser_core::{Attribution, Change};
use tokio::time::Instant;

/// Knows who made changes.
///
/// # Contract
/// Only ever says *who*; an answer other than [`Attribution::Unknown`] is evidence and never a guess. It may wait for
/// the evidence until a fixed time after `arrived`, the moment at which the change was first seen.
#[async_trait::async_trait]
pub trait ActorSource: Debug + Send + Sync {
    /// Returns who made `change`.
    async fn attribute(&self, change: &Change, arrived: Instant) -> Attribution;
}

/// Knows nobody: every author is the committer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

#[async_trait::async_trait]
impl ActorSource for Nobody {
    async fn attribute(&self, _change: &Change, _arrived: Instant) -> Attribution {
        Attribution::Unknown
    }
}
