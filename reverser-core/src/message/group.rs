//! Several changes that are one commit: what there is to say of them.

use std::{collections::HashMap, fmt::Write};

use super::clean;
use crate::{Actor, Attribution, Change, ObjectRef, Operation};

/// What a commit of several changes did.
///
/// ```
/// use reverser_core::{Actor, Change, ObjectRef, Operation, Resource, message::Grouped};
///
/// let resource = std::sync::Arc::new(Resource::new("", "v1", "Node", "nodes").cluster_scoped());
/// let change = |name: &str, operation| {
///     let object = ObjectRef { resource: resource.clone(), namespace: None, name: name.into(), uid: None };
///     Change::new(object, operation, None).by(Actor::user("alice"))
/// };
/// let changes = [change("n-1", Operation::Create), change("n-2", Operation::Delete), change("n-1", Operation::Update)];
/// let group = Grouped::of(&changes);
/// assert_eq!((group.changes, group.objects.len(), group.actors().count()), (3, 2, 1));
/// assert_eq!(group.objects[0].operation, Some(Operation::Create));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouped<'a> {
    /// How many changes there were.
    pub changes: usize,
    /// Each object once, in the order in which they were changed first.
    pub objects: Vec<GroupedObject<'a>>,
    /// Who it was and how that is known, each once, in the order in which they came. What tells one request of the same actor
    /// from another makes no other one.
    pub attributions: Vec<&'a Attribution>,
    /// Why, each text once.
    pub reasons: Vec<&'a str>,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupedObject<'a> {
    /// The object, as its last change names it.
    pub object: &'a ObjectRef,
    /// What all of its changes come to; `None`: it was created, and is gone again.
    pub operation: Option<Operation>,
    /// Who changed it and how that is known, each once.
    pub attributions: Vec<&'a Attribution>,
    /// Its `metadata.resourceVersion` after the last change.
    pub resource_version: Option<&'a str>,
}

impl<'a> Grouped<'a> {
    /// Returns what there is to say of changes, given the earliest first.
    pub fn of(changes: &'a [Change]) -> Self {
        let mut group = Self { changes: changes.len(), objects: vec![], attributions: vec![], reasons: vec![] };
        let mut places = HashMap::new();
        for change in changes {
            let object = &change.object;
            let place = (&object.resource.group, &object.resource.plural, &object.namespace, &object.name);
            let index = *places.entry(place).or_insert(group.objects.len());
            match group.objects.get_mut(index) {
                Some(object) => object.add(change),
                None => group.objects.push(GroupedObject::new(change)),
            }
            add_attribution(&mut group.attributions, &change.attribution);
            if let Some(reason) = change.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty()) {
                add(&mut group.reasons, reason);
            }
        }
        group
    }

    /// Returns those who are known to have made changes, each once.
    pub fn actors(&self) -> impl Iterator<Item = &'a Actor> {
        actors(&self.attributions)
    }

    /// Returns who made all of the changes; `None`: they were several, or of some nobody knows.
    pub fn only_actor(&self) -> Option<&'a Actor> {
        let mut actors = self.attributions.iter().map(|attribution| attribution.actor());
        let first = actors.next()??;
        actors.all(|actor| actor == Some(first)).then_some(first)
    }

    /// Returns what was done to all of the objects; `None`: not the same to each.
    pub fn only_operation(&self) -> Option<Operation> {
        let first = self.objects.first()?.operation?;
        self.objects.iter().all(|object| object.operation == Some(first)).then_some(first)
    }
}

impl<'a> GroupedObject<'a> {
    fn new(change: &'a Change) -> Self {
        Self {
            object: &change.object,
            operation: Some(change.operation),
            attributions: vec![&change.attribution],
            resource_version: change.resource_version.as_deref(),
        }
    }

    /// Returns those who are known to have changed it, each once.
    pub fn actors(&self) -> impl Iterator<Item = &'a Actor> {
        actors(&self.attributions)
    }

    /// Takes in a later change of the same object.
    fn add(&mut self, change: &'a Change) {
        let is_gone = change.operation == Operation::Delete;
        self.operation = match self.operation {
            Some(Operation::Create) | None if is_gone => None,
            Some(Operation::Create) | None => Some(Operation::Create),
            Some(Operation::Delete | Operation::Update) if is_gone => Some(Operation::Delete),
            // Also of what was deleted and made again: its file was there before, and is afterwards.
            Some(Operation::Delete | Operation::Update) => Some(Operation::Update),
        };
        self.object = &change.object;
        add_attribution(&mut self.attributions, &change.attribution);
        self.resource_version = change.resource_version.as_deref();
    }

    /// Returns what was done, in the words of a commit: also what came and went is told.
    pub(super) fn told(&self) -> String {
        self.operation.map_or_else(|| "CREATE, DELETE".to_owned(), |operation| operation.to_string())
    }
}

