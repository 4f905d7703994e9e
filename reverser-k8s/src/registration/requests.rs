//! The requests that a registration makes, each tried again while what stands in its way may pass.

use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration},
        authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    },
    apimachinery::pkg::version::Info,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use reverser_git::Backoff;
use serde_json::json;
use tokio::time::Instant;

use super::{MatchConditions, RegistrationError, VERBS, configuration::REGISTRATION, error::is_refusal};
use crate::{report::chain, request::within};

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How long one request is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the end may take: a Pod has 30 s for all of it, of which the last commits and the last push take 25.
const LAST_LIMIT: Duration = Duration::from_secs(4);

/// Whose fields they are, in managedFields.
const MANAGER: &str = "reverser";

pub(super) struct Requests {
    pub(super) client: Client,
    pub(super) name: String,
}

impl Requests {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    pub(super) fn api(&self) -> Api<ValidatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    pub(super) async fn allowed(&self) -> Result<(), RegistrationError> {
        let allowed = try_join_all(VERBS.map(|verb| self.may(verb))).await?;
        let missing: Vec<_> = VERBS.into_iter().zip(allowed).filter_map(|(verb, may)| (!may).then_some(verb)).collect();
        if missing.is_empty() { Ok(()) } else { Err(RegistrationError::Forbidden { name: self.name.clone(), missing }) }
    }

    async fn may(&self, verb: &'static str) -> Result<bool, RegistrationError> {
        let attributes = ResourceAttributes {
            group: Some("admissionregistration.k8s.io".into()),
            version: Some("v1".into()),
            resource: Some("validatingwebhookconfigurations".into()),
            name: Some(self.name.clone()),
            verb: Some(verb.into()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let reviews = Api::<SelfSubjectAccessReview>::all(self.client.clone());
        let params = PostParams::default();
        let answer = self.ask("ask about", PATIENCE, || reviews.create(&params, &review));
        Ok(answer.await?.status.is_some_and(|status| status.allowed))
    }

    /// Returns what the API server's version knows.
    pub(super) async fn match_conditions(&self) -> Result<MatchConditions, RegistrationError> {
        Ok(conditions_of(&self.ask("ask for the version for", PATIENCE, || self.client.apiserver_version()).await?))
    }

    pub(super) async fn is_there(&self) -> Result<bool, RegistrationError> {
        let api = self.api();
        let found = self.ask("read", PATIENCE, || api.get_metadata_opt(&self.name)).await?;
        Ok(found.is_some())
    }

    pub(super) async fn try_out(
        &self,
        configuration: &ValidatingWebhookConfiguration,
    ) -> Result<(), RegistrationError> {
        let params = PatchParams::apply(MANAGER).force().dry_run();
        let (api, patch) = (self.api(), Patch::Apply(configuration));
        self.ask("try out", PATIENCE, || api.patch(&self.name, &params, &patch)).await.map(drop)
    }

    /// Makes the configuration what it is to be; returns what the API server has made of it. `patience`: how long it is tried.
    pub(super) async fn apply(
        &self,
        configuration: &ValidatingWebhookConfiguration,
        patience: Duration,
    ) -> Result<ValidatingWebhookConfiguration, RegistrationError> {
        let (api, params) = (self.api(), PatchParams::apply(MANAGER).force());
        let patch = Patch::Apply(configuration);
        let applied = self.ask("apply", patience, || api.patch(&self.name, &params, &patch)).await?;
        let mut expected = configuration.webhooks.clone();
        adopt_bundles(&mut expected, &applied.webhooks);
        if applied.webhooks == expected {
            return Ok(applied);
        }
        // An apply leaves webhooks and conditions that somebody has added: they are entries of their own.
        let whole = Patch::Merge(json!({"webhooks": expected}));
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        self.ask("apply", patience, || api.patch(&self.name, &params, &whole)).await
    }

    /// Removes the configuration if it is this run's. Returns whether it was.
    pub(super) async fn remove(&self, run: &str) -> Result<bool, RegistrationError> {
        let remains = |source| RegistrationError::Remains { name: self.name.clone(), source };
        let api = self.api();
        let removed = async {
            let mut backoff = backoff();
            loop {
                match remove_own(&api, &self.name, run).await {
                    Err(error) if !is_refusal(&error) => tokio::time::sleep(backoff.next_wait()).await,
                    answer => return answer,
                }
            }
        };
        within(LAST_LIMIT, removed).await.map_err(remains)
    }

    async fn ask<T, F: Future<Output = Result<T, kube::Error>>>(
        &self,
        action: &'static str,
        patience: Duration,
        send: impl Fn() -> F,
    ) -> Result<T, RegistrationError> {
        let (mut backoff, since) = (backoff(), Instant::now());
        loop {
            match within(LIMIT, send()).await {
                Ok(answer) => return Ok(answer),
                Err(source) if is_refusal(&source) || since.elapsed() >= patience => {
                    return Err(RegistrationError::Request { action, name: self.name.clone(), source });
                }
                Err(error) => {
                    tracing::debug!(action, error = %chain(&error), "tried again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }
}

/// Takes over the certificates that somebody else has put there, where we say nothing of them.
pub(super) fn adopt_bundles(ours: &mut Option<Vec<ValidatingWebhook>>, there: &Option<Vec<ValidatingWebhook>>) {
    for webhook in ours.iter_mut().flatten().filter(|webhook| webhook.client_config.ca_bundle.is_none()) {
        let same = there.iter().flatten().find(|other| other.name == webhook.name);
        webhook.client_config.ca_bundle = same.and_then(|other| other.client_config.ca_bundle.clone());
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(5))
}

/// Removes the configuration, unless another run has taken it over. Returns whether it was there.
async fn remove_own(api: &Api<ValidatingWebhookConfiguration>, name: &str, run: &str) -> Result<bool, kube::Error> {
    let Some(found) = api.get_metadata_opt(name).await? else { return Ok(false) };
    let annotations = found.metadata.annotations.unwrap_or_default();
    if annotations.get(REGISTRATION).is_some_and(|other| other != run) {
        return Ok(false);
    }
    let preconditions = Preconditions { resource_version: found.metadata.resource_version, uid: found.metadata.uid };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(name, &params).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// The field is there since 1.28, where it is beta and on; a server that doesn't know it refuses an apply that has it.
/// <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-matchconditions>
fn conditions_of(version: &Info) -> MatchConditions {
    // Managed clusters have minors such as `27+`.
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>();
    match (number(&version.major), number(&version.minor)) {
        (Ok(1), Ok(..28)) => MatchConditions::Unknown,
        _ => MatchConditions::Known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_servers_are_not_told_what_they_do_not_know() {
        for (major, minor, expected) in [
            ("1", "27", MatchConditions::Unknown),
            ("1", "27+", MatchConditions::Unknown),
            ("1", "28", MatchConditions::Known),
            ("1", "36+", MatchConditions::Known),
            ("2", "0", MatchConditions::Known),
            ("", "", MatchConditions::Known),
        ] {
            let version = Info { major: major.into(), minor: minor.into(), ..Info::default() };
            assert_eq!(conditions_of(&version), expected, "{major}.{minor}");
        }
    }
}
