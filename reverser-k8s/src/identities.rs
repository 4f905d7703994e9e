//! Where the rules come from that name users: a file or a ConfigMap, followed while they are used.

use std::{convert::Infallible, fmt, io, os::unix::fs::MetadataExt, path::PathBuf, str::FromStr, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use reverser_core::identity::{Identities, IdentityRules, IdentityRulesError};

use crate::{
    report::{Notice, Reporter, chain},
    request::within,
};

/// How often a file is looked at. It may be swapped by a symbolic link in its path, as in a volume of a ConfigMap.
const FILE_EVERY: Duration = Duration::from_secs(1);

/// How often a ConfigMap is asked for: so nothing but the verb `get` is needed.
const CONFIG_MAP_EVERY: Duration = Duration::from_secs(5);

/// How long the API server has to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// In bytes; a ConfigMap has at most 1 MiB.
const MAX_BYTES: u64 = 8 << 20;

/// What begins the text of a ConfigMap's place.
const CONFIG_MAP: &str = "configmap:";

/// Where rules come from: a path, or `configmap:NAMESPACE/NAME[/KEY]`.
///
/// ```
/// use reverser_k8s::identities::IdentitySource;
///
/// let source: IdentitySource = "configmap:reverser/people".parse()?;
/// assert_eq!(source.to_string(), "configmap:reverser/people/identities.yaml");
/// assert_eq!("people.yaml".parse::<IdentitySource>()?.to_string(), "people.yaml");
/// # Ok::<(), reverser_k8s::identities::IdentitySourceError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// A key of a ConfigMap.
    ConfigMap {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key in its `data`; `identities.yaml` where none is given.
        key: String,
    },
    /// A file.
    File(PathBuf),
}

/// Keeps rules as their source has them.
pub struct FollowedIdentities {
    source: IdentitySource,
    /// For a ConfigMap.
    client: Option<Client>,
    identities: Identities,
    seen: Version,
}

/// What tells a version of the rules from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    /// Device, inode, size, and time of the last change, in seconds and nanoseconds.
    File([i128; 5]),
    /// Its resourceVersion.
    ConfigMap(Option<String>),
}

impl FollowedIdentities {
    /// Reads the rules into `identities`. `client` is for a ConfigMap.
    ///
    /// # Errors
    /// They can't be read, or are wrong; what was there before stays.
    pub async fn open(
        source: IdentitySource,
        client: Option<Client>,
        identities: Identities,
    ) -> Result<Self, IdentitySourceError> {
        let Some((seen, text)) = source.read(client.as_ref(), None).await? else {
            unreachable!("nothing was seen before, so that it is another version")
        };
        identities.set_rules(source.parse(&text)?);
        Ok(Self { source, client, identities, seen })
    }

    /// Takes over each later version of the rules, for as long as this is polled. One that can't be read, or is wrong, is
    /// reported once, and the rules stay what they were.
    pub async fn follow(mut self, reporter: &dyn Reporter) -> Infallible {
        let mut told = None;
        loop {
            tokio::time::sleep(self.source.every()).await;
            match self.look().await {
                Ok(None) => told = None,
                Ok(Some(rules)) => {
                    told = None;
                    reporter.report(Notice::IdentitiesRead { source: &self.source, rules });
                }
                Err(error) => {
                    let text = chain(&error);
                    if told.as_ref() != Some(&text) {
                        reporter.report(Notice::IdentitiesRefused { error: &error });
                    }
                    told = Some(text);
                }
            }
        }
    }

    /// Returns how many rules there are where there is another version of them.
    async fn look(&mut self) -> Result<Option<usize>, IdentitySourceError> {
        let read = self.source.read(self.client.as_ref(), Some(&self.seen)).await?;
        let Some((version, text)) = read else { return Ok(None) };
        // Also of a wrong one: it is told of once.
        self.seen = version;
        let rules = self.source.parse(&text)?;
        let count = rules.len();
        self.identities.set_rules(rules);
        Ok(Some(count))
    }
}

/// Without the client, which can't be shown.
impl fmt::Debug for FollowedIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowedIdentities").field("source", &self.source).finish_non_exhaustive()
    }
}

