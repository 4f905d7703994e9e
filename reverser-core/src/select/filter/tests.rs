use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn resource(group: &str, plural: &str, kind: &str) -> Resource {
    Resource::new(group, "v1", kind, plural)
}

fn body() -> Value {
    json!({"metadata": {"name": "web-1", "namespace": "shop",
        "labels": {"app": "web"}, "annotations": {"example.com/owner": "team-a"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}],
        "managedFields": [{"manager": "kubectl-edit"}, {"manager": "kubelet", "subresource": "status"}]}})
}

fn holds(filter: &str) -> bool {
    let body = body();
    let object = ObjectRef::of(&Arc::new(resource("apps", "replicasets", "ReplicaSet")), &body).unwrap();
    let actor = Actor::user("system:serviceaccount:ci:bot");
    let known = Known { operation: Some(Operation::Update), ..Known::of_object(&object, Body::Live(&body)) };
    let filter: Filter = filter.parse().unwrap_or_else(|error| panic!("{error}"));
    filter.holds_for_somebody(&known).expect("all is known") && filter.is_by(Some(&actor))
}

#[test]
fn each_term_is_about_what_its_name_says() {
    for yes in [
        "annotation=example.com/owner",
        "annotation=example.com/owner=team-?",
        "group=apps",
        "group=*",
        "kind=ReplicaSet",
        "kind=replica*",
        "label=app=web",
        "label=\"app in (api, web),!tier\"",
        "label=app=api|app=web",
        "manager=kubectl-*",
        "name=web-?",
        "name==web-1",
        "namespace=shop|other",
        "operation=create|update",
        "operation=UPDATE",
        "owner=Deployment/web",
        "owner=deployment",
        "owner=Deployment.apps/w*",
        "owner=*",
        "resource=replicasets",
        "resource=ReplicaSets.apps",
        "resource=*.apps",
        "user=system:serviceaccount:ci:*",
        "version=v1",
        "  name=web-1\tnamespace=shop ",
    ] {
        assert!(holds(yes), "{yes}");
    }
    for no in [
        "annotation=example.com",
        "annotation=example.com/owner=team-b",
        "group=core",
        "group=\"\"",
        "kind=Deployment",
        "label=app=api",
        "label=app=web,tier",
        "manager=kubelet",
        "name=web",
        "namespace=sho",
        "operation=create|delete",
        "owner=Deployment/api",
        "owner=Deployment.extensions",
        "owner=Deployment.",
        "resource=replicasets.",
        "resource=replicasets.extensions",
        "user=ci:*",
        "version=v1beta1",
        "name=web-1 namespace=other",
    ] {
        assert!(!holds(no), "{no}");
        if !no.contains(' ') {
            assert!(holds(&no.replacen('=', "!=", 1)), "not {no}");
        }
    }
}

#[test]
fn the_core_group_has_two_names() {
    let pods = resource("", "pods", "Pod");
    let holds = |filter: &str| filter.parse::<Filter>().unwrap().holds(&Known::of(&pods)).unwrap();
    assert!(holds("group=core") && holds("group=\"\"") && holds("resource=pods.") && holds("resource=pods"));
    assert!(!holds("group!=core") && !holds("group=*.*") && !holds("resource=pods.apps"));
}

#[test]
fn what_is_not_known_settles_nothing_unless_something_else_does() {
    let pods = resource("", "pods", "Pod");
    for (filter, expected) in [
        ("name=a", None),
        ("name!=a", None),
        ("kind=Pod user=a", None),
        ("kind=Job user=a", Some(false)),
        ("kind=Pod", Some(true)),
    ] {
        assert_eq!(filter.parse::<Filter>().unwrap().holds(&Known::of(&pods)), expected, "{filter}");
    }
    let roles = Resource { namespaced: false, ..resource("rbac.authorization.k8s.io", "clusterroles", "ClusterRole") };
    assert_eq!("namespace=*".parse::<Filter>().unwrap().holds(&Known::of(&roles)), Some(false));
}

