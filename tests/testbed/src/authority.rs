//! The certificate authority of one control plane: its serving certificate, its users, its service-account key.

use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::error::Error;

/// Signs certificates that the control plane trusts, in both directions.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// Makes a key and a certificate for it.
    pub(crate) fn create() -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("reverser test bed", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let failed = |source| Error::Certificate { subject: "the authority".into(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let certificate_pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// Returns what others need to trust it.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Makes a server's certificate, for loopback only.
    pub(crate) fn serving(&self) -> Result<Identity, Error> {
        self.serving_as(&["kubernetes.default.svc", "127.0.0.1", "localhost"])
    }

    /// Makes the certificate of a server that is called so.
    pub(crate) fn serving_as(&self, names: &[&str]) -> Result<Identity, Error> {
        let subject = names.first().copied().unwrap_or_default();
        let failed = |source| Error::Certificate { subject: subject.into(), source };
        let names: Vec<_> = names.iter().copied().map(String::from).collect();
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = name(subject, &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params).map_err(failed)
    }

    /// Makes a user's certificate, as the API server reads it: the common name is the user, the organizations are the
    /// groups. `expires` may be in the past.
    pub(crate) fn user(&self, user: &str, groups: &[&str], expires: Option<SystemTime>) -> Result<Identity, Error> {
        if groups.len() > ORGANIZATION.len() {
            return Err(Error::TooManyGroups { user: user.into(), count: groups.len() });
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = name(user, groups);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let Some(expires) = expires {
            params.not_after = expires.into();
        }
        self.sign(&params).map_err(|source| Error::Certificate { subject: user.into(), source })
    }

    fn sign(&self, params: &CertificateParams) -> Result<Identity, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate_pem, key_pem: key.serialize_pem() })
    }
}

/// A certificate and its private key.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

/// A key pair without a certificate: what signs the tokens of service accounts.
#[derive(Debug)]
pub(crate) struct SigningKey {
    pub(crate) private_pem: String,
    pub(crate) public_pem: String,
}

impl SigningKey {
    /// Makes a key pair.
    pub(crate) fn create() -> Result<Self, Error> {
        let key = KeyPair::generate()
            .map_err(|source| Error::Certificate { subject: "the service accounts".into(), source })?;
        Ok(Self { private_pem: key.serialize_pem(), public_pem: key.public_key_pem() })
    }
}

fn name(common: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    for (spelling, organization) in ORGANIZATION.iter().zip(organizations) {
        name.push(spelling.clone(), *organization);
    }
    name
}

/// rcgen keeps one value per [`DnType`]; both of these are written as the same object identifier.
static ORGANIZATION: std::sync::LazyLock<[DnType; 2]> =
    std::sync::LazyLock::new(|| [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])]);
