//! From text to a filter.
//!
//! ```text
//! filter      = term *( blank term )
//! term        = key ( "=" | "==" | "!=" ) alternative *( "|" alternative )
//! alternative = 1*( any but blank, "|", "\"", and but "," except in labels )
//!             | "\"" *( any but "\"" and "\\" | "\\\"" | "\\\\" ) "\""
//! ```

use std::str::FromStr;

use super::{AnnotationPattern, Filter, Glob, OwnerPattern, Term, Test};
use crate::Operation;

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut reader = Reader { text, chars: text.chars().collect(), at: 0 };
        let mut terms = Vec::new();
        loop {
            reader.skip_blanks();
            if reader.peek().is_none() && !terms.is_empty() {
                return Ok(Self { terms });
            }
            terms.push(reader.term()?);
        }
    }
}

/// Returns whether a value has to stand in quotes. One that begins with `=` would make `==`, which is `=`.
pub(super) fn needs_quotes(value: &str) -> bool {
    value.is_empty() || value.starts_with('=') || value.contains(|c: char| is_special(c) || c == ',')
}

fn is_special(c: char) -> bool {
    c.is_whitespace() || matches!(c, '|' | '"')
}

struct Reader<'a> {
    text: &'a str,
    chars: Vec<char>,
    /// The next character.
    at: usize,
}

/// One alternative of a term.
struct Value {
    text: String,
    /// Where each of its characters stands; in quotes it isn't one behind the other.
    places: Vec<usize>,
    /// The character behind it.
    end: usize,
}

impl Value {
    /// Returns where its character `index` stands, or where it ends.
    fn place(&self, index: usize) -> usize {
        self.places.get(index).copied().unwrap_or(self.end)
    }
}

