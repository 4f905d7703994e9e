//! `--prune`: what Git doesn't have, listed, and deleted when that is asked for.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{Api, Resource, api::ListParams};
use reverser_testbed::{eventually, python};
use reverser_tests::{LIMIT, Running};
use serde::de::DeserializeOwned;
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
        assert_eq!(names(&configs).await, ["kept", "kube-root-ca.crt"]);
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
            let left = names(&namespaces).await;
            if left.iter().any(|name| name == "empty" || name == "with-config") { Err(left) } else { Ok(()) }
        })
        .await;
    });
}

#[test]
fn on_a_terminal_it_asks_and_only_a_yes_lets_it_go_on() {
    run(async {
        let scene = Scene::shared("asked").await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("extra", "1")).await;
        scene.commits(&[("kept.yaml", &config("asked", "kept", "{key: '1'}"))]).await;
        let (repo, kubeconfig) = (scene.repo.url(), scene.plane.kubeconfig().to_str().unwrap());
        let flags = ["restore", "--repo", &repo, "--kubeconfig", kubeconfig, "-n", "asked", "--prune"];
        let answer = async |answer: &str| {
            let command = scene.home.command(&flags);
            let mut terminal = python().await.unwrap_or_else(|error| panic!("{error}")).command();
            terminal.args(["-c", TERMINAL, answer]).arg(command.as_std().get_program()).args(flags);
            let mut terminal = tokio::process::Command::from(terminal);
            terminal.env("HOME", scene.home.path()).current_dir(scene.home.path()).kill_on_drop(true);
            terminal.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
            Running::spawn(terminal).end(LIMIT).await
        };
        for no in ["", "n", "yep"] {
            let said = answer(no).await.exits_with(1);
            says(
                &said,
                &["configmap/extra -n asked", "Restore, and then delete this object? [y/N]", "nothing was done"],
            );
        }
        assert!(configs.get_opt("kept").await.unwrap().is_none());
        let said = answer("y").await.exits_with(0);
        says(
            &said,
            &["created    configmap/kept -n asked", "deleted    configmap/extra -n asked", "1 created, 1 deleted"],
        );
        assert!(configs.get_opt("extra").await.unwrap().is_none());
    });
}

/// Runs a command on a terminal, and types the first argument when it is asked.
const TERMINAL: &str = r"
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
said, asked = b'', False
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    said += part
    if not asked and b'[y/N]' in said:
        asked = True
        os.write(terminal, sys.argv[1].encode() + b'\n')
sys.stdout.buffer.write(said)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

async fn names<K: Resource + Clone + Debug + DeserializeOwned>(api: &Api<K>) -> Vec<String> {
    let list = api.list(&ListParams::default()).await.unwrap();
    list.into_iter().filter_map(|object| object.meta().name.clone()).collect()
}
