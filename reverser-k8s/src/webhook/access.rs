//! Who may tell us what API servers have done: whoever has a certificate of a given authority, or a secret.
//!
//! Both come from files that are read again for each request, of which there are few: what is replaced there counts at once. A
//! file that can't be used for a moment, while it is replaced, doesn't lock anybody out: what it said before counts.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, header::AUTHORIZATION};
use subtle::ConstantTimeEq;
use tokio_rustls::rustls::{
    self, RootCertStore,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::tls::provider;
use crate::report::{EndpointNotice, Notice, Reporter};

/// Who may. Either is enough; with neither, nobody may.
#[derive(Debug)]
pub struct Access {
    secret: Option<Followed<Secret>>,
    authorities: Option<Followed<Authorities>>,
}

/// Somebody who may not.
#[derive(Debug)]
pub(super) struct Stranger {
    /// Why the certificate that they have shown doesn't count.
    pub(super) certificate: Option<String>,
}

/// A file that says who may call can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// It says nothing that could be used.
    #[error("{} {why}", file.display())]
    Content {
        /// Which one.
        file: PathBuf,
        /// What is the matter.
        why: &'static str,
    },
    /// It can't be read.
    #[error("could not read {}", file.display())]
    Read {
        /// Which one.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Access {
    /// Reads the files: a secret that callers send as `Authorization: Bearer …`, and the authorities, in PEM, of their client
    /// certificates. What the kubeconfig of `--audit-webhook-config-file` has as `token`, and signs as `client-certificate`.
    pub async fn open(secret: Option<PathBuf>, authorities: Option<PathBuf>) -> Result<Self, AccessError> {
        let secret = match secret {
            Some(file) => Some(Followed::open(file).await?),
            None => None,
        };
        let authorities = match authorities {
            Some(file) => Some(Followed::open(file).await?),
            None => None,
        };
        Ok(Self { secret, authorities })
    }

    /// Returns whether certificates of clients count.
    pub(super) fn wants_certificates(&self) -> bool {
        self.authorities.is_some()
    }

    /// Returns whether whoever sends these headers, on a connection with this chain of certificates, may.
    pub(super) async fn admits(
        &self,
        headers: &HeaderMap,
        chain: &[CertificateDer<'static>],
        reporter: &dyn Reporter,
    ) -> Result<(), Stranger> {
        let mut stranger = Stranger { certificate: None };
        if let Some(authorities) = self.authorities.as_ref().filter(|_| !chain.is_empty()) {
            match authorities.now(reporter).await.have_signed(chain) {
                Ok(()) => return Ok(()),
                Err(why) => stranger.certificate = Some(why.to_string()),
            }
        }
        match (&self.secret, bearer(headers)) {
            (Some(secret), Some(shown)) if secret.now(reporter).await.is(shown) => Ok(()),
            _ => Err(stranger),
        }
    }
}

/// RFC 6750, section 2.1; the scheme's case doesn't matter, RFC 9110, section 11.1.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, shown) = headers.get(AUTHORIZATION)?.as_bytes().split_first_chunk::<7>()?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| shown.trim_ascii())
}

/// What a file says, read when somebody asks.
#[derive(Debug)]
struct Followed<T> {
    file: PathBuf,
    last: Mutex<Last<T>>,
}

#[derive(Debug)]
struct Last<T> {
    bytes: Hidden,
    value: Arc<T>,
    /// What was told of it since it could be used.
    told: Option<String>,
}

/// A file's content, which isn't shown.
struct Hidden(Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a file says.
trait Content: Sized {
    /// Returns why it says nothing of use, otherwise.
    fn parse(bytes: &[u8]) -> Result<Self, &'static str>;
}

impl<T: Content> Followed<T> {
    async fn open(file: PathBuf) -> Result<Self, AccessError> {
        let bytes = read(&file).await?;
        let value = T::parse(&bytes).map_err(|why| AccessError::Content { file: file.clone(), why })?;
        let last = Last { bytes: Hidden(bytes), value: Arc::new(value), told: None };
        Ok(Self { file, last: Mutex::new(last) })
    }

    /// Returns what it says, or has said when it could be used last.
    async fn now(&self, reporter: &dyn Reporter) -> Arc<T> {
        let read = read(&self.file).await;
        let mut last = self.last();
        let failed = match read {
            Ok(bytes) if bytes == last.bytes.0 => None,
            Ok(bytes) => match T::parse(&bytes) {
                Ok(value) => {
                    *last = Last { bytes: Hidden(bytes), value: Arc::new(value), told: None };
                    None
                }
                Err(why) => Some(AccessError::Content { file: self.file.clone(), why }),
            },
            Err(error) => Some(error),
        };
        let told = failed.map(|error| crate::report::chain(&error));
        if let Some(why) = &told
            && last.told != told
        {
            reporter.report(Notice::Endpoint(EndpointNotice::FileKept { why }));
        }
        last.told = told;
        Arc::clone(&last.value)
    }

    fn last(&self) -> MutexGuard<'_, Last<T>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, AccessError> {
    tokio::fs::read(file).await.map_err(|source| AccessError::Read { file: file.to_owned(), source })
}

/// What callers have to know.
struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Content for Secret {
    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let secret = bytes.trim_ascii();
        if secret.len() < SHORTEST {
            return Err("has less than 16 characters: write a longer secret into it");
        }
        if !secret.iter().all(u8::is_ascii_graphic) {
            return Err("has blanks or other characters that no bearer token has");
        }
        Ok(Self(secret.to_owned()))
    }
}

/// Of a secret, in characters: 64 bits, if they are hexadecimal.
const SHORTEST: usize = 16;

impl Secret {
    fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(shown).into()
    }
}

