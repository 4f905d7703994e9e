//! Records the changes of a Kubernetes API in Git, looks whether Git is right, and leads back to the cluster.
//!
//! ```text
//! Watch ─► hub ─► Source ──► Change ─► select ─► sanitize ─► place ─► render ─► seal ─► plan ─► GitSink
//! Replay, you ────►                    └──────────── reverser-core ───────────┘         ▲     (reverser-git)
//! API server ─► webhook, audit log ─► Admission, Audit ─► ActorSource ─► who did it ────┘
//! API server ◄─ Restore ◄─ Manifests ◄───────────────────────────────────────────────────────── Files
//! you ◄──────── blame ◄──────────────────────────────────────────────────────────────────────── history, notes
//! ```
//!
//! The front door is [`Reverser`]: a controller hands it the changes that its users make, or lets it follow sources of changes.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use reverser_core::Actor;
//! use reverser_git::MemorySink;
//! use reverser_k8s::{Recorded, Reverser, change};
//!
//! let git = MemorySink::new(); // for tests; in a program a `GitWriter`
//! let reverser = Reverser::new(git.clone()).build();
//!
//! let mut settings = ConfigMap::default(); // in a program as the API server returned it
//! settings.metadata.name = Some("settings".into());
//! settings.metadata.namespace = Some("shop".into());
//! let change = change::updated(&settings)?.by(Actor::user("alice")).because("Black Friday");
//! assert!(matches!(reverser.record(change).await?, Recorded::Planned(_)));
//!
//! assert_eq!(git.commits()[0].plan.message.lines().next(), Some("[UPDATE] v1/configmaps/settings"));
//! # Ok(())
//! # }
//! ```
//!
//! | what for | |
//! |---|---|
//! | to record what users of a controller do | [`Reverser::record`], [`change`] |
//! | to follow a cluster, resumed where it stopped | [`Cluster`], [`Reverser::run`]; gaps in a [`Gap`] |
//! | to name authors | [`ActorSource`]: [`attribute::Admission`], [`audit::Audit`], [`Both`]; in [`attribute`] how they are joined |
//! | … to be called by API servers | [`registration`]; feature `webhook`: the endpoint and its certificates |
//! | … to say who is called how | [`identities`], into [`reverser_core::Identities`] |
//! | to see who made an object what it is | [`blame`] |
//! | to see whether Git is right | [`ReverserBuilder::verify_every`], [`compare()`] |
//! | to tell what happens | [`Reporter`], [`Metrics`] |
//! | to make a cluster what Git says or said | [`Restore`] |

pub mod api_error;
pub mod attribute;
pub mod audit;
pub mod blame;
pub mod change;
pub mod cluster;
pub mod compare;
pub mod discover;
pub mod dry_run;
pub mod identities;
pub mod list;
pub mod metrics;
pub mod registration;
pub mod renew;
pub mod report;
pub mod restore;
pub mod reverser;
pub mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod watch;
#[cfg(feature = "webhook")]
pub mod webhook;

mod hub;
mod queue;
mod request;
mod uuid;

pub use api_error::ApiError;
pub use attribute::{ActorSource, Both, Nobody};
pub use cluster::{Choice, Cluster};
pub use compare::{CompareError, Compared, Difference, Finding, compare};
pub use discover::{Catalog, DiscoverError, UnknownResource};
pub use dry_run::{Answer, DryRun, DryRunError};
pub use hub::Subscription;
pub use list::{List, Lister};
pub use metrics::Metrics;
pub use queue::Load;
pub use registration::{Captured, Registration};
pub use renew::renewed_client;
pub use report::{Endpoint, EndpointNotice, LogReporter, Notice, Reporter};
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
