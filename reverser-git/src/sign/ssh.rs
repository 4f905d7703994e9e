//! SSH signatures made in this process: OpenSSH's PROTOCOL.sshsig, namespace `git`.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ssh_key::{HashAlg, LineEnding, PrivateKey};
use zeroize::Zeroizing;

use crate::sign::{SignError, Signer};

mod key;

/// Signs with an SSH key, ed25519 or ecdsa (nistp256, nistp384, nistp521), without any program or agent.
///
/// ```no_run
/// use std::sync::Arc;
/// # use reverser_git::{Credentials, GitWriter, SshSigner};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let signer = SshSigner::open("/etc/reverser/id_ed25519", None)?;
/// println!("bot@example.com namespaces=\"git\" {}", signer.public_key()); // a line for gpg.ssh.allowedSignersFile
/// let writer = GitWriter::open("/srv/platform.git".parse()?, Credentials::FromGit).signer(Arc::new(signer));
/// # Ok(())
/// # }
/// ```
pub struct SshSigner {
    /// Where it is read again from.
    files: Option<Files>,
    /// Locked for a look at the files: a few µs, or the time that bcrypt takes where they have changed.
    current: Mutex<Current>,
}

/// What the files held, and the key that this made.
struct Current {
    texts: Texts,
    key: Arc<PrivateKey>,
}

impl SshSigner {
    /// Opens a private key in OpenSSH's format, and where it is encrypted the file with its passphrase; a line break at that
    /// one's end isn't part of it.
    ///
    /// Both are looked at before each signature, so that a key that is replaced, as mounted Secrets are, is used at once. One
    /// that has vanished signs nothing.
    ///
    /// # Errors
    /// A file that can't be read, one that isn't such a key, another algorithm, a passphrase that is missing or wrong.
    pub fn open(key_file: impl Into<PathBuf>, passphrase_file: Option<PathBuf>) -> Result<Self, SignError> {
        let files = Files { key: key_file.into(), passphrase: passphrase_file };
        let current = Current::of(files.read()?, &files.key.display().to_string())?;
        Ok(Self { files: Some(files), current: Mutex::new(current) })
    }

    /// Takes a private key in OpenSSH's format as text; it stays the same for good.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), but for files.
    pub fn from_openssh(key: &str, passphrase: Option<&str>) -> Result<Self, SignError> {
        let owned = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let texts = Texts { key: owned(key), passphrase: passphrase.map(owned) };
        Ok(Self { files: None, current: Mutex::new(Current::of(texts, "the signing key")?) })
    }

    /// Returns the public key as OpenSSH writes it, `ssh-ed25519 AAAA…`: what an allowed signers file and forges want to know.
    pub fn public_key(&self) -> String {
        let key = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner).key);
        let mut public = key.public_key().clone();
        public.set_comment("");
        // It was decoded, so it can be encoded.
        public.to_openssh().unwrap_or_default()
    }

    /// Returns the key as the files have it.
    fn key(&self) -> Result<Arc<PrivateKey>, SignError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = &self.files {
            // Compared by content: times and sizes don't tell for sure, and reading costs a few µs, a signature ten times that.
            let texts = files.read()?;
            if texts != current.texts {
                *current = Current::of(texts, &files.key.display().to_string())?;
                tracing::info!(key = %files.key.display(), "the signing key has changed");
            }
        }
        Ok(Arc::clone(&current.key))
    }
}

impl Signer for SshSigner {
    fn sign(&self, payload: &[u8]) -> Result<String, SignError> {
        let signature = self.key()?.sign(NAMESPACE, HashAlg::Sha512, payload);
        signature
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(|error| SignError::other(error.to_string()))
    }
}

/// Without the key.
impl fmt::Debug for SshSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.files.as_ref().map(|files| &files.key);
        f.debug_struct("SshSigner").field("file", &file).field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

impl Current {
    fn of(texts: Texts, name: &str) -> Result<Self, SignError> {
        let passphrase = texts.passphrase.as_ref().map(|passphrase| passphrase.as_slice());
        let key = key::parse(name, &texts.key, passphrase)?;
        Ok(Self { texts, key: Arc::new(key) })
    }
}

struct Files {
    key: PathBuf,
    passphrase: Option<PathBuf>,
}

impl Files {
    fn read(&self) -> Result<Texts, SignError> {
        let read = |file: &Path| match fs::read(file) {
            Ok(text) => Ok(Zeroizing::new(text)),
            Err(source) => Err(SignError::Read { file: file.to_owned(), source: Arc::new(source) }),
        };
        let mut passphrase = self.passphrase.as_deref().map(read).transpose()?;
        if let Some(passphrase) = &mut passphrase
            && passphrase.pop_if(|last| *last == b'\n').is_some()
        {
            passphrase.pop_if(|last| *last == b'\r');
        }
        Ok(Texts { key: read(&self.key)?, passphrase })
    }
}

#[derive(PartialEq, Eq)]
struct Texts {
    key: Zeroizing<Vec<u8>>,
    passphrase: Option<Zeroizing<Vec<u8>>>,
}

/// What git signs and verifies commits for; git-config(1), `gpg.format`.
const NAMESPACE: &str = "git";
