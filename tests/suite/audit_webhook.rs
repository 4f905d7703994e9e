//! What an API server's audit events tell of who did what, request by request: sent as it sends them, joined with what a watch
//! shows.
//!
//! ```text
//! users: kubectl ──► API server ──► POST /audit ──► Audit ◄── who did it? ── watches
//! ```

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use kube::Api;
use reverser_core::{Actor, Attribution, Change, Pipeline, Resource};
use reverser_k8s::{ActorSource, Event, Source, Watch, audit::Audit};
use reverser_testbed::{ControlPlane, ControlPlaneOptions, eventually};
use reverser_tests::LIMIT;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

use crate::scene::{Scene, crd, create, output_of, run};

#[test]
fn each_request_is_credited_to_whoever_made_it() {
    run(async {
        let bed = Bed::start("audited").await;
        let (alice, bob) = (bed.user("alice"), bed.user("bob"));
        let watched = bed.watch().await;

        // Updates, and what changes nothing.
        alice.kubectl("create cm web --from-literal=key=1", "").await;
        bob.kubectl(r#"patch cm web -p {"data":{"key":"2"}}"#, "").await;
        alice.kubectl(r#"patch cm web -p {"data":{"key":"2"}}"#, "").await;
        alice.kubectl(r#"patch cm web --dry-run=server -p {"data":{"key":"3"}}"#, "").await;
        let whole = bob.kubectl("get cm web -o json", "").await;
        alice.kubectl("replace -f -", &whole.replace("\"key\": \"2\"", "\"key\": \"4\"")).await;
        bob.refused("replace -f -", &whole).await;
        bob.refused("create cm web --from-literal=key=1", "").await;
        bob.kubectl(r#"patch cm web --type=json -p [{"op":"remove","path":"/data/key"}]"#, "").await;

        // What is applied, and names that the server makes up.
        let applied = |value: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"},
            "data": {"key": value}})
            .to_string()
        };
        alice.kubectl("apply --server-side -f -", &applied("1")).await;
        bob.kubectl("apply --server-side --force-conflicts --field-manager=bobs -f -", &applied("2")).await;
        alice
            .kubectl(
                "create -f -",
                r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "made-"}}"#,
            )
            .await;
        bob.kubectl("--as carol --as-group system:masters create cm impersonated", "").await;

        // Deletions: with finalizers, plain, of all that there is.
        alice
            .kubectl(
                "create -f -",
                r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held",
            "finalizers": ["example.com/hold"]}}"#,
            )
            .await;
        bob.kubectl("delete cm held --wait=false", "").await;
        alice.kubectl("delete cm held --wait=false", "").await;
        alice.kubectl(r#"patch cm held --type=json -p [{"op":"remove","path":"/metadata/finalizers"}]"#, "").await;
        alice.kubectl("create cm plain", "").await;
        bob.kubectl("delete cm plain", "").await;
        alice
            .kubectl(
                "create -f -",
                r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one-of-many",
            "labels": {"many": "yes"}}}"#,
            )
            .await;
        bob.kubectl("delete --raw /api/v1/namespaces/audited/configmaps?labelSelector=many", "").await;

        // Subresources.
        alice.kubectl("create deployment site --image=site --replicas=1", "").await;
        bob.kubectl("scale deployment site --replicas=0", "").await;
        alice.kubectl("run pod --image=pod", "").await;
        bob.kubectl(r#"patch pod pod --subresource=ephemeralcontainers -p {"spec":{"ephemeralContainers":[{"name":"d","image":"d"}]}}"#, "")
            .await;
        bob.kubectl(
            "create --raw /api/v1/namespaces/audited/pods/pod/eviction -f -",
            r#"{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "pod"}}"#,
        )
        .await;

        // What no admission webhook is told of; and what is audited without its content.
        alice
            .kubectl(
                "create -f -",
                r#"{"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "audited"}}"#,
            )
            .await;
        alice.kubectl("create secret generic token --from-literal=key=1", "").await;

        // What goes along with something else.
        bob.kubectl("delete deployment site", "").await;
        alice
            .kubectl(
                "create -f -",
                r#"{"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "gadget"}}"#,
            )
            .await;
        bob.kubectl("delete crd gadgets.example.com", "").await;
        alice.kubectl("create ns doomed", "").await;
        alice.kubectl("-n doomed create cm inside", "").await;
        bob.kubectl("delete ns doomed", "").await;

        let expected = [
            ("configmaps/applied", "CREATE alice, UPDATE bob"),
            ("configmaps/held", "CREATE alice, DELETE bob"),
            ("configmaps/impersonated", "CREATE carol for bob"),
            ("configmaps/inside", "CREATE alice, DELETE bob by cascade"),
            ("configmaps/kube-root-ca.crt", "DELETE bob by cascade"),
            ("configmaps/made-", "CREATE alice"),
            ("configmaps/one-of-many", "CREATE alice, DELETE bob"),
            ("configmaps/plain", "CREATE alice, DELETE bob"),
            ("configmaps/web", "CREATE alice, UPDATE bob, UPDATE alice, UPDATE bob"),
            ("deployments/site", "CREATE alice, UPDATE bob, DELETE bob"),
            ("gadgets/gadget", "CREATE alice, DELETE bob by cascade"),
            ("pods/pod", "CREATE alice, UPDATE bob, DELETE bob"),
            ("replicasets/site-", "DELETE bob by cascade"),
            ("secrets/token", "CREATE alice"),
            ("validatingwebhookconfigurations/audited", "CREATE alice"),
        ];
        let expected: Vec<_> = expected.iter().map(|(object, who)| format!("{object}: {who}")).collect();
        eventually("who did what", LIMIT, async || {
            let told = watched.told();
            if told == expected { Ok(()) } else { Err(told.join("\n")) }
        })
        .await;
        assert!(watched.user_agents().iter().all(|agent| agent.starts_with("kubectl")), "{:?}", watched.user_agents());
    });
}

