//! The endpoint as callers meet it: over TLS, byte by byte.

mod bounds;
mod certificates;
mod requests;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, ConfigBuilder, RootCertStore,
        client::WantsClientCert,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use super::*;
use crate::report::{Notice, Reporter};

/// How long anything may take that takes a moment.
const LIMIT: Duration = Duration::from_secs(20);

/// Remembers what was told.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Vec<String>>);

impl Reporter for Told {
    fn report(&self, notice: Notice<'_>) {
        self.0.lock().unwrap().push(format!("{notice:?}"));
    }
}

impl Told {
    pub(super) fn has(&self, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|told| told.contains(text))
    }

    pub(super) fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    /// Waits until it was told.
    pub(super) async fn hears(&self, text: &str) {
        let heard = async {
            while !self.has(text) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(LIMIT, heard).await.is_ok(), "not told of {text:?}, but of\n{}", self.all());
    }
}

/// A server that runs.
struct Running {
    address: SocketAddr,
    certificates: Certificates,
    token: Token,
    told: Arc<Told>,
    shutdown: oneshot::Sender<()>,
    served: JoinHandle<()>,
    _state: TempDir,
}

/// Serves routes that `set` makes, with a token.
async fn serve(limits: Limits, set: impl FnOnce(Routes, Token) -> Routes) -> Running {
    let state = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(state.path()).await.unwrap());
    let told = Arc::new(Told::default());
    let token = Token::open(&*store).await.unwrap();
    let issue = Issue::to(["127.0.0.1", "[::1]", "localhost"]);
    let (certificates, _never_due) = Certificates::issued(store, issue, told.clone()).await.unwrap();
    let routes = set(Routes::within(limits, told.clone()), token.clone());
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    let (shutdown, is_over) = oneshot::channel();
    let serving = certificates.clone();
    let served = tokio::spawn(async move {
        server.serve(&serving, routes, async { drop(is_over.await) }).await.unwrap();
    });
    Running { address, certificates, token, told, shutdown, served, _state: state }
}

impl Running {
    async fn connect(&self) -> TlsStream<TcpStream> {
        let bundle = self.certificates.bundle().borrow().clone().unwrap();
        connect(self.address, &bundle, None).await.unwrap()
    }

    /// Ends it, and waits until it has.
    async fn end(self) {
        drop(self.shutdown);
        timeout(LIMIT, self.served).await.unwrap().unwrap();
    }
}

/// Connects with TLS as a caller who trusts these authorities, with a certificate and its key or without.
async fn connect(
    address: SocketAddr,
    authorities: &str,
    own: Option<(&str, &str)>,
) -> io::Result<TlsStream<TcpStream>> {
    let config = trusting(authorities);
    let config = match own {
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    connect_with(address, config).await
}

/// A caller who trusts these authorities.
fn trusting(authorities: &str) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions().unwrap();
    config.with_root_certificates(roots)
}

async fn connect_with(address: SocketAddr, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::from(address.ip()), stream).await
}

/// A request with a body of JSON, and more headers, each with its end of line.
fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Sends, and returns the answer; an error where the connection ends without one.
async fn exchange(stream: &mut TlsStream<TcpStream>, request: &str) -> io::Result<Answer> {
    stream.write_all(request.as_bytes()).await?;
    // The last of it may still be in the connection's own buffer.
    stream.flush().await?;
    answer(stream).await
}

async fn answer(stream: &mut TlsStream<TcpStream>) -> io::Result<Answer> {
    let read = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest.split("\r\n").next().unwrap());
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Answer { status, head, body: String::from_utf8(body).unwrap() })
    };
    timeout(LIMIT, read).await.expect("an answer or an end")
}

/// Waits until the other side has closed.
async fn is_closed(stream: &mut TlsStream<TcpStream>) {
    let mut rest = [0; 64];
    // An end, or an error where it ended without saying so.
    let read = timeout(LIMIT, stream.read(&mut rest)).await.expect("an end");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

/// Says what it has got.
fn echo(body: Bytes) -> Result<Reply, Refused> {
    Ok(Reply::from(format!("{{\"bytes\":{}}}", body.len())))
}
