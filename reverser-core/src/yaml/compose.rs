//! From the parser's events to a value: anchors, merge keys, duplicate keys, and what all of that may cost.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::{plain, read::ParseError};

/// Returns the value of a YAML text that has one document.
pub(super) fn compose(text: &str) -> Result<Value, ParseError> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut composer = Composer::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| failed(*error.marker(), error.info()))?;
        composer.take(event).map_err(|reason| failed(span.start, reason))?;
    }
    Ok(composer.root.unwrap_or_default())
}

fn failed(at: Marker, reason: String) -> ParseError {
    ParseError::new((at.line() as u64, at.col() as u64 + 1), reason)
}

/// Builds from the inside out, on a stack of its own: depth costs no stack of the thread.
#[derive(Default)]
struct Composer {
    root: Option<Value>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    /// What has been kept for anchors and copied for aliases, in bytes.
    copied: usize,
    is_second: bool,
}

/// A value, and how many bytes of memory it takes, more or less.
#[derive(Clone)]
struct Node {
    value: Value,
    bytes: usize,
}

/// A list or map whose end is to come.
struct Open {
    anchor: usize,
    bytes: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Value>),
    Map {
        entries: Map<String, Value>,
        /// What stands before the next value.
        key: Option<Key>,
        merged: Vec<Map<String, Value>>,
    },
}

enum Key {
    /// `<<`
    Merge,
    Text(String),
}

impl Composer {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Alias(id) => {
                let node = self.anchors.get(&id).ok_or("an anchor's value contains itself")?;
                self.copied += node.bytes;
                bounded_copies(self.copied)?;
                let node = node.clone();
                self.attach(node)
            }
            Event::DocumentStart(..) if std::mem::replace(&mut self.is_second, true) => {
                Err("a document has to begin with `---`".into())
            }
            Event::MappingEnd | Event::SequenceEnd => match self.open.pop() {
                Some(open) => self.close(open),
                None => Ok(()), // the parser pairs them
            },
            Event::MappingStart(_, anchor, _) => {
                let parts = Parts::Map { entries: Map::new(), key: None, merged: Vec::new() };
                self.open(anchor, MAP_BYTES, parts)
            }
            Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" && self.is_key_next() => {
                if let Some(Open { parts: Parts::Map { key, .. }, .. }) = self.open.last_mut() {
                    *key = Some(Key::Merge);
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let bytes = NODE_BYTES + text.len();
                let value = plain::scalar(text.into_owned(), style == ScalarStyle::Plain, tag.as_deref())?;
                self.complete(Node { value, bytes }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.open(anchor, NODE_BYTES, Parts::List(Vec::new())),
            _ => Ok(()),
        }
    }

    fn is_key_next(&self) -> bool {
        matches!(self.open.last(), Some(Open { parts: Parts::Map { key: None, .. }, .. }))
    }

    fn open(&mut self, anchor: usize, bytes: usize, parts: Parts) -> Result<(), String> {
        if self.is_key_next() {
            return Err("a key has to be text".into());
        }
        if self.open.len() == MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels"));
        }
        self.open.push(Open { anchor, bytes, parts });
        Ok(())
    }

    fn close(&mut self, open: Open) -> Result<(), String> {
        let value = match open.parts {
            Parts::List(items) => Value::Array(items),
            Parts::Map { mut entries, merged, .. } => {
                // What stands there itself comes first, then what was merged first: https://yaml.org/type/merge.html
                for (key, value) in merged.into_iter().flatten() {
                    entries.entry(key).or_insert(value);
                }
                Value::Object(entries)
            }
        };
        self.complete(Node { value, bytes: open.bytes }, open.anchor)
    }

    /// Keeps the node for its aliases, if it has an anchor, and puts it where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        if anchor > 0 {
            self.copied += ANCHOR_BYTES + node.bytes;
            bounded_copies(self.copied)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.attach(node)
    }

    fn attach(&mut self, node: Node) -> Result<(), String> {
        let Node { value, bytes } = node;
        let Some(open) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        open.bytes += bytes;
        bounded(open.bytes)?;
        match &mut open.parts {
            Parts::List(items) => items.push(value),
            Parts::Map { entries, key, merged } => match key.take() {
                None => {
                    let text = plain::key(value)?;
                    if entries.contains_key(&text) {
                        return Err(ParseError::duplicate(&text));
                    }
                    *key = Some(Key::Text(text));
                }
                Some(Key::Merge) => merge(merged, value)?,
                Some(Key::Text(text)) => _ = entries.insert(text, value),
            },
        }
        Ok(())
    }
}

