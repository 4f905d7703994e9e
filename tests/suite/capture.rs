//! Watches of a real API server: what comes through one, whatever happens to it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, ResourceQuota};
use reverser_core::{Operation, RepoPath, Resource};
use reverser_git::{Batch, Files, GitSink, MemorySink, Receipt, SinkError};
use reverser_k8s::{Event, Notice, Reporter, Reverser, Source, Watch, testing::conforms};
use reverser_testbed::{Ending, Faults, TcpProxy, client_for, eventually};
use reverser_tests::{LIMIT, Running};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::scene::{Scene, config_map, create, create_many, delete, object, patch, run};

#[test]
fn a_watch_that_git_keeps_waiting_closes_its_stream_and_goes_on_where_it_was() {
    run(async {
        const OBJECTS: usize = 3_000;
        let scene = Scene::shared("paused").await;
        let proxy = TcpProxy::start(scene.plane.address()).await.unwrap();
        let client = client_for(&scene.plane.kubeconfig_via(&proxy).unwrap()).await.unwrap();
        let sink = Gated { sink: MemorySink::new(), gate: Arc::new(Semaphore::new(0)) };
        let pauses = Arc::new(AtomicUsize::new(0));
        let reverser = Reverser::new(sink.clone()).reporter(Pauses(Arc::clone(&pauses))).queue_bytes(64 << 10).build();
        let (stop, stopped) = oneshot::channel::<()>();
        let (_arrive, arrivals) = mpsc::channel(1);
        let watch = Watch::new(client, "c/s", config_maps(), Some(scene.namespace.clone()));
        // The list is over before anything is held up.
        sink.gate.add_permits(1);
        let following = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            reverser.run(vec![Box::new(watch)], arrivals, stopped).await
        });
        eventually("the list", LIMIT, async || {
            let cursors = sink.sink.cursors().await.unwrap();
            if cursors.is_empty() { Err(cursors) } else { Ok(()) }
        })
        .await;

        create_many(&scene.api(), "burst", OBJECTS, "1").await;
        eventually("the stream to be closed", LIMIT, async || {
            let now = (pauses.load(Ordering::Relaxed), proxy.open());
            // hyper closes a connection in the middle of an answer; there is no other.
            if now.0 == 1 && now.1 == 0 { Ok(()) } else { Err(now) }
        })
        .await;
        let received = proxy.received();
        assert!(received < 2 << 20, "{received} bytes of {OBJECTS} objects were read into a queue of 64 KiB");

        sink.gate.add_permits(Semaphore::MAX_PERMITS >> 4);
        let subjects = eventually("all of them", LIMIT, async || {
            let commits = sink.sink.commits();
            if commits.len() >= OBJECTS { Ok(commits) } else { Err(commits.len()) }
        })
        .await;
        stop.send(()).unwrap();
        following.await.unwrap().unwrap();
        // Once each, and in the order of their versions.
        let mut versions = BTreeMap::new();
        for config in scene.api::<ConfigMap>().list(&Default::default()).await.unwrap() {
            let version: u64 = config.metadata.resource_version.unwrap().parse().unwrap();
            versions.insert(version, format!("[CREATE] v1/configmaps/{}", config.metadata.name.unwrap()));
        }
        let subjects: Vec<_> = subjects.iter().map(|commit| commit.plan.message.lines().next().unwrap()).collect();
        let made: Vec<_> = versions.values().filter(|subject| subject.contains("/burst-")).collect();
        let told: Vec<_> = subjects.into_iter().filter(|subject| subject.contains("/burst-")).collect();
        assert!(told.iter().eq(&made), "{} told, {} made, or in another order", told.len(), made.len());
    });
}

