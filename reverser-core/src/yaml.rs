//! YAML for Git: an emitter whose text every reader understands alike, and a reader for what stands in a repository.
//!
//! The emitter is our own because a manifest in Git is read by kubectl (YAML 1.1), by GitOps tools (1.1 and 1.2) and by
//! people, and the general emitters leave words such as `no` or `0X1F` unquoted that some of them take for a boolean or
//! a number. Same object, same bytes, for ever: changing a rule here rewrites every file of every user.
//!
//! ```
//! let object = serde_json::json!({
//!     "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "web"},
//!     "data": {"country": "no", "script": "#!/bin/sh\nexit 0\n"},
//! });
//! assert_eq!(reverser_core::yaml::to_string(&object), "\
//! apiVersion: v1
//! kind: ConfigMap
//! metadata:
//!   name: web
//! data:
//!   country: \"no\"
//!   script: |
//!     #!/bin/sh
//!     exit 0
//! ");
//! ```

use std::fmt::Write;

use serde_json::{Map, Number, Value};

mod compose;
mod documents;
mod json;
mod plain;
mod quote;
mod read;

pub use documents::{Document, Documents};
pub use read::{ParseError, objects, parse, same_meaning};

/// Returns the object as one YAML document in block style, without a `---` line, ending in a newline.
///
/// Keys stand in byte order at every depth, but for the first ones of an object (`apiVersion`, `kind`, `metadata`) and
/// of its `metadata` (`name`, `namespace`, `labels`, `annotations`). Two spaces of indentation, lists at the column of
/// their key as kubectl prints them, nothing folded.
///
/// Integers above `i64::MAX` are written exactly, but kubectl reads them as floats whatever one writes.
///
/// ```
/// let values = serde_json::json!({"b": [1e21, -0.0, "1e21"], "a": {"on": "a\nb\n"}});
/// assert_eq!(reverser_core::yaml::to_string(&values), "\
/// a:
///   \"on\": |
///     a
///     b
/// b:
/// - 1.0e+21
/// - -0.0
/// - \"1e21\"
/// ");
/// ```
pub fn to_string(object: &Value) -> String {
    let mut out = String::with_capacity(1024);
    match object {
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        Value::Object(map) if !map.is_empty() => {
            mapping(&mut out, ordered(map, &["apiVersion", "kind", "metadata"]), 0, Depth::Object);
        }
        // Never as a block scalar: at column 0 one of its lines could be a document marker.
        Value::String(text) => {
            quote::scalar(&mut out, text);
            out.push('\n');
        }
        scalar => {
            flow(&mut out, scalar);
            out.push('\n');
        }
    }
    out
}

/// Where a mapping stands: decides what its keys are ordered by.
#[derive(Clone, Copy, PartialEq)]
enum Depth {
    /// The document itself.
    Object,
    /// Anywhere below.
    Inner,
}

type Entries<'a> = Vec<(&'a String, &'a Value)>;

/// Sorts explicitly: serde_json keeps insertion order when any crate of the build asks for `preserve_order`.
fn ordered<'a>(map: &'a Map<String, Value>, first: &[&str]) -> Entries<'a> {
    let mut entries: Entries<'a> = map.iter().collect();
    entries.sort_by_key(|(key, _)| {
        let rank = first.iter().position(|first| first == key).unwrap_or(first.len());
        (rank, key.as_str())
    });
    entries
}

/// Writes the entries; the cursor already stands at column `indent`.
fn mapping(out: &mut String, entries: Entries<'_>, indent: usize, depth: Depth) {
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            spaces(out, indent);
        }
        let is_explicit = key.len() > LONGEST_IMPLICIT_KEY;
        if is_explicit {
            out.push_str("? ");
        }
        quote::scalar(out, key);
        if is_explicit {
            out.push('\n');
            spaces(out, indent);
        }
        out.push(':');
        match value {
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                // At the column of its key, as kubectl does; not every reader takes that behind an explicit key.
                let column = if is_explicit { indent + 2 } else { indent };
                spaces(out, column);
                sequence(out, items, column);
            }
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                spaces(out, indent + 2);
                let first: &[&str] = match depth {
                    Depth::Object if key == "metadata" => &["name", "namespace", "labels", "annotations"],
                    _ => &[],
                };
                mapping(out, ordered(map, first), indent + 2, Depth::Inner);
            }
            leaf => {
                out.push(' ');
                inline(out, leaf, indent + 2);
            }
        }
    }
}

/// Writes the items; the cursor already stands at column `indent`.
fn sequence(out: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            spaces(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Array(items) if !items.is_empty() => sequence(out, items, indent + 2),
            Value::Object(map) if !map.is_empty() => mapping(out, ordered(map, &[]), indent + 2, Depth::Inner),
            leaf => inline(out, leaf, indent + 2),
        }
    }
}

