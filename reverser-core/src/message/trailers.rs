//! From a message's words to the text of a commit: subject, body, and trailers that nobody can forge.

use std::fmt::Write;

use super::{Grouped, clean};
use crate::{Attribution, Change, CommitMessage, DefaultMessage, ObjectRef, identity};

/// Returns `message` made safe, with the trailers that say who changed which version of what, and how that is known:
/// `git interpret-trailers --parse` reads back exactly these.
///
/// - The subject is the first line that isn't blank, at most 1 KiB; the body, at most 64 KiB, follows a blank line. What is
///   cut ends with `…`. Trailing blanks go, and so do blank lines at both ends.
/// - Control characters are blanks, and what turns the direction of text is `U+FFFD`.
/// - A line that git would end the message at (`---`, scissors), or that looks like one of our trailers, is quoted
///   with `> `. A body that ends with trailers (`Signed-off-by: …`) is a body: ours stand in a paragraph of their own
///   behind it.
/// - A trailer's value is one line, at most 8 KiB.
/// - A blank message is [`DefaultMessage`]'s.
///
/// ```
/// use reverser_core::{Actor, Change, ObjectRef, Operation, Resource, message::with_trailers};
///
/// let resource = Resource::new("", "v1", "Node", "nodes").cluster_scoped().into();
/// let node = ObjectRef { resource, namespace: None, name: "n-1".into(), uid: None };
/// let change = Change::new(node, Operation::Update, None).by(Actor::user("eve\nReverser-Evidence: audit"));
/// assert_eq!(
///     with_trailers("Drain n-1\nReverser-Actor: alice", &change),
///     "Drain n-1\n\n> Reverser-Actor: alice\n\n\
///      Reverser-Actor: eve Reverser-Evidence: audit\nReverser-Evidence: host\n"
/// );
/// ```
pub fn with_trailers(message: &str, change: &Change) -> String {
    let mut text = Text::new(message, || DefaultMessage.change(change));
    text.attribution(&change.attribution);
    text.version(&change.object, change.resource_version.as_deref());
    text.0
}

/// Returns `message` made safe as [`with_trailers`] does it, with trailers for a commit of several changes: how many they
/// were; each who made some of them, and how that is known; the uid and resourceVersion of each object after its last
/// change; and where no one actor is the author of all, each as `Co-authored-by`, which forges show.
///
/// ```
/// use reverser_core::{Actor, Change, ObjectRef, Operation, Resource, message::{Grouped, with_group_trailers}};
///
/// let resource = std::sync::Arc::new(Resource::new("", "v1", "Node", "nodes").cluster_scoped());
/// let change = |name: &str| {
///     let object = ObjectRef { resource: resource.clone(), namespace: None, name: name.into(), uid: None };
///     Change::new(object, Operation::Update, None)
/// };
/// let changes = [change("n-1").by(Actor::user("ann@example.com")), change("n-2").by(Actor::user("bob")), change("n-1")];
/// assert_eq!(
///     with_group_trailers("Nodes", &Grouped::of(&changes)),
///     "Nodes\n\nReverser-Changes: 3\n\
///      Reverser-Actor: ann@example.com\nReverser-Evidence: host\n\
///      Reverser-Actor: bob\nReverser-Evidence: host\n\
///      Reverser-Evidence: unknown\n\
///      Co-authored-by: ann@example.com <ann@example.com>\nCo-authored-by: bob <bob@cluster.local>\n"
/// );
/// ```
pub fn with_group_trailers(message: &str, group: &Grouped<'_>) -> String {
    let mut text = Text::new(message, || DefaultMessage.group(group));
    text.trailer("Reverser-Changes", &group.changes.to_string());
    for attribution in &group.attributions {
        text.attribution(attribution);
    }
    for object in &group.objects {
        // A version belongs to the uid above it: without one it would seem to be another object's.
        text.version(object.object, object.resource_version.filter(|_| object.object.uid.is_some()));
    }
    if group.only_actor().is_none() {
        for actor in group.actors() {
            text.trailer("Co-authored-by", &identity::author(actor).to_string());
        }
    }
    text.0
}

/// Returns `message` made safe as [`with_trailers`] does it, for a commit that is no single change; `[SYNC]` when it is
/// blank.
///
/// ```
/// use reverser_core::message::without_trailers;
///
/// assert_eq!(without_trailers("Sync\n2 files"), "Sync\n\n2 files\n");
/// ```
pub fn without_trailers(message: &str) -> String {
    format!("{}\n", subject_and_body(message).as_deref().unwrap_or("[SYNC]"))
}

/// A message that is made safe, and the trailers that it has so far.
struct Text(String);

impl Text {
    fn new(message: &str, default: impl FnOnce() -> String) -> Self {
        let text = subject_and_body(message).or_else(|| subject_and_body(&default())).unwrap_or_default();
        Self(text + "\n\n")
    }

