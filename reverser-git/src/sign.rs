//! `Signer`: who puts a signature on commits. The writer hands it bytes and knows no keys.

use std::{fmt::Debug, io, path::PathBuf, sync::Arc, time::Duration};

use crate::remedy::Remedy;

#[cfg(feature = "testing")]
mod memory;
mod program;
mod ssh;

#[cfg(feature = "testing")]
pub use memory::MemorySigner;
pub use program::{ProgramSigner, SignFormat};
pub use ssh::SshSigner;

/// Signs commits.
///
/// # Contract
/// - What it returns is a detached signature of exactly the payload, in the armor that git knows: lines of text, the
///   first of which begins with `-----BEGIN ` and the last with `-----END `; git-config(1), `gpg.format`.
/// - It may block: the writer calls it on a thread for that. It comes to an end by itself, since nobody limits it from
///   outside.
/// - Several threads may call it at once.
/// - A failure is an error, never an empty signature: the writer makes no commit then, and whoever sent the plans tries again.
/// - Errors and `Debug` hold no key and no passphrase.
///
/// Not promised: that anybody trusts the signature. The payload is public as soon as the commit is pushed.
///
/// `reverser_git::testing::signs` (feature `testing`) checks all of it.
pub trait Signer: Debug + Send + Sync {
    /// Returns the armored signature of a commit object's text.
    fn sign(&self, payload: &[u8]) -> Result<String, SignError>;
}

/// A commit could not be signed, or a key could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key is for an algorithm that only programs sign with.
    #[error("{key} is for {algorithm}: take an ed25519 or ecdsa key, or let ssh-keygen sign")]
    Algorithm {
        /// The file.
        key: String,
        /// As OpenSSH calls it, such as `ssh-rsa`.
        algorithm: String,
    },
    /// The key has a passphrase, and none was given.
    #[error("{key} has a passphrase, which is needed, too")]
    Encrypted {
        /// The file.
        key: String,
    },
    /// There is no usable private key in it.
    #[error(
        "{key} is no private key in OpenSSH's format ({reason}): take the file that ssh-keygen makes, not the one in .pub; \
         `ssh-keygen -p -f FILE` converts other formats"
    )]
    Key {
        /// The file.
        key: String,
        /// What is wrong, without any of its content.
        reason: &'static str,
    },
    /// What came back isn't a signature.
    #[error("{signer} gave no signature: {reason}")]
    Malformed {
        /// The program, or the signer.
        signer: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A signer of somebody else's failed.
    #[error("the signer failed")]
    Other {
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The passphrase is wrong.
    #[error("the passphrase that was given doesn't open {key}")]
    Passphrase {
        /// The file.
        key: String,
    },
    /// A program refused.
    #[error("{} did not sign: {words}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// What it said, on one line.
        words: String,
    },
    /// A file can't be read.
    #[error("can't read {}", file.display())]
    Read {
        /// Of the key, or of its passphrase.
        file: PathBuf,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// A folder for the time of a signature can't be made.
    #[error("can't use the folder for temporary files")]
    Scratch {
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// A program can't be run.
    #[error("can't run {}; is it installed?", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// A program did not come to an end.
    #[error("{} did not sign within {limit:?}; nobody is there to answer what it may ask", program.display())]
    TimeOut {
        /// The program.
        program: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
}

impl SignError {
    /// Returns the error of a [`Signer`] of your own.
    pub fn other(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other { source: Arc::from(source.into()) }
    }

    /// Returns what helps. Agents, cards and services that sign come back, so it is worth trying again in any case.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Algorithm { .. }
            | Self::Encrypted { .. }
            | Self::Key { .. }
            | Self::Malformed { .. }
            | Self::Passphrase { .. }
            | Self::Program { .. }
            | Self::Read { .. }
            | Self::Scratch { .. }
            | Self::Spawn { .. } => Remedy::FixConfiguration,
            Self::Other { .. } | Self::TimeOut { .. } => Remedy::Retry,
        }
    }
}

/// Signs, and refuses what would break the commit object or pass for a signature without being one.
pub(crate) fn sign(signer: &dyn Signer, payload: &[u8]) -> Result<String, SignError> {
    let signature = signer.sign(payload)?;
    match flaw(&signature) {
        Some(reason) => Err(SignError::Malformed { signer: "the signer".to_owned(), reason }),
        None => Ok(signature),
    }
}

/// Returns what is wrong with an armored signature.
fn flaw(signature: &str) -> Option<&'static str> {
    // Armor may have comments in any language.
    let is_text = |character: char| character == '\n' || !character.is_control();
    let lines = signature.trim_end();
    if lines.is_empty() {
        Some("it is empty")
    } else if !signature.chars().all(is_text) {
        Some("it isn't lines of text")
    } else if !lines.starts_with("-----BEGIN ")
        || !lines.rsplit('\n').next().is_some_and(|last| last.starts_with("-----END "))
    {
        Some("it has no armor, from -----BEGIN to -----END")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_signature_is_told_apart() {
        assert_eq!(flaw("-----BEGIN X-----\nComment: ü\n\nabc=\n-----END X-----\n"), None);
        for broken in
            ["", "\n", "abc", "-----BEGIN X-----\nabc\n", "-----END X-----", "-----BEGIN X-----\r\n-----END X-----"]
        {
            assert!(flaw(broken).is_some(), "{broken:?}");
        }
        assert!(flaw("-----BEGIN X-----\n\0\n-----END X-----\n").is_some());
    }

    #[derive(Debug)]
    struct Empty;

    impl Signer for Empty {
        fn sign(&self, _payload: &[u8]) -> Result<String, SignError> {
            Ok(String::new())
        }
    }

    #[test]
    fn an_empty_signature_is_an_error() {
        let error = sign(&Empty, b"commit").unwrap_err();
        assert_eq!(error.to_string(), "the signer gave no signature: it is empty");
    }
}
