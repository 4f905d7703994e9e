//! How long the endpoint takes to answer API servers, and what a write waits for it.
//!
//! ```text
//! this program: one runtime serves the endpoint
//!               another one calls it over TLS, at a rate, and measures from the request to its answer
//!               writes objects through a real API server, in a namespace whose writes it is called for, and in one whose aren't
//! ```
//! `cargo run --release -p reverser-tests --bin admission`. Exits with 1 only when an answer is missing or wrong.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Parser;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, apps::v1::Deployment, core::v1::Namespace},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use reverser_k8s::{
    LogReporter,
    attribute::Admission,
    webhook::{Certificates, FileStore, Issue, Refused, Reply, Routes, Server, Token},
};
use reverser_testbed::{Audit, ControlPlane, ControlPlaneOptions, eventually};
use reverser_tests::{
    LIMIT,
    benchmark::{machine, percentile, run, say},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// Measures the endpoint that API servers call, alone and with a control plane of its own.
#[derive(Debug, Parser)]
struct Args {
    /// Requests a second
    #[arg(long, default_value_t = 1_000)]
    rate: u32,

    /// For how many seconds
    #[arg(long, default_value_t = 10)]
    seconds: u32,

    /// Over so many connections: an API server keeps 25
    #[arg(long, default_value_t = 25)]
    connections: u32,

    /// Writes through a real API server, in either namespace; 0 leaves that out
    #[arg(long, default_value_t = 1_000)]
    writes: usize,
}

/// Of an answer, and of what a write waits for one.
const P99_LIMIT: Duration = Duration::from_millis(2);

fn main() -> anyhow::Result<ExitCode> {
    run(measure)
}

async fn measure(args: Args) -> anyhow::Result<ExitCode> {
    let endpoint = Endpoint::start()?;
    let options = ControlPlaneOptions { audit: Audit::Off, controller_manager: false, ..Default::default() };
    let plane = ControlPlane::start(options).await?;
    say(&format!("{}, reviews of {} bytes", machine(&plane).await?, review(0).len()))?;
    let took = endpoint.load(args.rate, args.connections, Some(args.seconds)).await?;
    let p99 = percentile(&took, 99);
    say(&format!(
        "{} answers at {}/s over {} connections: {}; p99 / limit of {} ms: {:.2}",
        took.len(),
        args.rate,
        args.connections,
        told(&took),
        P99_LIMIT.as_millis(),
        p99.div_duration_f64(P99_LIMIT),
    ))?;
    if args.writes > 0 {
        let writes = Writes::begin(&plane, &endpoint).await?;
        writes.compare("writes one by one", args.writes).await?;
        let load = endpoint.clone();
        let busy = tokio::spawn(async move { load.load(args.rate, args.connections, None).await });
        writes.compare(&format!("writes beside {} requests a second", args.rate), args.writes).await?;
        busy.abort();
    }
    Ok(ExitCode::SUCCESS)
}

/// The endpoint, and what callers need.
#[derive(Clone, Debug)]
struct Endpoint {
    address: SocketAddr,
    path: String,
    bundle: String,
    /// How many reviews it has answered.
    answered: Arc<AtomicUsize>,
}

impl Endpoint {
    /// Serves on a runtime of its own, as a process of its own would.
    fn start() -> anyhow::Result<Self> {
        let (started, endpoint) = std::sync::mpsc::channel();
        std::thread::spawn(move || -> anyhow::Result<()> {
            tokio::runtime::Runtime::new()?.block_on(async {
                let state = tempfile::tempdir()?;
                let store = Arc::new(FileStore::open(state.path()).await?);
                let token = Token::open(&*store).await?;
                let (certificates, _not_due_today) =
                    Certificates::issued(store, Issue::to(["127.0.0.1"]), Arc::new(LogReporter)).await?;
                let server = Server::bind(([127, 0, 0, 1], 0).into()).await?;
                let answered = Arc::new(AtomicUsize::new(0));
                let endpoint = Self {
                    address: server.address(),
                    path: token.path(),
                    bundle: certificates.bundle().borrow().clone().context("its authority is its own")?,
                    answered: Arc::clone(&answered),
                };
                started.send(endpoint)?;
                let facts = tempfile::tempdir()?;
                let admission = Admission::open(facts.path())?;
                let receive = move |body: Bytes| {
                    let reviewed =
                        admission.review(body).map_err(|error| Refused::Garbage(error.to_string().into()))?;
                    answered.fetch_add(1, Ordering::Relaxed);
                    let reply = Reply::from(reviewed.answer);
                    Ok(match reviewed.lesson {
                        Some(lesson) => reply.then(|| lesson.learn()),
                        None => reply,
                    })
                };
                let routes = Routes::new(Arc::new(LogReporter)).admission(token, receive);
                Ok(server.serve(&certificates, routes, std::future::pending()).await?)
            })
        });
        Ok(endpoint.recv()?)
    }

    /// Calls it at this rate for some seconds, or until it is dropped; returns what the answers took, the quickest first.
    async fn load(&self, rate: u32, connections: u32, seconds: Option<u32>) -> anyhow::Result<Vec<Duration>> {
        let first = Instant::now() + Duration::from_secs(1);
        let each = Duration::from_secs(1) * connections / rate;
        let count = seconds.map_or(usize::MAX, |seconds| (seconds * rate / connections) as usize);
        let mut callers = JoinSet::new();
        for number in 0..connections {
            let endpoint = self.clone();
            callers.spawn(async move { endpoint.call(first + each * number / connections, each, count).await });
        }
        let mut took = Vec::new();
        while let Some(caller) = callers.join_next().await {
            took.extend(caller??);
        }
        took.sort_unstable();
        Ok(took)
    }

    /// Calls it over one connection, each time that it is due.
    async fn call(&self, first: Instant, each: Duration, count: usize) -> anyhow::Result<Vec<Duration>> {
        let mut connection = self.connect().await?;
        let mut due = interval_at(first, each);
        let mut took = Vec::new();
        let mut last = first;
        for number in 0..count {
            let scheduled = due.tick().await;
            // A call that is late since the one before was slow has waited, too; that timers tick in milliseconds is not ours.
            let begun = if last > scheduled { scheduled } else { Instant::now() };
            let request = Request::post(&self.path)
                .header("host", self.address.to_string())
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(review(number))))?;
            let response = connection.send_request(request).await?;
            ensure!(response.status() == StatusCode::OK, "answered with {}", response.status());
            let answer: Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
            last = Instant::now();
            took.push(last - begun);
            ensure!(answer["response"]["uid"] == uid(number), "answered for {}", answer["response"]["uid"]);
        }
        Ok(took)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.bundle.as_bytes())?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::from(self.address.ip()), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with its sender.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Two Deployments, each in a namespace: the endpoint is called for the one alone.
