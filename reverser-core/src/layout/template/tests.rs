use std::{collections::BTreeMap, sync::Arc};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::*;
use crate::testing::layout_conforms;

fn layout(template: &str) -> TemplateLayout {
    template.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> Resource {
    let (group, version, kind, plural) = (group.into(), version.into(), kind.into(), plural.into());
    Resource { group, version, kind, plural, namespaced: true, has_status: true }
}

fn object(resource: Resource, namespace: Option<&str>, name: &str) -> ObjectRef {
    ObjectRef { resource: Arc::new(resource), namespace: namespace.map(str::to_owned), name: name.into(), uid: None }
}

#[test]
fn templates_that_people_write_are_taken() {
    let web = object(resource("apps", "v1", "Deployment", "deployments"), Some("shop"), "web");
    let role = object(resource("", "v1", "Node", "nodes"), None, "system:node");
    let policy = object(resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"), Some("shop"), "Deny");
    let mut placed = String::new();
    for template in TAKEN {
        let layout = layout(template);
        layout_conforms(&layout);
        let paths = [&web, &role, &policy].map(|object| format!("    {}\n", layout.place(object)));
        placed.push_str(&format!("{layout}\n{}", paths.concat()));
    }
    insta::assert_snapshot!(placed, @r#"
    {group}/{kind|lower}/{namespace}/{name}.yaml
        apps/deployment/shop/web.yaml
        _core/node/_cluster/system%3anode.yaml
        networking.k8s.io/networkpolicy/shop/%44eny.yaml
    {group}/{version}/{resource}/{namespace}/{name}.yml
        apps/v1/deployments/shop/web.yml
        _core/v1/nodes/_cluster/system%3anode.yml
        networking.k8s.io/v1/networkpolicies/shop/%44eny.yml
    {namespace}/{resource}.{group}/{name}.yaml
        shop/deployments.apps/web.yaml
        _cluster/nodes._core/system%3anode.yaml
        shop/networkpolicies.networking.k8s.io/%44eny.yaml
    {namespace}/{group}.{resource}/{name}.yaml
        shop/apps.deployments/web.yaml
        _cluster/_core.nodes/system%3anode.yaml
        shop/networking.k8s.io.networkpolicies/%44eny.yaml
    clusters/east/{namespace}/{group}/{name}.{kind|lower}.yaml
        clusters/east/shop/apps/web.deployment.yaml
        clusters/east/_cluster/_core/system%3anode.node.yaml
        clusters/east/shop/networking.k8s.io/%44eny.networkpolicy.yaml
    {group}/{kind|lower}/{namespace}/{kind|lower}-{name}.yaml
        apps/deployment/shop/deployment-web.yaml
        _core/node/_cluster/node-system%3anode.yaml
        networking.k8s.io/networkpolicy/shop/networkpolicy-%44eny.yaml
    {group}_{kind|lower}/{namespace}.{name}.yaml
        apps_deployment/shop.web.yaml
        _core_node/_cluster.system%3anode.yaml
        networking.k8s.io_networkpolicy/shop.%44eny.yaml
    { group | default("_none") }/{resource}/{namespace|default('_global')}/{name}.yaml
        apps/deployments/shop/web.yaml
        _none/nodes/_global/system%3anode.yaml
        networking.k8s.io/networkpolicies/shop/%44eny.yaml
    {group}/{kind}/ns-{namespace}/{name}/{version}.yaml
        apps/%44eployment/ns-shop/web/v1.yaml
        _core/%4eode/ns-_cluster/system%3anode/v1.yaml
        networking.k8s.io/%4eetwork%50olicy/ns-shop/%44eny/v1.yaml
    {namespace}_{resource}_{group}_{name}.yaml
        shop_deployments_apps_web.yaml
        _cluster_nodes__core_system%3anode.yaml
        shop_networkpolicies_networking.k8s.io_%44eny.yaml
    {version}/{group}_{resource}_{namespace}_{name}.yaml
        v1/apps_deployments_shop_web.yaml
        v1/_core_nodes__cluster_system%3anode.yaml
        v1/networking.k8s.io_networkpolicies_shop_%44eny.yaml
    "#);
}

const TAKEN: [&str; 11] = [
    "{group}/{kind|lower}/{namespace}/{name}.yaml",
    "{group}/{version}/{resource}/{namespace}/{name}.yml",
    "{namespace}/{resource}.{group}/{name}.yaml",
    "{namespace}/{group}.{resource}/{name}.yaml",
    "clusters/east/{namespace}/{group}/{name}.{kind|lower}.yaml",
    "{group}/{kind|lower}/{namespace}/{kind|lower}-{name}.yaml",
    "{group}_{kind|lower}/{namespace}.{name}.yaml",
    "{ group | default(\"_none\") }/{resource}/{namespace|default('_global')}/{name}.yaml",
    "{group}/{kind}/ns-{namespace}/{name}/{version}.yaml",
    "{namespace}_{resource}_{group}_{name}.yaml",
    "{version}/{group}_{resource}_{namespace}_{name}.yaml",
];

#[test]
fn a_template_that_could_confuse_two_objects_or_a_checkout_is_refused_at_its_place() {
    let refused = REFUSED.map(|template| template.parse::<TemplateLayout>().unwrap_err().to_string());
    insta::assert_snapshot!(refused.join("\n"), @r#"
    layout "", character 1: a folder without a name: single slashes, and none at the ends
    layout "{name}.yaml", character 12: two objects could get the same path: {group} is missing
    layout "{group}/{namespace}/{name}.yaml", character 32: two objects could get the same path: {resource} is missing
    layout "{resource}/{namespace}/{name}.yaml", character 35: two objects could get the same path: {group} is missing
    layout "{group}/{resource}/{name}.yaml", character 31: two objects could get the same path: {namespace} is missing
    layout "{group}/{resource}/{namespace}/all.yaml", character 40: two objects could get the same path: {name} is missing
    layout "{group}/{resource}/{namespace}-{name}.yaml", character 20: two objects could get the same path: it can't be told where {namespace} begins or ends, since it may contain what stands there; give it a folder of its own, or set it off with '.'
    layout "{group}/{resource}/{name}.{namespace}-x.{name}.yaml", character 27: two objects could get the same path: it can't be told where {namespace} begins or ends, since it may contain what stands there; give it a folder of its own, or set it off with '.'
    layout "{group}.{resource}{namespace}/{name}.yaml", character 1: two objects could get the same path: it can't be told where {group} begins or ends, since it may contain what stands there; give it a folder of its own, or set it off with '_'
    layout "{group}/{kind|lower}-{name}/{namespace}.yaml", character 9: two objects could get the same path: it can't be told where {kind|lower} begins or ends, since it may contain what stands there; give it a folder of its own, or set it off with '.'
    layout "{group}/{kind|lower}_{name}/{namespace}.yaml", character 9: two objects could get the same path: it can't be told where {kind|lower} begins or ends, since it may contain what stands there; give it a folder of its own, or set it off with '.'
    layout "{group}/{resource}/{name}_{namespace}.yaml", character 27: two objects could get the same path: it can't be told where {namespace} begins or ends, since it may contain what stands there; give it a folder of its own, or set it off with '.'
    layout "{group}/{resource}/{namespace}/{name}", character 38: the file has to end with .yaml or .yml
    layout "{group}/{resource}/{namespace}/{name}.json", character 43: the file has to end with .yaml or .yml
    layout "{group}/{resource}/{namespace}/{name}.sops.yaml", character 38: .sops.yaml is for what is encrypted; write .yaml
    layout "/{group}/{resource}/{namespace}/{name}.yaml", character 1: a folder without a name: single slashes, and none at the ends
    layout "{group}//{resource}/{namespace}/{name}.yaml", character 9: a folder without a name: single slashes, and none at the ends
    layout "{group}/{resource}/{namespace}/{name}.yaml/", character 44: a folder without a name: single slashes, and none at the ends
    layout "../{group}/{resource}/{namespace}/{name}.yaml", character 1: ".." is no name that a checkout on Linux, macOS and Windows keeps as it is
    layout ".git/{group}/{resource}/{namespace}/{name}.yaml", character 1: ".git" is no name that a checkout on Linux, macOS and Windows keeps as it is
    layout "con/{group}/{resource}/{namespace}/{name}.yaml", character 1: "con" is no name that a checkout on Linux, macOS and Windows keeps as it is
    layout "Äpfel/{group}/{resource}/{namespace}/{name}.yaml", character 1: 'Ä' can't stand here: a-z, 0-9, '-', '_', '.', '/' and placeholders such as {name} can
    layout "äpfel/{grupp}/x.yaml", character 1: 'ä' can't stand here: a-z, 0-9, '-', '_', '.', '/' and placeholders such as {name} can
    layout "{group/{resource}.yaml", character 1: this '{' has no '}'
    layout "{group}/{resource}/{namespace}/{name.yaml", character 32: this '{' has no '}'
    layout "{group}}/{resource}/{namespace}/{name}.yaml", character 8: '}' can't stand here: a-z, 0-9, '-', '_', '.', '/' and placeholders such as {name} can
    layout "{group}/{resource}/{namespace}/{name|lower}.yaml", character 38: two objects could get the same path: names may differ in nothing but case
    layout "{group}/{resource|lower}/{namespace}/{name}.yaml", character 19: lower is for kinds; all other names but {name} are in lower case already
    layout "{group}/{kind | snake}/{namespace}/{name}.yaml", character 17: there is no filter "snake", but lower (for kinds) and default("_word")
    layout "{group|default(\"core\")}/{resource}/{namespace}/{name}.yaml", character 8: write default("_word"): '_', then a-z, 0-9, '-', '_' or '.'; names of the API never begin with '_'
    layout "{group}/{resource}/{namespace}/{name|default(\"_\")}.yaml", character 38: default is for {group} and {namespace}; nothing else is ever empty
    layout "a/b/c/d/e/f/g/h/i/j/k/l/m.yaml", character 25: more than 12 folders
    "#);
}

const REFUSED: [&str; 32] = [
    "",
    "{name}.yaml",
    "{group}/{namespace}/{name}.yaml",
    "{resource}/{namespace}/{name}.yaml",
    "{group}/{resource}/{name}.yaml",
    "{group}/{resource}/{namespace}/all.yaml",
    "{group}/{resource}/{namespace}-{name}.yaml",
    "{group}/{resource}/{name}.{namespace}-x.{name}.yaml",
    "{group}.{resource}{namespace}/{name}.yaml",
    "{group}/{kind|lower}-{name}/{namespace}.yaml",
    "{group}/{kind|lower}_{name}/{namespace}.yaml",
    "{group}/{resource}/{name}_{namespace}.yaml",
    "{group}/{resource}/{namespace}/{name}",
    "{group}/{resource}/{namespace}/{name}.json",
    "{group}/{resource}/{namespace}/{name}.sops.yaml",
    "/{group}/{resource}/{namespace}/{name}.yaml",
    "{group}//{resource}/{namespace}/{name}.yaml",
    "{group}/{resource}/{namespace}/{name}.yaml/",
    "../{group}/{resource}/{namespace}/{name}.yaml",
    ".git/{group}/{resource}/{namespace}/{name}.yaml",
    "con/{group}/{resource}/{namespace}/{name}.yaml",
    "Äpfel/{group}/{resource}/{namespace}/{name}.yaml",
    "äpfel/{grupp}/x.yaml",
    "{group/{resource}.yaml",
    "{group}/{resource}/{namespace}/{name.yaml",
    "{group}}/{resource}/{namespace}/{name}.yaml",
    "{group}/{resource}/{namespace}/{name|lower}.yaml",
    "{group}/{resource|lower}/{namespace}/{name}.yaml",
    "{group}/{kind | snake}/{namespace}/{name}.yaml",
    "{group|default(\"core\")}/{resource}/{namespace}/{name}.yaml",
    "{group}/{resource}/{namespace}/{name|default(\"_\")}.yaml",
    "a/b/c/d/e/f/g/h/i/j/k/l/m.yaml",
];

#[test]
fn a_sweep_looks_below_the_folders_that_all_objects_of_a_resource_share() {
    let folder = |template: &str| layout(template).folder(&resource("apps", "v1", "Deployment", "deployments"));
    let shared = |template: &str| folder(template).map(|folder| folder.to_string());
    assert_eq!(shared(TAKEN[0]).as_deref(), Some("apps/deployment"));
    assert_eq!(shared(TAKEN[1]).as_deref(), Some("apps/v1/deployments"));
    assert_eq!(shared(TAKEN[2]), None);
    assert_eq!(shared(TAKEN[4]).as_deref(), Some("clusters/east"));
    assert_eq!(shared(TAKEN[6]).as_deref(), Some("apps_deployment"));
    assert_eq!(shared(TAKEN[9]), None);
}

#[test]
fn a_sweep_reads_no_files_that_can_only_be_other_resources() {
    let may_hold = |template: &str, path: &str| {
        layout(template).may_hold(&resource("apps", "v1", "Deployment", "deployments"), &path.parse().unwrap())
    };
    assert!(may_hold(TAKEN[2], "shop/deployments.apps/web.yaml"));
    for other in ["shop/configmaps._core/web.yaml", "shop/web.yaml", "shop/deployments.apps/a/web.yaml", "README.md"] {
        assert!(!may_hold(TAKEN[2], other), "{other}");
    }
    assert!(
        may_hold(TAKEN[9], "shop_configmaps__core_web.yaml"),
        "one name can't be told from another without reading"
    );
}

#[test]
fn a_kind_stands_alone_where_it_tells_the_resource() {
    let lower = |kind: &str, plural: &str| {
        let object = object(resource("x.io", "v1", kind, plural), Some("n"), "o");
        let path = layout("{kind|lower}/{group}/{namespace}/{name}.yaml").place(&object);
        path.segments().next().unwrap_or_default().to_owned()
    };
    for (kind, plural, alone) in [
        ("Endpoints", "endpoints", "endpoints"),
        ("Ingress", "ingresses", "ingress"),
        ("NetworkPolicy", "networkpolicies", "networkpolicy"),
        ("Gateway", "gateways", "gateway"),
        ("Prometheus", "prometheuses", "prometheus"),
        ("HTTPProxy", "httpproxies", "httpproxy"),
        ("Batch", "batches", "batch"),
        ("Mailbox", "mailboxes", "mailbox"),
    ] {
        assert_eq!(lower(kind, plural), alone);
    }
    assert_eq!(lower("PodChaos", "podchaos"), "podchaos_podchaos");
    assert_eq!(lower("", "widgets"), "_widgets", "an audit log doesn't always tell");
    assert!(layout(TAKEN[0]).needs_kind() && !layout(TAKEN[1]).needs_kind());
}

#[test]
fn a_file_with_the_short_extension_keeps_it_however_long_its_name_is() {
    let long = object(resource("", "v1", "Node", "nodes"), None, &"n".repeat(253));
    assert!(layout(TAKEN[1]).place(&long).as_str().ends_with(".yml"));
}

/// Objects of a few letters that differ only in where one name ends and the next begins: whatever a wrong rule would let
/// through, some of them meet in it.
#[test]
fn templates_that_are_taken_give_any_two_objects_two_paths() {
    let objects = confusing_objects();
    for template in taken_at_random(600) {
        let mut placed = BTreeMap::new();
        for object in &objects {
            let path = template.place(object);
            if let Some(other) = placed.insert(path.clone(), object) {
                assert!(other.is_same_place(object), "{template}: {path} is the path of {object:?} and of {other:?}");
            }
        }
    }
}

#[test]
fn templates_that_are_taken_conform() {
    for template in taken_at_random(5) {
        layout_conforms(&template);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_at_a_character_that_it_has(text in prop_oneof![any::<String>(), template()]) {
        match text.parse::<TemplateLayout>() {
            Ok(layout) => prop_assert_eq!(layout.to_string(), text),
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.character())),
        }
    }
}

/// Returns so many different ones; the same in each run, so that a failure can be looked at.
fn taken_at_random(count: usize) -> Vec<TemplateLayout> {
    let mut runner = TestRunner::deterministic();
    let mut taken = BTreeMap::new();
    while taken.len() < count {
        let template = template().new_tree(&mut runner).unwrap().current();
        if let Ok(layout) = template.parse::<TemplateLayout>() {
            taken.insert(template, layout);
        }
    }
    taken.into_values().collect()
}

/// All placeholders in any order with anything between them, and now and then one more or one less.
fn template() -> impl Strategy<Value = String> {
    let resource = prop_oneof![Just("{resource}"), Just("{kind|lower}"), Just("{kind}")];
    let namespace =
        prop_oneof![Just("{namespace}"), Just("{namespace|default('_')}"), Just("{namespace|default('_b')}")];
    let group = prop_oneof![Just("{group}"), Just("{group|default('_')}"), Just("{group|default('_b')}")];
    let more = prop::collection::vec(
        prop_oneof![Just("{version}"), Just("{name}"), Just("{kind|lower}"), Just("{namespace}"), Just("{resource}")],
        0..3,
    );
    let order = (resource, namespace, group, more).prop_flat_map(|(resource, namespace, group, more)| {
        Just([vec![resource, namespace, group, "{name}"], more].concat()).prop_shuffle()
    });
    let between =
        prop::collection::vec(prop_oneof![3 => Just("/"), 1 => "[/._a-]{0,2}".prop_map(|text| &*text.leak())], 8);
    (order, between).prop_map(|(placeholders, between)| {
        let rest =
            placeholders[1..].iter().zip(between).map(|(placeholder, between)| format!("{between}{placeholder}"));
        format!("{}{}.yaml", placeholders[0], rest.collect::<String>())
    })
}

fn confusing_objects() -> Vec<ObjectRef> {
    let kinds = [("A", "as"), ("A-A", "a-as"), ("B", "as"), ("B", "bs"), ("As", "ases")];
    let names = ["a", "A", "a-a", "a.a", "a_a", "a/a", "a_", "b", "a_b", "as_a", "_cluster", "_core"];
    let mut objects = Vec::new();
    for group in ["", "a", "a.a", "a-a", "core"] {
        for (kind, plural) in kinds {
            let resource = Arc::new(resource(group, "v1", kind, plural));
            for namespace in [None, Some("a"), Some("a-a"), Some("cluster")] {
                objects.extend(names.map(|name| ObjectRef {
                    resource: Arc::clone(&resource),
                    namespace: namespace.map(str::to_owned),
                    name: name.to_owned(),
                    uid: None,
                }));
            }
        }
    }
    objects
}
