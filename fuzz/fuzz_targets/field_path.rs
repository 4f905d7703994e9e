//! Any text is a field path or is refused at a character that it has; what is a path is written so that it reads back,
//! and looks for values in any object. The first line is the path, the rest the object.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reverser_core::{FieldPath, FieldPathError, Sanitizer, sanitize::FieldRule, yaml};
use serde_json::{Value, json};

fuzz_target!(|input: &str| {
    let (text, object) = input.split_once('\n').unwrap_or((input, ""));
    match text.parse::<FieldPath>() {
        Ok(path) => {
            assert_eq!(path.to_string().parse::<FieldPath>().as_ref(), Ok(&path), "{path}");
            look_for(FieldRule::all(path), object);
        }
        Err(error) => check_place(&error, text),
    }
    match text.parse::<FieldRule>() {
        Ok(rule) => {
            assert_eq!(rule.to_string().parse::<FieldRule>().as_ref(), Ok(&rule), "{rule}");
            look_for(rule, object);
        }
        Err(error) => check_place(&error, text),
    }
});

fn look_for(rule: FieldRule, object: &str) {
    let object = yaml::parse(object).ok().and_then(|mut read| read.pop()).unwrap_or_else(sample);
    let cleaned = Sanitizer::faithful().clean(object.clone());
    let kept = Sanitizer::faithful().keep(rule.clone()).clean(object.clone());
    let size = |value: &Value| value.to_string().len();
    assert!(size(&cleaned) <= size(&kept) && size(&kept) <= size(&object), "{rule}: {kept}");
    if let Ok(sanitizer) = Sanitizer::faithful().drop(rule.clone()) {
        let dropped = sanitizer.clean(object);
        assert!(size(&dropped) <= size(&cleaned), "{rule}: {dropped}");
    }
}

fn sample() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "uid": "u", "labels": {"a.b/c": "d", "": ""}, "finalizers": ["orphan", "x"]},
        "spec": {"containers": [{"name": "web", "ports": [{"containerPort": 80}]}, {"name": "istio-proxy"}, [[0]], null]},
        "status": {"conditions": [{"type": "Ready", "status": true}, {"type": 1.5}]},
    })
}

fn check_place(error: &FieldPathError, text: &str) {
    assert_eq!(error.text(), text);
    assert!((1..=text.chars().count() + 1).contains(&error.at()), "{error}");
}
