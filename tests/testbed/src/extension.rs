//! An extension API server: what kube-apiserver passes on to for an APIService.
//!
//! ```text
//! client ──► kube-apiserver ── APIService v1.<group> ──► Service, an ExternalName: localhost ──► this, over TLS
//! ```
//! It serves one namespaced resource, `notes` of kind `Note`, with `list` and `watch`, from memory. What is written
//! to it is written by the test.

mod store;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
    serve::Listener,
};
use futures::stream;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::store::Store;
use crate::{
    authority::Authority, control_plane::ControlPlane, error::Error, eventually::try_eventually, port::free_port,
};

/// An extension API server on loopback, registered with a control plane; it ends when it is dropped.
pub struct ExtensionServer {
    group: String,
    client: Client,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    served: Arc<Served>,
    /// Of its own, so that its end cuts every connection.
    runtime: Option<Runtime>,
}

/// What its handlers share.
#[derive(Debug)]
struct Served {
    group: String,
    store: Store,
}

impl ExtensionServer {
    /// Starts a server for `v1` of a group, and returns when the control plane says that it is available.
    pub async fn start(plane: &ControlPlane, group: &str) -> Result<Self, Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        let acceptor = acceptor(plane.authority(), &format!("{SERVICE}.default.svc"))?;
        let served = Arc::new(Served { group: group.to_owned(), store: Store::default() });
        let mut server =
            Self { group: group.to_owned(), client: plane.client(), address, acceptor, served, runtime: None };
        server.serve(listener)?;
        server.register(plane.authority().certificate_pem()).await?;
        server.until("available", |is_available| is_available).await?;
        Ok(server)
    }

    /// Writes a Note, and returns its resourceVersion.
    pub fn put(&self, namespace: &str, name: &str, text: &str) -> u64 {
        self.served.store.put(&self.group, namespace, name, text)
    }

    /// Deletes a Note.
    pub fn delete(&self, namespace: &str, name: &str) {
        self.served.store.delete(namespace, name);
    }

    /// Stops to serve, and returns when the control plane has noticed. Its objects stay.
    pub async fn stop(&mut self) -> Result<(), Error> {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.until("unavailable", |is_available| !is_available).await
    }

    /// Serves again, and returns when the control plane has noticed.
    pub async fn resume(&mut self) -> Result<(), Error> {
        // Its connections have ended.
        let listener = std::net::TcpListener::bind(self.address).map_err(failed)?;
        self.serve(listener)?;
        self.until("available", |is_available| is_available).await
    }

    /// Takes the APIService away.
    pub async fn unregister(&self) -> Result<(), Error> {
        let services = self.services();
        let gone = services.delete(&format!("v1.{}", self.group), &DeleteParams::default()).await;
        gone.map(drop).map_err(Error::kube("delete the APIService"))
    }

    /// Registers it once more.
    pub async fn register_again(&self, plane: &ControlPlane) -> Result<(), Error> {
        self.register(plane.authority().certificate_pem()).await?;
        self.until("available", |is_available| is_available).await
    }

    fn serve(&mut self, listener: std::net::TcpListener) -> Result<(), Error> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let (group, acceptor) = (format!("/apis/{}", self.group), self.acceptor.clone());
        let routes = Router::new()
            .route(&format!("{group}/v1"), get(resources))
            .route(&format!("{group}/v1/notes"), get(everywhere))
            .route(&format!("{group}/v1/namespaces/{{namespace}}/notes"), get(in_namespace))
            .with_state(Arc::clone(&self.served));
        runtime.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            // It ends with its runtime.
            let _ended = axum::serve(Door { listener, acceptor }, routes).await;
        });
        self.runtime = Some(runtime);
        Ok(())
    }

    async fn register(&self, ca: &str) -> Result<(), Error> {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE},
            "spec": {"type": "ExternalName", "externalName": "localhost"}});
        create(&self.service(), object).await?;
        let version = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": format!("v1.{}", self.group)},
            "spec": {"group": self.group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
                "caBundle": k8s_openapi::ByteString(ca.as_bytes().to_vec()),
                "service": {"namespace": "default", "name": SERVICE, "port": self.address.port()}}});
        create(&self.services(), version).await
    }

    fn service(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Service"));
        Api::namespaced_with(self.client.clone(), "default", &kind)
    }

    fn services(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apiregistration.k8s.io", "v1", "APIService"));
        Api::all_with(self.client.clone(), &kind)
    }

    async fn until(&self, what: &str, holds: impl Fn(bool) -> bool) -> Result<(), Error> {
        let (services, name) = (self.services(), format!("v1.{}", self.group));
        let seen = try_eventually(AVAILABLE_WITHIN, || async {
            // kube-apiserver looks at each change of the Service, else each 30 s.
            let nudge =
                json!({"metadata": {"annotations": {"testbed/nudge": format!("{:?}", std::time::SystemTime::now())}}});
            let nudged = self.service().patch(SERVICE, &PatchParams::default(), &Patch::Merge(nudge)).await;
            nudged.map_err(|error| error.to_string())?;
            let service = services.get(&name).await.map_err(|error| error.to_string())?;
            let conditions = service.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is_available = conditions.iter().any(|one| one["type"] == "Available" && one["status"] == "True");
            if holds(is_available) { Ok(()) } else { Err(Value::from(conditions).to_string()) }
        });
        let not_ready = |seen: Option<String>| Error::NotReady {
            what: format!("the APIService {name} to be {what}"),
            limit: AVAILABLE_WITHIN,
            seen: seen.unwrap_or_else(|| "no answer".into()),
        };
        seen.await.map_err(not_ready)
    }
}