fn actors<'a>(attributions: &[&'a Attribution]) -> impl Iterator<Item = &'a Actor> + use<'a> {
    let mut actors = Vec::new();
    for actor in attributions.iter().filter_map(|attribution| attribution.actor()) {
        add(&mut actors, actor);
    }
    actors.into_iter()
}

/// `[UPDATE] 3 objects`, with a line for each in the body.
pub(super) fn default(group: &Grouped<'_>) -> String {
    let mut message = match &group.objects[..] {
        [one] => of_one(one),
        several => of_several(group, several),
    };
    for reason in &group.reasons {
        let _infallible = write!(message, "\n\n{reason}");
    }
    message
}

fn of_one(object: &GroupedObject<'_>) -> String {
    // What came and went makes a commit only when there was a file before, which goes.
    let operation = object.operation.unwrap_or(Operation::Delete);
    let mut message = format!("[{operation}] {}", clean::line(&object.object.to_string()));
    if let Some(namespace) = &object.object.namespace {
        let _infallible = write!(message, "\n\nNamespace: {}", clean::line(namespace));
    }
    message
}

fn of_several(group: &Grouped<'_>, objects: &[GroupedObject<'_>]) -> String {
    let mut message = match group.only_operation() {
        Some(operation) => format!("[{operation}] {} objects", objects.len()),
        None => format!("[CHANGE] {} objects: {}", objects.len(), counts(objects)),
    };
    let is_by_several = group.attributions.iter().any(|attribution| attribution.actor() != first_actor(group));
    message.push('\n');
    for object in objects.iter().take(LISTED) {
        let _infallible = write!(message, "\n- {} {}", object.told(), place(object.object));
        if is_by_several {
            let _infallible = write!(message, " by {}", people(object));
        }
    }
    if objects.len() > LISTED {
        let _infallible = write!(message, "\n- … and {} more", objects.len() - LISTED);
    }
    message
}

fn first_actor<'a>(group: &Grouped<'a>) -> Option<&'a Actor> {
    group.attributions.first().and_then(|attribution| attribution.actor())
}

fn counts(objects: &[GroupedObject<'_>]) -> String {
    let all = [
        (Some(Operation::Create), "created"),
        (Some(Operation::Update), "updated"),
        (Some(Operation::Delete), "deleted"),
        (None, "created and deleted"),
    ];
    let count = |operation| objects.iter().filter(|object| object.operation == operation).count();
    let counts = all.into_iter().map(|(operation, word)| (count(operation), word)).filter(|(count, _)| *count > 0);
    counts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// Returns `[group/]version/plural/[namespace/]name`.
fn place(object: &ObjectRef) -> String {
    let namespace = object.namespace.iter().map(|namespace| format!("{namespace}/")).collect::<String>();
    clean::line(&format!("{}/{namespace}{}", object.resource, object.name))
}

fn people(object: &GroupedObject<'_>) -> String {
    let mut names = Vec::new();
    for attribution in &object.attributions {
        let name = attribution.actor().map_or_else(|| "(unknown)".to_owned(), |actor| clean::name(&actor.name));
        add(&mut names, name);
    }
    names.join(", ")
}

/// Adds one that isn't there: by another actor, on other evidence, or by another impersonator.
fn add_attribution<'a>(list: &mut Vec<&'a Attribution>, one: &'a Attribution) {
    let says_more = |known: &Attribution| match (known, one) {
        (
            Attribution::Known { actor: a, evidence: by, request: over },
            Attribution::Known { actor: b, evidence, request },
        ) => a != b || by != evidence || over.impersonator != request.impersonator,
        (known, one) => known != one,
    };
    if list.iter().all(|known| says_more(known)) {
        list.push(one);
    }
}

/// Adds what isn't there.
fn add<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}

