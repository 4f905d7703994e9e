//! How to log in to a remote.

use std::{fmt, path::PathBuf};

use crate::{remedy::Remedy, url::RemoteUrl};

mod secret;

pub use secret::Secret;
pub(crate) use secret::SecretError;

/// How to log in to a remote.
///
/// With anything but [`FromGit`](Self::FromGit), git sees no configuration of the user's or the system's, no credential
/// helper, no `~/.netrc`, no ssh configuration and no agent but what is named here. Secrets are handed over in files that
/// only their owner may read; they stand in no argument and no environment of any process, in no log and no error.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// A user name and a password or token, over http and https.
    Basic {
        /// The user name; forges take any that isn't empty beside a token.
        username: Secret,
        /// The password or token.
        password: Secret,
    },
    /// A token in the header `Authorization: Bearer …` (RFC 6750), over http and https. A redirect isn't followed, since
    /// the token would go with it.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// A program that speaks git's credential protocol, over http and https: it is run with `get` as its last argument
    /// whenever git logs in, reads host and path on its standard input and prints `username=` and `password=`
    /// (gitcredentials(7), git-credential(1)). With git 2.46 or later it may print `authtype=` and `credential=` instead.
    Command {
        /// The program; without a slash it is looked for on `PATH`.
        program: PathBuf,
        /// Its arguments, which other processes can see.
        arguments: Vec<String>,
    },
    /// Whatever the user's own git finds: credential helpers, `~/.netrc`, the ssh agent, keys and configuration in
    /// `~/.ssh`, proxies. A host that `known_hosts` doesn't have is refused, unless the user's configuration says otherwise.
    #[default]
    FromGit,
    /// A private key, over ssh.
    Ssh {
        /// In any format that OpenSSH reads. A file may have any permissions.
        key: Secret,
        /// What the key is encrypted with, if it is; takes OpenSSH 8.4 or later.
        passphrase: Option<Secret>,
        /// Which host keys are the server's.
        known_hosts: KnownHosts,
    },
    /// The keys of an agent, over ssh.
    SshAgent {
        /// The agent's socket; `None`: the one that `SSH_AUTH_SOCK` names.
        socket: Option<PathBuf>,
        /// Which host keys are the server's.
        known_hosts: KnownHosts,
    },
}

/// Shows no secret, no argument of a command either.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, password } => {
                f.debug_struct("Basic").field("username", username).field("password", password).finish()
            }
            Self::Bearer { token } => f.debug_struct("Bearer").field("token", token).finish(),
            Self::Command { program, .. } => {
                f.debug_struct("Command").field("program", program).finish_non_exhaustive()
            }
            Self::FromGit => f.write_str("FromGit"),
            Self::Ssh { key, passphrase, known_hosts } => f
                .debug_struct("Ssh")
                .field("key", key)
                .field("passphrase", passphrase)
                .field("known_hosts", known_hosts)
                .finish(),
            Self::SshAgent { socket, known_hosts } => {
                f.debug_struct("SshAgent").field("socket", socket).field("known_hosts", known_hosts).finish()
            }
        }
    }
}

/// Which host keys are an ssh server's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KnownHosts {
    /// Those in this file, as sshd(8) describes `known_hosts`; read again before each connection.
    File(PathBuf),
    /// Those in these lines.
    Lines(String),
    /// None, so that nothing can be connected to: an error that says how to get the lines.
    #[default]
    None,
    /// The one that the server shows at the first connection, kept in the state folder; another one later is refused. Who
    /// stands between at that moment is trusted for ever.
    TrustOnFirstUse,
}

