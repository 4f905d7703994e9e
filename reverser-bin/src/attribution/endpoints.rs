//! What API servers call: ports, certificates, who may call what.

use std::{collections::BTreeSet, convert::Infallible, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use reverser_k8s::{
    Reporter,
    attribute::Admission,
    audit::Audit,
    report::chain,
    webhook::{
        Access, CertificateError, Certificates, FileStore, Issue, Keeper, Mounted, Refused, Reply, Routes, Server,
        Store, Token,
    },
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    Usage,
    args::{AuditFeed, Feeds, Tls},
    output::Output,
};

/// Ports that are listened at; who connects waits until they are served.
#[derive(Default)]
pub(crate) struct Ports {
    admission: Option<Server>,
    /// `None` where it is the same as that of admission, too.
    audit: Option<Server>,
}

/// Endpoints that can be served.
pub(crate) struct Endpoints {
    servers: Vec<(Server, Routes)>,
    pub(super) certificates: Certificates,
    keeper: Keeper,
    /// Of the admission endpoint.
    pub(super) path: Option<String>,
    /// Where the authorities are left for those who set up an audit webhook.
    store: FileStore,
    leaves_authorities: bool,
}

/// What the authorities are kept under, for people.
const AUTHORITIES: &str = "ca.crt";

impl Ports {
    pub(crate) async fn bind(feeds: &Feeds) -> anyhow::Result<Self> {
        let (admission, audit) = feeds.addresses();
        Ok(Self {
            admission: bind(admission, "--admission-listen").await?,
            audit: bind(audit, "--audit-listen").await?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.admission.is_none() && self.audit.is_none()
    }
}

async fn bind(address: Option<SocketAddr>, flag: &'static str) -> anyhow::Result<Option<Server>> {
    match address {
        Some(address) => {
            let bound = Server::bind(address).await;
            Ok(Some(bound.context(flag)?))
        }
        None => Ok(None),
    }
}

impl Endpoints {
    pub(super) async fn open(
        ports: Ports,
        feeds: &Feeds,
        state: &Path,
        (admission, audit): (Option<Admission>, Option<Audit>),
        reporter: Arc<dyn Reporter>,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let folder = state.join("webhook");
        let store = FileStore::open(&folder).await?;
        let (certificates, keeper) = certificates(feeds, &store, Arc::clone(&reporter)).await?;
        let leaves_authorities =
            feeds.tls.files.is_none() && feeds.audit.as_ref().is_some_and(|feed| feed.listen.is_some());
        let mut path = None;
        let mut routes = Routes::new(Arc::clone(&reporter));
        if let Some(admission) = admission {
            let token = Token::open(&store).await?;
            path = Some(token.path());
            routes = routes.admission(token, move |body: Bytes| review(&admission, body));
        }
        let mut servers = Vec::new();
        if let (Some(feed), Some(audit)) = (feeds.audit.as_ref().filter(|feed| feed.listen.is_some()), audit) {
            let access = access(feed).await?;
            match (ports.admission, ports.audit) {
                // One port for both.
                (Some(one), None) => servers.push((one, routes.audit(access, audited(audit)))),
                (admission, other) => {
                    let alone = Routes::new(reporter).audit(access, audited(audit));
                    servers.extend(admission.map(|server| (server, routes)));
                    servers.extend(other.map(|server| (server, alone)));
                }
            }
            if let Some(address) = feed.listen {
                let ca = folder.join(AUTHORITIES);
                let ca = if leaves_authorities {
                    format!("; the authority to trust is in {}", ca.display())
                } else {
                    String::new()
                };
                output.say(&format!("audit events are taken at https://{address}/audit{ca}"));
            }
        } else {
            servers.extend(ports.admission.map(|server| (server, routes)));
        }
        Ok(Self { servers, certificates, keeper, path, store, leaves_authorities })
    }

    /// Serves until the other end of `shutdown` is gone, and renews certificates for as long as it may.
    pub(super) async fn serve(
        self,
        endpoints: &mut JoinSet<anyhow::Error>,
        others: &mut JoinSet<Infallible>,
        shutdown: &watch::Receiver<()>,
    ) -> anyhow::Result<()> {
        let Self { servers, certificates, keeper, path, store, leaves_authorities } = self;
        if leaves_authorities {
            let mut bundle = certificates.bundle();
            leave(&store, &certificates, &mut bundle, path.is_none()).await?;
            let certificates = certificates.clone();
            others.spawn(async move {
                while bundle.changed().await.is_ok() {
                    if let Err(error) = leave(&store, &certificates, &mut bundle, path.is_none()).await {
                        tracing::error!(error = %chain(&*error), "the authorities in the state folder are out of date");
                    }
                }
                std::future::pending().await
            });
        }
        others.spawn(keeper.run());
        for (server, routes) in servers {
            let (certificates, mut shutdown) = (certificates.clone(), shutdown.clone());
            endpoints.spawn(async move {
                let shutdown = async move { while shutdown.changed().await.is_ok() {} };
                match server.serve(&certificates, routes, shutdown).await {
                    Ok(()) => anyhow!("an endpoint is no longer served"),
                    Err(error) => error.into(),
                }
            });
        }
        Ok(())
    }
}

/// Writes the authorities where people find them. Where nobody else tells API servers of them, they count as told.
async fn leave(
    store: &FileStore,
    certificates: &Certificates,
    bundle: &mut watch::Receiver<Option<String>>,
    is_alone: bool,
) -> anyhow::Result<()> {
    let Some(bundle) = bundle.borrow_and_update().clone() else { return Ok(()) };
    store.put(AUTHORITIES, bundle.as_bytes()).await?;
    if is_alone {
        certificates.published(&bundle);
    }
    Ok(())
}

async fn certificates(
    feeds: &Feeds,
    store: &FileStore,
    reporter: Arc<dyn Reporter>,
) -> anyhow::Result<(Certificates, Keeper)> {
    if let Some(certificates) = mounted(feeds, Arc::clone(&reporter)).await? {
        return Ok(certificates);
    }
    let host = feeds.admission.as_ref().map(|feed| feed.url.host.clone());
    let listened = feeds.audit.iter().filter_map(|feed| feed.listen).map(|address| address.ip());
    let listened = listened.filter(|address| !address.is_unspecified()).map(|address| address.to_string());
    let here = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let names = host.into_iter().chain(feeds.tls.names.iter().cloned()).chain(listened).chain(here);
    let issue = Issue::to(names.collect::<BTreeSet<_>>());
    let issued = Certificates::issued(Arc::new(store.clone()), issue, reporter).await;
    issued.map_err(|error| match &error {
        CertificateError::Name { .. } => Usage(format!("--admission-url, --tls-name: {error}")).into(),
        _ => anyhow::Error::new(error),
    })
}

/// Returns the certificates that flags name.
pub(crate) async fn mounted(
    feeds: &Feeds,
    reporter: Arc<dyn Reporter>,
) -> anyhow::Result<Option<(Certificates, Keeper)>> {
    let Tls { files: Some((certificate, key)), ca, .. } = &feeds.tls else { return Ok(None) };
    let names = feeds.admission.iter().map(|feed| feed.url.host.clone()).collect();
    let mounted = Mounted { authorities: ca.clone(), names, ..Mounted::new(certificate, key) };
    let opened = Certificates::mounted(mounted, reporter).await;
    opened.map(Some).context("--tls-cert, --tls-key, --tls-ca")
}

/// Returns who may send events.
pub(crate) async fn access(feed: &AuditFeed) -> anyhow::Result<Access> {
    let access = Access::open(feed.token_file.clone(), feed.client_ca.clone()).await;
    access.context("--audit-token-file, --audit-client-ca")
}

fn review(admission: &Admission, body: Bytes) -> Result<Reply, Refused> {
    match admission.review(body) {
        Ok(reviewed) => {
            let reply = Reply::from(reviewed.answer);
            Ok(match reviewed.lesson {
                Some(lesson) => reply.then(|| lesson.learn()),
                None => reply,
            })
        }
        Err(error) => Err(Refused::Garbage(chain(&error).into())),
    }
}

fn audited(audit: Audit) -> impl Fn(Bytes) -> Result<Reply, Refused> {
    move |body| match audit.receive(&body) {
        Ok(received) if received.broken > 0 => {
            tracing::warn!(
                broken = received.broken,
                events = received.events,
                "an audit webhook sends what is no event"
            );
            Ok(Reply::from("{}".to_owned()))
        }
        Ok(_) => Ok(Reply::from("{}".to_owned())),
        Err(error) => Err(Refused::Garbage(chain(&error).into())),
    }
}