/// Writes what begins on the current line, and ends the line; `indent` is for a block scalar's lines.
fn inline(out: &mut String, leaf: &Value, indent: usize) {
    match leaf {
        Value::String(text) => match quote::block(text) {
            Some(block) => literal(out, text, block, indent),
            None => {
                quote::scalar(out, text);
                out.push('\n');
            }
        },
        other => {
            flow(out, other);
            out.push('\n');
        }
    }
}

/// Writes a block scalar. An empty line gets no indentation: it would be trailing blanks.
fn literal(out: &mut String, text: &str, block: quote::Chomping, indent: usize) {
    out.push_str(block.header());
    out.push('\n');
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            spaces(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// Writes what has no parts and isn't text.
fn flow(out: &mut String, leaf: &Value) {
    match leaf {
        Value::Array(_) => out.push_str("[]"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Null => out.push_str("null"),
        Value::Number(value) => number(out, value),
        Value::Object(_) => out.push_str("{}"),
        Value::String(text) => quote::scalar(out, text),
    }
}

/// Writes a float with a point and a signed exponent: YAML 1.1 takes `1e21` for text and `1.0e21` too.
fn number(out: &mut String, value: &Number) {
    if value.is_i64() || value.is_u64() {
        let _ = write!(out, "{value}"); // a String takes whatever is written
        return;
    }
    let text = value.to_string();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text.as_str(), None),
    };
    out.push_str(mantissa);
    if !mantissa.contains('.') {
        out.push_str(".0");
    }
    if let Some(exponent) = exponent {
        out.push('e');
        if !exponent.starts_with(['+', '-']) {
            out.push('+');
        }
        out.push_str(exponent);
    }
}

fn spaces(out: &mut String, count: usize) {
    const BLANKS: &str = "                                                                ";
    let mut left = count;
    while left > 0 {
        let step = left.min(BLANKS.len());
        out.push_str(&BLANKS[..step]);
        left -= step;
    }
}

/// In bytes. libyaml and its descendants give up on an implicit key after 1,024 characters and write keys over 128
/// explicitly; a key of 120 bytes stays below that with its quotes.
const LONGEST_IMPLICIT_KEY: usize = 120;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_adversarial_string_is_read_back_wherever_it_stands() {
        let cases: Vec<Value> =
            parse(include_str!("../../tests/fixtures/yaml-cases.json")).unwrap().remove(0).as_array().unwrap().clone();
        assert_eq!(cases.len(), 679);
        for case in cases {
            let text = &case["s"];
            let mut keyed = Map::new();
            keyed.insert(text.as_str().unwrap().to_owned(), json!([text, {"in": text}]));
            let object = json!({"value": text, "items": [text, [text], keyed], "keyed": keyed, "last": text});
            assert_eq!(parse(&to_string(&object)), Ok(vec![object]), "case {}", case["id"]);
        }
    }

    #[test]
    fn an_object_begins_with_what_names_it_and_goes_on_in_byte_order() {
        let object = json!({
            "spec": {"metadata": {"name": "b", "annotations": {}}, "kind": "K", "b": 1, "B": 2, "a": 3},
            "data": {}, "kind": "Foo",
            "metadata": {
                "uid": "u", "annotations": {"b": "1", "a": "2"}, "namespace": "n", "labels": {}, "finalizers": ["x"], "name": "a",
            },
            "apiVersion": "example.com/v1",
        });
        insta::assert_snapshot!(to_string(&object), @r#"
        apiVersion: example.com/v1
        kind: Foo
        metadata:
          name: a
          namespace: "n"
          labels: {}
          annotations:
            a: "2"
            b: "1"
          finalizers:
          - x
          uid: u
        data: {}
        spec:
          B: 2
          a: 3
          b: 1
          kind: K
          metadata:
            annotations: {}
            name: b
        "#);
    }

    #[test]
    fn lists_stand_at_the_column_of_their_key() {
        let object = json!({"containers": [{"name": "web", "args": ["-c", "--port=80"], "env": []}, [["a"], []], {}]});
        insta::assert_snapshot!(to_string(&object), @"
        containers:
        - args:
          - -c
          - --port=80
          env: []
          name: web
        - - - a
          - []
        - {}
        ");
    }

    #[test]
    fn text_of_many_lines_is_a_block_unless_a_reader_would_change_it() {
        let object = json!({
            "clip": "a\n\n  b\n\tc\n", "keep": "a\n\n\n", "strip": "a\nb",
            "blank first": " a\nb", "blank last": "a \nb", "carriage return": "a\r\nb", "newline first": "\na", "tab first": "\ta\nb",
            "bell": "a\u{7}\nb",
        });
        insta::assert_snapshot!(to_string(&object), @r#"
        bell: "a\u0007\nb"
        blank first: " a\nb"
        blank last: "a \nb"
        carriage return: "a\r\nb"
        clip: |
          a

            b
          	c
        keep: |+
          a


        newline first: "\na"
        strip: |-
          a
          b
        tab first: "\ta\nb"
        "#);
    }

    #[test]
    fn a_long_key_is_explicit_and_its_value_may_be_anything() {
        let key = "k".repeat(121);
        for value in [json!("v"), json!({"a": 1}), json!([{"a": [1]}]), json!("a\nb\n"), json!({}), json!(null)] {
            let object = Value::Object([(key.clone(), value)].into_iter().collect());
            let text = to_string(&object);
            assert!(text.starts_with(&format!("? {key}\n:")), "{text}");
            assert_eq!(parse(&text), Ok(vec![object]));
        }
    }

    #[test]
    fn numbers_stay_what_they_are_in_every_reader() {
        let object = json!([0, -1, i64::MAX, i64::MIN, u64::MAX, 1.0, -0.0, 1.5, 1e21, 1.5e-7, f64::MAX]);
        insta::assert_snapshot!(to_string(&object), @"
        - 0
        - -1
        - 9223372036854775807
        - -9223372036854775808
        - 18446744073709551615
        - 1.0
        - -0.0
        - 1.5
        - 1.0e+21
        - 1.5e-7
        - 1.7976931348623157e+308
        ");
    }

    #[test]
    fn a_value_that_is_no_object_is_a_document_too() {
        for value in [json!("--- a\nb\n"), json!([]), json!({}), json!(1), json!(true)] {
            assert_eq!(parse(&to_string(&value)), Ok(vec![value]));
        }
        assert_eq!(to_string(&Value::Null), "null\n");
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_read_back(object in object()) {
            let text = to_string(&object);
            prop_assert_eq!(parse(&text), Ok(vec![object]), "{}", text);
        }

        #[test]
        fn emitting_what_was_read_gives_the_same_bytes(object in object()) {
            let text = to_string(&object);
            prop_assert_eq!(to_string(&parse(&text).unwrap()[0]), text);
        }

        /// Whoever wrote it, and however.
        #[test]
        fn what_was_read_is_emitted_so_that_it_is_read_back(text in "([ab0-]|: |\n|  |- |\\? |['\"|>{}\\[\\],]|&a |\\*a|<<|!!str |# |---\n|~|yes|0x1F|1e3|\t|\r){0,24}") {
            for value in parse(&text).into_iter().flatten() {
                let text = to_string(&value);
                prop_assert_eq!(parse(&text), Ok(vec![value]), "{}", text);
            }
        }

        /// JSON is read by another reader of ours, which has to agree.
        #[test]
        fn what_is_printed_as_json_is_read_back(object in object(), is_indented in any::<bool>()) {
            let text = if is_indented { format!("{object:#}") } else { object.to_string() };
            prop_assert_eq!(parse(&text), Ok(vec![object]), "{}", text);
        }

        #[test]
        fn a_text_is_read_back_as_key_and_value_however_deep_it_stands(text in text(), levels in 0_usize..120) {
            let innermost = json!({&text: text});
            let object = (0..levels).fold(innermost, |value, level| match level % 3 {
                0 => json!([value]),
                1 => json!({&text: value}),
                _ => json!([text, value, {}]),
            });
            prop_assert_eq!(parse(&to_string(&object)), Ok(vec![object]));
        }

        #[test]
        fn no_line_ends_in_a_blank_and_the_last_one_ends(object in object()) {
            let text = to_string(&object);
            prop_assert!(text.ends_with('\n'));
            prop_assert!(text.lines().all(|line| !line.ends_with([' ', '\t'])), "{}", text);
        }
    }

    /// Objects of any shape, with the strings that readers differ in.
    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |float| float.is_finite()).prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(24, 128, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((text(), inner), 0..6).prop_map(|entries| entries.into_iter().collect()),
            ]
        });
        prop::collection::vec((text(), value), 0..4).prop_map(|entries| entries.into_iter().collect())
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ -~\n\t]{0,12}",
            "[-+.0-9eExXoObB_:TZ, ]{1,10}",
            "(line|\n|  in|\t| |k: v|# c|- i|---|\\.\\.\\.|\r){0,8}",
            "(?i)(y|n|yes|no|on|off|true|false|null|~|\\.inf|\\.nan|=|<<|)",
            "[a-z]{119,140}",
        ]
    }
}
