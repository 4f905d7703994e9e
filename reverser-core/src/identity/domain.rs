//! The domain of authors whose user name isn't an e-mail address.

use std::{fmt, str::FromStr};

/// A domain for e-mail addresses, in ASCII as DNS has it (RFC 5321, section 4.1.2).
///
/// ```
/// use reverser_core::identity::EmailDomain;
///
/// assert_eq!(EmailDomain::default().as_str(), "cluster.local");
/// assert_eq!("Users.Example.com".parse::<EmailDomain>()?.as_str(), "users.example.com");
/// assert!("@example.com".parse::<EmailDomain>().is_err());
/// # Ok::<(), reverser_core::identity::EmailDomainError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EmailDomain(String);

impl EmailDomain {
    /// Returns it in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `cluster.local`, the DNS domain that Kubernetes gives to itself and that no mail server answers for.
impl Default for EmailDomain {
    fn default() -> Self {
        Self("cluster.local".to_owned())
    }
}

impl fmt::Display for EmailDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EmailDomain {
    type Err = EmailDomainError;

    fn from_str(text: &str) -> Result<Self, EmailDomainError> {
        let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(is_inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > MAX_BYTES || !text.split('.').all(is_label) {
            return Err(EmailDomainError { text: text.to_owned() });
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// In bytes: that of a DNS name.
const MAX_BYTES: usize = 253;

/// The text isn't a domain.
///
/// ```
/// let error = "ann@example.com".parse::<reverser_core::identity::EmailDomain>().unwrap_err();
/// assert!(error.to_string().starts_with("\"ann@example.com\" is no domain: "), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no domain: write it like users.example.com, with letters, digits, - and dots (xn--… for other scripts)"
)]
pub struct EmailDomainError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dns_takes_is_a_domain() {
        for good in ["a", "cluster.local", "xn--bcher-kva.example", "a.".repeat(126).trim_end_matches('.')] {
            assert!(good.parse::<EmailDomain>().is_ok(), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in
            ["", ".", "a.", ".a", "a..b", "-a", "a-", "a b", "a\nb", "<a>", "a@b", "bücher.example", "a/b", &long]
        {
            assert!(bad.parse::<EmailDomain>().is_err(), "{bad:?}");
        }
    }
}
