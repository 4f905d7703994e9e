//! What becomes of a registration while it is kept, and after.

use std::sync::Mutex;

use futures::StreamExt;
use kube::runtime::watcher::watch_object;
use reverser_k8s::{Notice, Reporter};
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;
use crate::scene::crd;

#[test]
fn what_somebody_edits_or_deletes_is_put_right_and_goes_at_the_end() {
    run(async {
        let scene = Scene::unwatched("tampered").await;
        let captured = of(&["configmaps", "namespaces"], &scene).await;
        let (_captured, _ca, registered) = registered(&scene, nowhere(), captured, None).await;
        let name = registered.name().to_owned();
        let kept = Kept::start(registered);
        let configurations = configurations(&scene);
        let before = configurations.get(&name).await.unwrap();
        let webhooks = before.webhooks.clone().unwrap();

        // An entry more and a condition more, which an apply alone would leave; less; and a label.
        let mut more = webhooks.clone();
        more.push(webhooks[0].clone());
        more[2].name = "more.example.com".into();
        let mut none = webhooks.clone();
        let condition = object(json!({"name": "none", "expression": "false"}));
        none[0].match_conditions.as_mut().unwrap().push(condition);
        let mut edited = String::new();
        for edit in [
            json!({"webhooks": more}),
            json!({"webhooks": none}),
            json!({"webhooks": []}),
            json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}),
        ] {
            let params = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
            let now = configurations.patch(&name, &params, &Patch::Merge(&edit)).await.unwrap();
            edited = now.resource_version().unwrap();
            is_right(&configurations, &before, &edited).await;
        }
        configurations.delete(&name, &DeleteParams::default()).await.unwrap();
        is_right(&configurations, &before, &edited).await;
        kept.says("was edited with kubectl-edit, and is put right").await;
        assert_eq!(
            kept.told().matches("put right").count(),
            1,
            "of one fight only its beginning is told: {}",
            kept.told()
        );

        kept.end().await.unregister().await.unwrap();
        assert_eq!(configurations.get_opt(&name).await.unwrap(), None);
    });
}

#[test]
fn rules_follow_what_is_captured_and_the_certificates_that_are_trusted() {
    run(async {
        let scene = Scene::unwatched("followed").await;
        let receiver = Receiver::start(&scene.plane).await.unwrap();
        let (captured, ca, registered) =
            registered(&scene, Endpoint::Url(receiver.url()), of(&["configmaps"], &scene).await, None).await;
        let name = registered.name().to_owned();
        let kept = Kept::start(registered);
        create(&Api::all(scene.plane.client()), crd("followed.example.com", "Widget")).await;
        let widgets = Resource::new("followed.example.com", "v1", "Widget", "widgets");
        captured.send_modify(|captured| captured.resources.extend([Arc::new(widgets)]));
        ca.send_replace(Some(receiver.ca().to_owned()));
        let configurations = configurations(&scene);
        eventually("the rules to grow", LIMIT, async || {
            let text = serde_json::to_string(&configurations.get(&name).await.unwrap()).unwrap();
            let is_there = ["followed.example.com", "widgets/*", "customresourcedefinitions", "caBundle"];
            if is_there.iter().all(|part| text.contains(part)) { Ok(()) } else { Err(text) }
        })
        .await;
        assert_eq!(kept.published().last().unwrap(), receiver.ca());
        reaches(&receiver, &scene.api::<ConfigMap>()).await;
        kept.end().await.unregister().await.unwrap();
    });
}

#[test]
fn what_a_killed_run_has_left_is_taken_over_and_what_another_run_has_taken_over_stays() {
    run(async {
        let scene = Scene::unwatched("left").await;
        let (_captured, _ca, killed) = registered(&scene, nowhere(), of(&["configmaps"], &scene).await, None).await;
        let (_captured, _ca, next) = registered(&scene, nowhere(), of(&["namespaces"], &scene).await, None).await;
        let name = next.name().to_owned();
        let configurations = configurations(&scene);
        let one = configurations.get(&name).await.unwrap();
        let text = serde_json::to_string(&one).unwrap();
        assert!(text.contains("namespaces/*") && !text.contains("configmaps"), "{text}");
        let by = &one.annotations()["configbutler.ai/registered-by"];
        assert_eq!(by, concat!("reverser ", env!("CARGO_PKG_VERSION"), ", a test"));
        let kept = Kept::start(next);
        kept.says("taken over from an earlier run").await;

        killed.unregister().await.unwrap();
        assert!(configurations.get_opt(&name).await.unwrap().is_some(), "it is the other run's");
        kept.end().await.unregister().await.unwrap();
        assert_eq!(configurations.get_opt(&name).await.unwrap(), None);
    });
}

