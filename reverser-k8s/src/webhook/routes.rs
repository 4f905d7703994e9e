//! What can be asked for, by whom, and what is answered.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::{Access, Limits, Receiver, Refused, Reply, Token, access::Stranger, body::Room};
use crate::report::{Endpoint, EndpointNotice, Notice, Reporter};

/// What there is to call. Anything else is 404, without a hint what would be there.
pub struct Routes {
    admission: Option<(Token, Target)>,
    audit: Option<(Access, Target)>,
    limits: Limits,
    reporter: Arc<dyn Reporter>,
    /// When people heard last of senders who may not.
    told: Mutex<Option<Instant>>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("admission", &self.admission.is_some())
            .field("audit", &self.audit.is_some())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Who gets the bodies, and the room for them.
struct Target {
    receiver: Arc<dyn Receiver>,
    room: Room,
}

impl Routes {
    /// Nothing but `GET /healthz`, which is answered as long as the process can.
    pub fn new(reporter: Arc<dyn Reporter>) -> Self {
        Self::within(Limits::default(), reporter)
    }

    /// The same, within other limits.
    pub fn within(limits: Limits, reporter: Arc<dyn Reporter>) -> Self {
        Self { admission: None, audit: None, limits, reporter, told: Mutex::default() }
    }

    /// `POST` at the token's path.
    #[must_use]
    pub fn admission(mut self, token: Token, receiver: impl Receiver + 'static) -> Self {
        let room = Room::new(self.limits.admission_bytes, &self.limits);
        self.admission = Some((token, Target { receiver: Arc::new(receiver), room }));
        self
    }

    /// `POST /audit`, for those who may.
    #[must_use]
    pub fn audit(mut self, access: Access, receiver: impl Receiver + 'static) -> Self {
        let room = Room::new(self.limits.audit_bytes, &self.limits);
        self.audit = Some((access, Target { receiver: Arc::new(receiver), room }));
        self
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn report(&self, notice: EndpointNotice<'_>) {
        self.reporter.report(Notice::Endpoint(notice));
    }

    /// Returns whether certificates of clients count anywhere.
    pub(super) fn wants_certificates(&self) -> bool {
        self.audit.as_ref().is_some_and(|(access, _)| access.wants_certificates())
    }

    /// Answers a request.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        caller: Arc<Caller>,
    ) -> Response<Full<Bytes>> {
        let begun = Instant::now();
        let (endpoint, answered) = self.route(request, &caller).await;
        let refused = answered.as_ref().err().map(Refusal::reason);
        let response = match answered {
            Ok(Answer::Healthy) => closing(respond(StatusCode::OK, TEXT, Bytes::from_static(b"ok\n"))),
            Ok(Answer::Received(body)) => respond(StatusCode::OK, JSON, body),
            Err(refusal) => refusal.response(),
        };
        let status = response.status().as_u16();
        self.report(EndpointNotice::Answered { endpoint, status, refused, took: begun.elapsed() });
        response
    }

    async fn route(
        self: &Arc<Self>,
        request: Request<Incoming>,
        caller: &Caller,
    ) -> (Endpoint, Result<Answer, Refusal>) {
        let path = request.uri().path();
        if let Some((token, target)) = &self.admission
            && token.is_in(path)
        {
            caller.is_known.store(true, Ordering::Relaxed);
            return (Endpoint::Admission, self.receive(Endpoint::Admission, target, request).await);
        }
        if let Some((access, target)) = &self.audit
            && path == "/audit"
        {
            if let Err(stranger) = access.admits(request.headers(), &caller.chain, &*self.reporter).await {
                self.tell_not_allowed(&stranger);
                return (Endpoint::Audit, Err(Refusal::NotAllowed));
            }
            caller.is_known.store(true, Ordering::Relaxed);
            return (Endpoint::Audit, self.receive(Endpoint::Audit, target, request).await);
        }
        if path == "/healthz" {
            let is_asked = matches!(*request.method(), Method::GET | Method::HEAD);
            return (Endpoint::Health, if is_asked { Ok(Answer::Healthy) } else { Err(Refusal::Method("GET, HEAD")) });
        }
        (Endpoint::Unknown, Err(Refusal::NotThere))
    }

