//! What others need is waited for.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use reverser_testbed::{BareRepo, ControlPlane, ControlPlaneOptions};
use serde_json::json;

use super::{definition, namespace, says};
use crate::scene::{Scene, home, run};

#[test]
fn a_pod_waits_for_the_service_account_of_its_new_namespace_and_a_quota_does_not_stand_in_its_way() {
    run(async {
        // Admission as clusters have it: no Pod without its service account.
        let options = ControlPlaneOptions { disabled_admission_plugins: vec![], ..ControlPlaneOptions::default() };
        let (plane, repo, home) =
            (ControlPlane::start(options).await.unwrap(), BareRepo::temporary().await.unwrap(), home());
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: fresh}\nspec: {containers: [{name: a, image: a}]}\n";
        let quota =
            "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: a, namespace: fresh}\nspec: {hard: {pods: '1'}}\n";
        for (path, text) in [("a/pod.yaml", pod), ("b/quota.yaml", quota), ("c/namespace.yaml", &namespace("fresh"))] {
            repo.commit_as_other("main", path, text).await.unwrap();
        }
        let arguments = ["restore", "--repo", &repo.url(), "--kubeconfig", plane.kubeconfig().to_str().unwrap()];
        says(&home.run(&arguments).await.exits_with(0), &["3 created"]);
        Api::<Pod>::namespaced(plane.client(), "fresh").get("a").await.unwrap();
    });
}

#[test]
fn a_definition_whose_names_are_taken_says_so_and_its_objects_say_what_they_lack() {
    run(async {
        let scene = Scene::shared("taken-names").await;
        let group = "taken.example.com";
        let other =
            definition(group).replace("widgets", "gadgets").replace("\"widget\"", "\"gadget\"").replace("wd", "gd");
        scene.commits(&[("widgets.json", &definition(group))]).await;
        says(&scene.restore(&[], 0).await, &["1 created"]);
        scene.commits(&[("gadgets.json", &other)]).await;
        let said = scene.restore(&["-o", "json"], 1).await;
        let start = said.find("{\n").unwrap();
        let document: serde_json::Value = serde_json::from_str(&said[start..=said.rfind('}').unwrap()]).unwrap();
        assert_eq!(document["counts"], json!({"created": 0, "changed": 0, "unchanged": 1, "deleted": 0, "failed": 1}));
        let failed =
            document["objects"].as_array().unwrap().iter().find(|object| object["outcome"] == "failed").unwrap();
        assert_eq!(failed["name"], format!("gadgets.{group}"));
        says(failed["reason"].as_str().unwrap(), &["NamesAccepted is False", "run this again"]);
    });
}