impl IdentitySource {
    /// Returns the version that is there, and its text, unless it is the one that was `seen`.
    async fn read(
        &self,
        client: Option<&Client>,
        seen: Option<&Version>,
    ) -> Result<Option<(Version, String)>, IdentitySourceError> {
        match self {
            Self::ConfigMap { namespace, name, key } => {
                let Some(client) = client else {
                    return Err(IdentitySourceError::NoCluster { place: self.to_string() });
                };
                let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
                let asked = within(LIMIT, api.get(name)).await;
                let map = asked.map_err(|source| IdentitySourceError::Request { place: self.to_string(), source })?;
                let version = Version::ConfigMap(map.metadata.resource_version);
                if Some(&version) == seen {
                    return Ok(None);
                }
                let mut data = map.data.unwrap_or_default();
                let text = data.remove(key);
                let keys = data.into_keys().collect();
                let text = text.ok_or_else(|| IdentitySourceError::NoKey { place: self.to_string(), keys })?;
                Ok(Some((version, text)))
            }
            Self::File(path) => {
                let unreadable = |source| IdentitySourceError::Unreadable { place: self.to_string(), source };
                // Before it is read: what changes meanwhile is read again.
                let found = tokio::fs::metadata(path).await.map_err(unreadable)?;
                let version = Version::File([
                    found.dev().into(),
                    found.ino().into(),
                    found.len().into(),
                    found.ctime().into(),
                    found.ctime_nsec().into(),
                ]);
                if Some(&version) == seen {
                    return Ok(None);
                }
                if found.len() > MAX_BYTES {
                    return Err(IdentitySourceError::TooLarge { place: self.to_string() });
                }
                Ok(Some((version, tokio::fs::read_to_string(path).await.map_err(unreadable)?)))
            }
        }
    }

    fn parse(&self, text: &str) -> Result<IdentityRules, IdentitySourceError> {
        text.parse().map_err(|source| IdentitySourceError::Wrong { place: self.to_string(), source })
    }

    fn every(&self) -> Duration {
        match self {
            Self::ConfigMap { .. } => CONFIG_MAP_EVERY,
            Self::File(_) => FILE_EVERY,
        }
    }
}

