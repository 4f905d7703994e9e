use serde_json::{Value, json};

use super::*;
use crate::attribute::{
    controllers::{GARBAGE_COLLECTOR, NAMESPACE_CONTROLLER},
    fixture::{change, object, of, review, uid},
    review::Request,
};

mod model;

const CONFIGMAPS: (&str, &str) = ("", "configmaps");

struct Script {
    facts: Facts,
    now: u32,
}

impl Script {
    fn new() -> Self {
        Self { facts: Facts::new(Fingerprinter::new([7; 16]), Limits::default()), now: 1000 }
    }

    fn fact(&self, body: &[u8]) -> Fact {
        Request::parse(body).unwrap().fact(&self.facts.fingerprinter).unwrap().expect("it writes something")
    }

    fn asks(&mut self, user: &str, operation: &str, old: Option<Value>, new: Option<Value>, more: &Value) {
        let fact = self.fact(&review(user, operation, old, new, more));
        self.facts.learn(self.now, &fact);
    }

    /// `user` writes `data` over that version.
    fn updates(&mut self, user: &str, replaced: u64, data: &str) {
        let old = object(1, replaced, &json!({"data": {"v": "before"}}));
        self.asks(user, "UPDATE", Some(old), Some(object(1, replaced, &json!({"data": {"v": data}}))), &json!({}));
    }

    fn deletes(&mut self, user: &str, object: Value, more: &Value) {
        self.asks(user, "DELETE", Some(object), None, more);
    }

    fn who(&mut self, operation: Operation, object: Value, replaced: Option<u64>) -> String {
        self.who_of(CONFIGMAPS, operation, object, replaced)
    }

    fn who_of(&mut self, of: (&str, &str), operation: Operation, object: Value, replaced: Option<u64>) -> String {
        let change = change(&self.facts.fingerprinter, of, operation, object, replaced);
        self.facts.saw(self.now, &change);
        let answer = self.facts.who(self.now, &change);
        match &answer {
            Attribution::Ambiguous(actors) => actors.iter().map(|actor| &*actor.name).collect::<Vec<_>>().join(" or "),
            Attribution::Known { actor, request, .. } => {
                let by = if request.is_by_managed_fields { " by managed fields" } else { "" };
                format!("{}, {}{by}", actor.name, answer.evidence())
            }
            _ => answer.evidence().to_owned(),
        }
    }
}

fn data(version: u64, data: &str) -> Value {
    object(1, version, &json!({"data": {"v": data}}))
}

fn going() -> Value {
    json!({"metadata": {"deletionTimestamp": "2026-11-27T08:00:00Z", "finalizers": ["example.com/f"]}})
}

#[test]
fn a_creation_joins_by_uid_and_content() {
    let mut script = Script::new();
    script.asks("alice", "CREATE", None, Some(data(0, "a")), &json!({}));
    script.asks("bob", "CREATE", None, Some(object(2, 0, &json!({"data": {"v": "a"}}))), &json!({}));
    assert_eq!(script.who(Operation::Create, data(7, "a"), None), "alice, admission");
    // As a list shows it that was made after somebody else wrote.
    assert_eq!(script.who(Operation::Create, object(1, 9, &json!({"metadata": {"generation": 2}})), None), "unknown");
    script.updates("bob", 7, "b");
    assert_eq!(script.who(Operation::Create, data(9, "a"), None), "unknown");
    assert_eq!(script.who(Operation::Create, data(7, "a"), None), "alice, admission");
}

#[test]
fn of_twelve_racing_writers_each_is_named() {
    let mut script = Script::new();
    let users: Vec<String> = (0..12).map(|n| format!("user-{n}")).collect();
    for (turn, winner) in users.iter().enumerate() {
        // All who are left are reviewed over the same version.
        let version = 100 + turn as u64;
        users[turn..].iter().for_each(|user| script.updates(user, version, user));
        let named = script.who(Operation::Update, data(version + 1, winner), Some(version));
        assert_eq!(named, format!("{winner}, admission"));
    }
}

/// Who comes again may have lost, or have won by a PUT and patch what is so already, while the other was told of the conflict.
#[test]
fn of_two_who_write_the_same_nobody_is_named_whoever_comes_again() {
    let mut script = Script::new();
    let who = |script: &mut Script| script.who(Operation::Update, data(6, "a"), Some(5));
    script.updates("alice", 5, "a");
    script.updates("bob", 5, "a");
    script.updates("bob", 5, "a");
    assert_eq!(who(&mut script), "alice or bob");
    script.asks("bob", "UPDATE", Some(data(6, "a")), Some(data(6, "a")), &json!({}));
    assert_eq!(who(&mut script), "alice or bob");
    assert_eq!(script.who(Operation::Update, data(7, "a"), Some(6)), "unknown", "nothing was written");
}

