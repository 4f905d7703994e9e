//! The certificate that the endpoint is reached with, and the authorities that API servers have to trust for it.
//!
//! What API servers trust has to be ahead of what is served, or they don't reach us for a moment, and requests of that moment
//! have no author. So whoever registers the endpoint and whoever keeps its certificates take turns:
//!
//! ```text
//!   Keeper                                  registration
//!   bundle: old and new authority ────────► writes it into caBundle
//!                                 ◄──────── Certificates::published
//!   some seconds, until each API server has seen it
//!   serves a certificate of the new one
//!   bundle: the new authority alone, once no certificate of the old one is valid any more
//! ```

use std::{convert::Infallible, io, path::PathBuf, sync::Arc};

use tokio::sync::watch;
use tokio_rustls::rustls;

use self::issued::Issued;
pub use self::{issued::Issue, mounted::Mounted};
use super::{Store, StoreError, tls::Serving};
use crate::report::Reporter;

mod authority;
mod issued;
mod machine;
mod mounted;

/// The certificate of the moment; clones are the same.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    serving: Arc<Serving>,
    /// What API servers have to trust.
    bundle: watch::Sender<Option<String>>,
    /// What they do, as far as it was said.
    published: watch::Sender<Option<String>>,
}

/// Renews certificates, or looks for those of others.
#[derive(Debug)]
#[must_use = "certificates expire unless it runs"]
pub struct Keeper(Kind);

#[derive(Debug)]
enum Kind {
    Issued(Issued),
    Mounted(mounted::Follower),
}

/// There is no certificate to begin with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// One can't be made.
    #[error("could not make a certificate")]
    Make(#[source] rcgen::Error),
    /// The endpoint can't be called so.
    #[error("{name:?} is neither a DNS name nor an IP address")]
    Name {
        /// What was given.
        name: String,
    },
    /// Certificate and key in files of the user's don't belong together, are expired, or are for something else.
    #[error("can't use {} with {}", certificate.display(), key.display())]
    Pair {
        /// The certificates.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
        /// What is the matter.
        #[source]
        source: Unfit,
    },
    /// A file has nothing of what it is for.
    #[error("{} has no {what} in PEM", file.display())]
    Pem {
        /// Which one.
        file: PathBuf,
        /// What it should have.
        what: &'static str,
    },
    /// A file can't be read.
    #[error("could not read {}", file.display())]
    Read {
        /// Which one.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing can be kept.
    #[error("could not keep the certificates")]
    Store(#[source] StoreError),
    /// What was just made can't be used: the clock, or memory, is wrong.
    #[error("a certificate that was just made can't be used")]
    Unusable(#[source] Unfit),
}

/// Why a certificate can't be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Its end has passed.
    #[error("the certificate has expired")]
    Expired,
    /// The key isn't its own.
    #[error("the key is that of another certificate")]
    Key,
    /// It isn't for a name that the endpoint has.
    #[error("the certificate isn't for {name}")]
    Name {
        /// The name.
        name: String,
    },
    /// Its beginning is still to come.
    #[error("the certificate isn't valid yet")]
    NotYet,
    /// It can't be read, or not be used for this.
    #[error("the certificate or its key can't be used")]
    Other(#[source] rustls::Error),
    /// None of the authorities that count has signed it, nor anybody in its chain.
    #[error("no authority that API servers are to trust has signed the certificate")]
    Signer,
}

impl Certificates {
    /// Issues certificates with an authority of our own, which `store` keeps. What is there goes on being used; what can't be,
    /// as it has expired or is damaged, is made anew, and told of.
    pub async fn issued(
        store: Arc<dyn Store>,
        issue: Issue,
        reporter: Arc<dyn Reporter>,
    ) -> Result<(Self, Keeper), CertificateError> {
        let (certificates, issued) = Issued::open(store, issue, reporter).await?;
        Ok((certificates, Keeper(Kind::Issued(issued))))
    }

    /// Serves certificates of others, such as cert-manager's.
    pub async fn mounted(mounted: Mounted, reporter: Arc<dyn Reporter>) -> Result<(Self, Keeper), CertificateError> {
        let (certificates, follower) = mounted::Follower::open(mounted, reporter).await?;
        Ok((certificates, Keeper(Kind::Mounted(follower))))
    }

    /// Returns what API servers have to trust, in PEM, now and whenever it changes: what belongs into `caBundle`. `None`:
    /// nobody has said it, and whoever writes `caBundle` (cert-manager's CA injector) is left alone.
    pub fn bundle(&self) -> watch::Receiver<Option<String>> {
        self.0.bundle.subscribe()
    }

    /// Takes note that API servers were told to trust this bundle: certificates that need it may be served. To be called each
    /// time that one was written, and when it was found to be there.
    pub fn published(&self, bundle: &str) {
        self.0.published.send_replace(Some(bundle.to_owned()));
    }

    pub(super) fn serving(&self) -> Arc<Serving> {
        Arc::clone(&self.0.serving)
    }

    fn new(certificate: rustls::sign::CertifiedKey, bundle: Option<String>) -> Self {
        Self(Arc::new(Shared {
            serving: Arc::new(Serving::new(certificate)),
            bundle: watch::Sender::new(bundle),
            published: watch::Sender::default(),
        }))
    }

    /// Tells API servers, or whoever registers us there, what to trust; returns whether that is news.
    fn announce(&self, bundle: Option<String>) -> bool {
        self.0.bundle.send_if_modified(|last| {
            let is_news = *last != bundle;
            *last = bundle;
            is_news
        })
    }

    /// Returns whether they were told to trust what they have to.
    fn is_published(&self) -> bool {
        let published = self.0.published.borrow();
        published.is_some() && *published == *self.0.bundle.borrow()
    }
}

impl Keeper {
    /// Renews until it is dropped.
    pub async fn run(self) -> Infallible {
        match self.0 {
            Kind::Issued(issued) => issued.run().await,
            Kind::Mounted(follower) => follower.run().await,
        }
    }
}
