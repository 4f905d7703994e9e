//! What can go wrong while a server is brought up, and what to do about it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

/// A server could not be built, started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A certificate could not be made.
    #[error("could not make a certificate for {subject}")]
    Certificate {
        /// Whom it is for.
        subject: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A server has ended that should run.
    #[error("{server} ended with {status}; the end of {}:\n{tail}", log.display())]
    Ended {
        /// Its name.
        server: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A git command failed.
    #[error("git {arguments} failed in {}: {output}", folder.display())]
    Git {
        /// What was asked of git.
        arguments: String,
        /// Where.
        folder: PathBuf,
        /// What git printed.
        output: String,
    },
    /// `go` is there and could not build the binaries.
    #[error("go could not build {tools} ({status}); Go {GO_VERSION} or later and its module proxy are needed:\n{tail}")]
    GoFailed {
        /// What was to be built.
        tools: String,
        /// How go ended.
        status: ExitStatus,
        /// The last lines that it printed.
        tail: String,
    },
    /// There are neither the binaries nor a Go toolchain to build them with.
    #[error(
        "{tools} not found, and no `go` on PATH to build them with: install Go {GO_VERSION} or later (https://go.dev/dl \
         or your distribution's package), or point KUBEBUILDER_ASSETS to a folder that holds {tools}"
    )]
    GoMissing {
        /// What was to be built.
        tools: String,
    },
    /// A file, folder, port or program could not be used.
    #[error("could not {action} {what}")]
    Io {
        /// What was tried, such as `create`.
        action: &'static str,
        /// The file, port or program.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The API server, or a client for it, refused something.
    #[error("could not {action}")]
    Kube {
        /// What was tried.
        action: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// A kubeconfig could not be read.
    #[error("could not use the kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// Something did not come to be in time.
    #[error("waited {limit:?} for {what}; last seen: {seen}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What was there instead.
        seen: String,
    },
    /// There is no Python that reads YAML, and none could be had.
    #[error(
        "no python3 that can import yaml: {tried}\ninstall PyYAML (`pip install PyYAML`, or Debian's package python3-yaml)"
    )]
    PythonMissing {
        /// What was tried, and how it failed.
        tried: String,
    },
    /// There is no OpenSSH server, and none could be had.
    #[error("no sshd: install an OpenSSH server (Debian's package openssh-server); downloading it failed: {tried}")]
    SshdMissing {
        /// What was tried, and how it failed.
        tried: String,
    },
    /// rcgen keeps one value for each spelling of "organization", so that a certificate names two groups at most.
    #[error("user {user} has {count} groups; a certificate of the test bed can name two")]
    TooManyGroups {
        /// The user.
        user: String,
        /// How many groups were asked for.
        count: usize,
    },
}

impl Error {
    /// Returns whether there are neither the binaries nor a Go toolchain: the one case in which a program can only ask
    /// its user to install something, or fall back to a recording.
    pub fn is_go_missing(&self) -> bool {
        matches!(self, Self::GoMissing { .. })
    }

    /// Returns whether somebody else took the port between our choosing it and the server's binding it.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { tail, .. } if tail.to_lowercase().contains("address already in use"))
    }

    /// Names the action and the path of a failed access to a file; for `map_err`.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let what = path.as_ref().display().to_string();
        move |source| Self::Io { action, what, source }
    }

    /// Names what was asked of the API server; for `map_err`.
    pub(crate) fn kube(action: impl fmt::Display) -> impl FnOnce(kube::Error) -> Self {
        let action = action.to_string();
        move |source| Self::Kube { action, source: Box::new(source) }
    }
}

/// What `go.mod` asks for.
const GO_VERSION: &str = "1.26";

/// Returns the last lines of a text, enough of them to see what went wrong.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
