//! How authors are found.

mod feeds;
mod url;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

pub(crate) use self::{
    feeds::{AdmissionFeed, AuditFeed, Feeds, Tls},
    url::AdmissionUrl,
};
use super::{duration, heading::ATTRIBUTION, listen::address};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct AttributionArgs {
    /// From what authors are named [default: none, or audit with --audit-...]
    ///
    /// Several may be named, by repeating it or with commas. Nothing of it is needed to record changes: without an author
    /// the committer is named.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "FEED", value_enum, value_delimiter = ',', num_args = 1..)]
    pub(crate) attribution: Vec<Feed>,
    /// Where the API server reaches this machine: https://HOST:PORT
    ///
    /// Goes with --attribution admission. A ValidatingWebhookConfiguration is made at the start and goes at the end; the API
    /// server is told to go on after one second without an answer. HOST is a name or address that the API server can reach,
    /// and that the certificate is for. docs/ATTRIBUTION.md has networks and permissions.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "URL")]
    pub(crate) admission_url: Option<AdmissionUrl>,
    /// Where to listen for it: 9443, 10.0.0.5:9443 [default: the port of the URL]
    ///
    /// A port alone is for all addresses of this machine, unless the URL's host is this machine itself, as 127.0.0.1 is.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "[ADDRESS:]PORT", value_parser = url::listen)]
    pub(crate) admission_listen: Option<url::Listen>,
    /// The ValidatingWebhookConfiguration's name [default: reverser-<hash>]
    ///
    /// By default the name stands for repository, branch, folder and state folder: what a killed run has left is taken over by
    /// the next one, and two reversers don't get in each other's way.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "NAME", value_parser = name)]
    pub(crate) admission_name: Option<String>,
    /// Also ask about this namespace, which isn't by default: kube-system
    ///
    /// May be repeated. Requests about objects in kube-system, and in the namespace that reverser runs in, aren't sent.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "NAMESPACE", value_delimiter = ',')]
    pub(crate) admission_include_namespace: Vec<String>,
    /// Never ask about this namespace
    ///
    /// May be repeated. Its changes are recorded, and have no author.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "NAMESPACE", value_delimiter = ',')]
    pub(crate) admission_exclude_namespace: Vec<String>,
    /// Name authors from this audit log of the API server
    ///
    /// The file is followed as it grows and rotates. Its level has to be RequestResponse for what is watched. Where it says
    /// nothing about a change, the author is the committer.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "FILE")]
    pub(crate) audit_log: Option<PathBuf>,
    /// Take audit events there, at /audit over TLS: 9444, 0.0.0.0:9444
    ///
    /// For an API server's --audit-webhook-config-file. A port alone is for this machine only. Needs --audit-token-file or
    /// --audit-client-ca.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "[ADDRESS:]PORT", value_parser = address)]
    pub(crate) audit_listen: Option<SocketAddr>,
    /// The file with the bearer token that audit events come with
    ///
    /// It is read again for each request, so that a changed one counts without a restart.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "FILE", requires = "audit_listen")]
    pub(crate) audit_token_file: Option<PathBuf>,
    /// The file with the authority of the certificate that they come with, in PEM
    #[arg(long, help_heading = ATTRIBUTION, value_name = "FILE", requires = "audit_listen")]
    pub(crate) audit_client_ca: Option<PathBuf>,
    /// The file with the certificate to be reached with [default: made here]
    ///
    /// In PEM, with those between it and its authority. By default reverser makes authority and certificate, keeps them in the
    /// state folder, and renews both. Files of cert-manager will do: they are looked at again and again.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The file with its private key, in PEM
    #[arg(long, help_heading = ATTRIBUTION, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The file with its authority, in PEM, for the API server to trust
    ///
    /// Without it the caBundle of the ValidatingWebhookConfiguration is left to others, such as cert-manager's CA injector.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Another name or address that a certificate made here is for
    ///
    /// May be repeated. It is for the URL's host, for addresses that are listened at, and for localhost in any case.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "HOST", value_delimiter = ',', conflicts_with = "tls_cert")]
    pub(crate) tls_name: Vec<String>,
    /// How long a change waits for its author: 2s [default: as the feed needs]
    ///
    /// Only changes that nobody is known for, and later ones of the same object. By default 2 s with
    /// --audit-log and --audit-listen, and not at all with admission beside them. What comes later is a Git note.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "DURATION", value_parser = duration)]
    pub(crate) attribution_wait: Option<Duration>,
}

/// A feed as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Feed {
    /// The API server tells of each request before it is stored; works on every cluster
    Admission,
    /// Its audit events, from a log or as it sends them
    Audit,
    /// Nothing: the author is the committer
    None,
}

/// An object's name, as Kubernetes takes it for this kind: a DNS subdomain (RFC 1123).
fn name(text: &str) -> Result<String, String> {
    let is_part = |part: &str| {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(inside) && !part.starts_with('-') && !part.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(is_part) {
        Ok(text.to_owned())
    } else {
        Err("a name has lower-case letters, digits, '-' and '.', and begins and ends with a letter or digit".into())
    }
}
