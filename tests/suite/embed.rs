//! The example operator: what it records in-process through the front door.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, CustomResourceExt,
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use reverser_examples::embed::{self, Greeting, REASON, REQUESTED_BY};
use reverser_git::{Credentials, GitWriter};
use reverser_tests::LIMIT;
use serde_json::json;
use tokio::{sync::oneshot, time::timeout};

use crate::scene::{Scene, create, delete, object, patch, run};

#[test]
fn an_operator_records_what_its_users_change_with_their_names_and_words() {
    run(async {
        // Alone: the operator's API is no other test's business.
        let scene = Scene::alone("greetings").await;
        let crds = Api::<CustomResourceDefinition>::all(scene.plane.client());
        create(&crds, Greeting::crd()).await;
        await_condition(crds, Greeting::crd_name(), is_crd_established()).await.unwrap();
        let git = GitWriter::open(scene.repo.url().parse().unwrap(), Credentials::FromGit)
            .under("platform".parse().unwrap())
            .state_dir(scene.home.path().join("state"))
            .start()
            .await
            .unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let operator = tokio::spawn(embed::run(scene.plane.client(), git, async {
            let _dropped = stopped.await;
        }));

        let greetings = scene.api::<Greeting>();
        let by = |user: &str, reason: &str| json!({REQUESTED_BY: user, REASON: reason});
        let hello = json!({"apiVersion": "examples.configbutler.ai/v1", "kind": "Greeting", "spec": {"text": "hello"},
            "metadata": {"name": "hello", "annotations": by("ann", "First words")}});
        create(&greetings, object(hello)).await;
        scene.history(1).await;
        let change = json!({"spec": {"text": "good evening"}, "metadata": {"annotations": by("ben", "It is late")}});
        patch(&greetings, "hello", change).await;
        scene.history(2).await;
        let path = "platform/examples.configbutler.ai/v1/greetings/greetings/hello.yaml";
        insta::assert_snapshot!(scene.repo.read("main", path).await.unwrap(), @r"
        apiVersion: examples.configbutler.ai/v1
        kind: Greeting
        metadata:
          name: hello
          namespace: greetings
          annotations:
            examples.configbutler.ai/reason: It is late
            examples.configbutler.ai/requested-by: ben
          finalizers:
          - examples.configbutler.ai/recorded
        spec:
          text: good evening
        ");
        delete(&greetings, "hello").await;
        let log = scene.history(3).await;

        let subject = |operation: &str| format!("[{operation}] examples.configbutler.ai/v1/greetings/hello");
        let told: Vec<_> = log.iter().map(|commit| (commit.author.as_str(), commit.subject().to_owned())).collect();
        assert_eq!(told, [("ann", subject("CREATE")), ("ben", subject("UPDATE")), ("ben", subject("DELETE"))]);
        assert!(log[0].message.contains("\n\nFirst words\n\n"), "{}", log[0].message);
        assert!(log[1].message.contains("\nReverser-Evidence: host\n"), "{}", log[1].message);
        assert!(scene.repo.files("main").await.unwrap().is_empty());
        drop(stop);
        timeout(LIMIT, operator).await.unwrap().unwrap().unwrap();
    });
}
