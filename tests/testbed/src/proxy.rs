//! A forward proxy for HTTP and HTTPS (RFC 9110, section 7.3 and CONNECT).

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use k8s_openapi::ByteString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::error::Error;

/// A running proxy on loopback; it ends when it is dropped, its connections when their ends do.
#[derive(Debug)]
pub struct HttpProxy {
    address: SocketAddr,
    /// How many connections were passed on.
    passed: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl HttpProxy {
    /// Starts a proxy that wants this user and password, if any.
    pub async fn start(user_and_password: Option<(&str, &str)>) -> Result<Self, Error> {
        let failed = |source| Error::Io { action: "listen on", what: "a loopback port".into(), source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let login = user_and_password.map(|(user, password)| {
            let token = serde_json::json!(ByteString(format!("{user}:{password}").into_bytes()));
            format!("proxy-authorization: basic {}", token.as_str().unwrap_or_default()).to_lowercase()
        });
        let passed = Arc::new(AtomicU64::new(0));
        let server = tokio::spawn(serve(listener, login, Arc::clone(&passed)));
        Ok(Self { address, passed, server })
    }

    /// Returns `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the URL with user and password in it.
    pub fn url_with(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}", self.address)
    }

    /// Returns how many connections were passed on.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, login: Option<String>, passed: Arc<AtomicU64>) {
    while let Ok((client, _)) = listener.accept().await {
        let (login, passed) = (login.clone(), Arc::clone(&passed));
        // A connection that breaks is its two ends' concern.
        tokio::spawn(async move { drop(pass(client, login, &passed).await) });
    }
}

async fn pass(mut client: TcpStream, login: Option<String>, passed: &AtomicU64) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let is_allowed = |login: &String| text.lines().any(|line| line.to_lowercase() == *login);
    if !login.as_ref().is_none_or(is_allowed) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"testbed\"\r\n\
                       Content-Length: 0\r\nConnection: close\r\n\r\n";
        return client.write_all(refusal.as_bytes()).await;
    }
    let mut words = text.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let authority = target.strip_prefix("http://").unwrap_or(target).split('/').next().unwrap_or_default();
    let mut server = TcpStream::connect(authority).await?;
    passed.fetch_add(1, Ordering::Relaxed);
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    } else {
        // Servers have to understand the absolute form, so the request goes on as it is.
        server.write_all(&head).await?;
    }
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
