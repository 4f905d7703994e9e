//! `--prune`: what Git doesn't have, listed, and deleted when that is asked for.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{Api, api::ListParams};
use reverser_testbed::eventually;
use reverser_tests::LIMIT;
use serde_json::json;

use super::{config, definition, namespace, says, widget};
use crate::scene::{Scene, config_map, create, object, run};

#[test]
fn pruning_lists_first_refuses_without_consent_and_deletes_what_was_listed() {
    run(async {
        let scene = Scene::shared("pruned").await;
        let configs = scene.api::<ConfigMap>();
        for number in 0..30 {
            create(&configs, config_map(&format!("extra-{number}"), "1")).await;
        }
        create(&configs, object(json!({"metadata": {"name": "labelled", "labels": {"app": "a"}}}))).await;
        let secret = json!({"metadata": {"name": "never"}, "stringData": {"a": "b"}});
        create(&scene.api::<Secret>(), object::<Secret>(secret)).await;
        scene.commits(&[("kept.yaml", &config("pruned", "kept", "{key: '1'}"))]).await;
        let there = async || configs.list(&ListParams::default()).await.unwrap().items.len();
        let before = there().await;

        // The guard, and somebody to ask, come before anything is done.
        let prune = ["--prune", "-n", "pruned"];
        let said = scene.restore(&[&prune[..], &["--yes"]].concat(), 1).await;
        says(
            &said,
            &[
                "configmap/extra-7 -n pruned",
                "would delete 31 of 31 objects",
                "Nothing was done",
                "--allow-mass-delete",
            ],
        );
        let allowed = [&prune[..], &["--allow-mass-delete"]].concat();
        let said = scene.restore(&allowed, 2).await;
        says(&said, &["--prune deletes:", "configmap/extra-7 -n pruned", "nothing was done; add --yes"]);
        assert_eq!(there().await, before);

        // Nor does it go beyond the selection.
        let said = scene.restore(&["--prune", "--yes", "-n", "pruned", "-l", "app=a", "-r", "cm"], 2).await;
        says(&said, &["none of the 1 objects"]);
        let said = scene.restore(&["--prune", "--yes", "-n", "pruned", "--only", "name=kept|labelled"], 0).await;
        says(&said, &["created    configmap/kept", "deleted    configmap/labelled", "1 created, 1 deleted"]);
        assert_eq!(there().await, before);

        let said = scene.restore(&[&allowed[..], &["--yes"]].concat(), 0).await;
        says(
            &said,
            &["unchanged  configmap/kept", "deleted    configmap/extra-7 -n pruned", "1 unchanged, 30 deleted"],
        );
        let left: Vec<_> = configs
            .list(&ListParams::default())
            .await
            .unwrap()
            .into_iter()
            .filter_map(|left| left.metadata.name)
            .collect();
        assert_eq!(left, ["kept", "kube-root-ca.crt"]);
        scene.api::<Secret>().get("never").await.unwrap();
        let said = scene.restore(&prune, 0).await;
        says(&said, &["1 unchanged"]);
    });
}

#[test]
fn pruning_takes_no_namespace_and_no_definition_with_something_in_it_that_stays() {
    run(async {
        let scene = Scene::alone("anchor").await;
        let client = scene.plane.client();
        let namespaces = Api::<Namespace>::all(client.clone());
        for name in ["empty", "with-config", "with-secret"] {
            create(&namespaces, object(json!({"metadata": {"name": name}}))).await;
        }
        create(&scene.configs_of("with-config"), config_map("goes", "1")).await;
        let secrets = Api::<Secret>::namespaced(client.clone(), "with-secret");
        create(&secrets, object::<Secret>(json!({"metadata": {"name": "db"}}))).await;
        let group = "kept.example.com";
        scene
            .commits(&[
                ("anchor.yaml", &namespace("anchor")),
                ("d.json", &definition(group)),
                ("w.json", &widget(group, "anchor", "w")),
            ])
            .await;
        scene.restore(&[], 0).await;
        scene.repo.remove_as_other("main", "d.json").await.unwrap();
        let said = scene.restore(&["--prune", "--yes"], 0).await;
        says(
            &said,
            &[
                "  namespace/empty",
                "  configmap/goes -n with-config",
                "namespace/with-secret is not in Git and stays: secrets/db would go with it",
                "customresourcedefinition.apiextensions.k8s.io/widgets.kept.example.com is not in Git and stays: widgets.kept.example.com/w",
                "deleted    namespace/with-config",
            ],
        );
        assert!(!said.contains("deleted    namespace/kube-system"), "{said}");
        secrets.get("db").await.unwrap();
        scene.widgets(group).get("w").await.unwrap();
        eventually("both namespaces to be gone", LIMIT, async || {
            let left: Vec<_> = namespaces
                .list(&ListParams::default())
                .await
                .unwrap()
                .into_iter()
                .filter_map(|left| left.metadata.name)
                .collect();
            if left.iter().any(|name| name == "empty" || name == "with-config") { Err(left) } else { Ok(()) }
        })
        .await;
    });
}
