//! Reading YAML that others wrote, with bounds on what it may cost.

use serde_json::{Number, Value};

use super::documents::{Document, Documents};

/// Returns the documents of `text`, YAML or JSON; empty documents are left out.
///
/// Anchors and merge keys are resolved, and a plain scalar is what kubectl takes it for: YAML 1.1's booleans (`yes`,
/// `off`, `y`) and numbers (`0644`, `1_000`), but `yEs` and `1e400` are text. Keys are text: `yes: 1` is `"true": 1`.
/// What begins with a bracket is read as JSON, and as YAML's flow style when it is none.
///
/// kubectl differs, and is more lenient, in these:
/// - a key that stands twice is an error; kubectl takes the last;
/// - a key beside `<<` wins wherever it stands, as YAML has it; kubectl lets `<<` overwrite what stands before it;
/// - integers above `i64::MAX` stay what they are; kubectl rounds them to floats, and prints `-0.0` as `0`;
/// - `!!binary`, and keys that are large or tiny floats, are errors, as are `.nan` and `.inf` to both.
///
/// Bounded, so that a hostile file costs an error. Each document: 64 MiB of text, 127 levels, 1 GiB of memory for its
/// values, 16 MiB of memory for its anchors and aliases.
///
/// ```
/// use reverser_core::yaml;
///
/// let documents = yaml::parse("base: &base {k: 1}\nuse: {<<: *base, l: on}\n---\n{\"k\": \"\\ud83d\\ude00\"}\n").unwrap();
/// assert_eq!(documents[0]["use"], serde_json::json!({"k": 1, "l": true}));
/// assert_eq!(documents[1]["k"], "😀");
/// ```
///
/// # Errors
/// The first document's that can't be read; [`Documents`] goes on behind it.
pub fn parse(text: &str) -> Result<Vec<Value>, ParseError> {
    documents(text).map(|document| document.read()).filter(|read| !matches!(read, Ok(Value::Null))).collect()
}

/// Returns the objects of `text` in order: those of [`parse`], and the items of a list instead of the list.
///
/// A list is what kubectl prints: its kind ends in `List`, it has `items`, and no name. Items of a `DeploymentList` that
/// have neither apiVersion nor kind get the list's apiVersion and `Deployment`.
///
/// ```
/// use reverser_core::yaml;
///
/// let text = "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: a}\n- {kind: List, items: []}\n";
/// let objects = yaml::objects(text).unwrap();
/// assert_eq!(yaml::to_string(&objects[0]), "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n");
/// assert_eq!(objects.len(), 1);
/// ```
///
/// What is no object, as a document or in a list, comes as it is.
///
/// # Errors
/// As [`parse`].
pub fn objects(text: &str) -> Result<Vec<Value>, ParseError> {
    let mut objects = Vec::new();
    for document in documents(text) {
        objects.append(&mut document.objects()?);
    }
    Ok(objects)
}

fn documents(text: &str) -> impl Iterator<Item = Document> {
    let mut documents = Documents::new();
    documents.push(text.as_bytes());
    documents.finish();
    std::iter::from_fn(move || documents.next_document())
}

/// Adds the object, or what is in the list and the lists in it.
pub(super) fn expand(value: Value, objects: &mut Vec<Value>) {
    let Value::Object(mut list) = value else { return objects.push(value) };
    let kind = list.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
    let is_named = list.get("metadata").is_some_and(|metadata| metadata.get("name").is_some());
    let (Some(kind), false, Some(Value::Array(items))) = (kind, is_named, list.get_mut("items")) else {
        return objects.push(list.into());
    };
    for mut item in std::mem::take(items) {
        if let Value::Object(object) = &mut item
            && !kind.is_empty()
            && !object.contains_key("apiVersion")
            && !object.contains_key("kind")
        {
            object.extend(list.get("apiVersion").map(|version| ("apiVersion".to_owned(), version.clone())));
            object.insert("kind".into(), kind.as_str().into());
        }
        expand(item, objects);
    }
}

