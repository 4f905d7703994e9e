//! Certificates of an authority of our own, which is kept and renewed.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};
use tokio_rustls::rustls::{pki_types::ServerName, sign::CertifiedKey};

use super::{
    super::{Store, StoreError},
    CertificateError, Certificates,
    authority::{Authority, Leaf, server_name, validity, verify},
    machine::{By, Lives, Step, View, end},
};
use crate::report::{EndpointNotice, Notice, Reporter, chain};

/// What is issued.
#[derive(Clone, Debug)]
pub struct Issue {
    /// What the endpoint is called: each DNS name and IP address of it that API servers use.
    pub names: Vec<String>,
    /// How long an authority is valid. From a third of that before its end on it has a successor. Default: 10 years.
    pub authority_life: Duration,
    /// How long a certificate is valid; it is renewed when a third of that is left. Default: 90 days.
    pub leaf_life: Duration,
    /// How long after a bundle was published all API servers have seen it. Default: 10 s; they are told at once, but for those
    /// that were cut off for a moment.
    pub settle: Duration,
}

impl Issue {
    /// For an endpoint of these names.
    pub fn to(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            names: names.into_iter().map(Into::into).collect(),
            authority_life: 3_650 * DAY,
            leaf_life: 90 * DAY,
            settle: Duration::from_secs(10),
        }
    }
}

/// Issues and keeps.
pub(super) struct Issued {
    certificates: Certificates,
    store: Arc<dyn Store>,
    names: Vec<ServerName<'static>>,
    lives: Lives,
    settle: Duration,
    reporter: Arc<dyn Reporter>,
    kept: Kept,
    /// As [`View::trusted_from`].
    trusted_from: Option<Timestamp>,
    published: watch::Receiver<Option<String>>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("names", &self.names).field("lives", &self.lives).finish_non_exhaustive()
    }
}

/// All of it under one name, so that a crash can't part what belongs together.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The one that signs last, too.
    newest: Authority,
    /// The one before, where it counts still.
    older: Option<Authority>,
    leaf: Leaf,
    /// As [`View::retire_at`].
    retire_at: Option<Timestamp>,
}

/// Of what is kept.
const NAME: &str = "certificates.json";

impl Kept {
    fn make(names: &[ServerName<'_>], lives: Lives, now: Timestamp) -> Result<Self, CertificateError> {
        let newest = Authority::make(now, lives.authority).map_err(CertificateError::Make)?;
        let leaf = newest.sign(names, now, lives.leaf).map_err(CertificateError::Make)?;
        Ok(Self { newest, older: None, leaf, retire_at: None })
    }

    /// Reads what is kept; an error says why it is of no use. A certificate that can't be served is still to be replaced.
    fn parse(bytes: &[u8], now: Timestamp) -> Result<Self, String> {
        // The words of the parser may hold what it has read.
        let kept: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("what is kept is damaged at line {}, column {}", error.line(), error.column()))?;
        for authority in [Some(&kept.newest), kept.older.as_ref()].into_iter().flatten() {
            let validity = authority.validity().ok_or("a certificate that is kept is damaged")?;
            if now < validity.from {
                return Err(format!("the authority is valid from {} on: the clock was set back", validity.from));
            }
        }
        Ok(kept)
    }

    fn authorities(&self) -> impl Iterator<Item = &Authority> {
        self.older.iter().chain([&self.newest])
    }

    fn bundle(&self) -> String {
        self.authorities().map(|authority| authority.certificate.as_str()).collect()
    }

