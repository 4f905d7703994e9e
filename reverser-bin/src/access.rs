//! The flags that say how to log in to the repository.

use std::path::PathBuf;

use clap::Args;
use reverser_git::{ClientCertificate, Credentials, KnownHosts, RemoteAccess, Secret};

use crate::args::LOGIN;

/// How the repository is reached and logged in to. Secrets come from files alone: arguments can be seen by others.
#[derive(Debug, Default, Args)]
pub(crate) struct AccessArgs {
    /// The user name; forges take any beside a token
    #[arg(long, help_heading = LOGIN, value_name = "NAME", requires = "password_file", group = "user")]
    username: Option<String>,
    /// The file with the user name, in place of --username
    #[arg(long, help_heading = LOGIN, value_name = "FILE", requires = "password_file", group = "user")]
    username_file: Option<PathBuf>,
    /// The file with the password or token, over https
    ///
    /// This and all other files are read again each time git runs, so that a changed one counts without a restart. They may
    /// be those of a mounted Secret. With a flag that says how to log in, git reads no configuration of yours or the system's.
    #[arg(long, help_heading = LOGIN, value_name = "FILE", requires = "user", group = "login")]
    password_file: Option<PathBuf>,
    /// The file with a token for 'Authorization: Bearer', over https
    #[arg(long, help_heading = LOGIN, value_name = "FILE", group = "login")]
    token_file: Option<PathBuf>,
    /// A command that prints user name and password, over https
    ///
    /// It speaks git's credential protocol, gets 'get' as its last argument, and is run by the shell. Its arguments can be seen
    /// by others: no secrets there.
    #[arg(long, help_heading = LOGIN, value_name = "COMMAND", group = "login")]
    credential_command: Option<String>,
    /// The file with the private key, over ssh
    ///
    /// Its permissions don't matter.
    #[arg(long, help_heading = LOGIN, value_name = "FILE", groups = ["login", "ssh"])]
    ssh_key: Option<PathBuf>,
    /// The file with the passphrase of --ssh-key
    #[arg(long, help_heading = LOGIN, value_name = "FILE", requires = "ssh_key")]
    ssh_passphrase_file: Option<PathBuf>,
    /// Log in with the keys of the agent at SSH_AUTH_SOCK, over ssh
    #[arg(long, help_heading = LOGIN, groups = ["login", "ssh"])]
    ssh_agent: bool,
    /// The file with the server's host keys
    ///
    /// What ssh-keyscan prints. --ssh-key and --ssh-agent need it, or --trust-host-on-first-use. Compare the keys with
    /// what the server's operator publishes.
    #[arg(long, help_heading = LOGIN, value_name = "FILE", requires = "ssh")]
    known_hosts: Option<PathBuf>,
    /// Trust the host key of the first connection
    ///
    /// It is kept in the state folder, and any other is refused from then on.
    #[arg(long, help_heading = LOGIN, requires = "ssh", conflicts_with = "known_hosts")]
    trust_host_on_first_use: bool,
    /// The file with the authorities to trust, in PEM
    ///
    /// Over https, in the place of the system's.
    #[arg(long, help_heading = LOGIN, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The file with a certificate to show, in PEM, over https
    #[arg(long, help_heading = LOGIN, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// The file with the private key of --client-certificate
    #[arg(long, help_heading = LOGIN, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// The proxy, http://host:port [default: https_proxy, no_proxy]
    #[arg(long, help_heading = LOGIN, value_name = "URL", group = "way")]
    proxy: Option<String>,
    /// The file with the proxy's URL, for one with a password
    #[arg(long, help_heading = LOGIN, value_name = "FILE", group = "way")]
    proxy_file: Option<PathBuf>,
}

impl AccessArgs {
    /// Returns what the flags say; without any that say how to log in, the user's git does.
    pub(crate) fn access(&self) -> RemoteAccess {
        let client = self.client_certificate.clone().zip(self.client_key.clone());
        RemoteAccess {
            credentials: self.credentials(),
            ca_file: self.ca_file.clone(),
            client_certificate: client.map(|(certificate, key)| ClientCertificate { certificate, key }),
            proxy: secret(self.proxy.as_ref(), self.proxy_file.as_ref()),
        }
    }

