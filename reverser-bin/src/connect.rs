//! From flags to a cluster, and to what is captured of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use anyhow::{Context, bail};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use reverser_core::{Filter, Glob, NOISE, Pipeline, RepoPath, Selector, Test, sanitize::FieldRule};
use reverser_k8s::{Catalog, Choice, Cluster, DiscoverError, DryRun, renewed_client};

use crate::{
    Usage,
    args::{ALL, CleanArgs, ClusterArgs, FilesArgs, SelectArgs},
};

/// How long an API server has to accept a connection. The default of 30 s is long for somebody who waits in front of it.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A cluster, what is captured of it, and how to talk to it.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) address: String,
    pub(crate) cluster: Cluster,
    pub(crate) pipeline: Pipeline,
}

/// Connects as the flags say; `files` is where the objects stand.
pub(crate) async fn connect(
    cluster: &ClusterArgs,
    select: &SelectArgs,
    clean: &CleanArgs,
    files: &FilesArgs,
) -> anyhow::Result<Connected> {
    let (client, address) = client(cluster).await?;
    let scope = scope(select, clean, files);
    let reached = Cluster::connect(client.clone(), &address, &scope).await;
    let reached = reached.map_err(|error| with_hint(error, cluster, &address))?;
    let selector = selector(select, reached.catalog())?;
    let pipeline = Pipeline { selector, sanitizer: clean.sanitizer()?, ..crate::repository::pipeline(files) };
    Ok(Connected { client, address, cluster: reached, pipeline })
}

/// Connects as the flags say, to ask for defaults.
pub(crate) async fn dry_run(cluster: &ClusterArgs) -> anyhow::Result<DryRun> {
    let (client, address) = client(cluster).await?;
    let catalog = Catalog::read(&client).await.map_err(|error| with_hint(error, cluster, &address))?;
    Ok(DryRun::new(client, catalog))
}

/// Returns a client as the flags say, and the API server's address.
pub(crate) async fn client(cluster: &ClusterArgs) -> anyhow::Result<(Client, String)> {
    let (config, context) = read_config(cluster).await?;
    let address = config.cluster_url.to_string();
    // The context of the start: somebody may turn to another cluster meanwhile.
    let again = ClusterArgs { context, ..cluster.clone() };
    let load = move || {
        let again = again.clone();
        async move { Ok(read_config(&again).await?.0) }
    };
    let client = renewed_client(config, load)
        .with_context(|| format!("--kubeconfig: could not set up a connection to {address}"))?;
    Ok((client, address))
}

/// Adds what to look at where the API server can't be reached.
pub(crate) fn with_hint(error: DiscoverError, cluster: &ClusterArgs, address: &str) -> anyhow::Error {
    let context = match &error {
        DiscoverError::Unreachable { .. } | DiscoverError::TimeOut { .. } => hint(cluster, address),
        _ => address.to_owned(),
    };
    anyhow::Error::new(error).context(context)
}

/// Returns what is to be recorded; that must not be nothing.
pub(crate) fn choose(connected: &Connected) -> anyhow::Result<Choice> {
    let choice = connected.cluster.choose(&connected.pipeline);
    if choice.resources.is_empty() && !choice.sensitive.is_empty() {
        let left_out = crate::repository::SECRETS_LEFT_OUT;
        return Err(Usage(format!("--resource, --only, --except: nothing is left to record. {left_out}")).into());
    }
    if choice.resources.is_empty() {
        return Err(Usage(
            "--resource, --namespace, --only, --except: nothing is left to record; cluster-scoped resources aren't in namespaces"
                .into(),
        )
        .into());
    }
    Ok(choice)
}

fn hint(args: &ClusterArgs, address: &str) -> String {
    let from = match &args.kubeconfig {
        Some(file) => format!("--kubeconfig {}", file.display()),
        None => "the current kubeconfig".to_owned(),
    };
    format!("{address} (from {from}): is it up, and is it the right cluster?")
}

/// Returns what the flags lead to, and the context that it is from.
async fn read_config(args: &ClusterArgs) -> anyhow::Result<(Config, Option<String>)> {
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    let read = match &args.kubeconfig {
        Some(file) if !file.exists() => {
            return Err(Usage(format!("--kubeconfig {}: there is no such file", file.display())).into());
        }
        Some(file) => Kubeconfig::read_from(file).with_context(|| format!("--kubeconfig {}", file.display())).map(Some),
        None => read_default(),
    };
    let read = read?;
    let current = read.as_ref().and_then(|kubeconfig| kubeconfig.current_context.clone());
    let mut config = match read {
        Some(kubeconfig) => {
            let contexts = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect::<Vec<_>>().join(", ");
            match Config::from_custom_kubeconfig(kubeconfig, &options).await {
                Err(KubeconfigError::LoadContext(name)) => {
                    let flag = if args.context.is_some() { "--context" } else { "current-context" };
                    return Err(Usage(format!("{flag} {name:?}: the kubeconfig has no such context; it has: {contexts}")).into());
                }
                Err(KubeconfigError::CurrentContextNotSet) if contexts.is_empty() => {
                    bail!("the kubeconfig has no contexts; give another one with --kubeconfig FILE");
                }
                Err(KubeconfigError::CurrentContextNotSet) => {
                    return Err(Usage(format!("the kubeconfig sets no current context; give --context, one of: {contexts}")).into());
                }
                other => other.context("the kubeconfig can't be used")?,
            }
        }
        None => Config::incluster().map_err(|_not_in_a_pod| {
            anyhow::anyhow!(
                "no kubeconfig: there is none at $KUBECONFIG or ~/.kube/config, and this is no Pod; give --kubeconfig FILE"
            )
        })?,
    };
    config.connect_timeout = Some(CONNECT_LIMIT);
    Ok((config, args.context.clone().or(current)))
}

