//! What an object has that its file doesn't: an apply leaves fields that others have added since, and a backup is what was.

use serde_json::{Map, Value};

use super::failure::FieldConflict;

/// Returns `live` without what its author could write and `file` doesn't have. `authored` is `live` as it would be
/// written to a file: what isn't in there is the server's and the controllers', and stays.
pub(super) fn aligned(live: &Value, authored: &Value, file: &Value) -> Value {
    let mut aligned = live.clone();
    align(&mut aligned, authored, file);
    aligned
}

fn align(live: &mut Value, authored: &Value, file: &Value) {
    match (live, authored, file) {
        (Value::Object(live), Value::Object(authored), Value::Object(file)) => {
            for (key, authored) in authored {
                match file.get(key) {
                    Some(file) => {
                        if let Some(live) = live.get_mut(key) {
                            align(live, authored, file);
                        }
                    }
                    None => remove(live, key, authored),
                }
            }
        }
        // Items that the server owns would shift the others: such a list is left as it is.
        (Value::Array(live), Value::Array(authored), Value::Array(file)) if live.len() == authored.len() => {
            *live = align_items(std::mem::take(live), authored, file);
        }
        _ => {}
    }
}

/// Keeps the items that say what an item of the file says, in the order in which they stand.
fn align_items(live: Vec<Value>, authored: &[Value], file: &[Value]) -> Vec<Value> {
    let mut wanted: Vec<_> = file.iter().map(Some).collect();
    let items = live.into_iter().zip(authored).filter_map(|(mut live, authored)| {
        // The same one first: several may be alike but for what one of them has more.
        let place = |fits: &dyn Fn(&Value) -> bool| wanted.iter().position(|item| item.is_some_and(fits));
        let place = place(&|item| item == authored).or_else(|| place(&|item| says_all_of(authored, item)))?;
        let item = wanted[place].take()?;
        align(&mut live, authored, item);
        Some(live)
    });
    items.collect()
}

/// Whether everything in `file` is in `authored`.
fn says_all_of(authored: &Value, file: &Value) -> bool {
    match (authored, file) {
        (Value::Object(authored), Value::Object(file)) => {
            file.iter().all(|(key, file)| authored.get(key).is_some_and(|authored| says_all_of(authored, file)))
        }
        (Value::Array(authored), Value::Array(file)) => {
            file.iter().all(|file| authored.iter().any(|authored| says_all_of(authored, file)))
        }
        (authored, file) => authored == file,
    }
}

/// Removes what is authored of a field, and the field when nothing else is in it.
fn remove(live: &mut Map<String, Value>, key: &str, authored: &Value) {
    if let (Some(Value::Object(inner)), Value::Object(authored)) = (live.get_mut(key), authored) {
        authored.iter().for_each(|(key, authored)| remove(inner, key, authored));
        if !inner.is_empty() {
            return;
        }
    }
    live.remove(key);
}

