//! Where in the repository an object's file stands.

use std::fmt::Debug;

use crate::{ObjectRef, RepoPath, Resource};

mod template;

pub use template::{LayoutTemplateError, TemplateLayout};

/// Decides where *new* objects are placed.
///
/// # Contract
/// Pure, and injective over (group, plural, namespace, name): two different objects never get the same path, also on file
/// systems that fold case or normalize Unicode, and no object's file is another one's folder. Nothing outside of this
/// trait may assume how a path comes about. `testing::layout_conforms` (feature `testing`) checks it.
///
/// The version isn't among them: an object that is served in two versions is one object (same uid), of which one version
/// is captured at a time. A layout may give both versions one path; then the file is edited in place when the
/// version changes.
///
/// What a layout may rely on, since API servers see to it ("Object Names and IDs" in the Kubernetes documentation, the
/// validation of CustomResourceDefinitions):
///
/// | name | is |
/// |---|---|
/// | group | empty for the core group, which has but the version `v1`; else a lower-case RFC 1123 subdomain that isn't called like a version |
/// | version, plural | an RFC 1035 label: `a`–`z`, `0`–`9`, `-` |
/// | kind | such a label, but for its case; the same for all objects of a resource, and not always known (empty) |
/// | namespace | an RFC 1123 label: `a`–`z`, `0`–`9`, `-`; absent for cluster-scoped resources, which are so for good |
/// | name | anything: RBAC takes whatever has no `/` and no `%`, in any case and script |
///
/// ```
/// use reverser_core::{DefaultLayout, Layout, ObjectRef, RepoPath, Resource};
///
/// /// Several clusters in one repository: each in a folder of its own.
/// #[derive(Debug)]
/// struct Cluster(RepoPath);
///
/// impl Layout for Cluster {
///     fn place(&self, object: &ObjectRef) -> RepoPath {
///         self.0.join(&DefaultLayout.place(object))
///     }
///
///     fn folder(&self, resource: &Resource) -> Option<RepoPath> {
///         DefaultLayout.folder(resource).map(|folder| self.0.join(&folder))
///     }
/// }
///
/// let east = Cluster("clusters/east".parse()?);
/// let resource = Resource::new("", "v1", "Node", "nodes").cluster_scoped();
/// assert_eq!(east.folder(&resource).unwrap().as_str(), "clusters/east/v1/nodes");
/// # #[cfg(feature = "testing")]
/// reverser_core::testing::layout_conforms(&east);
/// # Ok::<(), reverser_core::RepoPathError>(())
/// ```
pub trait Layout: Debug + Send + Sync {
    /// Returns the object's path below the writer's root.
    fn place(&self, object: &ObjectRef) -> RepoPath;

    /// Returns the deepest folder below which all objects of `resource` are placed; `None` is the writer's root. A
    /// sweep looks for files of vanished objects there and nowhere else.
    fn folder(&self, resource: &Resource) -> Option<RepoPath>;

    /// Returns whether an object of `resource` could be placed at `path`; in doubt `true`, as by default. A sweep of a
    /// layout whose folders aren't resources reads the fewer files, the more often this is `false`.
    fn may_hold(&self, _resource: &Resource, _path: &RepoPath) -> bool {
        true
    }
}

/// `[<group>/]<version>/<resource>/[<namespace>/]<name>.yaml`.
///
/// ```
/// use reverser_core::{DefaultLayout, Layout, ObjectRef, Resource};
///
/// let resource = Resource::new("apps", "v1", "Deployment", "deployments").into();
/// let web = ObjectRef { resource, namespace: Some("shop".into()), name: "web".into(), uid: None };
/// assert_eq!(DefaultLayout.place(&web).as_str(), "apps/v1/deployments/shop/web.yaml");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultLayout;

impl Layout for DefaultLayout {
    fn place(&self, object: &ObjectRef) -> RepoPath {
        let file = format!("{}.yaml", object.name);
        RepoPath::from_segments(
            folders(&object.resource).chain(object.namespace.as_deref()).chain(std::iter::once(file.as_str())),
        )
    }

    fn folder(&self, resource: &Resource) -> Option<RepoPath> {
        Some(RepoPath::from_segments(folders(resource)))
    }
}

fn folders(resource: &Resource) -> impl Iterator<Item = &str> {
    let group = Some(resource.group.as_str()).filter(|group| !group.is_empty());
    group.into_iter().chain([resource.version.as_str(), resource.plural.as_str()])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn object(group: &str, plural: &str, namespace: Option<&str>, name: &str) -> ObjectRef {
        let resource = Resource { namespaced: namespace.is_some(), ..Resource::new(group, "v1", "", plural) };
        ObjectRef {
            resource: Arc::new(resource),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
            uid: None,
        }
    }

    #[test]
    fn the_core_group_and_cluster_scope_leave_no_empty_folder() {
        assert_eq!(
            DefaultLayout.place(&object("", "configmaps", Some("default"), "test-config")).as_str(),
            "v1/configmaps/default/test-config.yaml"
        );
        assert_eq!(DefaultLayout.place(&object("", "namespaces", None, "vote")).as_str(), "v1/namespaces/vote.yaml");
    }

    #[test]
    fn the_default_conforms() {
        crate::testing::layout_conforms(&DefaultLayout);
    }

    #[test]
    fn rbac_names_cannot_leave_their_folder() {
        let path = DefaultLayout.place(&object("rbac.authorization.k8s.io", "clusterroles", None, "../a:b"));
        assert_eq!(path.segments().count(), 4);
        assert!(path.as_str().starts_with("rbac.authorization.k8s.io/v1/clusterroles/"));
    }
}
