use serde_json::json;

use super::*;
use crate::{
    attribute::controllers::{CONTROLLER_MANAGER, GARBAGE_COLLECTOR, NAMESPACE_CONTROLLER},
    fixture::configmaps,
};

mod properties;

/// An event as a server tells it; times are milliseconds after ten.
#[derive(Clone, Debug)]
struct Told(Value);

impl Told {
    fn new(user: &str, verb: &str, from: u32, until: u32) -> Self {
        Self(json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": "ResponseComplete", "verb": verb,
            "auditID": format!("{user}-{verb}-{from}"), "user": {"username": user}, "userAgent": "kubectl/v1.36 (linux)",
            "requestURI": "/api/v1/namespaces/shop/configmaps/a", "responseStatus": {"code": 200},
            "objectRef": {"resource": "configmaps", "namespace": "shop", "name": "a", "apiVersion": "v1"},
            "requestReceivedTimestamp": at(from), "stageTimestamp": at(until)}))
    }

    fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap()[key] = value;
        self
    }

    fn created(self, answer: Value) -> Self {
        self.with("/responseStatus/code", 201.into()).answered(answer)
    }

    fn answered(self, answer: Value) -> Self {
        self.with("/responseObject", answer)
    }

    /// What a patch sent.
    fn sent(self, patch: Value) -> Self {
        self.with("/requestObject", patch)
    }

    fn by_manager(self, manager: &str) -> Self {
        self.with(
            "/requestURI",
            format!("/api/v1/namespaces/shop/configmaps/a?fieldManager={manager}&force=true").into(),
        )
    }

    fn about(self, resource: &str, subresource: &str) -> Self {
        self.with("/objectRef/resource", resource.into()).with("/objectRef/subresource", subresource.into())
    }
}

fn at(millis: u32) -> String {
    format!("2026-03-23T10:00:{:02}.{:03}000Z", millis / 1000, millis % 1000)
}

fn second(millis: u32) -> String {
    format!("2026-03-23T10:00:{:02}Z", millis / 1000)
}

/// An object at a version, which `manager` was last at work on at that time.
fn object(version: u64, manager: &str, millis: u32) -> Value {
    json!({"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": version.to_string(),
        "creationTimestamp": second(1000), "managedFields": [{"manager": manager, "time": second(millis)}]}})
}

fn status() -> Value {
    json!({"kind": "Status", "details": {"name": "a", "uid": "u"}})
}

fn change(operation: Operation, body: Value) -> Change {
    Change::new(ObjectRef::of(&configmaps(), &body).unwrap(), operation, Some(body))
}

fn update(version: u64) -> Change {
    change(Operation::Update, object(version, "kubectl", 5000))
}

fn creation(version: u64) -> Change {
    change(Operation::Create, object(version, "kubectl", 5000))
}

fn deletion(version: u64) -> Change {
    change(Operation::Delete, object(version, "kubectl", 5000))
}

fn facts<'a>(events: impl IntoIterator<Item = &'a Told>) -> Facts {
    let mut facts = Facts::default();
    for Told(event) in events {
        facts.learn(&serde_json::from_value(event.clone()).unwrap(), Instant::now());
    }
    facts
}

fn who(facts: &Facts, change: &Change) -> String {
    match facts.attribute(change) {
        Attribution::Known { actor, evidence: Evidence::Cascade, .. } => format!("{} by cascade", actor.name),
        Attribution::Known { actor, .. } => actor.name,
        Attribution::Ambiguous(actors) => {
            let names: Vec<_> = actors.iter().map(|actor| &*actor.name).collect();
            names.join(" or ")
        }
        _ => "nobody".into(),
    }
}

fn patch(user: &str, version: u64, millis: u32) -> Told {
    Told::new(user, "patch", millis, millis + 2)
        .sent(json!({"data": {"key": "value"}}))
        .answered(object(version, "kubectl", millis))
}

#[test]
fn a_write_is_found_by_uid_and_version_and_a_deletion_by_uid() {
    let facts = facts(&[
        Told::new("alice", "create", 1000, 1002).created(object(1, "kubectl", 1000)),
        patch("bob", 2, 2000),
        Told::new("carol", "delete", 3000, 3002).answered(status()),
    ]);
    assert_eq!(who(&facts, &creation(1)), "alice");
    assert_eq!(who(&facts, &update(2)), "bob");
    assert_eq!(who(&facts, &update(3)), "nobody");
    assert_eq!(who(&facts, &deletion(9)), "carol");
}

