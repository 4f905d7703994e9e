//! How fast reviews become facts and facts become authors, and what a fact takes while it waits.
//!
//! `cargo bench -p reverser-k8s --bench admission` prints criterion's groups, then a line for each bar. The Deployment is the one
//! of reverser-core's audit event, as a real API server 1.36 answered; the ConfigMap is small. State is in a temporary folder, so
//! each fact is written to a file as well.

use std::{
    env, fs,
    hint::black_box,
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use reverser_core::{Change, ObjectRef, Operation, Resource};
use reverser_k8s::{ActorSource, attribute::Admission};
use serde_json::{Value, json};

const EVENT: &str = include_str!("../../reverser-core/benches/audit-event.json");

/// How many facts are waiting when their memory is measured: as many as there is room for.
const WAITING: u64 = 65_536;

fn main() -> io::Result<()> {
    let mut deployment = serde_json::from_str::<Value>(EVENT).expect("the event is JSON")["responseObject"].take();
    if let Some(object) = deployment.as_object_mut() {
        object.remove("status");
    }
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"mode": "fast"}, "metadata": {
        "name": "web", "namespace": "shop", "managedFields": [{"manager": "kubectl", "time": "2026-11-27T08:00:00Z"}],
    }});
    let kinds = [Kind::new("apps", "deployments", deployment), Kind::new("", "configmaps", config_map)];
    let is_measured = env::args().any(|argument| argument == "--bench");
    // First, before there is memory to use again.
    let bytes = if is_measured { waiting(&kinds[1])? } else { 0 };
    let mut criterion = Criterion::default().configure_from_args();
    for kind in &kinds {
        let (folder, admission) = open()?;
        let object = kind.object(1).to_string();
        let mut group = criterion.benchmark_group(format!("{} of {} bytes", kind.plural, object.len()));
        group.throughput(Throughput::Elements(1));
        let body = kind.review(1);
        group.bench_function("review", |bencher| bencher.iter(|| admission.review(black_box(body.clone()))));
        let fingerprinter = admission.fingerprinter();
        group.bench_function("fingerprint", |bencher| bencher.iter(|| fingerprinter.of(black_box(&object))));
        group.finish();
        drop(folder);
    }
    criterion.final_summary();
    // `cargo test --benches` runs each benchmark once, to see that it does.
    if is_measured {
        let mut out = io::stdout();
        for kind in &kinds {
            let (each, slowest) = join(kind, 20_000)?;
            let rate = 1.0 / each.as_secs_f64();
            let (plural, bytes) = (kind.plural, kind.object(1).to_string().len());
            let ratio = rate / 1000.0;
            writeln!(
                out,
                "{plural} of {bytes} bytes, reviewed and joined: {rate:.0}/s on one core, ratio {ratio:.1} (limit 1000/s)"
            )?;
            let (micros, ratio) = (slowest.as_micros(), slowest.as_secs_f64() / 0.001);
            writeln!(
                out,
                "{plural} of {bytes} bytes: 99 of 100 answers within {micros} µs, ratio {ratio:.2} (limit 1 ms)"
            )?;
        }
        writeln!(out, "a fact that waits: {bytes} bytes resident, ratio {:.2} (limit 256)", bytes as f64 / 256.0)?;
    }
    Ok(())
}

struct Kind {
    group: &'static str,
    plural: &'static str,
    resource: Arc<Resource>,
    live: Value,
}

impl Kind {
    fn new(group: &'static str, plural: &'static str, live: Value) -> Self {
        let resource = Arc::new(Resource::new(group, "v1", "Any", plural));
        Self { group, plural, resource, live }
    }

    /// One of very many objects.
    fn object(&self, number: u64) -> Value {
        let mut object = self.live.clone();
        object["metadata"]["uid"] = format!("4f1c0000-0000-4000-8000-{number:012x}").into();
        object["metadata"]["resourceVersion"] = (1000 + number).to_string().into();
        object
    }

    /// The review of an update of it.
    fn review(&self, number: u64) -> Bytes {
        let old = self.object(number);
        let mut new = old.clone();
        new["metadata"]["annotations"]["n"] = number.to_string().into();
        let resource = json!({"group": self.group, "version": "v1", "resource": self.plural});
        let request = json!({
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": {"group": self.group, "version": "v1", "kind": "Any"},
            "resource": resource, "requestResource": resource, "name": "web", "namespace": "shop", "operation": "UPDATE",
            "userInfo": {"username": format!("user-{}", number % 8), "groups": ["system:authenticated"]},
            "object": new, "oldObject": old, "dryRun": false,
        });
        let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request});
        Bytes::from(review.to_string())
    }

    /// What the watch shows of it.
    fn change(&self, number: u64, admission: &Admission) -> Change {
        let mut object = self.object(number);
        object["metadata"]["annotations"]["n"] = number.to_string().into();
        object["metadata"]["resourceVersion"] = (1_000_000 + number).to_string().into();
        let fingerprint = admission.fingerprinter().of(&object.to_string()).expect("it is an object");
        let reference = ObjectRef::of(&self.resource, &object).expect("it has a name");
        let replaced = Some((1000 + number).to_string());
        let fingerprint = Some(Arc::new(fingerprint));
        Change { replaced, fingerprint, ..Change::new(reference, Operation::Update, Some(object)) }
    }
}

/// Returns how long a review and the answer to who made its change take, and how long 99 of 100 reviews did
/// at most.
fn join(kind: &Kind, count: u64) -> io::Result<(Duration, Duration)> {
    let (_folder, admission) = open()?;
    let bodies: Vec<_> = (0..count).map(|number| kind.review(number)).collect();
    let changes: Vec<_> = (0..count).map(|number| kind.change(number, &admission)).collect();
    let mut reviews = Vec::with_capacity(bodies.len());
    let started = Instant::now();
    for (body, change) in bodies.into_iter().zip(&changes) {
        let asked = Instant::now();
        black_box(admission.review(body).expect("it is a review"));
        reviews.push(asked.elapsed());
        admission.saw(change);
        assert!(admission.attribute(change).actor().is_some());
    }
    let each = started.elapsed() / u32::try_from(count).expect("it is small");
    reviews.sort_unstable();
    Ok((each, reviews[reviews.len() - 1 - reviews.len() / 100]))
}

/// Returns how much more is resident for each fact that waits, file and all.
fn waiting(kind: &Kind) -> io::Result<u64> {
    let (_folder, admission) = open()?;
    let before = resident()?;
    for number in 0..WAITING {
        black_box(admission.review(kind.review(number)).expect("it is a review"));
    }
    assert_eq!(admission.counts().kept as u64, WAITING);
    Ok(resident()?.saturating_sub(before) / WAITING)
}

fn resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default();
    Ok(kib * 1024)
}

fn open() -> io::Result<(tempfile::TempDir, Admission)> {
    let folder = tempfile::tempdir()?;
    let admission = Admission::open(folder.path()).map_err(io::Error::other)?;
    Ok((folder, admission))
}
