use serde_json::{Value, json};

use super::*;
use crate::attribute::fixture::{object, of, review};

fn fact(body: &[u8]) -> Option<Fact> {
    Request::parse(body).unwrap().fact(&Fingerprinter::new([7; 16])).unwrap()
}

fn update(more: &Value) -> Option<Fact> {
    let (old, new) = (object(1, 5, &json!({})), object(1, 5, &json!({"data": {"a": "1"}})));
    fact(&review("alice", "UPDATE", Some(old), Some(new), more))
}

#[test]
fn whatever_it_is_it_is_allowed() {
    for operation in ["CREATE", "UPDATE", "DELETE", "CONNECT", "NEW"] {
        let body = review("alice", operation, None, None, &json!({"uid": "7\"ü"}));
        let answer: Value = serde_json::from_slice(&Request::parse(&body).unwrap().allowed()).unwrap();
        let response = json!({"uid": "7\"ü", "allowed": true});
        assert_eq!(
            answer,
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
        );
    }
}

#[test]
fn what_is_no_review_is_told_apart() {
    let review = |version: &str, kind: &str, request: &str| {
        format!(r#"{{"apiVersion":"{version}","kind":"{kind}","request":{request}}}"#)
    };
    let told = |body: &str| Request::parse(body.as_bytes()).unwrap_err().to_string();
    let v1 = "admission.k8s.io/v1";
    for garbage in ["", "[]", "null", "{", "\u{0}", "{} {}", &review(v1, "AdmissionReview", "[]")] {
        assert!(Request::parse(garbage.as_bytes()).is_err(), "{garbage}");
    }
    assert!(Request::parse(b"{\"apiVersion\":\"\xff\"}").is_err());
    assert!(
        told(&review("admission.k8s.io/v1beta1", "AdmissionReview", r#"{"uid":"a"}"#))
            .contains("admissionReviewVersions")
    );
    assert!(told(&review(v1, "Pod", r#"{"uid":"a"}"#)).contains("a Pod of"));
    assert_eq!(told(&review(v1, "AdmissionReview", "null")), "it is no AdmissionReview: it has no request");
    assert_eq!(
        told(&review(v1, "AdmissionReview", r#"{"uid":""}"#)),
        "it is no AdmissionReview: its request has no uid"
    );
    // No more than that is needed to answer.
    assert!(Request::parse(review(v1, "AdmissionReview", r#"{"uid":"a"}"#).as_bytes()).is_ok());
}

#[test]
fn what_writes_nothing_is_no_fact() {
    let nothing = |operation: &str, old: Option<Value>, new: Option<Value>, more: &Value| {
        assert_eq!(fact(&review("alice", operation, old, new, more)), None, "{operation} {more}");
    };
    assert!(update(&json!({})).is_some());
    for more in [
        json!({"dryRun": true}),
        json!({"options": {"dryRun": ["All"]}}),
        json!({"userInfo": {"username": ""}}),
        json!({"operation": "CONNECT"}),
        json!({"oldObject": null}),
        json!({"oldObject": {"metadata": {"resourceVersion": "x"}}}),
    ] {
        assert_eq!(update(&more), None, "{more}");
    }
    let (none, new) = (json!({}), Some(object(1, 0, &json!({}))));
    nothing("CREATE", None, None, &none);
    nothing("CREATE", None, Some(json!({"metadata": {"name": "a"}})), &none);
    nothing("DELETE", None, None, &none);
    nothing("CREATE", None, new.clone(), &json!({"resource": {"resource": "serviceaccounts"}, "subResource": "token"}));
    nothing("CREATE", None, new.clone(), &json!({"resource": {"resource": "pods"}, "subResource": "binding"}));
    let dry = json!({"deleteOptions": {"dryRun": ["All"]}});
    nothing("CREATE", None, Some(dry), &json!({"resource": {"resource": "pods"}, "subResource": "eviction"}));
}

#[test]
fn an_update_names_the_version_that_it_replaces() {
    let Some(Fact { actor, deed: Deed::Update(write) }) = update(&json!({})) else { panic!("it is an update") };
    let groups = vec!["system:authenticated".to_owned()];
    assert_eq!((&*actor.name, actor.groups, actor.extra["scopes"].len()), ("alice", groups, 2));
    assert_eq!((write.replaced, write.is_noop, write.may_differ, write.is_terminating), (5, false, false, false));
    for sub_resource in ["status", "finalize", "resize", "approval", "ephemeralcontainers"] {
        let same = update(&json!({"subResource": sub_resource}));
        assert_eq!(same.map(|fact| fact.deed), Some(Deed::Update(write.clone())), "{sub_resource}");
    }
    let may_differ = |more: &Value| match update(more) {
        Some(Fact { deed: Deed::Update(write), .. }) => write.may_differ,
        other => panic!("{other:?}"),
    };
    assert!(may_differ(&of("batch", "jobs")) && may_differ(&of("", "persistentvolumeclaims")));
    assert!(may_differ(&json!({"requestResource": {"version": "v1beta1"}})));
    assert!(!may_differ(&json!({"requestResource": null})));
}

#[test]
fn what_stays_as_it_was_is_no_write() {
    let noop = |old: Value, new: Value| match fact(&review("alice", "UPDATE", Some(old), Some(new), &json!({}))) {
        Some(Fact { deed: Deed::Update(write), .. }) => write.is_noop,
        other => panic!("{other:?}"),
    };
    let a = |version| object(1, version, &json!({"data": {"a": "1", "b": "2"}}));
    assert!(noop(a(5), a(5)) && noop(a(5), a(0)));
    assert!(!noop(a(5), object(1, 5, &json!({"data": {"a": "1"}}))));
}

#[test]
fn of_a_user_about_whom_too_much_is_said_only_the_name_is_kept() {
    let groups: Vec<_> = (0..5000).map(|n| format!("group-{n}")).collect();
    let actor = update(&json!({"userInfo": {"groups": groups}})).unwrap().actor;
    assert_eq!((&*actor.name, actor.groups.len(), actor.extra.len()), ("alice", 0, 0));
}
