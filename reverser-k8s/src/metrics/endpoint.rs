//! Numbers of the endpoint that API servers call.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::labels::{ByAnswer, ByEndpoint, ByReason, ByRefusal};
use crate::report::EndpointNotice;

/// Series are there once the endpoint is.
#[derive(Debug)]
pub(super) struct EndpointMetrics {
    requests: Family<ByAnswer, Counter>,
    refused: Family<ByRefusal, Counter>,
    latency: Family<ByEndpoint, Histogram, fn() -> Histogram>,
    panics: Family<ByEndpoint, Counter>,
    not_connected: Family<ByReason, Counter>,
    certificate_failures: Counter,
    certificate_expiry: Gauge,
}

/// From what an answer takes to what an API server waits for one.
const SECONDS: [f64; 13] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0];

impl Default for EndpointMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            refused: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            panics: Family::default(),
            not_connected: Family::default(),
            certificate_failures: Counter::default(),
            certificate_expiry: Gauge::default(),
        }
    }
}

impl EndpointMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("endpoint_requests", "Requests to the endpoint", self.requests.clone());
        let help = "Requests that were answered with an error, by why";
        registry.register("endpoint_refused_requests", help, self.refused.clone());
        let help = "From a request's head to its answer";
        registry.register_with_unit("endpoint_latency", help, Unit::Seconds, self.latency.clone());
        registry.register("endpoint_panics", "Panics while a request was handled", self.panics.clone());
        let help = "Connections that ended before their first request, by why";
        registry.register("endpoint_failed_connections", help, self.not_connected.clone());
        let help = "Times that the endpoint's certificate could not be renewed";
        registry.register("endpoint_certificate_failures", help, self.certificate_failures.clone());
        let help = "When the endpoint's certificate expires, in Unix time; 0 where there is none";
        let expiry = self.certificate_expiry.clone();
        registry.register_with_unit("endpoint_certificate_expiry_timestamp", help, Unit::Seconds, expiry);
    }

    pub(super) fn count(&self, notice: &EndpointNotice<'_>) {
        match notice {
            EndpointNotice::Answered { endpoint, status, refused, took } => {
                let endpoint = endpoint.name();
                self.requests.get_or_create(&ByAnswer { endpoint, code: *status }).inc();
                self.latency.get_or_create(&ByEndpoint { endpoint }).observe(took.as_secs_f64());
                if let Some(reason) = *refused {
                    self.refused.get_or_create(&ByRefusal { endpoint, reason }).inc();
                }
            }
            EndpointNotice::CertificateFailed { .. } => {
                self.certificate_failures.inc();
            }
            EndpointNotice::CertificateServed { until: Some(until) } => {
                self.certificate_expiry.set(until.as_second());
            }
            EndpointNotice::NotConnected { reason, .. } => {
                self.not_connected.get_or_create(&ByReason { reason }).inc();
            }
            EndpointNotice::Panicked { endpoint } => {
                self.panics.get_or_create(&ByEndpoint { endpoint: endpoint.name() }).inc();
            }
            EndpointNotice::AuthorityAdded { .. }
            | EndpointNotice::CertificateServed { until: None }
            | EndpointNotice::CertificatesRemade { .. }
            | EndpointNotice::CutOff { .. }
            | EndpointNotice::FileKept { .. }
            | EndpointNotice::NotAllowed { .. } => {}
        }
    }
}