#[test]
fn without_the_replaced_version_only_the_last_request_counts() {
    let mut script = Script::new();
    script.updates("alice", 5, "a");
    script.updates("bob", 6, "b");
    script.updates("carol", 9, "a");
    assert_eq!(script.who(Operation::Update, data(7, "b"), None), "bob, admission");
    assert_eq!(script.who(Operation::Update, data(8, "a"), None), "unknown", "version 6 was another one's");
    assert_eq!(script.who(Operation::Update, data(10, "a"), None), "carol, admission");
    assert_eq!(script.who(Operation::Update, data(9, "a"), None), "unknown", "carol replaced it");
    assert_eq!(script.who(Operation::Update, data(6, "a"), Some(5)), "alice, admission");
    assert_eq!(script.who(Operation::Update, data(6, "a"), None), "unknown", "that made another version");
}

#[test]
fn managed_fields_join_only_what_is_shown_otherwise() {
    let shown = |script: &mut Script, of| {
        let shown = object(1, 6, &json!({"data": {"v": "a"}, "metadata": {"labels": {"job-name": "o1"}}}));
        script.who_of(of, Operation::Update, shown, Some(5))
    };
    let ask = |script: &mut Script, user, data: &str, more: &Value| {
        let new = object(1, 5, &json!({"data": {"v": data}}));
        script.asks(user, "UPDATE", Some(object(1, 5, &json!({}))), Some(new), more);
    };
    let jobs = ("batch", "jobs");
    let mut script = Script::new();
    ask(&mut script, "alice", "a", &of("", "configmaps"));
    assert_eq!(shown(&mut script, CONFIGMAPS), "unknown");

    let mut script = Script::new();
    ask(&mut script, "alice", "a", &of("batch", "jobs"));
    assert_eq!(shown(&mut script, jobs), "alice, admission by managed fields");
    ask(&mut script, "bob", "b", &of("batch", "jobs"));
    assert_eq!(shown(&mut script, jobs), "alice or bob");

    let mut script = Script::new();
    let converted = json!({"requestResource": {"version": "v1beta1"}});
    ask(&mut script, "alice", "a", &converted);
    assert_eq!(shown(&mut script, CONFIGMAPS), "alice, admission by managed fields");

    // What another run has been told may be of somebody who lost against a request that nobody told of.
    let mut script = Script::new();
    let new = object(1, 5, &json!({"data": {"v": "a"}}));
    let fact = script.fact(&review("alice", "UPDATE", Some(object(1, 5, &json!({}))), Some(new), &of("batch", "jobs")));
    script.facts.recall(script.now, &fact);
    assert_eq!(shown(&mut script, jobs), "unknown");
    ask(&mut script, "bob", "b", &of("batch", "jobs"));
    assert_eq!(shown(&mut script, jobs), "unknown");
}

#[test]
fn a_scale_joins_by_the_replicas_that_it_changes() {
    let deployments = ("apps", "deployments");
    let scale = json!({"kind": {"group": "autoscaling", "kind": "Scale"}, "subResource": "scale"});
    let replicas = |version, replicas: u32| match replicas {
        0 => object(1, version, &json!({"spec": {}})),
        _ => object(1, version, &json!({"spec": {"replicas": replicas}})),
    };
    let deployment =
        |version, replicas: u32| object(1, version, &json!({"spec": {"replicas": replicas, "template": {}}}));
    let who = |script: &mut Script, n| script.who_of(deployments, Operation::Update, deployment(6, n), Some(5));

    let mut script = Script::new();
    script.asks("alice", "UPDATE", Some(replicas(5, 3)), Some(replicas(5, 0)), &scale);
    assert_eq!(who(&mut script, 0), "alice, admission");
    assert_eq!(who(&mut script, 3), "unknown", "a controller's status was faster");
    assert_eq!(script.who_of(deployments, Operation::Update, deployment(7, 0), Some(6)), "unknown");
    let old = deployment(5, 3);
    script.asks("bob", "UPDATE", Some(old), Some(deployment(5, 0)), &of("apps", "deployments"));
    assert_eq!(who(&mut script, 0), "bob, admission", "the whole object says more");

    let mut script = Script::new();
    script.asks("alice", "UPDATE", Some(replicas(5, 3)), Some(replicas(5, 3)), &scale);
    assert_eq!(who(&mut script, 3), "unknown", "it changed nothing");
}