impl Drop for ExtensionServer {
    fn drop(&mut self) {
        // A runtime that is dropped waits for its threads, which a test's own runtime forbids.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for ExtensionServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, address, runtime, .. } = self;
        let is_serving = runtime.is_some();
        f.debug_struct("ExtensionServer")
            .field("group", group)
            .field("address", address)
            .field("is_serving", &is_serving)
            .finish_non_exhaustive()
    }
}

/// The resources of a group version, in the form that is older than aggregated discovery.
async fn resources(State(served): State<Arc<Served>>) -> Response {
    let notes = json!({"name": "notes", "singularName": "note", "namespaced": true, "kind": "Note",
        "verbs": ["list", "watch"]});
    let version = format!("{}/v1", served.group);
    json_of(&json!({"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": version, "resources": [notes]}))
}

async fn everywhere(State(served): State<Arc<Served>>, RawQuery(asked): RawQuery) -> Response {
    answer(&served, None, &asked.unwrap_or_default())
}

async fn in_namespace(
    State(served): State<Arc<Served>>,
    Path(namespace): Path<String>,
    RawQuery(asked): RawQuery,
) -> Response {
    answer(&served, Some(namespace), &asked.unwrap_or_default())
}

fn json_of(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

fn answer(served: &Arc<Served>, namespace: Option<String>, asked: &str) -> Response {
    let value = |name: &str| asked.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    if !matches!(value("watch"), Some("true" | "1")) {
        let (version, items) = served.store.list(namespace.as_deref());
        return json_of(&json!({"apiVersion": format!("{}/v1", served.group), "kind": "NoteList",
            "metadata": {"resourceVersion": version.to_string()}, "items": items}));
    }
    // As servers do that don't know streaming lists.
    if value("sendInitialEvents").is_some() {
        return (StatusCode::UNPROCESSABLE_ENTITY, "sendInitialEvents is not known").into_response();
    }
    let Some(Ok(from)) = value("resourceVersion").map(str::parse) else {
        return (StatusCode::BAD_REQUEST, "a watch begins at a resourceVersion").into_response();
    };
    // One event each, as a line of JSON.
    let events = stream::unfold((Arc::clone(served), from), move |(served, from)| {
        let namespace = namespace.clone();
        async move {
            let (version, event) = served.store.next(from, namespace.as_deref()).await;
            Some((Ok::<_, io::Error>(Bytes::from(format!("{event}\n"))), (served, version)))
        }
    });
    ([("content-type", "application/json")], Body::from_stream(events)).into_response()
}

/// Creates an object, unless it is there.
async fn create(api: &Api<DynamicObject>, object: Value) -> Result<(), Error> {
    let object = serde_json::from_value(object).map_err(kube::Error::SerdeError).map_err(Error::kube("word it"))?;
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop).map_err(Error::kube("register the extension server")),
    }
}

pub(crate) fn acceptor(authority: &Authority, host: &str) -> Result<TlsAcceptor, Error> {
    use tokio_rustls::rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };
    let identity = authority.serving_as(&[host, "localhost"])?;
    let invalid = |error: String| failed(io::Error::other(error));
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| invalid(error.to_string()))?.with_no_client_auth().with_single_cert(
        vec![certificate.map_err(|error| invalid(error.to_string()))?],
        key.map_err(|error| invalid(error.to_string()))?,
    );
    Ok(TlsAcceptor::from(Arc::new(config.map_err(|error| invalid(error.to_string()))?)))
}

/// Connections that have shaken hands.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) acceptor: TlsAcceptor,
}

impl Listener for Door {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // One after the other: kube-apiserver alone connects, and its peer on the same machine is quick.
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_LIMIT, self.acceptor.accept(stream)).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn failed(source: io::Error) -> Error {
    Error::Io { action: "set up", what: "the extension API server".into(), source }
}

/// The Service that leads to it.
const SERVICE: &str = "extension";

/// kube-apiserver asks an API service for what it serves, and waits longer after each failure.
const AVAILABLE_WITHIN: Duration = Duration::from_secs(90);

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);
