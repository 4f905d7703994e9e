//! From flags to what is to be set up.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{AdmissionUrl, AttributionArgs, Feed};
use crate::Usage;

/// What authors are named from; neither: nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feeds {
    pub(crate) admission: Option<AdmissionFeed>,
    pub(crate) audit: Option<AuditFeed>,
    pub(crate) tls: Tls,
    /// `None`: as the feeds need it.
    pub(crate) wait: Option<Duration>,
}

/// Requests that the API server sends before it stores what they ask for.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionFeed {
    pub(crate) url: AdmissionUrl,
    pub(crate) listen: SocketAddr,
    pub(crate) name: Option<String>,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
}

/// Audit events; at least one way for them to come.
#[derive(Clone, Debug)]
pub(crate) struct AuditFeed {
    pub(crate) log: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) client_ca: Option<PathBuf>,
}

/// What an endpoint is reached with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    /// Certificate and key; else they are made here.
    pub(crate) files: Option<(PathBuf, PathBuf)>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) names: Vec<String>,
}

impl Feeds {
    /// Returns whether there is nothing that names authors.
    pub(crate) fn is_empty(&self) -> bool {
        self.admission.is_none() && self.audit.is_none()
    }

    /// Returns where requests of admission are taken, and audit events where that is somewhere else.
    pub(crate) fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let admission = self.admission.as_ref().map(|feed| feed.listen);
        let audit = self.audit.as_ref().and_then(|feed| feed.listen);
        (admission, audit.filter(|audit| Some(*audit) != admission))
    }
}

impl AttributionArgs {
    /// Returns what was asked for.
    ///
    /// # Errors
    /// Flags that don't go together.
    pub(crate) fn feeds(self) -> Result<Feeds, Usage> {
        let has = |feed| self.attribution.contains(&feed);
        let gives_audit = self.audit_log.is_some() || self.audit_listen.is_some();
        let audits = has(Feed::Audit) || self.attribution.is_empty() && gives_audit;
        if has(Feed::None) && (self.attribution.iter().any(|feed| *feed != Feed::None)) {
            return wrong("--attribution none goes with no other feed");
        }
        if has(Feed::Admission) && self.admission_url.is_none() {
            return wrong(
                "--attribution admission needs --admission-url https://HOST:PORT, where the API server reaches this machine",
            );
        }
        if let Some(flag) = self.admission_flag().filter(|_| !has(Feed::Admission)) {
            return wrong(&format!("{flag} needs --attribution admission"));
        }
        if has(Feed::Audit) && !gives_audit {
            return wrong("--attribution audit needs --audit-log FILE, or --audit-listen [ADDRESS:]PORT");
        }
        if gives_audit && !audits {
            let flag = if self.audit_log.is_some() { "--audit-log" } else { "--audit-listen" };
            return wrong(&format!(
                "{flag} needs --attribution audit; several feeds are separated by commas: admission,audit"
            ));
        }
        if self.audit_listen.is_some() && self.audit_token_file.is_none() && self.audit_client_ca.is_none() {
            return wrong(
                "--audit-listen needs --audit-token-file or --audit-client-ca: whoever can send events names authors",
            );
        }
        let has_endpoint = has(Feed::Admission) || self.audit_listen.is_some();
        if !has_endpoint && (self.tls_cert.is_some() || !self.tls_name.is_empty()) {
            let flag = if self.tls_cert.is_some() { "--tls-cert" } else { "--tls-name" };
            return wrong(&format!(
                "{flag} needs --attribution admission or --audit-listen: nothing else is served by TLS"
            ));
        }
        if self.attribution_wait.is_some() && !has(Feed::Admission) && !audits {
            return wrong("--attribution-wait needs --attribution: without a feed nobody will ever be known");
        }
        Ok(self.into_feeds(audits))
    }

    fn into_feeds(self, audits: bool) -> Feeds {
        let admission = self.admission_url.map(|url| AdmissionFeed {
            listen: url.listen(self.admission_listen),
            url,
            name: self.admission_name,
            include: self.admission_include_namespace,
            exclude: self.admission_exclude_namespace,
        });
        let audit = audits.then_some(AuditFeed {
            log: self.audit_log,
            listen: self.audit_listen,
            token_file: self.audit_token_file,
            client_ca: self.audit_client_ca,
        });
        let tls = Tls { files: self.tls_cert.zip(self.tls_key), ca: self.tls_ca, names: self.tls_name };
        Feeds { admission, audit, tls, wait: self.attribution_wait }
    }

