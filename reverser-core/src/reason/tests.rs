//! Which change a reason is told with.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn object(uid: &str) -> ObjectRef {
    let resource = Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps"));
    ObjectRef { resource, namespace: Some("shop".into()), name: "web".into(), uid: Some(uid.into()) }
}

fn body(reason: &str, cause: &str) -> Value {
    let mut annotations = json!({});
    for (key, text) in [(REASON, reason), (CHANGE_CAUSE, cause)] {
        if !text.is_empty() {
            annotations[key] = text.into();
        }
    }
    json!({"metadata": {"annotations": annotations}})
}

fn change(operation: Operation, body: &Value) -> Change {
    Change { annotated: Some(Annotated::of(body)), ..Change::new(object("1"), operation, None) }
}

/// What a change that is written says.
fn told(reasons: &mut Reasons, mut change: Change) -> String {
    reasons.saw(&change);
    reasons.tell(&mut change);
    change.reason.unwrap_or_default()
}

/// Of objects that a list has shown.
fn listed(objects: &[(ObjectRef, Annotated)]) -> Reasons {
    let mut reasons = Reasons::default();
    let objects = objects.iter().map(|(object, annotated)| (object, annotated));
    reasons.listed(&object("1").resource, None, objects);
    reasons
}

use Operation::{Create, Delete, Update};

#[test]
fn a_reason_is_told_with_the_change_that_sets_it_and_with_none_that_follows() {
    let mut reasons = listed(&[]);
    let mut told = |operation, reason, cause| told(&mut reasons, change(operation, &body(reason, cause)));
    assert_eq!(told(Create, "a", ""), "a");
    assert_eq!(told(Update, "a", ""), "");
    assert_eq!(told(Update, "b\n\nc", "kubectl set image"), "b\n\nc\n\nkubectl set image");
    assert_eq!(told(Update, "b\n\nc", "kubectl scale"), "kubectl scale");
    assert_eq!(told(Update, "", "kubectl scale"), "");
    assert_eq!(told(Update, "b\n\nc", "kubectl scale"), "b\n\nc", "taken away, and set again");
    assert_eq!(told(Delete, "b\n\nc", "kubectl scale"), "");
    assert_eq!(told(Delete, "not needed", ""), "not needed");
    assert_eq!(told(Update, " \n\u{0}", "\t"), "");
}

#[test]
fn what_stands_in_a_list_was_set_earlier() {
    let mut reasons = listed(&[(object("1"), Annotated::of(&body("old", "")))]);
    assert_eq!(told(&mut reasons, change(Update, &body("old", "cause"))), "cause");
    assert_eq!(told(&mut reasons, change(Update, &body("new", "cause"))), "new");
    let other = Change { object: object("2"), ..change(Update, &body("old", "")) };
    assert_eq!(told(&mut reasons, other), "old", "the list would have shown it");
}

#[test]
fn a_reason_waits_for_a_change_that_is_written() {
    let mut reasons = listed(&[]);
    // `kubectl annotate` changes no file.
    reasons.saw(&change(Update, &body("why", "")));
    reasons.saw(&change(Update, &body("why", "")));
    assert_eq!(told(&mut reasons, change(Update, &body("why", ""))), "why");
    // What seemed to change a file, and didn't.
    let mut unchanged = change(Update, &body("again", ""));
    reasons.saw(&unchanged);
    reasons.tell(&mut unchanged);
    assert_eq!(unchanged.reason.as_deref(), Some("again"));
    reasons.untell(&unchanged);
    assert_eq!(told(&mut reasons, change(Update, &body("again", ""))), "again");
    let mut silent = change(Update, &body("again", ""));
    reasons.saw(&silent);
    reasons.tell(&mut silent);
    reasons.untell(&silent);
    assert_eq!(told(&mut reasons, change(Update, &body("again", ""))), "", "it hadn't told it");
}

#[test]
fn the_reason_of_a_change_that_is_left_out_is_nobody_elses() {
    let mut reasons = listed(&[]);
    let left_out = change(Update, &body("reconciled", ""));
    reasons.saw(&left_out);
    reasons.leave_out(&left_out);
    assert_eq!(told(&mut reasons, change(Update, &body("reconciled", ""))), "");
}

