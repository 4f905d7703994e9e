//! Names that tell users apart without naming them.

use std::{fmt, fmt::Write};

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Makes a stable pseudonym of a user name, by a keyed hash: the first 8 bytes of HMAC-SHA-256 (RFC 2104), in hex.
///
/// Whoever has the key can tell who it is, by trying the names that there are. Nobody can without it, and whoever loses it
/// loses the link: with another key the same users have other pseudonyms.
///
/// ```
/// use reverser_core::identity::Pseudonyms;
///
/// let pseudonyms = Pseudonyms::new(b"0123456789abcdef").expect("it is long enough");
/// // printf %s alice | openssl dgst -sha256 -hmac 0123456789abcdef
/// assert_eq!(pseudonyms.of("alice"), "user-fdbf8b1cacd3d578");
/// assert_eq!(format!("{pseudonyms:?}"), "Pseudonyms");
/// ```
#[derive(Clone)]
pub struct Pseudonyms(Hmac<Sha256>);

impl Pseudonyms {
    /// In bytes: shorter keys could be found by trying.
    pub const MIN_KEY_BYTES: usize = 16;

    /// Returns those of a key; `None`: it is shorter than [`MIN_KEY_BYTES`](Self::MIN_KEY_BYTES).
    pub fn new(key: &[u8]) -> Option<Self> {
        let key = Some(key).filter(|key| key.len() >= Self::MIN_KEY_BYTES)?;
        Hmac::new_from_slice(key).ok().map(Self)
    }

    /// Returns the pseudonym of a user.
    pub fn of(&self, user: &str) -> String {
        let digest = self.0.clone().chain_update(user).finalize().into_bytes();
        digest.iter().take(8).fold("user-".to_owned(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Never shows the key.
impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms")
    }
}
