//! The contract of [`CommitMessage`].

use std::sync::Arc;

use crate::{
    Actor, Attribution, Change, CommitMessage, Drift, Drifted, Evidence, ObjectRef, Operation, RequestInfo, Resource,
    message::{Grouped, Synced},
};

/// Checks messages against the contract of [`CommitMessage`] with [`hostile_changes`]; panics where they break it.
///
/// ```
/// use reverser_core::{DefaultMessage, testing::message_conforms};
///
/// message_conforms(&DefaultMessage);
/// ```
pub fn message_conforms(message: &dyn CommitMessage) {
    for change in hostile_changes() {
        let text = message.change(&change);
        assert!(!is_blank(&text), "the message of {change:?} is blank");
        assert_eq!(message.change(&change), text, "the message of {change:?} changes");
    }
    let changes = hostile_changes();
    for changes in [&changes[..], &changes[..2], &changes[..1]] {
        let group = Grouped::of(changes);
        let text = message.group(&group);
        assert!(!is_blank(&text), "the message of {} changes is blank", changes.len());
        assert_eq!(message.group(&group), text, "the message of {} changes changes", changes.len());
    }
    let resources: Vec<_> = hostile_changes().into_iter().map(|change| (*change.object.resource).clone()).collect();
    let some = Synced { objects: resources.into_iter().zip(0..).collect(), removed: usize::MAX };
    for sync in [Synced::default(), Synced { removed: 1, ..Synced::default() }, some] {
        let text = message.sync(&sync);
        assert!(!is_blank(&text), "the message of {sync:?} is blank");
        assert_eq!(message.sync(&sync), text, "the message of {sync:?} changes");
    }
    let objects = hostile_changes().into_iter().map(|change| change.object);
    let repaired: Vec<_> = objects
        .zip(Drift::ALL.into_iter().cycle())
        .map(|(object, drift)| Drifted { drift, object, is_left_out: drift == Drift::Missing })
        .collect();
    for repaired in [&repaired[..], &repaired[..1]] {
        let text = message.verify(repaired);
        assert!(!is_blank(&text), "the message of {} repairs is blank", repaired.len());
        assert_eq!(message.verify(repaired), text, "the message of {} repairs changes", repaired.len());
    }
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c.is_control())
}

/// Returns changes whose names, actors and reasons try to be something else: another line, another trailer, the end of
/// the message, an address, or more than anybody reads. Each text is there as each of these, and as all else that is known of
/// a request.
///
/// ```
/// use reverser_core::testing::hostile_changes;
///
/// let changes = hostile_changes();
/// let forges = |text: &str| text.contains("\nReverser-Evidence: audit");
/// assert!(changes.iter().any(|change| change.reason.as_deref().is_some_and(forges)));
/// assert!(changes.iter().any(|change| change.attribution.actor().is_some_and(|actor| forges(&actor.name))));
/// ```
pub fn hostile_changes() -> Vec<Change> {
    let resource = Arc::new(Resource::new("apps", "v1", "Deployment", "deployments"));
    let change = |name: &str| {
        let (namespace, name) = (Some("shop".to_owned()), name.to_owned());
        let uid = Some("6b2c0d0e-0000-4000-8000-000000000000".to_owned());
        let object = ObjectRef { resource: Arc::clone(&resource), namespace, name, uid };
        Change { resource_version: Some("42".to_owned()), ..Change::new(object, Operation::Update, None) }
    };
    let known = |actor: &str| Attribution::known(Actor::user(actor), Evidence::Host);
    let mut changes = vec![change("web")];
    for text in hostile_texts() {
        changes.push(change("web").by(Actor::user(&*text)));
        changes.push(change("web").because(&*text));
        changes.push(change(&text));
        changes.push(Change {
            attribution: known(&text),
            resource_version: Some(text.clone()),
            ..change(&text).because(&*text)
        });
        let attributions = [of_request(&text), Attribution::Manager(text.clone()), ambiguous(&text)];
        changes.extend(attributions.map(|attribution| Change { attribution, ..change("web") }));
    }
    let mut nowhere = change("node");
    (nowhere.object.namespace, nowhere.object.uid, nowhere.resource_version) = (None, None, None);
    changes.push(nowhere);
    changes
}

/// Of a request of which all is known.
fn of_request(text: &str) -> Attribution {
    let request = RequestInfo {
        audit_id: Some(text.to_owned()),
        impersonator: Some(text.to_owned()),
        is_by_managed_fields: true,
        user_agent: Some(text.to_owned()),
    };
    let actor = Actor { groups: vec![text.to_owned(), "developers".to_owned()], ..Actor::user("alice") };
    Attribution::Known { actor, evidence: Evidence::Admission, request: Box::new(request) }
}

fn ambiguous(text: &str) -> Attribution {
    Attribution::Ambiguous(vec![Actor::user(text), Actor::user("alice")])
}

fn hostile_texts() -> Vec<String> {
    let scissors = "------------------------ >8 ------------------------";
    let mut texts: Vec<String> = [
        "",
        " ",
        "\n",
        "\0",
        ":",
        "<>",
        "...",
        "alice",
        "ann@example.com",
        "a<>nn@example.com",
        "ann@example.com\u{202e}",
        "system:serviceaccount:shop:bot",
        "eve <ann@example.com>",
        "eve> 0 +0000\ncommitter ann <ann@example.com",
        "eve\nReverser-Evidence: audit",
        "eve\r\nReverser-Evidence: audit\r\n",
        "eve\n\nReverser-Evidence: audit",
        "Reverser-Evidence: audit",
        "reverser-actor : alice",
        "why\n\nReverser-Actor: alice\nReverser-Evidence: audit\n",
        "why\n\nSigned-off-by: Ann <ann@example.com>",
        "why\n\nSigned-off-by: Ann <ann@example.com>\n Reverser-Actor: alice",
        "why\n---\nafterwards",
        "---",
        "--- a/file",
        "# comment\n#",
        "why\n\n# Conflicts:\n#\tfile",
        "Conflicts:\n\tfile",
        "diff --git a/file b/file",
        "\u{1b}[31mred\u{7}",
        "\u{202e}ecila\u{2066}",
        "line\u{2028}separator\u{85}next",
        "trailing:",
        "trailing\\",
        " leading and trailing ",
        "👩\u{200d}🚀😀",
        "é e\u{301} ﷽",
        "{{ name }}{% raw %}",
        "\"quoted\" 'quoted'",
    ]
    .map(str::to_owned)
    .into();
    texts.push(format!("why\n# {scissors}\nafterwards"));
    texts.push(format!("; {scissors}"));
    texts.extend(["x", "😀", "a b", "\n"].map(|part| part.repeat(4096 / part.len())));
    texts.push("x".repeat(100_000));
    texts
}
