//! A Git remote over HTTP: `git http-backend` behind a small server that can fail in the ways of real ones.

use std::{
    convert::Infallible,
    env, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use futures::{StreamExt, stream};
use k8s_openapi::ByteString;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout},
    sync::oneshot,
};

use crate::{
    error::Error,
    git::{BareRepo, command},
};

mod door;

pub use door::Certificates;
use door::{Door, Tls};

/// A running HTTP server with repositories; it ends, and its folder goes away, when it is dropped.
///
/// Switches take effect with the next request. Requests that run when it is dropped are answered as long as the tokio
/// runtime lives.
#[derive(Debug)]
pub struct GitHttp {
    address: SocketAddr,
    shared: Arc<Shared>,
    root: TempDir,
    /// Of one that speaks HTTPS.
    certificates: Option<Certificates>,
    /// Ends the server when it is dropped.
    _running: oneshot::Sender<Infallible>,
}

/// A way in which the whole server fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Answers break off after so many bytes of their bodies.
    CutAnswers(usize),
    /// Pushes break off after so many bytes of their bodies, and git sees no more of them.
    CutPushes(usize),
    /// Pushes are carried out, and the connection breaks before the answer: their outcome is unknown to the client.
    DropAnswers,
    /// Connections are closed without a word.
    DropConnections,
    /// Every request is answered with 503.
    Unavailable,
}

impl GitHttp {
    /// Starts a server on a free loopback port, without repositories, that wants no password.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(None).await
    }

    /// Starts one that speaks HTTPS, with a certificate of an authority of its own.
    pub async fn start_tls() -> Result<Self, Error> {
        Self::start_with(Some(Tls::create(false)?)).await
    }

    /// Starts one that speaks HTTPS, and with those alone who have a certificate of its authority.
    pub async fn start_mutual_tls() -> Result<Self, Error> {
        Self::start_with(Some(Tls::create(true)?)).await
    }

    async fn start_with(tls: Option<Tls>) -> Result<Self, Error> {
        let failed = |source| Error::Io { action: "listen on", what: "a loopback port".into(), source };
        let root = tempfile::Builder::new().prefix("reverser-testbed-").tempdir();
        let root = root.map_err(Error::io("create", env::temp_dir()))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            root: root.path().to_owned(),
            switches: Mutex::default(),
            requests: AtomicU64::new(0),
            pushes: AtomicU64::new(0),
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let (running, ended) = oneshot::channel::<Infallible>();
        let certificates = tls.as_ref().map(|tls| tls.write(root.path())).transpose()?;
        let door = Door::open(listener, Arc::clone(&shared), tls.map(|tls| tls.acceptor), address);
        let server = axum::serve(door, app);
        let server = server.with_graceful_shutdown(async move { drop(ended.await) });
        tokio::spawn(server.into_future());
        Ok(Self { address, shared, root, certificates, _running: running })
    }

    /// Makes a repository that can be read and pushed to, such as `team.git`.
    pub async fn create(&self, name: &str) -> Result<BareRepo, Error> {
        let repo = BareRepo::create(self.root.path().join(name)).await?;
        repo.git(&["config", "http.receivepack", "true"]).await?;
        Ok(repo)
    }

    /// Returns a repository's URL, without user and password.
    pub fn url(&self, name: &str) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/{name}", self.address)
    }

    /// Returns a repository's URL with user and password in it.
    pub fn url_with(&self, name: &str, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}/{name}", self.address)
    }

    /// Asks for this user and password in every request; `None` asks for none.
    pub fn require(&self, user_and_password: Option<(&str, &str)>) {
        self.shared.switches().login = user_and_password.map(|(user, password)| Login::new(user, password));
    }

    /// Asks for this bearer token in every request.
    pub fn require_token(&self, token: &str) {
        self.shared.switches().login = Some(Login { user: "token".into(), header: format!("Bearer {token}") });
    }

    /// Answers pushes that are sent with this status, as a server before git does when they are too large (413).
    pub fn refuse_transfers(&self, status: Option<u16>) {
        self.shared.switches().transfers = status.and_then(|status| StatusCode::from_u16(status).ok());
    }

    /// Answers every request with a redirect to the same path below this URL.
    pub fn redirect(&self, to: Option<&str>) {
        self.shared.switches().redirect = to.map(str::to_owned);
    }

    /// Returns the certificates of one that speaks HTTPS.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// Waits this long before each request is worked on. Beyond a client's patience, it is a server that hangs.
    pub fn delay(&self, latency: Duration) {
        self.shared.switches().latency = latency;
    }

    /// Fails in this way; `None` ends the outage. For refused pushes see [`BareRepo::refuse_pushes`].
    pub fn fail(&self, outage: Option<Outage>) {
        self.shared.switches().outage = outage;
    }

    /// Returns how many requests have come in, refused ones included.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Returns how many pushes `git receive-pack` has been given, refused ones included.
    pub fn pushes(&self) -> u64 {
        self.shared.pushes.load(Ordering::Relaxed)
    }
}

/// What the server's tasks and its owner share.
#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// A `std` mutex: it is never held across an await.
    switches: Mutex<Switches>,
    requests: AtomicU64,
    pushes: AtomicU64,
}

impl Shared {
    fn switches(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug, Default)]
struct Switches {
    login: Option<Login>,
    latency: Duration,
    outage: Option<Outage>,
    transfers: Option<StatusCode>,
    redirect: Option<String>,
}

#[derive(Clone, Debug)]
struct Login {
    user: String,
    /// What the `Authorization` header must be, RFC 7617.
    header: String,
}

