//! Certificates of others, in files that they replace: cert-manager's, mounted from a Secret, for one.
//!
//! Such a mount is replaced by a symbolic link that is moved: the files that were opened never change. So what counts is what the
//! files say, looked at once in a while.

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::rustls::{
    self,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};

use super::{
    CertificateError, Certificates, Unfit,
    authority::{are_named, certified, server_name, validity, verify},
};
use crate::report::{EndpointNotice, Notice, Reporter, chain};

/// Where certificates of others are.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// The certificate, with those between it and its authority, in PEM: `tls.crt` of a Secret.
    pub certificate: PathBuf,
    /// Its private key, in PEM: `tls.key` of a Secret.
    pub key: PathBuf,
    /// The authorities that API servers have to trust, in PEM: `ca.crt` of a Secret. Default: what they trust is left to
    /// others.
    pub authorities: Option<PathBuf>,
    /// What the endpoint is called. A certificate that isn't for each of these names isn't taken. Default: none.
    pub names: Vec<String>,
    /// How often the files are looked at. Default: 10 s; kubelets replace them within a minute or two.
    pub poll: Duration,
    /// How long it is waited, after other authorities were announced, for them to be published, until what they have signed is
    /// served all the same. Default: 1 min.
    pub patience: Duration,
    /// As [`Issue::settle`](super::Issue::settle). Default: 10 s.
    pub settle: Duration,
}

impl Mounted {
    /// A certificate and its key.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            authorities: None,
            names: vec![],
            poll: Duration::from_secs(10),
            patience: Duration::from_secs(60),
            settle: Duration::from_secs(10),
        }
    }
}

/// Serves what the files say.
pub(super) struct Follower {
    certificates: Certificates,
    mounted: Mounted,
    names: Vec<ServerName<'static>>,
    reporter: Arc<dyn Reporter>,
    /// What is served.
    files: Files,
    trouble: Trouble,
    published: watch::Receiver<Option<String>>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("mounted", &self.mounted).finish_non_exhaustive()
    }
}

/// What the files say.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<String>,
}

/// Why what the files say isn't served.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Seen once: perhaps one file was read before, and one after they were replaced.
    Seen(String),
    Told(String),
}

impl Follower {
    pub(super) async fn open(
        mounted: Mounted,
        reporter: Arc<dyn Reporter>,
    ) -> Result<(Certificates, Self), CertificateError> {
        let name = |name: &String| server_name(name).ok_or_else(|| CertificateError::Name { name: name.clone() });
        let names = mounted.names.iter().map(name).collect::<Result<Vec<_>, _>>()?;
        let files = Files::read(&mounted).await?;
        let certified = files.certified(&mounted, &names, Timestamp::now())?;
        let until = validity(&certified).map(|validity| validity.until);
        reporter.report(Notice::Endpoint(EndpointNotice::CertificateServed { until }));
        let certificates = Certificates::new(certified, files.authorities.clone());
        let published = certificates.0.published.subscribe();
        let follower = Self {
            certificates: certificates.clone(),
            mounted,
            names,
            reporter,
            files,
            trouble: Trouble::None,
            published,
        };
        Ok((certificates, follower))
    }

    pub(super) async fn run(mut self) -> Infallible {
        loop {
            sleep(self.mounted.poll).await;
            match self.look().await {
                Ok(None) => self.trouble = Trouble::None,
                Ok(Some((files, certified))) => {
                    self.trouble = Trouble::None;
                    self.replace(files, certified).await;
                }
                Err(error) => self.note(chain(&error)),
            }
        }
    }

    /// Returns what the files say, when it is something else than before.
    async fn look(&self) -> Result<Option<(Files, CertifiedKey)>, CertificateError> {
        let files = Files::read(&self.mounted).await?;
        // Looked at also when it is what is served: it may have expired.
        let certified = files.certified(&self.mounted, &self.names, Timestamp::now())?;
        Ok((files != self.files).then_some((files, certified)))
    }

    async fn replace(&mut self, files: Files, certified: CertifiedKey) {
        if let (Some(next), Some(last)) = (&files.authorities, &self.files.authorities)
            && next != last
        {
            self.certificates.announce(Some(format!("{}\n{last}", next.trim_end())));
            let (certificates, published) = (&self.certificates, &mut self.published);
            // Its sender is ours, too.
            let is_published = published.wait_for(|_| certificates.is_published());
            if timeout(self.mounted.patience, is_published).await.is_ok() {
                sleep(self.mounted.settle).await;
            }
        }
        let until = validity(&certified).map(|validity| validity.until);
        self.certificates.0.serving.replace(certified);
        self.certificates.announce(files.authorities.clone());
        self.files = files;
        self.reporter.report(Notice::Endpoint(EndpointNotice::CertificateServed { until }));
    }

    fn note(&mut self, why: String) {
        self.trouble = match std::mem::replace(&mut self.trouble, Trouble::None) {
            Trouble::Told(told) if told == why => Trouble::Told(told),
            Trouble::Seen(seen) if seen == why => {
                let served = certified(&self.files.certificate, &self.files.key).ok();
                let until = served.as_ref().and_then(validity).map(|validity| validity.until);
                let notice = EndpointNotice::CertificateFailed { why: &why, until };
                self.reporter.report(Notice::Endpoint(notice));
                Trouble::Told(why)
            }
            _ => Trouble::Seen(why),
        };
    }
}

impl Files {
    async fn read(mounted: &Mounted) -> Result<Self, CertificateError> {
        let authorities = match &mounted.authorities {
            Some(file) => {
                let text = String::from_utf8(read(file).await?).unwrap_or_default();
                if CertificateDer::pem_slice_iter(text.as_bytes()).flatten().next().is_none() {
                    return Err(CertificateError::Pem { file: file.clone(), what: "certificate" });
                }
                Some(text)
            }
            None => None,
        };
        Ok(Self { certificate: read(&mounted.certificate).await?, key: read(&mounted.key).await?, authorities })
    }

    /// Returns what can be served of it.
    fn certified(
        &self,
        mounted: &Mounted,
        names: &[ServerName<'static>],
        now: Timestamp,
    ) -> Result<CertifiedKey, CertificateError> {
        let bad = |source| CertificateError::Pair {
            certificate: mounted.certificate.clone(),
            key: mounted.key.clone(),
            source,
        };
        if CertificateDer::pem_slice_iter(&self.certificate).flatten().next().is_none() {
            return Err(CertificateError::Pem { file: mounted.certificate.clone(), what: "certificate" });
        }
        if PrivateKeyDer::from_pem_slice(&self.key).is_err() {
            return Err(CertificateError::Pem { file: mounted.key.clone(), what: "private key without a passphrase" });
        }
        let certified = certified(&self.certificate, &self.key).map_err(bad)?;
        match validity(&certified) {
            None => return Err(bad(Unfit::Other(rustls::CertificateError::BadEncoding.into()))),
            Some(validity) if now < validity.from => return Err(bad(Unfit::NotYet)),
            Some(validity) if validity.until < now => return Err(bad(Unfit::Expired)),
            Some(_) => {}
        }
        match &self.authorities {
            Some(authorities) => {
                let authorities = CertificateDer::pem_slice_iter(authorities.as_bytes()).flatten();
                verify(&certified, authorities, names, now).map_err(bad)?;
            }
            None => are_named(&certified, names).map_err(bad)?,
        }
        Ok(certified)
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    tokio::fs::read(file).await.map_err(|source| CertificateError::Read { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests;
