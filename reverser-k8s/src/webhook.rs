//! The endpoint that API servers call, and the certificates that it is reached with.
//!
//! ```text
//!              TLS 1.2, 1.3          who may             what it says
//! API server ─► connection ─► POST /admission/<token> ─► Receiver ─► 200, then what is learned of it
//!     │                   └─► POST /audit             ─► Receiver
//!     │                   └─► GET  /healthz
//!     └─ caBundle ◄─ registration ◄─ bundle ─ Certificates ◄─ Keeper ◄─► Store, or files of the user's
//! ```
//!
//! Whoever may connect isn't trusted: nothing is read of a request's body before its path or its credentials say that it is for
//! us, and each thing that a caller can take is bounded ([`Limits`]). API servers do as if we weren't there when we fail, as
//! long as the registration says `failurePolicy: Ignore`.
//!
//! HTTP/1.1 alone: [why](https://github.com/kubernetes/kubernetes/issues/75791) API servers ask webhooks for no other.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use reverser_k8s::{
//!     LogReporter,
//!     webhook::{Certificates, FileStore, Issue, Refused, Reply, Routes, Server, Token},
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(FileStore::open("state/webhook").await?);
//! let token = Token::open(&*store).await?;
//! let (certificates, keeper) =
//!     Certificates::issued(store, Issue::to(["reverser.example.com"]), Arc::new(LogReporter)).await?;
//! // Register `https://reverser.example.com:8443` + `token.path()` with the bundle, and again whenever it changes.
//! let _bundle = certificates.bundle();
//! let routes = Routes::new(Arc::new(LogReporter)).admission(token, |body: bytes::Bytes| match &body[..] {
//!     b"" => Err(Refused::Garbage("no AdmissionReview".into())),
//!     _ => Ok(Reply::from("{}".to_owned())),
//! });
//! let server = Server::bind("0.0.0.0:8443".parse()?).await?;
//! tokio::select! {
//!     served = server.serve(&certificates, routes, std::future::pending()) => served?,
//!     never = keeper.run() => match never {},
//! }
//! # Ok(())
//! # }
//! ```

mod access;
mod body;
mod certificates;
mod der;
mod limits;
mod routes;
mod server;
mod store;
mod tls;
mod token;

use std::{borrow::Cow, fmt};

use bytes::Bytes;

pub use crate::metrics::ServeError;

pub use self::{
    access::{Access, AccessError},
    certificates::{CertificateError, Certificates, Issue, Keeper, Mounted, Unfit},
    limits::Limits,
    routes::Routes,
    server::{Server, TlsError},
    store::{FileStore, Store, StoreError},
    token::{Token, TokenError},
};

/// Handles what an endpoint is sent.
///
/// # Contract
/// Answers from memory: a request of the cluster's users waits for it. A body of more than 256 KiB is handed over on a thread
/// that may be busy for a while, others on one that serves connections. A panic is told of, and answered with 500.
pub trait Receiver: Send + Sync {
    /// Returns the answer to a body.
    fn receive(&self, body: Bytes) -> Result<Reply, Refused>;
}

impl<F: Fn(Bytes) -> Result<Reply, Refused> + Send + Sync> Receiver for F {
    fn receive(&self, body: Bytes) -> Result<Reply, Refused> {
        self(body)
    }
}

/// An answer, and what is to be done once it is given.
pub struct Reply {
    body: Bytes,
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl<T: Into<Bytes>> From<T> for Reply {
    /// Answers with this JSON.
    fn from(body: T) -> Self {
        Self { body: body.into(), then: None }
    }
}

impl Reply {
    /// Does something after the answer, which doesn't wait for it. The body counts as in memory until it is done, and the
    /// server ends after it.
    #[must_use]
    pub fn then(self, act: impl FnOnce() + Send + 'static) -> Self {
        Self { then: Some(Box::new(act)), ..self }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Why a body isn't taken, in few words for the caller. They are neither logged nor counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// There is too much to do: 503. An API server sends its audit events again.
    Busy(Cow<'static, str>),
    /// It isn't what it should be: 400.
    Garbage(Cow<'static, str>),
}

#[cfg(test)]
mod tests;