    /// Returns the certificate, if API servers would take it.
    fn certified(&self, names: &[ServerName<'static>], now: Timestamp) -> Result<CertifiedKey, CertificateError> {
        let certified = self.leaf.certified().map_err(CertificateError::Unusable)?;
        let authorities = self.authorities().filter_map(Authority::der);
        verify(&certified, authorities, names, now).map_err(CertificateError::Unusable)?;
        Ok(certified)
    }

    fn view(&self, leaf_until: Timestamp, trusted_from: Option<Timestamp>) -> View {
        let until = |authority: &Authority| authority.validity().map_or(Timestamp::MIN, |validity| validity.until);
        // Whose it is decides who may sign the next one: when in doubt the one that is trusted already.
        let by = if self.leaf.authority == self.newest.name || self.older.is_none() { By::Newest } else { By::Older };
        View {
            newest: until(&self.newest),
            older: self.older.as_ref().map(until),
            leaf: (leaf_until, by),
            trusted_from,
            retire_at: self.retire_at,
        }
    }
}

impl Issued {
    pub(super) async fn open(
        store: Arc<dyn Store>,
        issue: Issue,
        reporter: Arc<dyn Reporter>,
    ) -> Result<(Certificates, Self), CertificateError> {
        let Issue { names, authority_life, leaf_life, settle } = issue;
        let names: Result<Vec<_>, _> =
            names.into_iter().map(|name| server_name(&name).ok_or(CertificateError::Name { name })).collect();
        let (names, lives) = (names?, Lives { authority: authority_life, leaf: leaf_life });
        let now = Timestamp::now();
        let (kept, certified) = read_or_make(&*store, &names, lives, &*reporter, now).await?;
        let until = validity(&certified).map(|validity| validity.until);
        let certificates = Certificates::new(certified, Some(kept.bundle()));
        let published = certificates.0.published.subscribe();
        let certificates_too = certificates.clone();
        let issued = Self { certificates, store, names, lives, settle, reporter, kept, trusted_from: None, published };
        issued.report(EndpointNotice::CertificateServed { until });
        Ok((certificates_too, issued))
    }