impl Reader<'_> {
    fn term(&mut self) -> Result<Term, FilterError> {
        let start = self.at;
        self.skip(|c| !is_special(c) && !matches!(c, '=' | '!'));
        let key: String = self.chars[start..self.at].iter().collect();
        if !KEYS.contains(&key.as_str()) {
            let found = if key.is_empty() { self.found(start) } else { format!("{key:?}") };
            let quotes = if start == 0 { "" } else { " (a value with a blank stands in double quotes)" };
            return Err(self.error(start, found, format!("one of the terms {}{quotes}", KEYS.join(", "))));
        }
        let negated = self.eat('!');
        if !self.eat('=') {
            return Err(self.unexpected(if negated { "= after !" } else { "= or != after the term's name" }));
        }
        if !negated {
            // As kubectl takes it.
            self.eat('=');
        }
        let test = match key.as_str() {
            "annotation" => Test::Annotation(self.alternatives(false, Self::annotation)?),
            "group" => Test::Group(self.alternatives(false, |reader, value| reader.name(value, true))?),
            "kind" => Test::Kind(self.names()?),
            "label" => Test::Label(self.alternatives(true, Self::label)?),
            "manager" => Test::Manager(self.globs()?),
            "name" => Test::Name(self.globs()?),
            "namespace" => Test::Namespace(self.names()?),
            "operation" => Test::Operation(self.alternatives(false, Self::operation)?),
            "owner" => Test::Owner(self.alternatives(false, Self::owner)?),
            "resource" => Test::Resource(self.names()?),
            "user" => Test::User(self.globs()?),
            // The only one that is left of `KEYS`.
            _ => Test::Version(self.names()?),
        };
        match self.peek() {
            Some(c) if !c.is_whitespace() => Err(self.unexpected("a blank or | (quotes stand around a whole value)")),
            _ => Ok(Term { test, negated }),
        }
    }

    fn globs(&mut self) -> Result<Vec<Glob>, FilterError> {
        self.alternatives(false, |_, value| Ok(Glob::new(value.text)))
    }

    fn names(&mut self) -> Result<Vec<Glob>, FilterError> {
        self.alternatives(false, |reader, value| reader.name(value, false))
    }

    fn alternatives<T>(
        &mut self,
        has_commas: bool,
        read: impl Fn(&Self, Value) -> Result<T, FilterError>,
    ) -> Result<Vec<T>, FilterError> {
        let mut alternatives = Vec::new();
        loop {
            let value = if self.eat('"') { self.quoted()? } else { self.bare(has_commas)? };
            alternatives.push(read(self, value)?);
            if !self.eat('|') {
                return Ok(alternatives);
            }
        }
    }

    fn bare(&mut self, has_commas: bool) -> Result<Value, FilterError> {
        let start = self.at;
        self.skip(|c| !is_special(c) && (has_commas || c != ','));
        if self.peek() == Some(',') {
            return Err(self.unexpected("| between alternatives (a value with a comma stands in double quotes)"));
        }
        if self.at == start {
            return Err(self.unexpected("a value (an empty one is \"\")"));
        }
        let text = self.chars[start..self.at].iter().collect();
        Ok(Value { text, places: (start..self.at).collect(), end: self.at })
    }

    /// Reads on behind the opening quote.
    fn quoted(&mut self) -> Result<Value, FilterError> {
        let mut value = Value { text: String::new(), places: Vec::new(), end: 0 };
        loop {
            let place = self.at;
            let c = match self.next() {
                Some('"') => return Ok(Value { end: place, ..value }),
                Some('\\') => match self.peek().filter(|c| matches!(c, '"' | '\\')) {
                    Some(c) => {
                        self.at += 1;
                        c
                    }
                    None => return Err(self.unexpected("\" or \\ after \\")),
                },
                Some(c) => c,
                None => return Err(self.unexpected("the closing \"")),
            };
            value.text.push(c);
            value.places.push(place);
        }
    }

    fn name(&self, value: Value, may_be_empty: bool) -> Result<Glob, FilterError> {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || "-._*?".contains(c);
        match value.text.chars().position(|c| !is_legal(c)) {
            Some(wrong) => Err(self.wrong(value.place(wrong), "letters, digits, -, . and the wildcards * and ?")),
            None if value.text.is_empty() && !may_be_empty => Err(self.wrong(value.end, "a name")),
            None => Ok(Glob::new(value.text)),
        }
    }

    fn annotation(&self, value: Value) -> Result<AnnotationPattern, FilterError> {
        let (key, pattern) = match value.text.split_once('=') {
            Some((key, pattern)) => (key, Some(Glob::new(pattern))),
            None => (value.text.as_str(), None),
        };
        let is_legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        match key.chars().position(|c| !is_legal(c)) {
            Some(wrong) => {
                Err(self
                    .wrong(value.place(wrong), "an annotation's key (letters, digits, - _ . /), as KEY or KEY=VALUE"))
            }
            None if key.is_empty() => Err(self.wrong(value.place(0), "an annotation's key, as KEY or KEY=VALUE")),
            None => Ok(AnnotationPattern { key: key.to_owned(), value: pattern }),
        }
    }

    fn label(&self, value: Value) -> Result<crate::LabelSelector, FilterError> {
        value.text.parse().map_err(|error: crate::LabelSelectorError| {
            let (part, at) = error.part();
            let place = value.place(at - 1);
            let found = if part.is_empty() { self.found(place) } else { format!("{part:?}") };
            let expected = "'key', '!key', 'key=value', 'key!=value', 'key in (a,b)' or 'key notin (a,b)'; \
                with a blank, in double quotes";
            self.error(place, found, expected.to_owned())
        })
    }

    fn operation(&self, value: Value) -> Result<Operation, FilterError> {
        match value.text.to_ascii_lowercase().as_str() {
            "create" => Ok(Operation::Create),
            "delete" => Ok(Operation::Delete),
            "update" => Ok(Operation::Update),
            _ => Err(self.error(value.place(0), format!("{:?}", value.text), "create, delete or update".to_owned())),
        }
    }

    fn owner(&self, value: Value) -> Result<OwnerPattern, FilterError> {
        let (kind, name) = match value.text.split_once('/') {
            Some((kind, name)) => (kind, Some(Glob::new(name))),
            None => (value.text.as_str(), None),
        };
        if kind.is_empty() {
            return Err(self.wrong(value.place(0), "an owner's kind, as KIND or KIND/NAME"));
        }
        Ok(OwnerPattern { kind: Glob::new(kind), name })
    }

    fn skip_blanks(&mut self) {
        self.skip(char::is_whitespace);
    }

    fn skip(&mut self, is_passed: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&is_passed) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    fn eat(&mut self, c: char) -> bool {
        let is_next = self.peek() == Some(c);
        self.at += usize::from(is_next);
        is_next
    }

    fn unexpected(&self, expected: &str) -> FilterError {
        self.wrong(self.at, expected)
    }

    fn wrong(&self, place: usize, expected: &str) -> FilterError {
        self.error(place, self.found(place), expected.to_owned())
    }

    fn found(&self, place: usize) -> String {
        self.chars.get(place).map_or_else(|| "the end".to_owned(), |c| format!("{c:?}"))
    }

    fn error(&self, place: usize, found: String, expected: String) -> FilterError {
        FilterError { text: self.text.to_owned(), at: place + 1, found, expected }
    }
}

/// What terms are called.
const KEYS: [&str; 12] = [
    "annotation",
    "group",
    "kind",
    "label",
    "manager",
    "name",
    "namespace",
    "operation",
    "owner",
    "resource",
    "user",
    "version",
];

/// The text isn't a filter.
///
/// ```
/// let error = "name=web kind".parse::<reverser_core::Filter>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"filter "name=web kind", character 14: found the end, expected = or != after the term's name"#
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter {text:?}, character {at}: found {found}, expected {expected}")]
pub struct FilterError {
    text: String,
    at: usize,
    found: String,
    expected: String,
}

impl FilterError {
    /// Returns the character where it goes wrong, counted from 1; one behind the last where something is missing.
    ///
    /// ```
    /// let error = "name=web naem=db".parse::<reverser_core::Filter>().unwrap_err();
    /// assert_eq!(error.at(), 10);
    /// ```
    pub fn at(&self) -> usize {
        self.at
    }

    /// Returns the text, below it a caret under the character where it goes wrong, and what is expected there.
    ///
    /// ```
    /// let error = "operation=read".parse::<reverser_core::Filter>().unwrap_err();
    /// assert_eq!(
    ///     error.pointed(),
    ///     "operation=read\n          ^ found \"read\", expected create, delete or update"
    /// );
    /// ```
    pub fn pointed(&self) -> String {
        // One line, so that the caret stands where it should.
        let text: String = self.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{text}\n{}^ found {}, expected {}", " ".repeat(self.at - 1), self.found, self.expected)
    }
}
