//! What is answered to whom.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::{SignatureScheme, client::ResolvesClientCert, sign::CertifiedKey};

use super::{der::as_version_1, *};

#[tokio::test]
async fn an_api_server_is_answered_on_a_connection_that_goes_on() {
    let running = serve(Limits::default(), |routes, token| routes.admission(token, echo)).await;
    let mut stream = running.connect().await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    for _ in 0..3 {
        let answer = exchange(&mut stream, &post(&running.token.path(), "", "{}")).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"bytes":2}"#));
        assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
    }
    running.told.hears("Answered { endpoint: Admission, status: 200, refused: None").await;
    running.end().await;
}

#[tokio::test]
async fn whoever_does_not_know_the_token_learns_nothing() {
    let running = serve(Limits::default(), |routes, token| routes.admission(token, echo)).await;
    let path = running.token.path();
    let (start, last) = path.split_at(path.len() - 1);
    let wrong = format!("{start}{}", if last == "0" { "1" } else { "0" });
    for (method, path) in [
        ("POST", "/admission/"),
        ("GET", "/admission"),
        ("POST", wrong.as_str()),
        ("GET", wrong.as_str()),
        ("DELETE", "/admission/x"),
        ("POST", "/audit"),
        ("GET", "/metrics"),
        ("POST", "/"),
    ] {
        let mut stream = running.connect().await;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
        let answer = exchange(&mut stream, &request).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, ""), "{method} {path}");
        is_closed(&mut stream).await;
    }
    assert!(!running.told.has(&path), "the token was told");
    running.end().await;
}