/// A control plane that sends its audit events here.
struct Bed {
    scene: Scene,
    audit: Audit,
    _receiver: JoinSet<()>,
}

impl Bed {
    async fn start(namespace: &str) -> Self {
        let audit = Audit::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/audit", post(receive)).with_state(audit.clone());
        let mut receiver = JoinSet::new();
        receiver.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let folder = tempfile::tempdir().unwrap();
        let webhook = folder.path().join("audit-webhook.kubeconfig");
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "reverser",
            "clusters": [{"name": "reverser", "cluster": {"server": format!("http://{address}/audit")}}],
            "contexts": [{"name": "reverser", "context": {"cluster": "reverser"}}]});
        std::fs::write(&webhook, config.to_string()).unwrap();
        let options = ControlPlaneOptions {
            api_server_flags: vec![
                format!("--audit-webhook-config-file={}", webhook.display()),
                "--audit-webhook-batch-max-wait=100ms".into(),
            ],
            ..ControlPlaneOptions::default()
        };
        // It is read at the start alone.
        let scene = Scene::with(namespace, options).await;
        Self { scene, audit, _receiver: receiver }
    }

    fn user(&self, name: &str) -> User<'_> {
        let kubeconfig = self.scene.plane.user(name, &["system:masters"]).unwrap();
        User { plane: &self.scene.plane, namespace: &self.scene.namespace, kubeconfig }
    }

    /// Watches what the requests are about, from when it is listed.
    async fn watch(&self) -> Watched {
        let client = self.scene.plane.client();
        create(&Api::all(client.clone()), crd("example.com", "Gadget")).await;
        let resource = |group, version, kind, plural| Arc::new(Resource::new(group, version, kind, plural));
        let resources = [
            resource("", "v1", "ConfigMap", "configmaps"),
            resource("apps", "v1", "Deployment", "deployments"),
            resource("example.com", "v1", "Gadget", "gadgets"),
            resource("", "v1", "Pod", "pods"),
            resource("apps", "v1", "ReplicaSet", "replicasets"),
            resource("", "v1", "Secret", "secrets"),
            Arc::new(
                Resource::new(
                    "admissionregistration.k8s.io",
                    "v1",
                    "ValidatingWebhookConfiguration",
                    "validatingwebhookconfigurations",
                )
                .cluster_scoped(),
            ),
        ];
        let changes = Arc::<Mutex<Vec<Change>>>::default();
        let mut watches = JoinSet::new();
        for resource in resources {
            let mut watch = Watch::new(client.clone(), "c", resource, None);
            // Something may still fail of what is defined just now.
            while !matches!(watch.next().await, Some(Event::Listed(_))) {}
            let (audit, changes) = (self.audit.clone(), Arc::clone(&changes));
            watches.spawn(async move {
                while let Some(event) = watch.next().await {
                    let Event::Change { mut change, .. } = event else { continue };
                    audit.saw(&change);
                    // What is terminating counts as deleted.
                    drop(Pipeline::default().render(&mut change));
                    changes.lock().unwrap().push(change);
                }
            });
        }
        Watched { audit: self.audit.clone(), changes, _watches: watches }
    }
}

