//! The ValidatingWebhookConfiguration: taken by a real API server, kept, and what it is called for.

mod command;
mod lifecycle;

use std::{collections::BTreeSet, net::TcpListener, sync::Arc, time::Duration};

use k8s_openapi::api::{
    admissionregistration::v1::ValidatingWebhookConfiguration,
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Namespace, Secret, ServiceAccount},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use reverser_core::{Pipeline, Resource, Selector};
use reverser_k8s::{
    Catalog,
    registration::{Captured, Endpoint, Registered, Registration, RegistrationError},
};
use reverser_testbed::{Receiver, client_for, eventually, rule};
use reverser_tests::LIMIT;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::scene::{Scene, config_map, create, delete, object, patch, run};

#[test]
fn a_real_api_server_takes_what_captures_everything() {
    run(async {
        let scene = Scene::shared("everything").await;
        let catalog = Catalog::read(&scene.plane.client()).await.unwrap();
        let include = reverser_core::NOISE.iter().map(|row| row.name).collect();
        for selector in [Selector::default(), Selector { include, ..Selector::default() }] {
            let captured = Captured::of(&catalog, &Pipeline { selector, ..Pipeline::default() });
            assert!(captured.resources.len() > 30);
            assert!(!captured.resources.iter().any(|resource| resource.plural == "secrets"), "nobody may send these");
            let tried = Registration::new(scene.plane.client(), "tried-out", nowhere()).try_out(&captured, None).await;
            tried.unwrap();
        }
        let left = configurations(&scene).get_opt("tried-out").await.unwrap();
        assert_eq!(left, None, "a trial changes nothing");
    });
}