#[test]
fn the_whole_request_is_told_and_the_impersonated_user_is_the_actor() {
    let event = patch("bob", 2, 2000).with(
        "/impersonatedUser",
        json!({"username": "carol", "uid": "7", "groups": ["team-c"], "extra": {"scopes": ["a", "b"]}}),
    );
    let Attribution::Known { actor, evidence, request } = facts(&[event]).attribute(&update(2)) else { panic!() };
    assert_eq!((&*actor.name, &*actor.groups, evidence), ("carol", &["team-c".to_owned()][..], Evidence::Audit));
    assert_eq!(actor.extra["scopes"], ["a", "b"]);
    assert_eq!(request.audit_id.as_deref(), Some("bob-patch-2000"));
    assert_eq!(request.impersonator.as_deref(), Some("bob"));
    assert_eq!(request.user_agent.as_deref(), Some("kubectl/v1.36 (linux)"));
}

#[test]
fn a_custom_resource_may_have_fields_of_statuses_and_lists() {
    let mut own = object(1, "kubectl", 1000);
    for (details, items) in [(json!("text"), json!(["a", 1])), (json!({"uid": 7}), json!({})), (json!([]), json!([{}]))]
    {
        (own["details"], own["items"]) = (details, items);
        let facts = facts(&[
            Told::new("alice", "create", 1000, 1002).created(own.clone()),
            Told::new("bob", "delete", 2000, 2002).answered(own.clone()),
        ]);
        assert_eq!(who(&facts, &creation(1)), "alice", "{own}");
        assert_eq!(who(&facts, &deletion(9)), "bob", "{own}");
    }
}

#[test]
fn what_was_not_carried_out_tells_nothing() {
    let write = || patch("eve", 2, 2000);
    for other in [
        write().with("/responseStatus/code", 409.into()),
        write().with("/responseStatus/code", 403.into()),
        write().with("/stage", "RequestReceived".into()),
        write().with("/stage", "ResponseStarted".into()),
        write().with("/stage", "Panic".into()),
        write().with("/verb", "get".into()),
        write().with("/requestURI", "/x?fieldManager=kubectl&dryRun=All".into()),
        Told::new("eve", "delete", 2000, 2002)
            .sent(json!({"kind": "DeleteOptions", "dryRun": ["All"]}))
            .answered(object(2, "kubectl", 2000)),
    ] {
        let facts = facts([&other]);
        assert_eq!(
            (facts.len(), &*who(&facts, &update(2)), &*who(&facts, &deletion(3))),
            (0, "nobody", "nobody"),
            "{other:?}"
        );
    }
}

#[test]
fn a_patch_that_changes_nothing_is_nobodys_write_whenever_it_is_told() {
    // Flux comes with its own manager, bob with that of alice but in another second.
    let alice = patch("alice", 5, 5100);
    let flux = Told::new("flux", "patch", 5200, 5202).by_manager("flux").answered(object(5, "kubectl", 5100));
    let bob = Told::new("bob", "patch", 6200, 6202).sent(json!({"data": {}})).answered(object(5, "kubectl", 5100));
    for events in [[alice.clone(), flux.clone(), bob.clone()], [bob.clone(), flux.clone(), alice]] {
        assert_eq!(who(&facts(&events), &update(5)), "alice");
    }
    assert_eq!(who(&facts(&[flux, bob]), &update(5)), "nobody");
}

#[test]
fn a_manager_that_is_spelled_in_another_way_may_be_any() {
    let by = |manager: &str| patch("alice", 5, 5000).by_manager(manager);
    let agent = |agent: &str| patch("alice", 5, 5000).with("/userAgent", agent.into());
    for (event, expected) in [
        (by("kubectl"), "alice"),
        (by("other"), "nobody"),
        (by("kube%63tl"), "alice"),
        (by(""), "alice"),
        (agent("kubectl"), "alice"),
        (agent("other/1.0 kubectl/1.0"), "nobody"),
        // Who doesn't say what it is has the name "unknown".
        (agent(""), "nobody"),
        (agent("/1.0"), "nobody"),
        (agent("").answered(object(5, "unknown", 5000)), "alice"),
        (agent(&"k".repeat(129)), "alice"),
    ] {
        assert_eq!(who(&facts([&event]), &update(5)), expected, "{event:?}");
    }
}