/// How many objects a message names: more than anybody reads.
pub(super) const LISTED: usize = 100;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        CommitMessage, DefaultMessage, Evidence, RequestInfo, Resource,
        identity::author,
        message::{with_group_trailers, with_trailers},
        testing::hostile_changes,
    };

    fn change(name: &str, operation: Operation, version: u32) -> Change {
        let resource = Resource::new("", "v1", "ConfigMap", "configmaps");
        let (namespace, uid) = (Some("shop".to_owned()), Some(format!("u-{name}")));
        let object = ObjectRef { resource: Arc::new(resource), namespace, name: name.into(), uid };
        Change { resource_version: Some(version.to_string()), ..Change::new(object, operation, None) }
    }

    fn said(changes: &[Change]) -> String {
        let group = Grouped::of(changes);
        let co_authors: Vec<_> = group.actors().map(author).filter(|_| group.only_actor().is_none()).collect();
        with_group_trailers(&DefaultMessage.group(&group), &group, &co_authors)
    }

    fn by(actor: &str, change: Change) -> Change {
        change.by(Actor::user(actor))
    }

    use Operation::{Create, Delete, Update};

    #[test]
    fn several_objects_are_counted_and_listed_once_each() {
        let changes = [
            by("alice", change("a", Create, 1)),
            by("alice", change("b", Update, 2)).because("as agreed"),
            by("alice", change("a", Update, 3)).because("as agreed"),
            by("alice", change("c", Delete, 4)).because("Black\nFriday"),
            by("alice", change("d", Create, 5)),
            by("alice", change("d", Delete, 6)),
        ];
        insta::assert_snapshot!(said(&changes), @r"
        [CHANGE] 4 objects: 1 created, 1 updated, 1 deleted, 1 created and deleted

        - CREATE v1/configmaps/shop/a
        - UPDATE v1/configmaps/shop/b
        - DELETE v1/configmaps/shop/c
        - CREATE, DELETE v1/configmaps/shop/d

        as agreed

        Black
        Friday

        Reverser-Changes: 6
        Reverser-Actor: alice
        Reverser-Evidence: host
        Reverser-Uid: u-a
        Reverser-Resource-Version: 3
        Reverser-Uid: u-b
        Reverser-Resource-Version: 2
        Reverser-Uid: u-c
        Reverser-Resource-Version: 4
        Reverser-Uid: u-d
        Reverser-Resource-Version: 6
        ");
    }

    #[test]
    fn several_changes_of_one_object_read_like_one_change() {
        let changes = [by("alice", change("a", Create, 1)), by("alice", change("a", Update, 2))];
        insta::assert_snapshot!(said(&changes), @r"
        [CREATE] v1/configmaps/a

        Namespace: shop

        Reverser-Changes: 2
        Reverser-Actor: alice
        Reverser-Evidence: host
        Reverser-Uid: u-a
        Reverser-Resource-Version: 2
        ");
    }

    #[test]
    fn of_several_actors_each_is_named_where_they_were_at_work_and_none_is_guessed() {
        let changes = [
            by("alice", change("a", Update, 1)),
            by("bob", change("b", Update, 2)),
            change("c", Update, 3),
            by("bob", change("a", Update, 4)),
        ];
        insta::assert_snapshot!(said(&changes), @r"
        [UPDATE] 3 objects

        - UPDATE v1/configmaps/shop/a by alice, bob
        - UPDATE v1/configmaps/shop/b by bob
        - UPDATE v1/configmaps/shop/c by (unknown)

        Reverser-Changes: 4
        Reverser-Uid: u-a
        Reverser-Resource-Version: 4
        Reverser-Actor: alice
        Reverser-Evidence: host
        Reverser-Actor: bob
        Reverser-Evidence: host
        Reverser-Uid: u-b
        Reverser-Resource-Version: 2
        Reverser-Actor: bob
        Reverser-Evidence: host
        Reverser-Uid: u-c
        Reverser-Resource-Version: 3
        Reverser-Evidence: unknown
        Co-authored-by: alice <alice@cluster.local>
        Co-authored-by: bob <bob@cluster.local>
        ");
        assert_eq!(Grouped::of(&changes).only_actor(), None);
        assert_eq!(Grouped::of(&changes[..1]).only_actor(), Some(&Actor::user("alice")));
        assert_eq!(Grouped::of(&changes[2..]).only_actor(), None, "of one nobody knows");
    }

    #[test]
    fn many_requests_of_one_actor_are_one_attribution() {
        let request = |number: u32, impersonator: Option<&str>| {
            let request = RequestInfo {
                audit_id: Some(format!("id-{number}")),
                user_agent: Some(format!("kubectl/{number}")),
                impersonator: impersonator.map(str::to_owned),
                is_by_managed_fields: number == 7,
            };
            let attribution = Attribution::Known {
                actor: Actor::user("alice"),
                evidence: Evidence::Admission,
                request: Box::new(request),
            };
            Change { attribution, ..change("a", Update, number) }
        };
        let mut changes: Vec<_> = (1..1_000).map(|number| request(number, None)).collect();
        changes.push(request(1_000, Some("root")));
        insta::assert_snapshot!(said(&changes), @r"
        [UPDATE] v1/configmaps/a

        Namespace: shop

        Reverser-Changes: 1000
        Reverser-Actor: alice
        Reverser-Evidence: admission
        Reverser-Actor: alice
        Reverser-Evidence: admission
        Reverser-Impersonator: root
        Reverser-Uid: u-a
        Reverser-Resource-Version: 1000
        ");
    }

    #[test]
    fn a_version_stands_below_the_uid_of_its_object() {
        let mut gone = change("a", Delete, 1);
        gone.resource_version = None;
        let mut nameless = change("b", Update, 2);
        nameless.object.uid = None;
        let said = said(&[gone, nameless, change("c", Update, 3)]);
        let trailers = "Reverser-Uid: u-a\nReverser-Uid: u-c\nReverser-Resource-Version: 3\n";
        assert!(said.ends_with(trailers), "{said}");
    }

    #[test]
    fn what_an_objects_changes_come_to() {
        let cases: [(&[Operation], Option<Operation>); 9] = [
            (&[Create], Some(Create)),
            (&[Create, Update], Some(Create)),
            (&[Create, Update, Delete], None),
            (&[Create, Delete, Create], Some(Create)),
            (&[Update, Update], Some(Update)),
            (&[Update, Delete], Some(Delete)),
            (&[Delete, Create], Some(Update)),
            (&[Delete, Create, Delete], Some(Delete)),
            (&[Delete, Delete], Some(Delete)),
        ];
        for (operations, expected) in cases {
            let changes: Vec<_> = operations.iter().map(|operation| change("a", *operation, 1)).collect();
            assert_eq!(Grouped::of(&changes).objects[0].operation, expected, "{operations:?}");
        }
    }

    #[test]
    fn a_long_list_is_cut_and_the_trailers_have_all() {
        let changes: Vec<_> = (0..1_000).map(|number| change(&format!("n-{number:04}"), Update, number)).collect();
        let said = said(&changes);
        assert!(said.starts_with("[UPDATE] 1000 objects\n\n- UPDATE v1/configmaps/shop/n-0000\n"), "{said}");
        assert!(said.contains("\n- UPDATE v1/configmaps/shop/n-0099\n- … and 900 more\n\n"), "{said}");
        assert_eq!(said.matches("\nReverser-Resource-Version: ").count(), 1_000);
    }

    #[test]
    fn nothing_that_is_said_in_a_group_forges_a_trailer() {
        let changes = hostile_changes();
        let expected = Grouped::of(&changes).attributions.len();
        forges_nothing(&changes, expected);
        let have_uids: Vec<_> = changes.into_iter().filter(|change| change.object.uid.is_some()).collect();
        let expected = Grouped::of(&have_uids).objects.iter().map(|object| object.attributions.len()).sum();
        forges_nothing(&have_uids, expected);
    }

    #[track_caller]
    fn forges_nothing(changes: &[Change], attributions: usize) {
        let said = said(changes);
        let (head, trailers) = said.trim_end().rsplit_once("\n\n").unwrap();
        let is_ours = |line: &str| line.starts_with("Reverser-") || line.starts_with("Co-authored-by: ");
        assert!(trailers.lines().all(is_ours), "{trailers}");
        assert!(!head.lines().any(|line| line.trim_start().to_lowercase().starts_with("reverser-")), "{head}");
        let evidence = trailers.lines().filter(|line| line.starts_with("Reverser-Evidence: "));
        assert_eq!(evidence.count(), attributions);
    }

    #[test]
    fn one_change_has_the_words_of_a_change() {
        let one = by("alice", change("a", Create, 1)).because("first");
        let group = said(std::slice::from_ref(&one));
        assert_eq!(group.replace("Reverser-Changes: 1\n", ""), with_trailers(&DefaultMessage.change(&one), &one));
    }
}
