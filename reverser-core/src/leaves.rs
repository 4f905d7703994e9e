//! Who wrote which part of an object: its leaves, and which version of it each of them came with.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;

use crate::field_path::{At, FieldPath};

/// Values of an object that aren't maps or lists, and empty ones, by where they stand.
///
/// Items of a list are told apart by their `name` where each of them has one of its own, as containers, ports and variables do,
/// otherwise by their place. So a container that is put before another one doesn't make that one new.
///
/// ```
/// use reverser_core::leaves::Leaves;
/// use serde_json::json;
///
/// let leaves = Leaves::of(&json!({"spec": {"containers": [{"name": "web", "image": "web:1"}], "args": ["-v"]}}));
/// let paths: Vec<_> = leaves.iter().map(|(path, value)| format!("{path} = {value}")).collect();
/// assert_eq!(paths, [
///     ".spec.args[0] = \"-v\"",
///     ".spec.containers[?(@.name==\"web\")].image = \"web:1\"",
///     ".spec.containers[?(@.name==\"web\")].name = \"web\"",
/// ]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaves(BTreeMap<Vec<Part>, Value>);

/// One step down to a leaf.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Key(String),
    Name(String),
    Index(usize),
}

impl Leaves {
    /// Returns the leaves of an object.
    pub fn of(object: &Value) -> Self {
        let mut leaves = Self::default();
        leaves.add(object, &mut Vec::new());
        leaves
    }

    /// Returns the leaves at a path or below it.
    pub fn at(object: &Value, path: &FieldPath) -> Self {
        let mut leaves = Self::default();
        for location in path.find(object) {
            let (mut value, mut parts) = (object, Vec::new());
            for at in &location {
                let (part, next) = match at {
                    At::Key(key) => (Part::Key(key.to_string()), value.get(key.as_ref())),
                    At::Index(index) => {
                        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                        (part_of(names(items).as_deref(), *index), items.get(*index))
                    }
                };
                let Some(next) = next else { break };
                parts.push(part);
                value = next;
            }
            leaves.add(value, &mut parts);
        }
        leaves
    }

    /// Returns each leaf's path, as [`FieldPath`] has it, and its value, in the order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Value)> {
        self.0.iter().map(|(parts, value)| (path(parts), value))
    }

    /// Returns what has one `label` as a whole: paths with the number of leaves below them, or 1 at a leaf, and the label. The object itself and
    /// its top-level fields that are told apart inside are left to their parts.
    pub fn folded<T: PartialEq + Clone>(&self, label: impl Fn(&str) -> Option<T>) -> Vec<(String, usize, T)> {
        let rows: Vec<_> = self.0.keys().filter_map(|parts| Some((parts.as_slice(), label(&path(parts))?))).collect();
        let mut folded = Vec::new();
        fold(&rows, 0, &mut folded);
        folded
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes out those that `before` doesn't have, or with another value: what came after it.
    #[must_use]
    pub fn take_newer_than(&mut self, before: &Self) -> Self {
        let mut newer = Self::default();
        for (parts, value) in std::mem::take(&mut self.0) {
            let place = if before.0.get(&parts) == Some(&value) { &mut self.0 } else { &mut newer.0 };
            place.insert(parts, value);
        }
        newer
    }

    fn add(&mut self, value: &Value, parts: &mut Vec<Part>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    parts.push(Part::Key(key.clone()));
                    self.add(value, parts);
                    parts.pop();
                }
            }
            Value::Array(items) if !items.is_empty() => {
                let names = names(items);
                for (index, item) in items.iter().enumerate() {
                    parts.push(part_of(names.as_deref(), index));
                    self.add(item, parts);
                    parts.pop();
                }
            }
            leaf => drop(self.0.insert(parts.clone(), leaf.clone())),
        }
    }
}

/// Adds rows of one label as one; those that differ by their next part on.
fn fold<T: PartialEq + Clone>(rows: &[(&[Part], T)], depth: usize, folded: &mut Vec<(String, usize, T)>) {
    let Some((first, label)) = rows.first() else { return };
    if rows.len() == 1 {
        folded.push((path(first), 1, label.clone()));
        return;
    }
    if depth > 0 && rows.iter().all(|(_, other)| other == label) {
        folded.push((path(&first[..depth]), rows.len(), label.clone()));
        return;
    }
    rows.chunk_by(|(a, _), (b, _)| a.get(depth) == b.get(depth)).for_each(|rows| fold(rows, depth + 1, folded));
}