struct Writes {
    with: Api<Deployment>,
    without: Api<Deployment>,
    answered: Arc<AtomicUsize>,
}

const NAME: &str = "web";

impl Writes {
    async fn begin(plane: &ControlPlane, endpoint: &Endpoint) -> anyhow::Result<Self> {
        let client = plane.client();
        for namespace in ["with", "without"] {
            let namespace = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        }
        let [with, without] =
            ["with", "without"].map(|namespace| Api::<Deployment>::namespaced(client.clone(), namespace));
        for deployments in [&with, &without] {
            deployments.create(&PostParams::default(), &serde_json::from_value(deployment(0))?).await?;
        }
        let hooks = Api::<ValidatingWebhookConfiguration>::all(client);
        hooks.create(&PostParams::default(), &registration(endpoint)?).await?;
        let writes = Self { with, without, answered: Arc::clone(&endpoint.answered) };
        let before = writes.answered.load(Ordering::Relaxed);
        eventually("the endpoint to be called", LIMIT, async || {
            write(&writes.with, 0).await.map_err(|error| error.to_string())?;
            if writes.answered.load(Ordering::Relaxed) > before { Ok(()) } else { Err("not called".to_owned()) }
        })
        .await;
        Ok(writes)
    }

    /// Writes to the one and the other in turn, so that both meet the same machine.
    async fn compare(&self, what: &str, writes: usize) -> anyhow::Result<()> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for number in 0..writes {
            without.push(write(&self.without, number + 1).await?);
            with.push(write(&self.with, number + 1).await?);
        }
        with.sort_unstable();
        without.sort_unstable();
        let added = |percent| percentile(&with, percent).saturating_sub(percentile(&without, percent));
        say(&format!(
            "{what}: {} with the webhook, {} without; added p50 {:.2} ms, p99 {:.2} ms, p99 / limit of {} ms: {:.2}",
            told(&with),
            told(&without),
            milliseconds(added(50)),
            milliseconds(added(99)),
            P99_LIMIT.as_millis(),
            added(99).div_duration_f64(P99_LIMIT),
        ))
    }
}