#[test]
fn a_deletion_is_by_who_asked_for_it_first() {
    let mut script = Script::new();
    script.deletes("alice", data(5, "a"), &json!({}));
    let terminating = |version| {
        let mut object = going();
        object["data"]["v"] = "a".into();
        self::object(1, version, &object)
    };
    assert_eq!(script.who(Operation::Update, terminating(6), Some(5)), "alice, admission");
    // Another one deletes what goes already, and removes the finalizer; however long that takes.
    script.deletes("bob", terminating(6), &json!({}));
    let mut last = terminating(6);
    last["metadata"]["finalizers"].take();
    script.asks("bob", "UPDATE", Some(terminating(6)), Some(last.clone()), &json!({}));
    script.now += 1000;
    script.facts.age(script.now);
    last["metadata"]["resourceVersion"] = "7".into();
    assert_eq!(script.who(Operation::Delete, last, Some(6)), "alice, admission");
}

#[test]
fn two_who_delete_one_version_are_ambiguous() {
    let mut script = Script::new();
    script.deletes("alice", data(4, "a"), &json!({}));
    script.deletes("bob", data(5, "a"), &json!({}));
    assert_eq!(script.who(Operation::Delete, data(6, "a"), Some(5)), "bob, admission", "alice was refused");
    let mut script = Script::new();
    script.deletes("alice", data(5, "a"), &json!({}));
    script.deletes("bob", data(5, "a"), &json!({}));
    script.deletes("bob", data(5, "a"), &json!({}));
    assert_eq!(script.who(Operation::Delete, data(6, "a"), Some(5)), "alice or bob");
    let mut script = Script::new();
    script.deletes("alice", data(4, "a"), &json!({}));
    script.updates("bob", 5, "b");
    assert_eq!(script.who(Operation::Delete, data(7, "b"), None), "unknown", "version 5 was there after alice asked");
    assert_eq!(Script::new().who(Operation::Delete, data(7, "b"), Some(6)), "unknown");
}

#[test]
fn deletecollection_and_generated_names_are_as_any_other() {
    let mut script = Script::new();
    script.deletes("alice", data(5, "a"), &json!({"name": ""}));
    assert_eq!(script.who(Operation::Delete, data(6, "a"), Some(5)), "alice, admission");
    let generated = json!({"metadata": {"generateName": "o"}});
    script.asks("bob", "CREATE", None, Some(object(3, 0, &generated)), &json!({"name": ""}));
    assert_eq!(script.who(Operation::Create, object(3, 9, &generated), None), "bob, admission");
}

#[test]
fn an_eviction_joins_the_pod_that_goes_for_it() {
    let pods = ("", "pods");
    let eviction = json!({"metadata": {"name": "o1", "namespace": "shop"}});
    let more = json!({"resource": {"resource": "pods"}, "subResource": "eviction", "kind": {"kind": "Eviction"}});
    let mut script = Script::new();
    script.asks("alice", "CREATE", None, Some(eviction.clone()), &more);
    assert_eq!(script.who_of(pods, Operation::Update, object(1, 6, &going()), Some(5)), "alice, admission");
    // The Pod of that name that follows, as a StatefulSet makes it, was not evicted.
    let mut next = object(1, 9, &json!({}));
    next["metadata"]["uid"] = uid(2).into();
    assert_eq!(script.who_of(pods, Operation::Delete, next, Some(8)), "unknown");

    let mut script = Script::new();
    script.asks("alice", "CREATE", None, Some(eviction.clone()), &more);
    script.deletes("bob", object(1, 5, &json!({})), &of("", "pods"));
    assert_eq!(script.who_of(pods, Operation::Update, object(1, 6, &going()), Some(5)), "bob, admission");

    let mut script = Script::new();
    script.asks("alice", "CREATE", None, Some(eviction), &more);
    script.now += 60;
    let late = script.who_of(pods, Operation::Update, object(1, 6, &going()), Some(5));
    assert_eq!(late, "unknown", "a disruption budget refused it");
}

fn namespace(uid: u8, version: u64) -> Value {
    let mut namespace = object(uid, version, &json!({"metadata": {"name": "shop"}}));
    namespace["metadata"].as_object_mut().unwrap().remove("namespace");
    namespace
}

