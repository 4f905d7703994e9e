//! Reading YAML that others wrote, with bounds on what it may cost.

use serde_json::{Number, Value};
use serde_saphyr::{MessageFormatter, UserMessageFormatter};

/// Returns the documents of `text`; empty documents are left out.
///
/// Anchors and merge keys are resolved, YAML 1.1 booleans (`yes`, `off`, `y`) are booleans as they are to kubectl, and
/// a key that stands twice is an error, as are `.nan` and `.inf`, which no API object can hold.
///
/// Bounded, so that a hostile file costs an error: 64 MiB, four million values, 72 levels, and anchors that copy at
/// most 200,000 values.
pub fn parse(text: &str) -> Result<Vec<Value>, ParseError> {
    if text.len() > MAX_BYTES {
        return Err(ParseError { position: None, reason: format!("longer than {MAX_BYTES} bytes") });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_recorded_anchor_events: MAX_ANCHORED,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ANCHORED },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
        // `defaultMode: 0644` is 420 to kubectl.
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| ParseError::new(&error))
}

/// Returns whether both texts are YAML with the same values: formatting, comments, order of keys and the spelling of
/// numbers aside. `false` when either can't be read.
pub fn same_meaning(a: &[u8], b: &[u8]) -> bool {
    let read = |bytes| std::str::from_utf8(bytes).ok().and_then(|text| parse(text).ok());
    match (read(a), read(b)) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| is_same(a, b)),
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

/// In bytes. etcd takes objects of 1.5 MiB; this leaves room for files with many of them.
const MAX_BYTES: usize = 64 << 20;

/// Values and keys of all documents of one text.
const MAX_NODES: usize = 4_000_000;

/// Values kept for anchors, and copied for aliases: no manifest needs a thousandth, and ten megabytes of nested anchors
/// are refused in a tenth of a second.
const MAX_ANCHORED: usize = 200_000;

/// Nested maps and lists: well above the deepest schemas of CRDs, which have some 45. A level costs 3 KB of stack, and
/// 23 KB in an unoptimized build, where it must fit into a thread's 2 MiB.
const MAX_DEPTH: usize = 72;

/// The text isn't YAML that an API object could be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    position: Option<(u64, u64)>,
    reason: String,
}

impl ParseError {
    fn new(error: &serde_saphyr::Error) -> Self {
        let position = error.location().map(|at| (at.line(), at.column()));
        // The position comes first here; the reader appends it. What it says for duplicate keys names its own options.
        let reason = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => format!("key {key:?} stands twice"),
            // It quotes the text, which may hold anything, and ends up on terminals.
            other => UserMessageFormatter.format_message(other).replace(char::is_control, " "),
        };
        Self { position, reason }
    }

    /// Returns line and column, both counted from one, where the reader can tell.
    pub fn position(&self) -> Option<(u64, u64)> {
        self.position
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
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

    /// Compared with kubectl 1.32.
    #[test]
    fn plain_scalars_are_what_kubectl_takes_them_for() {
        let text =
            "[y, No, on, 0644, 0x1F, 0b11, 1_000, 12:30, 2026-01-01, 1e3, ~, 1.5, 1.0e+21, '0644', 08, Infinity]";
        let read = json!([
            true,
            false,
            true,
            420,
            31,
            3,
            1000,
            "12:30",
            "2026-01-01",
            1000.0,
            null,
            1.5,
            1e21,
            "0644",
            8.0,
            "Infinity"
        ]);
        assert_eq!(parse(text), Ok(vec![read]));
    }

    #[test]
    fn an_error_says_where_and_what() {
        assert_eq!(refused("a: 1\nb:\n  c: 1\n  c: 2\n"), "line 4, column 3: key \"c\" stands twice");
        assert_eq!(refused("a: 1\n---\nb: [1\n"), "line 3, column 4: unclosed bracket '['");
        assert_eq!(refused("a: .nan"), "line 1, column 4: value `.nan` is not a finite number");
        assert_eq!(parse("a: *b").unwrap_err().position(), Some((1, 4)));
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