#[test]
fn requests_for_what_is_captured_are_sent_and_no_others() {
    run(async {
        // Nobody else writes there.
        let scene = Scene::unwatched("called").await;
        let receiver = Receiver::start(&scene.plane).await.unwrap();
        let captured = of(&["configmaps", "deployments", "serviceaccounts"], &scene).await;
        let registered = register(&scene, &receiver, captured).await;
        let configs = scene.api::<ConfigMap>();
        reaches(&receiver, &configs).await;

        create(&configs, config_map("web", "1")).await;
        patch(&configs, "web", json!({"data": {"key": "2"}})).await;
        delete(&configs, "web").await;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        configs.create(&dry_run, &config_map("dry", "1")).await.unwrap();
        let deployments = scene.api::<Deployment>();
        create(&deployments, deployment("web")).await;
        let scale = json!({"spec": {"replicas": 3}});
        deployments.patch_scale("web", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
        let status = json!({"status": {"observedGeneration": 1}});
        deployments.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        let accounts = scene.api::<ServiceAccount>();
        create(&accounts, object(json!({"metadata": {"name": "bot"}}))).await;
        accounts
            .create_token_request("bot", &PostParams::default(), &object(json!({"spec": {"audiences": []}})))
            .await
            .unwrap();
        // None of these is captured.
        create(&scene.api::<Secret>(), object(json!({"metadata": {"name": "key"}}))).await;
        create(&scene.api::<Lease>(), object(json!({"metadata": {"name": "leader"}}))).await;
        let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": scene.namespace}});
        create(&scene.api::<Event>(), object(event)).await;
        // Excluded as ever, although all namespaces are captured.
        let system = Api::<ConfigMap>::namespaced(scene.plane.client(), "kube-system");
        create(&system, config_map("web", "1")).await;
        // Comes last: all others would have been sent.
        create(&configs, config_map("last", "1")).await;
        delete(&Api::<Namespace>::all(scene.plane.client()), &scene.namespace).await;

        assert_eq!(
            told(&receiver),
            [
                "CREATE configmaps web",
                "UPDATE configmaps web",
                "DELETE configmaps web",
                "CREATE deployments web",
                "UPDATE deployments/scale web",
                "CREATE serviceaccounts bot",
                "CREATE configmaps last",
                "DELETE namespaces called",
            ]
        );
        registered.unregister().await.unwrap();
    });
}

#[test]
fn a_namespace_that_is_not_captured_is_never_asked_about() {
    run(async {
        let scene = Scene::unwatched("captured").await;
        let namespaces = Api::<Namespace>::all(scene.plane.client());
        create(&namespaces, object(json!({"metadata": {"name": "other"}}))).await;
        let receiver = Receiver::start(&scene.plane).await.unwrap();
        let captured = Captured {
            namespaces: Some(BTreeSet::from(["captured".into()])),
            ..of(&["configmaps", "clusterroles"], &scene).await
        };
        let registered = register(&scene, &receiver, captured).await;
        let configs = scene.api::<ConfigMap>();
        reaches(&receiver, &configs).await;

        create(&Api::<ConfigMap>::namespaced(scene.plane.client(), "other"), config_map("web", "1")).await;
        delete(&namespaces, "other").await;
        let roles = Api::<k8s_openapi::api::rbac::v1::ClusterRole>::all(scene.plane.client());
        create(&roles, object(json!({"metadata": {"name": "reader"}, "rules": []}))).await;
        create(&configs, config_map("web", "1")).await;
        assert_eq!(told(&receiver), ["CREATE clusterroles reader", "CREATE configmaps web"]);
        registered.unregister().await.unwrap();
    });
}

#[test]
fn a_request_in_another_version_is_sent_in_the_one_that_is_captured() {
    run(async {
        let scene = Scene::unwatched("versions").await;
        let receiver = Receiver::start(&scene.plane).await.unwrap();
        let scalers = Resource::new("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers");
        let captured = Captured { resources: BTreeSet::from([Arc::new(scalers)]), ..Captured::default() };
        let registered = register(&scene, &receiver, captured).await;
        let scalers = scene.api::<k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler>();
        let spec =
            json!({"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}});
        let sent = eventually("a request in version v2", LIMIT, async || {
            create(&scalers, object(json!({"metadata": {"generateName": "web-"}, "spec": spec}))).await;
            receiver.take().pop().ok_or("nothing")
        })
        .await;
        assert_eq!(sent["object"]["apiVersion"], "autoscaling/v2");
        assert_eq!(sent["requestResource"]["version"], "v1");
        registered.unregister().await.unwrap();
    });
}

#[test]
fn a_write_waits_for_one_timeout_at_most_when_nobody_answers() {
    run(async {
        let scene = Scene::unwatched("silent").await;
        // Takes connections, and never says anything.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/admission", silent.local_addr().unwrap());
        let captured = of(&["configmaps"], &scene).await;
        let (_captured, _ca, registered) = registered(&scene, Endpoint::Url(url), captured, None).await;
        let configuration = configurations(&scene).get(registered.name()).await.unwrap();
        assert!(configuration.webhooks.iter().flatten().all(|webhook| webhook.timeout_seconds == Some(1)));

        let configs = scene.api::<ConfigMap>();
        // Were it for longer, none of them would be done so soon; a busy machine is slow with some.
        eventually("a write that waits for a second", LIMIT, async || {
            let begin = Instant::now();
            create(&configs, ConfigMap { metadata: generated("silent-"), ..ConfigMap::default() }).await;
            let took = begin.elapsed();
            if (900..2_000).contains(&took.as_millis()) { Ok(()) } else { Err(took) }
        })
        .await;
        // And nothing is in its way once it is gone.
        registered.unregister().await.unwrap();
        eventually("a write that doesn't wait", LIMIT, async || {
            let begin = Instant::now();
            create(&configs, ConfigMap { metadata: generated("free-"), ..ConfigMap::default() }).await;
            let took = begin.elapsed();
            if took < Duration::from_millis(500) { Ok(()) } else { Err(took) }
        })
        .await;
    });
}

#[test]
fn verbs_that_are_missing_are_named_with_the_role_that_has_them() {
    run(async {
        let scene = Scene::shared("unregistered").await;
        let kubeconfig = scene.plane.user("registrar", &[]).unwrap();
        let may = |verbs: &[&str]| {
            let rule = rule(verbs, "admissionregistration.k8s.io", &["validatingwebhookconfigurations"]);
            k8s_openapi::api::rbac::v1::PolicyRule { resource_names: Some(vec!["narrow".into()]), ..rule }
        };
        scene.plane.grant("registrar", None, vec![may(&["get", "list", "watch"])]).await.unwrap();
        let client = client_for(&kubeconfig).await.unwrap();
        let registration = || Registration::new(client.clone(), "narrow", nowhere());
        let error = registration().allowed().await.unwrap_err();
        assert!(
            error.to_string().starts_with(
                "not allowed to create, patch, delete ValidatingWebhookConfiguration narrow: grant a ClusterRole with"
            ),
            "{error}"
        );
        assert!(matches!(error, RegistrationError::Forbidden { .. }) && error.is_for_a_person());
        let refused = registration().register(fixed(of(&["configmaps"], &scene).await), fixed(None)).await;
        let refused = reverser_k8s::report::chain(&refused.unwrap_err());
        assert!(refused.contains("could not apply") && refused.contains("forbidden"), "{refused}");

        // All that it takes may be granted for this one alone.
        scene.plane.grant("registrar", None, vec![may(&["create", "patch", "delete"])]).await.unwrap();
        registration().allowed().await.unwrap();
        let registered = registration().register(fixed(of(&["configmaps"], &scene).await), fixed(None)).await;
        registered.unwrap().unregister().await.unwrap();
        let error = Registration::new(client, "other", nowhere()).allowed().await.unwrap_err();
        assert!(matches!(error, RegistrationError::Forbidden { missing, .. } if missing.len() == 6));
    });
}

/// Registers `captured` with the receiver.
async fn register(scene: &Scene, receiver: &Receiver, captured: Captured) -> Registered {
    registered(scene, Endpoint::Url(receiver.url()), captured, Some(receiver.ca())).await.2
}

/// Registers under the scene's name; returns the other ends of what it follows.
async fn registered(
    scene: &Scene,
    endpoint: Endpoint,
    captured: Captured,
    ca: Option<&str>,
) -> (watch::Sender<Captured>, watch::Sender<Option<String>>, Registered) {
    let (captured, follow_captured) = watch::channel(captured);
    let (ca, follow_ca) = watch::channel(ca.map(str::to_owned));
    let registration = Registration::new(scene.plane.client(), format!("reverser-{}", scene.namespace), endpoint);
    let registered = registration.by("a test").register(follow_captured, follow_ca).await.unwrap();
    (captured, ca, registered)
}

/// Returns what never changes.
fn fixed<T>(value: T) -> watch::Receiver<T> {
    watch::channel(value).1
}

/// Returns these resources, as the API server serves them.
async fn of(names: &[&str], scene: &Scene) -> Captured {
    let catalog = Catalog::read(&scene.plane.client()).await.unwrap();
    let resources = names.iter().flat_map(|name| catalog.find(name).unwrap()).collect();
    Captured { resources, ..Captured::default() }
}

/// Waits until the API server heeds a registration, which takes it some milliseconds.
async fn reaches(receiver: &Receiver, configs: &Api<ConfigMap>) {
    eventually("a request", LIMIT, async || {
        create(configs, ConfigMap { metadata: generated("probe-"), ..ConfigMap::default() }).await;
        if receiver.count() > 0 { Ok(()) } else { Err("none") }
    })
    .await;
    receiver.take();
}

/// Returns what the receiver was asked: `OPERATION resource name`.
fn told(receiver: &Receiver) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let words = |request: &Value| {
        let subresource = request["subResource"].as_str().map(|sub| format!("/{sub}")).unwrap_or_default();
        format!(
            "{} {}{subresource} {}",
            text(&request["operation"]),
            text(&request["resource"]["resource"]),
            text(&request["name"])
        )
    };
    receiver.take().iter().map(words).collect()
}

fn configurations(scene: &Scene) -> Api<ValidatingWebhookConfiguration> {
    Api::all(scene.plane.client())
}

/// Returns where nobody listens.
fn nowhere() -> Endpoint {
    Endpoint::Url("https://127.0.0.1:1/admission".into())
}

fn generated(prefix: &str) -> kube::core::ObjectMeta {
    kube::core::ObjectMeta { generate_name: Some(prefix.into()), ..Default::default() }
}

fn deployment(name: &str) -> Deployment {
    let labels = json!({"app": name});
    object(json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}))
}