#[test]
fn of_the_same_write_at_the_same_time_the_first_one_counts_and_else_both_are_named() {
    let alice = patch("alice", 5, 5100);
    let later = Told::new("bob", "patch", 5103, 5110).answered(object(5, "kubectl", 5100));
    assert_eq!(who(&facts(&[later, alice.clone()]), &update(5)), "alice");
    let meanwhile = Told::new("bob", "patch", 5101, 5110).answered(object(5, "kubectl", 5100));
    assert_eq!(who(&facts(&[meanwhile, alice]), &update(5)), "alice or bob");
}

#[test]
fn a_mark_that_the_version_before_had_is_nobodys() {
    let marks = |marks: &[(&str, u32)]| {
        let entry = |(manager, millis): &(&str, u32)| json!({"manager": manager, "time": second(*millis)});
        Value::from(marks.iter().map(entry).collect::<Vec<_>>())
    };
    let object = |version: u64, fields: &Value| {
        let mut object = object(version, "", 5000);
        object["metadata"]["managedFields"] = fields.clone();
        object
    };
    let (before, after) = (marks(&[("unknown", 5100)]), marks(&[("unknown", 5100), ("alice", 5300)]));
    // Overlapping requests: one of them is answered with what the other one wrote.
    let alice = Told::new("alice", "patch", 5250, 5390).by_manager("alice").answered(object(5, &after));
    let bob = Told::new("bob", "patch", 5240, 5380).with("/userAgent", json!("")).answered(object(5, &after));
    let removal = bob.clone().sent(json!({"data": {"gone": null}}));
    let update = Change { replaced: Some("4".into()), ..change(Operation::Update, object(5, &after)) };
    let told = |events: &[&Told], sees_before: bool| {
        let mut facts = facts(events.iter().copied());
        if sees_before {
            facts.saw(&change(Operation::Update, object(4, &before)), Instant::now());
        }
        facts.saw(&update, Instant::now());
        (who(&facts, &update), facts.is_unproven(&update))
    };
    for other in [&bob, &removal] {
        assert_eq!(told(&[other], true), ("nobody".into(), false), "{other:?}");
        assert_eq!(told(&[other, &alice], true), ("alice".into(), true), "{other:?}");
        assert_eq!(told(&[&alice, other], true), ("alice".into(), true), "{other:?}");
        // The mark may be a new one then.
        assert_eq!(told(&[other], false), ("bob".into(), true), "{other:?}");
        assert_eq!(told(&[&alice, other], false), ("alice or bob".into(), false), "{other:?}");
    }
    // A line of somebody's that was over long after: the writer's would be there.
    let later = Told::new("carol", "get", 5200, 5439);
    assert!(told(&[&alice, &later], true).1);
    let later = later.with("/stageTimestamp", at(5440).into());
    assert!(!told(&[&alice, &later], true).1);
    let put = alice.with("/verb", "update".into()).with("/objectRef/resourceVersion", "4".into());
    assert_eq!(told(&[&put], true), ("alice".into(), false), "it named what it replaced");
}

#[test]
fn who_names_the_version_that_is_replaced_is_known_by_the_answer() {
    let put = |user: &str, replaced: &str, version: u64| {
        let answer = object(version, "kubectl", 5000);
        Told::new(user, "update", 5000, 5010).with("/objectRef/resourceVersion", replaced.into()).answered(answer)
    };
    // Both have the same manager, at the same time: bob had nothing to change.
    let facts = facts(&[put("bob", "5", 5), put("alice", "4", 5)]);
    assert_eq!(who(&facts, &update(5)), "alice");
}

#[test]
fn a_removal_leaves_no_trace_but_nobody_else_has_been_at_work_since() {
    let remove = Told::new("bob", "patch", 7000, 7002)
        .sent(json!([{"op": "remove", "path": "/data/a"}]))
        .answered(object(6, "kubectl", 5100));
    assert_eq!(who(&facts([&remove]), &update(6)), "nobody", "perhaps it changed nothing");
    assert_eq!(who(&facts(&[remove.clone(), patch("alice", 5, 5100)]), &update(6)), "bob");
    // Somebody whose event isn't there wrote version 6 a second later than version 5.
    let written_since = remove.with("/responseObject/metadata/managedFields/0/time", second(6000).into());
    assert_eq!(who(&facts(&[written_since, patch("alice", 5, 5100)]), &update(6)), "nobody");
    // A patch that sets something would have left a trace.
    let sets =
        Told::new("bob", "patch", 7000, 7002).sent(json!({"data": {"a": "b"}})).answered(object(6, "kubectl", 5100));
    assert_eq!(who(&facts(&[sets, patch("alice", 5, 5100)]), &update(6)), "nobody");
}