/// Returns whether both texts are YAML with the same values: formatting, comments, order of keys and the spelling of
/// numbers aside. `false` when either can't be read.
///
/// ```
/// use reverser_core::yaml::same_meaning;
///
/// assert!(same_meaning(b"a: 1\nb: [x]\n", b"# by hand\nb:\n  - 'x'\na: 0x1\n"));
/// assert!(!same_meaning(b"a: 1\n", b"a: '1'\n"));
/// ```
pub fn same_meaning(a: &[u8], b: &[u8]) -> bool {
    if differs_at_first_sight(a, b) {
        return false;
    }
    let read = |bytes| std::str::from_utf8(bytes).ok().and_then(|text| parse(text).ok());
    match (read(a), read(b)) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| is_same(a, b)),
        _ => false,
    }
}

/// Whether the first line that differs is the same key with another plain word or number, which is most of what changes:
/// up to there both have been read alike, and whatever the line stands in, even a block of text or a quoted one, differs with
/// it. Saves reading both. Where it says no, they may differ all the same.
fn differs_at_first_sight(a: &[u8], b: &[u8]) -> bool {
    let mut lines = a.split(|byte| *byte == b'\n').zip(b.split(|byte| *byte == b'\n'));
    let Some((a, b)) = lines.find(|(a, b)| a != b) else { return false };
    let colon = |line: &[u8]| line.windows(2).position(|pair| pair == b": ");
    let (Some(end), Some(other)) = (colon(a), colon(b)) else { return false };
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || b" -./_".contains(byte);
    end == other
        && a[..end] == b[..end]
        && a[..end].iter().all(is_key)
        && is_plain_value(&a[end + 2..])
        && is_plain_value(&b[end + 2..])
}

/// Whether no other spelling means the same: a decimal number, or a word that is longer than `false` and begins like none.
fn is_plain_value(value: &[u8]) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-./_:".contains(byte);
    match value {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        [first, .., last] => {
            first.is_ascii_alphabetic() && *last != b':' && value.len() > "false".len() && value.iter().all(is_word)
        }
        _ => false,
    }
}

fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (Value::Number(a), Value::Number(b)) => is_same_number(a, b),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Compares exactly: through `f64` alone, 2⁵³ and 2⁵³ + 1 would be one number.
fn is_same_number(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.as_f64() == b.as_f64(),
        (Some(integer), None) => is_same_as_float(integer, b),
        (None, Some(integer)) => is_same_as_float(integer, a),
    }
}

fn is_same_as_float(integer: i128, float: &Number) -> bool {
    // `{:.0}` prints every digit of a float without a fraction.
    float.as_f64().is_some_and(|float| float.fract() == 0.0 && format!("{float:.0}").parse() == Ok(integer))
}

/// The text isn't YAML or JSON that an API object could be made from. It names keys, but no values: they may be secret.
///
/// ```
/// let error = reverser_core::yaml::parse("a: 1\nb: {c: 1, c: 2}\n").unwrap_err();
/// assert_eq!(error.position(), (2, 11));
/// assert_eq!(error.to_string(), "line 2, column 11: key \"c\" stands twice");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    position: (u64, u64),
    reason: String,
}

impl ParseError {
    /// The reason may quote the text, which may hold anything, and ends up on terminals.
    pub(super) fn new(position: (u64, u64), reason: String) -> Self {
        Self { position, reason: reason.replace(char::is_control, " ") }
    }

    /// Returns the reason why a map is refused.
    pub(super) fn duplicate(key: &str) -> String {
        format!("key {key:?} stands twice")
    }

    /// Moves it behind that many lines, and characters on the last of them.
    pub(super) fn behind(self, lines: u64, columns: u64) -> Self {
        let (line, column) = self.position;
        let column = if line == 1 { column + columns } else { column };
        Self { position: (line + lines, column), ..self }
    }

    /// Returns line and column, both counted from one.
    pub fn position(&self) -> (u64, u64) {
        self.position
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (line, column) = self.position;
        write!(f, "line {line}, column {column}: {}", self.reason)
    }
}

