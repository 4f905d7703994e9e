//! A configuration that is in the cluster, and is kept as it is to be.

use std::{collections::BTreeMap, fmt, pin::pin, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::runtime::{WatchStreamExt, watcher::watch_object};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Captured, MatchConditions, RESOURCE, Registration, RegistrationError,
    configuration::{REGISTERED_BY, REGISTRATION},
    requests::adopt_bundles,
    upkeep::{Event, Tell, Upkeep},
};
use crate::report::{Notice, Reporter, chain};

/// How long the first apply is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// A [`Registration`] that was made. It is kept as long as [`keep`](Self::keep) runs.
#[derive(Debug)]
pub struct Registered {
    registration: Registration,
    conditions: MatchConditions,
    captured: watch::Receiver<Captured>,
    ca_bundle: watch::Receiver<Option<String>>,
    /// As the API server has it.
    applied: ValidatingWebhookConfiguration,
    /// The certificates that it was given.
    published: Option<String>,
    taken_over: bool,
}

/// What happens to a registration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RegistrationNews<'a> {
    /// It can't be brought up to date for the moment. Told once, until it is [`Recovered`](Self::Recovered).
    Failing {
        /// Why.
        error: &'a RegistrationError,
    },
    /// Somebody had edited or deleted it, and it is as it was. If that goes on it is repaired more and more slowly, and not
    /// told again until it hasn't happened for ten minutes.
    PutRight {
        /// The configuration's name.
        name: &'a str,
        /// Who did what, in words.
        what: &'a str,
    },
    /// What could not be brought up to date is.
    Recovered {
        /// The configuration's name.
        name: &'a str,
    },
    /// It could not be removed at the end; the error says how a person can.
    Remains {
        /// Why.
        error: &'a RegistrationError,
    },
    /// The API server was asked to send requests.
    Registered {
        /// The configuration's name.
        name: &'a str,
        /// For how many resources.
        resources: usize,
        /// Whether an earlier run, or another program, had left one of that name.
        taken_over: bool,
    },
}

/// A line for people.
impl fmt::Display for RegistrationNews<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing { error } => {
                write!(f, "authors may be missing: {}; it is tried again", chain(*error))
            }
            Self::PutRight { name, what } => write!(
                f,
                "the {RESOURCE} {name} was {what}, and is put right; if that goes on, something else has the same name"
            ),
            Self::Recovered { name } => write!(f, "the {RESOURCE} {name} is up to date again"),
            Self::Remains { error } => f.write_str(&chain(*error)),
            Self::Registered { name, resources, taken_over } => {
                let over = if *taken_over { ", taken over from an earlier run" } else { "" };
                write!(f, "the API server sends requests for {resources} resources ({RESOURCE} {name}{over})")
            }
        }
    }
}

impl Registered {
    pub(super) async fn begin(
        registration: Registration,
        conditions: MatchConditions,
        mut captured: watch::Receiver<Captured>,
        mut ca_bundle: watch::Receiver<Option<String>>,
    ) -> Result<Self, RegistrationError> {
        let taken_over = registration.requests.is_there().await?;
        let published = ca_bundle.borrow_and_update().clone();
        let configuration = registration.configuration(&captured.borrow_and_update(), published.as_deref(), conditions);
        let applied = registration.requests.apply(&configuration, PATIENCE).await?;
        Ok(Self { registration, conditions, captured, ca_bundle, applied, published, taken_over })
    }

    /// Returns the configuration's name.
    pub fn name(&self) -> &str {
        self.registration.name()
    }

    /// Brings the configuration up to date with what is captured and with the certificates, and puts it right, until
    /// `shutdown`; a request that is under way then ends first. `published` hears the certificates that the API server has
    /// been told to trust.
    pub async fn keep(
        &mut self,
        published: &(dyn Fn(&str) + Send + Sync),
        reporter: &dyn Reporter,
        shutdown: impl Future<Output = ()>,
    ) {
        self.tell_registered(reporter);
        self.published.as_deref().inspect(|bundle| published(bundle));
        let (mut upkeep, mut tampering) = (Upkeep::new(Instant::now()), None);
        let mut seen = pin!(watch_object(self.registration.requests.api(), self.registration.name()).default_backoff());
        let mut shutdown = pin!(shutdown);
        loop {
            let event = tokio::select! {
                Some(seen) = seen.next() => match seen {
                    Ok(object) => self.tampering(object.as_ref()).map(|what| {
                        tampering = Some(what);
                        Event::Tampered
                    }),
                    Err(error) => {
                        tracing::debug!(name = self.name(), error = %chain(&error), "the registration isn't watched");
                        None
                    }
                },
                Ok(()) = self.captured.changed() => Some(Event::Changed),
                Ok(()) = self.ca_bundle.changed() => Some(Event::Changed),
                () = sleep_until(upkeep.due()) => Some(match self.apply().await {
                    Ok(is_news) => {
                        self.published.as_deref().inspect(|bundle| published(bundle));
                        Event::Applied { is_news }
                    }
                    Err(error) => {
                        tracing::debug!(name = self.name(), error = %chain(&error), "not applied");
                        if upkeep.step(Instant::now(), Event::Failed) == Some(Tell::Failing) {
                            reporter.report(Notice::Registration(RegistrationNews::Failing { error: &error }));
                        }
                        continue;
                    }
                }),
                () = &mut shutdown => return,
            };
            let tell = event.and_then(|event| upkeep.step(Instant::now(), event));
            let name = self.name();
            match tell {
                Some(Tell::PutRight) => {
                    let what = tampering.take();
                    let what = what.as_deref().unwrap_or("changed by somebody");
                    reporter.report(Notice::Registration(RegistrationNews::PutRight { name, what }));
                }
                Some(Tell::Recovered) => reporter.report(Notice::Registration(RegistrationNews::Recovered { name })),
                Some(Tell::Failing) | None => {}
            }
        }
    }

