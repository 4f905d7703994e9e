//! A client whose credentials are read again when the API server no longer accepts them.
//!
//! kube reads a token file once a minute, runs a credential plugin again when what it said is about to expire, and never reads
//! a kubeconfig again. A token that was replaced early, a kubeconfig that was written anew and a certificate that has
//! expired are answered with 401 until somebody restarts the program. Here a 401 leads to another look at them.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use kube::{Client, Config, client::Body};
use reverser_git::Backoff;
use tokio::{
    sync::{Mutex, RwLock},
    time::{Instant, sleep},
};

/// How long after a look at the credentials the next one is made: a plugin may ask a person, or a server that counts.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How long a look may take: a plugin may wait for a server of its own.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// How often an overloaded server is asked for what somebody waits for, with waits of 250 ms to 5 s in between.
const TRIES: usize = 8;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Marks a request whose sender decides by itself when to try again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Once;

/// Returns a client for `config`. When the API server answers 401, `load` is asked for another configuration, at most
/// every 3 s, and the request is sent again with it. One with another address is not used: it may be another cluster.
///
/// An overloaded server (429, 503) is asked again a few times, as it wants it (`Retry-After`), but for the requests of
/// watches, which do so by themselves.
///
/// # Errors
/// When no client can be made for `config`, such as for an unreadable certificate.
pub fn renewed_client<F>(config: Config, load: impl Fn() -> F + Send + Sync + 'static) -> Result<Client, kube::Error>
where
    F: Future<Output = Result<Config, BoxError>> + Send + 'static,
{
    let namespace = config.default_namespace.clone();
    let current = Current { number: 0, address: config.cluster_url.clone(), client: client(config)? };
    let credentials = Arc::new(Credentials {
        load: Box::new(move || Box::pin(load())),
        current: RwLock::new(current),
        looked: Mutex::new(None),
    });
    let send = move |request| Arc::clone(&credentials).send(request);
    Ok(Client::new(tower::service_fn(send), namespace))
}

/// Makes clients of one cluster as its credentials change.
struct Credentials {
    load: Box<dyn Fn() -> BoxFuture<'static, Result<Config, BoxError>> + Send + Sync>,
    current: RwLock<Current>,
    /// When credentials were looked at. Held while somebody does.
    looked: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Current {
    client: Client,
    /// How many there were before.
    number: u64,
    address: http::Uri,
}

impl Credentials {
    async fn send(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        let tries = if request.extensions().get::<Once>().is_some() { 1 } else { TRIES };
        let mut request = request;
        for tried in 1.. {
            let again = copy(&request);
            let answer = self.send_once(request).await?;
            let is_busy = matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            match again {
                Some(again) if is_busy && tried < tries => request = again,
                _ => return Ok(answer),
            }
            let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let asked = Duration::from_secs(asked.unwrap_or_default()).min(Duration::from_secs(5));
            sleep(backoff.next_wait().max(asked)).await;
        }
        unreachable!("it is tried until it returns")
    }

    async fn send_once(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let again = copy(&request);
        let Current { client, number, .. } = self.current.read().await.clone();
        let answer = client.send(request).await?;
        match again {
            Some(again) if answer.status() == StatusCode::UNAUTHORIZED => match self.renew(number).await {
                Some(client) => Ok(client.send(again).await?),
                None => Ok(answer),
            },
            _ => Ok(answer),
        }
    }

    /// Returns a client with other credentials than those of that number, if there may be any.
    async fn renew(&self, refused: u64) -> Option<Client> {
        let mut looked = self.looked.lock().await;
        let current = self.current.read().await.clone();
        if current.number != refused {
            return Some(current.client);
        }
        if looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return None;
        }
        let loaded = tokio::time::timeout(LOOK_LIMIT, self.load(&current.address)).await;
        *looked = Some(Instant::now());
        match loaded.unwrap_or_else(|_elapsed| Err("they could not be read in time".into())) {
            Ok(client) => {
                let renewed = Current { client: client.clone(), number: current.number + 1, ..current };
                *self.current.write().await = renewed;
                tracing::debug!("credentials were read again");
                Some(client)
            }
            Err(error) => {
                tracing::warn!(error = %crate::report::chain(&*error), "the credentials are refused, and can't be read again");
                None
            }
        }
    }

    async fn load(&self, address: &http::Uri) -> Result<Client, BoxError> {
        let config = (self.load)().await?;
        if config.cluster_url != *address {
            let other = config.cluster_url;
            return Err(format!("the configuration names another API server now: {other}, not {address}").into());
        }
        // A credential plugin runs in there.
        Ok(tokio::task::spawn_blocking(|| client(config)).await??)
    }
}

/// kube would ask an overloaded server again by itself, fifteen times, and nobody would hear of it.
fn client(mut config: Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    Client::try_from(config)
}

/// Returns the same request; `None` when its body is a stream.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}
