//! Each profile takes any object, also with rules of a user: it only removes, once and for all, never what names the
//! object, and the same whether the object was read as a whole. Lines of `keep RULE` and `drop RULE` come first, and
//! `status` for a kind without a status subresource; then the object.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reverser_core::{Profile, Sanitizer, sanitize::FieldRule, yaml};
use serde_json::Value;

fuzz_target!(|input: &str| {
    let (rules, text) = split(input);
    let Some(object @ Value::Object(_)) = yaml::parse(text).ok().and_then(|mut read| read.pop()) else { return };
    for profile in Profile::ALL {
        check(&Sanitizer::new(profile), &object, Again::Same);
        if !rules.is_empty() {
            let (sanitizer, again) = rules.iter().fold((Sanitizer::new(profile), Again::Same), with);
            check(&sanitizer, &object, again);
        }
    }
});

enum Rule {
    Drop(FieldRule),
    Keep(FieldRule),
    KeepStatus,
}

/// Whether an object that is clean stays as it is.
#[derive(Clone, Copy, PartialEq)]
enum Again {
    /// Rules that say which item of a list find another one when that is gone.
    Less,
    Same,
}

fn split(input: &str) -> (Vec<Rule>, &str) {
    let mut rules = Vec::new();
    let mut rest = input;
    while let Some((line, below)) = rest.split_once('\n') {
        let rule = match line.split_once(' ') {
            Some(("drop", rule)) => rule.parse().ok().map(Rule::Drop),
            Some(("keep", rule)) => rule.parse().ok().map(Rule::Keep),
            None if line == "status" => Some(Rule::KeepStatus),
            _ => break,
        };
        rules.extend(rule);
        rest = below;
    }
    (rules, rest)
}

fn with((sanitizer, again): (Sanitizer, Again), rule: &Rule) -> (Sanitizer, Again) {
    let again_with = |rule: &FieldRule| {
        let text = rule.to_string();
        if text.contains("[?(") || text.contains(|c: char| c.is_ascii_digit()) { Again::Less } else { again }
    };
    match rule {
        // What names the object is refused.
        Rule::Drop(rule) => (sanitizer.clone().drop(rule.clone()).unwrap_or(sanitizer), again_with(rule)),
        Rule::Keep(rule) => (sanitizer.keep(rule.clone()), again_with(rule)),
        Rule::KeepStatus => (sanitizer.keep_status(), again),
    }
}

fn check(sanitizer: &Sanitizer, object: &Value, again: Again) {
    let clean = sanitizer.clean(object.clone());
    assert!(is_part_of(&clean, object), "{sanitizer:?}\n{object}\n{clean}");
    for names in ["/apiVersion", "/kind", "/metadata/generateName", "/metadata/name", "/metadata/namespace"] {
        // An object of such a name has none, and isn't kept as a whole.
        if object.pointer(names).is_some_and(Value::is_string) {
            assert_eq!(clean.pointer(names), object.pointer(names), "{sanitizer:?}\n{object}\n{clean}");
        }
    }
    // With one of these kept it looks like an object of a server, and nothing shows any longer who wrote a field.
    let is_stored = ["/metadata/uid", "/metadata/resourceVersion"].iter().any(|id| clean.pointer(id).is_some());
    if again == Again::Same && !is_stored {
        assert_eq!(sanitizer.clean(clean.clone()), clean, "{sanitizer:?}\n{object}");
    }
    for json in [object.to_string(), backwards(object)] {
        let read = sanitizer.read(&json).unwrap_or_else(|error| panic!("{error}\n{json}"));
        assert_eq!(sanitizer.clean(read), clean, "{sanitizer:?}\n{json}");
    }
}

fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| is_part_of(part, whole)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            let mut whole = whole.iter();
            part.iter().all(|part| whole.any(|whole| is_part_of(part, whole)))
        }
        (part, whole) => part == whole,
    }
}

/// The object's JSON with `metadata` before what says its kind.
fn backwards(object: &Value) -> String {
    let entries = object.as_object().into_iter().flatten().rev();
    let entries: Vec<_> = entries.map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
    format!("{{{}}}", entries.join(","))
}