    fn tell_not_allowed(&self, stranger: &Stranger) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
            *told = Some(Instant::now());
            self.report(EndpointNotice::NotAllowed { certificate: stranger.certificate.as_deref() });
        }
    }

    async fn receive(
        self: &Arc<Self>,
        endpoint: Endpoint,
        target: &Target,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::Method("POST"));
        }
        if !is_json(request.headers()) {
            return Err(Refusal::NotJson);
        }
        let (body, room) = target.room.read(request.into_body(), &self.limits).await?;
        let receiver = Arc::clone(&target.receiver);
        let receive = move || catch_unwind(AssertUnwindSafe(|| receiver.receive(body)));
        let received = if room.num_permits() > LARGE {
            // It takes milliseconds to read: others are served meanwhile.
            tokio::task::spawn_blocking(receive).await.unwrap_or_else(|ended| Err(Box::new(ended)))
        } else {
            receive()
        };
        match received {
            Ok(Ok(Reply { body, then })) => {
                if let Some(act) = then {
                    self.after(endpoint, act, room);
                }
                Ok(Answer::Received(body))
            }
            Ok(Err(refused)) => Err(Refusal::Receiver(refused)),
            Err(_panic) => {
                self.report(EndpointNotice::Panicked { endpoint });
                Err(Refusal::Panicked)
            }
        }
    }

    /// Does something once the answer is on its way: a task that is made here has its turn after the one that writes it.
    fn after(self: &Arc<Self>, endpoint: Endpoint, act: Box<dyn FnOnce() + Send>, room: OwnedSemaphorePermit) {
        let routes = Arc::clone(self);
        tokio::spawn(async move {
            if catch_unwind(AssertUnwindSafe(act)).is_err() {
                routes.report(EndpointNotice::Panicked { endpoint });
            }
            drop(room);
        });
    }

    /// Returns once all that was to be done after answers is done.
    pub(super) async fn are_done(&self) {
        let targets =
            [self.admission.as_ref().map(|(_, target)| target), self.audit.as_ref().map(|(_, target)| target)];
        for target in targets.into_iter().flatten() {
            target.room.is_free().await;
        }
    }
}

/// After which people hear again of whom events are refused.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// In KiB, which is what room is counted in.
const LARGE: usize = 256;

/// Who is at the other end of a connection.
#[derive(Debug, Default)]
pub(super) struct Caller {
    /// The certificates that they have shown, and have the key of.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Whether they have asked for something that they may ask for.
    pub(super) is_known: AtomicBool,
}

/// API servers say that it is JSON. What says nothing is tried; anything else, or compressed, can't be read.
fn is_json(headers: &HeaderMap) -> bool {
    let is_plain = headers.get(header::CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    is_plain
        && headers.get(header::CONTENT_TYPE).is_none_or(|content| {
            let kind = content.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
        })
}

enum Answer {
    Healthy,
    Received(Bytes),
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Broken,
    /// With those that there are.
    Method(&'static str),
    NotAllowed,
    NotJson,
    NotThere,
    Panicked,
    Receiver(Refused),
    Slow,
    TooLarge,
}

impl Refusal {
    /// In few words, of which there are few, for metrics; callers get them, too, unless there are better ones.
    fn reason(&self) -> &'static str {
        match self {
            Self::Broken => "the body ended early",
            Self::Method(_) => "method not allowed",
            Self::NotAllowed => "no valid token or client certificate",
            Self::NotJson => "not application/json",
            Self::NotThere => "not found",
            Self::Panicked => "internal error",
            Self::Receiver(Refused::Busy(_)) => "busy",
            Self::Receiver(Refused::Garbage(_)) => "not understood",
            Self::Slow => "the body took too long",
            Self::TooLarge => "the body is too large",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Broken | Self::Receiver(Refused::Garbage(_)) => StatusCode::BAD_REQUEST,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAllowed => StatusCode::UNAUTHORIZED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotThere => StatusCode::NOT_FOUND,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Receiver(Refused::Busy(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let text = match &self {
            // Not even that it is ours.
            Self::NotThere => String::new(),
            Self::Receiver(Refused::Busy(why) | Refused::Garbage(why)) => format!("{why}\n"),
            other => format!("{}\n", other.reason()),
        };
        let mut response = respond(self.status(), TEXT, text.into());
        let headers = response.headers_mut();
        match self {
            Self::Method(allowed) => drop(headers.insert(header::ALLOW, HeaderValue::from_static(allowed))),
            Self::NotAllowed => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            _ => {}
        }
        // API servers keep their connections; whoever isn't one is in the way.
        if matches!(self, Self::Panicked | Self::Receiver(_)) { response } else { closing(response) }
    }
}

/// The last one of its connection.
fn closing(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn respond(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
