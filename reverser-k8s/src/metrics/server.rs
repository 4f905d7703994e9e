//! The endpoint: `/metrics`, `/healthz` and `/readyz`.
//!
//! Who may connect isn't trusted: there are few connections at a time, each has one request and not long for it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
    serve::Listener,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

use super::Metrics;

/// How many connections are served at a time; others wait for one of them to end.
const CONNECTIONS: usize = 32;

/// How long a connection may last, with its request and its answer: as long as Prometheus waits by default.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// What Prometheus asks for first. <https://prometheus.io/docs/specs/om/open_metrics_spec/>
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Listens, and serves once it is asked to.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Nobody can be listened to.
#[derive(Debug, thiserror::Error)]
#[error("could not listen at {address}{}", hint(source))]
pub struct ServeError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another process does; choose another port",
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        io::ErrorKind::PermissionDenied => ": this user may not; choose a port above 1023",
        _ => "",
    }
}

/// Listens at `address`, and returns which one that is: port 0 is any that is free.
pub(crate) async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let error = |source| ServeError { address, source };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok((listener, address))
}

impl Server {
    /// Listens at `address`; port 0 is any that is free.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let (listener, address) = listen(address).await?;
        Ok(Self { listener, address })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped: `/metrics` as OpenMetrics text with all that `registry` has, `/healthz` with 200 as long as
    /// the process can answer at all, `/readyz` as [`Metrics::readiness`] says: 200, or 503 and why not.
    pub async fn serve(self, registry: Arc<Registry>, metrics: Metrics) -> io::Result<()> {
        let routes = Router::new()
            .route("/healthz", get(async || answer(StatusCode::OK, TEXT, "ok\n".to_owned())))
            .route("/metrics", get(metrics_text).with_state(registry))
            .route("/readyz", get(ready).with_state(metrics))
            .fallback(async || {
                answer(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz and /readyz\n".to_owned())
            });
        let listener = Few { listener: self.listener, permits: Arc::new(Semaphore::new(CONNECTIONS)) };
        axum::serve(listener, routes).await
    }
}

async fn metrics_text(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => answer(StatusCode::OK, OPEN_METRICS, text),
        // A collector of the host's may fail; ours write to memory.
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

async fn ready(State(metrics): State<Metrics>) -> Response {
    match metrics.readiness() {
        Ok(()) => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Err(why) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
    }
}

/// One request for a connection: nobody holds one of the few between two scrapes.
fn answer(status: StatusCode, content_type: HeaderValue, body: String) -> Response {
    let close = (header::CONNECTION, HeaderValue::from_static("close"));
    (status, [(header::CONTENT_TYPE, content_type), close], body).into_response()
}

/// Takes so many connections at a time.
struct Few {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener for Few {
    type Io = Brief;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Brief, SocketAddr) {
        // It is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Brief { stream, deadline: Box::pin(sleep(CONNECTION_LIMIT)), _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends after [`CONNECTION_LIMIT`], whatever the other side does.
struct Brief {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Brief {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Brief {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Brief {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
