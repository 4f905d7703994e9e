//! What one commit will be: the value that the flow hands to a Git writer.

use std::fmt;

use jiff::Timestamp;

use crate::{RepoPath, message::clean};

/// One commit to make: who, when, why, and what it puts and deletes.
///
/// ```
/// use reverser_core::{CommitPlan, Edit};
///
/// let plan = CommitPlan {
///     author: Some("Ann <ann@example.com>".parse()?),
///     date: "2026-11-27T08:00:00Z".parse()?,
///     message: "Say hello".into(),
///     edits: vec![Edit::Put { path: "v1/configmaps/shop/web.yaml".parse()?, content: b"kind: ConfigMap\n".to_vec() }],
/// };
/// assert_eq!(
///     format!("{plan:?}"),
///     r#"CommitPlan { subject: "Say hello", edits: [Put(v1/configmaps/shop/web.yaml, 16 bytes)], .. }"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CommitPlan {
    /// The commit's author; `None`: the writer's committer.
    pub author: Option<Signature>,
    /// The author date.
    pub date: Timestamp,
    /// The whole message: subject, body, trailers.
    pub message: String,
    /// Applied in order, so that a later edit of a path wins.
    pub edits: Vec<Edit>,
}

/// Shows paths and never contents: a plan may end up in a log.
impl fmt::Debug for CommitPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.message.lines().next().unwrap_or_default();
        f.debug_struct("CommitPlan").field("subject", &subject).field("edits", &self.edits).finish_non_exhaustive()
    }
}

/// One file's part of a commit.
///
/// ```
/// use reverser_core::Edit;
///
/// let edit = Edit::Delete { path: "v1/configmaps/shop/web.yaml".parse()? };
/// assert_eq!(edit.path().segments().next_back(), Some("web.yaml"));
/// # Ok::<(), reverser_core::RepoPathError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub enum Edit {
    /// The file is gone afterwards; deleting what isn't there changes nothing.
    Delete {
        /// Below the writer's root.
        path: RepoPath,
    },
    /// The file has this content afterwards.
    Put {
        /// Below the writer's root.
        path: RepoPath,
        /// The whole file.
        content: Vec<u8>,
    },
}

impl Edit {
    /// Returns the path that it touches.
    pub fn path(&self) -> &RepoPath {
        match self {
            Self::Delete { path } | Self::Put { path, .. } => path,
        }
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete { path } => write!(f, "Delete({path})"),
            Self::Put { path, content } => write!(f, "Put({path}, {} bytes)", content.len()),
        }
    }
}

/// A name and an e-mail address as a commit header takes them.
///
/// ```
/// use reverser_core::Signature;
///
/// let ann: Signature = "Ann Bot <ann@example.com>".parse()?;
/// assert_eq!((ann.name(), ann.email()), ("Ann Bot", "ann@example.com"));
/// # Ok::<(), reverser_core::SignatureError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signature {
    name: String,
    email: String,
}

impl Signature {
    /// In bytes, for each of name and address: longer than any name of the API, short enough for a header.
    ///
    /// ```
    /// use reverser_core::Signature;
    ///
    /// let long = Signature::new(&"n".repeat(5000), "ann@example.com");
    /// assert_eq!(long.name().len(), Signature::MAX_BYTES);
    /// ```
    pub const MAX_BYTES: usize = 512;

    /// Returns the signature with what git would misread left out: `<>` vanish, control characters become spaces or
    /// vanish, what turns the direction of text is `U+FFFD` or vanishes, surrounding blanks and punctuation go (git
    /// strips them too), an empty name becomes the e-mail's local part. What is longer than [`MAX_BYTES`](Self::MAX_BYTES)
    /// is cut.
    ///
    /// ```
    /// use reverser_core::Signature;
    ///
    /// let eve = Signature::new("eve\ncommitter <x@y> Z", "eve@example.com");
    /// assert_eq!(eve.to_string(), "eve committer x@y Z <eve@example.com>");
    /// ```
    pub fn new(name: &str, email: &str) -> Self {
        let is_kept = |c: &char| !c.is_whitespace() && !matches!(c, '<' | '>') && clean::visible(*c) == *c;
        let email: String = email.chars().filter(is_kept).collect();
        let email = clean::beginning(&email, Self::MAX_BYTES).to_owned();
        let kept: String = name.chars().filter(|c| !matches!(c, '<' | '>')).map(clean::visible).collect();
        // git's ident.c strips these from both ends of a name.
        let crud = |c: char| c.is_whitespace() || matches!(c, '.' | ',' | ':' | ';' | '"' | '\\' | '\'');
        let name = kept.trim_matches(crud);
        let name = clean::beginning(name, Self::MAX_BYTES).trim_end_matches(crud);
        let name = if name.is_empty() { email.split('@').next().unwrap_or_default() } else { name };
        let name = if name.is_empty() { "unknown" } else { name };
        Self { name: name.to_owned(), email }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the e-mail address, without brackets.
    pub fn email(&self) -> &str {
        &self.email
    }
}

/// `Name <email>`.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

/// Reads `Name <email>`.
impl std::str::FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let (name, email) = text
            .strip_suffix('>')
            .and_then(|text| text.split_once('<'))
            .filter(|(name, email)| !name.trim().is_empty() && !email.trim().is_empty())
            .ok_or_else(|| SignatureError { text: text.to_owned() })?;
        Ok(Self::new(name, email))
    }
}

/// The text isn't `Name <email>`.
///
/// ```
/// let error = "ann@example.com".parse::<reverser_core::Signature>().unwrap_err();
/// assert_eq!(error.to_string(), "\"ann@example.com\" is not of the form 'Name <email>'");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not of the form 'Name <email>'")]
pub struct SignatureError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_on_one_header_line() {
        let signature = Signature::new("eve\ncommitter <x@y> Z", "e v\ne<>@x");
        assert_eq!(signature.to_string(), "eve committer x@y Z <eve@x>");
        assert_eq!(Signature::new(".:;", "bob@x").name(), "bob");
    }

    #[test]
    fn a_signature_reads_what_it_prints() {
        let signature: Signature = "Ann Bot <ann@example.com>".parse().unwrap();
        assert_eq!((signature.name(), signature.email()), ("Ann Bot", "ann@example.com"));
        assert!("Ann".parse::<Signature>().is_err());
    }
}
