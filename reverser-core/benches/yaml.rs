//! How fast the emitter is, against serde_yaml's on the same objects in the same run.
//!
//! `cargo bench -p reverser-core --bench yaml` prints criterion's groups, then a line for each bar:
//! `emit Deployment: ratio 7.3 (limit 5)`. A ratio, because the machine's own speed is no property of ours.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "what measures the core is not pure")]

use std::{
    env,
    hint::black_box,
    io::{self, Write},
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use reverser_core::yaml;
use serde_json::{Map, Value, json};

mod compare;
#[path = "../tests/yaml/hostile.rs"]
mod hostile;

use hostile::{Hostile, hostile};

/// How long a hostile text of ten megabytes may take until it is read or refused.
const READ_LIMIT: Duration = Duration::from_millis(100);

fn main() -> io::Result<()> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let objects = objects();
    for (name, object, _) in &objects {
        let mut group = criterion.benchmark_group(format!("emit {name}"));
        group.throughput(Throughput::Bytes(yaml::to_string(object).len() as u64));
        group.bench_function("reverser", |bencher| bencher.iter(|| ours(object)));
        group.bench_function("serde_yaml", |bencher| bencher.iter(|| theirs(object)));
        group.finish();
    }
    criterion.final_summary();
    // `cargo test --benches` runs each benchmark once, to see that it does.
    if env::args().any(|argument| argument == "--bench") {
        for (name, object, limit) in &objects {
            let (ours, theirs) = compare::seconds(|| ours(object), || theirs(object));
            writeln!(io::stdout(), "emit {name}: ratio {:.1} (limit {limit})", theirs / ours)?;
        }
        for number in 0..hostile::COUNT {
            let Hostile { name, text, is_legal } = hostile(number);
            let took = (0..5).map(|_| time(|| yaml::parse(black_box(&text)))).min().unwrap_or_default();
            let (outcome, ratio) = (if is_legal { "read" } else { "refused" }, took.div_duration_f64(READ_LIMIT));
            writeln!(io::stdout(), "10 MB of {name}: {outcome} in {took:.1?}, ratio {ratio:.2} to {READ_LIMIT:?}")?;
        }
    }
    Ok(())
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    black_box(work());
    started.elapsed()
}

fn ours(object: &Value) -> String {
    yaml::to_string(black_box(object))
}

fn theirs(object: &Value) -> String {
    serde_yaml::to_string(black_box(object)).expect("every JSON value is a YAML document")
}

/// What is emitted: its name, the object, and how many times faster than serde_yaml it has to be.
fn objects() -> [(&'static str, Value, u32); 5] {
    let script = "if ! kubectl get deployment \"$name\" -n \"$namespace\" >/dev/null; then\n  \
                  echo \"waiting for $name: $(date)\" >&2\n\tsleep 1 # it comes\nfi\n\n";
    let script = |bytes: usize| json!({"run.sh": script.repeat(bytes / script.len())});
    let dashboard = |bytes: usize| {
        let panel = json!({"id": 7, "type": "graph", "title": "p99 by route", "gridPos": {"h": 8, "w": 12, "x": 0, "y": 16},
            "targets": [{"expr": "histogram_quantile(0.99, sum by (le) (rate(http_seconds_bucket[5m])))", "legendFormat": "{{route}}"}]});
        let panels = bytes / panel.to_string().len();
        json!({"dashboard.json": json!({"panels": vec![panel; panels], "schemaVersion": 39}).to_string()})
    };
    let entries = |bytes: usize| {
        let entry = |n: usize| {
            (format!("feature.{n}.enabled"), json!(if n.is_multiple_of(3) { "true" } else { "for-team-web" }))
        };
        Value::Object((0..bytes / 35).map(entry).collect())
    };
    let config_map = |parts: &[Value]| {
        let data: Map<String, Value> = parts
            .iter()
            .filter_map(Value::as_object)
            .flatten()
            .map(|(key, text)| (key.clone(), text.clone()))
            .collect();
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big", "namespace": "default"}, "data": data})
    };
    [
        ("a Deployment of 3 KB", deployment(), 5),
        (
            "a ConfigMap of 900 KB, all of the below",
            config_map(&[script(300_000), dashboard(300_000), entries(300_000)]),
            4,
        ),
        ("a ConfigMap of 900 KB, one script", config_map(&[script(900_000)]), 4),
        ("a ConfigMap of 900 KB, one line of JSON", config_map(&[dashboard(900_000)]), 4),
        ("a ConfigMap of 900 KB, small entries", config_map(&[entries(900_000)]), 4),
    ]
}

/// As people write them: two containers, a probe, volumes, a Secret.
fn deployment() -> Value {
    let probe = |path: &str, seconds: u32| {
        json!({
            "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
            "initialDelaySeconds": seconds, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1,
        })
    };
    let labels = json!({
        "app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "web-production",
        "app.kubernetes.io/version": "1.25.3", "app.kubernetes.io/part-of": "shop",
    });
    let from_secret = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "web-database", "key": key}}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "production", "labels": labels,
            "annotations": {"example.com/owner": "team-web@example.com", "example.com/runbook": "https://runbooks.example.com/web?from=alert"},
        },
        "spec": {
            "replicas": 3, "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "web-production"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels, "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"}},
                "spec": {
                    "serviceAccountName": "web", "terminationGracePeriodSeconds": 30, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [
                        {
                            "name": "web", "image": "registry.example.com/shop/web:1.25.3", "imagePullPolicy": "IfNotPresent",
                            "args": ["--listen=:8080", "--log-level", "info", "--config", "/etc/web/config.yaml"],
                            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"name": "metrics", "containerPort": 9090, "protocol": "TCP"}],
                            "env": [
                                {"name": "GOMAXPROCS", "value": "2"}, {"name": "FEATURE_CHECKOUT", "value": "on"},
                                {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
                                from_secret("DATABASE_URL", "url"),
                            ],
                            "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
                            "readinessProbe": probe("/readyz", 5),
                            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                            "volumeMounts": [{"name": "config", "mountPath": "/etc/web", "readOnly": true}, {"name": "tmp", "mountPath": "/tmp"}],
                        },
                        {
                            "name": "proxy", "image": "registry.example.com/base/proxy@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                            "command": ["/bin/sh", "-c", "set -e\nexec proxy --upstream 127.0.0.1:8080\n"],
                            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                        },
                    ],
                    "volumes": [{"name": "config", "configMap": {"name": "web-config", "defaultMode": 420}}, {"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    })
}