#[test]
fn a_mistake_is_pointed_at_with_what_is_allowed_there() {
    let pointed = [
        "",
        "naem=web",
        "name=web =x",
        "name",
        "name!web",
        "name=",
        "name=a||b",
        "namespace=a,b",
        "namespace=shop/web",
        "name=\"a b",
        "user=\"a\\b\"",
        "user=\"a\"b",
        "annotation=\"example.com/x y=1\"",
        "label=\"app=web,tier in front\"",
        "label=app in (a)",
        "operation=read",
        "owner=/web",
        "group=\"\" kind=\"\"",
        "name=\u{e9}t\u{e9} kind=\u{e9}",
    ]
    .map(|wrong| wrong.parse::<Filter>().unwrap_err().pointed());
    insta::assert_snapshot!(format!("(nothing)\n{}", &pointed.join("\n")[1..]), @r#"
    (nothing)
    ^ found the end, expected one of the terms annotation, group, kind, label, manager, name, namespace, operation, owner, resource, user, version
    naem=web
    ^ found "naem", expected one of the terms annotation, group, kind, label, manager, name, namespace, operation, owner, resource, user, version
    name=web =x
             ^ found '=', expected one of the terms annotation, group, kind, label, manager, name, namespace, operation, owner, resource, user, version (a value with a blank stands in double quotes)
    name
        ^ found the end, expected = or != after the term's name
    name!web
         ^ found 'w', expected = after !
    name=
         ^ found the end, expected a value (an empty one is "")
    name=a||b
           ^ found '|', expected a value (an empty one is "")
    namespace=a,b
               ^ found ',', expected | between alternatives (a value with a comma stands in double quotes)
    namespace=shop/web
                  ^ found '/', expected letters, digits, -, . and the wildcards * and ?
    name="a b
             ^ found the end, expected the closing "
    user="a\b"
            ^ found 'b', expected " or \ after \
    user="a"b
            ^ found 'b', expected a blank or | (quotes stand around a whole value)
    annotation="example.com/x y=1"
                             ^ found ' ', expected an annotation's key (letters, digits, - _ . /), as KEY or KEY=VALUE
    label="app=web,tier in front"
                   ^ found "tier in front", expected 'key', '!key', 'key=value', 'key!=value', 'key in (a,b)' or 'key notin (a,b)'; with a blank, in double quotes
    label=app in (a)
              ^ found "in", expected one of the terms annotation, group, kind, label, manager, name, namespace, operation, owner, resource, user, version (a value with a blank stands in double quotes)
    operation=read
              ^ found "read", expected create, delete or update
    owner=/web
          ^ found '/', expected an owner's kind, as KIND or KIND/NAME
    group="" kind=""
                   ^ found '"', expected a name
    name=été kind=é
                  ^ found 'é', expected letters, digits, -, . and the wildcards * and ?
    "#);
}

/// Names with what quoting has to do with.
fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z*?./:-]{1,6}", "[a-z \"\\\\|,=!()\u{e9}]{0,6}"]
}

fn globs(name: &'static str) -> impl Strategy<Value = Vec<Glob>> {
    prop::collection::vec(name.prop_map(Glob::new), 1..3)
}

fn any_globs() -> impl Strategy<Value = Vec<Glob>> {
    prop::collection::vec(value().prop_map(Glob::new), 1..3)
}

fn test() -> impl Strategy<Value = Test> {
    let glob = || value().prop_map(Glob::new);
    let annotation = ("[a-z./]{1,6}", prop::option::of(glob()));
    let annotation = annotation.prop_map(|(key, value)| AnnotationPattern { key, value });
    // A kind without a slash, which would end it.
    let owner = ("[A-Za-z.*]{1,6}", prop::option::of(glob()));
    let owner = owner.prop_map(|(kind, name)| OwnerPattern { kind: Glob::new(kind), name });
    let requirement = prop_oneof![
        "[a-z/.]{1,4}(=|!=)[a-z0-9-]{0,3}",
        "!?[a-z]{1,4}",
        "[a-z]{1,4} (in|notin) \\([a-z]{0,3}(,[a-z]{0,3}){0,2}\\)"
    ];
    let label =
        prop::collection::vec(requirement, 1..3).prop_map(|requirements| requirements.join(",").parse().unwrap());
    let operation = prop::sample::select(vec![Operation::Create, Operation::Delete, Operation::Update]);
    prop_oneof![
        prop::collection::vec(annotation, 1..3).prop_map(Test::Annotation),
        globs("[a-z.*]{0,6}").prop_map(Test::Group),
        globs("[A-Za-z?*]{1,6}").prop_map(Test::Kind),
        prop::collection::vec(label, 1..3).prop_map(Test::Label),
        any_globs().prop_map(Test::Manager),
        any_globs().prop_map(Test::Name),
        globs("[a-z0-9*-]{1,6}").prop_map(Test::Namespace),
        prop::collection::vec(operation, 1..3).prop_map(Test::Operation),
        prop::collection::vec(owner, 1..3).prop_map(Test::Owner),
        globs("[a-z.*]{1,6}").prop_map(Test::Resource),
        any_globs().prop_map(Test::User),
        globs("v[0-9*]{1,6}").prop_map(Test::Version),
    ]
}

proptest! {
    #[test]
    fn what_is_shown_is_read_as_the_same_filter(
        terms in prop::collection::vec((test(), any::<bool>()).prop_map(|(test, negated)| Term { test, negated }), 1..4)
    ) {
        let filter = Filter { terms };
        prop_assert_eq!(filter.to_string().parse::<Filter>(), Ok(filter));
    }

    #[test]
    fn any_text_is_a_filter_or_an_error_that_points_into_it(
        text in prop_oneof![".*", "(name|label|owner|annotation|operation|group)(=|!=)[a-z\"\\\\|,=! ()\u{e9}]{0,12}"]
    ) {
        match text.parse::<Filter>() {
            Ok(filter) => prop_assert_eq!(filter.to_string().parse::<Filter>(), Ok(filter)),
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.at()), "{}", error),
        }
    }
}