    /// Removes the configuration, unless another run has taken it over.
    ///
    /// # Errors
    /// [`RegistrationError::Remains`] when that fails for four seconds; it says what a person can type.
    pub async fn unregister(self) -> Result<(), RegistrationError> {
        let Registration { requests, run, .. } = &self.registration;
        if !requests.remove(run).await? {
            tracing::info!(name = requests.name, "it isn't there any more, or is another run's: nothing to unregister");
        }
        Ok(())
    }

    fn tell_registered(&self, reporter: &dyn Reporter) {
        let (name, taken_over) = (self.name(), self.taken_over);
        let resources = self.captured.borrow().sent().count();
        reporter.report(Notice::Registration(RegistrationNews::Registered { name, resources, taken_over }));
    }

    /// Returns whether the configuration differed from what was applied last.
    async fn apply(&mut self) -> Result<bool, RegistrationError> {
        let ca_bundle = self.ca_bundle.borrow_and_update().clone();
        let captured = self.captured.borrow_and_update().clone();
        let configuration = self.registration.configuration(&captured, ca_bundle.as_deref(), self.conditions);
        let applied = self.registration.requests.apply(&configuration, Duration::ZERO).await?;
        let is_news = applied.metadata.resource_version != self.applied.metadata.resource_version;
        (self.applied, self.published) = (applied, ca_bundle);
        Ok(is_news)
    }

    /// Returns whether this is what was applied. More labels and annotations do no harm, and certificates of others aren't our
    /// business.
    fn is_as_applied(&self, seen: &ValidatingWebhookConfiguration) -> bool {
        let has = |seen: &Option<BTreeMap<_, _>>, ours: &Option<BTreeMap<String, String>>| {
            ours.iter().flatten().all(|(key, value)| seen.as_ref().and_then(|seen| seen.get(key)) == Some(value))
        };
        let (seen_metadata, ours) = (&seen.metadata, &self.applied.metadata);
        let mut expected = self.applied.webhooks.clone();
        if self.published.is_none() {
            expected.iter_mut().flatten().for_each(|webhook| webhook.client_config.ca_bundle = None);
            adopt_bundles(&mut expected, &seen.webhooks);
        }
        seen.webhooks == expected
            && has(&seen_metadata.labels, &ours.labels)
            && has(&seen_metadata.annotations, &ours.annotations)
    }

    /// Returns what somebody has done to the configuration, if it isn't what was applied.
    fn tampering(&self, seen: Option<&ValidatingWebhookConfiguration>) -> Option<String> {
        let Some(seen) = seen else { return Some("deleted".into()) };
        let ours = &self.applied;
        if is_older(seen, ours) || self.is_as_applied(seen) {
            return None;
        }
        let annotation = |key| seen.metadata.annotations.as_ref()?.get(key);
        if annotation(REGISTRATION).is_some_and(|run| *run != self.registration.run) {
            let by = annotation(REGISTERED_BY).map_or("another reverser", String::as_str);
            return Some(format!("overwritten by {by}"));
        }
        let editors =
            seen.metadata.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() != Some("reverser"));
        let last = editors.max_by(|a, b| a.time.cmp(&b.time)).and_then(|entry| entry.manager.as_deref());
        Some(last.map_or("edited".into(), |manager| format!("edited with {manager}")))
    }
}

/// Returns whether what was seen is no later than what was applied. Versions of one resource compare (KEP-5504).
fn is_older(seen: &ValidatingWebhookConfiguration, ours: &ValidatingWebhookConfiguration) -> bool {
    let version = |of: &ValidatingWebhookConfiguration| of.metadata.resource_version.as_ref()?.parse::<u64>().ok();
    matches!((version(seen), version(ours)), (Some(seen), Some(ours)) if seen <= ours)
}