#[test]
fn a_scaling_leaves_no_mark_but_changes_the_replicas() {
    let scale = |user: &str, version: u64, millis| {
        let answer = json!({"kind": "Scale", "spec": {"replicas": 3},
            "metadata": {"name": "a", "uid": "u", "resourceVersion": version.to_string()}});
        let patch = Told::new(user, "patch", millis, millis + 2).about("deployments", "scale");
        patch.sent(json!({"spec": {"replicas": 3}})).answered(answer)
    };
    let seen = |version, millis, replicas: u64| {
        let mut body = object(version, "kubectl", millis);
        body["spec"]["replicas"] = replicas.into();
        change(Operation::Update, body)
    };
    // Bob's come when there are as many already.
    let mut facts = facts(&[scale("bob", 6, 6000), scale("bob", 5, 5500), scale("alice", 5, 5000)]);
    assert_eq!(who(&facts, &seen(5, 4000, 3)), "nobody", "the version before isn't known");
    for change in [seen(4, 4000, 1), seen(5, 4000, 3), seen(6, 4000, 3), seen(7, 7000, 4)] {
        facts.saw(&change, Instant::now());
    }
    assert_eq!(who(&facts, &seen(5, 4000, 3)), "alice");
    assert_eq!(who(&facts, &seen(6, 4000, 3)), "nobody");
    // What was listed is a version before, too.
    let mut listed = Facts::default();
    listed.listed("u", seen(4, 4000, 1).body.as_ref().unwrap());
    listed.learn(&serde_json::from_value(scale("bob", 5, 30_000).0).unwrap(), Instant::now());
    listed.saw(&seen(5, 4000, 3), Instant::now());
    assert_eq!(who(&listed, &seen(5, 4000, 3)), "bob");
    // With a precondition it is as certain as any update.
    let autoscaler =
        scale("hpa", 7, 7000).with("/verb", "update".into()).with("/objectRef/resourceVersion", "6".into());
    facts.learn(&serde_json::from_value(autoscaler.0).unwrap(), Instant::now());
    assert_eq!(who(&facts, &seen(7, 7000, 4)), "hpa");
}

#[test]
fn an_object_that_is_listed_late_is_not_credited_to_whoever_updated_it() {
    let facts = facts(&[
        Told::new("alice", "create", 1000, 1002).created(object(1, "kubectl", 1000)),
        patch("operator", 2, 2000),
    ]);
    assert_eq!(who(&facts, &creation(2)), "nobody");
    assert_eq!(who(&facts, &creation(1)), "alice");
}

