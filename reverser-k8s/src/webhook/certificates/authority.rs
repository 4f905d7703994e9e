//! Authorities of our own, and what they sign.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::{
    self, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier, verify_server_name},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    server::ParsedCertificate,
    sign::CertifiedKey,
};

use super::{
    super::{der::Validity, tls::provider},
    Unfit,
    machine::end,
};

/// An authority as it is kept.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authority {
    /// Its common name, by which what it has signed names it.
    pub(super) name: String,
    /// In PEM, as is its key.
    pub(super) certificate: String,
    key: String,
}

/// A certificate that an authority has signed.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leaf {
    /// The authority's name.
    pub(super) authority: String,
    certificate: String,
    key: String,
}

impl Authority {
    /// Makes one.
    pub(super) fn make(now: Timestamp, life: Duration) -> Result<Self, rcgen::Error> {
        // No two of them have the same name, or those who verify have to try.
        let name = format!("reverser, made {now}");
        let key = KeyPair::generate()?;
        let mut params = params(&name);
        params.not_before = SystemTime::from(begin(now)).into();
        params.not_after = SystemTime::from(end(now, life)).into();
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { name, certificate, key: key.serialize_pem() })
    }

    /// Signs a certificate for these names, which ends with the authority at the latest.
    pub(super) fn sign(&self, names: &[ServerName<'_>], now: Timestamp, life: Duration) -> Result<Leaf, rcgen::Error> {
        let issuer = Issuer::new(params(&self.name), KeyPair::from_pem(&self.key)?);
        let names: Vec<String> = names.iter().map(|name| name.to_str().into_owned()).collect();
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name = common_name("reverser");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let until = self.validity().map_or(Timestamp::MIN, |own| own.until).min(end(now, life));
        leaf.not_before = SystemTime::from(begin(now)).into();
        leaf.not_after = SystemTime::from(until).into();
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &issuer)?.pem();
        Ok(Leaf { authority: self.name.clone(), certificate, key: key.serialize_pem() })
    }

    /// Returns when it is valid; `None`: it is damaged.
    pub(super) fn validity(&self) -> Option<Validity> {
        Validity::of(&self.der()?)
    }

    pub(super) fn der(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).ok()
    }
}

/// What an authority says of itself; only its validity isn't here, which those whom it signs don't need.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

impl Leaf {
    /// Returns it as it is served.
    pub(super) fn certified(&self) -> Result<CertifiedKey, Unfit> {
        certified(self.certificate.as_bytes(), self.key.as_bytes())
    }

    #[cfg(test)]
    pub(super) fn pem(&self) -> &str {
        &self.certificate
    }

    #[cfg(test)]
    pub(super) fn key_pem(&self) -> &str {
        &self.key
    }
}

/// Reads certificates and their key from PEM; they belong together.
pub(super) fn certified(certificates: &[u8], key: &[u8]) -> Result<CertifiedKey, Unfit> {
    let not_pem = |error: pem::Error| Unfit::Other(rustls::Error::General(error.to_string()));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(not_pem)?;
    CertifiedKey::from_der(chain.map_err(not_pem)?, key, &provider()).map_err(|error| unfit(error, None))
}

/// The words of rustls are about certificates of others.
fn unfit(error: rustls::Error, name: Option<&ServerName<'_>>) -> Unfit {
    use rustls::{CertificateError as Invalid, Error, InconsistentKeys};
    match (error, name) {
        (Error::InconsistentKeys(InconsistentKeys::KeyMismatch), _) => Unfit::Key,
        (Error::InvalidCertificate(Invalid::Expired | Invalid::ExpiredContext { .. }), _) => Unfit::Expired,
        (Error::InvalidCertificate(Invalid::NotValidYet | Invalid::NotValidYetContext { .. }), _) => Unfit::NotYet,
        (Error::InvalidCertificate(Invalid::UnknownIssuer), _) => Unfit::Signer,
        (Error::InvalidCertificate(Invalid::NotValidForName | Invalid::NotValidForNameContext { .. }), Some(name)) => {
            Unfit::Name { name: name.to_str().into_owned() }
        }
        (other, _) => Unfit::Other(other),
    }
}

/// Returns how long a certificate that is served is valid.
pub(super) fn validity(certificate: &CertifiedKey) -> Option<Validity> {
    Validity::of(certificate.cert.first()?)
}

/// Looks at a certificate as an API server does that trusts these authorities and calls us by each of these names.
pub(super) fn verify(
    certificate: &CertifiedKey,
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
    names: &[ServerName<'static>],
    now: Timestamp,
) -> Result<(), Unfit> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(Unfit::Other)?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let verifier = verifier.map_err(|error| Unfit::Other(rustls::Error::General(error.to_string())))?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap_or_default()));
    let Some((end, intermediates)) = certificate.cert.split_first() else {
        return Err(Unfit::Other(rustls::Error::NoCertificatesPresented));
    };
    names.iter().try_for_each(|name| {
        let verified = verifier.verify_server_cert(end, intermediates, name, &[], now);
        verified.map(drop).map_err(|error| unfit(error, Some(name)))
    })
}

/// Looks whether a certificate is for each of these names, where it isn't known whom API servers trust.
pub(super) fn are_named(certificate: &CertifiedKey, names: &[ServerName<'_>]) -> Result<(), Unfit> {
    let end = certificate.end_entity_cert().and_then(ParsedCertificate::try_from).map_err(Unfit::Other)?;
    names.iter().try_for_each(|name| verify_server_name(&end, name).map_err(|error| unfit(error, Some(name))))
}

/// Reads what we are called: a DNS name, or an IP address, also as URLs have those of version 6.
pub(super) fn server_name(name: &str) -> Option<ServerName<'static>> {
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(address) => address.parse().ok().map(|address: IpAddr| ServerName::from(address)),
        None => ServerName::try_from(name.to_owned()).ok(),
    }
}

/// Returns from when on it is valid: clocks of API servers may be behind ours.
fn begin(now: Timestamp) -> Timestamp {
    now.checked_sub(SKEW).unwrap_or(now)
}

const SKEW: Duration = Duration::from_secs(60 * 60);