impl fmt::Display for IdentitySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap { namespace, name, key } => write!(f, "{CONFIG_MAP}{namespace}/{name}/{key}"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for IdentitySource {
    type Err = IdentitySourceError;

    fn from_str(text: &str) -> Result<Self, IdentitySourceError> {
        let Some(place) = text.strip_prefix(CONFIG_MAP) else { return Ok(Self::File(text.into())) };
        let mut parts = place.splitn(3, '/');
        let mut part = || parts.next().map(str::to_owned);
        let (namespace, name, key) = (part(), part(), part().unwrap_or_else(|| "identities.yaml".to_owned()));
        let is_given = |part: &String| !part.is_empty() && !part.contains('/');
        match (namespace.filter(is_given), name.filter(is_given)) {
            (Some(namespace), Some(name)) if is_given(&key) => Ok(Self::ConfigMap { namespace, name, key }),
            _ => Err(IdentitySourceError::NoPlace { text: text.to_owned() }),
        }
    }
}

/// Rules could not be read, or are wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentitySourceError {
    /// A ConfigMap, and nobody to ask for it.
    #[error("{place}: there is no cluster to read it from; give a file")]
    NoCluster {
        /// Where they should be.
        place: String,
    },
    /// The ConfigMap has other keys.
    #[error("{place}: the ConfigMap has no such key; it has: {}", keys.join(", "))]
    NoKey {
        /// Where they should be.
        place: String,
        /// What there is instead.
        keys: Vec<String>,
    },
    /// The text names no ConfigMap.
    #[error("{text:?} names no ConfigMap: write configmap:NAMESPACE/NAME, or configmap:NAMESPACE/NAME/KEY")]
    NoPlace {
        /// What it says.
        text: String,
    },
    /// The API server doesn't give it.
    #[error("{place}: it has to exist, and this user has to be allowed to get it")]
    Request {
        /// Where they should be.
        place: String,
        /// What it says.
        #[source]
        source: kube::Error,
    },
    /// There is too much of it.
    #[error("{place}: it has more than {} MiB", MAX_BYTES >> 20)]
    TooLarge {
        /// Where they are.
        place: String,
    },
    /// The file can't be read.
    #[error("{place}: it has to exist, and this user has to be able to read it")]
    Unreadable {
        /// Where they should be.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// These are no rules.
    #[error("{place}")]
    Wrong {
        /// Where they are.
        place: String,
        /// What is wrong with them.
        #[source]
        source: IdentityRulesError,
    },
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use reverser_core::Actor;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl Reporter for Told {
        fn report(&self, notice: Notice<'_>) {
            let text = match notice {
                Notice::IdentitiesRead { rules, .. } => format!("{rules} rules"),
                Notice::IdentitiesRefused { error } => chain(error),
                other => format!("{other:?}"),
            };
            self.0.lock().unwrap().push(text);
        }
    }

    fn rules(name: &str) -> String {
        format!("rules: [{{user: alice, name: {name}}}]")
    }

    #[test]
    fn a_place_is_a_path_or_a_config_map() {
        for (text, shown) in [
            ("people.yaml", "people.yaml"),
            ("./configmap:a/b", "./configmap:a/b"),
            ("configmap:a/b", "configmap:a/b/identities.yaml"),
            ("configmap:a/b/c", "configmap:a/b/c"),
        ] {
            assert_eq!(text.parse::<IdentitySource>().unwrap().to_string(), shown);
        }
        for wrong in
            ["configmap:", "configmap:a", "configmap:a/", "configmap:/b", "configmap:a/b/", "configmap:a/b/c/d"]
        {
            assert!(wrong.parse::<IdentitySource>().unwrap_err().to_string().contains("NAMESPACE/NAME"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_file_is_followed_through_swaps_and_a_wrong_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // As the kubelet has it: the file's name leads through `..data`, which is swapped.
        let put = |version: &str, text: &str| {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("people.yaml"), text).unwrap();
            std::os::unix::fs::symlink(version, at("new")).unwrap();
            std::fs::rename(at("new"), at("..data")).unwrap();
        };
        put("1", &rules("One"));
        std::os::unix::fs::symlink("..data/people.yaml", at("people.yaml")).unwrap();
        let identities = Identities::default();
        let source = IdentitySource::File(at("people.yaml"));
        let mut followed = FollowedIdentities::open(source, None, identities.clone()).await.unwrap();
        let name = || identities.author(&Actor::user("alice")).name().to_owned();
        assert_eq!((name().as_str(), followed.look().await.unwrap()), ("One", None));
        put("2", &rules("Two"));
        assert_eq!((followed.look().await.unwrap(), name().as_str()), (Some(1), "Two"));
        put("3", "rules: [{user: alice, mail: x}]");
        let refused = chain(&followed.look().await.unwrap_err());
        assert!(refused.contains("people.yaml: rules[0].mail: there is no such field"), "{refused}");
        assert_eq!((followed.look().await.unwrap(), name().as_str()), (None, "Two"));
        std::fs::remove_file(at("people.yaml")).unwrap();
        assert!(matches!(followed.look().await, Err(IdentitySourceError::Unreadable { .. })));
        std::fs::write(at("people.yaml"), rules("Four")).unwrap();
        assert_eq!((followed.look().await.unwrap(), name().as_str()), (Some(1), "Four"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_is_told_once_and_what_is_right_again_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.yaml");
        std::fs::write(&path, rules("One")).unwrap();
        let source = IdentitySource::File(path.clone());
        let identities = Identities::default();
        let followed = FollowedIdentities::open(source, None, identities.clone()).await.unwrap();
        let told = Told::default();
        let script = async {
            std::fs::remove_file(&path).unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
            std::fs::write(&path, rules("Two")).unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
        };
        tokio::select! {
            never = followed.follow(&told) => match never {},
            () = script => {}
        }
        let told = told.0.lock().unwrap();
        assert!(told.len() == 2 && told[0].contains("it has to exist") && told[1] == "1 rules", "{told:?}");
        assert_eq!(identities.author(&Actor::user("alice")).name(), "Two");
    }

    #[tokio::test]
    async fn a_config_map_takes_a_cluster() {
        let source: IdentitySource = "configmap:a/b".parse().unwrap();
        let opened = FollowedIdentities::open(source, None, Identities::default()).await;
        assert!(opened.unwrap_err().to_string().contains("there is no cluster"));
    }
}
