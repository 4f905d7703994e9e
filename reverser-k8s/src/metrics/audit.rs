//! What audit events have told.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::Metrics;
use crate::audit::{Audit, Kept};

impl Metrics {
    /// Measures how much of what audit events have told is kept. The first one counts.
    pub fn measure_audit(&self, audit: Audit) {
        // There is one API.
        let _measured_already = self.0.audit.set(audit);
    }
}

/// Looks at the time of a scrape.
#[derive(Debug)]
pub(super) struct AuditFacts(pub(super) Metrics);

impl Collector for AuditFacts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(Kept { facts, bytes, dropped }) = self.0.0.audit.get().map(Audit::kept) else { return Ok(()) };
        for (help, unit, value) in [
            ("What audit events have told, as far as it is kept.", None, facts),
            ("What that takes in memory.", Some(&Unit::Bytes), bytes),
        ] {
            let gauge = ConstGauge::new(value as f64);
            gauge.encode(encoder.encode_descriptor("audit_facts", help, unit, gauge.metric_type())?)?;
        }
        let counter = ConstCounter::new(dropped);
        let help = "Facts of audit events that went for want of room.";
        counter.encode(encoder.encode_descriptor("audit_facts_dropped", help, None, counter.metric_type())?)
    }
}
