//! From a message's words to the text of a commit: subject, body, and trailers that nobody can forge.

use std::fmt::Write;

use super::{Grouped, clean};
use crate::{Actor, Attribution, Change, CommitMessage, DefaultMessage, ObjectRef, RequestInfo, Signature};

/// Returns `message` made safe, with the trailers that say who changed which version of what, and how that is known:
/// `git interpret-trailers --parse` reads back exactly these.
///
/// - The subject is the first line that isn't blank, at most 1 KiB; the body, at most 64 KiB, follows a blank line. What is
///   cut ends with `…`. Trailing blanks go, and so do blank lines at both ends.
/// - Control characters are blanks, and what turns the direction of text is `U+FFFD`. So is, of a user's name, what would vanish at
///   its ends or has no width.
/// - A line that git would end the message at (`---`, scissors), or that looks like one of our trailers, is quoted
///   with `> `. A body that ends with trailers (`Signed-off-by: …`) is a body: ours stand in a paragraph of their own
///   behind it.
/// - A trailer's value is one line, at most 8 KiB; user agents, groups and what else clients send at most 1 KiB.
/// - A blank message is [`DefaultMessage`]'s.
///
/// | trailer | says |
/// |---|---|
/// | `Reverser-Actor` | who did it; only where there is evidence |
/// | `Reverser-Evidence` | how that is known: `admission`, `audit`, `cascade`, `host`, `managedFields`, `ambiguous`, `unknown` |
/// | `Reverser-Match` | `managedFields`: the request's object and the stored one differ, and only managed fields and generation join them |
/// | `Reverser-Candidate` | of `ambiguous`: one of those who it was, each; at most 20 |
/// | `Reverser-Manager` | of `managedFields`: the field manager, a program's name for itself |
/// | `Reverser-Impersonator` | who impersonated the actor |
/// | `Reverser-Group` | a group of the actor, each; at most 100 |
/// | `Reverser-User-Agent`, `Reverser-Audit-Id` | the program that sent the request, as it called itself; its id in the audit log |
/// | `Reverser-Uid`, `Reverser-Resource-Version` | which version of which object the commit has |
///
/// They say all that the change's attribution says; [`Identities::shown`](crate::identity::Identities::shown) leaves out what
/// isn't to be told.
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
    text.request(&change.attribution);
    text.version(&change.object, change.resource_version.as_deref());
    text.0
}

/// Returns `message` made safe as [`with_trailers`] does it, with trailers for a commit of several changes: how many they
/// were; who made them, and how that is known; the uid and resourceVersion of each object after its last change; and
/// `co_authors`, where no one actor is the author of all, each as `Co-authored-by`, which forges show. What is about one
/// request alone is left out: user agent, audit id, match.
///
/// Who made all of them, or some of one object, stands above the uids. Where objects are of several, who changed an object
/// stands below its uid, up to the next one.
///
/// ```
/// use reverser_core::{
///     Actor, Change, ObjectRef, Operation, Resource, identity::author, message::{Grouped, with_group_trailers},
/// };
///
/// let resource = std::sync::Arc::new(Resource::new("", "v1", "Node", "nodes").cluster_scoped());
/// let change = |name: &str| {
///     let object = ObjectRef { resource: resource.clone(), namespace: None, name: name.into(), uid: None };
///     Change::new(object, Operation::Update, None)
/// };
/// let changes = [change("n-1").by(Actor::user("ann@example.com")), change("n-2").by(Actor::user("bob")), change("n-1")];
/// let group = Grouped::of(&changes);
/// let co_authors: Vec<_> = group.actors().map(author).collect();
/// assert_eq!(
///     with_group_trailers("Nodes", &group, &co_authors),
///     "Nodes\n\nReverser-Changes: 3\n\
///      Reverser-Actor: ann@example.com\nReverser-Evidence: host\n\
///      Reverser-Actor: bob\nReverser-Evidence: host\n\
///      Reverser-Evidence: unknown\n\
///      Co-authored-by: ann@example.com <ann@example.com>\nCo-authored-by: bob <bob@cluster.local>\n"
/// );
/// ```
pub fn with_group_trailers(message: &str, group: &Grouped<'_>, co_authors: &[Signature]) -> String {
    let mut text = Text::new(message, || DefaultMessage.group(group));
    text.trailer("Reverser-Changes", &group.changes.to_string());
    // What is below a uid belongs to it: where one has none, it would seem to be another object's.
    let have_uids = group.objects.iter().all(|object| object.object.uid.is_some());
    let is_by_object = have_uids && group.objects.len() > 1 && group.attributions.len() > 1;
    if !is_by_object {
        group.attributions.iter().for_each(|attribution| text.attribution(attribution));
    }
    for object in &group.objects {
        text.version(object.object, object.resource_version.filter(|_| object.object.uid.is_some()));
        if is_by_object {
            object.attributions.iter().for_each(|attribution| text.attribution(attribution));
        }
    }
    for author in co_authors {
        text.trailer("Co-authored-by", &author.to_string());
    }
    text.0
}

