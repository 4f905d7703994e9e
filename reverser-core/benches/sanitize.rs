//! How fast an audit event becomes a manifest, against the obvious way to do it: read everything into a `Value`, take off
//! what every object has, write with serde_yaml.
//!
//! `cargo bench -p reverser-core --bench sanitize` prints criterion's groups, then a line for each bar. The event is one
//! of a real API server 1.36: `kubectl patch` of a Deployment that was applied before, with the answer that it got.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "what measures the core is not pure")]

use std::{
    env, fmt,
    hint::black_box,
    io::{self, Write},
};

use criterion::{Criterion, Throughput};
use reverser_core::{Sanitizer, yaml};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

mod compare;

const EVENT: &str = include_str!("audit-event.json");

fn main() -> io::Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group(format!("audit event of {} bytes", EVENT.len()));
    group.throughput(Throughput::Elements(1));
    group.bench_function("reverser", |bencher| bencher.iter(ours));
    group.bench_function("Value, strip, serde_yaml", |bencher| bencher.iter(theirs));
    group.finish();
    let live = serde_json::from_str::<Value>(EVENT).expect("the event is JSON")["responseObject"].take();
    criterion.bench_function("clean a Deployment", |bencher| {
        bencher.iter_batched(
            || live.clone(),
            |live| Sanitizer::faithful().clean(live),
            criterion::BatchSize::SmallInput,
        );
    });
    criterion.final_summary();
    // `cargo test --benches` runs each benchmark once, to see that it does.
    if env::args().any(|argument| argument == "--bench") {
        let (ours, theirs) = compare::seconds(ours, theirs);
        let mut out = io::stdout();
        writeln!(
            out,
            "audit event to YAML: {:.0}/s on one core, ratio {:.2} (limit 25000/s)",
            1.0 / ours,
            1.0 / ours / 25_000.0
        )?;
        writeln!(out, "audit event to YAML: ratio {:.1} to Value, strip, serde_yaml (limit 4)", theirs / ours)?;
    }
    Ok(())
}

/// Reads of an event what was stored, in one pass.
struct Stored<'s>(&'s Sanitizer);

impl<'de> DeserializeSeed<'de> for Stored<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Stored<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an audit event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut stored = Value::Null;
        while let Some(field) = fields.next_key::<&str>()? {
            if field == "responseObject" {
                stored = fields.next_value_seed(self.0)?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(stored)
    }
}

fn ours() -> String {
    let sanitizer = Sanitizer::faithful();
    let object = Stored(&sanitizer).deserialize(&mut serde_json::Deserializer::from_str(black_box(EVENT)));
    yaml::to_string(&sanitizer.clean(object.expect("the event is JSON")))
}

fn theirs() -> String {
    let mut event: Value = serde_json::from_str(black_box(EVENT)).expect("the event is JSON");
    let mut object = event["responseObject"].take();
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"] {
            metadata.remove(field);
        }
    }
    serde_yaml::to_string(&object).expect("every JSON value is a YAML document")
}
