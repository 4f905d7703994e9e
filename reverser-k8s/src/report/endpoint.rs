//! What the endpoint that API servers call has to tell: requests, and the certificates that it is reached with.

use std::{fmt, time::Duration};

use jiff::Timestamp;

/// Something worth telling of the endpoint. Never the content of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EndpointNotice<'a> {
    /// A request was answered. Told of each.
    Answered {
        /// What was called.
        endpoint: Endpoint,
        /// The HTTP status of the answer.
        status: u16,
        /// Why it was refused; `None` where it wasn't.
        refused: Option<&'static str>,
        /// From the request's head to the answer.
        took: Duration,
    },
    /// A new authority signs from now on, as the one before is near its end. Until every API server trusts it, certificates are
    /// those of the one before.
    AuthorityAdded {
        /// How long it is valid.
        until: Timestamp,
    },
    /// Certificates can't be renewed, kept or read. What is served goes on being served; it is tried again.
    CertificateFailed {
        /// What could not be done, and why.
        why: &'a str,
        /// How long the certificate that is served is valid, where that is known.
        until: Option<Timestamp>,
    },
    /// A certificate is served from now on, without a connection being closed.
    CertificateServed {
        /// How long it is valid, where that is known.
        until: Option<Timestamp>,
    },
    /// What was kept can't be used, so that a new authority was made: API servers trust it as soon as it is registered with
    /// them.
    CertificatesRemade {
        /// What was the matter.
        why: &'a str,
    },
    /// The end has come, and these connections had a request that wasn't answered in the time that there was.
    CutOff {
        /// How many.
        connections: usize,
    },
    /// A file that says who may call can't be used. What it said before counts.
    FileKept {
        /// Which one, and why.
        why: &'a str,
    },
    /// Audit events were refused, as whoever sent them has neither the token nor a certificate that counts. Told of once a
    /// minute.
    NotAllowed {
        /// Why the certificate that they have shown doesn't count.
        certificate: Option<&'a str>,
    },
    /// A connection came to nothing before its first request.
    NotConnected {
        /// `handshake`, `silent` (nothing was asked for in time), or `untrusted` (the caller doesn't trust our certificate).
        reason: &'static str,
        /// Whether people should hear of it: of callers that don't trust us, once a minute.
        is_news: bool,
    },
    /// What handles a request panicked. The caller is told that it failed; everything else goes on.
    Panicked {
        /// What was called.
        endpoint: Endpoint,
    },
}

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Endpoint {
    /// API servers, before they store a change.
    Admission,
    /// API servers, of what they have done.
    Audit,
    /// Whoever asks whether the endpoint is there.
    Health,
    /// Nothing that is there.
    Unknown,
}

impl Endpoint {
    /// Returns its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Audit => "audit",
            Self::Health => "health",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl EndpointNotice<'_> {
    pub(super) fn log(&self) {
        match self {
            Self::Answered { endpoint, status, refused: Some(why), .. } => {
                tracing::debug!(%endpoint, status, why, "a request was refused");
            }
            Self::Answered { refused: None, .. } | Self::NotConnected { is_news: false, .. } => {}
            Self::AuthorityAdded { until } => tracing::info!(%until, "a new authority for our certificates"),
            Self::CertificateFailed { why, until } => {
                tracing::error!(why, until = until.map(tracing::field::display), "the certificate is not renewed");
            }
            Self::CertificateServed { until } => {
                tracing::info!(until = until.map(tracing::field::display), "a certificate is served");
            }
            Self::CertificatesRemade { why } => tracing::warn!(why, "certificates are made anew"),
            Self::CutOff { connections } => tracing::warn!(connections, "requests were cut off at the end"),
            Self::FileKept { why } => tracing::warn!(why, "a file can't be used; what it said before counts"),
            Self::NotAllowed { certificate } => tracing::warn!(
                certificate,
                "audit events are refused: their sender has neither the token nor a client certificate that counts"
            ),
            Self::NotConnected { reason, is_news: true } => tracing::warn!(
                reason,
                "a caller doesn't trust our certificate: its caBundle is another one, or the address is not in it"
            ),
            Self::Panicked { endpoint } => {
                tracing::error!(%endpoint, "a panic while a request was handled; please report it")
            }
        }
    }
}