/// Returns the names of a list's items, if each has one of its own.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let names: Vec<_> = items.iter().map(|item| item.get("name")?.as_str()).collect::<Option<_>>()?;
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1]).then_some(names)
}

fn part_of(names: Option<&[&str]>, index: usize) -> Part {
    match names.and_then(|names| names.get(index)) {
        Some(name) => Part::Name((*name).to_owned()),
        None => Part::Index(index),
    }
}

fn path(parts: &[Part]) -> String {
    let mut path = String::new();
    for part in parts {
        match part {
            Part::Key(key) => path.push_str(&FieldPath::of(&[At::Key(Cow::Borrowed(key))]).to_string()),
            Part::Name(name) => path.push_str(&format!("[?(@.name=={})]", Value::from(name.as_str()))),
            Part::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(leaves: &Leaves) -> Vec<String> {
        leaves.iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn every_leaf_has_a_path_that_finds_it() {
        let object = json!({
            "metadata": {"name": "web", "labels": {"example.com/a": "1", "": 2}, "finalizers": []},
            "spec": {"ports": [{"name": "http", "port": 80}, {"name": "x\"y", "port": 81}], "rows": [{"name": "a"}, {"name": "a"}],
                "list": [1, [2], {"name": "n"}], "empty": {}, "nothing": null},
        });
        let leaves = Leaves::of(&object);
        for (path, value) in leaves.iter() {
            let path: FieldPath = path.parse().unwrap();
            let at = Leaves::at(&object, &path);
            assert_eq!(at.iter().map(|(_, value)| value).collect::<Vec<_>>(), [value], "{path}");
            assert_eq!(paths(&at), [path.to_string()]);
        }
        assert_eq!(leaves.len(), 15);
    }

    #[test]
    fn what_came_with_a_version_is_what_the_one_before_lacks() {
        let before = Leaves::of(&json!({"c": [{"name": "web", "image": "1"}], "gone": 1, "same": {"a": 1}}));
        let now =
            json!({"c": [{"name": "first", "image": "0"}, {"name": "web", "image": "2"}], "same": {"a": 1, "b": null}});
        let mut rest = Leaves::of(&now);
        let newer = rest.take_newer_than(&before);
        let first = ".c[?(@.name==\"first\")]";
        let expected = [
            format!("{first}.image"),
            format!("{first}.name"),
            ".c[?(@.name==\"web\")].image".into(),
            ".same.b".into(),
        ];
        assert_eq!(paths(&newer), expected);
        assert_eq!(paths(&rest), [".c[?(@.name==\"web\")].name", ".same.a"]);
        assert_eq!(rest.take_newer_than(&Leaves::default()).len(), 2);
        assert!(rest.is_empty());
    }

    #[test]
    fn what_has_one_label_is_one_row() {
        let leaves = Leaves::of(
            &json!({"data": {"a": 1, "b": {"c": 2, "d": [3, 4]}}, "kind": "X", "m": {"x": 1, "y": 1}, "n": {"only": {"z": 1}}}),
        );
        let label = |path: &str| Some(if path.starts_with(".data.b") { 2 } else { 1 });
        let folded: Vec<_> =
            leaves.folded(label).into_iter().map(|(path, count, label)| format!("{path} {count} {label}")).collect();
        assert_eq!(folded, [".data.a 1 1", ".data.b 3 2", ".kind 1 1", ".m 2 1", ".n.only.z 1 1"]);
        assert!(leaves.folded(|_| None::<u8>).is_empty());
    }

    #[test]
    fn what_is_below_a_path_is_a_part_of_the_whole() {
        let object = json!({"spec": {"c": [{"name": "web", "ports": [1, 2]}]}});
        let at = |path: &str| paths(&Leaves::at(&object, &path.parse().unwrap()));
        let ports = [".spec.c[?(@.name==\"web\")].ports[0]", ".spec.c[?(@.name==\"web\")].ports[1]"];
        assert_eq!(at(".spec.c[0].ports"), ports);
        assert_eq!(at(".spec.c[*].ports[*]"), ports);
        assert_eq!(at(".spec.missing"), [""; 0]);
    }
}
