//! What the API server refuses, and takes back: credentials, permissions.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::Api;
use reverser_testbed::{Ending, TcpProxy, rule};
use reverser_tests::Running;
use serde_json::{Value, json};

use crate::scene::{Scene, WATCHING, config_map, create, delete, object, run};

/// What is logged when credentials are refused.
const REFUSED: &str = "does not accept the credentials";

#[test]
fn a_token_that_is_revoked_and_replaced_goes_on_without_a_restart() {
    run(async {
        let scene = Scene::shared("tokens").await;
        let proxy = TcpProxy::start(scene.plane.address()).await.unwrap();
        let accounts = scene.api::<ServiceAccount>();
        create(&accounts, object(json!({"metadata": {"name": "watcher"}}))).await;
        let user = format!("system:serviceaccount:{}:watcher", scene.namespace);
        let reads = rule(&["get", "list", "watch"], "", &["configmaps"]);
        scene.plane.grant(&user, Some(&scene.namespace), vec![reads]).await.unwrap();

        let (first, file) = (token(&scene, "first").await, scene.home.path().join("token"));
        std::fs::write(&file, &first).unwrap();
        let by_file = kubeconfig(&scene, &proxy, "by-file", &json!({"tokenFile": file}));
        let within = kubeconfig(&scene, &proxy, "within", &json!({"token": first}));
        // Says nothing of an end, so that it isn't asked again of itself.
        let says = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'$(cat TOKEN)'"}}"#;
        let says = format!("echo '{}'", says.replace("TOKEN", file.to_str().unwrap()));
        let plugin = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", says],
            "interactiveMode": "Never"});
        let by_plugin = kubeconfig(&scene, &proxy, "by-plugin", &json!({"exec": plugin}));
        let watches = [
            watch(&scene, &by_file, "a").await,
            watch(&scene, &within, "b").await,
            watch(&scene, &by_plugin, "c").await,
        ];

        delete(&scene.api::<Secret>(), "first").await;
        // The API server remembers for some seconds that it accepted a token, and never looks at that of an open stream.
        let mut cuts = tokio::time::interval(Duration::from_millis(500));
        while watches.iter().any(|watch| !watch.said().contains(REFUSED)) {
            cuts.tick().await;
            proxy.end(Ending::Cut);
        }
        create(&scene.api(), config_map("meanwhile", "1")).await;
        let second = token(&scene, "second").await;
        std::fs::write(&file, &second).unwrap();
        kubeconfig(&scene, &proxy, "within", &json!({"token": second}));
        for (watch, folder) in watches.iter().zip(["a", "b", "c"]) {
            watch.says("watched again").await;
            let path = format!("{folder}/{}", scene.path("v1/configmaps", "meanwhile"));
            reverser_testbed::eventually("the change", reverser_tests::LIMIT, async || {
                let files = scene.repo.files("main").await.unwrap();
                if files.contains(&path) { Ok(()) } else { Err(files) }
            })
            .await;
            let said = watch.said();
            assert!(!said.contains(&first) && !said.contains(&second), "{said}");
        }
        for watch in watches {
            watch.terminate().await.exits_with(0);
        }
    });
}

#[test]
fn a_permission_that_is_missing_is_named_once_and_a_grant_is_picked_up_while_others_go_on() {
    run(async {
        let scene = Scene::shared("grants").await;
        let kubeconfig = scene.plane.user("limited", &[]).unwrap();
        let reads = |resources: &[&str]| rule(&["get", "list", "watch"], "", resources);
        scene.plane.grant("limited", Some(&scene.namespace), vec![reads(&["configmaps"])]).await.unwrap();
        let watch = scene.home.start(
            &[
                &["watch", "--log-format", "json", "--repo", &scene.repo.url(), "-r", "configmaps,services"][..],
                &["--kubeconfig", kubeconfig.to_str().unwrap(), "--namespace", &scene.namespace],
            ]
            .concat(),
        );
        watch.says(WATCHING).await;
        create(&scene.api::<ConfigMap>(), config_map("web", "1")).await;
        scene.history(1).await;
        let named = r#"resources: [\\\"services\\\"], verbs: [get, list, watch]"#;
        let named = named.replace(r"\\\", r"\");
        assert_eq!(watch.said().matches(&named).count(), 1, "{}", watch.said());

        let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
        let services: Api<k8s_openapi::api::core::v1::Service> = scene.api();
        create(&services, object(service)).await;
        scene.plane.grant("limited", Some(&scene.namespace), vec![reads(&["services"])]).await.unwrap();
        scene.has_files(&[scene.path("v1/configmaps", "web"), scene.path("v1/services", "web")]).await;
        assert_eq!(watch.said().matches(&named).count(), 1, "{}", watch.said());
        watch.terminate().await.exits_with(0);
    });
}

/// Returns a token of the service account `watcher`, good for as long as the Secret of that name is there.
async fn token(scene: &Scene, secret: &str) -> String {
    let bound = create(&scene.api::<Secret>(), object(json!({"metadata": {"name": secret}}))).await;
    let bound = json!({"kind": "Secret", "apiVersion": "v1", "name": secret, "uid": bound.metadata.uid});
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
        "audiences": [], "boundObjectRef": bound, "expirationSeconds": 3600}});
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/watcher/token", scene.namespace);
    let request = http::Request::post(path).header("content-type", "application/json");
    let answer: Value = scene.plane.client().request(request.body(review.to_string().into()).unwrap()).await.unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

/// Writes a kubeconfig of this user, through the proxy.
fn kubeconfig(scene: &Scene, proxy: &TcpProxy, name: &str, user: &Value) -> PathBuf {
    let admin = std::fs::read(scene.plane.kubeconfig_via(proxy).unwrap()).unwrap();
    let mut config: Value = serde_json::from_slice(&admin).unwrap();
    config["users"][0]["user"] = user.clone();
    let path = scene.home.path().join(format!("{name}.config"));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// Watches ConfigMaps into a folder of the repository.
async fn watch(scene: &Scene, kubeconfig: &Path, folder: &str) -> Running {
    let running = scene.home.start(
        &[
            &["watch", "--log-format", "json", "--repo", &scene.repo.url(), "-r", "configmaps", "--path", folder][..],
            &["--state-dir", &format!("state-{folder}"), "--namespace", &scene.namespace],
            &["--kubeconfig", kubeconfig.to_str().unwrap()],
        ]
        .concat(),
    );
    running.says(WATCHING).await;
    running
}