fn terminating(version: u64, asked: u32, grace: u32) -> Value {
    let mut body = object(version, "kubectl", 1000);
    body["metadata"]["deletionTimestamp"] = second(asked + 1000 * grace).into();
    body["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    body
}

#[test]
fn who_asked_first_deleted_it_and_who_removes_the_finalizer_did_not() {
    let bob = Told::new("bob", "delete", 2100, 2110).answered(terminating(3, 2100, 0));
    let alice = Told::new("alice", "delete", 2300, 2310).answered(terminating(3, 2100, 0));
    let late = Told::new("eve", "delete", 4000, 4010).answered(terminating(3, 2100, 0));
    let finish = Told::new("operator", "patch", 5000, 5010).answered(terminating(3, 2100, 0));
    let mut known = facts(&[finish.clone(), late.clone(), alice, bob]);
    for seen in [false, true] {
        if seen {
            known.saw(&change(Operation::Update, terminating(3, 2100, 0)), Instant::now());
        }
        assert_eq!(who(&known, &deletion(3)), "bob");
        assert_eq!(who(&known, &deletion(4)), "bob");
    }
    assert_eq!(who(&facts(&[late, finish]), &deletion(4)), "nobody");
}

#[test]
fn a_grace_period_is_not_the_time_of_the_deletion_and_who_ends_it_did_not_begin_it() {
    let bob = Told::new("bob", "delete", 2100, 2110).answered(terminating(3, 2100, 30));
    let kubelet = Told::new("system:node:n", "delete", 9000, 9010).answered(terminating(5, 9000, 0));
    let mut facts = facts(&[kubelet, bob]);
    facts.saw(&change(Operation::Update, terminating(3, 2100, 30)), Instant::now());
    facts.saw(&change(Operation::Update, terminating(4, 9000, 0)), Instant::now());
    assert_eq!(who(&facts, &deletion(5)), "bob");
}

#[test]
fn a_deleter_is_not_the_author_of_what_was_deleted() {
    let facts = facts(&[Told::new("bob", "delete", 5000, 5010).answered(object(5, "kubectl", 4000))]);
    assert_eq!(who(&facts, &update(5)), "nobody");
    assert_eq!(who(&facts, &deletion(6)), "bob");
}

#[test]
fn all_that_is_in_a_collection_is_deleted_by_whoever_asked_unless_somebody_was_faster() {
    let list =
        json!({"kind": "ConfigMapList", "metadata": {"resourceVersion": "9"}, "items": [object(5, "kubectl", 4000)]});
    let bob = Told::new("bob", "deletecollection", 5000, 5010).answered(list);
    assert_eq!(who(&facts([&bob]), &deletion(6)), "bob");
    let alice = Told::new("alice", "delete", 5001, 5003).answered(status());
    assert_eq!(who(&facts(&[bob, alice]), &deletion(6)), "alice");
    let dying = json!({"items": [terminating(5, 1000, 0)]});
    assert_eq!(
        who(&facts(&[Told::new("bob", "deletecollection", 5000, 5010).answered(dying)]), &deletion(6)),
        "nobody"
    );
}

fn pod(body: Value) -> Change {
    let pods = std::sync::Arc::new(reverser_core::Resource::new("", "v1", "Pod", "pods"));
    Change::new(ObjectRef::of(&pods, &body).unwrap(), Operation::Delete, Some(body))
}

#[test]
fn an_eviction_is_joined_by_name_and_time() {
    let evict = |user: &str, millis| {
        Told::new(user, "create", millis, millis + 5)
            .about("pods", "eviction")
            .created(json!({"kind": "Status", "metadata": {}}))
    };
    let mut known = facts(&[evict("eve", 9000), evict("bob", 3100)]);
    let gone = pod(terminating(7, 3100, 30));
    assert_eq!(who(&known, &gone), "nobody", "its time isn't known");
    known.saw(&gone, Instant::now());
    assert_eq!(who(&known, &gone), "bob");
    let elsewhere = evict("bob", 3100).with("/objectRef/namespace", "other".into());
    let mut other = facts(&[elsewhere]);
    other.saw(&gone, Instant::now());
    assert_eq!(who(&other, &gone), "nobody");
}

#[test]
fn what_a_namespace_took_along_was_deleted_by_whoever_deleted_that() {
    let namespace = |user: &str, uid: &str, millis| {
        let mut answer = terminating(3, millis, 0);
        (answer["metadata"]["uid"], answer["metadata"]["name"]) = (uid.into(), "shop".into());
        let delete = Told::new(user, "delete", millis, millis + 5).about("namespaces", "").answered(answer);
        delete.with("/objectRef/name", "shop".into())
    };
    let list = json!({"kind": "ConfigMapList", "items": [object(5, "kubectl", 1000)]});
    let contents = Told::new(NAMESPACE_CONTROLLER, "deletecollection", 5000, 5010).answered(list);
    // An earlier and a later one of that name took other things along.
    let (earlier, bob, later) =
        (namespace("alice", "ns-1", 2000), namespace("bob", "ns-2", 4000), namespace("eve", "ns-3", 8000));
    assert_eq!(who(&facts(&[later, contents.clone(), bob, earlier]), &deletion(6)), "bob by cascade");
    assert_eq!(who(&facts([&contents]), &deletion(6)), NAMESPACE_CONTROLLER);
    let alone = Told::new("bob", "delete", 5000, 5010).answered(status());
    assert_eq!(who(&facts(&[alone, namespace("eve", "ns", 4000)]), &deletion(6)), "bob", "they did it themselves");
}

#[test]
fn what_the_garbage_collector_deletes_was_deleted_by_whoever_deleted_its_owners_owner() {
    let delete = |user: &str, uid: &str, millis| {
        Told::new(user, "delete", millis, millis + 5).answered(json!({"kind": "Status", "details": {"uid": uid}}))
    };
    let mut replica_set = object(2, "kcm", 1000);
    replica_set["metadata"]["uid"] = "set".into();
    replica_set["metadata"]["ownerReferences"] = json!([{"uid": "deployment"}]);
    let mut body = object(5, "kubectl", 1000);
    body["metadata"]["ownerReferences"] = json!([{"uid": "set"}]);
    let gone = change(Operation::Delete, body);
    for collector in [GARBAGE_COLLECTOR, CONTROLLER_MANAGER] {
        let mut facts = facts(&[
            Told::new("kcm", "create", 1000, 1010).created(replica_set.clone()),
            delete(collector, "u", 4000),
            delete(collector, "set", 3000),
            delete("bob", "deployment", 2000),
        ]);
        facts.saw(&gone, Instant::now());
        assert_eq!(who(&facts, &gone), "bob by cascade");
    }
}

#[test]
fn objects_go_with_their_definition_and_not_those_of_a_later_one() {
    let mut answer = terminating(20, 4000, 0);
    answer["metadata"]["uid"] = "crd".into();
    let delete = Told::new("bob", "delete", 4000, 4005)
        .about("customresourcedefinitions", "")
        .with("/objectRef/apiGroup", "apiextensions.k8s.io".into())
        .with("/objectRef/namespace", Value::Null)
        .with("/objectRef/name", "gadgets.x.io".into())
        .answered(answer);
    let gadgets = std::sync::Arc::new(reverser_core::Resource::new("x.io", "v1", "Gadget", "gadgets"));
    let gone = |version, created| {
        let mut body = object(version, "kubectl", 1000);
        body["metadata"]["creationTimestamp"] = second(created).into();
        Change::new(ObjectRef::of(&gadgets, &body).unwrap(), Operation::Delete, Some(body))
    };
    for (change, expected) in
        [(gone(21, 1000), "bob by cascade"), (gone(19, 1000), "nobody"), (gone(30, 9000), "nobody")]
    {
        let mut facts = facts([&delete]);
        facts.saw(&change, Instant::now());
        assert_eq!(who(&facts, &change), expected);
        facts.learn(
            &serde_json::from_value(Told::new("eve", "delete", 3000, 3005).answered(status()).0).unwrap(),
            Instant::now(),
        );
        assert_eq!(who(&facts, &change), "eve", "who deleted it is known");
    }
}

#[test]
fn at_level_metadata_a_creation_is_joined_by_name_and_time_and_an_update_by_what_it_replaced() {
    let create =
        |user: &str, millis| Told::new(user, "create", millis, millis + 5).with("/responseStatus/code", 201.into());
    let mut known = facts(&[create("eve", 9000), create("alice", 1000)]);
    known.saw(&creation(1), Instant::now());
    assert_eq!(who(&known, &creation(1)), "alice");
    assert_eq!(who(&known, &update(2)), "nobody");

    let put = |user: &str, millis| {
        let put = Told::new(user, "update", millis, millis + 5);
        put.with("/objectRef/uid", "u".into()).with("/objectRef/resourceVersion", "4".into())
    };
    // Bob's changed nothing, and came before alice's.
    let mut known = facts(&[put("bob", 3000), put("alice", 5000)]);
    let change = Change { replaced: Some("4".into()), ..update(5) };
    assert_eq!(who(&known, &change), "nobody", "what it left isn't seen");
    known.saw(&change, Instant::now());
    assert_eq!(who(&known, &change), "alice");
    assert_eq!(who(&known, &update(5)), "nobody", "what was replaced isn't known");

    let patch = Told::new("alice", "patch", 5000, 5005);
    let delete = Told::new("alice", "delete", 5000, 5005);
    assert_eq!(facts(&[patch, delete]).len(), 0);
}

#[test]
fn what_comes_again_is_known_already() {
    let event = patch("alice", 5, 5000);
    let mut facts = facts(&[event.clone(), event.clone()]);
    assert_eq!(facts.len(), 1);
    assert!(!facts.learn(&serde_json::from_value(event.0).unwrap(), Instant::now()));
}

#[test]
fn facts_have_an_end() {
    let mut facts = Facts { facts: Bounded::new(Limits { bytes: 100_000, ..FACTS }), ..Facts::default() };
    for version in 1..1000 {
        let event = patch("alice", version, 5000).with("/auditID", version.to_string().into());
        facts.learn(&serde_json::from_value(event.0).unwrap(), Instant::now());
    }
    assert!(
        facts.bytes() <= 100_000 && facts.len() > 50 && facts.dropped() as usize == 999 - facts.len(),
        "{}",
        facts.len()
    );
    assert_eq!((&*who(&facts, &update(1)), &*who(&facts, &update(999))), ("nobody", "alice"));
}