#[test]
fn a_watch_conforms_over_a_network_that_breaks_and_after_pauses() {
    run(async {
        let scene = Scene::shared("conforming").await;
        let proxy = TcpProxy::start(scene.plane.address()).await.unwrap();
        let client = client_for(&scene.plane.kubeconfig_via(&proxy).unwrap()).await.unwrap();
        let watch = || Watch::new(client.clone(), "c/s", config_maps(), Some(scene.namespace.clone()));
        let configs = scene.api::<ConfigMap>();
        // The version from which on nothing is known.
        let from = configs.list(&Default::default()).await.unwrap().metadata.resource_version.unwrap();
        let faults: [&dyn Fn(); 5] = [
            &|| (),
            &|| proxy.end(Ending::Cut),
            &|| proxy.end(Ending::Reset),
            &|| proxy.end(Ending::Orphan),
            // In the middle of the next event.
            &|| proxy.end_after(200, Ending::Reset),
        ];
        let operations = [Operation::Create, Operation::Update, Operation::Update, Operation::Delete];
        for (round, fault) in faults.into_iter().enumerate() {
            let name = format!("round-{round}");
            let changes = operations.map(|operation| (operation, &*name));
            let happening = async {
                create(&configs, config_map(&name, "1")).await;
                fault();
                patch(&configs, &name, json!({"data": {"key": "2"}})).await;
                patch(&configs, &name, json!({"data": {"key": "3"}})).await;
                fault();
                delete(&configs, &name).await;
            };
            conforms(&mut watch().resume(&from), &changes, happening).await;
            proxy.heal();
        }
        // From a list.
        let changes = operations.map(|operation| (operation, "listed"));
        let mut source = watch();
        let (listed, is_listed) = oneshot::channel();
        let happening = async {
            is_listed.await.unwrap();
            create(&configs, config_map("listed", "1")).await;
            patch(&configs, "listed", json!({"data": {"key": "2"}})).await;
            proxy.end(Ending::Cut);
            patch(&configs, "listed", json!({"data": {"key": "3"}})).await;
            delete(&configs, "listed").await;
        };
        let mut told = Telling { source: &mut source, listed: Some(listed) };
        conforms(&mut told, &changes, happening).await;
    });
}

#[test]
fn a_connection_that_is_dead_and_not_closed_is_given_up_and_nothing_is_missed() {
    run(async {
        let scene = Scene::shared("half-open").await;
        let proxy = TcpProxy::start(scene.plane.address()).await.unwrap();
        let client = client_for(&scene.plane.kubeconfig_via(&proxy).unwrap()).await.unwrap();
        let configs = scene.api::<ConfigMap>();
        let from = configs.list(&Default::default()).await.unwrap().metadata.resource_version.unwrap();
        let watch = Watch::new(client, "c/s", config_maps(), Some(scene.namespace.clone()));
        let mut watch = watch.resume(&from).idle_limit(Duration::from_secs(2));
        let changes = [(Operation::Create, "before"), (Operation::Create, "during")];
        let happening = async {
            create(&configs, config_map("before", "1")).await;
            eventually("a stream", LIMIT, async || if proxy.received() > 0 { Ok(()) } else { Err(()) }).await;
            let connections = proxy.connections();
            proxy.set(Faults { stalls: true, ..Faults::default() });
            create(&configs, config_map("during", "1")).await;
            // It tries another way, which is as bad.
            eventually("another connection", LIMIT, async || {
                let now = proxy.connections();
                if now > connections { Ok(()) } else { Err(now) }
            })
            .await;
            proxy.heal();
        };
        conforms(&mut watch, &changes, happening).await;
    });
}

#[test]
fn with_fewer_connections_than_watches_some_wait_and_all_come_through_in_the_end() {
    run(async {
        let scene = Scene::shared("limited").await;
        let proxy = TcpProxy::start(scene.plane.address()).await.unwrap();
        proxy.set(Faults { limit: Some(2), ..Faults::default() });
        let client = client_for(&scene.plane.kubeconfig_via(&proxy).unwrap()).await.unwrap();
        let sink = MemorySink::new();
        let reverser = Reverser::new(sink.clone()).build();
        let sources = ["configmaps", "services", "limitranges", "resourcequotas", "podtemplates"].map(|plural| {
            let resource = Arc::new(Resource::new("", "v1", plural, plural));
            Box::new(Watch::new(client.clone(), "c/s", resource, Some(scene.namespace.clone()))) as Box<dyn Source>
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let (_arrive, arrivals) = mpsc::channel(1);
        let following =
            tokio::spawn(async move { reverser.run(sources.into(), arrivals, async { drop(stopped.await) }).await });
        eventually("a connection too many", LIMIT, async || {
            let now = (proxy.broken(), proxy.open());
            if now.0 > 3 && now.1 == 2 { Ok(()) } else { Err(now) }
        })
        .await;
        proxy.heal();
        let limits = json!({"metadata": {"name": "limits"}, "spec": {"limits": []}});
        create(&scene.api::<LimitRange>(), object(limits)).await;
        create(&scene.api(), config_map("web", "1")).await;
        let quota = json!({"metadata": {"name": "quota"}, "spec": {"hard": {"pods": "1"}}});
        create(&scene.api::<ResourceQuota>(), object(quota)).await;
        let expected = ["configmaps", "limitranges", "resourcequotas"];
        eventually("one of each", LIMIT, async || {
            let files = sink.list(None).await.unwrap();
            let is_there = |plural: &&str| files.iter().any(|file| file.as_str().contains(plural));
            if expected.iter().all(is_there) { Ok(()) } else { Err(files) }
        })
        .await;
        stop.send(()).unwrap();
        following.await.unwrap().unwrap();
    });
}

/// Tells when its source has listed.
#[derive(Debug)]
struct Telling<'a> {
    source: &'a mut Watch,
    listed: Option<oneshot::Sender<()>>,
}

#[async_trait::async_trait]
impl Source for Telling<'_> {
    fn id(&self) -> &str {
        self.source.id()
    }

    async fn next(&mut self) -> Option<Event> {
        let event = self.source.next().await;
        if let (Some(Event::Listed(_)), Some(listed)) = (&event, self.listed.take()) {
            listed.send(()).unwrap();
        }
        event
    }

    fn pause(&mut self) {
        self.source.pause();
    }
}

