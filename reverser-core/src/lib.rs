//! The pure core of reverser.

pub mod change;
pub mod field_path;
pub mod identity;
pub mod layout;
pub mod message;
pub mod pipeline;
pub mod plan;
pub mod repo_path;
pub mod sanitize;
pub mod seal;
pub mod select;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod yaml;

pub use change::{Actor, Attribution, Change, Evidence, ObjectRef, Operation, Resource};
pub use field_path::{FieldPath, FieldPathError};
pub use layout::{DefaultLayout, Layout, LayoutTemplateError, TemplateLayout};
pub use message::{CommitMessage, DefaultMessage, MessageTemplateError, TemplateMessage};
pub use pipeline::{Pipeline, Rendered};
pub use plan::{CommitPlan, Edit, Signature, SignatureError};
pub use repo_path::{RepoPath, RepoPathError};
pub use sanitize::{Profile, Sanitizer};
pub use seal::{RefuseSecrets, Seal, SealError};
pub use select::{
    AnnotationPattern, Filter, FilterError, Glob, LabelSelector, LabelSelectorError, LeftOut, NOISE, Noise,
    OwnerPattern, Selector, Term, Test, Users, Wanted,
};