    /// Returns a flag that is about admission alone.
    fn admission_flag(&self) -> Option<&'static str> {
        let flags = [
            (self.admission_url.is_some(), "--admission-url"),
            (self.admission_listen.is_some(), "--admission-listen"),
            (self.admission_name.is_some(), "--admission-name"),
            (!self.admission_include_namespace.is_empty(), "--admission-include-namespace"),
            (!self.admission_exclude_namespace.is_empty(), "--admission-exclude-namespace"),
        ];
        flags.into_iter().find_map(|(is_given, flag)| is_given.then_some(flag))
    }
}

fn wrong<T>(why: &str) -> Result<T, Usage> {
    Err(Usage(why.into()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn feeds(flags: &str) -> Result<Feeds, String> {
        let typed = ["reverser", "watch", "--repo", "x"].into_iter().chain(flags.split_whitespace());
        let cli = Cli::try_parse_from(typed).map_err(|error| error.to_string())?;
        let Command::Watch(args) = cli.command else { unreachable!("it was typed") };
        args.attribution.feeds().map_err(|error| error.to_string())
    }

    #[test]
    fn feeds_are_named_in_any_of_the_usual_ways() {
        let url = "--admission-url https://reverser.example.com:9443";
        for (flags, admission, audit) in [
            ("", false, false),
            ("--attribution none", false, false),
            ("--audit-log a.log", false, true),
            ("--attribution audit --audit-log a.log", false, true),
            ("--audit-listen 9444 --audit-token-file t", false, true),
            (&format!("--attribution admission {url}"), true, false),
            (&format!("--attribution admission,audit --audit-log a.log {url}"), true, true),
            (&format!("--attribution admission --attribution audit --audit-log a.log {url}"), true, true),
        ] {
            let feeds = feeds(flags).unwrap();
            assert_eq!((feeds.admission.is_some(), feeds.audit.is_some()), (admission, audit), "{flags}");
            assert_eq!(feeds.is_empty(), !admission && !audit, "{flags}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_what_is_missing() {
        let url = "--admission-url https://reverser.example.com:9443";
        for (flags, why) in [
            ("--attribution admission".to_owned(), "needs --admission-url https://HOST:PORT"),
            (url.to_owned(), "--admission-url needs --attribution admission"),
            ("--admission-listen 9443".to_owned(), "--admission-listen needs --attribution admission"),
            ("--admission-include-namespace kube-system".to_owned(), "needs --attribution admission"),
            ("--attribution audit".to_owned(), "needs --audit-log FILE, or --audit-listen"),
            (format!("--attribution none,admission {url}"), "goes with no other feed"),
            ("--attribution none --audit-log a.log".to_owned(), "--audit-log needs --attribution audit"),
            (format!("--attribution admission {url} --audit-log a.log"), "commas: admission,audit"),
            ("--audit-listen 9444".to_owned(), "needs --audit-token-file or --audit-client-ca"),
            ("--audit-token-file t".to_owned(), "--audit-listen"),
            ("--tls-cert a.crt".to_owned(), "--tls-key"),
            (
                "--tls-cert a.crt --tls-key a.key".to_owned(),
                "--tls-cert needs --attribution admission or --audit-listen",
            ),
            ("--tls-name a".to_owned(), "--tls-name needs"),
            ("--tls-ca ca.crt".to_owned(), "--tls-cert"),
            ("--attribution-wait 2s".to_owned(), "needs --attribution"),
            (format!("--attribution admission {url} --admission-name A_b"), "lower-case letters"),
            ("--attribution admission --admission-url http://a:1".to_owned(), "by https:// alone"),
            ("--attribution guess".to_owned(), "possible values: admission, audit, none"),
        ] {
            let error = feeds(&flags).unwrap_err();
            assert!(error.contains(why), "{flags}: {error}");
        }
    }
}
