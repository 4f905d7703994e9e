//! What is counted of what is reported, and how it is served.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use reverser_core::{Actor, Attribution, Change, ObjectRef, Operation, message::Synced};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    api_error::ApiError,
    fixture::configmaps,
    report::{Endpoint, EndpointNotice},
};

fn registered() -> (Registry, Metrics) {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    (registry, metrics)
}

/// Returns the value of a series, such as `reverser_changes_total{operation="create"}`; `None` where there is none.
fn value(registry: &Registry, series: &str) -> Option<f64> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn object(name: &str) -> ObjectRef {
    ObjectRef { resource: configmaps(), namespace: Some("shop".into()), name: name.into(), uid: None }
}

#[test]
fn changes_are_counted_by_operation_and_evidence_and_commits_once() {
    let (registry, metrics) = registered();
    let change = Change::new(object("a"), Operation::Update, None);
    let known = change.clone().by(Actor::user("ann"));
    for (change, stands_for) in [(&change, 1), (&known, 1), (&known, 5)] {
        let took = Duration::from_millis(30);
        metrics.report(Notice::Committed { change, commit: None, took, stands_for });
    }
    metrics.report(Notice::Synced { sync: &Synced { removed: 3, ..Synced::default() }, commit: None });
    for (series, expected) in [
        (r#"reverser_changes_total{operation="update",evidence="unknown"}"#, 1.0),
        (r#"reverser_changes_total{operation="update",evidence="host"}"#, 2.0),
        ("reverser_coalesced_changes_total", 4.0),
        (r#"reverser_commits_total{kind="change"}"#, 3.0),
        ("reverser_syncs_total", 1.0),
        ("reverser_sync_removed_files_total", 3.0),
        ("reverser_commit_latency_seconds_count", 3.0),
        (r#"reverser_commit_latency_seconds_bucket{le="0.025"}"#, 0.0),
        (r#"reverser_commit_latency_seconds_bucket{le="0.05"}"#, 3.0),
    ] {
        assert_eq!(value(&registry, series), Some(expected), "{series}");
    }
}

#[test]
fn what_api_servers_ask_is_counted_by_endpoint_and_status_and_the_certificates_end_is_told() {
    let (registry, metrics) = registered();
    let report = |notice| metrics.report(Notice::Endpoint(notice));
    for (endpoint, status, refused, milliseconds) in [
        (Endpoint::Admission, 200, None, 1),
        (Endpoint::Admission, 200, None, 3),
        (Endpoint::Admission, 400, Some("not understood"), 1),
        (Endpoint::Unknown, 404, Some("not found"), 1),
    ] {
        let took = Duration::from_millis(milliseconds);
        report(EndpointNotice::Answered { endpoint, status, refused, took });
    }
    report(EndpointNotice::Panicked { endpoint: Endpoint::Audit });
    report(EndpointNotice::NotConnected { reason: "untrusted", is_news: false });
    report(EndpointNotice::CertificateServed { until: Some("2026-01-01T00:00:00Z".parse().unwrap()) });
    report(EndpointNotice::CertificateServed { until: None });
    report(EndpointNotice::CertificateFailed { why: "the disk is full", until: None });
    for (series, expected) in [
        (r#"reverser_endpoint_requests_total{endpoint="admission",code="200"}"#, 2.0),
        (r#"reverser_endpoint_requests_total{endpoint="admission",code="400"}"#, 1.0),
        (r#"reverser_endpoint_refused_requests_total{endpoint="admission",reason="not understood"}"#, 1.0),
        (r#"reverser_endpoint_refused_requests_total{endpoint="unknown",reason="not found"}"#, 1.0),
        (r#"reverser_endpoint_latency_seconds_bucket{le="0.002",endpoint="admission"}"#, 2.0),
        (r#"reverser_endpoint_latency_seconds_count{endpoint="admission"}"#, 3.0),
        (r#"reverser_endpoint_panics_total{endpoint="audit"}"#, 1.0),
        (r#"reverser_endpoint_failed_connections_total{reason="untrusted"}"#, 1.0),
        ("reverser_endpoint_certificate_failures_total", 1.0),
        ("reverser_endpoint_certificate_expiry_timestamp_seconds", 1_767_225_600.0),
    ] {
        assert_eq!(value(&registry, series), Some(expected), "{series}");
    }
}

#[test]
fn what_audit_events_told_is_measured_and_disagreements_are_counted() {
    let (registry, metrics) = registered();
    assert_eq!(value(&registry, "reverser_audit_facts"), None);
    let audit = Audit::default();
    metrics.measure_audit(audit.clone());
    let event = r#"{"kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": "ResponseComplete", "verb": "create",
        "user": {"username": "ann"}, "responseStatus": {"code": 201},
        "responseObject": {"metadata": {"uid": "u", "resourceVersion": "1"}}}"#;
    audit.receive(event.as_bytes()).unwrap();
    let (admission, audited) = (Attribution::Unknown, Attribution::Unknown);
    for is_news in [true, false] {
        let object = &object("a");
        metrics.report(Notice::Disagreed { object, admission: &admission, audit: &audited, is_news });
    }
    for (series, expected) in [
        ("reverser_audit_facts", 1.0),
        ("reverser_audit_facts_bytes", audit.kept().bytes as f64),
        ("reverser_audit_facts_dropped_total", 0.0),
        ("reverser_attribution_disagreements_total", 2.0),
    ] {
        assert_eq!(value(&registry, series), Some(expected), "{series}");
    }
}

#[test]
fn what_can_not_be_watched_is_counted_by_why_until_it_goes_on_or_is_gone() {
    let (registry, metrics) = registered();
    let forbidden = ApiError::forbidden("list", &configmaps(), None);
    let failed = |source, error| metrics.report(Notice::Failed { source, error, is_news: false });
    let unwatched =
        |reason| value(&registry, &format!(r#"reverser_unwatched{{resource="v1/configmaps",reason="{reason}"}}"#));
    let (one, two) = ("c/s/v1/configmaps/shop", "c/s/v1/configmaps/bank");
    failed(one, &forbidden);
    failed(two, &forbidden);
    failed(one, &forbidden);
    assert_eq!(unwatched("forbidden"), Some(2.0));
    let failures = r#"reverser_watch_failures_total{resource="v1/configmaps",reason="forbidden"}"#;
    assert_eq!(value(&registry, failures), Some(3.0));
    failed(one, &ApiError::Expired);
    assert_eq!((unwatched("forbidden"), unwatched("expired")), (Some(1.0), Some(1.0)));
    metrics.report(Notice::Recovered { source: one, is_news: false });
    metrics.report(Notice::Unwatched { source: two });
    assert_eq!((unwatched("forbidden"), unwatched("expired")), (None, None));
    metrics.report(Notice::Recovered { source: one, is_news: true });
}

#[test]
fn few_of_many_objects_that_churn_are_named() {
    let (registry, metrics) = registered();
    let objects: Vec<_> = (0..25).map(|number| object(&format!("n{number}"))).collect();
    let named = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| line.starts_with("reverser_churning_object_changes_per_second{")).count()
    };
    for object in &objects {
        metrics.report(Notice::Churning { object, per_minute: 90, actor: None });
    }
    assert_eq!((value(&registry, "reverser_churning_objects"), named()), (Some(25.0), CHURNERS));
    let series =
        r#"reverser_churning_object_changes_per_second{resource="v1/configmaps",object_namespace="shop",name="n0"}"#;
    assert_eq!(value(&registry, series), Some(1.5));
    for object in &objects {
        metrics.report(Notice::Calmed { object, changes: 9, lasted: Duration::ZERO });
    }
    assert_eq!((value(&registry, "reverser_churning_objects"), named()), (Some(0.0), 0));
}

#[tokio::test]
async fn what_the_writer_tells_is_measured() {
    let (registry, metrics) = registered();
    assert_eq!(value(&registry, "reverser_unpushed_commits"), None, "nobody knows");
    metrics.measure(Load::new(1_000));
    let (sender, receiver) = watch::channel(PushState::default());
    let following = tokio::spawn(metrics.clone().follow(receiver));
    let mut state = PushState::default();
    (state.unpushed, state.unpushed_bytes, state.totals.failures) = (3, 4_711, 2);
    state.unpushed_since = Some(jiff::Timestamp::now() - Duration::from_secs(90));
    sender.send(state).unwrap();
    drop(sender);
    following.await.unwrap();
    for (series, expected) in [
        ("reverser_unpushed_commits", 3.0),
        ("reverser_unpushed_bytes", 4_711.0),
        ("reverser_push_failures_total", 2.0),
        ("reverser_queue_limit_bytes", 1_000.0),
        ("reverser_queue_bytes", 0.0),
        ("reverser_sources", 0.0),
        ("reverser_attribution_waiting", 0.0),
        ("reverser_ready", 0.0),
    ] {
        assert_eq!(value(&registry, series), Some(expected), "{series}");
    }
    assert!(value(&registry, "reverser_unpushed_age_seconds").is_some_and(|age| age > 89.0));
    assert_eq!(value(&registry, "reverser_last_push_age_seconds"), None, "there was none");
}

async fn served() -> (Metrics, std::net::SocketAddr) {
    let (registry, metrics) = registered();
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    tokio::spawn(server.serve(Arc::new(registry), metrics.clone()));
    (metrics, address)
}

async fn ask(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    // The server ends the connection.
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_endpoint_tells_numbers_life_and_readiness() {
    let (metrics, address) = served().await;
    let numbers = ask(address, "/metrics").await;
    assert!(numbers.starts_with("HTTP/1.1 200 OK") && numbers.ends_with("# EOF\n"), "{numbers}");
    assert!(numbers.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{numbers}");
    assert!(numbers.contains("# TYPE reverser_syncs counter"), "{numbers}");
    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200 OK"));
    let not_ready = ask(address, "/readyz").await;
    assert!(not_ready.starts_with("HTTP/1.1 503") && not_ready.ends_with("the first sync isn't done\n"), "{not_ready}");
    metrics.report(Notice::Started { sources: 1 });
    assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200 OK"));
    assert!(ask(address, "/other").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_says_so() {
    let (_metrics, address) = served().await;
    let error = Server::bind(address).await.unwrap_err().to_string();
    assert_eq!(error, format!("could not listen at {address}: another process does; choose another port"));
}

#[tokio::test(start_paused = true)]
async fn connections_that_say_nothing_keep_nobody_out_for_long() {
    let (_metrics, address) = served().await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200 OK"));
    for mut stream in silent {
        let mut answer = Vec::new();
        // It is ended, with an answer (408) or without.
        let _reset = stream.read_to_end(&mut answer).await;
    }
}