    fn attribution(&mut self, attribution: &Attribution) {
        if let Some(actor) = attribution.actor() {
            self.trailer("Reverser-Actor", &actor.name);
        }
        self.trailer("Reverser-Evidence", attribution.evidence());
    }

    fn version(&mut self, object: &ObjectRef, resource_version: Option<&str>) {
        if let Some(uid) = &object.uid {
            self.trailer("Reverser-Uid", uid);
        }
        if let Some(version) = resource_version {
            self.trailer("Reverser-Resource-Version", version);
        }
    }

    fn trailer(&mut self, key: &str, value: &str) {
        let _infallible = writeln!(self.0, "{key}: {}", clean::bounded(&clean::line(value), MAX_VALUE_BYTES));
    }
}

/// In bytes: more than any name of the API, and less than what a screen takes for a text.
const MAX_SUBJECT_BYTES: usize = 1024;
/// In bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// In bytes. A user name's limit is the one of the token that it comes from, which is that of a request's headers.
const MAX_VALUE_BYTES: usize = 8 * 1024;

fn subject_and_body(message: &str) -> Option<String> {
    let mut lines = message.lines().map(safe_line).skip_while(|line| line.trim().is_empty());
    let mut text = clean::bounded(lines.next()?.trim_start(), MAX_SUBJECT_BYTES);
    let body = lines.skip_while(String::is_empty).collect::<Vec<_>>().join("\n");
    if !body.is_empty() {
        text.push_str("\n\n");
        text.push_str(&clean::bounded(body.trim_end(), MAX_BODY_BYTES));
    }
    Some(text)
}

fn safe_line(line: &str) -> String {
    let line: String = line.chars().map(clean::visible).collect();
    let line = line.trim_end();
    // git-interpret-trailers(1): everything from a line of `---` on is a patch. `git commit` cuts at the scissors, behind
    // whatever core.commentChar is.
    let ends_message = line.trim_start() == "---" || line.trim_start().starts_with("--- ") || line.contains(SCISSORS);
    let is_ours = line.trim_start().get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS));
    if ends_message || is_ours { format!("> {line}") } else { line.to_owned() }
}

/// How our trailers begin; git compares keys without case.
const OURS: &str = "Reverser-";
const SCISSORS: &str = "------------------------ >8 ------------------------";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Actor, testing::hostile_changes};

    #[test]
    fn what_would_end_the_message_or_forge_a_trailer_is_quoted() {
        let message = "\n \n  Subject\nbody\n---\n--- a\n ---\n----\n# ------------------------ >8 ------------------------\n\
                       reverser-evidence : audit\n\tReverser-Actor: x\nSigned-off-by: y\n\n";
        insta::assert_snapshot!(without_trailers(message), @r"
        Subject

        body
        > ---
        > --- a
        >  ---
        ----
        > # ------------------------ >8 ------------------------
        > reverser-evidence : audit
        >  Reverser-Actor: x
        Signed-off-by: y
        ");
    }

    #[test]
    fn a_message_is_never_blank_and_never_endless() {
        assert_eq!(without_trailers(" \n\0\n"), "[SYNC]\n");
        let long = without_trailers(&format!("{}\n{}", "s".repeat(2000), "b".repeat(70_000)));
        let (subject, body) = long.split_once("\n\n").unwrap();
        assert_eq!((subject.len(), body.trim_end().len()), (MAX_SUBJECT_BYTES, MAX_BODY_BYTES));
        assert!(subject.ends_with("s…") && body.ends_with("b…\n"));
    }

    proptest! {
        /// The fuzz target `message` has the same property.
        #[test]
        fn whatever_is_said_there_is_one_subject_and_our_trailers_are_the_last_paragraph(message in text(), actor in text()) {
            let change = hostile_changes().remove(0).by(Actor::user(actor));
            let text = with_trailers(&message, &change);
            let (head, trailers) = text.trim_end().rsplit_once("\n\n").unwrap();
            let keys: Vec<_> = trailers.lines().filter_map(|line| line.split(':').next()).collect();
            prop_assert_eq!(keys, ["Reverser-Actor", "Reverser-Evidence", "Reverser-Uid", "Reverser-Resource-Version"]);
            let mut lines = head.lines();
            prop_assert!(!lines.next().unwrap().trim().is_empty() && lines.next().unwrap_or_default().is_empty());
            prop_assert!(head.lines().all(|line| !line.to_lowercase().trim_start().starts_with("reverser-")));
            prop_assert!(!head.lines().any(|line| line == "---" || line.starts_with("--- ")));
            prop_assert!(!text.chars().any(|c| c != '\n' && c.is_control()));
        }
    }

    fn text() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            any::<String>(),
            "[ \t]{0,2}(---|# |Reverser-Actor|reverser-x|Signed-off-by)[ :-]{0,2}[a-z]{0,2}"
        ];
        (prop::collection::vec(line, 0..6), prop_oneof!["\n", "\n\n", "\r\n", "\r"])
            .prop_map(|(lines, end)| lines.join(end.as_str()))
    }
}