fn merge(merged: &mut Vec<Map<String, Value>>, value: Value) -> Result<(), String> {
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    for value in values {
        let Value::Object(map) = value else { return Err("`<<` takes a map, or a list of maps".into()) };
        merged.push(map);
    }
    Ok(())
}

/// Refuses a value that takes too much memory; in the parts of a list or map that is still open, each is checked alone,
/// and all of them when it ends.
pub(super) fn bounded(bytes: usize) -> Result<(), String> {
    if bytes > MAX_BYTES {
        return Err(format!("its values take more than {MAX_BYTES} bytes of memory"));
    }
    Ok(())
}

fn bounded_copies(copied: usize) -> Result<(), String> {
    if copied > MAX_COPIED {
        return Err(format!("its anchors and aliases take more than {MAX_COPIED} bytes of memory"));
    }
    Ok(())
}

/// Nested maps and lists: as many as serde_json takes, and three times the deepest schemas of CRDs.
pub(super) const MAX_DEPTH: usize = 127;

/// Of memory, for one document. An indented manifest takes some eight times its text, so that none of 64 MiB is refused
/// unless it was made for that.
const MAX_BYTES: usize = 1 << 30;

/// Of memory, for anchors and aliases of one document: no manifest needs a hundredth, and ten megabytes of nested ones
/// are refused within a tenth of a second.
const MAX_COPIED: usize = 16 << 20;

/// What the parser and we keep to find an anchor again.
const ANCHOR_BYTES: usize = 256;

/// A value in its list or map, and the text's own allocation.
pub(super) const NODE_BYTES: usize = 64;

/// The smallest B-tree node, which has room for eleven entries.
pub(super) const MAP_BYTES: usize = 640;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(text: &str) -> String {
        compose(text).unwrap_err().to_string()
    }

    #[test]
    fn what_stands_in_a_map_wins_over_what_is_merged_and_the_first_merged_over_the_next() {
        let text =
            "a: &a {k: 1, l: 1}\nb: &b {k: 2, m: 2}\nc: {l: 3, <<: [*a, *b]}\nd: {<<: *b, <<: *a}\ne: {'<<': 1}\n";
        let read = compose(text).unwrap();
        assert_eq!(read["c"], json!({"k": 1, "l": 3, "m": 2}));
        assert_eq!(read["d"], json!({"k": 2, "l": 1, "m": 2}));
        assert_eq!(read["e"], json!({"<<": 1}));
    }

    #[test]
    fn an_anchor_may_stand_on_anything_and_is_replaced_by_the_next_of_its_name() {
        let text = "- &a 1\n- *a\n- &a [2]\n- *a\n- &k key: &e\n  other: *e\n- *k : 1\n";
        assert_eq!(compose(text), Ok(json!([1, 1, [2], [2], {"key": null, "other": null}, {"key": 1}])));
    }

    #[test]
    fn tags_are_followed_as_kubectl_does() {
        let text = "[!!str 1, !!int '0x1F', !!float 1, !!bool 'yes', !x 1, ! 1, !!str, !x {a: 1}, !!set {a, b}]";
        assert_eq!(compose(text), Ok(json!(["1", 31, 1, true, "1", "1", "", {"a": 1}, {"a": null, "b": null}])));
        assert_eq!(refused("a: !!int b"), "line 1, column 10: the text behind !!int is none");
        assert!(refused("a: !!binary aGk=").contains("!!binary is not supported"));
    }

    #[test]
    fn a_key_is_text_and_stands_once() {
        assert_eq!(refused("a: 1\n1: b\n0x1: c\n"), "line 3, column 1: key \"1\" stands twice");
        assert_eq!(refused("a: {b: 1, \"b\": 2}"), "line 1, column 11: key \"b\" stands twice");
        assert_eq!(refused("? [a]\n: b\n"), "line 1, column 3: a key has to be text");
        assert_eq!(refused("~: b\n"), "line 1, column 1: a key has to be text");
    }

    #[test]
    fn an_alias_needs_a_whole_anchor_and_a_merge_a_map() {
        assert_eq!(refused("a: &a [*a]\n"), "line 1, column 8: an anchor's value contains itself");
        assert_eq!(refused("a: {<<: 1}\n"), "line 1, column 9: `<<` takes a map, or a list of maps");
    }
}
