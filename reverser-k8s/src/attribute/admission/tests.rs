use reverser_core::{Actor, Evidence, Operation};
use serde_json::{Value, json};

use super::*;
use crate::attribute::fixture::{change, object, review};

const CONFIGMAPS: (&str, &str) = ("", "configmaps");

fn create(user: &str, data: &str) -> Bytes {
    review(user, "CREATE", None, Some(object(1, 0, &json!({"data": {"v": data}}))), &json!({})).into()
}

fn created(admission: &Admission, data: &str) -> Change {
    let object = object(1, 7, &json!({"data": {"v": data}}));
    change(&admission.fingerprinter(), CONFIGMAPS, Operation::Create, object, None)
}

#[tokio::test]
async fn what_is_answered_is_known_and_stays_known() {
    let folder = tempfile::tempdir().unwrap();
    let admission = Admission::open(folder.path()).unwrap();
    let reviewed = admission.review(create("alice", "a")).unwrap();
    assert!(reviewed.lesson.is_none());
    let answer: Value = serde_json::from_slice(&reviewed.answer).unwrap();
    assert_eq!(answer["response"], json!({"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": true}));
    admission.learned().await;
    let alice = Attribution::known(Actor::user("alice"), Evidence::Admission);
    assert_eq!(admission.attribute(&created(&admission, "a")), alice);
    assert_eq!(admission.counts(), Counts { kept: 1, ..Counts::default() });
    // The process ends without a word.
    std::mem::forget(admission);
    let again = Admission::open(folder.path()).unwrap();
    let known = again.attribute(&created(&again, "a"));
    assert_eq!(known, alice);
    assert_eq!(known.actor().unwrap().groups, ["system:authenticated"]);
    let other = change(&again.fingerprinter(), CONFIGMAPS, Operation::Create, object(2, 7, &json!({})), None);
    assert_eq!(again.attribute(&other), Attribution::Unknown);
}

#[tokio::test]
async fn a_large_request_is_answered_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let admission = Admission::open(folder.path()).unwrap();
    let large = "x".repeat(READ_FIRST_BYTES);
    let lesson = admission.review(create("alice", &large)).unwrap().lesson.expect("it is large");
    let change = created(&admission, &large);
    assert_eq!(admission.attribute(&change), Attribution::Unknown);
    assert_eq!(admission.patience(&change, &Attribution::Unknown), WAIT);
    lesson.learn();
    admission.learned().await;
    assert_eq!(admission.attribute(&change).actor(), Some(&Actor::user("alice")));
    assert_eq!(admission.patience(&change, &Attribution::Unknown), Duration::ZERO);
    // A server that ends in between leaves nobody waiting.
    drop(admission.review(create("alice", &large)).unwrap());
    assert_eq!(admission.patience(&change, &Attribution::Unknown), Duration::ZERO);
}

#[test]
fn what_can_not_be_read_is_answered_and_counted_and_garbage_refused() {
    let folder = tempfile::tempdir().unwrap();
    let admission = Admission::open(folder.path()).unwrap();
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let body =
        String::from_utf8(review("alice", "CREATE", None, Some(object(1, 0, &json!({"data": "DEEP"}))), &json!({})));
    let body = body.unwrap().replace("\"DEEP\"", &deep);
    assert!(admission.review(body.into()).is_ok());
    assert_eq!(admission.counts(), Counts { unreadable: 1, ..Counts::default() });
    assert!(admission.review(Bytes::from_static(b"garbage")).is_err());
    assert_eq!(admission.counts().unreadable, 1);
}

#[test]
fn neither_the_key_nor_names_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let admission = Admission::open(folder.path()).unwrap();
    admission.review(create("alice", "a")).unwrap();
    assert_eq!(format!("{admission:?}"), "Admission(Counts { kept: 1, dropped: 0, unwritten: 0, unreadable: 0 })");
}

#[test]
fn a_folder_that_can_not_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    let error = Admission::open(&path).unwrap_err().to_string();
    assert_eq!(error, format!("could not read or make {}", path.join("admission.key").display()));
}
