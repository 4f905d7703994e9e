//! Who did it, from the API server's audit log.

use std::path::Path;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use reverser_testbed::{ControlPlaneOptions, LoggedCommit, client_for, rule};
use serde_json::json;

use crate::scene::{Scene, config_map, create, credits, delete, patch, run};

#[test]
fn with_an_audit_log_each_user_is_the_author_of_what_they_did() {
    run(async {
        let scene = Scene::shared("authors").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let audit_log = scene.plane.audit_log().unwrap();
        let watch = scene.watch(&["-r", "configmaps", "--audit-log", text(&audit_log)]).await;
        create(&ann, config_map("web", "1")).await;
        patch(&ben, "web", json!({"data": {"key": "2"}})).await;
        patch(&ann, "web", json!({"data": {"key": "3"}})).await;
        create(&ben, config_map("db", "1")).await;
        delete(&ann, "db").await;
        delete(&ben, "web").await;
        let log = scene.history(6).await;
        // One that waits for its line holds back its own object alone.
        let told = |name: &str| credits(&log).into_iter().filter(|text| text.ends_with(name)).collect::<Vec<_>>();
        assert_eq!(
            told("/web"),
            [
                "ann [CREATE] v1/configmaps/web",
                "ben [UPDATE] v1/configmaps/web",
                "ann [UPDATE] v1/configmaps/web",
                "ben [DELETE] v1/configmaps/web",
            ]
        );
        assert_eq!(told("/db"), ["ben [CREATE] v1/configmaps/db", "ann [DELETE] v1/configmaps/db"]);
        let is_explained = |commit: &&LoggedCommit| commit.message.contains("Reverser-Evidence: audit");
        assert_eq!(log.iter().filter(is_explained).count(), 6);
        assert!(log.iter().all(|commit| commit.committer == "reverser"));
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn an_audit_log_without_answers_names_who_created_and_who_replaced_as_a_whole() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy.yaml");
        let metadata = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]});
        std::fs::write(&policy, metadata.to_string()).unwrap();
        let api_server_flags = vec![format!("--audit-policy-file={}", text(&policy))];
        let options = ControlPlaneOptions { api_server_flags, controller_manager: false, ..Default::default() };
        let scene = Scene::with("answerless", options).await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let audit_log = scene.plane.audit_log().unwrap();
        let watch = scene.watch(&["-r", "configmaps", "--audit-log", text(&audit_log)]).await;
        let mut web = create(&ann, config_map("web", "1")).await;
        web.data.get_or_insert_default().insert("key".into(), "2".into());
        ben.replace("web", &PostParams::default(), &web).await.unwrap();
        patch(&ann, "web", json!({"data": {"key": "3"}})).await;
        let expected =
            ["ann [CREATE]", "ben [UPDATE]", "reverser [UPDATE]"].map(|text| format!("{text} v1/configmaps/web"));
        assert_eq!(credits(&scene.history(3).await), expected);
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn without_evidence_the_author_is_the_committer_that_was_configured() {
    run(async {
        let scene = Scene::shared("nobody").await;
        let ann = user(&scene, "ann").await;
        let _watch = scene.watch(&["-r", "configmaps", "--committer", "Config Bot <bot@example.com>"]).await;
        create(&ann, config_map("web", "1")).await;
        let log = scene.history(1).await;
        let LoggedCommit { author, author_email, committer, message, .. } = &log[0];
        assert_eq!([author, author_email, committer], ["Config Bot", "bot@example.com", "Config Bot"]);
        assert!(message.contains("Reverser-Evidence: unknown"), "{message}");
    });
}

#[test]
fn an_audit_log_that_is_not_there_is_named() {
    run(async {
        let scene = Scene::shared("no-audit-log").await;
        let repo = scene.repo.url();
        let arguments = [&["watch", "--repo", &repo, "--audit-log", "no/such.log"][..], &scene.cluster()];
        let said = scene.home.run(&arguments.concat()).await.exits_with(1);
        assert!(said.contains("--audit-log no/such.log"), "{said}");
    });
}

/// Returns ConfigMaps of the scene, as this user writes them.
pub(crate) async fn user(scene: &Scene, name: &str) -> Api<ConfigMap> {
    let kubeconfig = scene.plane.user(name, &[]).unwrap();
    let rules = vec![rule(&["create", "get", "patch", "update", "delete"], "", &["configmaps"])];
    scene.plane.grant(name, Some(&scene.namespace), rules).await.unwrap();
    Api::namespaced(client_for(&kubeconfig).await.unwrap(), &scene.namespace)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