#[test]
fn a_reason_that_was_given_with_the_change_wins() {
    let mut reasons = Reasons::default();
    assert_eq!(told(&mut reasons, change(Create, &body("annotated", "")).because("by hand")), "by hand");
    assert_eq!(told(&mut reasons, change(Update, &body("annotated", ""))), "", "it was that change's, too");
    assert_eq!(told(&mut reasons, change(Update, &body("next", "")).because(" ")), "next");
}

#[test]
fn of_an_object_that_was_never_seen_managed_fields_tell() {
    let managed = |annotated_at: &str, edited_at: &str| {
        let mut body = body("why", "");
        let owns = json!({"f:metadata": {"f:annotations": {".": {}, "f:configbutler.ai/reason": {}}}});
        body["metadata"]["managedFields"] = json!([
            {"manager": "kubectl-annotate", "time": annotated_at, "fieldsV1": owns},
            {"manager": "kubectl-edit", "time": edited_at, "fieldsV1": {"f:data": {}}},
            {"manager": "controller", "subresource": "status", "time": "2027-01-01T00:00:00Z"},
        ]);
        change(Update, &body)
    };
    let (earlier, later) = ("2026-11-27T08:00:00Z", "2026-11-27T08:00:05Z");
    assert_eq!(told(&mut Reasons::default(), managed(later, earlier)), "why");
    assert_eq!(told(&mut Reasons::default(), managed(earlier, later)), "", "somebody else wrote since");
    assert_eq!(told(&mut listed(&[]), managed(earlier, later)), "why", "it wasn't there in the list");
    assert_eq!(told(&mut Reasons::default(), change(Update, &body("why", ""))), "why");
}

#[test]
fn what_is_read_of_an_object_tells_it_too() {
    let json = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "annotations": {
        "configbutler.ai/reason": "why"}, "managedFields": [
        {"time": "2026-11-27T08:00:00Z", "fieldsV1": {"f:metadata": {"f:annotations": {"f:configbutler.ai/reason": {}}}}},
        {"time": "2026-11-27T08:00:05Z", "fieldsV1": {"f:data": {}}}]}}"#;
    let read = crate::Sanitizer::faithful().read(json).unwrap();
    assert_eq!(Annotated::of(&read), Annotated::of(&serde_json::from_str(json).unwrap()));
}

#[test]
fn a_change_without_its_object_changes_nothing() {
    let mut reasons = listed(&[]);
    assert_eq!(told(&mut reasons, change(Update, &body("why", ""))), "why");
    assert_eq!(told(&mut reasons, Change { annotated: None, ..change(Delete, &body("", "")) }), "");
    assert_eq!(told(&mut reasons, change(Update, &body("why", ""))), "");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut reasons = listed(&[]);
    for number in 0..=OBJECTS {
        reasons.saw(&Change { object: object(&number.to_string()), ..change(Create, &body("why", "")) });
    }
    assert_eq!(reasons.known.len(), 1);
    let long = Annotated::of(&body(&"x".repeat(MAX_BYTES + 1), ""));
    assert_eq!(long.texts[0].as_ref().unwrap().text.len(), MAX_BYTES);
}

proptest! {
    /// Whatever happens to an object, a text is told at most as often as it was set.
    #[test]
    fn no_reason_is_told_twice(steps in prop::collection::vec((0..3_usize, 0..3_u8), 0..30)) {
        let mut reasons = listed(&[]);
        let (mut before, mut set, mut said) = ("", [0; 3], [0; 3]);
        for (which, fate) in steps {
            let text = ["", "a", "b"][which];
            set[which] += usize::from(text != before);
            before = text;
            let mut change = change(Update, &body(text, ""));
            reasons.saw(&change);
            match fate {
                0 => {}
                1 => reasons.leave_out(&change),
                _ => reasons.tell(&mut change),
            }
            if let Some(reason) = &change.reason {
                prop_assert_eq!(reason, text);
                said[which] += 1;
            }
        }
        prop_assert!((1..3).all(|which| said[which] <= set[which]), "{:?} {:?}", said, set);
    }
}
