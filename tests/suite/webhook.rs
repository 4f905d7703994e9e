//! The endpoint that API servers call, called by a real one.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::{ByteString, api::admissionregistration::v1::ValidatingWebhookConfiguration};
use kube::{Api, api::PostParams};
use reverser_k8s::{
    Notice, Reporter,
    webhook::{Certificates, FileStore, Issue, Refused, Reply, Routes, Server, Token},
};
use reverser_testbed::eventually;
use reverser_tests::LIMIT;
use serde_json::{Value, json};

use crate::{
    authors::user,
    scene::{Scene, config_map, create, delete, object, patch, run},
};

/// Remembers what was told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Reporter for Told {
    fn report(&self, notice: Notice<'_>) {
        self.0.lock().unwrap().push(format!("{notice:?}"));
    }
}

#[test]
fn an_api_server_calls_the_endpoint_of_each_write_and_goes_on_doing_so_while_certificates_are_renewed() {
    run(async {
        let scene = Scene::shared("webhook").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let state = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::open(state.path()).await.unwrap());
        let (token, told) = (Token::open(&*store).await.unwrap(), Arc::new(Told::default()));
        let seconds = |seconds| Duration::from_secs(seconds);
        // A third of a life is left when the next one is made, and a busy machine takes its time; the API server, too.
        let (authority_life, leaf_life) = (seconds(12), seconds(6));
        let issue = Issue { authority_life, leaf_life, settle: seconds(2), ..Issue::to(["127.0.0.1"]) };
        let (certificates, keeper) = Certificates::issued(store, issue, told.clone()).await.unwrap();
        let seen = Arc::new(Mutex::new(Vec::<String>::new()));
        let receiver = {
            let seen = Arc::clone(&seen);
            move |body: bytes::Bytes| {
                let review: Value = serde_json::from_slice(&body).map_err(|_| Refused::Garbage("no JSON".into()))?;
                let request = &review["request"];
                let [user, operation, name, uid] =
                    ["/userInfo/username", "/operation", "/name", "/uid"].map(|place| request.pointer(place).unwrap());
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let value = request.pointer("/object/data/key").map(text).unwrap_or_default();
                seen.lock().unwrap().push(format!("{} {} {} {value}", text(user), text(operation), text(name)));
                let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                    "response": {"uid": uid, "allowed": true}});
                Ok(Reply::from(answer.to_string()))
            }
        };
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("https://{}{}", server.address(), token.path());
        let routes = Routes::new(told.clone()).admission(token, receiver);

        let (client, serving) = (scene.plane.client(), certificates.clone());
        let tasks = [
            tokio::spawn(async move { drop(server.serve(&serving, routes, std::future::pending()).await) }),
            tokio::spawn(async move { match keeper.run().await {} }),
        ];
        let hooks = Api::<ValidatingWebhookConfiguration>::all(client);
        let mut bundle = certificates.bundle();
        let first = bundle.borrow_and_update().clone().unwrap();
        hooks.create(&PostParams::default(), &registration(&url, &first, &scene.namespace)).await.unwrap();
        certificates.published(&first);

        // It is called a moment after it is registered.
        eventually("the endpoint to be called", LIMIT, async || {
            patch_or_create(&ann, "first").await;
            let seen = seen.lock().unwrap().clone();
            if seen.iter().any(|line| line.starts_with("ann")) { Ok(()) } else { Err(seen) }
        })
        .await;
        seen.lock().unwrap().clear();
        create(&ben, config_map("web", "1")).await;
        patch(&ann, "web", json!({"data": {"key": "2"}})).await;
        delete(&ben, "web").await;
        assert_eq!(*seen.lock().unwrap(), ["ben CREATE web 1", "ann UPDATE web 2", "ben DELETE web "]);

        // Until an authority has taken another one's place, and no longer counts.
        let mut writes = vec![];
        let mut bundles = BTreeSet::from([first.clone()]);
        seen.lock().unwrap().clear();
        while bundles.len() < 3 {
            let value = writes.len().to_string();
            patch(&ann, "first", json!({"data": {"key": value}})).await;
            writes.push(format!("ann UPDATE first {value}"));
            if bundle.has_changed().unwrap() {
                let next = bundle.borrow_and_update().clone().unwrap();
                let name = "reverser-test-webhook";
                let mut there = hooks.get(name).await.unwrap();
                there.webhooks.as_mut().unwrap()[0].client_config.ca_bundle =
                    Some(ByteString(next.clone().into_bytes()));
                hooks.replace(name, &PostParams::default(), &there).await.unwrap();
                certificates.published(&next);
                bundles.insert(next);
            }
        }
        // Calls that fail are ignored, and leave nothing here. One whose write came too late for its version is made again.
        let mut seen = seen.lock().unwrap().clone();
        seen.dedup();
        assert_eq!(seen, writes);
        let told = told.0.lock().unwrap().join("\n");
        assert!(told.matches("CertificateServed").count() >= 3, "{told}");
        assert!(!told.contains("NotConnected") && !told.contains("CertificateFailed"), "{told}");
        hooks.delete("reverser-test-webhook", &kube::api::DeleteParams::default()).await.unwrap();
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    });
}

async fn patch_or_create(configs: &Api<k8s_openapi::api::core::v1::ConfigMap>, name: &str) {
    let change = kube::api::Patch::Merge(json!({"data": {"key": "value"}}));
    if configs.patch(name, &kube::api::PatchParams::default(), &change).await.is_err() {
        create(configs, config_map(name, "value")).await;
    }
}

/// For ConfigMaps of one namespace, ignored where it fails.
fn registration(url: &str, bundle: &str, namespace: &str) -> ValidatingWebhookConfiguration {
    let mut registration: ValidatingWebhookConfiguration = object(json!({
        "metadata": {"name": "reverser-test-webhook"},
        "webhooks": [{
            "name": "webhook.reverser.example.com",
            "clientConfig": {"url": url},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "timeoutSeconds": 5,
            "admissionReviewVersions": ["v1"],
        }],
    }));
    let webhook = &mut registration.webhooks.as_mut().unwrap()[0];
    webhook.client_config.ca_bundle = Some(ByteString(bundle.as_bytes().to_vec()));
    registration
}