/// Whoever signs certificates of callers.
struct Authorities(Arc<dyn ClientCertVerifier>);

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorities")
    }
}

impl Content for Authorities {
    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        const NOT_ONE: &str = "has a certificate that is none";
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bytes) {
            roots.add(certificate.map_err(|_not_pem| NOT_ONE)?).map_err(|_not_a_root| NOT_ONE)?;
        }
        // It has one root at least, or none is built.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        verifier.map(Self).map_err(|_no_roots| "has no certificate in PEM")
    }
}

impl Authorities {
    /// Returns whether they vouch for this chain, at this moment, as that of a client.
    fn have_signed(&self, chain: &[CertificateDer<'static>]) -> Result<(), rustls::Error> {
        let Some((end, intermediates)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        self.0.verify_client_cert(end, intermediates, UnixTime::now()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::report::LogReporter;

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[tokio::test]
    async fn a_secret_is_compared_as_a_whole_and_read_again_when_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "0123456789abcdef\n").unwrap();
        let access = Access::open(Some(file.clone()), None).await.unwrap();
        let admits =
            async |authorization: &str| access.admits(&headers(authorization), &[], &LogReporter).await.is_ok();
        assert!(admits("Bearer 0123456789abcdef").await);
        assert!(admits("bearer  0123456789abcdef").await);
        for wrong in
            ["Bearer 0123456789abcdeF", "Bearer 0123456789abcde", "Bearer ", "Basic 0123456789abcdef", "Bearer"]
        {
            assert!(!admits(wrong).await, "{wrong}");
        }
        assert!(access.admits(&HeaderMap::new(), &[], &LogReporter).await.is_err());
        fs::write(&file, "fedcba9876543210").unwrap();
        assert!(!admits("Bearer 0123456789abcdef").await);
        assert!(admits("Bearer fedcba9876543210").await);
        // While it is written.
        fs::write(&file, "").unwrap();
        assert!(admits("Bearer fedcba9876543210").await);
        fs::remove_file(&file).unwrap();
        assert!(admits("Bearer fedcba9876543210").await);
        assert!(!admits("Bearer ").await);
    }

    #[tokio::test]
    async fn a_file_that_can_not_be_used_is_named_with_what_is_the_matter() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let refused = |access: Result<Access, AccessError>| access.unwrap_err().to_string();
        assert!(refused(Access::open(Some(file.clone()), None).await).contains("could not read"));
        fs::write(&file, "short").unwrap();
        assert!(refused(Access::open(Some(file.clone()), None).await).contains("less than 16 characters"));
        assert!(refused(Access::open(None, Some(file.clone())).await).contains("no certificate in PEM"));
        fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(
            refused(Access::open(None, Some(file.clone())).await).ends_with("/file has a certificate that is none")
        );
    }

    #[tokio::test]
    async fn with_neither_file_nobody_may() {
        let access = Access::open(None, None).await.unwrap();
        assert!(access.admits(&headers("Bearer "), &[], &LogReporter).await.is_err());
    }
}