/// What is logged when the API server's versions are lower than before.
const RESTORED: &str = "etcd was restored from a backup";

#[test]
fn a_restored_etcd_is_noticed_and_git_goes_back_with_it() {
    run(async {
        let scene = Scene::unwatched("rewound").await;
        let watch = scene.watch(&["-r", "configmaps"]).await;
        let configs = scene.api::<ConfigMap>();
        for name in ["changed", "removed"] {
            create(&configs, config_map(name, "1")).await;
        }
        scene.history(2).await;
        let saved = scene.plane.save_etcd().unwrap();
        let file = |name: &str| scene.path("v1/configmaps", name);
        let go_on = async || {
            patch(&configs, "changed", json!({"data": {"key": "2"}})).await;
            delete(&configs, "removed").await;
            // Versions that a restored server doesn't reach again by itself meanwhile.
            create_many(&scene.api(), "burst", 200, "1").await;
            let burst = (0..200).map(|number| file(&format!("burst-{number}"))).chain([file("changed")]);
            scene.has_files(&burst.collect::<Vec<_>>()).await;
        };
        let is_back = async |watch: &Running| {
            watch.says(RESTORED).await;
            // 200 of 202 files have no object any more: that looks like a mistake, and they stay.
            watch.says("sweep held").await;
            eventually("what there was", LIMIT, async || {
                let files = scene.repo.files("main").await.unwrap();
                let text = scene.file("v1/configmaps", "changed").await;
                if files.contains(&file("removed")) && text.contains("key: \"1\"") {
                    Ok(())
                } else {
                    Err((files, text))
                }
            })
            .await;
        };

        go_on().await;
        scene.plane.restore_etcd(&saved).await.unwrap();
        is_back(&watch).await;
        // In a version that is lower than what was written of the same object before.
        patch(&configs, "changed", json!({"data": {"key": "3"}})).await;
        eventually("the change after", LIMIT, async || {
            let text = scene.file("v1/configmaps", "changed").await;
            if text.contains("key: \"3\"") { Ok(()) } else { Err(text) }
        })
        .await;
        assert_eq!(watch.said().matches(RESTORED).count(), 1, "{}", watch.said());
        watch.terminate().await.exits_with(0);

        // While nobody watches. The files that were held go once that is allowed.
        let watch = scene.watch(&["-r", "configmaps", "--allow-mass-delete"]).await;
        scene.has_files(&["changed", "removed"].map(file)).await;
        go_on().await;
        watch.terminate().await.exits_with(0);
        scene.plane.restore_etcd(&saved).await.unwrap();
        let watch = scene.watch(&["-r", "configmaps"]).await;
        is_back(&watch).await;
        watch.terminate().await.exits_with(0);
        scene.repo.fsck().await.unwrap();
    });
}

/// Takes as many batches as there are permits.
#[derive(Clone, Debug)]
struct Gated {
    sink: MemorySink,
    gate: Arc<Semaphore>,
}

#[async_trait::async_trait]
impl GitSink for Gated {
    async fn commit(&self, batch: Batch) -> Result<Receipt, SinkError> {
        self.gate.acquire().await.unwrap().forget();
        self.sink.commit(batch).await
    }

    async fn pushed(&self, receipt: &Receipt) -> Result<(), SinkError> {
        self.sink.pushed(receipt).await
    }

    async fn cursors(&self) -> Result<BTreeMap<String, String>, SinkError> {
        self.sink.cursors().await
    }
}

#[async_trait::async_trait]
impl Files for Gated {
    async fn list(&self, folder: Option<&RepoPath>) -> Result<Vec<RepoPath>, SinkError> {
        self.sink.list(folder).await
    }

    async fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, SinkError> {
        self.sink.read(path).await
    }
}

/// Counts how often a source was paused.
#[derive(Debug)]
struct Pauses(Arc<AtomicUsize>);

impl Reporter for Pauses {
    fn report(&self, notice: Notice<'_>) {
        if let Notice::Paused { .. } = notice {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn config_maps() -> Arc<Resource> {
    Arc::new(Resource::new("", "v1", "ConfigMap", "configmaps").without_status())
}