/// Returns the trailers that say who made `change`, for a note on a commit that was made before that was known: those that
/// [`with_trailers`] writes of it, and of a commit of more than one change also which version of which object it is about.
///
/// ```
/// use reverser_core::{Actor, Change, ObjectRef, Operation, Resource, message::note};
///
/// let resource = Resource::new("", "v1", "Node", "nodes").cluster_scoped().into();
/// let node = ObjectRef { resource, namespace: None, name: "n-1".into(), uid: Some("4f1c".into()) };
/// let change = Change::new(node, Operation::Update, None).by(Actor::user("bob"));
/// assert_eq!(note(&change, 1), "Reverser-Actor: bob\nReverser-Evidence: host\n");
/// assert_eq!(note(&change, 2), "Reverser-Actor: bob\nReverser-Evidence: host\nReverser-Uid: 4f1c\n");
/// ```
pub fn note(change: &Change, changes: usize) -> String {
    let mut text = Text(String::new());
    text.attribution(&change.attribution);
    text.request(&change.attribution);
    if changes > 1 {
        text.version(&change.object, change.resource_version.as_deref());
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

    /// Who it was, and how that is known.
    fn attribution(&mut self, attribution: &Attribution) {
        if let Some(actor) = attribution.actor() {
            self.trailer("Reverser-Actor", &clean::name(&actor.name));
        }
        self.trailer("Reverser-Evidence", attribution.evidence());
        match attribution {
            Attribution::Ambiguous(actors) => {
                let mut names: Vec<_> = actors.iter().map(|Actor { name, .. }| name.as_str()).collect();
                names.sort_unstable();
                names.dedup();
                names
                    .iter()
                    .take(MAX_CANDIDATES)
                    .for_each(|name| self.trailer("Reverser-Candidate", &clean::name(name)));
            }
            Attribution::Known { actor, request, .. } => {
                let impersonator = request.impersonator.as_deref().map(clean::name);
                self.known("Reverser-Impersonator", impersonator.as_deref(), MAX_VALUE_BYTES);
                for group in actor.groups.iter().take(MAX_GROUPS) {
                    self.known("Reverser-Group", Some(group), MAX_SENT_BYTES);
                }
            }
            Attribution::Manager(manager) => self.known("Reverser-Manager", Some(manager), MAX_SENT_BYTES),
            Attribution::Unknown => {}
        }
    }

    /// What is known of the one request.
    fn request(&mut self, attribution: &Attribution) {
        let Attribution::Known { request, .. } = attribution else { return };
        let RequestInfo { audit_id, impersonator: _, is_by_managed_fields, user_agent } = &**request;
        if *is_by_managed_fields {
            self.trailer("Reverser-Match", "managedFields");
        }
        self.known("Reverser-User-Agent", user_agent.as_deref(), MAX_SENT_BYTES);
        self.known("Reverser-Audit-Id", audit_id.as_deref(), MAX_SENT_BYTES);
    }

    fn version(&mut self, object: &ObjectRef, resource_version: Option<&str>) {
        if let Some(uid) = &object.uid {
            self.trailer("Reverser-Uid", uid);
        }
        if let Some(version) = resource_version {
            self.trailer("Reverser-Resource-Version", version);
        }
    }

    /// Says nothing where nothing is known.
    fn known(&mut self, key: &str, value: Option<&str>, most: usize) {
        let value = clean::line(value.unwrap_or_default());
        if !value.is_empty() {
            let _infallible = writeln!(self.0, "{key}: {}", clean::bounded(&value, most));
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
/// In bytes, of what clients choose freely; more than any of them needs.
const MAX_SENT_BYTES: usize = 1024;
const MAX_CANDIDATES: usize = 20;
/// An identity provider may know hundreds of a user.
const MAX_GROUPS: usize = 100;

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

    #[test]
    fn what_is_known_of_a_request_is_told() {
        let actor = Actor { groups: vec!["developers".into(), "\n".into()], ..Actor::user("alice") };
        let request = RequestInfo {
            audit_id: Some("5d1c".into()),
            impersonator: Some("root\nReverser-Actor: x".into()),
            is_by_managed_fields: true,
            user_agent: Some(format!("kubectl/v1.36{}", "x".repeat(2_000))),
        };
        let known = Attribution::Known { actor, evidence: crate::Evidence::Admission, request: Box::new(request) };
        let told = |attribution: Attribution| {
            let change = Change { attribution, ..hostile_changes().remove(0) };
            let text = with_trailers("Subject", &change);
            text.replace(&"x".repeat(1_008), "xx").lines().skip(2).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(told(known), @r"
        Reverser-Actor: alice
        Reverser-Evidence: admission
        Reverser-Impersonator: root Reverser-Actor: x
        Reverser-Group: developers
        Reverser-Match: managedFields
        Reverser-User-Agent: kubectl/v1.36xx…
        Reverser-Audit-Id: 5d1c
        Reverser-Uid: 6b2c0d0e-0000-4000-8000-000000000000
        Reverser-Resource-Version: 42
        ");
        let candidates = ["bob", "alice", "bob"].map(Actor::user).to_vec();
        insta::assert_snapshot!(told(Attribution::Ambiguous(candidates)), @r"
        Reverser-Evidence: ambiguous
        Reverser-Candidate: alice
        Reverser-Candidate: bob
        Reverser-Uid: 6b2c0d0e-0000-4000-8000-000000000000
        Reverser-Resource-Version: 42
        ");
        insta::assert_snapshot!(told(Attribution::Manager("kubectl-edit".into())), @r"
        Reverser-Evidence: managedFields
        Reverser-Manager: kubectl-edit
        Reverser-Uid: 6b2c0d0e-0000-4000-8000-000000000000
        Reverser-Resource-Version: 42
        ");
        assert!(!told(Attribution::Manager(" ".into())).contains("Reverser-Manager"));
        let many = (0..1_000).map(|number| Actor::user(format!("user-{number}"))).collect();
        assert_eq!(told(Attribution::Ambiguous(many)).matches("Reverser-Candidate: ").count(), MAX_CANDIDATES);
    }

    proptest! {
        /// The fuzz target `message` has the same property.
        #[test]
        fn whatever_is_said_there_is_one_subject_and_our_trailers_are_the_last_paragraph(
            message in text(),
            attribution in attribution(),
        ) {
            let change = Change { attribution, ..hostile_changes().remove(0) };
            let text = with_trailers(&message, &change);
            let (head, trailers) = text.trim_end().rsplit_once("\n\n").unwrap();
            let keys: Vec<_> = trailers.lines().filter_map(|line| line.split(':').next()).collect();
            let optional = ["Group", "Impersonator", "User-Agent", "Audit-Id", "Manager", "Candidate"];
            let is_sure = |key: &&&str| !optional.iter().any(|optional| key.strip_prefix(OURS) == Some(*optional));
            let sure: Vec<_> = keys.iter().filter(is_sure).copied().collect();
            let expected: &[_] = match &change.attribution {
                Attribution::Known { .. } => {
                    &["Reverser-Actor", "Reverser-Evidence", "Reverser-Match", "Reverser-Uid", "Reverser-Resource-Version"]
                }
                _ => &["Reverser-Evidence", "Reverser-Uid", "Reverser-Resource-Version"],
            };
            prop_assert_eq!(&sure, expected);
            prop_assert_eq!(crate::message::trailers(&text).len(), keys.len());
            let mut lines = head.lines();
            prop_assert!(!lines.next().unwrap().trim().is_empty() && lines.next().unwrap_or_default().is_empty());
            prop_assert!(head.lines().all(|line| !line.to_lowercase().trim_start().starts_with("reverser-")));
            prop_assert!(!head.lines().any(|line| line == "---" || line.starts_with("--- ")));
            prop_assert!(!text.chars().any(|c| c != '\n' && c.is_control()));
        }
    }

    fn attribution() -> impl Strategy<Value = Attribution> {
        let known = (text(), text(), text(), prop::collection::vec(text(), 0..3)).prop_map(
            |(name, impersonator, agent, groups)| {
                let request = RequestInfo {
                    audit_id: Some(agent.clone()),
                    impersonator: Some(impersonator),
                    is_by_managed_fields: true,
                    user_agent: Some(agent),
                };
                let actor = Actor { groups, ..Actor::user(name) };
                Attribution::Known { actor, evidence: crate::Evidence::Audit, request: Box::new(request) }
            },
        );
        prop_oneof![
            known,
            text().prop_map(Attribution::Manager),
            prop::collection::vec(text().prop_map(Actor::user), 0..4).prop_map(Attribution::Ambiguous),
            Just(Attribution::Unknown),
        ]
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