/// Returns the kubeconfig that kubectl would use; `None` when there is none.
fn read_default() -> anyhow::Result<Option<Kubeconfig>> {
    match Kubeconfig::read() {
        Ok(kubeconfig) if kubeconfig.contexts.is_empty() && kubeconfig.clusters.is_empty() => Ok(None),
        Ok(kubeconfig) => Ok(Some(kubeconfig)),
        Err(KubeconfigError::FindPath) => Ok(None),
        Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("could not read the kubeconfig ($KUBECONFIG, else ~/.kube/config)"),
    }
}

/// Returns what the flags select; `catalog` knows the resources that they name.
pub(crate) fn selector(args: &SelectArgs, catalog: &Catalog) -> anyhow::Result<Selector> {
    let (mut resources, mut versions) = (BTreeSet::new(), BTreeMap::new());
    for name in &args.resource {
        for resource in catalog.find(name).map_err(|error| Usage(format!("--resource: {error}")))? {
            let key = (resource.group.clone(), resource.plural.clone());
            if Catalog::names_version(name, &resource) {
                versions.insert(key.clone(), resource.version.clone());
            }
            resources.insert(key);
        }
    }
    let include = if args.include.contains(&ALL) {
        NOISE.iter().map(|row| row.name).collect()
    } else {
        args.include.iter().map(|include| include.0).collect()
    };
    Ok(Selector {
        resources,
        versions,
        namespaces: args.namespace.iter().cloned().collect(),
        labels: args.selector.clone().unwrap_or_default(),
        include,
        only: resolved("--only", &args.filters.only, catalog)?,
        except: resolved("--except", &args.filters.excluded(), catalog)?,
        ignore_managers: args.filters.ignore_manager.clone(),
        ..Selector::default()
    })
}

/// Returns the filters with resources as the API server calls them: a name without wildcards may be short, singular or a
/// kind, and has to exist.
pub(crate) fn resolved(flag: &str, filters: &[Filter], catalog: &Catalog) -> anyhow::Result<Vec<Filter>> {
    let mut filters = filters.to_vec();
    for test in filters.iter_mut().flat_map(|filter| &mut filter.terms).map(|term| &mut term.test) {
        let Test::Resource(globs) = test else { continue };
        let mut resolved = Vec::new();
        for glob in std::mem::take(globs) {
            if !glob.is_exact() {
                resolved.push(glob);
                continue;
            }
            let found = catalog.find(glob.as_str().trim_end_matches('.'));
            let found = found.map_err(|error| Usage(format!("{flag} resource={glob}: {error}")))?;
            // With the group, the core one's being empty: another group's resource may have the same plural.
            resolved.extend(found.iter().map(|found| Glob::new(format!("{}.{}", found.plural, found.group))));
        }
        *globs = resolved;
    }
    Ok(filters)
}

/// Tells runs apart that would write something else: how far one has read says nothing about the other. First the place, then
/// all else. Resources and namespaces have positions of their own.
fn scope(select: &SelectArgs, clean: &CleanArgs, files: &FilesArgs) -> String {
    let mut include: Vec<_> = select.include.iter().map(|include| include.0).collect();
    include.sort_unstable();
    let rules = |rules: &[FieldRule]| rules.iter().map(FieldRule::to_string).collect::<BTreeSet<_>>();
    let clean = (clean.profile.0.name(), rules(&clean.keep), rules(&clean.drop));
    let texts = |filters: &[Filter]| filters.iter().map(Filter::to_string).collect::<Vec<_>>();
    let ignored: Vec<_> = select.filters.ignore_manager.iter().map(Glob::as_str).collect();
    let filters = (texts(&select.filters.only), texts(&select.filters.excluded()), ignored);
    let place = (files.path.as_ref().map(RepoPath::as_str), files.layout.as_ref().map(ToString::to_string));
    let selection = (format!("{:?}", select.selector), include, filters, clean, env!("CARGO_PKG_VERSION"));
    format!("{:08x}-{:016x}", hash(place) >> 32, hash(selection))
}

pub(crate) fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