/// How a remote is reached and logged in to: all that is particular to it besides its URL.
///
/// ```no_run
/// use reverser_git::{Credentials, GitWriter, KnownHosts, RemoteAccess, Secret};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// // A mounted Secret: a deploy key, and whose server it is for.
/// let key = Credentials::Ssh {
///     key: Secret::File("/git/ssh-privatekey".into()),
///     passphrase: None,
///     known_hosts: KnownHosts::File("/git/known_hosts".into()),
/// };
/// let writer = GitWriter::open("git@git.example.com:team/platform.git".parse()?, key).start().await?;
///
/// // A token, a proxy and an authority of one's own.
/// let access = RemoteAccess {
///     credentials: Credentials::Bearer { token: Secret::File("/git/token".into()) },
///     ca_file: Some("/git/ca.crt".into()),
///     proxy: Some("http://proxy.example.com:3128".into()),
///     ..RemoteAccess::default()
/// };
/// let writer = GitWriter::open("https://git.example.com/team/platform.git".parse()?, access).start().await?;
/// # drop(writer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteAccess {
    /// How to log in; [`Credentials::FromGit`] by default.
    pub credentials: Credentials,
    /// A file with the certificates of the authorities that are trusted, in PEM, over https; git reads it each time. It
    /// replaces those that git trusts by default.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show to the server, over https; none by default.
    pub client_certificate: Option<ClientCertificate>,
    /// The URL of a proxy, over http and https: `http://[user:password@]host:port`, or `https`, `socks5`, `socks5h`. It is
    /// used whatever `no_proxy` says. By default git follows `https_proxy`, `http_proxy` and `no_proxy`.
    pub proxy: Option<Secret>,
}

impl RemoteAccess {
    /// Returns the access with the user name and password of the URL, when it has them and nothing else is given.
    pub(crate) fn of(mut self, url: &RemoteUrl) -> Self {
        if self.credentials == Credentials::FromGit {
            self.credentials = url.credentials();
        }
        self
    }
}

impl From<Credentials> for RemoteAccess {
    fn from(credentials: Credentials) -> Self {
        Self { credentials, ..Self::default() }
    }
}

/// A certificate that tells a server who we are. Both files are in PEM, and read each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, without a passphrase.
    pub key: PathBuf,
}

/// What was given to log in with can't be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// A file can't be read.
    #[error("{} can't be read: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The private key can't be used.
    #[error("the private key can't be used, check it and its passphrase: {words}")]
    Key {
        /// What OpenSSH said.
        words: String,
    },
    /// Nothing says which host key is the server's.
    #[error(
        "no host key of {host} is known: get the lines with `{keyscan}`, compare the fingerprints that `ssh-keygen -lf` \
         prints with those that the server's operator publishes, and give them as known hosts (--known-hosts FILE); or ask for \
         trust on first use (--trust-host-on-first-use)"
    )]
    NoHostKey {
        /// The server.
        host: String,
        /// The command that prints them.
        keyscan: String,
    },
    /// There is no agent.
    #[error("there is no ssh agent: name its socket, or set SSH_AUTH_SOCK")]
    NoAgent,
    /// The credentials, or an option, are for another kind of address.
    #[error("{given} is for {wanted} alone")]
    OtherScheme {
        /// What was given.
        given: &'static str,
        /// For what it is.
        wanted: &'static str,
    },
    /// It can't be one, such as a password with a line break.
    #[error("the {what} is {fault}")]
    Text {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
}

impl AccessError {
    /// Returns what helps.
    pub fn remedy(&self) -> Remedy {
        Remedy::FixConfiguration
    }
}

impl From<SecretError> for AccessError {
    fn from(error: SecretError) -> Self {
        Self::File { file: error.file, reason: error.source.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let all = [
            Credentials::Basic { username: "bot".into(), password: "s3cret".into() },
            Credentials::Bearer { token: "s3cret".into() },
            Credentials::Command { program: "helper".into(), arguments: vec!["s3cret".into()] },
            Credentials::Ssh {
                key: "s3cret".into(),
                passphrase: Some("s3cret".into()),
                known_hosts: KnownHosts::default(),
            },
        ];
        for credentials in all {
            let access = RemoteAccess { proxy: Some("http://u:s3cret@p".into()), ..credentials.into() };
            assert!(!format!("{access:?}").contains("s3cret"), "{access:?}");
        }
    }
}
