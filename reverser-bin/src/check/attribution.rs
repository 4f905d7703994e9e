//! Would authors be named?

use std::sync::Arc;

use reverser_k8s::{Captured, LogReporter, audit::Audit, report::chain};

use super::Findings;
use crate::{
    args::{AdmissionFeed, AuditFeed, Feeds, RepoArgs},
    attribution::{Ports, Registering, access, mounted, open_audit_log},
    connect::Connected,
};

/// Looks at all that the feeds need. Nothing is registered, and no state folder is made.
pub(super) async fn attribution(
    feeds: &Feeds,
    connected: Option<&Connected>,
    repo: &RepoArgs,
    findings: &mut Findings,
) {
    let (admission_at, audit_at) = feeds.addresses();
    let addresses: Vec<_> = admission_at.into_iter().chain(audit_at).map(|address| address.to_string()).collect();
    if !addresses.is_empty() {
        match Ports::bind(feeds).await {
            Ok(_ports) => findings.right(&format!("endpoint: {} can be listened at", addresses.join(" and "))),
            Err(error) => findings.wrong(&chain(error.as_ref())),
        }
        match mounted(feeds, Arc::new(LogReporter)).await {
            Ok(Some(_)) => findings.right("certificate: it can be used, with its key"),
            Ok(None) => findings.right("certificate: will be made, and kept in the state folder"),
            Err(error) => findings.wrong(&chain(error.as_ref())),
        }
    }
    if let Some(feed) = &feeds.admission {
        admission(feed, connected, repo, findings).await;
    }
    if let Some(feed) = &feeds.audit {
        audit(feed, findings).await;
    }
}

async fn admission(feed: &AdmissionFeed, connected: Option<&Connected>, repo: &RepoArgs, findings: &mut Findings) {
    // The API server may know more names than this machine.
    if let Err(error) = tokio::net::lookup_host((&*feed.url.host, feed.url.port)).await {
        let host = &feed.url.host;
        findings.hint(&format!("admission: {host} can't be resolved here ({error}); the API server has to"));
    }
    // That it can't be reached is said already.
    let Some(connected) = connected else { return };
    let registering = Registering::new(&connected.client, feed, repo);
    if let Err(error) = registering.allowed().await {
        return findings.wrong(&chain(error.as_ref()));
    }
    let captured = Captured::of(connected.cluster.catalog(), &connected.pipeline);
    for namespace in registering.unasked(&captured) {
        findings.hint(&format!(
            "admission: requests in {namespace} aren't sent; --admission-include-namespace {namespace} has them sent"
        ));
    }
    match registering.try_out(&captured).await {
        Ok(()) => findings.right(&format!(
            "admission: the API server takes the ValidatingWebhookConfiguration {}, and would call {}",
            registering.name(),
            registering.url()
        )),
        Err(error) => findings.wrong(&chain(error.as_ref())),
    }
}

async fn audit(feed: &AuditFeed, findings: &mut Findings) {
    if let Some(path) = &feed.log {
        match open_audit_log(path, &Audit::default()) {
            Ok(_) => findings.right(&format!("audit log {}: readable", path.display())),
            Err(error) => findings.wrong(&chain(error.as_ref())),
        }
    }
    if feed.listen.is_some() {
        match access(feed).await {
            Ok(_) => findings.right("audit webhook: who may send events is known"),
            Err(error) => findings.wrong(&chain(error.as_ref())),
        }
    }
}