#[test]
fn what_is_in_a_namespace_goes_for_who_deleted_it() {
    let mut script = Script::new();
    script.deletes("alice", namespace(9, 3), &of("", "namespaces"));
    script.deletes(NAMESPACE_CONTROLLER, data(5, "a"), &json!({}));
    assert_eq!(script.who(Operation::Delete, data(6, "a"), Some(5)), "alice, cascade");
    // A later namespace of that name is another one.
    script.deletes("bob", namespace(10, 20), &of("", "namespaces"));
    assert_eq!(script.who(Operation::Delete, data(6, "a"), Some(5)), "alice, cascade");
    script.deletes(NAMESPACE_CONTROLLER, object(2, 21, &json!({})), &json!({}));
    assert_eq!(script.who(Operation::Delete, object(2, 22, &json!({})), Some(21)), "bob, cascade");
    let unasked = format!("{NAMESPACE_CONTROLLER}, admission");
    let mut script = Script::new();
    script.deletes(NAMESPACE_CONTROLLER, data(5, "a"), &json!({}));
    assert_eq!(script.who(Operation::Delete, data(6, "a"), Some(5)), unasked);
}

#[test]
fn what_is_owned_goes_for_who_deleted_the_owner() {
    let owned = |uid: u8, version, owners: &[u8]| {
        let owners: Vec<_> = owners.iter().map(|&owner| json!({"kind": "Any", "uid": self::uid(owner)})).collect();
        object(uid, version, &json!({"metadata": {"ownerReferences": owners}}))
    };
    let mut script = Script::new();
    // Deployment, ReplicaSet, Pod.
    script.deletes("alice", object(1, 5, &json!({})), &of("apps", "deployments"));
    script.deletes(GARBAGE_COLLECTOR, owned(2, 4, &[1]), &of("apps", "replicasets"));
    script.deletes(GARBAGE_COLLECTOR, owned(3, 3, &[2]), &of("", "pods"));
    assert_eq!(script.who(Operation::Delete, owned(3, 9, &[2]), Some(3)), "alice, cascade");

    script.deletes("bob", object(4, 5, &json!({})), &json!({}));
    script.deletes(GARBAGE_COLLECTOR, owned(5, 5, &[1, 4]), &json!({}));
    assert_eq!(script.who(Operation::Delete, owned(5, 9, &[1, 4]), Some(5)), "alice or bob");
    let itself = format!("{GARBAGE_COLLECTOR}, admission");
    script.deletes(GARBAGE_COLLECTOR, owned(6, 5, &[1, 77]), &json!({}));
    assert_eq!(script.who(Operation::Delete, owned(6, 9, &[1, 77]), Some(5)), itself);
    // Two that own each other.
    script.deletes(GARBAGE_COLLECTOR, owned(7, 5, &[8]), &json!({}));
    script.deletes(GARBAGE_COLLECTOR, owned(8, 5, &[7]), &json!({}));
    assert_eq!(script.who(Operation::Delete, owned(7, 9, &[8]), Some(5)), itself);
}

/// The owner waits for a finalizer while reverser is started again, which sees no more of it than its end.
#[test]
fn whoever_deleted_an_owner_before_a_restart_is_behind_what_goes_with_it() {
    let owned = object(2, 4, &json!({"metadata": {"ownerReferences": [{"kind": "Any", "uid": uid(1)}]}}));
    let released = json!({"metadata": {"deletionTimestamp": "2026-11-27T08:00:00Z"}});
    for (operation, event) in [
        (Operation::Delete, object(1, 12, &going())),
        // Of two finalizers one is left.
        (Operation::Update, object(1, 12, &going())),
    ] {
        let mut script = Script::new();
        let body = review("alice", "DELETE", Some(object(1, 5, &json!({}))), None, &json!({}));
        let fact = script.fact(&body);
        script.facts.recall(script.now, &fact);
        script.asks("bob", "UPDATE", Some(object(1, 11, &going())), Some(object(1, 11, &released)), &json!({}));
        assert_eq!(script.who(operation, event, Some(11)), "alice, admission");
        script.deletes(GARBAGE_COLLECTOR, owned.clone(), &json!({}));
        assert_eq!(script.who(Operation::Delete, owned.clone(), Some(4)), "alice, cascade");
    }
}