impl Login {
    fn new(user: &str, password: &str) -> Self {
        let token = ByteString(format!("{user}:{password}").into_bytes());
        let base64 = serde_json::json!(token).as_str().unwrap_or_default().to_owned();
        Self { user: user.into(), header: format!("Basic {base64}") }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let latency = shared.switches().latency;
    tokio::time::sleep(latency).await;
    let Switches { login, outage, transfers, redirect, .. } = shared.switches().clone();
    let is_push = request.uri().path().ends_with("/git-receive-pack");
    match outage {
        Some(Outage::DropConnections) => return broken(),
        Some(Outage::Unavailable) => return refusal(StatusCode::SERVICE_UNAVAILABLE),
        Some(Outage::CutAnswers(_) | Outage::CutPushes(_) | Outage::DropAnswers) | None => {}
    }
    if let Some(to) = redirect {
        let mut response = refusal(StatusCode::TEMPORARY_REDIRECT);
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        if let Ok(location) = HeaderValue::from_str(&format!("{to}{path}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return response;
    }
    if login.as_ref().is_some_and(|login| text(request.headers(), &header::AUTHORIZATION) != login.header) {
        let mut response = refusal(StatusCode::UNAUTHORIZED);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"testbed\""));
        return response;
    }
    // Before a large push git asks with an empty one ("0000") whether it may.
    if is_push && text(request.headers(), &header::CONTENT_LENGTH) != "4" {
        shared.pushes.fetch_add(1, Ordering::Relaxed);
    }
    if let (true, Some(status)) = (is_push, transfers) {
        // Read to the end, so that the client isn't cut off while it still sends.
        request.into_body().into_data_stream().for_each(async |_| {}).await;
        return refusal(status);
    }
    let request = match outage {
        Some(Outage::CutPushes(bytes)) if is_push => request.map(|body| cut(body, bytes)),
        _ => request,
    };
    let response = match ask_git(&shared.root, login.map(|login| login.user), request).await {
        Ok(response) => response,
        Err(error) => {
            let mut response = Response::new(Body::from(error.to_string()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        }
    };
    if is_push && outage == Some(Outage::DropAnswers) {
        // Reading the answer to its end is waiting for git to end.
        response.into_body().into_data_stream().for_each(async |_| {}).await;
        return broken();
    }
    match outage {
        Some(Outage::CutAnswers(bytes)) => response.map(|body| cut(body, bytes)),
        // git has seen the end of its input, and has nothing to say to anybody.
        Some(Outage::CutPushes(_)) if is_push => broken(),
        _ => response,
    }
}

/// Returns a body that breaks off after so many bytes; a shorter one ends as it is.
fn cut(body: Body, bytes: usize) -> Body {
    let chunks = body.into_data_stream().scan(bytes, |left, chunk| {
        let chunk = chunk.map_err(io::Error::other).and_then(|chunk| match *left {
            0 => Err(io::Error::other("an outage")),
            left_now => {
                *left = left_now.saturating_sub(chunk.len());
                Ok(chunk.slice(..chunk.len().min(left_now)))
            }
        });
        std::future::ready(Some(chunk))
    });
    Body::from_stream(chunks)
}

/// Passes a request on to `git http-backend`, by the rules of CGI (RFC 3875); bodies are streamed both ways.
async fn ask_git(root: &Path, user: Option<String>, request: Request) -> io::Result<Response> {
    let (parts, body) = request.into_parts();
    let header = |name| text(&parts.headers, &name);
    let mut git = command(root);
    git.arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header(HeaderName::from_static("git-protocol")))
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header(header::CONTENT_TYPE))
        .env("HTTP_CONTENT_ENCODING", header(header::CONTENT_ENCODING))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // It would wait for so much, busily and for ever, when the client goes away before; without, it reads to the end.
    git.env_remove("CONTENT_LENGTH");
    if let Some(user) = user {
        git.env("REMOTE_USER", user);
    }
    let mut child = git.spawn()?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("git has no pipes"));
    };
    // On its own, since git may answer before it has read all.
    tokio::spawn(feed(body, stdin));
    Answer { child, stdout }.into_response().await
}

async fn feed(body: Body, mut stdin: ChildStdin) {
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        if stdin.write_all(&chunk).await.is_err() {
            break; // git has seen enough
        }
    }
}

/// git at work; it ends when the client goes away.
struct Answer {
    child: Child,
    stdout: ChildStdout,
}

impl Answer {
    /// Reads up to the empty line; what follows becomes the response's body as it comes.
    async fn into_response(mut self) -> io::Result<Response> {
        let mut read = vec![];
        let body = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break Bytes::from(read.split_off(end + 4));
            }
            if self.stdout.read_buf(&mut read).await? == 0 {
                return Err(io::Error::other("git http-backend ended before it answered"));
            }
        };
        let mut response = Response::default();
        for line in String::from_utf8_lossy(&read).lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if name == "Status" {
                let code = value.split(' ').next().unwrap_or_default();
                *response.status_mut() = code.parse().map_err(io::Error::other)?;
            } else {
                let name: HeaderName = name.parse().map_err(io::Error::other)?;
                response.headers_mut().insert(name, value.parse().map_err(io::Error::other)?);
            }
        }
        let rest = stream::try_unfold(self, async |mut answer| {
            let mut chunk = Vec::with_capacity(CHUNK);
            if answer.stdout.read_buf(&mut chunk).await? > 0 {
                return Ok(Some((Bytes::from(chunk), answer)));
            }
            answer.child.wait().await?;
            Ok::<_, io::Error>(None)
        });
        *response.body_mut() = Body::from_stream(stream::once(async { Ok(body) }).chain(rest));
        Ok(response)
    }
}

fn refusal(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// Returns a response whose body fails, upon which the server closes the connection.
fn broken() -> Response {
    Response::new(Body::from_stream(stream::once(async { Err::<Bytes, _>(io::Error::other("an outage")) })))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What a pipe holds.
const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests;