#[test]
fn two_with_one_name_do_not_fight_without_a_pause_and_each_says_so_once() {
    run(async {
        let scene = Scene::unwatched("fought").await;
        let (_captured, _ca, one) = registered(&scene, nowhere(), of(&["configmaps"], &scene).await, None).await;
        let name = one.name().to_owned();
        let one = Kept::start(one);
        let (_captured, _ca, other) = registered(&scene, nowhere(), of(&["configmaps"], &scene).await, None).await;
        let other = Kept::start(other);
        let configurations = configurations(&scene);
        one.says("overwritten by reverser").await;
        other.says("overwritten by reverser").await;
        // Waits double: in three seconds there is time for four repairs each.
        let seen = watch_object(configurations.clone(), &name).take_until(tokio::time::sleep(Duration::from_secs(3)));
        let seen = seen.count().await;
        assert!((1..=9).contains(&seen), "{seen}");
        for kept in [one, other] {
            assert_eq!(kept.told().matches("put right").count(), 1, "{}", kept.told());
            drop(kept.end().await);
        }
    });
}

#[test]
fn certificates_that_somebody_else_brings_are_left_alone() {
    run(async {
        let scene = Scene::unwatched("injected").await;
        let receiver = Receiver::start(&scene.plane).await.unwrap();
        let endpoint = Endpoint::Url(receiver.url());
        let (captured, _ca, registered) = registered(&scene, endpoint, of(&["configmaps"], &scene).await, None).await;
        let name = registered.name().to_owned();
        let kept = Kept::start(registered);
        // As cert-manager's CA injector does it.
        let configurations = configurations(&scene);
        let mut injected = configurations.get(&name).await.unwrap();
        for webhook in injected.webhooks.iter_mut().flatten() {
            webhook.client_config.ca_bundle = Some(k8s_openapi::ByteString(receiver.ca().into()));
        }
        configurations.replace(&name, &PostParams::default(), &injected).await.unwrap();
        reaches(&receiver, &scene.api::<ConfigMap>()).await;
        // Rules that change leave them there, too.
        let more = of(&["configmaps", "secrets"], &scene).await;
        captured.send_replace(more);
        eventually("the rules to grow", LIMIT, async || {
            let text = serde_json::to_string(&configurations.get(&name).await.unwrap()).unwrap();
            if text.contains("secrets/*") && text.contains("caBundle") { Ok(()) } else { Err(text) }
        })
        .await;
        let told = kept.told();
        kept.end().await.unregister().await.unwrap();
        assert!(!told.contains("put right"), "{told}");
    });
}

/// Waits until the configuration is what it was, in a version after that of the edit.
async fn is_right(
    configurations: &Api<ValidatingWebhookConfiguration>,
    right: &ValidatingWebhookConfiguration,
    edited: &str,
) {
    let number = |version: &str| version.parse::<u64>().unwrap();
    eventually("it to be put right", LIMIT, async || {
        let Some(found) = configurations.get_opt(&right.name_any()).await.unwrap() else { return Err(None) };
        let is_later = number(&found.resource_version().unwrap()) > number(edited);
        let is_right = found.webhooks == right.webhooks && found.labels() == right.labels();
        if is_later && is_right { Ok(()) } else { Err(Some(found)) }
    })
    .await;
}

/// A registration that is being kept.
struct Kept {
    task: JoinHandle<Registered>,
    shutdown: oneshot::Sender<()>,
    told: Told,
    published: Arc<Mutex<Vec<String>>>,
}

impl Kept {
    fn start(mut registered: Registered) -> Self {
        let (shutdown, is_over) = oneshot::channel();
        let (told, published) = (Told::default(), Arc::<Mutex<Vec<String>>>::default());
        let (reporter, publish) = (told.clone(), Arc::clone(&published));
        let task = tokio::spawn(async move {
            let publish = move |ca: &str| publish.lock().unwrap().push(ca.to_owned());
            registered.keep(&publish, &reporter, async { drop(is_over.await) }).await;
            registered
        });
        Self { task, shutdown, told, published }
    }

    async fn says(&self, text: &str) {
        eventually(&format!("{text:?} to be told"), LIMIT, async || {
            let told = self.told();
            if told.contains(text) { Ok(()) } else { Err(told) }
        })
        .await;
    }

    fn told(&self) -> String {
        self.told.0.lock().unwrap().join("\n")
    }

    fn published(&self) -> Vec<String> {
        self.published.lock().unwrap().clone()
    }

    async fn end(self) -> Registered {
        self.shutdown.send(()).unwrap();
        self.task.await.unwrap()
    }
}

#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Reporter for Told {
    fn report(&self, notice: Notice<'_>) {
        if let Notice::Registration(news) = notice {
            self.0.lock().unwrap().push(news.to_string());
        }
    }
}
