//! How connections get in: plain or with TLS, unless there is an outage in which none do.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use super::{Outage, Shared};
use crate::{authority::Authority, error::Error};

/// What clients of an HTTPS server need, in PEM, beside its repositories.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that signed the server's certificate.
    pub ca_file: PathBuf,
    /// A certificate that the server accepts.
    pub client: PathBuf,
    /// Its private key.
    pub client_key: PathBuf,
}

/// How a server speaks TLS.
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    ca: String,
    client: String,
    client_key: String,
}

impl Tls {
    /// Makes an authority and what it signs; a `mutual` one wants a certificate from each client.
    pub(super) fn create(mutual: bool) -> Result<Self, Error> {
        let authority = Authority::create()?;
        let (serving, client) = (authority.serving()?, authority.user("reverser", &[], None)?);
        let failed =
            |error: String| Error::Io { action: "set up", what: "TLS".into(), source: io::Error::other(error) };
        let parse =
            |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| failed(error.to_string()));
        let key =
            PrivateKeyDer::from_pem_slice(serving.key_pem.as_bytes()).map_err(|error| failed(error.to_string()))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let config = config.map_err(|error| failed(error.to_string()))?;
        let config = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(parse(authority.certificate_pem())?).map_err(|error| failed(error.to_string()))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.with_client_cert_verifier(verifier.map_err(|error| failed(error.to_string()))?)
        } else {
            config.with_no_client_auth()
        };
        let config = config.with_single_cert(vec![parse(&serving.certificate_pem)?], key);
        let config = config.map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            ca: authority.certificate_pem().to_owned(),
            client: client.certificate_pem,
            client_key: client.key_pem,
        })
    }

    /// Writes what clients need into a folder.
    pub(super) fn write(&self, folder: &Path) -> Result<Certificates, Error> {
        let file = |name: &str, content: &str| {
            let file = folder.join(name);
            fs::write(&file, content).map_err(Error::io("write", &file))?;
            Ok(file)
        };
        Ok(Certificates {
            ca_file: file("ca.crt", &self.ca)?,
            client: file("tls.crt", &self.client)?,
            client_key: file("tls.key", &self.client_key)?,
        })
    }
}

/// Connections that may be served.
pub(super) struct Door {
    connections: mpsc::Receiver<(Connection, SocketAddr)>,
    address: SocketAddr,
}

impl Door {
    /// Accepts connections for as long as somebody serves them.
    pub(super) fn open(
        listener: TcpListener,
        shared: Arc<Shared>,
        tls: Option<TlsAcceptor>,
        address: SocketAddr,
    ) -> Self {
        let (sender, connections) = mpsc::channel(1);
        tokio::spawn(accept(listener, shared, tls, sender));
        Self { connections, address }
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept(
    mut listener: TcpListener,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    sender: mpsc::Sender<(Connection, SocketAddr)>,
) {
    loop {
        let (stream, address) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = sender.closed() => return,
        };
        if shared.switches().outage == Some(Outage::DropConnections) {
            continue;
        }
        let _ = stream.set_nodelay(true); // slower without, and no reason to refuse
        let (tls, sender) = (tls.clone(), sender.clone());
        // On its own: a client that is slow to shake hands keeps nobody else waiting.
        tokio::spawn(async move {
            let connection = match tls {
                None => Connection::Plain(stream),
                Some(tls) => match timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Connection::Tls(Box::new(stream)),
                    _ => return, // the client knows why
                },
            };
            let _ = sender.send((connection, address)).await; // nobody serves any more
        });
    }
}

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// A connection with or without TLS.
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
