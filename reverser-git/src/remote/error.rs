//! What a remote could not do, and what helps.

use std::{fmt, io, sync::Arc, time::Duration};

use crate::{
    branch::BranchName,
    conflict::Conflict,
    credentials::AccessError,
    remedy::Remedy,
    remote::{GitVersion, MINIMUM_GIT_VERSION},
    sink::SinkError,
    url::RemoteUrl,
};

/// A remote, or the git that talks to it, could not do what it was asked to.
///
/// `words` are those of git and of the server, without passwords.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// What was given to log in with can't be used; nobody was asked.
    #[error("can't log in to {url}: {reason}")]
    Access {
        /// The remote.
        url: RemoteUrl,
        /// Why not.
        reason: AccessError,
    },
    /// The credentials are missing or wrong, or don't allow this.
    #[error("{url} refused access, check the credentials and what they allow: {words}")]
    Authentication {
        /// The remote.
        url: RemoteUrl,
        /// What was said.
        words: String,
    },
    /// The server's certificate isn't trusted, or ours isn't by the server.
    #[error("the certificates of {url} and ours don't fit, name the authority that signed its own as CA file: {words}")]
    Certificate {
        /// The remote.
        url: RemoteUrl,
        /// What was said.
        words: String,
    },
    /// Somebody else has changed files that unpushed commits change too, and a person is to decide
    /// ([`OnConflict::Stop`](crate::OnConflict::Stop)).
    #[error("somebody else pushed to {} of {url}: {conflict}; nothing is pushed until that is taken back, or the writer is started with another choice for conflicts", branch.full())]
    Conflict {
        /// The remote.
        url: RemoteUrl,
        /// The branch.
        branch: BranchName,
        /// The files, and whose commit it was.
        conflict: Box<Conflict>,
    },
    /// git failed in a way that has no class here.
    #[error("git could not {action} {url}: {words}")]
    Failed {
        /// What was tried, such as `push to`.
        action: &'static str,
        /// The remote.
        url: RemoteUrl,
        /// What was said.
        words: String,
    },
    /// The ssh server's host key is none of those that are known, so that somebody else may be answering.
    #[error("{}: {words}", host_key(url, *has_changed))]
    HostKey {
        /// The remote.
        url: RemoteUrl,
        /// Whether another one is known for the host.
        has_changed: bool,
        /// What was said.
        words: String,
    },
    /// The local repository could not note what the remote did.
    #[error("the local repository could not follow the remote")]
    Local {
        /// Why not.
        #[source]
        source: Arc<SinkError>,
    },
    /// Somebody else moved the branch, or is doing so.
    #[error("{} of {url} was moved by somebody else: {reason}", branch.full())]
    MovedTip {
        /// The remote.
        url: RemoteUrl,
        /// The branch.
        branch: BranchName,
        /// How it was found.
        how: TipMove,
        /// git's word for it, such as `fetch first`, and the server's, where it says more.
        reason: String,
    },
    /// The remote can't be reached, or the connection broke.
    #[error("{url} can't be reached: {words}")]
    Network {
        /// The remote.
        url: RemoteUrl,
        /// What was said.
        words: String,
    },
    /// There is no repository, or the credentials may not see it.
    #[error("there is no git repository at {url}, check the address: {words}")]
    NotFound {
        /// The remote.
        url: RemoteUrl,
        /// What was said.
        words: String,
    },
    /// The server takes no notes, or not from this user. Commits go on.
    #[error("{url} refused the push to {}: {reason}{}", crate::notes::REF, said(words, Refusal::Other))]
    NotesRefused {
        /// The remote.
        url: RemoteUrl,
        /// git's word for it, such as `deny updating a hidden ref`.
        reason: String,
        /// What the server said.
        words: String,
    },
    /// The git that is installed lacks options that are needed.
    #[error("git {found} is too old: install {MINIMUM_GIT_VERSION} or later")]
    OldGit {
        /// What is installed.
        found: GitVersion,
    },
    /// The server refused the push: a hook, a protected branch, a limit.
    #[error("{url} refused the push to {}: {reason}{}", branch.full(), said(words, *by))]
    Refused {
        /// The remote.
        url: RemoteUrl,
        /// The branch.
        branch: BranchName,
        /// Which rule it was.
        by: Refusal,
        /// git's word for it, such as `pre-receive hook declined`.
        reason: String,
        /// What the server said.
        words: String,
    },
    /// The scratch repository of a probe could not be made.
    #[error("could not make a scratch repository in the folder for temporary files")]
    Scratch {
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// The local repository was made for another object format than the remote's.
    #[error(
        "{url} names its objects by another hash (SHA-1, SHA-256) than when the state folder was made: give it a new state folder: {words}"
    )]
    OtherFormat {
        /// The remote.
        url: RemoteUrl,
        /// What was said.
        words: String,
    },
    /// The remote lacks the beginning of its history, without which nothing can be built upon it.
    #[error(
        "{url} is a shallow clone: run 'git fetch --unshallow' there, or name the repository that it was cloned from"
    )]
    Shallow {
        /// The remote.
        url: RemoteUrl,
    },
    /// git could not be started.
    #[error("could not run git: install {MINIMUM_GIT_VERSION} or later and put it on PATH")]
    Spawn {
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// No answer came in time; it may have been done all the same.
    #[error("{url} did not answer within {limit:?} to: {action}")]
    TimeOut {
        /// What was tried, such as `push to`.
        action: &'static str,
        /// The remote.
        url: RemoteUrl,
        /// How long was waited.
        limit: Duration,
    },
    /// git printed what is not understood.
    #[error("git's answer to '{action} {url}' can't be understood, report it: {output:?}")]
    Unreadable {
        /// What was tried, such as `push to`.
        action: &'static str,
        /// The remote.
        url: RemoteUrl,
        /// What it printed.
        output: String,
    },
}

