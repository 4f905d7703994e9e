//! What an entry of managedFields names.

use std::{cell::OnceCell, collections::HashMap};

use serde_json::Value;

/// A field set (`fieldsV1`): `f:NAME` is a field, `k:{…}` the list item with these key fields, `v:…` the item with that
/// value, `.` the place itself.
///
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/>.
///
/// Read as deep as somebody asks, and once: a list's items are found without a look at each of its path elements.
#[derive(Debug)]
pub(super) struct FieldSet<'a> {
    elements: &'a Value,
    below: OnceCell<Below<'a>>,
}

#[derive(Debug, Default)]
struct Below<'a> {
    fields: HashMap<&'a str, FieldSet<'a>>,
    keyed: Vec<Keyed<'a>>,
    values: HashMap<Value, FieldSet<'a>>,
}

/// Items with key fields of the same names, by the values of these.
#[derive(Debug)]
struct Keyed<'a> {
    names: Vec<String>,
    items: HashMap<Vec<Value>, FieldSet<'a>>,
}

/// Names of key fields that are told apart in one list. A list has one set of them, of which items may lack some: this is
/// any of four. Elements with yet others name nothing, so that no item is compared with very many of them.
const KEY_SETS: usize = 16;

impl<'a> FieldSet<'a> {
    pub(super) fn new(elements: &'a Value) -> Self {
        Self { elements, below: OnceCell::new() }
    }

    /// Returns whether it ends here, and so owns what is below.
    pub(super) fn is_leaf(&self) -> bool {
        self.elements.as_object().is_none_or(|elements| elements.keys().all(|element| element == "."))
    }

    /// Returns what it names below a field.
    pub(super) fn at_key(&self, key: &str) -> Option<&Self> {
        self.below().fields.get(key)
    }

    /// Returns what it names below a list's item, by each path element that means this item.
    pub(super) fn at_item(&self, item: &Value) -> impl Iterator<Item = &Self> {
        let below = self.below();
        let by_keys = below.keyed.iter().filter_map(|Keyed { names, items }| {
            let values: Option<Vec<_>> = names.iter().map(|name| item.get(name).cloned()).collect();
            items.get(&values?)
        });
        by_keys.chain(below.values.get(item))
    }

    fn below(&self) -> &Below<'a> {
        self.below.get_or_init(|| {
            let mut below = Below::default();
            for (element, elements) in self.elements.as_object().into_iter().flatten() {
                below.insert(element, Self::new(elements));
            }
            below
        })
    }
}

impl<'a> Below<'a> {
    fn insert(&mut self, element: &'a str, set: FieldSet<'a>) {
        if let Some(name) = element.strip_prefix("f:") {
            self.fields.insert(name, set);
        } else if let Some(value) = element.strip_prefix("v:").and_then(|value| serde_json::from_str(value).ok()) {
            self.values.insert(value, set);
        } else if let Some(Value::Object(keys)) =
            element.strip_prefix("k:").and_then(|keys| serde_json::from_str(keys).ok())
        {
            let (names, values): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
            if let Some(keyed) = self.keyed.iter_mut().find(|keyed| keyed.names == names) {
                keyed.items.insert(values, set);
            } else if self.keyed.len() < KEY_SETS {
                self.keyed.push(Keyed { names, items: HashMap::from([(values, set)]) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_found_by_key_fields_and_by_value() {
        let elements = json!({
            ".": {}, "f:name": {"f:below": {}},
            "k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:a": {}}, "k:{\"protocol\":\"UDP\",\"port\":80}": {"f:b": {}},
            "k:{\"port\":81}": {"f:c": {}}, "v:\"orphan\"": {}, "k:no JSON": {}, "x:{}": {},
        });
        let set = FieldSet::new(&elements);
        let of = |item: Value| set.at_item(&item).map(|set| set.elements.clone()).collect::<Vec<_>>();
        assert_eq!(of(json!({"port": 80, "protocol": "TCP", "x": 1})), [json!({"f:a": {}})]);
        assert_eq!(of(json!({"port": 80, "protocol": "UDP"})), [json!({"f:b": {}})]);
        assert_eq!(of(json!({"port": 81, "protocol": "TCP"})), [json!({"f:c": {}})]);
        assert_eq!(of(json!("orphan")), [json!({})]);
        assert!(of(json!({"port": 80})).is_empty() && of(json!("x")).is_empty());
        assert!(!set.is_leaf() && set.at_key("other").is_none());
        assert!(set.at_key("name").and_then(|set| set.at_key("below")).is_some_and(FieldSet::is_leaf));
    }
}
