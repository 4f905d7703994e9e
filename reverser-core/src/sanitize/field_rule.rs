//! What a user keeps or drops besides the table: a field path, of one kind or of all.

use std::{fmt, str::FromStr};

use serde_json::Value;

use super::minimal::IDENTITY;
use crate::field_path::{FieldPath, FieldPathError, Location};

/// `[KIND[.GROUP]:]PATH`: the values at a [`FieldPath`], in objects of one kind or in all.
///
/// ```
/// use reverser_core::sanitize::FieldRule;
///
/// let rule: FieldRule = r#"Deployment.apps:.spec.template.metadata.annotations["example.com/x"]"#.parse()?;
/// assert_eq!(rule.to_string(), r#"Deployment.apps:.spec.template.metadata.annotations["example.com/x"]"#);
/// let error = "Deployment:.spec[x]".parse::<FieldRule>().unwrap_err();
/// assert_eq!(error.at(), 18);
/// # Ok::<(), reverser_core::FieldPathError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FieldRule {
    /// Without a group: that kind of any group.
    kind: Option<(String, Option<String>)>,
    path: FieldPath,
}

impl FieldRule {
    /// Returns a rule about objects of all kinds.
    ///
    /// ```
    /// use reverser_core::{Sanitizer, sanitize::FieldRule};
    ///
    /// let rule = FieldRule::all(".metadata.labels.build".parse()?);
    /// assert_eq!(rule, ".metadata.labels.build".parse()?);
    /// assert!(Sanitizer::faithful().drop(rule).is_ok());
    /// # Ok::<(), reverser_core::FieldPathError>(())
    /// ```
    pub fn all(path: FieldPath) -> Self {
        Self { kind: None, path }
    }

    /// Returns whether the rule is about objects of that group and kind.
    pub(super) fn is_about(&self, group: &str, kind: &str) -> bool {
        self.kind.as_ref().is_none_or(|(its_kind, its_group)| {
            its_kind.eq_ignore_ascii_case(kind) && its_group.as_ref().is_none_or(|its| its == group)
        })
    }

    pub(super) fn find(&self, object: &Value) -> Vec<Location> {
        self.path.find(object)
    }

    /// Returns the field that names an object, if the rule may mean it.
    pub(super) fn identity(&self) -> Option<String> {
        let named = IDENTITY.iter().find(|names| self.path.may_mean(names))?;
        Some(format!(".{}", named.join(".")))
    }
}

impl FromStr for FieldRule {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, FieldPathError> {
        // Further on, a colon belongs to a key or a value in quotes.
        let head = &text[..text.find(['[', '"', '\'']).unwrap_or(text.len())];
        let Some(colon) = head.find(':') else { return Ok(Self::all(text.parse()?)) };
        let (kind, path) = (&text[..colon], &text[colon + 1..]);
        let (name, group) = match kind.split_once('.') {
            Some((name, group)) => (name, Some(group.to_owned())),
            None => (kind, None),
        };
        let is_kind = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
        let is_group = |group: &str| {
            group.starts_with(|c: char| c.is_ascii_alphanumeric())
                && group.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
        };
        if !is_kind(name) || !group.as_deref().is_none_or(is_group) {
            return Err(FieldPathError::new(
                text,
                0,
                "expected KIND or KIND.GROUP before ':', as in Deployment.apps:.spec",
            ));
        }
        let path = path.parse().map_err(|error: FieldPathError| error.behind(&text[..=colon]))?;
        Ok(Self { kind: Some((name.to_owned(), group)), path })
    }
}

impl fmt::Display for FieldRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            None => {}
            Some((kind, None)) => write!(f, "{kind}:")?,
            Some((kind, Some(group))) => write!(f, "{kind}.{group}:")?,
        }
        self.path.fmt(f)
    }
}
