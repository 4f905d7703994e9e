//! Places in an object, many at a time: an object of one and a half megabytes may have tens of thousands of them.

use serde_json::Value;

use crate::field_path::{At, Location};

/// A set of places.
pub(super) struct Places(Vec<Location>);

impl Places {
    pub(super) fn new(mut places: Vec<Location>) -> Self {
        places.sort_unstable();
        Self(places)
    }

    /// Returns whether it has `place`, or one that `place` is part of.
    pub(super) fn cover(&self, place: &[At<'static>]) -> bool {
        (0..=place.len()).any(|length| self.0.binary_search_by(|own| own.as_slice().cmp(&place[..length])).is_ok())
    }

    /// Returns what of `cut` is left to be cut when these places are to stay.
    pub(super) fn spare(&self, object: &Value, cut: Location) -> Vec<Location> {
        if self.cover(&cut) {
            return vec![];
        }
        // What is below a place comes right behind it.
        let next = self.0.partition_point(|own| *own < cut);
        if !self.0.get(next).is_some_and(|own| own.starts_with(&cut)) {
            return vec![cut];
        }
        parts(object, &cut).into_iter().flat_map(|part| self.spare(object, part)).collect()
    }
}

/// Returns the places right below `place`.
pub(super) fn parts(object: &Value, place: &[At<'static>]) -> Vec<Location> {
    let value = place.iter().try_fold(object, |value, at| match at {
        At::Index(index) => value.get(index),
        At::Key(key) => value.get(key.as_ref()),
    });
    let below = |at| [place, &[at]].concat();
    match value {
        Some(Value::Array(items)) => (0..items.len()).map(|index| below(At::Index(index))).collect(),
        Some(Value::Object(map)) => map.keys().map(|key| below(At::Key(key.clone().into()))).collect(),
        _ => vec![],
    }
}

/// Removes the values at these places, then what that leaves empty above them, up to the next list's item or the object.
pub(super) fn cut(object: &mut Value, places: Vec<Location>) {
    remove(object, places, Emptied::Goes);
}

/// Removes the values at these places alone: `emptyDir: {}` says something.
pub(super) fn take(object: &mut Value, places: Vec<Location>) {
    remove(object, places, Emptied::Stays);
}

/// What becomes of a map or list that has lost all.
#[derive(Clone, Copy, PartialEq)]
enum Emptied {
    Goes,
    Stays,
}

/// What goes from one map or list goes together, and what is below a list before its items, so that none of them moves
/// that is still to be found.
fn remove(object: &mut Value, mut places: Vec<Location>, emptied: Emptied) {
    places.sort_unstable_by(|a, b| (parent(a), a.last()).cmp(&(parent(b), b.last())));
    for siblings in places.chunk_by(|a, b| parent(a) == parent(b)).rev() {
        remove_from(object, parent(&siblings[0]), siblings, emptied);
    }
}

fn parent(place: &Location) -> &[At<'static>] {
    place.split_last().map_or(&[], |(_, parent)| parent)
}

/// Removes the last steps of `siblings` from the map or list that is at `parent` below `value`. Returns whether there was
/// such a value.
fn remove_from(value: &mut Value, parent: &[At<'_>], siblings: &[Location], emptied: Emptied) -> bool {
    match (value, parent) {
        (Value::Object(map), []) => {
            let before = map.len();
            for place in siblings {
                if let Some(At::Key(key)) = place.last() {
                    map.remove(key.as_ref());
                }
            }
            map.len() < before
        }
        (Value::Array(items), []) => {
            let before = items.len();
            let mut going = siblings.iter().filter_map(|place| place.last()).peekable();
            let mut index = 0;
            items.retain(|_| {
                let mut stays = true;
                while going.next_if_eq(&&At::Index(index)).is_some() {
                    stays = false;
                }
                index += 1;
                stays
            });
            items.len() < before
        }
        (Value::Object(map), [At::Key(key), rest @ ..]) => {
            let Some(part) = map.get_mut(key.as_ref()) else { return false };
            let is_removed = remove_from(part, rest, siblings, emptied);
            if is_removed && emptied == Emptied::Goes && is_empty(part) {
                map.remove(key.as_ref());
            }
            is_removed
        }
        (Value::Array(items), [At::Index(index), rest @ ..]) => {
            items.get_mut(*index).is_some_and(|item| remove_from(item, rest, siblings, emptied))
        }
        _ => false,
    }
}

pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::FieldPath;

    fn places(object: &Value, paths: &[&str]) -> Vec<Location> {
        paths.iter().flat_map(|path| path.parse::<FieldPath>().unwrap().find(object)).collect()
    }

    #[test]
    fn what_goes_together_is_found_where_it_stood() {
        let object = json!({"a": [{"b": [1, 2]}, {"b": [3]}, {"b": [4], "c": 5}, 6], "d": {"e": {"f": 7}}, "g": []});
        // In an order that would move items if they went one by one.
        let paths = ["a[0].b[0]", "a[0]", "a[1].b[0]", "a[3]", "a[2].b[0]", "d.e.f", "d.e.f", "d.e"];
        let (mut cut_away, mut taken) = (object.clone(), object.clone());
        cut(&mut cut_away, places(&object, &paths));
        assert_eq!(cut_away, json!({"a": [{}, {"c": 5}], "g": []}));
        take(&mut taken, places(&object, &paths));
        assert_eq!(taken, json!({"a": [{"b": []}, {"b": [], "c": 5}], "d": {}, "g": []}));
    }

    #[test]
    fn of_a_part_that_goes_only_what_is_kept_stays() {
        let object = json!({"a": {"b": 1, "b-c": 2, "b/c": {"d": 3, "e": 4}}, "f": 5});
        let kept = Places::new(places(&object, &["a['b/c'].d", "f"]));
        let left = |path: &str| places(&object, &[path]).into_iter().flat_map(|cut| kept.spare(&object, cut)).collect();
        let cut_away = |path| {
            let mut object = object.clone();
            cut(&mut object, left(path));
            object
        };
        assert_eq!(cut_away("a"), json!({"a": {"b/c": {"d": 3}}, "f": 5}));
        assert_eq!(cut_away("f"), object);
        assert_eq!(cut_away("a.b"), json!({"a": {"b-c": 2, "b/c": {"d": 3, "e": 4}}, "f": 5}));
    }
}
