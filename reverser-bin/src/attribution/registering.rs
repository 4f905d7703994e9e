//! From flags to a registration with the API server.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::Context;
use kube::Client;
use reverser_core::RepoPath;
use reverser_k8s::{
    Captured, Registration,
    registration::{Endpoint, RegistrationError, SYSTEM_NAMESPACE},
};

use crate::{
    Usage,
    args::{AdmissionFeed, PlaceArgs, RepoArgs},
    connect::hash,
};

/// Where a Pod finds the namespace that it runs in.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api>
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// What is to be registered, but for the path, which is made later.
pub(crate) struct Registering {
    client: Client,
    url: String,
    name: String,
    by: String,
    excluded: BTreeSet<String>,
}

impl Registering {
    pub(crate) fn new(client: &Client, feed: &AdmissionFeed, repo: &RepoArgs) -> Self {
        let mut excluded: BTreeSet<_> = [SYSTEM_NAMESPACE.to_owned()].into_iter().chain(own_namespace()).collect();
        excluded.retain(|namespace| !feed.include.contains(namespace));
        excluded.extend(feed.exclude.iter().cloned());
        let files = &repo.place.files;
        Self {
            client: client.clone(),
            url: feed.url.to_string(),
            name: feed.name.clone().unwrap_or_else(|| name(repo)),
            by: format!("into {} (branch {})", repo.repo, files.branch),
            excluded,
        }
    }

    /// Returns it with the path that the API server is to call.
    pub(crate) fn at(&self, path: &str) -> Registration {
        let endpoint = Endpoint::Url(format!("{}{path}", self.url));
        let registration = Registration::new(self.client.clone(), self.name.clone(), endpoint);
        registration.by(&self.by).excluding(self.excluded.iter().cloned())
    }

    /// Asks whether the user may do all that it takes.
    pub(crate) async fn allowed(&self) -> anyhow::Result<()> {
        self.at("/").allowed().await.context("--attribution admission")
    }

    /// Asks the API server whether it would take it.
    pub(crate) async fn try_out(&self, captured: &Captured) -> anyhow::Result<()> {
        self.at("/admission/check").try_out(captured, None).await.map_err(not_registered)
    }

    /// Returns the namespaces that were asked for by name and that requests aren't sent for.
    pub(crate) fn unasked(&self, captured: &Captured) -> Vec<String> {
        captured.namespaces.iter().flatten().filter(|namespace| self.excluded.contains(*namespace)).cloned().collect()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// Names the flag that helps.
pub(crate) fn not_registered(error: RegistrationError) -> anyhow::Error {
    match &error {
        RegistrationError::Nothing { .. } => Usage(format!(
            "--attribution admission: {error}; add what it is to ask about, or --admission-include-namespace NAMESPACE"
        ))
        .into(),
        _ => anyhow::Error::new(error).context("--attribution admission"),
    }
}

/// Returns a name that stands for what is written and where its state is: the same at each start, another for another one.
fn name(repo: &RepoArgs) -> String {
    let PlaceArgs { files, state_dir, .. } = &repo.place;
    let state: Option<PathBuf> = state_dir.as_ref().and_then(|folder| std::path::absolute(folder).ok());
    let place = (repo.repo.canonical(), files.branch.as_str(), files.path.as_ref().map(RepoPath::as_str), state);
    format!("reverser-{:08x}", hash(place) >> 32)
}

/// Returns the namespace of the Pod that this runs in, if it is one.
fn own_namespace() -> Option<String> {
    let text = std::fs::read_to_string(OWN_NAMESPACE).ok()?;
    Some(text.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}
