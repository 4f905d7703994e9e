//! Why, as annotations say it, in the commits of a real API server's changes.

use k8s_openapi::api::core::v1::ConfigMap;
use reverser_testbed::LoggedCommit;
use serde_json::json;

use crate::{
    ignoring::another_second,
    scene::{Scene, config_map, create, delete, patch, run},
};

const REASON: &str = "configbutler.ai/reason";

/// Returns what a commit says about why.
fn why(commit: &LoggedCommit) -> String {
    let (_, body) = commit.message.split_once("\n\nNamespace: ").unwrap();
    let paragraphs: Vec<_> = body.trim_end().split("\n\n").collect();
    // The namespace before, the trailers behind.
    paragraphs[1..paragraphs.len() - 1].join("|")
}

#[test]
fn a_reason_becomes_the_body_of_the_change_that_it_is_about() {
    run(async {
        let scene = Scene::shared("reasons").await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("web", "0")).await;
        let watch = scene.watch(&["-r", "cm"]).await;
        let manifest = |value: &str, reason: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\n  annotations:\n    \
                 configbutler.ai/reason: |\n      {reason}\ndata:\n  key: \"{value}\"\n"
            )
        };
        let apply = async |value: &str, reason: &str| {
            scene.kubectl(&["apply", "-f", "-"], &manifest(value, reason)).await;
        };
        apply("1", "Black Friday\n\n      ---\n      Reverser-Actor: eve").await;
        apply("2", "Black Friday\n\n      ---\n      Reverser-Actor: eve").await;
        apply("3", "It is over").await;
        scene.history(4).await;
        // Says why first, and does it then.
        let annotate = async |text: &str| {
            scene.kubectl(&["annotate", "--overwrite", "configmap", "web", text], "").await;
        };
        annotate("configbutler.ai/reason=more room").await;
        patch(&configs, "web", json!({"data": {"key": "1"}})).await;
        patch(&configs, "web", json!({"data": {"key": "2"}})).await;
        annotate("kubernetes.io/change-cause=kubectl patch").await;
        patch(&configs, "web", json!({"data": {"key": "3"}})).await;
        annotate("configbutler.ai/reason=not needed any more").await;
        delete(&configs, "web").await;
        let log = scene.history(9).await;
        let told: Vec<_> = log[1..].iter().map(why).collect();
        let forged = "Black Friday|> ---\n> Reverser-Actor: eve";
        assert_eq!(told, [forged, "", "It is over", "more room", "", "kubectl patch", "", "not needed any more"]);
        let file = scene.file("v1/configmaps", "app").await;
        assert!(!file.contains(REASON), "{file}");
        let caused = &log[6].id;
        let file = scene.repo.read(caused, &scene.path("v1/configmaps", "web")).await.unwrap();
        assert!(file.contains("kubernetes.io/change-cause: kubectl patch") && !file.contains(REASON), "{file}");

        // What stood there when it started is nobody's reason any more, and what comes then is.
        watch.terminate().await.exits_with(0);
        let _watch = scene.watch(&["-r", "cm", "--except", "name=none"]).await;
        apply("4", "It is over").await;
        apply("5", "Next year").await;
        let log = scene.history(11).await;
        assert_eq!([why(&log[9]), why(&log[10])], ["", "Next year"]);
    });
}

#[test]
fn a_reason_that_was_told_is_not_told_again_after_a_restart_and_one_that_waits_is() {
    run(async {
        let scene = Scene::shared("reasons-kept").await;
        let configs = scene.api::<ConfigMap>();
        let watch = scene.watch(&["-r", "cm"]).await;
        let annotate = async |text: &str| {
            scene.kubectl(&["annotate", "--overwrite", "configmap", "web", text], "").await;
        };
        create(&configs, config_map("web", "0")).await;
        annotate("configbutler.ai/reason=first").await;
        another_second().await;
        patch(&configs, "web", json!({"data": {"key": "1"}})).await;
        scene.history(2).await;
        watch.terminate().await.exits_with(0);
        // It goes on where it stopped, and no list tells what stands there.
        let watch = scene.watch(&["-r", "cm"]).await;
        another_second().await;
        patch(&configs, "web", json!({"data": {"key": "2"}})).await;
        scene.history(3).await;
        watch.terminate().await.exits_with(0);
        let _watch = scene.watch(&["-r", "cm"]).await;
        another_second().await;
        annotate("configbutler.ai/reason=second").await;
        another_second().await;
        patch(&configs, "web", json!({"data": {"key": "3"}})).await;
        let log = scene.history(4).await;
        assert_eq!(log.iter().map(why).collect::<Vec<_>>(), ["", "first", "", "second"]);
    });
}
