//! TLS as the endpoint speaks it: with the certificate of the moment, and with callers that may have one.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        ClientHello, NoClientAuth, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};

use super::der::public_key;

/// Returns the cryptography, which is that of the client for the API server.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificate that connections get from now on; those that are there keep theirs.
#[derive(Debug)]
pub(super) struct Serving(RwLock<Arc<CertifiedKey>>);

impl Serving {
    pub(super) fn new(certificate: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(certificate)))
    }

    pub(super) fn now(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, certificate: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

/// Returns how TLS is spoken. Who wants certificates of clients gets those that they show, and has to verify whose they are.
pub(super) fn config(serving: Arc<Serving>, wants_certificates: bool) -> Result<ServerConfig, Error> {
    let provider = provider();
    let clients: Arc<dyn ClientCertVerifier> = match wants_certificates {
        true => Arc::new(Anyone(provider.signature_verification_algorithms)),
        false => Arc::new(NoClientAuth),
    };
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_client_cert_verifier(clients).with_cert_resolver(serving);
    // docs/decisions/webhook-http1.md
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Lets callers show any certificate, as long as its key is theirs. Whether it counts is for the endpoint that is called: an
/// API server that has a certificate for other webhooks shows it to admission, too, where nobody asked.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for Anyone {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verify_tls13_signature(message, certificate, signature, &self.0) {
            // One of version 1, as `openssl x509 -req` likes to make them, isn't read there. It counts nowhere, and who shows it
            // gets an answer.
            Err(Error::InvalidCertificate(CertificateError::Other(why))) => {
                let key = public_key(certificate).ok_or(Error::InvalidCertificate(CertificateError::Other(why)))?;
                verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key), signature, &self.0)
            }
            verified => verified,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
