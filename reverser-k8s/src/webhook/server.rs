//! Listens, and serves each connection in a task of its own.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, AlertDescription},
};

use super::{Certificates, Routes, routes::Caller, tls};
use crate::{
    metrics::{ServeError, listen},
    report::EndpointNotice,
};

/// Listens, and serves once it is asked to.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// TLS can't be spoken: its cryptography lacks something.
#[derive(Debug, thiserror::Error)]
#[error("could not set up TLS")]
pub struct TlsError(#[source] rustls::Error);

impl Server {
    /// Listens at `address`; port 0 is any that is free. Who calls before [`serve`](Self::serve) waits.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let (listener, address) = listen(address).await?;
        Ok(Self { listener, address })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`; then nobody else is accepted, and requests under way have [`Limits::farewell`] to be
    /// answered.
    ///
    /// [`Limits::farewell`]: super::Limits::farewell
    pub async fn serve(
        self,
        certificates: &Certificates,
        routes: Routes,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), TlsError> {
        let config = tls::config(certificates.serving(), routes.wants_certificates()).map_err(TlsError)?;
        let (closing, is_closing) = watch::channel(());
        let shared = Arc::new(Shared {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            routes: Arc::new(routes),
            told: Mutex::default(),
        });
        let mut connections = JoinSet::new();
        let accepting = accept(self.listener, Arc::clone(&shared), is_closing, &mut connections);
        tokio::select! {
            () = accepting => {}
            () = shutdown => {}
        }
        drop(closing);
        let deadline = Instant::now() + shared.routes.limits().farewell;
        let finished = async {
            while connections.join_next().await.is_some() {}
            shared.routes.are_done().await;
        };
        if timeout_at(deadline, finished).await.is_err() {
            shared.routes.report(EndpointNotice::CutOff { connections: connections.len() });
        }
        connections.shutdown().await;
        Ok(())
    }
}

/// What all connections need.
struct Shared {
    acceptor: TlsAcceptor,
    routes: Arc<Routes>,
    /// When people heard last of a caller that doesn't trust us.
    told: Mutex<Option<Instant>>,
}

/// Accepts as many as there may be. Never returns.
async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    is_closing: watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) {
    let free = Arc::new(Semaphore::new(shared.routes.limits().connections));
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Of one that has gone already, or there are no more file descriptors: others have to be closed first.
                tracing::debug!(%error, "a connection was not accepted");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (shared, is_closing) = (Arc::clone(&shared), is_closing.clone());
        connections.spawn(async move {
            shared.serve(stream, is_closing).await;
            drop(permit);
        });
        // Those that have ended need no room.
        while connections.try_join_next().is_some() {}
    }
}

/// After a failure.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

impl Shared {
    async fn serve(&self, stream: TcpStream, mut is_closing: watch::Receiver<()>) {
        let limits = self.routes.limits();
        let introduction = Instant::now() + limits.introduction;
        // Answers are small, and waited for. Without it they are as right.
        let _ = stream.set_nodelay(true);
        let accepted = tokio::select! {
            accepted = timeout(limits.handshake, self.acceptor.accept(stream)) => accepted,
            _ = is_closing.changed() => return,
        };
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.not_connected(reason(&error)),
            Err(_late) => return self.not_connected("handshake"),
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let caller = Arc::new(Caller { chain, ..Caller::default() });
        let answer = service_fn(|request| {
            let answered = Arc::clone(&self.routes).answer(request, Arc::clone(&caller));
            async { Ok::<_, Infallible>(answered.await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(BUFFER);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer));
        let mut introduction = pin!(tokio::time::sleep_until(introduction));
        let (mut is_stranger, mut is_open) = (true, true);
        loop {
            tokio::select! {
                // Whoever called knows of an error.
                _ended = connection.as_mut() => return,
                () = introduction.as_mut(), if is_stranger => {
                    is_stranger = false;
                    if !caller.is_known.load(Ordering::Relaxed) {
                        return self.not_connected("silent");
                    }
                }
                _ = is_closing.changed(), if is_open => {
                    is_open = false;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    fn not_connected(&self, reason: &'static str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = reason == UNTRUSTED && told.is_none_or(|told| told.elapsed() >= TELL_AGAIN);
        if is_news {
            *told = Some(Instant::now());
        }
        drop(told);
        self.routes.report(EndpointNotice::NotConnected { reason, is_news });
    }
}

/// Of what is read and isn't handed on yet, in bytes, for each connection: heads of requests are a tenth of it.
const BUFFER: usize = 64 << 10;

/// After which people hear again of a caller that doesn't trust us.
const TELL_AGAIN: Duration = Duration::from_secs(60);

const UNTRUSTED: &str = "untrusted";

/// Returns why a handshake failed, for metrics.
fn reason(error: &std::io::Error) -> &'static str {
    use AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA, UnsupportedCertificate};
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match error {
        Some(rustls::Error::AlertReceived(
            BadCertificate | CertificateExpired | CertificateUnknown | UnknownCA | UnsupportedCertificate,
        )) => UNTRUSTED,
        _ => "handshake",
    }
}
