//! From flags to whatever names authors: endpoints, a registration, a log.
//!
//! ```text
//! Feeds ─► Attribution::begin ─► open ──────────────────────► start ─► Running ─► end
//!          ports, permissions    state folder, certificates   serve,              unregister,
//!                                                             register            stop serving
//! ```

mod endpoints;
mod registering;
mod running;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use reverser_core::Fingerprinter;
use reverser_k8s::{
    Captured, Cluster, Metrics, Nobody, Reporter, ReverserBuilder,
    attribute::{Admission, Both},
    audit::{Audit, AuditLog},
};

use self::{endpoints::Endpoints, registering::not_registered};
pub(crate) use self::{
    endpoints::{Ports, access, mounted},
    registering::Registering,
};
use crate::{args::Feeds, connect::Connected, output::Output};

/// What names authors, while it isn't needed yet.
pub(crate) struct Attribution {
    feeds: Feeds,
    ports: Ports,
    registering: Option<Registering>,
}

/// What names authors, ready to be asked.
pub(crate) struct Opened {
    feeds: Feeds,
    admission: Option<Admission>,
    audit: Option<Audit>,
    log: Option<AuditLog>,
    endpoints: Option<Endpoints>,
    registering: Option<Registering>,
}

impl Attribution {
    /// Looks for what is in the way, before anything is made: ports that are taken, permissions that are missing.
    pub(crate) async fn begin(feeds: Feeds, registering: Option<Registering>) -> anyhow::Result<Self> {
        let ports = Ports::bind(&feeds).await?;
        if let Some(registering) = &registering {
            registering.allowed().await?;
        }
        Ok(Self { feeds, ports, registering })
    }

    /// Says in which of the namespaces that are named nobody will be.
    pub(crate) fn tell_unasked(&self, connected: &Connected, output: &Output) {
        let Some(registering) = &self.registering else { return };
        for namespace in registering.unasked(&Captured::of(connected.cluster.catalog(), &connected.pipeline)) {
            output.say(&format!(
                "{namespace}: the API server doesn't send its requests; --admission-include-namespace {namespace} has them sent"
            ));
        }
    }

    /// Opens what the state folder has of it; nobody else may have that open.
    pub(crate) async fn open(
        self,
        state: &Path,
        reporter: Arc<dyn Reporter>,
        output: &Output,
    ) -> anyhow::Result<Opened> {
        let Self { feeds, ports, registering } = self;
        let admission = match &feeds.admission {
            Some(_) => Some(Admission::open(&state.join("admission")).context("--attribution admission")?),
            None => None,
        };
        let audit = feeds.audit.as_ref().map(|_| match &admission {
            // Somebody else answers at once.
            Some(_) => Audit::default().waiting(Duration::ZERO),
            None => Audit::default(),
        });
        let log = match (&audit, feeds.audit.as_ref().and_then(|audit| audit.log.as_deref())) {
            (Some(audit), Some(path)) => Some(open_audit_log(path, audit)?),
            _ => None,
        };
        let endpoints = match ports.is_empty() {
            true => None,
            false => {
                Some(Endpoints::open(ports, &feeds, state, (admission.clone(), audit.clone()), reporter, output).await?)
            }
        };
        Ok(Opened { feeds, admission, audit, log, endpoints, registering })
    }
}

impl Opened {
    /// Has the watches of a cluster say what joins changes with requests, where somebody asks.
    pub(crate) fn watched(&self, cluster: Cluster) -> anyhow::Result<Cluster> {
        let fingerprinter = match (&self.admission, &self.audit) {
            (Some(admission), _) => admission.fingerprinter(),
            // Audit events without an answer tell the version that was replaced. Nobody asks for the digests.
            (None, Some(_)) => {
                let mut key = [0; 16];
                getrandom::fill(&mut key).context("no random bytes are to be had")?;
                Fingerprinter::new(key)
            }
            (None, None) => return Ok(cluster),
        };
        Ok(cluster.fingerprint_with(fingerprinter))
    }

    /// Has a flow ask it, and measures what it knows.
    pub(crate) fn asked_by(
        &self,
        reverser: ReverserBuilder,
        metrics: &Metrics,
        reporter: impl Reporter + 'static,
    ) -> ReverserBuilder {
        let reverser = reverser.attribution_wait(self.feeds.wait);
        self.admission.iter().for_each(|admission| metrics.measure_admission(admission.clone()));
        self.audit.iter().for_each(|audit| metrics.measure_audit(audit.clone()));
        match (self.admission.clone(), self.audit.clone()) {
            (Some(admission), Some(audit)) => reverser.actors(Both::new(admission, audit).reporter(reporter)),
            (Some(admission), None) => reverser.actors(admission),
            (None, Some(audit)) => reverser.actors(audit),
            (None, None) => reverser.actors(Nobody),
        }
    }
}

/// Opens the log that authors are named from.
pub(crate) fn open_audit_log(path: &Path, audit: &Audit) -> anyhow::Result<AuditLog> {
    AuditLog::open(path, audit.clone()).with_context(|| {
        format!("--audit-log {}: it has to exist, and this user has to be able to read it", path.display())
    })
}
