//! Patterns of names.

use std::fmt;

/// A name with wildcards: `*` stands for any characters, also none, and `?` for one. There is no escape, as no name in
/// Kubernetes has either of them; `?` also matches itself.
///
/// Matching takes no more steps than the pattern and the text have characters, multiplied, whatever both of them are.
///
/// ```
/// use reverser_core::Glob;
///
/// let glob = Glob::new("web-?-*");
/// assert!(glob.matches("web-1-blue") && !glob.matches("web-10"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(String);

impl Glob {
    /// Returns the pattern; every text is one.
    ///
    /// ```
    /// assert!(reverser_core::Glob::new("*").matches(""));
    /// ```
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Returns the pattern as it was written.
    ///
    /// ```
    /// assert_eq!(reverser_core::Glob::new("web-*").as_str(), "web-*");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the pattern stands for a single name: it has no wildcard.
    ///
    /// ```
    /// use reverser_core::Glob;
    ///
    /// assert!(Glob::new("web").is_exact() && !Glob::new("web*").is_exact());
    /// ```
    pub fn is_exact(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// Returns whether the whole of `text` is as the pattern says.
    ///
    /// ```
    /// assert!(reverser_core::Glob::new("system:*").matches("system:node:a"));
    /// ```
    pub fn matches(&self, text: &str) -> bool {
        self.matches_by(text, |a, b| a == b)
    }

    /// As [`Glob::matches`], with `a` and `A` being the same: kubectl takes kinds and resources like that.
    pub(super) fn matches_in_any_case(&self, text: &str) -> bool {
        self.matches_by(text, |a, b| a.eq_ignore_ascii_case(&b))
    }

    fn matches_by(&self, text: &str, is_same: impl Fn(char, char) -> bool) -> bool {
        let (mut pattern, mut rest) = (self.0.chars(), text.chars());
        // Behind the last `*`, and where the text goes on if that one takes a character more. Earlier ones never need to:
        // what the last one can't reach, they can't either.
        let mut star = None;
        loop {
            let here = rest.clone();
            match (pattern.next(), rest.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    star = Some((pattern.clone(), here.clone()));
                    rest = here;
                }
                (Some(a), Some(b)) if a == '?' || is_same(a, b) => {}
                _ => {
                    let Some((behind, from)) = &mut star else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (pattern, rest) = (behind.clone(), from.clone());
                }
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_anything_and_question_marks_for_one_character() {
        for (pattern, yes, no) in [
            ("web", &["web"][..], &["", "we", "web1", "Web"][..]),
            ("", &[""], &["a"]),
            ("*", &["", "a", "a/b"], &[]),
            ("web-?", &["web-1", "web-é"], &["web-", "web-10"]),
            ("*-web", &["-web", "a-web", "a-web-web"], &["web", "a-web-1"]),
            ("a*b*c", &["abc", "a1b2c", "abbcbc"], &["ac", "abcd"]),
            ("**?", &["a", "abc"], &[""]),
        ] {
            let glob = Glob::new(pattern);
            assert!(yes.iter().all(|text| glob.matches(text)), "{pattern}");
            assert!(!no.iter().any(|text| glob.matches(text)), "{pattern}");
        }
        assert!(Glob::new("deploy*").matches_in_any_case("Deployment"));
    }

    /// What the definition says, in exponential time.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) if by_definition(rest, text) => true,
            (Some(('*', _)), Some((_, text))) => by_definition(pattern, text),
            (Some((p, pattern)), Some((t, text))) => (*p == '?' || p == t) && by_definition(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_what_their_definition_says(pattern in "[ab*?]{0,8}", text in "[ab*é]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::new(pattern.as_str()).matches(&text), by_definition(&chars(&pattern), &chars(&text)));
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        // By definition 2^1,000 steps.
        let glob = Glob::new(format!("{}b", "*a".repeat(1_000)));
        assert!(!glob.matches(&"a".repeat(10_000)));
    }
}