#[test]
fn controllers_that_share_a_user_cascade_only_from_what_is_seen_to_go() {
    let manager = "system:kube-controller-manager";
    let owned = |version| object(2, version, &json!({"metadata": {"ownerReferences": [{"uid": uid(1)}]}}));
    let mut script = Script::new();
    // Refused; then the ReplicaSet's controller scales down.
    script.deletes("alice", object(1, 5, &json!({})), &json!({}));
    script.deletes(manager, owned(4), &json!({}));
    assert_eq!(script.who(Operation::Delete, owned(9), Some(4)), "system:kube-controller-manager, admission");
    assert_eq!(script.who(Operation::Delete, object(1, 6, &json!({})), Some(5)), "alice, admission");
    assert_eq!(script.who(Operation::Delete, owned(9), Some(4)), "alice, cascade");
}

#[test]
fn instances_go_for_who_deleted_their_definition() {
    let widgets = ("example.com", "widgets");
    let definition = |version| object(9, version, &json!({"metadata": {"name": "widgets.example.com"}}));
    let definitions = of("apiextensions.k8s.io", "customresourcedefinitions");
    let gone =
        |script: &mut Script, uid| script.who_of(widgets, Operation::Delete, object(uid, 8, &json!({})), Some(7));
    let mut script = Script::new();
    script.deletes("alice", definition(5), &definitions);
    assert_eq!(gone(&mut script, 1), "alice, cascade");
    script.deletes("bob", object(2, 7, &json!({})), &of("example.com", "widgets"));
    assert_eq!(gone(&mut script, 2), "bob, admission");
    assert_eq!(script.who(Operation::Delete, object(3, 8, &json!({})), Some(7)), "unknown", "it is no widget");
    script.now += 100;
    assert_eq!(gone(&mut script, 4), "unknown", "it may have been refused");
    script.who_of(
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        Operation::Update,
        {
            let mut going = definition(6);
            going["metadata"]["deletionTimestamp"] = "2026-11-27T08:00:00Z".into();
            going
        },
        Some(5),
    );
    assert_eq!(gone(&mut script, 5), "alice, cascade");
    script.asks("bob", "CREATE", None, Some(definition(0)), &definitions);
    assert_eq!(gone(&mut script, 6), "unknown", "it is another definition's");
}

#[test]
fn what_is_too_old_or_too_many_is_forgotten_and_counted() {
    let mut script = Script::new();
    script.updates("alice", 5, "a");
    script.now += 601;
    script.facts.age(script.now);
    assert_eq!((script.facts.len(), script.facts.dropped()), (0, 0));
    let limits = Limits { writes: 2, ..Limits::default() };
    let mut script = Script { facts: Facts::new(Fingerprinter::new([7; 16]), limits), now: 1000 };
    script.updates("alice", 5, "a");
    script.updates("bob", 6, "b");
    assert_eq!(script.who(Operation::Update, data(6, "a"), Some(5)), "alice, admission");
    script.updates("carol", 7, "c");
    assert_eq!((script.facts.len(), script.facts.dropped()), (2, 0), "it has joined");
    script.updates("carol", 8, "d");
    assert_eq!((script.facts.len(), script.facts.dropped()), (2, 1));
    assert_eq!(script.who(Operation::Update, data(7, "b"), Some(6)), "unknown");
    let fact = script.fact(&review("alice", "UPDATE", Some(data(9, "a")), Some(data(9, "b")), &json!({})));
    (0..5).for_each(|_| script.facts.recall(script.now, &fact));
    assert_eq!((script.facts.len(), script.facts.dropped()), (2, 1), "what is read back is no news");
}

/// The arithmetic of [`Limits`]. A map grows when it is 7/8 full, and, where entries come and go, when it is 7/16 full.
#[test]
fn facts_take_as_much_as_is_said() {
    let node = size_of::<ring::Node<Uid, Written>>();
    let slot = size_of::<(Uid, u64)>() + 1;
    assert_eq!((node, slot), (96, 33));
    let Limits { writes, deletions, roots, .. } = Limits::default();
    let most = |node: usize, count: usize| count.next_power_of_two() * (node + 4 * slot);
    assert!(most(node, writes) <= 15 << 20, "{}", most(node, writes));
    let deleted = size_of::<ring::Node<Uid, Deleted>>() + size_of::<ring::Node<Uid, Going>>() + 4 * slot;
    assert!(most(deleted, deletions) <= 8 << 20, "{}", most(deleted, deletions));
    assert!(most(deleted, roots) <= 1 << 20);
}
