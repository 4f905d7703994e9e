//! Roughly how much memory an event takes.

use serde_json::Value;

use crate::source::Event;

/// Returns the size of an event in bytes, roughly.
pub(super) fn weight(event: &Event) -> usize {
    size_of::<Event>()
        + match event {
            Event::Change { change, .. } => change.body.as_ref().map_or(0, weight_of),
            Event::Listed(listed) => listed.objects.iter().map(weight_of).sum(),
            Event::Cursor(_) | Event::Failed(_) | Event::Gap(_) | Event::Resumed => 0,
        }
}

fn weight_of(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Array(items) => items.iter().map(weight_of).sum(),
            Value::Object(map) => {
                map.iter().map(|(key, value)| size_of::<String>() + key.len() + weight_of(value)).sum()
            }
            Value::String(text) => text.len(),
            Value::Bool(_) | Value::Null | Value::Number(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use reverser_core::{Change, ObjectRef, Operation};
    use serde_json::json;

    use super::*;
    use crate::fixture::configmaps;

    #[test]
    fn a_larger_object_weighs_more_by_what_it_is_larger() {
        let of = |text: String| {
            let body = json!({"metadata": {"name": "a"}, "data": {"list": [text, 1, null]}});
            let object = ObjectRef::of(&configmaps(), &body).unwrap();
            weight(&Event::Change { change: Change::new(object, Operation::Update, Some(body)), cursor: None })
        };
        assert_eq!(of("x".repeat(5_000)) - of(String::new()), 5_000);
    }
}