    fn credentials(&self) -> Credentials {
        let file = |file: &PathBuf| Secret::File(file.clone());
        if let Some(password) = &self.password_file {
            let username = secret(self.username.as_ref(), self.username_file.as_ref()).unwrap_or_else(|| "".into());
            return Credentials::Basic { username, password: file(password) };
        }
        if let Some(token) = &self.token_file {
            return Credentials::Bearer { token: file(token) };
        }
        if let Some(command) = &self.credential_command {
            // As git runs helpers: the shell's words, with the operation behind.
            let arguments = vec!["-c".to_owned(), format!("{command} \"$@\""), "credential-command".to_owned()];
            return Credentials::Command { program: "sh".into(), arguments };
        }
        let known_hosts = match &self.known_hosts {
            Some(file) => KnownHosts::File(file.clone()),
            None if self.trust_host_on_first_use => KnownHosts::TrustOnFirstUse,
            None => KnownHosts::None,
        };
        if let Some(key) = &self.ssh_key {
            let passphrase = self.ssh_passphrase_file.as_ref().map(file);
            return Credentials::Ssh { key: file(key), passphrase, known_hosts };
        }
        if self.ssh_agent {
            return Credentials::SshAgent { socket: None, known_hosts };
        }
        Credentials::FromGit
    }
}

fn secret(literal: Option<&String>, file: Option<&PathBuf>) -> Option<Secret> {
    let literal = literal.map(|literal| Secret::Literal(literal.clone()));
    literal.or_else(|| file.map(|file| Secret::File(file.clone())))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(flags: &[&str]) -> Result<RemoteAccess, clap::Error> {
        let typed = ["reverser", "watch", "--repo", "https://host/a.git"].iter().chain(flags);
        let Command::Watch(args) = Cli::try_parse_from(typed)?.command else { panic!("watch") };
        Ok(args.repo.place.files.access.access())
    }

    #[test]
    fn each_way_to_log_in_has_its_flags() {
        let file = |name: &str| Secret::File(name.into());
        let (key, known_hosts) = (file("k"), KnownHosts::File("h".into()));
        let with = |passphrase, known_hosts| Credentials::Ssh { key: key.clone(), passphrase, known_hosts };
        for (flags, credentials) in [
            (&[][..], Credentials::FromGit),
            (
                &["--username", "bot", "--password-file", "p"],
                Credentials::Basic { username: "bot".into(), password: file("p") },
            ),
            (
                &["--username-file", "u", "--password-file", "p"],
                Credentials::Basic { username: file("u"), password: file("p") },
            ),
            (&["--token-file", "t"], Credentials::Bearer { token: file("t") }),
            (&["--ssh-key", "k", "--known-hosts", "h"], with(None, known_hosts.clone())),
            (
                &["--ssh-key", "k", "--ssh-passphrase-file", "p", "--trust-host-on-first-use"],
                with(Some(file("p")), KnownHosts::TrustOnFirstUse),
            ),
            (&["--ssh-key", "k"], with(None, KnownHosts::None)),
            (&["--ssh-agent", "--known-hosts", "h"], Credentials::SshAgent { socket: None, known_hosts }),
        ] {
            assert_eq!(parse(flags).unwrap().credentials, credentials, "{flags:?}");
        }
        let access = parse(&["--ca-file", "c", "--client-certificate", "x", "--client-key", "y", "--proxy-file", "p"]);
        let client_certificate = Some(ClientCertificate { certificate: "x".into(), key: "y".into() });
        let expected = RemoteAccess {
            ca_file: Some("c".into()),
            client_certificate,
            proxy: Some(file("p")),
            ..RemoteAccess::default()
        };
        assert_eq!(access.unwrap(), expected);
    }

    #[test]
    fn flags_that_do_not_go_together_are_usage_errors() {
        for flags in [
            &["--username", "bot"][..],
            &["--password-file", "p"],
            &["--username", "bot", "--username-file", "u", "--password-file", "p"],
            &["--username", "bot", "--password-file", "p", "--token-file", "t"],
            &["--token-file", "t", "--credential-command", "c"],
            &["--ssh-key", "k", "--ssh-agent"],
            &["--ssh-key", "k", "--token-file", "t"],
            &["--known-hosts", "h"],
            &["--ssh-passphrase-file", "p"],
            &["--ssh-key", "k", "--known-hosts", "h", "--trust-host-on-first-use"],
            &["--client-certificate", "x"],
            &["--proxy", "http://p", "--proxy-file", "p"],
        ] {
            let error = parse(flags).expect_err(&format!("{flags:?}"));
            assert_eq!(error.exit_code(), 2, "{flags:?}: {error}");
        }
    }
}