/// Changes the Deployment, and returns how long that took.
async fn write(deployments: &Api<Deployment>, number: usize) -> anyhow::Result<Duration> {
    let change = json!({"metadata": {"annotations": {"example.com/number": number.to_string()}}});
    let begun = Instant::now();
    deployments.patch(NAME, &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(begun.elapsed())
}

fn registration(endpoint: &Endpoint) -> anyhow::Result<ValidatingWebhookConfiguration> {
    let url = format!("https://{}{}", endpoint.address, endpoint.path);
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "reverser-benchmark"},
        "webhooks": [{
            "name": "benchmark.reverser.example.com",
            "clientConfig": {"url": url, "caBundle": ByteString(endpoint.bundle.clone().into_bytes())},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["*"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "with"}},
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "timeoutSeconds": 1,
            "admissionReviewVersions": ["v1"],
        }],
    }))?)
}

/// An update of a Deployment as an API server tells of it.
fn review(number: usize) -> Vec<u8> {
    let object = |number: usize| {
        let mut object = deployment(number);
        object["metadata"]["uid"] = "6a3f0d0e-3ef5-4b8e-9a49-3c8f7f5f8a11".into();
        object["metadata"]["resourceVersion"] = "48151".into();
        object["metadata"]["managedFields"] = json!([{"manager": "kubectl", "operation": "Update", "apiVersion": "apps/v1",
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": owned(&object["spec"])}]);
        object
    };
    let kind = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    let resource = json!({"group": "apps", "version": "v1", "resource": "deployments"});
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": uid(number), "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
        "name": NAME, "namespace": "shop", "operation": "UPDATE", "dryRun": false,
        "userInfo": {"username": "ann", "groups": ["developers", "system:authenticated"]},
        "object": object(number + 1), "oldObject": object(number),
        "options": {"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl"},
    }});
    review.to_string().into_bytes()
}

fn uid(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// As they are, with probes and volumes.
fn deployment(number: usize) -> Value {
    let labels = json!({"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "shop"});
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10});
    let container = |name: &str| {
        json!({"name": name, "image": "registry.example.com/shop/web:1.27", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "REGION", "value": "eu-1"}],
            "ports": [{"containerPort": 8080, "protocol": "TCP"}], "livenessProbe": probe, "readinessProbe": probe,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/shop"}]})
    };
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "labels": labels, "annotations": {"example.com/number": number.to_string()}},
        "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [container("web"), container("proxy")], "serviceAccountName": "default",
                "volumes": [{"name": "config", "configMap": {"name": "web"}}]}}}})
}

/// Returns the fields of a value as `managedFields` name them.
fn owned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (format!("f:{name}"), owned(field)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        _ => json!({}),
    }
}

fn told(took: &[Duration]) -> String {
    let [median, p99, slowest] = [50, 99, 100].map(|percent| milliseconds(percentile(took, percent)));
    format!("p50 {median:.2} ms, p99 {p99:.2} ms, slowest {slowest:.2} ms")
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
