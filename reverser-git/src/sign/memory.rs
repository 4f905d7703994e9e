//! A signer that has no key, for the tests of programs that embed the writer.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::sign::{SignError, Signer};

/// Signs in memory, and refuses while it is told to. Its signatures are checksums: git can't verify them.
///
/// ```
/// use reverser_git::{MemorySigner, Signer, testing};
///
/// let signer = MemorySigner::new();
/// testing::signs(&signer, |payload, signature| signer.verifies(payload, signature));
/// signer.refuse();
/// assert!(signer.sign(b"payload").is_err());
/// ```
#[derive(Debug, Default)]
pub struct MemorySigner {
    refuses: AtomicBool,
}

impl MemorySigner {
    /// Returns a signer that signs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets it fail from here on.
    pub fn refuse(&self) {
        self.refuses.store(true, Ordering::Release);
    }

    /// Lets it sign again.
    pub fn allow(&self) {
        self.refuses.store(false, Ordering::Release);
    }

    /// Returns whether the signature is this signer's of the payload.
    pub fn verifies(&self, payload: &[u8], signature: &str) -> bool {
        armored(payload).trim_end() == signature.trim_end()
    }
}

impl Signer for MemorySigner {
    fn sign(&self, payload: &[u8]) -> Result<String, SignError> {
        if self.refuses.load(Ordering::Acquire) {
            Err(SignError::other("told to refuse"))
        } else {
            Ok(armored(payload))
        }
    }
}

fn armored(payload: &[u8]) -> String {
    let sum = crc32fast::hash(payload);
    format!("-----BEGIN MEMORY SIGNATURE-----\n\n{sum:08x}{:08x}\n-----END MEMORY SIGNATURE-----\n", payload.len())
}