    pub(super) async fn run(mut self) -> Infallible {
        loop {
            let pause = match self.keep().await {
                Ok(pause) => pause,
                Err(error) => {
                    let until = Some(self.served_until());
                    self.report(EndpointNotice::CertificateFailed { why: &chain(&error), until });
                    AGAIN.min(self.lives.leaf / 10)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                // Its sender is ours, too.
                _ = self.published.changed() => self.note_published(Timestamp::now()),
            }
        }
    }

    /// Does what is to be done, and returns how long there is nothing.
    async fn keep(&mut self) -> Result<Duration, CertificateError> {
        loop {
            let now = Timestamp::now();
            match self.kept.view(self.served_until(), self.trusted_from).step(self.lives, now) {
                // Looked at once in a while, as clocks are set.
                Step::Wait(until) => return Ok(Duration::try_from(until - now).unwrap_or_default().min(LOOK_AGAIN)),
                step => self.take(step, now).await?,
            }
        }
    }

    /// Nothing is served or announced that isn't kept: a crash would forget it.
    async fn take(&mut self, step: Step, now: Timestamp) -> Result<(), CertificateError> {
        let mut next = self.kept.clone();
        match step {
            Step::AddAuthority => {
                let newest = Authority::make(now, self.lives.authority).map_err(CertificateError::Make)?;
                next.older = Some(std::mem::replace(&mut next.newest, newest));
            }
            Step::Remake => next = Kept::make(&self.names, self.lives, now)?,
            Step::Retire => (next.older, next.retire_at) = (None, None),
            Step::Sign(by) => {
                let signer = next.older.as_ref().filter(|_| by == By::Older).unwrap_or(&next.newest);
                let leaf = signer.sign(&self.names, now, self.lives.leaf).map_err(CertificateError::Make)?;
                if let Some(older) =
                    next.older.as_ref().filter(|older| by == By::Newest && older.name == next.leaf.authority)
                {
                    // Others that share what is kept may have signed with it until this moment.
                    let until = older.validity().map_or(now, |validity| validity.until);
                    next.retire_at = Some(until.min(end(now, self.lives.leaf)));
                }
                next.leaf = leaf;
            }
            Step::Wait(_) => return Ok(()),
        }
        let certified = next.certified(&self.names, now)?;
        put(&*self.store, &next).await?;
        self.kept = next;
        if self.certificates.announce(Some(self.kept.bundle())) {
            self.trusted_from = None;
        }
        match step {
            Step::AddAuthority => {
                let until = self.kept.view(now, None).newest;
                self.report(EndpointNotice::AuthorityAdded { until });
            }
            Step::Remake => {
                self.serve(certified);
                self.report(EndpointNotice::CertificatesRemade { why: "the authority has expired" });
            }
            Step::Sign(_) => self.serve(certified),
            Step::Retire | Step::Wait(_) => {}
        }
        Ok(())
    }

    fn serve(&self, certified: CertifiedKey) {
        let until = validity(&certified).map(|validity| validity.until);
        self.certificates.0.serving.replace(certified);
        self.report(EndpointNotice::CertificateServed { until });
    }

    fn served_until(&self) -> Timestamp {
        let certified = self.kept.leaf.certified().ok();
        certified.as_ref().and_then(validity).map_or(Timestamp::MIN, |validity| validity.until)
    }

    fn note_published(&mut self, now: Timestamp) {
        if self.certificates.is_published() && self.trusted_from.is_none() {
            self.trusted_from = now.checked_add(self.settle).ok();
        }
    }

    fn report(&self, notice: EndpointNotice<'_>) {
        self.reporter.report(Notice::Endpoint(notice));
    }
}

/// After a failure, unless certificates live for less than minutes.
const AGAIN: Duration = Duration::from_secs(30);

/// However much time there is.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Returns what is kept, with a certificate that can be served, or all of it anew.
async fn read_or_make(
    store: &dyn Store,
    names: &[ServerName<'static>],
    lives: Lives,
    reporter: &dyn Reporter,
    now: Timestamp,
) -> Result<(Kept, CertifiedKey), CertificateError> {
    let bytes = store.get(NAME).await.map_err(CertificateError::Store)?;
    if let Some(bytes) = bytes {
        match reuse(&bytes, names, lives, now) {
            Ok((kept, certified, is_changed)) => {
                if is_changed {
                    put(store, &kept).await?;
                }
                return Ok((kept, certified));
            }
            Err(why) => reporter.report(Notice::Endpoint(EndpointNotice::CertificatesRemade { why: &why })),
        }
    }
    let kept = Kept::make(names, lives, now)?;
    let certified = kept.certified(names, now)?;
    put(store, &kept).await?;
    Ok((kept, certified))
}

/// Returns what is kept, with a certificate that can be served, and whether that is another one; or why there is none.
fn reuse(
    bytes: &[u8],
    names: &[ServerName<'static>],
    lives: Lives,
    now: Timestamp,
) -> Result<(Kept, CertifiedKey, bool), String> {
    let mut kept = Kept::parse(bytes, now)?;
    if let Ok(certified) = kept.certified(names, now) {
        return Ok((kept, certified, false));
    }
    // Expired, damaged, or for another name: the authority that API servers trust makes another one.
    let view = kept.view(Timestamp::MIN, None);
    if view.newest <= now {
        return Err(format!("the authority has expired at {}", view.newest));
    }
    let by = match view.older {
        Some(older) if older > now && view.leaf.1 == By::Older => By::Older,
        _ => By::Newest,
    };
    let signer = kept.older.as_ref().filter(|_| by == By::Older).unwrap_or(&kept.newest);
    kept.leaf =
        signer.sign(names, now, lives.leaf).map_err(|error| format!("the authority's key is damaged: {error}"))?;
    let certified =
        kept.certified(names, now).map_err(|error| format!("the authority is damaged: {}", chain(&error)))?;
    Ok((kept, certified, true))
}

async fn put(store: &dyn Store, kept: &Kept) -> Result<(), CertificateError> {
    let bytes = serde_json::to_vec_pretty(kept).map_err(|error| {
        let (action, what, source) = ("write", NAME.to_owned(), error.into());
        CertificateError::Store(StoreError::Io { action, what, source })
    })?;
    store.put(NAME, &bytes).await.map_err(CertificateError::Store)
}

#[cfg(test)]
mod tests;