async fn receive(State(audit): State<Audit>, body: Bytes) -> (StatusCode, String) {
    match audit.receive(&body) {
        Ok(_) => (StatusCode::OK, String::new()),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
    }
}

struct User<'a> {
    plane: &'a ControlPlane,
    namespace: &'a str,
    kubeconfig: PathBuf,
}

impl User<'_> {
    /// Runs kubectl with these arguments, none of which has a blank.
    async fn kubectl(&self, arguments: &str, manifest: &str) -> String {
        output_of(self.command(arguments).await, manifest).await
    }

    async fn refused(&self, arguments: &str, manifest: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), manifest).unwrap();
        let mut command = self.command(arguments).await;
        command.stdin(std::fs::File::open(file.path()).unwrap());
        let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
        assert!(!output.status.success(), "{arguments}");
    }

    async fn command(&self, arguments: &str) -> tokio::process::Command {
        let kubeconfig: &Path = &self.kubeconfig;
        let mut kubectl = self.plane.kubectl(kubeconfig).await.unwrap();
        kubectl.args(["--namespace", self.namespace]).args(arguments.split(' '));
        kubectl
    }
}

/// What was watched, and who did it.
struct Watched {
    audit: Audit,
    changes: Arc<Mutex<Vec<Change>>>,
    _watches: JoinSet<()>,
}

impl Watched {
    /// Returns who did what to each object, but for what controllers did of their own accord.
    fn told(&self) -> Vec<String> {
        let mut told = BTreeMap::<String, Vec<String>>::new();
        for change in self.changes.lock().unwrap().iter() {
            let attribution = self.audit.attribute(change);
            let who = match &attribution {
                Attribution::Known { actor: Actor { name, .. }, .. } if name.starts_with("system:") => continue,
                Attribution::Known { actor, request, .. } => {
                    let by = request.impersonator.as_ref().map(|by| format!(" for {by}")).unwrap_or_default();
                    let cascade = if attribution.evidence() == "cascade" { " by cascade" } else { "" };
                    format!("{}{by}{cascade}", actor.name)
                }
                // The condition that an eviction leaves is nothing that is recorded.
                _ if change.object.resource.plural == "pods"
                    && change.operation == reverser_core::Operation::Update =>
                {
                    continue;
                }
                other => format!("{other:?}"),
            };
            // Names that were made up have five letters at their end.
            let name = match change.object.name.rsplit_once('-') {
                Some((stem, _)) if change.object.name.starts_with("made-") => format!("{stem}-"),
                Some(_) if change.object.name.starts_with("site-") => "site-".to_owned(),
                _ => change.object.name.clone(),
            };
            let row = told.entry(format!("{}/{name}", change.object.resource.plural)).or_default();
            let what = format!("{} {who}", change.operation);
            // Of a deletion there are two events where it takes a while.
            if !(what.starts_with("DELETE") && row.last() == Some(&what)) {
                row.push(what);
            }
        }
        told.into_iter().map(|(object, rows)| format!("{object}: {}", rows.join(", "))).collect()
    }

    fn user_agents(&self) -> Vec<String> {
        let changes = self.changes.lock().unwrap();
        let requests = changes.iter().filter_map(|change| match self.audit.attribute(change) {
            Attribution::Known { actor, request, .. } if !actor.name.starts_with("system:") => request.user_agent,
            _ => None,
        });
        requests.collect()
    }
}