/// Returns the merge patch that makes `before` into `after`, which has nothing that `before` lacks (RFC 7396); `None` when
/// nothing differs.
pub(super) fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, after) in after {
        let changed = match before.get(key) {
            Some(before) => merge_patch(before, after),
            None => Some(after.clone()),
        };
        patch.extend(changed.map(|changed| (key.clone(), changed)));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Returns the fields of a merge patch, and who wrote what they stand for, as the `managedFields` of `live` tell.
pub(super) fn written(patch: &Value, live: &Value) -> Vec<FieldConflict> {
    let entries = live["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sets: Vec<_> = entries.iter().map(|entry| (&entry["manager"], &entry["fieldsV1"])).collect();
    let mut fields = Vec::new();
    find_written(patch, &mut String::new(), &sets, &mut fields);
    fields
}

/// `sets` are those parts of what managers have written that are about `place`.
fn find_written(patch: &Value, place: &mut String, sets: &[(&Value, &Value)], fields: &mut Vec<FieldConflict>) {
    let Value::Object(patch) = patch else {
        let managers: Vec<_> =
            sets.iter().filter_map(|(manager, _)| manager.as_str()).map(|name| format!("{name:?}")).collect();
        let manager = if managers.is_empty() { "somebody".to_owned() } else { managers.join(" and ") };
        fields.push(FieldConflict { field: place.clone(), manager });
        return;
    };
    for (key, inner) in patch {
        let length = place.len();
        place.push('.');
        place.push_str(key);
        let name = format!("f:{key}");
        let inside: Vec<_> = sets.iter().filter_map(|(manager, set)| Some((*manager, set.get(&name)?))).collect();
        find_written(inner, place, &inside, fields);
        place.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_added_since_goes_and_what_servers_own_stays() {
        let live = json!({
            "metadata": {"name": "a", "uid": "u", "labels": {"app": "a", "new": "x"}, "annotations": {"controller": "1"}},
            "data": {"a": "1", "b": "2"}, "immutable": true,
        });
        let authored = json!({
            "metadata": {"name": "a", "labels": {"app": "a", "new": "x"}},
            "data": {"a": "1", "b": "2"}, "immutable": true,
        });
        let file = json!({"metadata": {"name": "a", "labels": {"app": "a"}}, "data": {"a": "1"}});
        let expected = json!({
            "metadata": {"name": "a", "uid": "u", "labels": {"app": "a"}, "annotations": {"controller": "1"}},
            "data": {"a": "1"},
        });
        let result = aligned(&live, &authored, &file);
        assert_eq!(result, expected);
        let patch = merge_patch(&live, &result).unwrap();
        assert_eq!(patch, json!({"metadata": {"labels": {"new": null}}, "data": {"b": null}, "immutable": null}));
        assert_eq!(merge_patch(&expected, &aligned(&expected, &file, &file)), None);
    }

    #[test]
    fn each_field_is_told_with_whoever_wrote_it() {
        let live = json!({"metadata": {"managedFields": [
            {"manager": "kubectl-edit", "fieldsV1": {"f:data": {"f:a.b": {}}, "f:spec": {"f:ports": {"k:{}": {}}}}},
            {"manager": "helm", "fieldsV1": {"f:data": {"f:a.b": {}}}},
        ]}});
        let patch = json!({"data": {"a.b": null, "c": null}, "spec": {"ports": []}});
        let told: Vec<_> =
            written(&patch, &live).iter().map(|one| format!("{} by {}", one.field, one.manager)).collect();
        assert_eq!(
            told,
            [r#".data.a.b by "kubectl-edit" and "helm""#, ".data.c by somebody", r#".spec.ports by "kubectl-edit""#]
        );
    }

    #[test]
    fn a_map_of_which_the_controllers_have_a_part_keeps_that() {
        let live = json!({"metadata": {"annotations": {"mine": "1", "controller": "2"}, "labels": {"x": "y"}}});
        let authored = json!({"metadata": {"annotations": {"mine": "1"}, "labels": {"x": "y"}}});
        let result = aligned(&live, &authored, &json!({"metadata": {}}));
        assert_eq!(result, json!({"metadata": {"annotations": {"controller": "2"}}}));
    }

    #[test]
    fn items_that_were_added_go_and_the_others_keep_what_servers_own() {
        let live =
            json!({"ports": [{"port": 80, "nodePort": 30001}, {"port": 81, "nodePort": 30002}, {"port": 82, "x": 1}]});
        let authored = json!({"ports": [{"port": 80}, {"port": 81}, {"port": 82, "x": 1}]});
        let file = json!({"ports": [{"port": 82}, {"port": 80}]});
        let result = aligned(&live, &authored, &file);
        assert_eq!(result, json!({"ports": [{"port": 80, "nodePort": 30001}, {"port": 82}]}));
        assert_eq!(
            merge_patch(&live, &result).unwrap(),
            json!({"ports": [{"port": 80, "nodePort": 30001}, {"port": 82}]})
        );
    }

    #[test]
    fn alike_items_are_matched_by_the_one_that_is_the_same() {
        let items = json!([{"a": 1, "b": 2}, {"a": 1}]);
        let file = json!([{"a": 1}, {"a": 1, "b": 2}]);
        assert_eq!(aligned(&items, &items, &file), items);
        assert_eq!(aligned(&items, &items, &json!([{"a": 1}])), json!([{"a": 1}]));
    }

    #[test]
    fn a_list_of_which_the_server_owns_items_stays() {
        let live = json!({"volumes": [1, 2, 3]});
        assert_eq!(aligned(&live, &json!({"volumes": [1, 2]}), &json!({"volumes": [1]})), live);
    }
}
