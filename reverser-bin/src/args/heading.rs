//! The headings that flags stand under in `--help`, in their order there.
//!
//! Each flag names its own: one that is set for a group of flags would go on for all that follow it.

pub(super) const REPOSITORY: &str = "Repository";
pub(crate) const LOGIN: &str = "Logging in to the repository (default: what your git finds)";
pub(crate) const SIGNING: &str = "Signing (default: commits aren't signed)";
pub(super) const MANIFESTS: &str = "Manifests";
pub(super) const COMMITS: &str = "Commits and pushes (default: each change is a commit, pushed at once)";
pub(super) const CLUSTER: &str = "Cluster";
pub(super) const ATTRIBUTION: &str = "Attribution";
pub(super) const SELECTION: &str = "Selection";
pub(super) const OUTPUT: &str = "Output";
