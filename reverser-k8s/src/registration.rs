//! Has the API server send each request for what is captured: a ValidatingWebhookConfiguration, applied and kept.
//!
//! ```text
//! Pipeline, Catalog ─► Captured ─┐
//!                   certificates ┴─► configuration ─► apply ─► API server ── AdmissionReview ──► webhook
//!                                          ▲                       │
//!                                          └──── put right ◄── watch: edited, deleted
//! ```
//!
//! It is made before the watches begin, follows what is captured and whom to trust, is put right when somebody edits or
//! deletes it, and goes when the program ends. A run that was killed leaves it behind: the API server then asks in vain, for
//! at most [`TIMEOUT_SECONDS`] a write, until the next run with the same name takes it over.
//!
//! ```no_run
//! use reverser_k8s::registration::{Captured, Endpoint, Registration};
//! use tokio::sync::watch;
//!
//! # async fn example(client: kube::Client, captured: watch::Receiver<Captured>) -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::Url("https://reverser.example.com:9443/admission/1f0a".into());
//! let registration = Registration::new(client, "reverser-platform", endpoint).by("the platform team's reverser");
//! registration.allowed().await?;
//! let (_certificates, ca_bundle) = watch::channel(Some("-----BEGIN CERTIFICATE-----…".to_owned()));
//! let mut registered = registration.register(captured, ca_bundle).await?;
//! let shutdown = async { drop(tokio::signal::ctrl_c().await) };
//! registered.keep(&|_published| {}, &reverser_k8s::LogReporter, shutdown).await;
//! registered.unregister().await?;
//! # Ok(()) }
//! ```

mod captured;
mod configuration;
mod error;
mod kept;
mod requests;
mod upkeep;

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Client;
use tokio::sync::watch;

pub use self::{
    captured::Captured,
    configuration::{MatchConditions, TIMEOUT_SECONDS},
    error::RegistrationError,
    kept::{Registered, RegistrationNews},
};
use self::{configuration::Frame, requests::Requests};

/// As it is called in messages.
const RESOURCE: &str = "ValidatingWebhookConfiguration";

/// What it takes on it: `patch` creates it, too, and then needs `create`.
const VERBS: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// The namespace of the control plane, which is better off without anybody in its way.
pub const SYSTEM_NAMESPACE: &str = "kube-system";

/// Where the API server sends its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Service in the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
        /// The path, which begins with `/`.
        path: String,
    },
    /// An address that can be reached from the API server, with its path: `https://reverser.example.com:9443/admission/1f0a`.
    Url(String),
}

/// A ValidatingWebhookConfiguration that is to be. See the [module](self).
pub struct Registration {
    requests: Requests,
    endpoint: Endpoint,
    excluded: BTreeSet<String>,
    registered_by: String,
    /// Tells this run from others with the same name.
    run: String,
}

impl Registration {
    /// Returns one of that name. Two with the same name overwrite each other.
    pub fn new(client: Client, name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            requests: Requests::new(client, name.into()),
            endpoint,
            excluded: BTreeSet::from([SYSTEM_NAMESPACE.to_owned()]),
            registered_by: version(),
            run: format!("{:016x}", random()),
        }
    }

    /// Says who registers it, in words for whoever finds it in the cluster. The version is added.
    #[must_use]
    pub fn by(mut self, who: &str) -> Self {
        self.registered_by = format!("{}, {who}", version());
        self
    }

    /// Sets the namespaces whose objects are never asked about. Default: [`SYSTEM_NAMESPACE`] alone; a program that runs in the
    /// cluster adds its own.
    #[must_use]
    pub fn excluding(mut self, namespaces: impl IntoIterator<Item = String>) -> Self {
        self.excluded = namespaces.into_iter().collect();
        self
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.requests.name
    }

    /// Returns the configuration. `ca_bundle` is in PEM; `None`: it is left to others, such as cert-manager's CA injector, and
    /// without them to what the API server's machine trusts.
    pub fn configuration(
        &self,
        captured: &Captured,
        ca_bundle: Option<&str>,
        conditions: MatchConditions,
    ) -> ValidatingWebhookConfiguration {
        let frame = Frame {
            name: self.name(),
            endpoint: &self.endpoint,
            ca_bundle,
            excluded: &self.excluded,
            conditions,
            registered_by: &self.registered_by,
            run: &self.run,
        };
        configuration::configuration(&frame, captured)
    }

    /// Asks the API server whether the user may do all that it takes.
    ///
    /// # Errors
    /// [`RegistrationError::Forbidden`] names the verbs that are missing, [`RegistrationError::Request`] says why it could not
    /// be asked.
    pub async fn allowed(&self) -> Result<(), RegistrationError> {
        self.requests.allowed().await
    }

    /// Asks the API server whether it would take the configuration; nothing is changed.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub async fn try_out(&self, captured: &Captured, ca_bundle: Option<&str>) -> Result<(), RegistrationError> {
        let conditions = self.requests.match_conditions().await?;
        let configuration = self.something(captured, ca_bundle, conditions)?;
        self.requests.try_out(&configuration).await
    }

    /// Makes the configuration, or takes over one of the same name. Failures that may pass are tried again, for half a minute.
    ///
    /// # Errors
    /// When nothing that is captured is ever sent, or the API server refuses it or doesn't answer.
    pub async fn register(
        self,
        captured: watch::Receiver<Captured>,
        ca_bundle: watch::Receiver<Option<String>>,
    ) -> Result<Registered, RegistrationError> {
        let conditions = self.requests.match_conditions().await?;
        if conditions == MatchConditions::Unknown {
            tracing::info!(
                "the API server is older than 1.28 and sends dry runs and statuses, too, which are thrown away"
            );
        }
        self.something(&captured.borrow(), ca_bundle.borrow().as_deref(), conditions)?;
        Registered::begin(self, conditions, captured, ca_bundle).await
    }

    /// Returns the configuration unless nothing is in it.
    fn something(
        &self,
        captured: &Captured,
        ca_bundle: Option<&str>,
        conditions: MatchConditions,
    ) -> Result<ValidatingWebhookConfiguration, RegistrationError> {
        let configuration = self.configuration(captured, ca_bundle, conditions);
        if configuration.webhooks.as_ref().is_some_and(|webhooks| !webhooks.is_empty()) {
            return Ok(configuration);
        }
        let excluded: Vec<_> = self.excluded.iter().map(String::as_str).collect();
        let why = match &captured.namespaces {
            Some(_) if captured.namespaced().next().is_some() => {
                format!("all of its namespaces are excluded ({})", excluded.join(", "))
            }
            _ => "webhook configurations and admission policies never are".to_owned(),
        };
        Err(RegistrationError::Nothing { why })
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("name", &self.requests.name)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// Returns what a person types to remove a configuration.
pub fn command_to_remove(name: &str) -> String {
    format!("kubectl delete validatingwebhookconfiguration {name}")
}

fn version() -> String {
    format!("reverser {}", env!("CARGO_PKG_VERSION"))
}

/// Returns a number that no other run has. Every `RandomState` has keys of its own.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
