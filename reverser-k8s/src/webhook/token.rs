//! The part of the admission endpoint's path that only those know who can read the webhook's registration.

use std::{fmt, io, str};

use subtle::ConstantTimeEq;

use super::{Store, StoreError};

/// Lets nobody tell us of a request that no API server has had: 256 random bits, as the last part of a path.
///
/// Whoever may read ValidatingWebhookConfigurations knows it. Such users (cluster administrators, mostly) could name an author
/// who did nothing; nobody else can.
#[derive(Clone)]
pub struct Token(String);

/// There is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The system has no randomness.
    #[error("could not get random bytes for a token")]
    Random(#[source] io::Error),
    /// It can't be kept.
    #[error("could not keep the endpoint's token")]
    Store(#[source] StoreError),
}

impl Token {
    /// Returns the one that is kept, or makes one where none is, or what is kept isn't one.
    pub async fn open(store: &dyn Store) -> Result<Self, TokenError> {
        let kept = store.get(NAME).await.map_err(TokenError::Store)?;
        if let Some(token) = kept.and_then(|bytes| Self::parse(&bytes)) {
            return Ok(token);
        }
        let token = Self::random().map_err(TokenError::Random)?;
        store.put(NAME, token.0.as_bytes()).await.map_err(TokenError::Store)?;
        Ok(token)
    }

    fn random() -> io::Result<Self> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?.trim_ascii_end();
        let is_token = text.len() == 2 * BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_token.then(|| Self(text.to_owned()))
    }

    /// Returns the path at which the admission endpoint is, `/admission/…`: what a registration names behind host and port.
    pub fn path(&self) -> String {
        format!("{PREFIX}{}", self.0)
    }

    /// Returns whether this is that path; how long it takes tells nothing of the token.
    pub(super) fn is_in(&self, path: &str) -> bool {
        path.strip_prefix(PREFIX).is_some_and(|token| token.as_bytes().ct_eq(self.0.as_bytes()).into())
    }
}

const PREFIX: &str = "/admission/";

/// As many as the key of a cipher.
const BYTES: usize = 32;

/// Of what is kept.
const NAME: &str = "token";

/// Doesn't show it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::FileStore, *};

    #[tokio::test]
    async fn a_token_is_kept_unless_it_is_damaged_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).await.unwrap();
        let made = Token::open(&store).await.unwrap();
        assert_eq!(Token::open(&store).await.unwrap().path(), made.path());
        assert_eq!(made.path().len(), "/admission/".len() + 64);
        assert_eq!(format!("{made:?}"), "Token(…)");
        for damaged in ["", "short", &"Z".repeat(64), &format!("{}/..", "a".repeat(61))] {
            store.put("token", damaged.as_bytes()).await.unwrap();
            let anew = Token::open(&store).await.unwrap();
            assert_ne!(anew.path(), made.path());
            assert_eq!(anew.path().len(), made.path().len(), "{damaged:?}");
        }
    }

    #[test]
    fn only_the_whole_path_is_the_tokens() {
        let token = Token::random().unwrap();
        let path = token.path();
        assert!(token.is_in(&path));
        let others =
            [&path[..path.len() - 1], &format!("{path}0"), &format!("{path}/"), "/admission/", "/admission", "/", ""];
        assert!(!others.iter().any(|other| token.is_in(other)));
        assert!(!token.is_in(&Token::random().unwrap().path()));
    }
}
