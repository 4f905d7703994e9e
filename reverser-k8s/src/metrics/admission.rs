//! What requests to the admission webhook have told.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use super::Metrics;
use crate::attribute::{Admission, Counts};

impl Metrics {
    /// Measures what is known from requests to the admission webhook. The first one counts.
    pub fn measure_admission(&self, admission: Admission) {
        // There is one API.
        let _measured_already = self.0.admission.set(admission);
    }
}

/// Looks at the time of a scrape.
#[derive(Debug)]
pub(super) struct AdmissionFacts(pub(super) Metrics);

impl Collector for AdmissionFacts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(counts) = self.0.0.admission.get().map(Admission::counts) else { return Ok(()) };
        let Counts { kept, dropped, unwritten, unreadable } = counts;
        let gauge = ConstGauge::new(kept as f64);
        let help = "Requests that may still join a change.";
        gauge.encode(encoder.encode_descriptor("admission_facts", help, None, gauge.metric_type())?)?;
        for (name, help, value) in [
            ("admission_facts_dropped", "Requests that went for want of room before a change joined them.", dropped),
            ("admission_facts_unwritten", "Requests that a restart forgets: they could not be written.", unwritten),
            ("admission_unreadable", "Requests whose objects could not be read.", unreadable),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