impl std::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::yaml::compose::MAX_DEPTH;

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_differs_at_first_sight_differs() {
        for (a, b) in [
            ("a: 1\nb: 3\n", "a: 1\nb: 4\n"),
            ("image: web:1.25.3\n", "image: web:1.25.4\n"),
            ("text: |\n  key: foobar\n", "text: |\n  key: foobaz\n"),
            ("text: 'x\n  key: foobar\n  '\n", "text: 'x\n  key: foobars\n  '\n"),
            ("key: foobar\n  and more\n", "key: foobarand\n  more\n"),
        ] {
            assert!(differs_at_first_sight(a.as_bytes(), b.as_bytes()), "{a:?} {b:?}");
            assert!(parse(a).unwrap_or_default() != parse(b).unwrap_or_default(), "{a:?} {b:?}");
        }
        for (a, b) in [
            ("a: 16\n", "a: 0x10\n"),
            ("a: 1\n", "a: 01\n"),
            ("a: true\n", "a: yes\n"),
            ("a: False\n", "a: false\n"),
            ("a: foobar\n", "a: 'foobar'\n"),
            ("# note: foobar\n", "# note: foobaz\n"),
            ("a: 1 # foobar\n", "a: 1 # foobaz\n"),
            ("a: foobar baz\n", "a: foobar\n  baz\n"),
            ("a: foobar\nb: 1\n", "b: 1\na: foobar\n"),
            ("a: 1\n", "a: 1\n"),
        ] {
            assert!(!differs_at_first_sight(a.as_bytes(), b.as_bytes()), "{a:?} {b:?}");
        }
    }

    #[test]
    fn documents_come_in_order_and_empty_ones_not_at_all() {
        assert_eq!(parse("---\na: 1\n---\n# nothing\n---\n- b\n"), Ok(vec![json!({"a": 1}), json!(["b"])]));
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let text = "base: &base {k: 1, l: 2}\nuse:\n  <<: *base\n  k: 3\n";
        assert_eq!(parse(text), Ok(vec![json!({"base": {"k": 1, "l": 2}, "use": {"k": 3, "l": 2}})]));
    }

    #[test]
    fn an_error_says_where_and_what() {
        assert_eq!(refused("a: 1\nb:\n  c: 1\n  c: 2\n"), "line 4, column 3: key \"c\" stands twice");
        assert_eq!(refused("a: 1\n---\nb: [1\n"), "line 3, column 4: unclosed bracket '['");
        assert_eq!(refused("a: .nan"), "line 1, column 4: .nan is not a finite number");
        assert_eq!(parse("a: *b").unwrap_err().position(), (1, 4));
        assert!(refused("a: \u{1b}[31m").chars().all(|c| !c.is_control()));
    }

    #[test]
    fn hostile_text_costs_an_error() {
        let laughs: String =
            (1..1000).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(9))).collect();
        for text in
            [format!("a0: &a0 [lol]\n{laughs}"), "- ".repeat(100_000), "[".repeat(100_000), "{a: ".repeat(100_000)]
        {
            assert!(parse(&text).is_err());
        }
    }

    #[test]
    fn the_deepest_text_that_is_taken_fits_into_a_threads_stack() {
        let nested = |levels| {
            (1..levels).fold(json!({}), |value, n| if n % 2 == 0 { json!([value]) } else { json!({"a": value}) })
        };
        let deep = nested(MAX_DEPTH);
        assert_eq!(parse(&crate::yaml::to_string(&deep)), Ok(vec![deep]));
        assert!(parse(&crate::yaml::to_string(&nested(MAX_DEPTH + 1))).is_err());
    }

    #[test]
    fn texts_mean_the_same_when_only_their_form_differs() {
        let same = |a: &str, b: &str| same_meaning(a.as_bytes(), b.as_bytes());
        assert!(same("a: 1\nb: [x, 'y']\n", "# note\nb:\n  - x\n  - \"y\"\na: 1.0\n"));
        assert!(same("a: 1\n", "---\na: 0x1\n---\n"));
        assert!(!same("a: 1\n", "a: '1'\n"));
        assert!(!same("a: 1\n", "a: 1\nb: null\n"));
        assert!(!same("a: 1\n", "a: 1\n---\na: 1\n"));
        assert!(!same("[1, 2]", "[2, 1]"));
        assert!(!same("a: [", "a: ["));
        assert!(!same_meaning(b"\xff", b"\xff"));
    }

    #[test]
    fn numbers_are_compared_exactly() {
        let same = |a: &str, b: &str| same_meaning(a.as_bytes(), b.as_bytes());
        assert!(same("9007199254740992", "9007199254740992.0"));
        assert!(!same("9007199254740993", "9007199254740992.0"));
        assert!(!same("9007199254740993", "9007199254740992"));
        assert!(same("-0.0", "0") && same("1e21", "1.0e+21") && !same("1.5", "1"));
    }
}
