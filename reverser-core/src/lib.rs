//! The pure core of reverser: Kubernetes objects in; clean YAML, paths and commit messages out. It has no async runtime,
//! network, files or clock (time is a parameter), builds for wasm32, and each of its parts can be taken alone.
//!
//! ```text
//!  Change ─────► Selector ─► Sanitizer ─► Layout ─► yaml ─► Seal ─────► Edit ─────► CommitMessage ─────► CommitPlan
//!  object,       captured?   what         where     bytes   sealed,     path,       words, trailers,     author, date,
//!  operation,                servers own  its file          or left     bytes       identity: author     message, edits
//!  actor                     goes         stands            out
//!                └────────────── Pipeline::render ──────────────┘                   └ Pipeline::plan ┘
//! ```
//!
//! # From an object to its manifest
//!
//! Whatever the API server returned for an object, of any kind, becomes the manifest that its author would have written:
//!
//! ```
//! use reverser_core::{Sanitizer, yaml};
//!
//! let json = r#"{
//!     "apiVersion": "v1", "kind": "Service",
//!     "metadata": {"name": "web", "uid": "4f1c", "resourceVersion": "812", "labels": {"canary": "no"}},
//!     "spec": {"clusterIP": "10.96.0.17", "ports": [{"port": 80}]},
//!     "status": {"loadBalancer": {}}
//! }"#;
//! let sanitizer = Sanitizer::faithful();
//! let manifest = yaml::to_string(&sanitizer.clean(sanitizer.read(json)?));
//! assert_eq!(manifest, r#"apiVersion: v1
//! kind: Service
//! metadata:
//!   name: web
//!   labels:
//!     canary: "no"
//! spec:
//!   ports:
//!   - port: 80
//! "#);
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! [`yaml::objects`] reads what `kubectl get -o yaml` prints, [`yaml::Documents`] the same as a stream. [`Profile`] says how
//! much is removed, [`Sanitizer::rules`] what exactly, and why.
//!
//! # From a change to a commit
//!
//! [`Pipeline`] joins all the parts. Each of its fields is a seam with a default.
//!
//! ```
//! use std::sync::Arc;
//!
//! use reverser_core::{Actor, Change, Edit, ObjectRef, Operation, Pipeline, Rendered, Resource};
//! use serde_json::json;
//!
//! let live = json!({
//!     "apiVersion": "apps/v1", "kind": "Deployment",
//!     "metadata": {"name": "web", "namespace": "shop", "uid": "9b7e", "resourceVersion": "4711"},
//!     "spec": {"replicas": 5}, "status": {"replicas": 2},
//! });
//! let deployments = Arc::new(Resource::new("apps", "v1", "Deployment", "deployments"));
//! let web = ObjectRef::of(&deployments, &live).expect("what the API server returns has a name");
//! let mut change = Change::new(web, Operation::Update, Some(live)).by(Actor::user("alice")).because("Black Friday");
//!
//! let pipeline = Pipeline::default();
//! let Rendered::Write(edit) = pipeline.render(&mut change) else { unreachable!("the default selects Deployments") };
//! let plan = pipeline.plan(&change, edit, "2026-11-27T08:00:00Z".parse()?);
//!
//! let [Edit::Put { path, content }] = plan.edits.as_slice() else { unreachable!("the object is there") };
//! assert_eq!(path.as_str(), "apps/v1/deployments/shop/web.yaml");
//! assert!(content.ends_with(b"  namespace: shop\nspec:\n  replicas: 5\n"));
//! assert_eq!(plan.author.expect("there is evidence").to_string(), "alice <alice@cluster.local>");
//! assert_eq!(plan.message, "[UPDATE] apps/v1/deployments/web
//!
//! Namespace: shop
//!
//! Black Friday
//!
//! Reverser-Actor: alice
//! Reverser-Evidence: host
//! Reverser-Uid: 9b7e
//! Reverser-Resource-Version: 4711
//! ");
//! # Ok::<(), jiff::Error>(())
//! ```
//!
//! Each change is a commit of its own, or changes gather and become fewer: [`Batcher`] says which, and when.
//!
//! # Features
//!
//! - `testing`, off by default: the conformance suites that every implementation of [`Layout`], [`CommitMessage`] and
//!   [`Seal`] passes, for the tests of those who write one.

pub mod batch;
pub mod change;
pub mod churn;
pub mod coalesce;
pub mod drift;
pub mod field_path;
pub mod fingerprint;
pub mod identity;
pub mod layout;
pub mod leaves;
pub mod message;
pub mod pipeline;
pub mod plan;
mod positions;
pub mod reason;
pub mod repo_path;
pub mod sanitize;
pub mod seal;
pub mod select;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod yaml;

pub use batch::{Batcher, Batching, Grouping, GroupingError};
pub use change::{Actor, Attribution, Change, Evidence, ObjectRef, Operation, RequestInfo, Resource};
pub use churn::Churn;
pub use coalesce::{Coalescer, Coalescing};
pub use drift::{Drift, Drifted};
pub use field_path::{FieldPath, FieldPathError};
pub use fingerprint::{Fingerprint, Fingerprinter};
pub use identity::Identities;
pub use layout::{DefaultLayout, Layout, LayoutTemplateError, TemplateLayout};
pub use message::{CommitMessage, DefaultMessage, MessageTemplateError, TemplateMessage};
pub use pipeline::{Pipeline, Rendered};
pub use plan::{CommitPlan, Edit, Signature, SignatureError};
pub use positions::Positions;
pub use reason::Reasons;
pub use repo_path::{RepoPath, RepoPathError};
pub use sanitize::{Profile, Sanitizer};
pub use seal::{RefuseSecrets, Seal, SealError};
pub use select::{
    AnnotationPattern, Filter, FilterError, Glob, LabelSelector, LabelSelectorError, LeftOut, Made, NOISE, Noise,
    OPT_OUT, OwnerPattern, Selector, Term, Test, Users, Wanted, Writers,
};
