//! Records the changes of a Kubernetes API in Git.
//!
//! ```text
//! Source ──► Change ─► select ─► sanitize ─► place ─► render ─► seal ─► plan ─► GitSink
//! (watch,              └──────────── reverser-core ───────────┘         ▲     (reverser-git)
//!  audit log, you)                                          ActorSource ┘ who did it
//! ```
//!
//! The front door is [`Reverser`]: a controller hands it the changes that its users make ([`Reverser::record`] with
//! [`change::updated`]), or lets it follow sources of changes ([`Reverser::run`] with the watches of a [`Cluster`]).
//! The way back is [`Restore`]: files of a repository, as it is or was, become objects of a cluster.

pub mod api_error;
pub mod attribute;
pub mod audit;
pub mod change;
pub mod cluster;
pub mod compare;
pub mod discover;
pub mod dry_run;
pub mod list;
pub mod metrics;
pub mod renew;
pub mod report;
pub mod restore;
pub mod reverser;
pub mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod watch;

mod hub;
mod queue;
mod request;

pub use api_error::ApiError;
pub use attribute::{ActorSource, Nobody};
pub use cluster::{Choice, Cluster};
pub use compare::{CompareError, Compared, Difference, Finding, compare};
pub use discover::{Catalog, DiscoverError, UnknownResource};
pub use dry_run::{Answer, DryRun, DryRunError};
pub use hub::Subscription;
pub use list::{List, Lister};
pub use metrics::Metrics;
pub use queue::Load;
pub use renew::renewed_client;
pub use report::{LogReporter, Notice, Reporter};
pub use restore::{Restore, RestoreOptions};
pub use reverser::{Arrival, RecordError, Recorded, Reverser, ReverserBuilder, SyncGaps, Verified};
pub use source::{Event, Gap, Listed, Source};
pub use watch::Watch;

#[cfg(test)]
mod fixture {
    use std::sync::Arc;

    use reverser_core::Resource;

    pub(crate) fn configmaps() -> Arc<Resource> {
        Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps"))
    }
}
