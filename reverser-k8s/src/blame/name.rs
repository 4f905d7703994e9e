//! How users name an object where no cluster tells what it serves.

use std::{fmt, str::FromStr};

use reverser_core::RepoPath;

/// An object as users name it for kubectl, or its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectName {
    /// A file of the repository, with one object in it.
    File(RepoPath),
    /// `deployment/web`, `deploy.apps/web`, `deployments.v1.apps/web`.
    Object {
        /// Kind, plural or short name, in lower case.
        kind: String,
        /// The API group, or how it begins.
        group: Option<String>,
        /// Its name.
        name: String,
    },
}

/// It names no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no object: write it like deployment/web, deploy.apps/web, or as the path of a file")]
pub struct ObjectNameError {
    text: String,
}

impl FromStr for ObjectName {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, ObjectNameError> {
        let wrong = || ObjectNameError { text: text.to_owned() };
        let is_file = [".yaml", ".yml", ".json"].iter().any(|end| text.ends_with(end));
        match text.split_once('/') {
            Some((kind, name)) if !is_file && !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
                let (kind, group) = match kind.split_once('.') {
                    Some((kind, group)) => (kind, Some(group.to_ascii_lowercase())),
                    None => (kind, None),
                };
                Ok(Self::Object { kind: kind.to_ascii_lowercase(), group, name: name.to_owned() })
            }
            _ if is_file || text.matches('/').count() > 1 => text.parse().map(Self::File).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{path}"),
            Self::Object { kind, group: Some(group), name } => write!(f, "{kind}.{group}/{name}"),
            Self::Object { kind, group: None, name } => write!(f, "{kind}/{name}"),
        }
    }
}

/// Whether users may mean a kind by a word: the kind, its regular plural, a folder that its file is in, or what kubectl has for it.
pub(super) fn is_kind(word: &str, kind: &str, folders: &[&str]) -> bool {
    let kind = kind.to_ascii_lowercase();
    word == kind
        || word == plural(&kind)
        || folders.iter().any(|folder| folder.eq_ignore_ascii_case(word))
        || SHORT_NAMES.iter().any(|(short, long)| *short == word && *long == kind)
}

/// Whether an API group is meant by what stands behind a kind: the group, how it begins, or that behind a version.
pub(super) fn is_group(word: &str, group: &str) -> bool {
    let behind_version = word.split_once('.').filter(|(version, _)| version.starts_with('v')).map(|(_, group)| group);
    [Some(word), behind_version]
        .into_iter()
        .flatten()
        .any(|word| group == word || group.starts_with(&format!("{word}.")))
        || group.is_empty() && word.starts_with('v') && !word.contains('.')
}

/// As the API's conventions have it, and nearly all of its kinds.
pub(super) fn plural(kind: &str) -> String {
    if let Some(stem) = kind.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o'])) {
        format!("{stem}ies")
    } else if kind.ends_with(['s', 'x']) || kind.ends_with("ch") {
        format!("{kind}es")
    } else {
        format!("{kind}s")
    }
}

/// What API servers serve besides: `kubectl api-resources`. `endpoints` is its own plural.
const SHORT_NAMES: [(&str, &str); 31] = [
    ("cj", "cronjob"),
    ("cm", "configmap"),
    ("crd", "customresourcedefinition"),
    ("crds", "customresourcedefinition"),
    ("csr", "certificatesigningrequest"),
    ("deploy", "deployment"),
    ("ds", "daemonset"),
    ("endpoints", "endpoints"),
    ("ep", "endpoints"),
    ("ev", "event"),
    ("gw", "gateway"),
    ("gc", "gatewayclass"),
    ("hpa", "horizontalpodautoscaler"),
    ("ing", "ingress"),
    ("limits", "limitrange"),
    ("netpol", "networkpolicy"),
    ("no", "node"),
    ("ns", "namespace"),
    ("pc", "priorityclass"),
    ("pdb", "poddisruptionbudget"),
    ("po", "pod"),
    ("pv", "persistentvolume"),
    ("pvc", "persistentvolumeclaim"),
    ("quota", "resourcequota"),
    ("rc", "replicationcontroller"),
    ("rs", "replicaset"),
    ("sa", "serviceaccount"),
    ("sc", "storageclass"),
    ("sts", "statefulset"),
    ("svc", "service"),
    ("vac", "volumeattributesclass"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_for_kubectl_or_by_their_files() {
        let object = |kind: &str, group: Option<&str>, name: &str| ObjectName::Object {
            kind: kind.into(),
            group: group.map(Into::into),
            name: name.into(),
        };
        for (text, expected) in [
            ("deployment/web", object("deployment", None, "web")),
            ("Deploy.apps/web", object("deploy", Some("apps"), "web")),
            ("deployments.v1.apps/web", object("deployments", Some("v1.apps"), "web")),
            ("clusterrole/system:node", object("clusterrole", None, "system:node")),
            ("v1/configmaps/shop/web.yaml", ObjectName::File("v1/configmaps/shop/web.yaml".parse().unwrap())),
            ("web.yaml", ObjectName::File("web.yaml".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "web", "deployment/", "/web", "../x/y.yaml"] {
            let error = text.parse::<ObjectName>().unwrap_err().to_string();
            assert!(error.contains("like deployment/web"), "{error}");
        }
    }

    #[test]
    fn kinds_are_meant_by_many_words() {
        for (word, kind) in [
            ("deploy", "Deployment"),
            ("deployments", "Deployment"),
            ("networkpolicies", "NetworkPolicy"),
            ("ingresses", "Ingress"),
            ("gateways", "Gateway"),
            ("endpoints", "Endpoints"),
            ("ep", "Endpoints"),
        ] {
            assert!(is_kind(word, kind, &[]), "{word}");
        }
        assert!(is_kind("podchaos", "PodChaos", &[]) && is_kind("irregular", "Regular", &["irregular"]));
        assert!(!is_kind("deploy", "DeploymentConfig", &[]));
        for (word, group, is) in [
            ("apps", "apps", true),
            ("v1.apps", "apps", true),
            ("v1", "", true),
            ("example", "example.com", true),
            ("example.com", "other.example.com", false),
            ("v1", "apps", false),
        ] {
            assert_eq!(is_group(word, group), is, "{word} {group}");
        }
    }
}
