//! What a rule gives as a name or an address: text with placeholders, `{rest|title}`, checked when it is read.

use std::collections::BTreeMap;

use super::is_address;
use crate::{Signature, message::clean};

/// A name or an address with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Value(Field, Vec<Filter>),
}

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// `{extra:KEY}`: what the rule's pattern for that key has matched.
    Extra(String),
    /// `{name}`: the service account's.
    Name,
    /// `{namespace}`: the service account's.
    Namespace,
    /// `{rest}`: the user name without the rule's prefix and suffix.
    Rest,
    /// `{user}`: the whole user name.
    User,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    /// ASCII alone: other letters have partners that look like somebody else's, such as `K`, the sign of the kelvin.
    Lower,
    /// `ann.lee` is `Ann Lee`.
    Title,
}

/// What the placeholders of one rule stand for, of one user.
#[derive(Clone, Debug, Default)]
pub(super) struct Values<'a> {
    pub(super) user: &'a str,
    pub(super) rest: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) extra: BTreeMap<&'a str, &'a str>,
}

impl Template {
    /// Reads a template; `has` says which placeholders its rule gives a value, or why one has none.
    pub(super) fn parse(text: &str, has: impl Fn(&Field) -> Result<(), String>) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let literal = rest.find(['{', '}']).unwrap_or(rest.len());
            if literal > 0 {
                parts.push(Part::Literal(rest[..literal].to_owned()));
                rest = &rest[literal..];
                continue;
            }
            let end = rest.find('}').filter(|_| rest.starts_with('{')).ok_or_else(|| {
                format!("{text:?} has a brace too many or too few: a placeholder is one of {PLACEHOLDERS}")
            })?;
            parts.push(placeholder(&rest[1..end], &has)?);
            rest = &rest[end + 1..];
        }
        Ok(Self(parts))
    }

    /// Returns the name; `None` where a value holds what could make it look like somebody else's: what a name can't have in
    /// a commit, or an address in what is left of a user name.
    pub(super) fn name(&self, values: &Values<'_>) -> Option<String> {
        let is_plain = |field: &Field, value: &str| {
            Signature::new(value, "").name() == value && !(*field == Field::Rest && value.contains('@'))
        };
        let name = self.render(values, is_plain)?;
        let name = name.trim();
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// Returns the address; `None` where a value makes it none, such as by an `@` too many.
    pub(super) fn email(&self, values: &Values<'_>) -> Option<String> {
        self.render(values, |_, _| true).filter(|email| is_address(email))
    }

    /// Returns what is wrong with it as a name, whoever it is about.
    pub(super) fn check_name(&self) -> Result<(), String> {
        let literal = self.literal();
        if clean::line(&literal) != literal.trim() || literal.contains(['<', '>']) {
            return Err("has what no name in a commit can have: < > or a control character".to_owned());
        }
        if self.0.is_empty() || (literal.trim().is_empty() && self.fields().next().is_none()) {
            return Err("is empty".to_owned());
        }
        Ok(())
    }

    /// Returns what is wrong with it as an address, whoever it is about.
    pub(super) fn check_email(&self) -> Result<(), String> {
        let may_have_at = |field: &Field| matches!(field, Field::Extra(_) | Field::Rest | Field::User);
        if !self.literal().contains('@') {
            return if self.fields().any(may_have_at) {
                Ok(())
            } else {
                Err("is no address, as it has no @: write it like {rest}@example.com".to_owned())
            };
        }
        // Any value will do that is part of an address.
        let sample: String =
            self.0.iter().map(|part| if let Part::Literal(text) = part { text } else { "x" }).collect();
        if is_address(&sample) { Ok(()) } else { Err(format!("is no address: it gives {sample:?}")) }
    }

    fn render(&self, values: &Values<'_>, is_allowed: impl Fn(&Field, &str) -> bool) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Value(field, filters) => {
                    let value = field.of(values);
                    if !is_allowed(field, value) {
                        return None;
                    }
                    let value = filters.iter().fold(value.to_owned(), |value, filter| filter.apply(&value));
                    text.push_str(&value);
                }
            }
        }
        Some(text)
    }

    fn fields(&self) -> impl Iterator<Item = &Field> {
        self.0.iter().filter_map(|part| if let Part::Value(field, _) = part { Some(field) } else { None })
    }

    fn literal(&self) -> String {
        self.0
            .iter()
            .filter_map(|part| if let Part::Literal(text) = part { Some(text.as_str()) } else { None })
            .collect()
    }
}

impl Field {
    fn of<'a>(&self, values: &Values<'a>) -> &'a str {
        match self {
            Self::Extra(key) => values.extra.get(key.as_str()).copied().unwrap_or_default(),
            Self::Name => values.name,
            Self::Namespace => values.namespace,
            Self::Rest => values.rest,
            Self::User => values.user,
        }
    }
}

impl Filter {
    fn apply(self, value: &str) -> String {
        match self {
            Self::Lower => value.to_ascii_lowercase(),
            Self::Title => {
                let words = value.split(['.', '_', '-', ' ']).filter(|word| !word.is_empty());
                words.map(capitalized).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

const PLACEHOLDERS: &str = "{user}, {rest}, {namespace}, {name} and {extra:KEY}, each also with |lower or |title";

/// Reads what stands between the braces.
fn placeholder(text: &str, has: impl Fn(&Field) -> Result<(), String>) -> Result<Part, String> {
    let mut pieces = text.split('|').map(str::trim);
    let name = pieces.next().unwrap_or_default();
    let field = match name {
        "user" => Field::User,
        "rest" => Field::Rest,
        "namespace" => Field::Namespace,
        "name" => Field::Name,
        other => match other.strip_prefix("extra:").filter(|key| !key.is_empty()) {
            Some(key) => Field::Extra(key.to_owned()),
            None => return Err(format!("there is no {{{name}}}; there are {PLACEHOLDERS}")),
        },
    };
    has(&field)?;
    let filters = pieces.map(|filter| match filter {
        "lower" => Ok(Filter::Lower),
        "title" => Ok(Filter::Title),
        _ => Err(format!("there is no filter {filter:?}; there are lower and title")),
    });
    Ok(Part::Value(field, filters.collect::<Result<_, _>>()?))
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
