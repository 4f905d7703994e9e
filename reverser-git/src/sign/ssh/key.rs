//! Private keys in OpenSSH's format, PROTOCOL.key.
//!
//! ssh-key 0.6 reads them, but for two kinds that are quite common, which are put right here before it sees them: armor with
//! other lines than OpenSSH's 70 characters (Go and Terraform write 64), and ecdsa scalars with leading zeros, which OpenSSH
//! leaves out as of any integer (each second nistp521 key, one in 256 of the others).

use base64ct::{Base64, Encoding};
use ssh_key::PrivateKey;
use zeroize::Zeroizing;

use crate::sign::SignError;

/// Reads a private key, decrypted; `name` is for errors.
pub(super) fn parse(name: &str, text: &[u8], passphrase: Option<&[u8]>) -> Result<PrivateKey, SignError> {
    let broken = |reason| SignError::Key { key: name.to_owned(), reason };
    let bytes = unarmored(text).map_err(broken)?;
    let container = Container::parse(&bytes).ok_or_else(|| broken("it is cut off or garbled"))?;
    let algorithm = container.algorithm().ok_or_else(|| broken("it names no algorithm"))?;
    if !ALGORITHMS.contains(&algorithm) {
        return Err(SignError::Algorithm { key: name.to_owned(), algorithm: algorithm.to_owned() });
    }
    let secret = match (container.is_encrypted(), passphrase) {
        (false, _) => Zeroizing::new(container.secret.to_vec()),
        (true, None) => return Err(SignError::Encrypted { key: name.to_owned() }),
        (true, Some(_)) if container.cipher == b"3des-cbc" => return Err(broken("3des-cbc is too weak a cipher")),
        (true, Some(passphrase)) => {
            let locked = PrivateKey::from_bytes(&bytes).map_err(|_| broken("its encryption isn't known"))?;
            let opened = container.decrypt(&locked, passphrase);
            opened.ok_or_else(|| SignError::Passphrase { key: name.to_owned() })?
        }
    };
    let plain = container.plain(&secret).ok_or_else(|| broken("its secret part is garbled"))?;
    PrivateKey::from_bytes(&plain).map_err(|_| broken("its parts don't belong together"))
}

/// Takes the armor off, however long its lines are.
fn unarmored(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it isn't text")?;
    let (_, text) =
        text.split_once("-----BEGIN OPENSSH PRIVATE KEY-----").ok_or("its armor is another one, or none")?;
    let (text, _) = text.split_once("-----END OPENSSH PRIVATE KEY-----").ok_or("its end is missing")?;
    let text: Zeroizing<String> = Zeroizing::new(text.split_ascii_whitespace().collect());
    Base64::decode_vec(&text).map(Zeroizing::new).map_err(|_| "it isn't base64")
}

/// The parts of the file, of one key.
struct Container<'a> {
    cipher: &'a [u8],
    public: &'a [u8],
    /// Encrypted, unless the cipher is `none`.
    secret: &'a [u8],
    /// Of ciphers that authenticate.
    tag: &'a [u8],
}