#[tokio::test]
async fn what_is_no_review_is_refused_with_a_reason() {
    let receiver = |body: Bytes| match &body[..] {
        b"busy" => Err(Refused::Busy("too much to do".into())),
        b"panic" => panic!("as a test wants it"),
        b"{}" => echo(body),
        _ => Err(Refused::Garbage("no AdmissionReview".into())),
    };
    let running = serve(Limits::default(), |routes, token| routes.admission(token, receiver)).await;
    let path = running.token.path();
    let typed = |kind: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\n{kind}content-length: 2\r\n\r\n{{}}");
    let cases = [
        (post(&path, "", "garbage"), 400, "no AdmissionReview\n"),
        (post(&path, "", ""), 400, "no AdmissionReview\n"),
        (post(&path, "", "busy"), 503, "too much to do\n"),
        (post(&path, "", "panic"), 500, "internal error\n"),
        (format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"), 405, "method not allowed\n"),
        (typed("content-type: text/plain\r\n"), 415, "not application/json\n"),
        (typed("content-type: application/vnd.kubernetes.protobuf\r\n"), 415, "not application/json\n"),
        (typed("content-type: application/json\r\ncontent-encoding: gzip\r\n"), 415, "not application/json\n"),
        (typed("content-type: Application/JSON; charset=utf-8\r\n"), 200, r#"{"bytes":2}"#),
        (typed(""), 200, r#"{"bytes":2}"#),
    ];
    for (request, status, body) in cases {
        let mut stream = running.connect().await;
        let answer = exchange(&mut stream, &request).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{request}");
        // Only what isn't from an API server has to connect anew.
        let goes_on = !answer.head.contains("connection: close");
        assert_eq!(goes_on, matches!(status, 200 | 400 | 500 | 503), "{answer:?}");
        if goes_on {
            assert_eq!(exchange(&mut stream, &post(&path, "", "{}")).await.unwrap().status, 200);
        }
        assert_eq!(answer.head.contains("allow: post"), status == 405);
    }
    running.told.hears("Panicked { endpoint: Admission }").await;
    let told = running.told.all();
    assert!(!told.contains("garbage"), "a body was told: {told}");
    running.end().await;
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let running = serve(Limits::default(), |routes, token| routes.admission(token, echo)).await;
    let mut stream = running.connect().await;
    assert_eq!(exchange(&mut stream, "\u{16}\u{3}\u{1} what?\r\n\r\n").await.unwrap().status, 400);
    is_closed(&mut stream).await;
    // Without TLS.
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ended = timeout(LIMIT, plain.read_to_end(&mut rest)).await.unwrap();
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    running.told.hears(r#"NotConnected { reason: "handshake""#).await;
    // A caller who trusts another one is told of once.
    let other = serve(Limits::default(), |routes, _| routes).await;
    let bundle = other.certificates.bundle().borrow().clone().unwrap();
    for _ in 0..2 {
        connect(running.address, &bundle, None).await.unwrap_err();
    }
    running.told.hears(r#"NotConnected { reason: "untrusted", is_news: true }"#).await;
    running.told.hears(r#"NotConnected { reason: "untrusted", is_news: false }"#).await;
    running.end().await;
    other.end().await;
}

#[tokio::test]
async fn health_is_for_everybody() {
    let running = serve(Limits::default(), |routes, _| routes).await;
    let ask = async |method: &str| {
        exchange(&mut running.connect().await, &format!("{method} /healthz HTTP/1.1\r\nhost: x\r\n\r\n")).await.unwrap()
    };
    let answer = ask("GET").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    assert_eq!(ask("POST").await.status, 405);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_learned_does_not_hold_up_the_answer_and_is_waited_for_at_the_end() {
    let (learn, may_learn) = std::sync::mpsc::channel::<()>();
    let (learned, has_learned) = std::sync::mpsc::channel::<&str>();
    let may_learn = Arc::new(Mutex::new(may_learn));
    let receiver = move |body: Bytes| {
        let (may_learn, learned) = (Arc::clone(&may_learn), learned.clone());
        Ok(echo(body)?.then(move || {
            may_learn.lock().unwrap().recv().unwrap();
            learned.send("learned").unwrap();
        }))
    };
    let running = serve(Limits::default(), |routes, token| routes.admission(token, receiver)).await;
    let path = running.token.path();
    let answer = exchange(&mut running.connect().await, &post(&path, "", "{}")).await.unwrap();
    assert_eq!(answer.status, 200);
    has_learned.try_recv().unwrap_err();
    learn.send(()).unwrap();
    running.end().await;
    assert_eq!(has_learned.try_recv(), Ok("learned"));
}

#[tokio::test]
async fn a_panic_after_the_answer_is_told() {
    let receiver = |body: Bytes| Ok(echo(body)?.then(|| panic!("as a test wants it")));
    let running = serve(Limits::default(), |routes, token| routes.admission(token, receiver)).await;
    let mut stream = running.connect().await;
    for _ in 0..2 {
        let answer = exchange(&mut stream, &post(&running.token.path(), "", "{}")).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    running.told.hears("Panicked { endpoint: Admission }").await;
    running.end().await;
}

/// A certificate of a client, and its key; its authority.
struct Client {
    certificate: String,
    key: String,
    authority: String,
}

fn client(usage: ExtendedKeyUsagePurpose) -> Client {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    Client { certificate: params.signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem(), authority }
}

#[tokio::test]
async fn audit_events_come_from_those_with_a_certificate_or_the_secret_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, authorities) = (folder.path().join("secret"), folder.path().join("ca.crt"));
    let ours = client(ExtendedKeyUsagePurpose::ClientAuth);
    let (theirs, server) = (client(ExtendedKeyUsagePurpose::ClientAuth), client(ExtendedKeyUsagePurpose::ServerAuth));
    fs::write(&secret, "0123456789abcdef").unwrap();
    fs::write(&authorities, format!("{}{}", ours.authority, server.authority)).unwrap();
    let access = Access::open(Some(secret), Some(authorities.clone())).await.unwrap();
    let running = serve(Limits::default(), |routes, token| routes.audit(access, echo).admission(token, echo)).await;
    let bundle = running.certificates.bundle().borrow().clone().unwrap();
    let asks = async |own: Option<&Client>, path: &str, headers: &str| {
        let own = own.map(|own| (own.certificate.as_str(), own.key.as_str()));
        let mut stream = connect(running.address, &bundle, own).await.unwrap();
        exchange(&mut stream, &post(path, headers, "{}")).await.unwrap().status
    };
    assert_eq!(asks(None, "/audit", "").await, 401);
    assert_eq!(asks(None, "/audit", "authorization: Bearer 0123456789abcdef\r\n").await, 200);
    assert_eq!(asks(None, "/audit", "authorization: Bearer 0123456789abcdee\r\n").await, 401);
    assert_eq!(asks(Some(&ours), "/audit", "").await, 200);
    assert_eq!(asks(Some(&theirs), "/audit", "").await, 401);
    assert_eq!(asks(Some(&server), "/audit", "").await, 401);
    // An API server has one for other webhooks, and shows it everywhere.
    assert_eq!(asks(Some(&theirs), &running.token.path(), "").await, 200);
    // Nor does the method or the kind of the body matter to whoever may not.
    let mut stream = running.connect().await;
    assert_eq!(exchange(&mut stream, "GET /audit HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap().status, 401);
    // Trusted from now on, and no longer.
    fs::write(&authorities, &theirs.authority).unwrap();
    assert_eq!(asks(Some(&theirs), "/audit", "").await, 200);
    assert_eq!(asks(Some(&ours), "/audit", "").await, 401);
    let all = running.told.all();
    assert_eq!(all.lines().filter(|told| told.contains("NotAllowed")).count(), 1, "once a minute: {all}");
    running.end().await;
}

#[tokio::test]
async fn whoever_shows_a_certificate_of_version_1_is_answered_and_needs_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, authorities) = (folder.path().join("secret"), folder.path().join("ca.crt"));
    let own = client(ExtendedKeyUsagePurpose::ClientAuth);
    fs::write(&secret, "0123456789abcdef").unwrap();
    fs::write(&authorities, &own.authority).unwrap();
    let access = Access::open(Some(secret), Some(authorities)).await.unwrap();
    let running = serve(Limits::default(), |routes, _token| routes.audit(access, echo)).await;
    let bundle = running.certificates.bundle().borrow().clone().unwrap();
    let certificate = CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap();
    let old = Old(Arc::new(CertifiedKey::new(
        vec![as_version_1(&certificate).unwrap().into()],
        tls::provider()
            .key_provider
            .load_private_key(PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap())
            .unwrap(),
    )));
    let config = trusting(&bundle).with_client_cert_resolver(Arc::new(old));
    let asks = async |headers: &str| {
        let mut stream = connect_with(running.address, config.clone()).await.unwrap();
        exchange(&mut stream, &post("/audit", headers, "{}")).await.unwrap().status
    };
    assert_eq!(asks("").await, 401);
    assert_eq!(asks("authorization: Bearer 0123456789abcdef\r\n").await, 200);
    let all = running.told.all();
    assert!(all.contains("UnsupportedCertVersion"), "{all}");
    running.end().await;
}

/// Shows a certificate without a look at it.
#[derive(Debug)]
struct Old(Arc<CertifiedKey>);

impl ResolvesClientCert for Old {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