impl RemoteError {
    /// Returns what helps: [`FixConfiguration`](Remedy::FixConfiguration) for what waits for a person, with the message saying
    /// what to do, [`RefetchAndReplay`](Remedy::RefetchAndReplay) for somebody else's push, [`Retry`](Remedy::Retry) for what
    /// passes.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Access { reason, .. } => reason.remedy(),
            Self::Authentication { .. }
            | Self::Certificate { .. }
            | Self::Conflict { .. }
            | Self::HostKey { .. }
            | Self::NotFound { .. }
            | Self::NotesRefused { .. }
            | Self::OldGit { .. }
            | Self::OtherFormat { .. }
            | Self::Refused { .. }
            | Self::Scratch { .. }
            | Self::Shallow { .. }
            | Self::Spawn { .. }
            | Self::Unreadable { .. } => Remedy::FixConfiguration,
            Self::MovedTip { .. } => Remedy::RefetchAndReplay,
            Self::Failed { .. } | Self::Local { .. } | Self::Network { .. } | Self::TimeOut { .. } => Remedy::Retry,
        }
    }

    /// Returns whether the branch may have been moved by somebody else. A race that was lost at the server has the same
    /// flag as a hook's refusal, so only the tip tells.
    pub fn may_be_moved_tip(&self) -> bool {
        matches!(self, Self::MovedTip { .. } | Self::Refused { .. })
    }
}

/// How a branch was found to be elsewhere than where it was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TipMove {
    /// It has commits that aren't here: `fetch first`, `non-fast-forward`.
    FetchFirst,
    /// Somebody else was faster while the server took ours: `failed to update ref`. Some servers say the same when they
    /// can't write, so the tip has to be read.
    LostRace,
    /// It isn't where it was when it was seen last: `stale info`.
    Stale,
}

