//! In which order objects are applied: what others need comes first, what judges others comes last.

/// When an object is applied. Those of one stage need nothing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// They make kinds.
    Definitions,
    Namespaces,
    /// Classes that others name, accounts, nodes, and what bounds the network: Pods are to begin with it.
    Foundations,
    Roles,
    /// Whoever binds a role needs it to be there.
    Bindings,
    Configuration,
    /// Before Pods, which get their addresses as variables.
    Services,
    Workloads,
    /// Of the kinds that definitions have made; their controllers run by then.
    Custom,
    /// Quotas and limits say no while they count; webhooks, policies and API servers in the cluster answer once their Pods
    /// run, and refuse everything until then.
    Gates,
}

impl Stage {
    /// All of them, in order.
    pub(super) const ALL: [Self; 10] = [
        Self::Definitions,
        Self::Namespaces,
        Self::Foundations,
        Self::Roles,
        Self::Bindings,
        Self::Configuration,
        Self::Services,
        Self::Workloads,
        Self::Custom,
        Self::Gates,
    ];

    /// Returns the stage of a kind.
    pub(super) fn of(group: &str, kind: &str) -> Self {
        let row = KINDS.iter().find(|(its_group, its_kind, _)| (*its_group, *its_kind) == (group, kind));
        match row {
            Some((_, _, stage)) => *stage,
            None if group == "admissionregistration.k8s.io" => Self::Gates,
            None if is_built_in(group) => Self::Workloads,
            None => Self::Custom,
        }
    }
}

/// Whether Kubernetes itself serves the group: its groups have no dot or end in its own domain, which is reserved.
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/>
fn is_built_in(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io")
}

const KINDS: &[(&str, &str, Stage)] = &[
    ("", "ConfigMap", Stage::Configuration),
    ("", "LimitRange", Stage::Gates),
    ("", "Namespace", Stage::Namespaces),
    ("", "Node", Stage::Foundations), // Pods on it get labels of its own
    ("", "PersistentVolume", Stage::Configuration),
    ("", "PersistentVolumeClaim", Stage::Configuration),
    ("", "ResourceQuota", Stage::Gates),
    ("", "Secret", Stage::Configuration),
    ("", "Service", Stage::Services),
    ("", "ServiceAccount", Stage::Foundations),
    ("apiextensions.k8s.io", "CustomResourceDefinition", Stage::Definitions),
    ("apiregistration.k8s.io", "APIService", Stage::Gates),
    ("networking.k8s.io", "IngressClass", Stage::Foundations),
    ("networking.k8s.io", "NetworkPolicy", Stage::Foundations),
    ("node.k8s.io", "RuntimeClass", Stage::Foundations),
    ("rbac.authorization.k8s.io", "ClusterRole", Stage::Roles),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", Stage::Bindings),
    ("rbac.authorization.k8s.io", "Role", Stage::Roles),
    ("rbac.authorization.k8s.io", "RoleBinding", Stage::Bindings),
    ("resource.k8s.io", "DeviceClass", Stage::Foundations),
    ("scheduling.k8s.io", "PriorityClass", Stage::Foundations),
    ("storage.k8s.io", "CSIDriver", Stage::Foundations),
    ("storage.k8s.io", "StorageClass", Stage::Foundations),
    ("storage.k8s.io", "VolumeAttributesClass", Stage::Foundations),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_comes_first_and_what_judges_them_last() {
        let kinds = [
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("", "Namespace"),
            ("", "ServiceAccount"),
            ("rbac.authorization.k8s.io", "Role"),
            ("rbac.authorization.k8s.io", "RoleBinding"),
            ("", "ConfigMap"),
            ("", "Service"),
            ("apps", "Deployment"),
            ("example.com", "Widget"),
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ];
        let stages = kinds.map(|(group, kind)| Stage::of(group, kind));
        assert_eq!(stages, Stage::ALL);
        assert!(stages.is_sorted());
    }

    #[test]
    fn kinds_that_the_table_does_not_name_have_a_stage_by_their_group() {
        assert_eq!(Stage::of("", "Pod"), Stage::Workloads);
        assert_eq!(Stage::of("gateway.networking.k8s.io", "Gateway"), Stage::Workloads);
        assert_eq!(Stage::of("serving.knative.dev", "Service"), Stage::Custom);
        assert_eq!(Stage::of("admissionregistration.k8s.io", "MutatingAdmissionPolicy"), Stage::Gates);
    }

    #[test]
    fn the_table_is_sorted_and_names_nothing_twice() {
        assert!(KINDS.is_sorted_by_key(|(group, kind, _)| (group, kind)));
        assert!(KINDS.windows(2).all(|pair| (pair[0].0, pair[0].1) != (pair[1].0, pair[1].1)));
    }
}