impl<'a> Container<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes.strip_prefix(MAGIC)?);
        let cipher = reader.string()?;
        let (_kdf, _kdf_options) = (reader.string()?, reader.string()?);
        if reader.number()? != 1 {
            return None;
        }
        let (public, secret) = (reader.string()?, reader.string()?);
        Some(Self { cipher, public, secret, tag: reader.0 })
    }

    fn algorithm(&self) -> Option<&'a str> {
        std::str::from_utf8(Reader(self.public).string()?).ok()
    }

    fn is_encrypted(&self) -> bool {
        self.cipher != b"none"
    }

    /// Returns the secret part in the clear, or `None` when the passphrase is wrong.
    fn decrypt(&self, locked: &PrivateKey, passphrase: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (key, iv) = locked.kdf().derive_key_and_iv(locked.cipher(), passphrase).ok()?;
        let mut secret = Zeroizing::new(self.secret.to_vec());
        let tag = if locked.cipher().has_tag() { Some(self.tag.try_into().ok()?) } else { None };
        locked.cipher().decrypt(&key, &iv, &mut secret, tag).ok()?;
        // The same random number twice: what it is there for.
        let mut reader = Reader(&secret);
        let is_right = reader.number()? == reader.number()?;
        is_right.then_some(secret)
    }

    /// Returns the file of this key without a passphrase, and with scalars of full width.
    fn plain(&self, secret: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut reader = Reader(secret);
        // Room for all of it: a vector that grows leaves copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(secret.len() + 128));
        body.extend(reader.take(8)?); // the random number, twice
        let algorithm = reader.string()?;
        put(&mut body, algorithm)?;
        if algorithm == b"ssh-ed25519" {
            let (public, pair) = (reader.string()?, reader.string()?);
            put(&mut body, public)?;
            put(&mut body, pair)?;
        } else {
            let (curve, point, scalar) = (reader.string()?, reader.string()?, reader.string()?);
            put(&mut body, curve)?;
            put(&mut body, point)?;
            put(&mut body, &full_width(scalar, scalar_bytes(curve)?)?)?;
        }
        put(&mut body, reader.string()?)?; // the comment
        let padding = body.len().next_multiple_of(8) - body.len();
        body.extend((1..=u8::MAX).take(padding));

        let mut file = Zeroizing::new(Vec::with_capacity(body.len() + self.public.len() + 128));
        file.extend(MAGIC);
        for part in [&b"none"[..], b"none", b""] {
            put(&mut file, part)?;
        }
        file.extend(1_u32.to_be_bytes());
        put(&mut file, self.public)?;
        put(&mut file, &body)?;
        Some(file)
    }
}

/// Fields of RFC 4251, section 5.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.try_into().ok()?)
    }
}

fn put(bytes: &mut Vec<u8>, string: &[u8]) -> Option<()> {
    bytes.extend(u32::try_from(string.len()).ok()?.to_be_bytes());
    bytes.extend(string);
    Some(())
}

/// Returns an integer with as many leading zeros as its width takes, and one more where it would be negative.
fn full_width(integer: &[u8], width: usize) -> Option<Zeroizing<Vec<u8>>> {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    let digits = &integer[zeros..];
    let missing = width.checked_sub(digits.len())?;
    let sign = usize::from(missing == 0 && digits[0] >= 0x80);
    let mut padded = Zeroizing::new(vec![0; sign + missing]);
    padded.extend(digits);
    Some(padded)
}

fn scalar_bytes(curve: &[u8]) -> Option<usize> {
    match curve {
        b"nistp256" => Some(32),
        b"nistp384" => Some(48),
        b"nistp521" => Some(66),
        _ => None,
    }
}

const MAGIC: &[u8] = b"openssh-key-v1\0";

const ALGORITHMS: [&str; 4] = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_get_their_width_back() {
        let of = |integer: &[u8]| full_width(integer, 3).map(|padded| padded.to_vec());
        assert_eq!(of(&[1, 2, 3]), Some(vec![1, 2, 3]));
        assert_eq!(of(&[0, 0x80, 2, 3]), Some(vec![0, 0x80, 2, 3]), "a sign, since the first bit is set");
        assert_eq!(of(&[0x80]), Some(vec![0, 0, 0x80]));
        assert_eq!(of(&[]), Some(vec![0, 0, 0]));
        assert_eq!(of(&[1, 2, 3, 4]), None);
    }

    #[test]
    fn what_is_cut_off_anywhere_is_an_error() {
        let armored = |content: &str| {
            format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{content}\n-----END OPENSSH PRIVATE KEY-----\n")
        };
        let mut file = MAGIC.to_vec();
        for part in [&b"none"[..], b"none", b""] {
            put(&mut file, part).unwrap();
        }
        file.extend(1_u32.to_be_bytes());
        let mut public = Vec::new();
        put(&mut public, b"ssh-ed25519").unwrap();
        put(&mut file, &public).unwrap();
        put(&mut file, &[0; 8]).unwrap();
        for end in 0..=file.len() {
            let error = parse("k", armored(&Base64::encode_string(&file[..end])).as_bytes(), None).unwrap_err();
            assert!(matches!(error, SignError::Key { .. }), "{end}: {error:?}");
        }
        for text in ["", "ssh-ed25519 AAAA bot", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", &armored("%")] {
            let error = parse("k", text.as_bytes(), None).unwrap_err();
            assert!(error.to_string().contains("ssh-keygen -p -f FILE"), "{error}");
        }
    }
}