/// Which rule of a server refused a push, as far as its words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The branch is checked out in a repository with a working tree.
    CheckedOut,
    /// A hook of the server's owner.
    Hook,
    /// None of the others, or the words are unknown here.
    Other,
    /// The branch may not be pushed to, or not by this user.
    ProtectedBranch,
    /// The server has no room for more, or allows no more.
    Quota,
    /// A file or the whole push is larger than the server takes.
    TooLarge,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CheckedOut => "the branch is checked out",
            Self::Hook => "a hook declined",
            Self::Other => "a rule of the server",
            Self::ProtectedBranch => "the branch is protected",
            Self::Quota => "no room is left",
            Self::TooLarge => "it is too large",
        })
    }
}

/// The server's words behind git's, with what to do about the rule.
fn said(words: &str, by: Refusal) -> String {
    let advice = match by {
        Refusal::CheckedOut => "; push to a bare repository, or check another branch out there",
        Refusal::Hook | Refusal::Other => "",
        Refusal::ProtectedBranch => "; allow this user to push there, or choose another branch",
        Refusal::Quota => "; make room there, or have the limit raised",
        Refusal::TooLarge => "; have the server's limit raised, or record less",
    };
    let words = if words.is_empty() { String::new() } else { format!(" ({words})") };
    format!("{words}{advice}")
}

fn host_key(url: &RemoteUrl, has_changed: bool) -> String {
    if has_changed {
        format!(
            "the host key of {url} has changed: somebody may be in between; ask the server's operator, and replace the \
             known host only when the fingerprint is theirs"
        )
    } else {
        format!(
            "the host key of {url} is not among the known hosts: compare its fingerprint with the one that the server's \
             operator publishes, and add its line, which ssh-keyscan prints"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_remedy_and_says_what_to_do() {
        let url = || "ssh://git@host/a.git".parse::<RemoteUrl>().unwrap();
        let words = || "fatal: words".to_owned();
        let refused = |by| RemoteError::Refused {
            url: url(),
            branch: BranchName::default(),
            by,
            reason: "declined".into(),
            words: words(),
        };
        let moved = RemoteError::MovedTip {
            url: url(),
            branch: BranchName::default(),
            how: TipMove::Stale,
            reason: "stale info".into(),
        };
        for (error, remedy, part) in [
            (moved, Remedy::RefetchAndReplay, "was moved by somebody else: stale info"),
            (refused(Refusal::Hook), Remedy::FixConfiguration, "refused the push to refs/heads/main: declined"),
            (refused(Refusal::ProtectedBranch), Remedy::FixConfiguration, "allow this user to push there"),
            (refused(Refusal::Quota), Remedy::FixConfiguration, "make room there"),
            (refused(Refusal::TooLarge), Remedy::FixConfiguration, "have the server's limit raised"),
            (refused(Refusal::CheckedOut), Remedy::FixConfiguration, "push to a bare repository"),
            (
                RemoteError::Authentication { url: url(), words: words() },
                Remedy::FixConfiguration,
                "check the credentials",
            ),
            (RemoteError::Certificate { url: url(), words: words() }, Remedy::FixConfiguration, "CA file"),
            (
                RemoteError::HostKey { url: url(), has_changed: true, words: words() },
                Remedy::FixConfiguration,
                "ask the server's operator",
            ),
            (
                RemoteError::HostKey { url: url(), has_changed: false, words: words() },
                Remedy::FixConfiguration,
                "ssh-keyscan",
            ),
            (RemoteError::NotFound { url: url(), words: words() }, Remedy::FixConfiguration, "check the address"),
            (RemoteError::Network { url: url(), words: words() }, Remedy::Retry, "can't be reached"),
            (RemoteError::Failed { action: "push to", url: url(), words: words() }, Remedy::Retry, "could not push to"),
            (
                RemoteError::TimeOut { action: "push to", url: url(), limit: Duration::from_secs(600) },
                Remedy::Retry,
                "did not answer within 600s",
            ),
        ] {
            assert_eq!(error.remedy(), remedy, "{error}");
            let text = error.to_string();
            assert!(text.contains(part) && text.contains("ssh://git@host/a.git"), "{text}");
        }
    }
}
