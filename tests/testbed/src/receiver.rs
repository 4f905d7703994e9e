//! A webhook that allows everything and keeps what it was asked.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    control_plane::ControlPlane,
    error::Error,
    extension::{Door, acceptor},
};

/// Takes AdmissionReviews on loopback, with a certificate that the control plane's authority has signed; it ends when it is
/// dropped.
pub struct Receiver {
    address: SocketAddr,
    ca: String,
    asked: Arc<Mutex<Vec<Value>>>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Starts one.
    pub async fn start(plane: &ControlPlane) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let acceptor = acceptor(plane.authority(), "127.0.0.1")?;
        let asked = Arc::<Mutex<Vec<Value>>>::default();
        let routes = Router::new().route("/{*path}", post(allow)).with_state(Arc::clone(&asked));
        let server = tokio::spawn(async move {
            // It ends with its task.
            let _ended = axum::serve(Door { listener, acceptor }, routes).await;
        });
        Ok(Self { address, ca: plane.authority().certificate_pem().to_owned(), asked, server })
    }

    /// Returns the address that it takes them at.
    pub fn url(&self) -> String {
        format!("https://{}/admission", self.address)
    }

    /// Returns the certificate to trust.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Returns what it was asked, and forgets it: the `request` of each review.
    pub fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *lock(&self.asked))
    }

    /// Returns how often it was asked since the last [`take`](Self::take).
    pub fn count(&self) -> usize {
        lock(&self.asked).len()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn allow(State(asked): State<Arc<Mutex<Vec<Value>>>>, body: Bytes) -> Response {
    let Ok(mut review) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let request = review["request"].take();
    let response = json!({"uid": request["uid"], "allowed": true});
    lock(&asked).push(request);
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    ([("content-type", "application/json")], review.to_string()).into_response()
}

fn lock(asked: &Mutex<Vec<Value>>) -> MutexGuard<'_, Vec<Value>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(source: io::Error) -> Error {
    Error::Io { action: "set up", what: "the webhook".into(), source }
}
