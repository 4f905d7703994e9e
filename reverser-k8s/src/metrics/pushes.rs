//! What is measured when it is asked for: the remote, and what waits.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use reverser_git::{LastPush, PushState, PushTotals};
use tokio::sync::watch;

use super::Metrics;

impl Metrics {
    /// Takes in what the writer tells of its pushes, until it ends. [`readiness`](Self::readiness) needs it, too. The first
    /// writer counts.
    pub async fn follow(self, mut state: watch::Receiver<PushState>) {
        // There is one writer.
        let _followed_already = self.0.pushes.set(state.clone());
        let mut pushes = 0;
        loop {
            {
                let now = state.borrow_and_update();
                if now.totals.pushes > pushes
                    && let Some(push) = &now.last_push
                {
                    self.0.push_latency.observe(push.waited.as_secs_f64());
                }
                pushes = now.totals.pushes;
                self.state().health.push_state(&now);
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Looks at the time of a scrape.
#[derive(Debug)]
pub(super) struct Measured(pub(super) Metrics);

impl Collector for Measured {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = Timestamp::now();
        let mut gauge = |name, help, unit: Option<&Unit>, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, &sentence(help), unit, gauge.metric_type())?)
        };
        let ready = self.0.readiness().is_ok();
        gauge("ready", "Whether /readyz says so", None, f64::from(u8::from(ready)))?;
        if let Some(load) = self.0.0.load.get() {
            gauge("sources", "Watches that are read", None, load.sources() as f64)?;
            let help = "Changes that wait for who made them";
            gauge("attribution_waiting", help, None, load.waiting() as f64)?;
            gauge("queue", "What was read and isn't committed", Some(&Unit::Bytes), load.bytes() as f64)?;
            gauge("queue_limit", "Where reading stops", Some(&Unit::Bytes), load.limit_bytes() as f64)?;
        }
        let Some(state) = self.0.0.pushes.get().map(|state| state.borrow().clone()) else { return Ok(()) };
        let age = |since: Timestamp| now.duration_since(since).as_secs_f64().max(0.0);
        gauge("unpushed_commits", "Commits that the remote doesn't have", None, state.unpushed as f64)?;
        let help = "What they take in the state folder";
        gauge("unpushed", help, Some(&Unit::Bytes), state.unpushed_bytes as f64)?;
        let help = "How long the oldest of them has waited; 0 without any";
        gauge("unpushed_age", help, Some(&Unit::Seconds), state.unpushed_since.map_or(0.0, age))?;
        let help = "Whether commits wait as what isn't pushed has reached its limit";
        gauge("state_folder_full", help, None, f64::from(u8::from(state.is_full)))?;
        if let Some(LastPush { at, .. }) = &state.last_push {
            let help = "Since the last push of this run that succeeded";
            gauge("last_push_age", help, Some(&Unit::Seconds), age(*at))?;
            let help = "When that was";
            gauge("last_push_timestamp", help, Some(&Unit::Seconds), at.as_millisecond() as f64 / 1000.0)?;
        }
        let PushTotals { pushes, failures, conflicts, rewrites, .. } = state.totals;
        for (name, help, value) in [
            ("pushes", "Pushes that succeeded", pushes),
            ("push_failures", "Pushes that failed", failures),
            ("conflicts", "Files that somebody else changed on the remote, too", conflicts),
            ("rewrites", "Times that the remote's history was rewritten", rewrites),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, &sentence(help), None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// As the registry ends what it is given.
fn sentence(help: &str) -> String {
    format!("{help}.")
}
