//! The name of a branch, parsed once.

use std::{fmt, str::FromStr};

use crate::remedy::Remedy;

/// A branch's short name, such as `main` or `team/platform`: what git-check-ref-format(1) accepts with `--branch`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchName(String);

impl BranchName {
    /// Returns the short name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `refs/heads/<name>`.
    pub fn full(&self) -> String {
        format!("refs/heads/{}", self.0)
    }

    /// Returns the name as one component of a ref or a path, so that no two branches get in each other's way there:
    /// `team/platform` becomes `team%2Fplatform`.
    pub fn encoded(&self) -> String {
        percent_encode(&self.0, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    }

    /// Returns the branch for what is put aside in `commit`: `<name>-reverser-<eight digits>`.
    pub(crate) fn aside(&self, commit: impl fmt::Display) -> Self {
        Self(format!("{}-reverser-{:.8}", self.0, commit.to_string()))
    }
}

impl Default for BranchName {
    /// `main`.
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BranchName {
    type Err = BranchNameError;

    fn from_str(name: &str) -> Result<Self, BranchNameError> {
        match fault(name) {
            Some(fault) => Err(BranchNameError { name: name.to_owned(), fault }),
            None => Ok(Self(name.to_owned())),
        }
    }
}

/// The rules of git-check-ref-format(1), in its order.
fn fault(name: &str) -> Option<&'static str> {
    let forbidden = |c: char| c.is_ascii_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    if name.is_empty() {
        Some("it is empty")
    } else if name.split('/').any(str::is_empty) {
        Some("it begins or ends with a slash, or has two in a row")
    } else if name.split('/').any(|part| part.starts_with('.') || part.ends_with(".lock")) {
        Some("a part of it begins with a dot or ends with .lock")
    } else if name.contains("..") || name.ends_with('.') {
        Some("it has two dots in a row or ends with a dot")
    } else if name.contains(forbidden) {
        Some("it has a blank, a control character or one of ~^:?*[\\")
    } else if name.starts_with("refs/heads/") {
        Some("it is a whole ref: leave refs/heads/ out")
    } else if name.contains("@{") || name == "@" || name == "HEAD" || name.starts_with('-') {
        Some("git gives it a meaning of its own")
    } else {
        None
    }
}

/// Git would not accept the name of a branch.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{name:?} can't be the name of a branch: {fault}")]
pub struct BranchNameError {
    name: String,
    fault: &'static str,
}

impl BranchNameError {
    /// Returns what helps.
    pub fn remedy(&self) -> Remedy {
        Remedy::FixConfiguration
    }
}

/// Writes every byte that isn't `plain` as `%XX`.
pub(crate) fn percent_encode(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii() && plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Reads what [`percent_encode`] writes; `None` when a `%` isn't followed by two digits or the result isn't UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        decoded.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_what_git_accepts() {
        for name in ["main", "team/platform", "v1.2", "a-b_c", "ü", "%2F"] {
            assert_eq!(name.parse::<BranchName>().unwrap().full(), format!("refs/heads/{name}"));
        }
        for name in [
            "",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a..b",
            "a.",
            "a b",
            "a\n",
            "a:b",
            "a*",
            "@",
            "-f",
            "HEAD",
            "refs/heads/main",
        ] {
            assert!(name.parse::<BranchName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_encoded_branch_is_one_component_and_reads_back() {
        let branch: BranchName = "team/100%/ü".parse().unwrap();
        assert_eq!(branch.encoded(), "team%2F100%25%2F%C3%BC");
        assert_eq!(percent_decode(&branch.encoded()).unwrap(), branch.as_str());
        assert_eq!(percent_decode("a%2"), None);
        assert_eq!(percent_decode("%+1"), None);
    }
}
