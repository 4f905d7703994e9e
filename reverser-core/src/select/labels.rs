//! Label selectors as kubectl's `-l` takes them.
//!
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>.

use std::{fmt, str::FromStr};

use serde_json::Value;

use super::truth;

/// All of its requirements have to hold; the default has none.
///
/// ```
/// use reverser_core::LabelSelector;
/// use serde_json::json;
///
/// let selector: LabelSelector = "app in (web,api),tier!=test,!legacy".parse()?;
/// let object = |labels| json!({"metadata": {"labels": labels}});
/// assert!(selector.matches(&object(json!({"app": "web"}))), "it has no tier, so none that is test");
/// assert!(!selector.matches(&object(json!({"app": "web", "legacy": ""}))));
/// assert_eq!(selector.to_string(), "app in (web,api),tier!=test,!legacy");
/// # Ok::<(), reverser_core::LabelSelectorError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Absent(String),
    In(String, Vec<String>),
    /// Also holds where the label is absent, as the API server has it.
    NotIn(String, Vec<String>),
    Present(String),
}

impl LabelSelector {
    /// Returns whether the object with this body is selected.
    ///
    /// ```
    /// # use reverser_core::LabelSelector;
    /// let everything = LabelSelector::default();
    /// assert!(everything.matches(&serde_json::json!({"metadata": {"name": "a"}})));
    /// ```
    pub fn matches(&self, body: &Value) -> bool {
        self.holds(|key| Some(body["metadata"]["labels"][key].as_str())) == Some(true)
    }

    /// Returns whether it holds where `label` tells a key's value: `Some(None)` that there is none, `None` that nobody
    /// knows.
    pub(super) fn holds<'a>(&self, label: impl Fn(&str) -> Option<Option<&'a str>>) -> Option<bool> {
        let is_in =
            |value: Option<&str>, values: &[String]| value.is_some_and(|value| values.iter().any(|v| v == value));
        truth::all(self.0.iter().map(|requirement| match requirement {
            Requirement::Absent(key) => label(key).map(|value| value.is_none()),
            Requirement::In(key, values) => label(key).map(|value| is_in(value, values)),
            Requirement::NotIn(key, values) => label(key).map(|value| !is_in(value, values)),
            Requirement::Present(key) => label(key).map(|value| value.is_some()),
        }))
    }
}

/// The text that it is read from: `app=web,tier notin (a,b),!x`.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::Absent(key) => write!(f, "!{key}")?,
                Requirement::In(key, values) if values.len() == 1 => write!(f, "{key}={}", values[0])?,
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) if values.len() == 1 => write!(f, "{key}!={}", values[0])?,
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(","))?,
                Requirement::Present(key) => f.write_str(key)?,
            }
        }
        Ok(())
    }
}

/// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
impl FromStr for LabelSelector {
    type Err = LabelSelectorError;

    fn from_str(text: &str) -> Result<Self, LabelSelectorError> {
        let requirements = split(text)
            .map(|(at, part)| {
                parse(part).ok_or_else(|| LabelSelectorError { text: text.to_owned(), part: part.to_owned(), at })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self(requirements))
    }
}

/// Splits at commas outside of parentheses; yields each part with the character where it begins.
fn split(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut depth = 0_u32;
    let mut start = 0;
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push((start, &text[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push((start, &text[start..]));
    parts.into_iter().map(|(start, part)| {
        let blanks = part.len() - part.trim_start().len();
        (text[..start + blanks].chars().count() + 1, part.trim())
    })
}

fn parse(part: &str) -> Option<Requirement> {
    if let Some(key) = part.strip_prefix('!') {
        return Some(Requirement::Absent(name(key)?));
    }
    if let Some((key, list)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let (key, operator) = key.trim_end().rsplit_once(char::is_whitespace)?;
        let values = list.split(',').map(label_value).collect::<Option<Vec<_>>>()?;
        return match operator {
            "in" => Some(Requirement::In(name(key)?, values)),
            "notin" => Some(Requirement::NotIn(name(key)?, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(name(key)?, vec![label_value(value)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(name(key)?, vec![label_value(value)?]));
    }
    Some(Requirement::Present(name(part)?))
}

fn name(key: &str) -> Option<String> {
    let key = key.trim();
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!key.is_empty() && key.chars().all(is_legal)).then(|| key.to_owned())
}

fn label_value(value: &str) -> Option<String> {
    let value = value.trim();
    value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)).then(|| value.to_owned())
}

/// The text isn't a label selector.
///
/// ```
/// let error = "app=web,tier=(a".parse::<reverser_core::LabelSelector>().unwrap_err();
/// assert!(error.to_string().starts_with(r#"label selector "app=web,tier=(a": "tier=(a" at character 9 is not 'key'"#));
/// ```
#[derive(Debug, thiserror::Error)]
#[error(
    "label selector {text:?}: {part:?} at character {at} is not 'key', '!key', 'key=value', 'key!=value', 'key in (a,b)' or 'key notin (a,b)'"
)]
pub struct LabelSelectorError {
    text: String,
    part: String,
    at: usize,
}

impl LabelSelectorError {
    /// Returns the part that is wrong, and the character where it begins, counted from 1.
    pub(super) fn part(&self) -> (&str, usize) {
        (&self.part, self.at)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selector: &str) -> bool {
        let body = json!({"metadata": {"labels": {"app": "web", "example.com/tier": "front"}}});
        selector.parse::<LabelSelector>().unwrap().matches(&body)
    }

    #[test]
    fn selectors_mean_what_kubectl_means() {
        for yes in
            ["app=web", "app==web,example.com/tier", "app in (api, web)", "x!=1", "x notin (1)", "!x", "app!=api"]
        {
            assert!(selects(yes), "{yes}");
        }
        for no in ["app=api", "x", "!app", "app notin (web,api)", "app in (api)", "app=web,x=1"] {
            assert!(!selects(no), "{no}");
        }
    }

    #[test]
    fn a_selector_is_shown_as_it_is_read() {
        for text in ["app=web,example.com/tier", "app in (api,web),x!=1", "x notin (1,2),!y", "x="] {
            assert_eq!(text.parse::<LabelSelector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_mistake_is_pointed_at() {
        let error = "app=web,tier in front".parse::<LabelSelector>().unwrap_err().to_string();
        assert!(error.contains("\"tier in front\" at character 9"), "{error}");
        for wrong in ["", "a=b,", "a=b c", "=x", "a in ()x", "a within (b)"] {
            assert!(wrong.parse::<LabelSelector>().is_err(), "{wrong}");
        }
    }
}
